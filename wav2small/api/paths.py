"""What a user may name as audio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

Paths = str | Path | Sequence[str | Path]
"""A file, a folder or a manifest, or several of them."""


def to_paths(sources: Paths) -> list[Path]:
    """Return the paths of what was named, one or several."""
    several = [sources] if isinstance(sources, str | Path) else sources
    return [Path(source) for source in several]
