"""Make a set where words and prosody are crossed, so that neither alone suffices.

    python examples/studies/crossed_set.py OUT

needs the program ``espeak-ng`` (GPL-3.0; what it says is not bound by that).
Each of ten synthetic voices says sentences of clear sentiment in four prosodies.
The scores are a rule, not what people heard: half of what varies in valence and
dominance is the words' sentiment, the other half is the prosody.
No sentence of the test split, and no voice of it, is in the other splits;
its words are.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

VOICES = {
    "m1": "male", "m2": "male", "m3": "male", "m4": "male", "m7": "male",
    "f1": "female", "f2": "female", "f3": "female", "f4": "female", "f5": "female",
}  # fmt: skip
"""Voices of espeak-ng and their gender."""

SPLIT = {"m4": "dev", "f4": "dev", "m7": "test", "f5": "test", "m3": "test"}
"""Voices that are not of the training."""

THINGS = (
    "the letter", "your sister", "this dinner", "our holiday", "the doctor",
    "his answer", "the garden", "my teacher", "that evening", "the music",
)  # fmt: skip
GOOD = ("wonderful", "lovely", "brilliant", "delightful", "perfect", "marvellous")
BAD = ("terrible", "horrible", "dreadful", "disgusting", "awful", "miserable")
PLAIN = ("upstairs", "nearby", "here", "outside", "late", "new")

HELD_OUT = ("the music", "my teacher", "the garden")
"""Things that only sentences of the test split are about."""


class Prosody(NamedTuple):
    """How a sentence is said."""

    name: str
    rate: int
    """Words per minute."""

    pitch: int
    """0 to 99."""

    loudness: int
    """0 to 200."""

    excited: int
    """1 if it is, -1 if it is calm."""

    firm: int
    """1 if it is low, -1 if it is high."""


PROSODIES = (
    Prosody("calm and low", 120, 25, 60, -1, 1),
    Prosody("calm and high", 120, 70, 60, -1, -1),
    Prosody("excited and low", 200, 25, 140, 1, 1),
    Prosody("excited and high", 200, 70, 140, 1, -1),
)


def sentences() -> Iterator[tuple[str, int, bool]]:
    """Return sentences, their sentiment (-1, 0, 1) and whether they are held out."""
    for number, thing in enumerate(THINGS):
        for sentiment, words in ((1, GOOD), (-1, BAD), (0, PLAIN)):
            for shift in (0, 2):
                word = words[(number + shift) % len(words)]
                yield f"{thing} was {word}", sentiment, thing in HELD_OUT


def scores(sentiment: int, prosody: Prosody) -> list[float]:
    """Score what is said and how: arousal, dominance, valence in 0..1."""
    arousal = 0.5 + 0.25 * prosody.excited + 0.1 * (abs(sentiment) - 0.5)
    dominance = 0.5 + 0.15 * prosody.firm + 0.15 * sentiment
    valence = 0.5 + 0.2 * sentiment + 0.16 * prosody.excited
    return [round(value, 3) for value in (arousal, dominance, valence)]


def main() -> None:
    """Write the clips, and ``metadata.csv``."""
    out = Path(sys.argv[1])
    (out / "wav").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    columns = ["file", "speaker", "gender", "text", "sentiment", "split"]
    with (out / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "prosody", "arousal", "dominance", "valence"])
        for voice, gender in VOICES.items():
            split = SPLIT.get(voice, "train")
            for text, sentiment, held_out in sentences():
                if held_out != (split == "test"):
                    continue
                for number, prosody in enumerate(PROSODIES):
                    name = f"wav/{voice}_{text.replace(' ', '-')}_{number}.wav"
                    # no two clips are of exactly one rate and pitch
                    rate, pitch = (
                        round(value * rng.uniform(0.93, 1.07))
                        for value in (prosody.rate, prosody.pitch)
                    )
                    subprocess.run(
                        [
                            "espeak-ng", "-v", f"en-us+{voice}", "-s", str(rate),
                            "-p", str(pitch), "-a", str(prosody.loudness),
                            "-w", str(out / name), text,
                        ],
                        check=True,
                    )  # fmt: skip
                    word = {1: "positive", 0: "neutral", -1: "negative"}[sentiment]
                    writer.writerow(
                        [
                            name, voice, gender, text, word, split, prosody.name,
                            *scores(sentiment, prosody),
                        ]
                    )  # fmt: skip


if __name__ == "__main__":
    main()
