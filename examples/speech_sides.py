"""Speech and noise of training, development and test, for detectors of speech."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wav2small import audio
from wav2small.detection.scenes import Side

_CLIPS = {"train": 700, "development": 60, "test": 250}
"""Clips of CREMA-D, whose speakers are fewest."""
_AMBIENCE = {
    # the murmur of a coffee shop is nobody who speaks to the wearer
    "train": ("boat", "coffee-shop", "fireplace", "rain"),
    "development": ("train", "storm"),
    "test": ("city", "wind", "summer-night"),
}
_AMBIENCE_TIMES = 6
"""How often a recording of ambience counts, which is longer than one of ESC-10."""


def read(data: Path, seed: int) -> dict[str, Side]:
    """Read the data; no speaker and no recording is on two sides."""
    rng = np.random.default_rng(seed)
    files: dict[str, list[Path]] = {name: [] for name in _CLIPS}
    rows = {
        name: list(_rows(data / name))
        for name in ("crema_d", "librispeech_subset", "emodb")
    }
    actors = sorted({r["speaker"] for r in rows["crema_d"] if r["split"] == "train"})
    kept = set(rng.permutation(actors)[:10])
    clips: dict[str, list[str]] = {name: [] for name in _CLIPS}
    for row in rows["crema_d"]:
        side = "development" if row["speaker"] in kept else "train"
        clips["test" if row["split"] == "test" else side].append(row["file"])
    for side, names in clips.items():
        chosen = sorted(rng.permutation(len(names))[: _CLIPS[side]])
        files[side] += [data / "crema_d" / names[i] for i in chosen]
    speakers = sorted({row["speaker"] for row in rows["librispeech_subset"]})
    shuffled = rng.permutation(speakers)
    place = {speaker: i / len(speakers) for i, speaker in enumerate(shuffled)}
    for row in rows["librispeech_subset"]:
        share = place[row["speaker"]]
        side = "test" if share < 0.2 else "development" if share < 0.3 else "train"
        files[side].append(data / "librispeech_subset" / row["file"])
    for row in rows["emodb"]:
        files[row["split"]].append(data / "emodb" / row["file"])
    return {
        name: Side([audio.load(path) for path in files[name]], noises(data, name))
        for name in _CLIPS
    }


def noises(data: Path, side: str) -> list[np.ndarray]:
    """Read the recordings of ESC-10 and of ambience of one side."""
    found = [
        audio.load(data / "esc10" / row["file"])
        for row in _rows(data / "esc10")
        if {"5": "test", "4": "development"}.get(row["fold"], "train") == side
    ]
    for name in _AMBIENCE[side]:
        found += [audio.load(data / "ambience" / f"{name}.ogg")] * _AMBIENCE_TIMES
    return found


def _rows(folder: Path) -> Iterator[dict[str, str]]:
    with (folder / "metadata.csv").open(newline="") as file:
        yield from csv.DictReader(file)
