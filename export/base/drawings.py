"""Drawings of a document, as SVG whose colours follow its style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .document import Markup, markup


class DrawnBlock(NamedTuple):
    """Something that takes room for some time."""

    name: str
    """What is told of it where a pointer rests on it."""

    colour: str
    """As that of a segment of a bar."""

    start: float
    """When it begins, and its length, both in units of time."""

    length: float

    bottom: float
    """Where it lies, and its height, both in units of room."""

    height: float


def plane(
    name: str, blocks: Iterable[DrawnBlock], size: tuple[float, float], mark: float
) -> Markup:
    """Return blocks over time, from left to right, and over room, upwards.

    Args:
        name: what it shows, for who cannot see it
        blocks: what it consists of
        size: time and room of the whole drawing
        mark: room at which a line is drawn

    """
    width, height = size
    parts = [
        f'<rect class="block c{block.colour}" x="{block.start:.6g}" '
        f'y="{height - block.bottom - block.height:.6g}" width="{block.length:.6g}" '
        f'height="{block.height:.6g}"><title>{markup(block.name)}</title></rect>'
        for block in blocks
    ]
    parts.append(f'<path class="line cf" d="M0 {height - mark:.6g}H{width:g}"/>')
    return Markup(
        f'<svg class="plane" viewBox="0 0 {width:g} {height:.6g}" role="img" '
        f'preserveAspectRatio="none" aria-label="{markup(name)}">{"".join(parts)}</svg>'
    )


def scatter(name: str, x: Sequence[float], y: Sequence[float]) -> Markup:
    """Return points in the square of 0 to 1, and the line where both are the same.

    Points outside lie at the edge.
    """
    places = (
        f"M{_place(across)} {_place(1 - up)}h0" for across, up in zip(x, y, strict=True)
    )
    return Markup(
        f'<svg class="square" viewBox="-9 -3 112 112" role="img" '
        f'aria-label="{markup(name)}">{_GRID}{_ticks(100)}'
        '<text x="-2" y="2" text-anchor="end">1</text>'
        '<text x="-2" y="101" text-anchor="end">0</text>'
        f'<path class="dots c0" d="{"".join(places)}"/></svg>'
    )


def stairs(name: str, series: Sequence[tuple[str, Sequence[float]]]) -> Markup:
    """Return shares of equal bins of 0 to 1 as stairs; the last series is filled.

    Args:
        name: what they show, for who cannot see them
        series: colour and shares of each; the highest share reaches the top

    """
    top = max([0.01, *(share for _, shares in series for share in shares)])
    lines = []
    for colour, shares in series:
        step = 100 / len(shares)
        path = "M0 60" + "".join(
            f"V{60 - 60 * share / top:.4g}h{step:g}" for share in shares
        )
        lines.append(f'<path class="line c{colour}" d="{path}V60"/>')
    filled = lines[-1].replace('class="line', 'class="fill')
    return Markup(
        f'<svg class="steps" viewBox="-9 -6 112 75" role="img" '
        f'aria-label="{markup(name)}">{filled}{"".join(lines)}{_ticks(60)}'
        f'<text x="0" y="-1">{top:.0%}</text></svg>'
    )


_GRID = '<path class="grid" d="M0 0H100V100H0ZM0 50H100M50 0V100M0 100L100 0"/>'


def _ticks(bottom: int) -> str:
    return "".join(
        f'<text x="{100 * place:g}" y="{bottom + 6}" text-anchor="middle">{place:g}'
        "</text>"
        for place in (0, 0.5, 1)
    )


def _place(share: float) -> str:
    return f"{100 * min(1.0, max(0.0, share)):.4g}"
