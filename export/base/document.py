"""Reports as one HTML file each: text, tables and drawings in one style.

What a document shows is text from elsewhere, so nothing is taken for markup
but what the functions here made.
A document loads nothing and runs nothing, which its content security policy holds.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import zip_longest
from typing import NamedTuple

from . import escape


class Markup(str):
    """Text that is markup already; every other text is escaped."""

    __slots__ = ()


NOTHING = Markup("")


@dataclass(frozen=True)
class Cell:
    """A cell of a table with a class of the style, and a drawing under its text."""

    text: str
    style: str = ""
    drawing: Markup = NOTHING
    note: str = ""


class BarPart(NamedTuple):
    """A part of a bar."""

    colour: str
    """``0`` to ``6``, or ``p``, ``f``, ``o``: passed, failed, open."""

    share: float
    """Its length, the whole bar has 1."""


def document(title: str, parts: Iterable[Markup]) -> str:
    """Make a document of a heading and parts."""
    style = common_style() + read("report.css")
    policy = (
        f"default-src 'none'; style-src '{digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    shown = markup(title)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{shown}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            f"<h1>{shown}</h1>",
            *parts,
            "</body>",
            "</html>",
            "",
        ]
    )


def common_style() -> str:
    """Return the style that reports and pages have in common."""
    return read("document.css")


def read(name: str) -> str:
    """Return a text file that lies beside this module."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def digest(text: str) -> str:
    """Return the digest by which a content security policy allows a text."""
    code = base64.b64encode(hashlib.sha256(text.encode()).digest())
    return f"sha256-{code.decode()}"


def markup(text: str) -> Markup:
    """Return markup as it is, and other text so that it stays text."""
    return text if isinstance(text, Markup) else Markup(escape.html(text))


def heading(text: str) -> Markup:
    """Return the heading of a section."""
    return Markup(f"<h2>{markup(text)}</h2>")


def paragraph(text: str, style: str = "") -> Markup:
    """Return a paragraph with a class of the style."""
    return Markup(f'<p class="{style}">{markup(text)}</p>')


def details(summary: str, *parts: Markup) -> Markup:
    """Return parts that a reader opens."""
    inner = "\n".join(parts)
    return Markup(f"<details><summary>{markup(summary)}</summary>\n{inner}\n</details>")


def table(
    name: str, header: Sequence[str], rows: Iterable[Sequence[str | Cell]]
) -> Markup:
    """Return a table that scrolls by itself where a window is narrow.

    Args:
        name: what it holds, for who cannot see it
        header: name of each column; none if it is empty
        rows: cells of each row, the first names it

    """
    lines = [
        f'<div class="wide" role="region" tabindex="0" aria-label="{markup(name)}">',
        "<table>",
    ]
    rows = list(rows)
    if header:
        # numbers stand to the right, and so do the names above them
        first_row = rows[0] if rows else ()
        styles = (cell.style if isinstance(cell, Cell) else "" for cell in first_row)
        names = "".join(
            f'<th scope="col"{_NUMBER if style[:1] == "n" else ""}>{markup(text)}</th>'
            for text, style in zip_longest(header, styles, fillvalue="")
        )
        lines.append(f"<thead><tr>{names}</tr></thead>")
    lines.append("<tbody>")
    for first, *others in rows:
        cells = "".join(_cell(cell, "td") for cell in others)
        lines.append(f"<tr>{_cell(first, 'th')}{cells}</tr>")
    return Markup("\n".join([*lines, "</tbody>", "</table>", "</div>"]))


_NUMBER = ' class="n"'


def _cell(cell: str | Cell, tag: str) -> str:
    cell = cell if isinstance(cell, Cell) else Cell(cell)
    opening = tag + (' scope="row"' if tag == "th" else "")
    opening += f' class="{cell.style}"' if cell.style else ""
    after = f" <small>{markup(cell.note)}</small>" if cell.note else ""
    return f"<{opening}>{markup(cell.text)}{after}{cell.drawing}</{tag}>"


def key(names: Mapping[str, str]) -> Markup:
    """Return the legend of a drawing: what each colour is."""
    items = (
        f'<span class="key c{colour}"></span> {markup(name)}'
        for colour, name in names.items()
    )
    return Markup(f'<p class="note">{" &ensp; ".join(items)}</p>')


def bar(segments: Iterable[BarPart], mark: float | None = None) -> Markup:
    """Return a bar of segments, one after the other, and a mark.

    It says nothing that the text beside it does not say.

    Args:
        segments: what it consists of; what is behind 1 cannot be seen
        mark: place of a limit, the whole bar has 1

    """
    parts, start = [], 0.0
    for colour, share in segments:
        parts.append(
            f'<rect class="c{colour}" x="{100 * start:.4g}" '
            f'width="{100 * max(share, 0.0):.4g}" height="1"/>'
        )
        start += max(share, 0.0)
    if mark is not None:
        parts.append(
            f'<rect class="mark" x="{100 * mark - 0.75:.4g}" width="1.5" height="1"/>'
        )
    return Markup(
        '<svg class="bar" viewBox="0 0 100 1" preserveAspectRatio="none" '
        f'aria-hidden="true">{"".join(parts)}</svg>'
    )


def figure(drawing: Markup, caption: str) -> Markup:
    """Return a drawing with what it shows."""
    return Markup(
        f"<figure>{drawing}<figcaption>{markup(caption)}</figcaption></figure>"
    )


def panels(figures: Iterable[Markup]) -> Markup:
    """Return figures side by side, where there is room."""
    return Markup(f'<div class="panels">{"".join(figures)}</div>')
