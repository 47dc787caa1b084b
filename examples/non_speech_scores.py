"""How far scores go from neutral where nobody speaks.

    python examples/non_speech_scores.py DATA [MODEL ...] [--minutes 60]

DATA holds ``esc10`` and ``ambience``; what is heard are the recordings that no detector
was trained on, and made sounds, in scenes of ten seconds, at all levels.
The generated C hears minutes of them, each from its beginning, and learns from speech
alone; ten times a second it is asked for its scores, from which
:class:`wav2small.Decisions` makes smoothed ones and events, as
:func:`wav2small.follow` does. A model is a bundled name or an ONNX with a detector.
Printed are distances from .5 in the time that has scores, which a sound must first have
been taken for speech for, and the share of all time in which a score is strong.
"""

from __future__ import annotations

import argparse
import ctypes
import tempfile
from pathlib import Path

import numpy as np
from latency_of_change import RATE, Stream
from speech_sides import noises

from wav2small.adv import DIMENSIONS
from wav2small.detection.scenes import SECONDS, Scenes, Side
from wav2small.export.integer.decisions import Decisions
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.reader import read
from wav2small.models import find_onnx
from wav2small.suite.non_speech import STRONG

STEP = RATE // 10
FORGET_MILLISECONDS = 4000
PERCENTILES = (50, 95, 99, 100)


class Minutes:
    """What is said of minutes without speech.

    Args:
        model: integers of the model
        stream: C of the model

    """

    def __init__(self, model: IntegerGraph, stream: Stream) -> None:
        self.model, self.stream = model, stream
        self.latest: list[np.ndarray] = []
        """Scores ``(3,)`` at each step, NaN where there are none."""
        self.smooth: list[np.ndarray] = []
        """The same as decisions have them."""
        self.heard: list[bool] = []
        """Whether scores learned at each step."""
        self.events = 0
        """How many events began."""

    def hear(self, samples: np.ndarray) -> None:
        """Hear int16 samples from the beginning."""
        c, state = self.stream.c, self.stream.state
        c.wav2small_init(state)
        c.wav2small_forget(state, ctypes.c_uint32(FORGET_MILLISECONDS))
        c.wav2small_listen(state, 1)
        decisions = Decisions(self.model)
        scores, integers = (ctypes.c_float * 3)(), (ctypes.c_int32 * 3)()
        before: set[str] = set()
        for start in range(0, len(samples), STEP):
            piece = samples[start : start + STEP]
            pointer = piece.ctypes.data_as(ctypes.c_void_p)
            c.wav2small_push(state, pointer, ctypes.c_size_t(len(piece)))
            speech = bool(c.wav2small_hears(state))
            nothing = c.wav2small_latest(state, scores)
            if not nothing:
                c.wav2small_latest_integers(state, integers)
                decisions.hear(np.array(integers), len(piece), speech=speech)
            smooth = decisions.scores
            self.heard.append(speech)
            self.latest.append(np.full(3, np.nan) if nothing else np.array(scores))
            self.smooth.append(np.full(3, np.nan) if smooth is None else smooth)
            now = {event.name for event in decisions.events()}
            self.events += len(now - before)
            before = now


def heard(name: str, sounds: list[np.ndarray], count: int) -> Minutes:
    """Let a model hear minutes of recordings and of made sounds."""
    scenes = Scenes(Side(noises=sounds), np.random.default_rng(3), varied=False)
    with tempfile.TemporaryDirectory() as folder:
        minutes = Minutes(read(find_onnx(name)), Stream(name, Path(folder)))
        for _ in range(count):
            parts = [
                scenes.mixed(None, scenes.noise(), 0) for _ in range(60 // SECONDS)
            ]
            minutes.hear(np.concatenate(parts))
    return minutes


def strong(scores: np.ndarray) -> np.ndarray:
    """Share of scores ``(..., 3)`` that are strong, of each dimension."""
    low, high = STRONG
    found: np.ndarray = ((scores <= low) | (scores >= high)).mean(axis=0)
    return found


def rows(name: str, minutes: Minutes) -> list[str]:
    """Rows of the table of one model."""
    found = [
        f"| `{name}` | {' | '.join(DIMENSIONS)} |",
        "|---|---|---|---|",
    ]
    for title, said in (("`latest`", minutes.latest), ("smoothed", minutes.smooth)):
        scores = np.array(said, np.float64)
        there = scores[np.isfinite(scores[:, 0])]
        for percentile in PERCENTILES:
            what = "farthest" if percentile == 100 else f"{percentile} % nearer than"
            far = (
                np.percentile(abs(there - 0.5), percentile, axis=0)
                if len(there)
                else np.zeros(3)
            )
            cells = " | ".join(f"{value:.2f}" for value in far)
            found.append(f"| {title}, {what} | {cells} |")
        low, high = STRONG
        cells = " | ".join(f"{value:.2%}" for value in strong(scores))
        found.append(f"| {title}, at most {low} or at least {high} | {cells} |")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "models", nargs="*", default=["wav2small-rt", "wav2small-rt-mini"]
    )
    parser.add_argument("--minutes", type=int, default=60)
    arguments = parser.parse_args()
    sounds = noises(arguments.data, "test")
    for name in arguments.models:
        minutes = heard(name, sounds, arguments.minutes)
        print("\n".join(rows(name, minutes)))
        known = np.isfinite(np.array(minutes.latest)[:, 0]).mean()
        print(
            f"\n{arguments.minutes} minutes: {np.mean(minutes.heard):.2%} heard as "
            f"speech, scores in {known:.0%} of the time, {minutes.events} events\n",
            flush=True,
        )


if __name__ == "__main__":
    main()
