"""Small JSON files that carry a checksum of themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wav2small.export.base.escape import line, to_json
from wav2small.export.base.files import replace_file
from wav2small.export.base.reading import read_json

from .errors import InputError

_MOST_BYTES = 1 << 16


def write_sealed(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Write a file that :func:`read_sealed` reads.

    Returns:
        the content with its checksum, ``sha256``

    """
    sealed = content | {"sha256": _digest(content)}
    replace_file(path, f"{to_json(sealed)}\n".encode())
    return sealed


def read_sealed(
    path: str | Path, kind: str, name: str, remedy: str, what: str | None = None
) -> dict[str, Any]:
    """Read a file that :func:`write_sealed` wrote.

    Args:
        path: the file
        kind: what its field ``format`` must say
        name: what the file is called in an error
        remedy: what to do, in an error
        what: what the file should be, in an error; by its kind if None

    Raises:
        InputError: if it is another file, or damaged

    """
    what = what or f"a file of {kind}"
    try:
        content = read_json(path, most=_MOST_BYTES)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name} must be {what}, got {line(path)}: "
            f"{getattr(error, 'strerror', None) or error}"
        ) from error
    if (
        not isinstance(content, dict)
        or content.get("format") != kind
        or content.get("sha256") != _digest(content)
    ):
        raise InputError(
            f"{name} must be {what}, got {line(path)}, "
            f"which is another or damaged: {remedy}"
        )
    return content


def _digest(content: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in content.items() if name != "sha256"}
    return hashlib.sha256(to_json(rest).encode()).hexdigest()
