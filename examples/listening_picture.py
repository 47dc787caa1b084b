"""Draw what a model says during two minutes of changing speech with wind between.

    python examples/listening_picture.py DATA OUT.png [--model wav2small-rt]

DATA holds ``emodb`` and ``ambience``.
One speaker of EMO-DB whom neither teacher nor student has heard
is neutral, angry, sad and happy, with seconds of wind between.
The model hears it as :func:`wav2small.follow` does, with a time constant of 4 s;
behind its line lie windows of 4 s that the teacher has scored, each as a whole.
Bars at the edges are the events that :class:`wav2small.Decisions` says.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import wav2small
from wav2small import audio
from wav2small.adv import DIMENSIONS, SAMPLING_RATE
from wav2small.api.listening import Moment
from wav2small.export.base.files import atomic_write
from wav2small.teachers.loading import load_teacher

SPEAKER = "emodb_14"
PARTS = (
    ("neutral", 24), ("wind", 8), ("anger", 24), ("wind", 8),
    ("sadness", 24), ("wind", 8), ("happiness", 24),
)  # fmt: skip
"""What is heard, and for how many seconds."""

WINDOW_SECONDS = 4
STEP_SECONDS = 0.5
WIND_LEVEL = 0.03
"""RMS of the wind; the speech has its own, about .1."""

COLOURS = ("#b3261e", "#1f5f8b", "#2e7d5b")
SIZE_INCHES, DOTS = (11, 8.4), 80
TEXT_POINTS = 17


def heard(data: Path) -> np.ndarray:
    """The two minutes, float32 at 16 kHz."""
    with (data / "emodb" / "metadata.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["speaker"] == SPEAKER]
    wind = audio.load(data / "ambience" / "wind.ogg")
    wind = wind * np.float32(WIND_LEVEL / np.sqrt(np.mean(wind**2)))
    parts = []
    for name, seconds in PARTS:
        clips = [
            audio.load(data / "emodb" / row["file"])
            for row in rows
            if row["emotion"] == name
        ]
        part = np.concatenate(clips) if clips else wind
        parts.append(np.resize(part, seconds * SAMPLING_RATE))
    return np.concatenate(parts).astype(np.float32)


def teacher_windows(signal: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Start of each window without wind in it, and its scores by the teacher."""
    starts, begin = [], 0
    for name, seconds in PARTS:
        if name != "wind":
            starts += range(begin, begin + seconds - WINDOW_SECONDS + 1, 2)
        begin += seconds
    length = WINDOW_SECONDS * SAMPLING_RATE
    windows = [signal[s * SAMPLING_RATE : s * SAMPLING_RATE + length] for s in starts]
    scores = load_teacher("hearing").predict(windows)
    return list(zip(map(float, starts), scores, strict=True))


def draw_panel(
    panel: Any,
    axis: int,
    moments: Sequence[Moment],
    windows: Sequence[tuple[float, np.ndarray]],
) -> None:
    """Draw one score over time."""
    name, colour = DIMENSIONS[axis], COLOURS[axis]
    begin = 0
    for part, seconds in PARTS:
        if part == "wind":
            panel.axvspan(begin, begin + seconds, color="0.87", linewidth=0)
        begin += seconds
    for start, scores in windows:
        ends = [start, start + WINDOW_SECONDS]
        panel.plot(ends, [scores[axis]] * 2, color="0.6", linewidth=3)
    spoken = [moment for moment in moments if moment.scores]
    panel.plot(
        [moment.seconds for moment in spoken],
        [moment.scores[axis] for moment in spoken if moment.scores],
        color=colour,
        linewidth=2.6,
    )
    for word, height in (("high", 1.03), ("low", -0.03)):
        times = [
            moment.seconds - STEP_SECONDS
            for moment in moments
            if any(event.name == f"{word} {name}" for event in moment.events)
        ]
        bars = [(time, STEP_SECONDS) for time in times]
        panel.broken_barh(bars, (height - 0.03, 0.06), color=colour, linewidth=0)
    panel.set_ylabel(name)
    panel.set(ylim=(-0.07, 1.07), yticks=(0, 0.5, 1))
    panel.grid(axis="y", color="0.8", linewidth=0.6)


def draw(
    moments: Sequence[Moment], windows: Sequence[tuple[float, np.ndarray]], path: Path
) -> None:
    """Write the picture."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": TEXT_POINTS}):
        figure = Figure(figsize=SIZE_INCHES, dpi=DOTS, layout="constrained")
        panels = figure.subplots(3, 1, sharex=True)
        for axis, panel in enumerate(panels):
            draw_panel(panel, axis, moments, windows)
        begin = 0
        for part, seconds in PARTS:
            panels[0].text(begin + seconds / 2, 1.12, part, ha="center", va="bottom")
            begin += seconds
        panels[-1].set(xlim=(0, begin), xlabel="seconds")
        with atomic_write(path) as file:
            figure.savefig(file, format="png", metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="wav2small-rt")
    arguments = parser.parse_args()
    signal = heard(arguments.data)
    moments = list(
        wav2small.follow([signal], model=arguments.model, seconds=STEP_SECONDS)
    )
    draw(moments, teacher_windows(signal), arguments.out)


if __name__ == "__main__":
    main()
