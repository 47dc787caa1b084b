"""Recordings that a user names, to disturb speech with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wav2small.export.base.progress import Progress

from .. import audio
from ..errors import InputError
from ..tables import read_csv

PER_CATEGORY = 20
"""Most recordings of a category of noise, spread evenly."""

VOICES = 50
"""Most recordings of speech, spread evenly."""

_SECONDS = 10.0
"""Most of a recording that is kept."""

_KINDS = ("music", "cough", "sneez")


@dataclass(frozen=True)
class Sounds:
    """Noises by category and voices, each ``(time,)``, float32 at 16 kHz."""

    noises: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """Recordings by category, without silence before and after,
    with a peak of 0.99."""

    voices: list[np.ndarray] = field(default_factory=list)
    """Recordings of speech."""

    def of_kind(self, kind: str) -> list[np.ndarray]:
        """Return ``speech``, or noises by their category.

        ``music``, ``cough``, ``sneeze``, or ``environment``: all others.
        """
        if kind == "speech":
            return self.voices
        wanted = kind[:5]
        return [
            noise
            for category, noises in self.noises.items()
            for noise in noises
            if wanted in category.lower()
            or (
                kind == "environment"
                and not any(other in category.lower() for other in _KINDS)
            )
        ]


def read_sounds(
    noise: Path | None,
    speech: Path | None,
    *,
    progress: Progress | None = None,
) -> Sounds:
    """Read recordings.

    Args:
        noise: folder or manifest; its ``metadata.csv`` or the manifest itself
            names each ``file``'s ``category``, else its folder does
        speech: folder or manifest
        progress: called after each recording

    Raises:
        InputError: if a path is missing or holds no audio that can be read

    """
    wanted: list[tuple[str | None, audio.Source]] = []
    if noise:
        named = _categories(noise)
        groups: dict[str, list[audio.Source]] = {}
        for source in audio.find([noise])[1]:
            category = named.get(source.path, source.path.parent.name)
            groups.setdefault(category, []).append(source)
        for category in sorted(groups):
            chosen = spread(len(groups[category]), PER_CATEGORY)
            wanted += [(category, groups[category][item]) for item in chosen]
    if speech:
        sources = audio.find([speech])[1]
        wanted += [(None, sources[item]) for item in spread(len(sources), VOICES)]
    noises: dict[str, list[np.ndarray]] = {}
    voices: list[np.ndarray] = []
    for number, (name, source) in enumerate(wanted):
        try:
            signal = _trim(audio.beginning(source, _SECONDS))
        except audio.AudioError:
            signal = np.zeros(0, np.float32)
        if len(signal):
            (voices if name is None else noises.setdefault(name, [])).append(signal)
        if progress:
            progress("sounds", number + 1, len(wanted), {})
    for place, found in ((noise, noises), (speech, voices)):
        if place and not found:
            raise InputError(
                f"recordings must be in {place}, got none that can be read: name others"
            )
    return Sounds(noises, voices)


def spread(count: int, most: int) -> list[int]:
    """Return the numbers of at most ``most`` of ``count`` items, evenly spaced."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


def _trim(signal: np.ndarray) -> np.ndarray:
    """Cut silence off both ends and scale the peak to 0.99."""
    peak = float(np.abs(signal).max()) if len(signal) else 0.0
    loud = np.flatnonzero(np.abs(signal) > 1e-3 * peak)
    if peak < 1e-4 or not len(loud):
        return np.zeros(0, np.float32)
    return signal[loud[0] : loud[-1] + 1] * np.float32(0.99 / peak)


def _categories(place: Path) -> dict[Path, str]:
    """Read the category of each file from a table, if there is one."""
    table = place / "metadata.csv" if place.is_dir() else place
    if table.suffix.lower() != ".csv" or not table.is_file():
        return {}
    try:
        lines = read_csv(table)
        names = next(lines, [])
        rows = [dict(zip(names, cells, strict=False)) for cells in lines]
    except (OSError, ValueError) as error:
        raise InputError(
            f"table of noises must be CSV in UTF-8: {table}: {error}: save it again"
        ) from error
    return {
        Path(os.path.abspath(table.parent / row["file"])): row["category"]  # noqa: PTH100
        for row in rows
        if row.get("file") and row.get("category")
    }
