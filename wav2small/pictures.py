"""Pictures of scores, for people who would rather look than read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wav2small.export.base.files import atomic_write

from .adv import DIMENSIONS
from .metrics import concordance_cc


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
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)
