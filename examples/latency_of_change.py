"""How long until a model says that a speaker's mood has changed?

    python examples/latency_of_change.py DATA [--model NAME] [--steps 10]

DATA holds ``emodb`` with ``metadata.csv`` (16 kHz audio, paths in the column ``file``).
Of each speaker whom neither teacher nor student has heard,
60 s of sad clips and then 30 s of angry ones are put together.
The generated C hears them with time constants of 2, 4 and 8 s and without forgetting,
and says ``latest`` ten times a second;
the same model scores the last 2, 4 and 8 s whole, as often.
A change is from what the model says of the sad part alone
to what it says of the angry part alone, each as a whole.
Printed is when arousal has gone 63 % and 90 % of the way for the first time,
the median and the range of the speakers,
what it was just before the change and where it stands in the end.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from wav2small import audio
from wav2small.export.c99 import generate
from wav2small.models import OnnxModel, find_onnx

RATE = 16000
BEFORE, AFTER = 60, 30
"""Seconds of sad and of angry speech."""

TAUS = (2, 4, 8, None)
WINDOWS = (2, 4, 8)
WAYS = (0.63, 0.9)


def speech(data: Path, speaker: str, emotion: str, seconds: int) -> np.ndarray:
    """Clips of one speaker one after the other, again from the first if need be."""
    with (data / "emodb" / "metadata.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["speaker"] == speaker]
    clips = [
        audio.load(data / "emodb" / row["file"])
        for row in rows
        if row["emotion"] == emotion
    ]
    heard = np.concatenate(clips)
    return np.resize(heard, seconds * RATE).astype(np.float32)


def test_speakers(data: Path) -> list[str]:
    """Speakers whom nothing was trained on."""
    with (data / "emodb" / "metadata.csv").open(newline="") as file:
        return sorted(
            {row["speaker"] for row in csv.DictReader(file) if row["split"] == "test"}
        )


class Stream:
    """The C of a model, compiled for this machine."""

    def __init__(self, model: str, folder: Path) -> None:
        compiler = shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            sys.exit("a C compiler must be there, got none: install gcc or clang")
        memory = generate(find_onnx(model), folder)
        library = folder / "library.so"
        options = ["-std=c99", "-O2", "-shared", "-fPIC", "-o", str(library)]
        subprocess.run([compiler, *options, folder / "wav2small.c"], check=True)
        self.c = ctypes.CDLL(str(library))
        self.state = ctypes.create_string_buffer(memory.state + 64)

    def latest(
        self, samples: np.ndarray, seconds: int | None, step: int
    ) -> list[np.ndarray]:
        """Scores after each of so many samples."""
        self.c.wav2small_init(self.state)
        self.c.wav2small_forget(self.state, ctypes.c_uint32(1000 * (seconds or 0)))
        heard = np.ascontiguousarray(np.round(samples * 32767), np.int16)
        scores = (ctypes.c_float * 3)()
        found = []
        for start in range(0, len(heard), step):
            piece = heard[start : start + step]
            pointer = piece.ctypes.data_as(ctypes.c_void_p)
            self.c.wav2small_push(self.state, pointer, ctypes.c_size_t(len(piece)))
            self.c.wav2small_latest(self.state, scores)
            found.append(np.array(scores))
        return found


def times(said: np.ndarray, begin: float, end: float, step: float) -> list[float]:
    """Seconds after the change until each way is gone, NaN if it never is."""
    share = (said[round(BEFORE / step) :] - begin) / (end - begin)
    found = []
    for way in WAYS:
        there = np.flatnonzero(share >= way)
        found.append((there[0] + 1) * step if len(there) else np.nan)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="wav2small-rt")
    parser.add_argument("--steps", type=int, default=10, help="readings a second")
    arguments = parser.parse_args()
    step = RATE // arguments.steps
    model = OnnxModel(find_onnx(arguments.model))

    def windows(signal: np.ndarray, seconds: int) -> list[np.ndarray]:
        ends = range(step, len(signal) + 1, step)
        first = round(BEFORE * RATE) - step
        return [
            model.predict([signal[max(0, end - seconds * RATE) : end]])[0]
            if end >= first
            else np.full(3, np.nan)
            for end in ends
        ]

    rows: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        stream = Stream(arguments.model, Path(folder))
        ways: dict[str, Callable[[np.ndarray], list[np.ndarray]]] = {}
        for tau in TAUS:
            name = f"time constant {tau} s" if tau else "never forgetting"
            ways[name] = lambda signal, tau=tau: stream.latest(signal, tau, step)
        for seconds in WINDOWS:
            ways[f"window of {seconds} s"] = lambda signal, s=seconds: windows(
                signal, s
            )
        for speaker in test_speakers(arguments.data):
            sad = speech(arguments.data, speaker, "sadness", BEFORE)
            angry = speech(arguments.data, speaker, "anger", AFTER)
            begin, end = model.predict([sad, angry])[:, 0]
            signal = np.concatenate([sad, angry])
            print(f"{speaker}: {begin:.2f} to {end:.2f}", file=sys.stderr, flush=True)
            for name, way in ways.items():
                said = np.array(way(signal))[:, 0]
                before = said[BEFORE * arguments.steps - 1]
                found = times(said, begin, end, 1 / arguments.steps)
                rows.setdefault(name, []).append([*found, before, said[-1]])
    print("| | 63 % after | 90 % after | arousal before | 30 s after |")
    print("|---|---|---|---|---|")
    for name, values in rows.items():
        cells = []
        for column, unit, digits in zip(
            np.array(values).T, (" s", " s", "", ""), (1, 1, 2, 2), strict=True
        ):
            ends = np.where(np.isnan(column), np.inf, column)
            low, middle, high = (
                "not in 30" if np.isinf(value) else f"{value:.{digits}f}"
                for value in (ends.min(), np.median(ends), ends.max())
            )
            same = low == high == "not in 30"
            spread = "" if same else f" ({low} to {high})"
            cells.append(f"{middle}{unit}{spread}")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
