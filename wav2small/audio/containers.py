"""Open a file of audio whose header can be believed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import soundfile

from wav2small.export.base.reading import open_file

from ..errors import InputError

EXTENSIONS = ("wav", "flac", "ogg", "oga", "opus", "mp3")
"""Audio files by their names, in either case."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
"""Sampling rates in Hz beyond which a header is not believed."""

MAX_CHANNELS = 64
"""Most channels of a file."""

_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBE")
"""First bytes of the tags that some programs write after the audio."""

_UNKNOWN = {0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF}
"""Lengths that writers state before they know the true one:
those of SoX, of several others, of arecord and of FFmpeg.
A length of 0 is not among them, because libsndfile believes it."""


class AudioError(InputError):
    """A file of audio cannot be used. One line, which names the file."""


def check(path: Path) -> None:
    """Look at a file before it is read or hashed.

    Raises:
        AudioError: if it is no file, or its header cannot be believed

    """
    with open_audio(path):
        pass


@contextmanager
def open_audio(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a file whose header can be believed.

    Raises:
        AudioError: if it is none

    """
    shown = one_line(path)
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        raise AudioError(f"name of audio must be UTF-8, got {shown}: rename it") from (
            error
        )
    if path.suffix.lower().lstrip(".") not in EXTENSIONS:
        raise AudioError(
            f"audio must be one of {', '.join(EXTENSIONS)}: {shown}: convert it"
        )
    try:
        with open_file(path) as raw:
            _check_lengths(raw, shown)
    except OSError as error:
        raise AudioError(
            f"audio must be a file that can be read, got {error.strerror}: {shown}: "
            "check the path and its permissions"
        ) from error
    try:
        with soundfile.SoundFile(os.fspath(path)) as file:
            _check_header(file, shown)
            yield file
    except soundfile.SoundFileError as error:
        reason = str(getattr(error, "error_string", error)).strip() or "no reason given"
        raise AudioError(
            f"audio cannot be decoded: {shown}: {reason.rstrip('.')}: "
            "it is no audio, or truncated or damaged; copy or encode it again"
        ) from error


def _check_lengths(raw: BinaryIO, shown: str) -> None:
    """Check what libsndfile does not: that the audio is as long as it states."""
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    if not size:
        raise AudioError(f"audio is empty (0 bytes): {shown}: copy it again")
    magic = raw.read(4)
    if magic in (b"RIFF", b"RIFX", b"RF64"):
        _check_riff(raw, size, magic, shown)
    elif magic == b"OggS":
        _check_ogg(raw, size, shown)


def _check_header(file: soundfile.SoundFile, shown: str) -> None:
    """Check that format, rate, channels and length can be those of speech."""
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


def _check_riff(raw: BinaryIO, size: int, magic: bytes, shown: str) -> None:
    """Walk the chunks of a WAV file: they must end where the file does.

    libsndfile reads a truncated file without a warning.
    Two kinds of files may differ from their header, because nothing is lost:
    a file that was written to a pipe, whose length was not known at its beginning,
    and a file with a tag after its audio.
    """

    def wrong(what: str) -> AudioError:
        return AudioError(
            f"lengths in the header must fit the file: {shown}: {what}: "
            "the file is truncated or its header wrong; copy it again or convert it"
        )

    endian: Literal["big", "little"] = "big" if magic == b"RIFX" else "little"
    riff = int.from_bytes(raw.read(8)[:4], endian)
    position, align, large, found, counted = 12, 1, 0, False, False
    while size - position >= 8 and not (found and _is_tag(raw, position)):
        raw.seek(position)
        name, field_ = raw.read(4), raw.read(4)
        start, length = position + 8, int.from_bytes(field_, endian)
        content = raw.read(24) if name in (b"fmt ", b"ds64") else b""
        if name == b"data" and magic == b"RF64" and length == 0xFFFFFFFF:
            length = large
        elif name == b"data" and _is_streamed(raw, riff, start, length):
            return
        if not all(32 <= byte < 127 for byte in name) or name == magic:
            break
        if start + length > size:
            title = name.decode("ascii").strip()
            raise wrong(f"{title} claims {length} of {size - start} bytes")
        if name == b"fmt ":
            align = int.from_bytes(content[12:14], endian) or 1
        elif name == b"ds64":
            large = int.from_bytes(content[8:16], "little")
        elif name == b"data":
            if found:
                raise wrong(f"a second data chunk at byte {position}")
            found = True
            if length % align:
                raise wrong(f"data claims {length} bytes in blocks of {align}")
        position = start + length + length % 2
        # 8 bytes of slack: some writers count the header or forget the padding
        counted = counted or (found and abs(riff + 8 - position) <= 8)
    tagged = found and (_is_tag(raw, position) or abs(position - size) <= 1)
    if magic != b"RF64" and abs(riff + 8 - size) > 8 and not (tagged and counted):
        raise wrong(f"RIFF claims {riff} of {size - 8} bytes")
    raw.seek(min(position, size))
    if not tagged and raw.read(8).strip(b"\0"):
        raise wrong(f"no chunk at byte {position}")
    if not found:
        raise wrong("no data chunk")


def _is_tag(raw: BinaryIO, position: int) -> bool:
    """Tell whether a tag, as music players know them, begins here."""
    raw.seek(position)
    return raw.read(8).startswith(_TAGS)


def _is_streamed(raw: BinaryIO, riff: int, start: int, length: int) -> bool:
    """Tell whether a WAV file was written to a pipe, so that its data fill the rest.

    Args:
        raw: the file
        riff: length of all that follows it, as the header has it
        start: where the data begin, in bytes
        length: of the data, as the header has it

    """
    given = {*_UNKNOWN, (start - 8 + length) % 2**32}
    return length in _UNKNOWN and riff in given and not _is_tag(raw, start)


def _check_ogg(raw: BinaryIO, size: int, shown: str) -> None:
    """Walk the pages of an Ogg file: each stream must be whole and end.

    libsndfile returns less audio, or none, without a warning.
    """
    position = 0
    pages: dict[bytes, int] = {}
    open_streams: set[bytes] = set()
    while position < size and not (pages and _is_tag(raw, position)):
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
