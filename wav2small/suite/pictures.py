"""Pictures of the suite's report, as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from ..adv import DIMENSIONS
from ..metrics import concordance_cc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .bench import Outcome

PASSED, FAILED, PLAIN = "#2e7d5b", "#c0504d", "#1f5f8b"
"""Colours of passed, failed, and what is neither."""


def draw_scatter(outcome: Outcome) -> bytes:
    """Draw the model's scores over those of each reference."""
    references = outcome.references
    figure = _figure(12, 4.3 * len(references))
    panels = figure.subplots(len(references), 3, squeeze=False)
    for row, (name, truth) in enumerate(references.items()):
        for axis, dimension in enumerate(DIMENSIONS):
            known = ~np.isnan(truth[:, axis])
            t, p = truth[known, axis], outcome.scores[known, axis]
            panel = panels[row, axis]
            panel.plot([-2, 3], [-2, 3], color="0.6", linewidth=1, zorder=1)
            panel.scatter(t, p, s=14, alpha=0.6, color=PLAIN)
            low, high = (f([0, 1, *t, *p]) for f in (min, max))
            panel.set(
                title=f"{dimension}: CCC {concordance_cc(t, p):.3f}",
                xlabel=name,
                ylabel="model" if not axis else "",
                xlim=(low - 0.03, high + 0.03),
                ylim=(low - 0.03, high + 0.03),
                aspect="equal",
            )
            panel.grid(color="0.9", linewidth=0.6)
            panel.set_axisbelow(True)
    return _png(figure)


def draw_distribution(outcome: Outcome) -> bytes:
    """Draw how the scores of model and references are distributed."""
    figure = _figure(12, 3.2)
    panels = figure.subplots(1, 3, sharey=True)
    edges = np.linspace(0, 1, 11)
    series = {**outcome.references, "model": outcome.scores}
    colours = ["0.45", "#e8a35c", "#8064a2"]
    for axis, (panel, dimension) in enumerate(zip(panels, DIMENSIONS, strict=True)):
        for number, (name, scores) in enumerate(series.items()):
            values = scores[~np.isnan(scores[:, axis]), axis]
            shares = np.histogram(np.clip(values, 0, 1), edges)[0] / max(len(values), 1)
            model = name == "model"
            panel.stairs(
                shares,
                edges,
                label=name,
                fill=model,
                alpha=0.45 if model else 1.0,
                linewidth=1.8,
                color=PLAIN if model else colours[number % len(colours)],
            )
        panel.set(title=dimension, xlabel="score", xlim=(0, 1))
        panel.set_ylabel("" if axis else "share of clips")
    panels[0].legend(frameon=False)
    return _png(figure)


def draw_robustness(report: dict[str, Any]) -> bytes:
    """Draw the share of unchanged scores under each change, and the thresholds."""
    rows = [test for test in report["tests"] if test["figure"] == "share unchanged"]
    names = list(dict.fromkeys(test["name"] for test in rows))
    figure = _figure(12, 1.0 + 0.21 * len(names))
    panels = figure.subplots(1, 3, sharey=True)
    for panel, dimension in zip(panels, DIMENSIONS, strict=True):
        for test in rows:
            if test["dimension"] != dimension:
                continue
            place = names.index(test["name"])
            panel.barh(
                place, test["value"] or 0.0, color=PASSED if test["passed"] else FAILED
            )
            # a black line with white edges can be seen on a bar of any colour
            for width, colour in ((4.0, "white"), (1.6, "black")):
                panel.plot(
                    [test["threshold"]] * 2,
                    [place - 0.45, place + 0.45],
                    color=colour,
                    linewidth=width,
                    solid_capstyle="butt",
                )
        panel.set(title=dimension, xlabel="share unchanged", xlim=(0, 1.01))
        panel.set_yticks(range(len(names)), names, fontsize=8)
        panel.set_ylim(len(names) - 0.4, -0.6)
        panel.grid(axis="x", color="0.9", linewidth=0.6)
        panel.set_axisbelow(True)
    return _png(figure)


def _figure(width: float, height: float) -> Figure:
    # pyplot would choose a window system and keep every figure in memory
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    # without the version of matplotlib, so that the same report has the same bytes
    figure.savefig(file, format="png", dpi=90, metadata={"Software": None})
    return file.getvalue()
