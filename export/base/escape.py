"""Text that comes from a file, written so that it stays text.

Names, labels, licences and paths are chosen by whoever made the file.
Each function here makes them harmless in one target syntax;
whatever writes such a syntax uses it for all that is not its own.
"""

from __future__ import annotations

import html as _html
import json
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

_HIDDEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#&~!])")


def line(text: object) -> str:
    r"""Write text as one line for a terminal or a log.

    Control characters, line breaks, marks that turn the direction of writing
    and bytes that are no UTF-8 become visible, e.g. ``\x1b``.
    What is left can stand in XML; its writer escapes the marks.

    Examples:
        >>> line("a\x1b[31m\nb")
        'a\\x1b[31m\\nb'

    """
    return "".join(
        _visible(letter) if unicodedata.category(letter) in _HIDDEN else letter
        for letter in str(text)
    )


def short(text: object, most: int = 60) -> str:
    """Write text as :func:`line` does, its first characters alone."""
    shown = line(text)
    return shown if len(shown) <= most else shown[: most - 3] + "..."


def lines(text: object) -> str:
    """Write text of several lines for a terminal, each as :func:`line` does."""
    return "\n".join(line(part) for part in str(text).split("\n"))


def c_comment(text: object) -> str:
    """Write text for a comment of C or of a build file.

    Nothing that could end the comment or begin something else stays.
    """
    return re.sub(r"[^A-Za-z0-9 .,:+_-]", "_", str(text))


def markdown(text: object) -> str:
    """Write text for a paragraph or a cell of a table in Markdown."""
    return _MARKDOWN.sub(r"\\\1", line(text))


def html(text: object) -> str:
    """Write text for HTML, also within an attribute in quotes."""
    return _html.escape(line(text), quote=True)


def yaml(text: object) -> str:
    """Write text as a scalar of YAML, in quotes; all but ASCII is escaped."""

    def scalar(letter: str) -> str:
        code = ord(letter)
        if " " <= letter <= "~" and letter not in '"\\':
            return letter
        if 0xD800 <= code < 0xE000:  # half of a surrogate pair cannot be encoded
            code = 0xFFFD
        return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return f'"{"".join(map(scalar, str(text)))}"'


def to_json(value: Any) -> str:
    """Write a value as JSON; what is not a number there is null."""

    def finite(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {key: finite(inner) for key, inner in part.items()}
        if isinstance(part, list | tuple):
            return [finite(inner) for inner in part]
        return None if isinstance(part, float) and not math.isfinite(part) else part

    return json.dumps(finite(value), indent=2, allow_nan=False)


def csv_cell(value: object) -> object:
    """Return a value for a cell of CSV that no spreadsheet takes for a formula.

    A text that begins like a formula gets an apostrophe before it;
    numbers and None stay what they are.
    """
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return value


def csv_path(path: str) -> str:
    """Return a path for a cell of CSV that names the same file when it is read.

    Examples:
        >>> csv_path("=1+1.wav")
        './=1+1.wav'

    """
    return "./" + path if path.startswith(_FORMULA) else path


def _visible(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")
