"""Sources of audio: in files, folders, manifests and audformat databases."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from .containers import EXTENSIONS, one_line
from .manifests import Row, read_database, read_manifest


@dataclass(frozen=True)
class Source:
    """A recording or a segment of it."""

    path: Path
    """Where it is, absolute."""

    name: str
    """Its path relative to the root of all audio, with forward slashes."""

    start: float | None = None
    """Start in seconds, None for that of the file."""

    end: float | None = None
    """End in seconds, None for that of the file."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    """Those of :data:`METADATA` that are known."""

    human: tuple[float, float, float] | None = None
    """Arousal, dominance, valence by humans in 0..1, NaN for an unknown one."""

    @property
    def key(self) -> tuple[str, float | None, float | None]:
        """Name, start and end, which no two sources share."""
        return self.name, self.start, self.end


def order(source: Source) -> tuple[str, float, float]:
    """Return the key by which sources are sorted: name, start, end."""
    return (
        source.name,
        source.start or 0.0,
        math.inf if source.end is None else source.end,
    )


def find(paths: Iterable[str | os.PathLike[str]]) -> tuple[Path, list[Source]]:
    """Find audio in files, folders, manifests and databases.

    Each path is one of

    * an audio file,
    * a folder, searched with its subfolders for :data:`EXTENSIONS`;
      hidden files and folders are left out,
    * a manifest ``.csv`` or ``.parquet``:
      column ``file``, absolute or relative to the manifest's folder,
      optionally ``start`` and ``end`` (seconds or time deltas),
      :data:`METADATA`,
      and ``arousal``, ``dominance``, ``valence``: scores by humans in 0..1
      (``human_arousal`` and so on in a table that has a column ``teacher``),
    * an audformat database, a folder with ``db.yaml``:
      files, segments and metadata of its CSV and Parquet tables.
      Its scores are not used, since they may be a machine's;
      give a table of it as manifest to use them as human.

    The result depends neither on the order of the paths nor on the locale.
    Where manifests disagree on a recording, the first by name counts.

    Args:
        paths: where to look

    Returns:
        folder below which all audio lies,
        and the sources, sorted by name and start, each once

    Raises:
        InputError: if a path is missing or holds no audio,
            or a manifest is wrong

    """
    places = sorted({Path(os.path.abspath(path)) for path in paths})  # noqa: PTH100
    if not places:
        raise InputError("audio must be at least one path, got none: name one")
    found = [_rows(place) for place in places]
    bases = {base for base, rows in found if not all(_absolute(r.file) for r in rows)}
    bases |= {
        Path(r.file).parent for _, rows in found for r in rows if _absolute(r.file)
    }
    root = Path(os.path.commonpath(bases))
    sources: dict[tuple[str, float | None, float | None], Source] = {}
    for base, rows in found:
        for row in rows:
            path = base / row.file
            name = path.relative_to(root).as_posix()
            try:
                name.encode()
            except UnicodeEncodeError as error:
                raise InputError(
                    f"name of audio must be UTF-8, got {os.fsencode(path)!r}: rename it"
                ) from error
            new = Source(path, name, row.start, row.end, row.metadata, row.human)
            old = sources.get(new.key)
            if old:
                new = Source(
                    path,
                    name,
                    row.start,
                    row.end,
                    {**row.metadata, **old.metadata},
                    old.human or row.human,
                )
            sources[new.key] = new
    return root, sorted(sources.values(), key=order)


def _rows(place: Path) -> tuple[Path, list[Row]]:
    """Return the folder that rows are relative to, and the rows."""
    suffix = place.suffix.lower().lstrip(".")
    if not place.exists():
        raise InputError(f"audio must exist: {one_line(place)}: check the path")
    base = place.parent
    if place.is_dir():
        base = place
        rows = (
            read_database(place)
            if (place / "db.yaml").is_file()
            else [Row(file) for file in _walk(place)]
        )
    elif suffix in ("csv", "parquet"):
        rows = read_manifest(place)
    elif suffix in EXTENSIONS:
        rows = [Row(place.name)]
    else:
        raise InputError(
            f"audio must be a folder, a manifest (csv, parquet) or one of "
            f"{', '.join(EXTENSIONS)}, got: {one_line(place)}: convert it"
        )
    if not rows:
        raise InputError(
            f"audio must be in {one_line(place)}, got none: "
            f"it may be {', '.join(EXTENSIONS)}"
        )
    return base, rows


def _absolute(file: str) -> bool:
    return file.startswith("/")


def _walk(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            extension = name.rpartition(".")[2].lower()
            if extension in EXTENSIONS and not name.startswith("."):
                yield Path(parent, name).relative_to(folder).as_posix()
