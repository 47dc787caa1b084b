"""What studies of hearing learn from: clips of two corpora and what is known of them.

Imported by the studies; DATA holds ``emodb``, ``crema_d``, ``librispeech_subset``,
``esc10`` and ``ambience``.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wav2small.clips import Clips, read_noises
from wav2small.finetune.norms import CATEGORIES, norm_score
from wav2small.suite.robustness import Change, all_changes

sys.path.append(str(Path(__file__).parent.parent))

import vote_targets

CORPORA = ("emodb", "crema_d")

TESTED = (
    "room: office, 1 m",
    "room: living room, 2 m",
    "room: hall, 5 m",
    "phone, low-rate codec",
    "white noise at 20 dB",
    "spectral tilt of -3 dB per octave",
    "spectral tilt of +3 dB per octave",
    "babble at 20 dB",
    "compression 2:1 in 5 bands",
    "compression 3:1 in 5 bands",
    "microphone in the canal",
    "wind of 5 m/s",
)
"""Changes of the suite that teachers are tested with."""

EMODB_PAIRS = (
    ("emodb_08", "emodb_11"),
    ("emodb_09", "emodb_10"),
    ("emodb_03", "emodb_13"),
)
"""Pairs of EMO-DB's training speakers, a woman and a man each."""


@dataclass
class Speech:
    """What is known of the clips of both corpora."""

    corpus: np.ndarray
    speaker: np.ndarray
    training: np.ndarray
    truth: dict[str, np.ndarray]
    """Scores by derivation, ``(clips, 3)``; EMO-DB's are the same in all."""
    votes: np.ndarray
    """Distribution over the categories, ``(clips, 7)``."""
    entropy: np.ndarray

    @classmethod
    def open(cls, work: Path) -> Speech:
        """Open what :func:`decode` wrote."""
        table = np.load(work / "table.npz")
        truth = {k[6:]: table[k] for k in table.files if k.startswith("truth ")}
        names = ("corpus", "speaker", "training", "votes", "entropy")
        corpus, speaker, training, votes, entropy = (table[name] for name in names)
        return cls(corpus, speaker, training, truth, votes, entropy)

    def split(
        self, corpora: tuple[str, ...], fold: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the clips that are learned from and those that are scored.

        Of each corpus that is learned from, a fifth of the training actors
        (of EMO-DB: a woman and a man) is kept;
        of one that is not, all training speakers are scored.
        """
        held = np.zeros(len(self.corpus), bool)
        for name in CORPORA:
            here = (self.corpus == name) & self.training
            speakers = np.unique(self.speaker[here])
            if name not in corpora:
                held |= here
            elif name == "emodb":
                pair = EMODB_PAIRS[fold % len(EMODB_PAIRS)]
                held |= here & np.isin(self.speaker, pair)
            else:
                held |= here & np.isin(self.speaker, speakers[fold % 5 :: 5])
        return np.flatnonzero(self.training & ~held), np.flatnonzero(held)


def changes_to_test() -> list[Change]:
    """Return the changes of the suite that teachers are tested with."""
    return [change for change in all_changes() if change.name in TESTED]


def read_all_noises(data: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Read recordings of noises and places, and of voices."""
    noises = read_noises(data / "esc10", seconds=5)
    noises += read_noises(data / "ambience", seconds=60)
    return noises, read_noises(data / "librispeech_subset", seconds=10)


def decode(data: Path, work: Path) -> tuple[Clips, Speech]:
    """Decode both corpora and read what is known of their clips."""
    with (data / "emodb" / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    votes = vote_targets.read_votes(data / "crema_d")
    paths = [data / "emodb" / row["file"] for row in rows]
    paths += [data / "crema_d" / name for name in votes.files]
    clips, errors = Clips.decode([(p, 0.0, None) for p in paths], work / "clips")
    if errors:
        raise SystemExit(f"clips must be readable: {errors[:3]}")
    heard = np.array([float(row["recognised_pct"]) / 100 for row in rows])
    intended = np.array([CATEGORIES.index(row["emotion"]) for row in rows])
    # the rest of EMO-DB's listeners heard something else, it is not said what
    spread = ((1 - heard) / (len(CATEGORIES) - 1))[:, None]
    shares = np.repeat(spread, len(CATEGORIES), axis=1)
    shares[np.arange(len(rows)), intended] = heard
    voted = np.zeros((len(votes.files), len(CATEGORIES)))
    for column, name in enumerate(vote_targets.EMOTIONS):
        voted[:, CATEGORIES.index(name)] = votes.shares[:, column]
    norms = np.stack(
        [
            norm_score(row["emotion"], share)
            for row, share in zip(rows, heard, strict=True)
        ]
    )
    table = {
        f"truth {name}": np.concatenate([norms, derive(votes)])
        for name, derive in vote_targets.DERIVATIONS.items()
    } | {
        "corpus": np.array(["emodb"] * len(rows) + ["crema_d"] * len(votes.files)),
        "speaker": np.concatenate([[row["speaker"] for row in rows], votes.speakers]),
        "training": np.concatenate(
            [[row["split"] == "train" for row in rows], votes.training]
        ),
        "votes": np.concatenate([shares, voted]).astype(np.float32),
        "entropy": np.concatenate([1 - heard, vote_targets.entropy(votes)]),
    }
    np.savez(work / "table.npz", **table)  # type: ignore[arg-type]
    return clips, Speech.open(work)
