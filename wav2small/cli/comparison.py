"""The command that shows where two forms of a model part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wav2small.export.base.escape import to_json

from ..adv import DIMENSIONS, SAMPLING_RATE
from ..bundled import DEMO
from ..errors import InputError
from ..progress import ProgressBar
from .options import JsonFile, read_beginnings
from .terminal import check_outputs, show, write_text

if TYPE_CHECKING:
    import numpy as np

    from wav2small.export.checks.layers import Layered


_FORMS = (
    "ONNX, its folder, a run, a checkpoint or a bundled name; "
    "checkpoint:NAME for the weights of a bundled model, exact:NAME for an ONNX "
    "without optimisations, reference:NAME for its integers."
)


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help=_FORMS)],
    second: Annotated[str, typer.Argument(metavar="B", help="As A.")],
    sources: Annotated[
        list[Path] | None,
        typer.Option("--audio", help="Speech; bundled synthetic speech if not given."),
    ] = None,
    clips: Annotated[int, typer.Option(help="Most clips, spread evenly.", min=1)] = 32,
    json_file: JsonFile = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the layers (PNG).")] = None,
) -> None:
    """Show where two forms of a model part, layer by layer."""
    check_outputs(json_file, picture)
    from wav2small.export.checks.layers import compare_layers, to_markdown

    from .. import audio

    models = [_layers(name) for name in (first, second)]
    _, found = audio.find(sources or [DEMO])
    signals = read_beginnings(found[:: max(1, len(found) // clips)][:clips], 5.0)
    with ProgressBar() as progress:
        comparison = compare_layers(models[0], models[1], signals, progress)
    show(to_markdown(comparison, DIMENSIONS))
    if json_file:
        write_text(
            json_file,
            to_json({"a": first, "b": second, **comparison.to_dict()}),
        )
    if picture:
        from wav2small.export.pictures import draw_comparison

        draw_comparison(comparison, picture)
        show(picture)


def _layers(name: str) -> Layered:
    """Model whose layers can be looked at, its scores in our order."""
    from wav2small.export.checks.layers import OnnxLayers, ReferenceLayers
    from wav2small.export.model import topology

    from ..models import find_checkpoint, find_onnx, load_student

    form, _, rest = name.partition(":")
    if form in ("reference", "exact"):
        path = find_onnx(rest)
        model = topology.load(path)
        if form == "reference":
            return _InOurOrder(ReferenceLayers(model), path)
        return _InOurOrder(OnnxLayers(model, "exact"), path)
    if form != "checkpoint":
        try:
            path = find_onnx(name)
        except InputError:
            rest = name
        else:
            return _InOurOrder(OnnxLayers(topology.load(path)), path)
    folder = find_checkpoint(rest)
    from wav2small.export.model.to_onnx import to_onnx

    module, _ = load_student(folder)
    return OnnxLayers(to_onnx(module, window=None, example_samples=2 * SAMPLING_RATE))


class _InOurOrder:
    """A model whose scores are arousal, dominance, valence, whatever the file's are."""

    def __init__(self, layers: Layered, path: Path) -> None:
        from ..models import OnnxModel

        self._layers = layers
        labels = OnnxModel(path).outputs.labels
        self._order = [labels.index(name) for name in DIMENSIONS]

    def run(self, signal: np.ndarray) -> dict[str, np.ndarray]:
        """See :meth:`wav2small.export.checks.layers.Layered.run`."""
        found = self._layers.run(signal)
        return found | {"scores": found["scores"][..., self._order]}
