"""Sources of audio: in files, folders, manifests and audformat databases."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ..errors import InputError
from .containers import EXTENSIONS, one_line
from .databases import HEADER, read_database, read_database_table
from .folders import absolute, walk
from .manifests import Row, merge_rows, read_manifest


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

    ratings: int = 0
    """How many rows of tables ``human`` is the mean of."""

    given: str = field(default="", compare=False)
    """The file as the caller named it, or below the folder that was named."""

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
      links are followed, and no folder is searched twice,
    * a manifest ``.csv`` or ``.parquet``:
      column ``file``, absolute or relative to the manifest's folder,
      optionally ``start`` and ``end`` (seconds or time deltas),
      :data:`METADATA`,
      and ``arousal``, ``dominance``, ``valence``: scores by humans in 0..1
      (``human_arousal`` and so on in a table that has a column ``teacher``).
      Blanks and case of the names do not matter,
      nor do the spellings of :mod:`wav2small.audio.spellings`,
    * an audformat database, a folder with ``db.yaml``:
      files, segments and metadata of its CSV and Parquet tables,
      with the splits of the tables and what its schemes tell of a speaker.
      Its scores are not used, since they may be a machine's;
      give a table of it as manifest to use them as human.

    The result depends neither on the order of the paths nor on the locale.
    Where there are several rows of a recording,
    as one for each rater, its scores are their mean;
    of metadata the first by name of the manifest counts.
    No part of a recording may be of two splits.
    What a folder holds and is not read, as other audio formats and closed folders,
    is told by a :class:`LeftOutWarning`.
    A file whose name is not UTF-8 is among the sources;
    an error of it comes when it is read.

    Args:
        paths: where to look

    Returns:
        folder below which all audio lies,
        and the sources, sorted by name and start, each once

    Raises:
        InputError: if a path is missing or holds no audio,
            or a manifest is wrong

    """
    # absolute, and as the caller named them
    places = {absolute(path): os.fspath(path) for path in sorted(paths, key=os.fspath)}
    if not places:
        raise InputError("audio must be at least one path, got none: name one")
    found = [(place, *_rows(place)) for place in sorted(places)]
    root = _common_folder(found)
    groups, as_named = _group(found, places)
    sources = _merge(groups, root, as_named)
    _check_splits(sources)
    return root, sources


_Found = list[tuple[Path, Path, list[Row]]]
"""Each path that was given, the folder that its rows are relative to, its rows."""

_Part = tuple[Path, float | None, float | None]
"""A file, and start and end of a part of it in seconds."""


def _common_folder(found: _Found) -> Path:
    """Return the folder below which all audio lies."""
    folders = {
        base for _, base, rows in found if not all(_absolute(r.file) for r in rows)
    }
    folders |= {
        Path(r.file).parent for _, _, rows in found for r in rows if _absolute(r.file)
    }
    return Path(os.path.commonpath(folders))


def _group(
    found: _Found, places: Mapping[Path, str]
) -> tuple[dict[_Part, list[Row]], dict[Path, str]]:
    """Return the rows about each part of a file, and each file as it was named."""
    groups: dict[_Part, list[Row]] = {}
    as_named: dict[Path, str] = {}
    for place, base, rows in found:
        given = places[place]
        above = given if base == place else os.path.dirname(given)  # noqa: PTH120
        for row in rows:
            path = base / row.file
            as_named.setdefault(path, os.path.join(above, row.file))  # noqa: PTH118
            groups.setdefault((path, row.start, row.end), []).append(row)
    return groups, as_named


def _merge(
    groups: Mapping[_Part, list[Row]],
    root: Path,
    as_named: Mapping[Path, str],
) -> list[Source]:
    """Make one source of all rows about the same part of a file, sorted."""
    sources = []
    paths_by_name: dict[str, Path] = {}
    for (path, start, end), rows in groups.items():
        # labels and reports are of UTF-8; it is never read under this name
        name = os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")
        if paths_by_name.setdefault(name, path) != path:
            raise InputError(
                f"names of audio must differ in UTF-8, got '{name}' twice: rename one"
            )
        row = merge_rows(rows, name)
        values = row.metadata, row.human, row.ratings
        sources.append(Source(path, name, start, end, *values, as_named[path]))
    return sorted(sources, key=order)


def _check_splits(sources: list[Source]) -> None:
    """Refuse audio that is held out and is in another part of the corpus as well."""
    for name, parts in groupby(sources, lambda source: source.name):
        reached: dict[str | None, float] = {}
        for part in parts:
            split = part.metadata.get("split")
            start, end = order(part)[1:]
            for other, until in reached.items():
                differ = other != split and {other, split} != {None, "train"}
                if start < until and differ:
                    raise InputError(
                        f"split of audio must be one, got {other or 'none'} and "
                        f"{split or 'none'} of what begins at {start:g} s: "
                        f"{one_line(name)}: correct the tables"
                    )
            reached[split] = max(end, reached.get(split, 0.0))


def _rows(place: Path) -> tuple[Path, list[Row]]:
    """Return the folder that rows are relative to, and the rows."""
    suffix = place.suffix.lower().lstrip(".")
    if not os.path.exists(place):  # noqa: PTH110 (that raises if it is too long)
        raise InputError(f"audio must exist: {one_line(place)}: check the path")
    base = place.parent
    if place.is_dir():
        base = place
        rows = (
            read_database(place)
            if (place / HEADER).is_file()
            else [Row(file) for file in walk(place)]
        )
    elif suffix in ("csv", "parquet"):
        rows = read_database_table(place) or read_manifest(place)
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
