"""Find audio and decode it: mono, 16 kHz, float32.

Shape:
    signal: ``(time,)``, float32, full scale is 1, at 16 kHz

Nothing is trusted:
lengths in headers are checked against the file,
samples are read in blocks of bounded size and must be finite.
"""

from __future__ import annotations

import csv
import math
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import soundfile
import soxr

from ..adv import DIMENSIONS, SAMPLING_RATE
from ..errors import InputError

EXTENSIONS = ("wav", "flac", "ogg", "oga", "opus", "mp3")
"""Audio files by their names, in either case."""

METADATA = ("speaker", "gender", "language", "emotion", "text", "split")
"""What a manifest may say of a recording."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
"""Sampling rates in Hz beyond which a header is not believed."""

MAX_CHANNELS = 64
"""Most channels of a file."""

MAX_LEVEL = 100.0
"""Largest sample, where full scale is 1: 40 dB of headroom for float files."""

END_TOLERANCE = 0.1
"""Seconds by which a given end may lie behind the end of the audio,
since decoders of lossy formats pad differently."""

_READ_VALUES = 1 << 22
"""Most samples of all channels that one read asks for."""


class AudioError(InputError):
    """A file of audio cannot be used. One line, which names the file."""


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


# Finding ---------------------------------------------------------------------


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


@dataclass(frozen=True)
class _Row:
    """A row of a manifest; ``file`` is relative to its folder."""

    file: str
    start: float | None = None
    end: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    human: tuple[float, float, float] | None = None


def _rows(place: Path) -> tuple[Path, list[_Row]]:
    """Return the folder that rows are relative to, and the rows."""
    suffix = place.suffix.lower().lstrip(".")
    if not place.exists():
        raise InputError(f"audio must exist: {one_line(place)}: check the path")
    base = place.parent
    if place.is_dir():
        base = place
        rows = (
            _database(place)
            if (place / "db.yaml").is_file()
            else [_Row(file) for file in _walk(place)]
        )
    elif suffix in ("csv", "parquet"):
        rows = _manifest(place)
    elif suffix in EXTENSIONS:
        rows = [_Row(place.name)]
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


def _database(folder: Path) -> list[_Row]:
    tables = sorted([*folder.glob("db.*.csv"), *folder.glob("db.*.parquet")])
    rows: dict[tuple[str, float | None, float | None], dict[str, str]] = {}
    for table in tables:
        columns, records = _read_table(table)
        if "file" not in columns:  # a table of something else than audio
            continue
        for row in _parse(table, columns, records, human=False):
            known = rows.setdefault((row.file, row.start, row.end), {})
            known.update({k: v for k, v in row.metadata.items() if k not in known})
    if not rows:
        raise InputError(
            f"database must hold a CSV or Parquet table of files: {one_line(folder)}: "
            "save it with storage_format='parquet'"
        )
    # where segments of a file are known,
    # tables of whole files only tell more of it
    segmented = {file for file, start, end in rows if (start, end) != (None, None)}
    return [
        _Row(file, start, end, {**rows.get((file, None, None), {}), **metadata})
        for (file, start, end), metadata in rows.items()
        if (start, end) != (None, None) or file not in segmented
    ]


def _manifest(path: Path) -> list[_Row]:
    columns, records = _read_table(path)
    if "file" not in columns:
        raise InputError(
            f"manifest must have a column 'file', got "
            f"{', '.join(columns) or 'nothing'}: {one_line(path)}: add it"
        )
    return list(_parse(path, columns, records, human=True))


def _read_table(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the names of a table's columns, and its rows."""
    try:
        if path.suffix.lower() == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file, restkey="", strict=True)
                return list(reader.fieldnames or []), list(reader)
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(path, partitioning=None)
        wanted = {
            "file", "start", "end", "teacher", *METADATA, *DIMENSIONS,
            *(f"human_{name}" for name in DIMENSIONS),
        }  # fmt: skip
        table = table.select([n for n in table.column_names if n in wanted])
        for index, column in enumerate(table.schema):
            if pyarrow.types.is_duration(column.type):
                unit = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[column.type.unit]
                seconds = [
                    None if ticks is None else ticks / unit
                    for ticks in table[index].cast(pyarrow.int64()).to_pylist()
                ]
                table = table.set_column(
                    index, column.name, pyarrow.array(seconds, pyarrow.float64())
                )
        return table.column_names, table.to_pylist()
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's are of these
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"table cannot be read: {one_line(path)}: {reason}: save it again"
        ) from error


def _parse(
    path: Path, columns: Sequence[str], records: list[dict[str, Any]], *, human: bool
) -> Iterator[_Row]:
    prefix = "human_" if "teacher" in columns else ""
    for number, record in enumerate(records, start=1):
        where = f"row {number} of {one_line(path)}"
        file = posixpath.normpath(_text(record["file"]) or ".")
        if file.startswith("../") or file in (".", "..", "/"):
            raise InputError(
                f"file must be an absolute path or one below the table's folder, got "
                f"'{_text(record['file'])}': {where}: move table or audio"
            )
        start = _seconds(record.get("start"), "start", where)
        end = _seconds(record.get("end"), "end", where)
        if end is None and not start:
            start = None
        if end is not None and end <= (start or 0.0):
            raise InputError(
                f"end must be behind start {start or 0.0} s, got {end} s: {where}"
            )
        metadata = {
            name: text for name in METADATA if (text := _text(record.get(name)))
        }
        scores = tuple(
            _score(record.get(prefix + name), prefix + name, where) if human else None
            for name in DIMENSIONS
        )
        known = any(score is not None for score in scores)
        arousal, dominance, valence = (
            math.nan if score is None else score for score in scores
        )
        yield _Row(
            file, start, end, metadata, (arousal, dominance, valence) if known else None
        )


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value).strip()


_TIMEDELTA = re.compile(r"(?:(\d+) days? ?\+?)?(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def _seconds(value: object, name: str, where: str) -> float | None:
    text = _text(value)
    if text in ("", "NaT"):
        return None
    delta = _TIMEDELTA.fullmatch(text)
    try:
        if delta:
            days, hours, minutes = (int(part or 0) for part in delta.groups()[:3])
            seconds = 86400 * days + 3600 * hours + 60 * minutes + float(delta[4])
        elif text.endswith((" day", " days")):
            seconds = 86400.0 * float(text.split()[0])
        else:
            seconds = float(text)
        if not 0 <= seconds < math.inf:
            raise ValueError("out of range")
    except ValueError as error:
        raise InputError(
            f"{name} must be seconds or a time delta, at least 0, got '{text}': {where}"
        ) from error
    return round(seconds, 9)


def _score(value: object, name: str, where: str) -> float | None:
    text = _text(value)
    if not text or text.lower() == "nan":
        return None
    try:
        score = float(text)
        if not 0 <= score <= 1:
            raise ValueError("out of range")
    except ValueError as error:
        raise InputError(
            f"{name} must be in 0..1, got '{text}': {where}: "
            "scale it, a scale of 1..7 by (x - 1) / 6"
        ) from error
    return score


# Decoding --------------------------------------------------------------------


def stream(
    path: Path,
    *,
    block_seconds: float = 30.0,
    start: float = 0.0,
    end: float | None = None,
) -> Iterator[np.ndarray]:
    """Decode a file in blocks.

    Channels are averaged,
    other sampling rates are converted without a seam between blocks.
    At most a block is in memory,
    whatever length the header claims.
    A fault in the file may show only when the blocks before it are out,
    so a result counts when the iterator is exhausted.

    Args:
        path: the file
        block_seconds: most audio to decode at a time, in seconds
        start: where to begin, in seconds
        end: where to stop, in seconds, None for the end of the file

    Yields:
        blocks of at least one sample, ``(time,)``, float32 at 16 kHz

    Raises:
        AudioError: if the file is missing, no audio, truncated,
            damaged or beyond bounds
        InputError: if an argument is out of range

    """
    if not 0 < block_seconds < math.inf:
        raise InputError(f"block_seconds must be above 0, got {block_seconds}")
    if not 0 <= start < math.inf:
        raise InputError(f"start must be at least 0 seconds, got {start}")
    if end is not None and not start < end < math.inf:
        raise InputError(f"end must be behind start {start} s, got {end} s")
    return _blocks(Path(path), block_seconds, start, end)


def beginning(source: Source, seconds: float) -> np.ndarray:
    """Read at most the first seconds of a source.

    Args:
        source: recording or segment
        seconds: the most that is read

    Returns:
        array of shape ``(time,)``, float32 at 16 kHz

    Raises:
        AudioError: as of :func:`stream`

    """
    start = source.start or 0.0
    blocks = stream(source.path, start=start, end=source.end, block_seconds=seconds)
    return next(blocks, np.zeros(0, np.float32))


def load(
    path: Path,
    *,
    start: float = 0.0,
    end: float | None = None,
    max_seconds: float = 600.0,
) -> np.ndarray:
    """Decode a whole file, or a segment of it.

    Args:
        path: the file
        start: where to begin, in seconds
        end: where to stop, in seconds, None for the end of the file
        max_seconds: longest signal to hold in memory, in seconds

    Returns:
        signal of shape ``(time,)``, float32 at 16 kHz

    Raises:
        AudioError: if the file cannot be decoded, or is longer
        InputError: if an argument is out of range

    """
    blocks, samples = [], 0
    for block in stream(path, start=start, end=end):
        blocks.append(block)
        samples += len(block)
        if samples > max_seconds * SAMPLING_RATE:
            raise AudioError(
                f"audio must be at most {max_seconds:g} s long: {one_line(path)}: "
                "cut it"
            )
    return np.concatenate(blocks)


def _blocks(
    path: Path, block_seconds: float, start: float, end: float | None
) -> Iterator[np.ndarray]:
    with _open(path) as file:
        rate = file.samplerate
        seconds = file.frames / rate
        if start >= seconds or (end is not None and end > seconds + END_TOLERANCE):
            raise AudioError(
                f"segment must lie in the audio of {seconds:.3f} s, got {start} to "
                f"{'its end' if end is None else end}: {one_line(path)}: "
                "correct the table"
            )
        position = round(start * rate)
        last = file.frames if end is None else min(file.frames, round(end * rate))
        size = max(1, min(int(block_seconds * rate), _READ_VALUES // file.channels))
        resampler = (
            None
            if rate == SAMPLING_RATE
            else soxr.ResampleStream(rate, SAMPLING_RATE, 1, dtype="float32")
        )
        if position:
            file.seek(position)
        empty = True
        while position < last:
            wanted = min(size, last - position)
            samples = file.read(wanted, dtype="float32", always_2d=True)
            if len(samples) < wanted:
                raise AudioError(
                    f"audio is truncated: {one_line(path)}: {position + len(samples)} "
                    f"of {file.frames} samples decode: copy or encode it again"
                )
            position += wanted
            # a NaN is the maximum of what it is in, and beyond no bound
            peak = max(float(samples.max()), -float(samples.min()))
            if not peak <= MAX_LEVEL:
                what = f"reach {peak:g}" if math.isfinite(peak) else "hold NaN or Inf"
                raise AudioError(
                    f"samples must be finite and about -1..1: {one_line(path)}: they "
                    f"{what} before {position / rate:.3f} s: write the file again"
                )
            signal = samples[:, 0] if file.channels == 1 else samples.mean(axis=1)
            if resampler:
                signal = resampler.resample_chunk(signal.copy(), position >= last)
            if len(signal):
                empty = False
                yield signal
        if empty:
            raise AudioError(
                f"audio is shorter than one sample: {one_line(path)}: leave it out"
            )


@contextmanager
def _open(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a file whose header can be believed."""
    shown = one_line(path)
    if path.suffix.lower().lstrip(".") not in EXTENSIONS:
        raise AudioError(
            f"audio must be one of {', '.join(EXTENSIONS)}: {shown}: convert it"
        )
    try:
        if not path.is_file():
            raise AudioError(f"audio must be a file that exists: {shown}: check it")
        with path.open("rb") as raw:
            size = raw.seek(0, os.SEEK_END)
            raw.seek(0)
            if not size:
                raise AudioError(f"audio is empty (0 bytes): {shown}: copy it again")
            magic = raw.read(4)
            if magic in (b"RIFF", b"RIFX", b"RF64"):
                _check_riff(raw, size, magic, shown)
            elif magic == b"OggS":
                _check_ogg(raw, size, shown)
    except OSError as error:
        raise AudioError(
            f"audio cannot be read: {shown}: {error.strerror}: check its permissions"
        ) from error
    try:
        with soundfile.SoundFile(os.fspath(path)) as file:
            if file.format not in ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3"):
                raise AudioError(
                    f"audio must be in a format of {', '.join(EXTENSIONS)}, got "
                    f"{file.format}: {shown}: convert it"
                )
            if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
                raise AudioError(
                    f"sampling rate must be {LOWEST_RATE}..{HIGHEST_RATE} Hz, got "
                    f"{file.samplerate}: {shown}: its header is wrong"
                )
            if file.channels > MAX_CHANNELS:
                raise AudioError(
                    f"channels must be at most {MAX_CHANNELS}, got {file.channels}: "
                    f"{shown}: its header is wrong"
                )
            if file.frames <= 0:
                raise AudioError(
                    f"audio has no samples: {shown}: its header or its recording failed"
                )
            if file.frames >= 2**62:
                raise AudioError(
                    f"header must state the length: {shown}: encode the file again"
                )
            yield file
    except soundfile.SoundFileError as error:
        reason = str(getattr(error, "error_string", error)).strip() or "no reason given"
        raise AudioError(
            f"audio cannot be decoded: {shown}: {reason.rstrip('.')}: "
            "it is no audio, or truncated or damaged; copy or encode it again"
        ) from error


def _check_riff(raw: BinaryIO, size: int, magic: bytes, shown: str) -> None:
    """Walk the chunks of a WAV file: they must end where the file does.

    libsndfile takes what is there without a word.
    """

    def wrong(what: str) -> AudioError:
        return AudioError(
            f"lengths in the header must fit the file: {shown}: {what}: "
            "the file is truncated or its header wrong; copy it again or convert it"
        )

    endian: Literal["big", "little"] = "big" if magic == b"RIFX" else "little"
    header = raw.read(8)
    riff = int.from_bytes(header[:4], endian)
    # 8 bytes of slack: some writers count the header or forget the padding
    if magic != b"RF64" and abs(riff + 8 - size) > 8:
        raise wrong(f"RIFF claims {riff} of {size - 8} bytes")
    position, align, large, found = 12, 1, 0, False
    while size - position >= 8:
        raw.seek(position)
        name, field_ = raw.read(4), raw.read(4)
        length = int.from_bytes(field_, endian)
        content = raw.read(24) if name in (b"fmt ", b"ds64") else b""
        if name == b"data" and magic == b"RF64" and length == 0xFFFFFFFF:
            length = large
        if not all(32 <= byte < 127 for byte in name):
            raise wrong(f"no chunk at byte {position}")
        if position + 8 + length > size:
            title = name.decode("ascii").strip()
            raise wrong(f"{title} claims {length} of {size - position - 8} bytes")
        if name == b"fmt ":
            align = int.from_bytes(content[12:14], endian) or 1
        elif name == b"ds64":
            large = int.from_bytes(content[8:16], "little")
        elif name == b"data":
            found = True
            if length % align:
                raise wrong(f"data claims {length} bytes in blocks of {align}")
        position += 8 + length + length % 2
    raw.seek(min(position, size))
    if raw.read(8).strip(b"\0"):
        raise wrong(f"no chunk at byte {position}")
    if not found:
        raise wrong("no data chunk")


def _check_ogg(raw: BinaryIO, size: int, shown: str) -> None:
    """Walk the pages of an Ogg file: each stream must be whole and end.

    libsndfile gives less audio, or none, without a word.
    """
    position = 0
    pages: dict[bytes, int] = {}
    open_streams: set[bytes] = set()
    while position < size:
        raw.seek(position)
        header = raw.read(27)
        segments = raw.read(header[26]) if len(header) == 27 else b""
        serial = header[14:18]
        number = int.from_bytes(header[18:22], "little")
        end = position + 27 + len(segments) + sum(segments)
        if (
            header[:4] != b"OggS"
            or len(header) < 27
            or len(segments) < header[26]
            or end > size
            or pages.get(serial, number - 1) != number - 1
        ):
            raise AudioError(
                f"audio is truncated or damaged: {shown}: no whole Ogg page at byte "
                f"{position}: copy or encode it again"
            )
        pages[serial] = number
        if header[5] & 4:
            open_streams.discard(serial)
        else:
            open_streams.add(serial)
        position = end
    if open_streams:
        raise AudioError(
            f"audio is truncated: {shown}: its Ogg stream has no end: "
            "copy or encode it again"
        )


def one_line(path: str | os.PathLike[str]) -> str:
    """Return a path that fits into one line."""
    text = os.fspath(path)
    return text if text.isprintable() else ascii(text)
