"""Arousal, dominance and valence from what listeners voted for.

    python examples/vote_targets.py CREMA_D [--out TABLE.csv]

CREMA_D is a folder with the ``metadata.csv`` of CREMA-D:
of each clip how many listeners heard which emotion (``votes_*``),
and how strong those who did found it (``intensity_*``, 0 to 100).
Nobody rated arousal, dominance or valence,
so a target is *derived*: each vote stands for the published norm of its word.
There are several ways to do so (:data:`DERIVATIONS`); this prints what each comes to,
and ``--out`` writes all of them for each clip, with the entropy of its votes.

What is sourced: the norms (Russell & Mehrabian 1977, see
:data:`wav2small.finetune.norms.NORMS`), votes and intensities (Cao et al. 2014).
What is arbitrary:

- that a word's norm is what a voice expresses that is called by that word,
  and that "neutral" is the middle of all three scales;
- that a mixture of votes lies at the mean of their norms;
- that intensity acts as a factor on the distance from the middle;
- how many votes a prior is worth, and which one it is.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wav2small.adv import DIMENSIONS, NEUTRAL
from wav2small.finetune.norms import NORMS
from wav2small.metrics import concordance_cc

EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness")
"""What listeners could vote for."""

VOTED_NORMS = np.array([NORMS[emotion] for emotion in EMOTIONS])
"""Norm of each emotion in -1..1, ``(6, 3)``."""

PRIOR_VOTES = 3.0
"""How many votes the mean of all clips is worth in :func:`smoothed`."""


@dataclass(frozen=True)
class Votes:
    """The listeners' votes of a corpus."""

    files: list[str]
    speakers: np.ndarray
    training: np.ndarray
    """Which clips are of the training actors."""
    counts: np.ndarray
    """Votes by clip and emotion, ``(clips, 6)``."""
    intensity: np.ndarray
    """Mean intensity of those who voted so in 0..1, 0 where nobody did."""

    @property
    def shares(self) -> np.ndarray:
        """Distribution of each clip's votes, ``(clips, 6)``."""
        return self.counts / self.counts.sum(1, keepdims=True)


def read_votes(folder: Path) -> Votes:
    """Read the votes of a folder's ``metadata.csv``."""
    with (folder / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))

    def table(kind: str) -> np.ndarray:
        return np.array(
            [[float(row[f"{kind}_{name}"] or 0) for name in EMOTIONS] for row in rows]
        )

    return Votes(
        [row["file"] for row in rows],
        np.array([row["speaker"] for row in rows]),
        np.array([row["split"] == "train" for row in rows]),
        table("votes"),
        table("intensity") / 100,
    )


def mean_vote(votes: Votes) -> np.ndarray:
    """Mean of the norms of all votes."""
    return _on_scale(votes.shares)


def felt(votes: Votes) -> np.ndarray:
    """Mean of the norms, each weighted by how strong it was found."""
    return _on_scale(votes.shares * votes.intensity)


def felt_by_word(votes: Votes) -> np.ndarray:
    """As :func:`felt`, where an emotion's usual intensity is worth its whole norm."""
    usual = (votes.counts * votes.intensity).sum(0) / votes.counts.sum(0)
    return _on_scale(votes.shares * votes.intensity / usual)


def majority(votes: Votes) -> np.ndarray:
    """Norm of the most frequent vote, drawn to the middle by those against it.

    It is how :func:`wav2small.finetune.norms.norm_score` treats EMO-DB.
    """
    shares = votes.shares
    most = shares.max(1, keepdims=True)
    first = (shares == most) / (shares == most).sum(1, keepdims=True)
    return _on_scale(first * most)


def smoothed(votes: Votes) -> np.ndarray:
    """As :func:`felt_by_word`, after a few votes for the mean of all clips.

    Nine listeners are a small sample: their distribution is more extreme
    than that of all who might have been asked.
    """
    prior = votes.shares.mean(0)
    counts = votes.counts + PRIOR_VOTES * prior
    usual = (votes.counts * votes.intensity).sum(0) / votes.counts.sum(0)
    strength = np.where(votes.counts > 0, votes.intensity / usual, 1.0)
    return _on_scale(counts / counts.sum(1, keepdims=True) * strength)


DERIVATIONS: dict[str, Callable[[Votes], np.ndarray]] = {
    "mean vote": mean_vote,
    "felt": felt,
    "felt by word": felt_by_word,
    "majority": majority,
    "smoothed": smoothed,
}
"""Ways from votes to scores in 0..1, ``(clips, 3)``."""


def _on_scale(weights: np.ndarray) -> np.ndarray:
    return (NEUTRAL + 0.5 * weights @ VOTED_NORMS).astype(np.float32)


def entropy(votes: Votes) -> np.ndarray:
    """Disagreement of the listeners: 0 if all heard the same, 1 if all differ.

    Entropy of the votes over that of a uniform distribution.
    """
    shares = votes.shares
    logarithms = np.log(np.where(shares > 0, shares, 1.0))
    return (-(shares * logarithms).sum(1) / np.log(len(EMOTIONS))).astype(np.float32)


def halves(votes: Votes, rng: np.random.Generator) -> tuple[Votes, Votes]:
    """Split each clip's listeners at random into two halves.

    Intensities are known only as means, so both halves have the same.
    """
    parts = []
    for row in votes.counts.astype(int):
        listeners = rng.permutation(np.repeat(np.arange(len(EMOTIONS)), row))
        half = listeners[: len(listeners) // 2]
        parts.append(np.bincount(half, minlength=len(EMOTIONS)))
    first = np.array(parts)

    def of(counts: np.ndarray) -> Votes:
        return Votes(
            votes.files, votes.speakers, votes.training, counts, votes.intensity
        )

    return of(first), of(votes.counts - first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, help="CSV of all derivations by clip")
    arguments = parser.parse_args()
    votes = read_votes(arguments.folder)
    first, second = halves(votes, np.random.default_rng(0))
    print("derivation      mean A D V        deviation A D V   half to half, CCC A D V")
    for name, derive in DERIVATIONS.items():
        scores, pair = derive(votes), (derive(first), derive(second))
        agreement = [concordance_cc(pair[0][:, i], pair[1][:, i]) for i in range(3)]
        columns = [
            " ".join(f"{value:.3f}" for value in values)
            for values in (scores.mean(0), scores.std(0), agreement)
        ]
        print(f"{name:15s} {'  '.join(columns)}")
    print(f"entropy of the votes: mean {entropy(votes).mean():.3f}")
    if arguments.out:
        write(arguments.out, votes)


def write(path: Path, votes: Votes) -> None:
    """Write all derivations and the entropy of each clip as CSV."""
    columns = {name.replace(" ", "_"): f(votes) for name, f in DERIVATIONS.items()}
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            ["file", *(f"{c}_{d}" for c in columns for d in DIMENSIONS), "entropy"]
        )
        for item, name in enumerate(votes.files):
            scores = [f"{v:.4f}" for c in columns.values() for v in c[item]]
            table.writerow([name, *scores, f"{entropy(votes)[item]:.4f}"])


if __name__ == "__main__":
    main()
