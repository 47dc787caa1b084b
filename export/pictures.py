"""Pictures of what an export came to."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .base.errors import ExportError
from .base.files import replace_file
from .checks.layers import PARTING, Comparison
from .model.size import KINDS, Part, group_small

_COLOURS = dict(
    zip(
        KINDS,
        (
            "#1f5f8b",
            "#7fb2d6",
            "#e8a35c",
            "#8a6d00",
            "#2e7d32",
            "#8d6ab8",
            "#c2577a",
            "#9a9a9a",
        ),
        strict=True,
    )
)
_WIDTH, _HEIGHT, _DOTS = 12.0, 7.0, 100
_BARS = 16


def draw_budget(
    parts: Sequence[Part], path: str | Path, limit: int | None = None
) -> None:
    """Draw where the bytes of a file go, as PNG.

    Above, the whole file, its kinds of parts side by side, and the limit;
    below, its largest parts, the small ones of a kind together.

    Args:
        parts: parts of a file, from :func:`wav2small.export.model.size.byte_budget`
        path: file to write, 1200 x 700 pixels
        limit: bytes that the file may have, None to draw no limit

    Raises:
        ExportError: if there are no parts or the file cannot be written

    """
    if not parts:
        raise ExportError(
            "parts must be those of a file, got none: take them from byte_budget"
        )
    # No pyplot: it would choose a window system and keep the figure.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    total = sum(part.bytes for part in parts)
    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DOTS, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    whole, largest = figure.subplots(2, 1, height_ratios=[1, 6])

    _draw_whole(whole, parts, total, limit)
    _draw_largest(largest, _largest(group_small(parts, max(1, total // 100))))
    for panel in (whole, largest):
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)

    buffer = io.BytesIO()
    canvas.print_png(buffer, metadata={"Software": ""})
    _write(Path(path), buffer.getvalue())


def _draw_whole(
    whole: Any, parts: Sequence[Part], total: int, limit: int | None
) -> None:
    """Draw the kinds of parts side by side, and the limit."""
    title = f"{total:,} bytes"
    if limit is not None:
        over = total - limit
        title += f", {abs(over):,} {'over' if over > 0 else 'below'} the limit of "
        title += f"{limit:,}"
        whole.axvline(limit, color="white", linewidth=6)  # stands out from any bar
        whole.axvline(limit, color="#b3261e", linewidth=2, label=f"limit {limit:,}")
    whole.set_title(title, fontsize=13)
    start = 0
    for kind in KINDS:
        size = sum(part.bytes for part in parts if part.kind == kind)
        if size:
            whole.barh(
                0,
                size,
                left=start,
                color=_COLOURS[kind],
                label=f"{kind} {size:,}",
                edgecolor="white",
                linewidth=0.5,
            )
        start += size
    whole.set_yticks([])
    whole.set_xlim(0, 1.02 * max(total, limit or 0))


def _draw_largest(largest: Any, bars: Sequence[Part]) -> None:
    """Draw the largest parts one below the other."""
    for row, part in enumerate(bars):
        largest.barh(row, part.bytes, color=_COLOURS.get(part.kind, "#dddddd"))
        largest.annotate(
            f"{part.bytes:,}  {100 * part.share:.1f} %",
            (part.bytes, row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    largest.set_yticks(
        range(len(bars)),
        [_label(part) for part in bars],
        fontsize=9,
        parse_math=False,
    )
    largest.invert_yaxis()
    largest.set_xlim(0, 1.15 * max(part.bytes for part in bars))
    largest.set_xlabel("bytes")


def draw_comparison(comparison: Comparison, path: str | Path) -> None:
    """Draw how far two models are apart after each layer, as PNG.

    Args:
        comparison: from :func:`wav2small.export.checks.layers.compare_layers`
        path: file to write

    Raises:
        ExportError: if the file cannot be written

    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layers = comparison.layers
    height = max(3.0, 1.5 + 0.24 * len(layers))
    figure = Figure(figsize=(_WIDTH, height), dpi=_DOTS, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panel = figure.subplots()
    ratios = [entry.signal_to_difference for entry in layers]
    finite = [ratio for ratio in ratios if math.isfinite(ratio)]
    most = max([*finite, 40.0])
    for row, ratio in enumerate(ratios):
        equal = not math.isfinite(ratio)
        panel.barh(
            row, most if equal else ratio, color="#7fb2d6" if equal else "#1f5f8b"
        )
        panel.annotate(
            "equal" if equal else f"{ratio:.1f} dB",
            (most if equal else max(ratio, 0), row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    panel.axvline(PARTING, color="#b3261e", linewidth=1, linestyle="--")
    panel.set_yticks(range(len(layers)), [e.layer for e in layers], fontsize=9)
    panel.invert_yaxis()
    panel.set_xlim(min([0.0, *finite]), 1.12 * most)
    panel.set_xlabel("power of the layer over that of the difference, dB")
    ccc = "  ".join(f"{value:.4f}" for value in comparison.concordance_cc)
    panel.set_title(
        f"{comparison.signals} clips, CCC of the scores  {ccc}", fontsize=13
    )
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)
    buffer = io.BytesIO()
    canvas.print_png(buffer, metadata={"Software": ""})
    _write(Path(path), buffer.getvalue())


def _largest(parts: list[Part]) -> list[Part]:
    """As many parts as there is room for, the last one the sum of the rest."""
    if len(parts) <= _BARS:
        return parts
    kept, rest = parts[: _BARS - 1], parts[_BARS - 1 :]
    return [
        *kept,
        Part(
            f"{len(rest)} smaller ones",
            "several kinds",
            sum(part.bytes for part in rest),
            sum(part.share for part in rest),
        ),
    ]


def _label(part: Part) -> str:
    text = f"{part.name}, {part.detail}" if part.detail else part.name
    text = " ".join(text.split())
    return text if len(text) <= 56 else text[:53] + "..."


def _write(path: Path, data: bytes) -> None:
    try:
        replace_file(path, data)
    except OSError as error:
        raise ExportError(
            f"picture '{path.name}' must be in a folder that can be written to, got "
            f"{error.strerror}: choose another"
        ) from error
