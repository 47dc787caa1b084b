"""Trained models of any form: bundled, checkpoint or ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wav2small.export.base import checksums, onnx_file
from wav2small.export.base.errors import one_line
from wav2small.export.base.escape import line
from wav2small.export.base.files import whole_folder
from wav2small.export.base.outputs import CATEGORIES, DOUBT, FURTHER, parse_names
from wav2small.export.base.reading import parse_yaml, read_json, read_text

from . import checkpoint, hub
from .errors import InputError
from .teachers.description import FILE, Description

if TYPE_CHECKING:
    from torch import nn

ASSETS = Path(__file__).parent / "assets" / "models"

MOST_WIDTH = 16_384
"""The largest number that a setting of a student can be."""

MIN_SAMPLES = 64
"""Least number of samples that every student scores."""


def bundled() -> dict[str, Path]:
    """Return the bundled models: name to folder."""
    return {path.name: path for path in sorted(ASSETS.glob("*")) if path.is_dir()}


def find_checkpoint(name: str | Path) -> Path:
    """Find the checkpoint that a bundled name, a run or a folder stands for.

    Raises:
        InputError: if there is none

    """
    folder = bundled().get(str(name), Path(name))
    # the folder comes last: the manifest of a model folder is not a checkpoint's
    for candidate in (folder / "best", folder / "checkpoint", folder):
        if (whole_folder(candidate) / checkpoint.MANIFEST).exists():
            return candidate
    raise InputError(
        f"model must be a run, a checkpoint or one of {', '.join(bundled())}, "
        f"got '{name}': there is no {checkpoint.MANIFEST} in it"
    )


def is_student(folder: Path) -> bool:
    """Tell whether a folder is the run or the checkpoint of a student."""
    for place in (folder, folder / "best", folder / "checkpoint"):
        try:
            config = read_json(place / "config.json")
        except (OSError, ValueError):
            continue
        if isinstance(config, dict) and "student" in config:
            return True
    return False


def find_onnx(name: str | Path) -> Path:
    """Find the ONNX file that a bundled name, a path or a name on the hub stands for.

    Raises:
        InputError: if there is none

    """
    path = bundled().get(str(name)) or hub.find_model(str(name)) or Path(name)
    if path.is_dir():
        path = path / "model.onnx"
    if not path.is_file():
        raise InputError(
            f"model must be an ONNX file, a folder with model.onnx, owner/name on the "
            f"hub or one of {', '.join(bundled())}, got '{name}': no such file"
        )
    return path


def load_student(name: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Load a student for evaluation.

    Args:
        name: bundled model, run or checkpoint

    Returns:
        the module in evaluation mode, and the checkpoint's configuration

    Raises:
        InputError: if it is damaged or of another format

    """
    import torch

    from .students import student
    from .weights import check_settings

    folder = find_checkpoint(name)
    if folder.name == "checkpoint":  # of a model folder, which lists it as well
        checksums.verify(folder.parent)
    weights, config = checkpoint.load(folder)
    try:
        entry = student(config["student"])
        kind = type(entry.config)
        known = {field.name for field in fields(kind)}
        unknown = set(config["config"]) - known
        if unknown:
            raise InputError(
                f"checkpoint has unknown settings {sorted(unknown)}: {folder}: "
                "it is of a newer version"
            )
        check_settings(config["config"], MOST_WIDTH)
        module = entry.module(kind(**config["config"]))
        module.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    except InputError:
        raise
    except Exception as error:  # settings that are none fail in any way
        raise InputError(
            f"checkpoint must be of a student: {folder}: {one_line(error)}"
        ) from error
    return module.eval(), config


class OnnxModel:
    """A model of anybody in onnxruntime, on one thread: the one reader of all commands.

    Its input is ``signal`` ``(1, time)``, float32 at 16 kHz,
    its scores are the output ``logits`` (the first output if none is named so),
    ``(1, 3)``, in whatever order.
    What they are is said by ``labels``,
    else by the file's description (``teacher.json`` beside ``model.onnx``,
    ``x.json`` beside ``x.onnx``), else by the entry ``labels`` of its metadata,
    else by audonnx's ``model.yaml`` beside it.

    Shape:
        signals: a sequence of arrays ``(time,)``, float32 at 16 kHz
        scores: ``(len(signals), 3)``, arousal, dominance, valence

    Args:
        path: the file
        labels: the dimension of each output

    Raises:
        InputError: if it cannot be read, is of another shape,
            or nothing says what its outputs are

    """

    def __init__(self, path: Path, *, labels: Sequence[str] | None = None) -> None:
        where = f"model '{line(path)}'"
        self.session = onnx_file.open_foreign(onnx_file.read(path), where)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        # some published models have hidden states as a further output
        scores = {output.name: output.shape for output in outputs}
        self.output = "logits" if "logits" in scores else outputs[0].name
        shape = scores[self.output]
        if [i.name for i in inputs] != ["signal"] or len(shape) != 2 or shape[1] != 3:
            raise InputError(
                "model must map 'signal' (1, time) to 3 scores, got "
                f"{[(i.name, i.shape) for i in inputs]} and {scores}: {path}"
            )
        time = inputs[0].shape[1]
        self.window: int | None = time if isinstance(time, int) else None
        self.metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        self.categories = _categories(self.metadata, scores)
        """Names of the categories, empty if the model says nothing of them."""
        whole = path.name == "model.onnx"
        self.description = Description.read(
            path.with_name(FILE) if whole else path.with_suffix(".json")
        )
        named = path.resolve().parent.name if whole else path.stem
        self.name = self.description.name or named
        own = stated_labels(self.metadata, path)
        self.outputs = self.description.outputs(labels, own, self.name)
        if len(self.outputs.labels) != 3:
            raise InputError(
                f"labels of an ONNX model must be 3, got {self.outputs.order}: {path}"
            )

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals one by one.

        A model of a fixed window hears a longer signal piece by piece;
        its score is their mean, weighted by what each piece adds.
        A shorter one is repeated.

        Raises:
            InputError: if a signal has fewer than 64 samples

        """
        found = []
        for signal in signals:
            if len(signal) < MIN_SAMPLES:
                raise InputError(
                    f"signal must have at least {MIN_SAMPLES} samples at 16 kHz, "
                    f"got {len(signal)}"
                )
            pieces, weights = _pieces(np.asarray(signal, np.float32), self.window)
            scores = [
                self.session.run([self.output], {"signal": piece[None]})[0][0]
                for piece in pieces
            ]
            found.append(np.average(scores, axis=0, weights=weights))
        return self.outputs.to_scores(np.array(found, np.float32))

    def further(self, signal: np.ndarray) -> tuple[dict[str, float], tuple[float, ...]]:
        """How likely each category is, and how far each score may be off.

        Of a signal longer than a fixed window its beginning counts.

        Args:
            signal: as of :meth:`predict`, to a model with :attr:`categories`

        Returns:
            shares by category,
            and mean absolute errors of arousal, dominance, valence

        """
        pieces, _ = _pieces(np.asarray(signal, np.float32), self.window)
        odds, doubts = self.session.run(FURTHER, {"signal": pieces[0][None]})
        weights = np.exp(odds[0] - odds.max())
        shares = (weights / weights.sum()).tolist()
        return (
            dict(zip(self.categories, shares, strict=True)),
            tuple(np.minimum(1, np.exp(doubts[0])).tolist()),
        )


def _categories(
    metadata: Mapping[str, str], shapes: Mapping[str, Sequence[object]]
) -> tuple[str, ...]:
    if CATEGORIES not in shapes or shapes.get(DOUBT) != [1, 3]:
        return ()
    return parse_names(metadata, shapes[CATEGORIES], InputError)


def _pieces(
    signal: np.ndarray, window: int | None
) -> tuple[list[np.ndarray], list[int]]:
    """Cut a signal for a fixed window: pieces, and how many new samples each has."""
    if window is None:
        return [signal], [1]
    if len(signal) <= window:
        return [np.resize(signal, window)], [1]
    count, rest = divmod(len(signal), window)
    pieces = list(signal[: count * window].reshape(count, window))
    weights = [window] * count
    if rest:  # the last one ends where the signal does
        pieces.append(signal[-window:])
        weights.append(rest)
    return pieces, weights


def stated_labels(metadata: Mapping[str, str], path: Path) -> list[Any] | None:
    """Return the output names that a file or audonnx's YAML beside it states.

    Args:
        metadata: of the ONNX file
        path: the file

    Raises:
        InputError: if the YAML is another, or asks for a transform

    """
    if metadata.get("labels"):
        return metadata["labels"].split(",")
    beside = path.with_name("model.yaml")
    if path.name != "model.onnx" or not beside.is_file():
        return None
    try:
        content = parse_yaml(read_text(beside))
        (settings,) = content.values()
        transform, labels = settings.get("transform"), settings.get("labels")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"model.yaml must be audonnx's: {beside}: {one_line(error)}"
        ) from error
    if transform is not None:
        raise InputError(
            f"transform must be null, got {transform}: {beside}: "
            "a model takes the signal itself here"
        )
    if isinstance(labels, dict):
        labels = labels.get("logits", next(iter(labels.values()), None))
    return labels if isinstance(labels, list) else None


class StudentModel:
    """A student's checkpoint in torch; one signal at a time."""

    def __init__(self, name: str | Path) -> None:
        self.module, self.config = load_student(name)

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals, as :meth:`OnnxModel.predict`."""
        import torch

        with torch.inference_mode():
            return np.stack(
                [
                    self.module(
                        torch.from_numpy(np.asarray(s, np.float32))[None]
                    ).numpy()[0]
                    for s in signals
                ]
            )


def load_model(name: str | Path) -> OnnxModel | StudentModel:
    """Load a bundled model, an ONNX file, a run, a checkpoint or ``owner/name``.

    What is on the hub is fetched once, checked by its checksums and never executed.

    Raises:
        InputError: if it is none of them

    """
    path = Path(name)
    known = str(name) in bundled() or path.is_file() or (path / "model.onnx").exists()
    if known or hub.names_model(str(name)):
        return OnnxModel(find_onnx(name))
    return StudentModel(name)
