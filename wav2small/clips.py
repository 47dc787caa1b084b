"""Clips of a corpus, decoded once, and recordings of noise."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wav2small.export.base.errors import one_line
from wav2small.export.base.files import atomic_write, remove_temporary, sha256
from wav2small.export.base.progress import Progress
from wav2small.export.base.reading import MOST_IN_MEMORY, open_file, read_json

from . import audio
from .adv import SAMPLING_RATE
from .errors import InputError, LeftOutWarning

if TYPE_CHECKING:
    from .annotation.store import Labels


class Clips(Sequence[np.ndarray]):
    """Clips in one memory-mapped file of 16-bit samples.

    Decoding costs more than a training step of a small student,
    so it is done once.

    Shape:
        item: ``(time,)``, float32 in [-1, 1] at 16 kHz

    """

    def __init__(self, folder: Path) -> None:
        try:
            index = read_json(folder / "clips.json", most=MOST_IN_MEMORY)
            self.sources: list[list[Any]] = index["sources"]
            self.places: list[tuple[int, int]] = index["places"]
            with open_file(folder / "clips.int16") as file:
                self.samples = np.memmap(file, dtype="<i2", mode="r")
            rows = zip(self.sources, self.places, strict=True)
            if not all(
                len(source) == 4 and 0 <= offset <= offset + n <= len(self.samples)
                for source, (offset, n) in rows
            ):
                raise ValueError("clips beyond the samples")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"clips must be a folder of decoded audio, got {one_line(error)}: "
                f"{folder}: remove it"
            ) from error

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, item: int) -> np.ndarray:  # type: ignore[override]
        offset, length = self.places[item]
        return self.samples[offset : offset + length].astype(np.float32) / 32768

    def check_same(self, names: Sequence[str], digests: Sequence[str]) -> None:
        """Check that the audio is what was labelled.

        Args:
            names: file of each clip
            digests: SHA-256 that the labels have of it; empty where unknown

        Raises:
            InputError: if a file has other bytes

        """
        check_labelled(names, digests, [found for *_, found in self.sources])

    @property
    def seconds(self) -> float:
        """Length of all clips in seconds."""
        return sum(length for _, length in self.places) / SAMPLING_RATE

    @classmethod
    def decode(
        cls,
        sources: Sequence[tuple[Path, float, float | None]],
        folder: Path,
        *,
        writes: bool = True,
        progress: Progress | None = None,
    ) -> tuple[Clips, list[tuple[int, str]]]:
        """Decode clips into a folder, or find them there from an earlier call.

        They are found again only where the sources are the same, byte by byte.

        Args:
            sources: path, start and end (seconds) of each clip
            folder: where ``clips.int16`` and ``clips.json`` go
            writes: whether this process decodes; else it waits for one that does
            progress: called after each clip

        Returns:
            the clips,
            and index and error of each source that could not be read;
            such a source has a clip of no samples

        """
        folder.mkdir(parents=True, exist_ok=True)
        digests = hash_files({path for path, _, _ in sources})
        named = [[str(path), start, end, digests[path]] for path, start, end in sources]
        while True:
            with suppress(InputError):  # damaged, or not there yet
                clips = cls(folder)
                if _are_same(named, clips.sources):
                    broken = [i for i, (_, n) in enumerate(clips.places) if not n]
                    return clips, [(i, "could not be read") for i in broken]
            if writes:
                break
            time.sleep(0.05)
        remove_temporary(folder)
        errors, index, offset = [], [], 0
        # an index must never stand beside the samples of other sources
        (folder / "clips.json").unlink(missing_ok=True)
        with atomic_write(folder / "clips.int16") as file:
            for number, (path, start, end) in enumerate(sources):
                length = 0
                try:
                    for block in audio.stream(path, start=start, end=end):
                        file.write(_to_int16(block).tobytes())
                        length += len(block)
                except audio.AudioError as error:
                    errors.append((number, str(error)))
                index.append(
                    (offset, 0 if errors and errors[-1][0] == number else length)
                )
                offset += length
                if progress:
                    progress("decode", number + 1, len(sources), {})
            if not offset:  # an empty file cannot be mapped
                file.write(bytes(2))
        with atomic_write(folder / "clips.json") as file:
            file.write(json.dumps({"sources": named, "places": index}).encode())
        return cls(folder), errors


def _to_int16(block: np.ndarray) -> np.ndarray:
    return np.clip(np.round(block * 32768), -32768, 32767).astype("<i2")


class LateClips(Sequence[np.ndarray]):
    """The same clips as :class:`Clips`, each decoded when it is asked for.

    Those that were asked for last are kept in memory.
    A clip that cannot be read has no samples, as there.

    Args:
        sources: path, start and end (seconds) of each clip
        most_bytes: memory for decoded clips

    """

    def __init__(
        self,
        sources: Sequence[tuple[Path, float, float | None]],
        *,
        most_bytes: int = 128 << 20,
    ) -> None:
        self._sources, self._room = sources, most_bytes
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, item: int) -> np.ndarray:  # type: ignore[override]
        if item in self._kept:
            self._kept.move_to_end(item)
            return self._kept[item]
        try:
            clip = self.decode(item)
        except audio.AudioError:
            clip = np.zeros(0, np.float32)
        self._kept[item] = clip
        self._room -= clip.nbytes
        while self._room < 0 and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._room += oldest.nbytes
        return clip

    def decode(self, item: int) -> np.ndarray:
        """Decode a clip.

        Raises:
            AudioError: if it cannot be read

        """
        path, start, end = self._sources[item]
        blocks = [
            _to_int16(block) for block in audio.stream(path, start=start, end=end)
        ]
        blocks.insert(0, np.zeros(0, "<i2"))
        return np.concatenate(blocks).astype(np.float32) / 32768


def places(labels: Labels, root: Path) -> list[tuple[Path, float, float | None]]:
    """Return path, start and end (seconds) of each labelled row.

    Args:
        labels: file, start and end of each
        root: folder that the files are below

    """
    rows = zip(labels.names, labels.starts, labels.ends, strict=True)
    return [
        (root / name, float(start), None if np.isinf(end) else float(end))
        for name, start, end in rows
    ]


def decode_labels(
    labels: Labels,
    root: Path,
    folder: Path,
    *,
    writes: bool = True,
    progress: Progress | None = None,
) -> tuple[Clips, set[int]]:
    """Decode the audio of labelled rows, or find it decoded by an earlier call.

    Args:
        labels: file, start, end and checksum of each row
        root: folder that the files are below
        folder: where the decoded clips go
        writes: whether this process decodes; else it waits for one that does
        progress: called after each clip

    Returns:
        the clips, and the numbers of the rows that cannot be read

    Raises:
        InputError: if no row can be read,
            or audio is not what it was when it was labelled

    """
    clips, errors = Clips.decode(
        places(labels, root), folder, writes=writes, progress=progress
    )
    if len(errors) == len(clips):
        raise InputError(
            f"audio of the labels cannot be read below {root}: {errors[0][1]}: "
            "pass --audio-root"
        )
    clips.check_same(labels.names, labels.sha256)
    return clips, {item for item, _ in errors}


def load_clips(
    labels: Labels,
    rows: Sequence[int],
    root: Path,
    *,
    progress: Progress | None = None,
) -> tuple[list[np.ndarray], list[int]]:
    """Load the clips of labelled rows into memory.

    Args:
        labels: file, start, end and checksum of each row
        rows: numbers of the rows that are wanted
        root: folder that the files are below
        progress: called after each clip

    Returns:
        clips ``(time,)`` each, and their rows;
        what cannot be read is left out with a :class:`LeftOutWarning`

    Raises:
        InputError: if none can be read, or a file is not what was labelled

    """
    names = [labels.names[row] for row in rows]
    found = hash_files({root / name for name in names})
    check_labelled(
        names,
        [labels.sha256[row] for row in rows],
        [found[root / name] for name in names],
    )
    signals, readable = [], []
    for done, row in enumerate(rows, 1):
        start, end = float(labels.starts[row]), float(labels.ends[row])
        try:
            path = root / labels.names[row]
            until = None if np.isinf(end) else end
            signals.append(audio.load(path, start=start, end=until))
            readable.append(row)
        except audio.AudioError as error:
            warnings.warn(str(error), LeftOutWarning, stacklevel=2)
        if progress:
            progress("read", done, len(rows), {})
    if not readable:
        raise InputError(
            f"no clip of the labels can be read below {root}: pass --audio-root"
        )
    return signals, readable


def check_labelled(
    names: Sequence[str], wanted: Sequence[str], found: Sequence[str | None]
) -> None:
    """See to it that audio is what was labelled.

    Args:
        names: files
        wanted: SHA-256 that the labels have of each; empty where unknown
        found: SHA-256 of what is there now; None if it cannot be read

    Raises:
        InputError: if a file has other bytes

    """
    rows = zip(names, wanted, found, strict=True)
    others = {name for name, old, new in rows if old and new and old != new}
    if others:
        raise InputError(
            f"audio must be what was labelled, got {len(others)} files with other "
            f"bytes, as {min(others)}: label them again with --resume"
        )


def _are_same(now: list[list[Any]], before: list[list[Any]]) -> bool:
    """Tell whether sources are the same; a file that is gone counts as unchanged."""
    return len(now) == len(before) and all(
        ours[:3] == theirs[:3] and ours[3] in (None, *theirs[3:])
        for ours, theirs in zip(now, before, strict=True)
    )


def hash_files(paths: set[Path]) -> dict[Path, str | None]:
    """Return the SHA-256 of files, None of those that cannot be read."""

    def digest(path: Path) -> str | None:
        try:
            return sha256(path)
        except OSError:
            return None

    with ThreadPoolExecutor(8) as pool:
        order = sorted(paths)
        return dict(zip(order, pool.map(digest, order), strict=True))


def read_noises(folder: Path | None, *, seconds: float = 10.0) -> list[np.ndarray]:
    """Read the recordings of a folder, file or manifest, to use as noise.

    Args:
        folder: where they are; None for none
        seconds: at most this much of each recording is kept

    Raises:
        InputError: if there is no audio, or none of it can be used

    """
    if folder is None:
        return []
    _, sources = audio.find([folder])
    noises, reason = [], "it is silent"
    for source in sources:
        try:
            noise = audio.beginning(source, seconds)
        except audio.AudioError as error:
            reason = str(error)
            continue
        if len(noise) and np.mean(noise**2) > 1e-10:
            noises.append(noise)
    if not noises:
        raise InputError(
            f"noise must be recordings that can be heard, got none of {len(sources)} "
            f"in {folder}: {reason}: name others"
        )
    return noises


def identity(noises: Sequence[np.ndarray]) -> dict[str, Any]:
    """Say which recordings these are: their number and a SHA-256 of their samples."""
    digest = hashlib.sha256()
    for noise in noises:
        digest.update(len(noise).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(noise, "<f4").tobytes())
    return {"recordings": len(noises), "sha256": digest.hexdigest()}
