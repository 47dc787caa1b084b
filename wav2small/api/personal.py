"""Fit a model to one wearer, and use what was fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wav2small.export.base.escape import line
from wav2small.export.base.files import check_output, replace_file, sha256
from wav2small.export.integer.personal import Personal

from ..adv import DIMENSIONS
from ..bundled import DEFAULT
from ..errors import InputError
from ..sealed import read_sealed, write_sealed
from .paths import Paths, to_paths

if TYPE_CHECKING:
    from ..prediction import Prediction

FORMAT = "wav2small calibration 1"
"""What the first field of a file says."""

TABLE_SUFFIX = ".bin"
"""Ending of the file beside it that holds the table for the C."""


def calibrate(
    sources: Paths, out: str | Path, *, model: str | Path = DEFAULT
) -> dict[str, Any]:
    """Fit a model's scores to one wearer, from one to twenty clips or more.

    If a manifest says ``arousal``, ``dominance`` and ``valence`` of clips,
    gain and offset of each are fitted to those;
    else all clips must be of the wearer speaking calmly,
    and arousal and dominance of that become neutral.

    Args:
        sources: audio files, folders or manifests
        out: JSON file to write; the table for the C is written beside it, as ``.bin``
        model: bundled name or ONNX

    Returns:
        what the file holds

    Raises:
        InputError: if there is no audio, the model is no ONNX
            or a file cannot be written

    """
    from .. import audio
    from ..models import OnnxModel, find_onnx
    from ..personal import from_calm, from_labels

    out = Path(out)
    _check_outputs(out)
    path = find_onnx(model)
    _, found = audio.find(to_paths(sources))
    labelled = [item for item in found if item.human and np.isfinite(item.human).all()]
    loaded = OnnxModel(path)
    scores = loaded.predict(
        [
            audio.load(source.path, start=source.start or 0.0, end=source.end)
            for source in labelled or found
        ]
    ).astype(np.float64)
    if labelled:
        truth = np.array([source.human for source in labelled])
        gains, offsets = from_labels(scores, truth)
    else:
        gains, offsets = from_calm(scores)
    table = Personal.of(gains.tolist(), offsets.tolist())
    content = {
        "format": FORMAT,
        "model": loaded.name,
        "model_sha256": sha256(path),
        "clips": len(scores),
        "labelled": bool(labelled),
        "gains": dict(zip(DIMENSIONS, gains.round(4).tolist(), strict=True)),
        "offsets": dict(zip(DIMENSIONS, offsets.round(4).tolist(), strict=True)),
        "table": table.to_bytes().hex(),
    }
    replace_file(out.with_suffix(TABLE_SUFFIX), table.to_bytes())
    return write_sealed(out, content)


def _check_outputs(out: Path) -> None:
    for path in (out, out.with_suffix(TABLE_SUFFIX)):
        check_output(path)
    if out.suffix == TABLE_SUFFIX:
        raise InputError(
            f"output must not end in {TABLE_SUFFIX}, which the table beside it does, "
            f"got {out}: end it in .json"
        )


def load_calibration(
    path: str | Path, *, model: str | Path | None = DEFAULT
) -> Personal:
    """Read what :func:`calibrate` wrote.

    Args:
        path: JSON file
        model: bundled name or ONNX that it has to be of; None for any

    Raises:
        InputError: if it is damaged or of another model

    """
    from ..models import find_onnx

    content = read_sealed(
        path,
        FORMAT,
        "calibration",
        "calibrate again",
        "a file of 'wav2small calibrate'",
    )
    made_for = content.get("model_sha256")
    if model is not None and made_for != sha256(find_onnx(model)):
        raise InputError(
            f"calibration must be of the model that it is used with, got one of "
            f"'{line(content.get('model'))}' or another version of it: {line(path)}: "
            "calibrate again"
        )
    try:
        table = bytes.fromhex(str(content.get("table")))
    except ValueError:
        table = b""
    return Personal.from_bytes(table, len(DIMENSIONS))


def personal(prediction: Prediction, table: Personal | None) -> Prediction:
    """Return a prediction with the scores of a wearer."""
    if table is None or prediction.scores is None:
        return prediction
    arousal, dominance, valence = table.scores(prediction.scores)
    return replace(prediction, scores=(arousal, dominance, valence))
