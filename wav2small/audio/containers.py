"""Open a file of audio whose header can be believed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import soundfile

from ..errors import InputError

EXTENSIONS = ("wav", "flac", "ogg", "oga", "opus", "mp3")
"""Audio files by their names, in either case."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
"""Sampling rates in Hz beyond which a header is not believed."""

MAX_CHANNELS = 64
"""Most channels of a file."""


class AudioError(InputError):
    """A file of audio cannot be used. One line, which names the file."""


@contextmanager
def open_audio(path: Path) -> Iterator[soundfile.SoundFile]:
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
