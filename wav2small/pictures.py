"""Pictures of scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wav2small.export.base.escape import line
from wav2small.export.base.files import atomic_write

from . import audio
from .adv import DIMENSIONS, SAMPLING_RATE
from .metrics import concordance_cc
from .prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#b3261e", "#1f5f8b", "#2e7d5b")
"""Colours of the dimensions, the same as those of the page."""

_STYLES = ("-", "--", ":")
_COLUMNS = 1000
"""Columns of the picture of a waveform."""


def draw_agreement(truth: np.ndarray, prediction: np.ndarray, path: Path) -> None:
    """Draw a model's scores over its teacher's, a panel for each dimension.

    Args:
        truth: the teacher's scores, shape ``(clips, 3)``
        prediction: the model's scores, same shape
        path: PNG file to write

    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.4), layout="constrained")
    panels = figure.subplots(1, 3)
    for axis, (panel, name) in enumerate(zip(panels, DIMENSIONS, strict=True)):
        both = np.concatenate([truth[:, axis], prediction[:, axis]])
        low, high = both.min() - 0.03, both.max() + 0.03
        panel.plot([low, high], [low, high], color="0.6", linewidth=1, zorder=1)
        panel.scatter(
            truth[:, axis], prediction[:, axis], s=14, alpha=0.6, color="#1f5f8b"
        )
        value = concordance_cc(truth[:, axis], prediction[:, axis])
        panel.set(
            title=f"{name}: CCC {value:.3f}",
            xlabel="teacher",
            ylabel="student" if not axis else "",
            xlim=(low, high),
            ylim=(low, high),
            aspect="equal",
        )
        panel.grid(color="0.9", linewidth=0.6)
    figure.suptitle(f"Student against teacher, {len(truth)} clips")
    _save(figure, path)


def draw_predictions(
    source: audio.Source, predictions: Sequence[Prediction], path: Path
) -> None:
    """Draw the scores of a recording under its waveform.

    The scores of a window stand at its middle;
    a window without scores, silence and other sounds, is left out.

    Args:
        source: the recording
        predictions: scores of its windows, in order
        path: PNG file to write

    Raises:
        AudioError: if the recording cannot be read

    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    wave, scores = figure.subplots(2, 1, sharex=True, height_ratios=[1, 2])
    first, last = predictions[0].start, predictions[-1].end
    low, high = extremes(source, last - first)
    times = np.linspace(first, last, len(low))
    wave.fill_between(times, low, high, color="0.3", linewidth=0.3)
    wave.set(ylim=(-1, 1), ylabel="waveform", xlim=(first, last))
    wave.set_title(line(Path(predictions[0].file).name), loc="left", parse_math=False)
    middles = [(item.start + item.end) / 2 for item in predictions]
    for axis, (name, colour) in enumerate(zip(DIMENSIONS, _COLOURS, strict=True)):
        # a window without scores leaves a gap
        values = [item.scores[axis] if item.scores else np.nan for item in predictions]
        style = {"color": colour, "linewidth": 2, "marker": "o", "markersize": 4}
        scores.plot(middles, values, _STYLES[axis], label=name, **style)
    scores.set(ylim=(-0.02, 1.02), ylabel="score", xlabel="seconds")
    scores.grid(color="0.9", linewidth=0.6)
    scores.legend(loc="upper right", ncols=3, frameon=False)
    _save(figure, path)


def extremes(source: audio.Source, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sample of each piece of a recording, at most 1,000 pieces.

    Args:
        source: the recording
        seconds: its length

    Returns:
        two arrays of shape ``(pieces,)``

    """
    length = max(1, -(-round(seconds * SAMPLING_RATE) // _COLUMNS))
    low, high = [], []
    held = np.zeros(0, np.float32)
    for block in audio.stream(source.path, start=source.start or 0.0, end=source.end):
        held = np.concatenate([held, block])
        whole = len(held) // length * length
        pieces, held = held[:whole].reshape(-1, length), held[whole:]
        low.append(pieces.min(axis=1))
        high.append(pieces.max(axis=1))
    if len(held):
        low.append(held.min(keepdims=True))
        high.append(held.max(keepdims=True))
    return np.concatenate(low), np.concatenate(high)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
