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


@dataclass(frozen=True, slots=True)
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
    """Values of :data:`METADATA`, as far as they are known."""

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
      with the splits of the tables and what its schemes state about a speaker.
      Its scores are not used, since they may be by a machine;
      name one of its tables as a manifest to use them as scores by humans.

    The result depends neither on the order of the paths nor on the locale.
    Where a recording has several rows, such as one for each rater,
    its scores are their mean,
    and its metadata are those of the first manifest by name.
    No part of a recording may belong to two splits.
    A :class:`LeftOutWarning` names what is in a folder and cannot be read,
    such as other audio formats and closed folders.
    A file whose name is not UTF-8 is among the sources;
    reading it is an error.

    Args:
        paths: where to look

    Returns:
        folder below which all audio lies,
        and the sources, sorted by name and start, each once

    Raises:
        InputError: if a path is missing or holds no audio,
            or a manifest is wrong

    """
    # each path absolute, with the spelling that the caller used
    as_given = {
        absolute(path): os.fspath(path) for path in sorted(paths, key=os.fspath)
    }
    if not as_given:
        raise InputError("audio must be at least one path, got none: name one")
    found = [(path, *_rows(path)) for path in sorted(as_given)]
    root = _common_folder(found)
    groups, as_named = _group(found, as_given)
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
    found: _Found, as_given: Mapping[Path, str]
) -> tuple[dict[_Part, list[Row]], dict[Path, str]]:
    """Return the rows about each part of a file, and each file as it was named."""
    groups: dict[_Part, list[Row]] = {}
    as_named: dict[Path, str] = {}
    for path, base, rows in found:
        given = as_given[path]
        above = given if base == path else os.path.dirname(given)  # noqa: PTH120
        for row in rows:
            file = base / row.file
            as_named.setdefault(file, os.path.join(above, row.file))  # noqa: PTH118
            groups.setdefault((file, row.start, row.end), []).append(row)
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
        # labels and reports are in UTF-8; the file is never opened by this name
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


def _rows(path: Path) -> tuple[Path, list[Row]]:
    """Return the folder that rows are relative to, and the rows."""
    suffix = path.suffix.lower().lstrip(".")
    if not os.path.exists(path):  # noqa: PTH110 (that raises if it is too long)
        raise InputError(f"audio must exist: {one_line(path)}: check the path")
    base = path.parent
    if path.is_dir():
        base = path
        rows = (
            read_database(path)
            if (path / HEADER).is_file()
            else [Row(file) for file in walk(path)]
        )
    elif suffix in ("csv", "parquet"):
        rows = read_database_table(path) or read_manifest(path)
    elif suffix in EXTENSIONS:
        rows = [Row(path.name)]
    else:
        raise InputError(
            f"audio must be a folder, a manifest (csv, parquet) or one of "
            f"{', '.join(EXTENSIONS)}, got: {one_line(path)}: convert it"
        )
    if not rows:
        raise InputError(
            f"audio must be in {one_line(path)}, got none: "
            f"it may be {', '.join(EXTENSIONS)}"
        )
    return base, rows


def _absolute(file: str) -> bool:
    return file.startswith("/")
