"""Categories from a few clips each: prototypes in a contrastive embedding.

A teacher that was trained with the task ``alike`` puts clips of a category together.
A new speaker, language or category then takes a few clips and no training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..sealed import read_sealed, write_sealed
from .network import ALIKE
from .teacher import FinetunedTeacher, score

FORMAT = "wav2small prototypes 1"
"""What the first field of a file says."""


@dataclass(frozen=True)
class Prototypes:
    """Where categories lie in a teacher's embedding.

    References:
        after Cigdem & Keles 2024 (few-shot learning with a contrastive embedding);
        Snell et al. 2017, "Prototypical Networks for Few-shot Learning",
        arXiv 1703.05175.

    """

    names: tuple[str, ...]
    """Names of the categories, sorted."""

    vectors: np.ndarray
    """The mean of each category's clips, ``(categories, width)``."""

    revision: str
    """Of the teacher that they were made with."""

    def shares(self, embedding: np.ndarray) -> np.ndarray:
        """How near clips are to each category, by squared distance.

        Args:
            embedding: of :func:`embed`, ``(clips, width)``

        Returns:
            ``(clips, categories)``, rows sum to 1

        """
        apart = ((embedding[:, None] - self.vectors) ** 2).sum(2)
        weights = np.exp(apart.min(1, keepdims=True) - apart)
        return weights / weights.sum(1, keepdims=True)

    def say(
        self, teacher: FinetunedTeacher, signals: Sequence[np.ndarray]
    ) -> list[str]:
        """Say the nearest category of each signal.

        Raises:
            InputError: if the teacher is another than that of the prototypes

        """
        if teacher.info.revision != self.revision:
            raise InputError(
                f"prototypes must be of the teacher that uses them, got those of "
                f"{self.revision} for {teacher.info.revision}: make them again"
            )
        nearest = self.shares(embed(teacher, signals)).argmax(1)
        return [self.names[number] for number in nearest]

    def save(self, path: Path) -> None:
        """Write them as JSON with a checksum, as a calibration is."""
        vectors = dict(zip(self.names, self.vectors.round(6).tolist(), strict=True))
        write_sealed(
            path, {"format": FORMAT, "teacher": self.revision, "vectors": vectors}
        )

    @classmethod
    def load(cls, path: Path) -> Prototypes:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: if it is another file, or damaged

        """
        content = read_sealed(path, FORMAT, "prototypes", "make them again")
        try:
            names = tuple(sorted(content["vectors"]))
            vectors = np.array([content["vectors"][name] for name in names], float)
            if vectors.ndim != 2 or not np.isfinite(vectors).all():
                raise ValueError("vectors")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"prototypes must hold a vector for each category: {path}: "
                "make them again"
            ) from error
        return cls(names, vectors, str(content.get("teacher")))


def embed(teacher: FinetunedTeacher, signals: Sequence[np.ndarray]) -> np.ndarray:
    """Embed signals.

    Args:
        teacher: trained with the task ``alike``
        signals: ``(time,)`` each

    Returns:
        ``(signals, width)``, of unit length

    Raises:
        InputError: if it was not trained so

    """
    if ALIKE not in teacher.network.config.tasks:
        raise InputError(
            f"teacher must have learnt what is alike, got {teacher.info.name}: "
            "train it with --task alike"
        )
    return unit(score(teacher.network, signals, output=ALIKE))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors ``(rows, width)`` to unit length."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def fit(
    embedding: np.ndarray, categories: Sequence[str], revision: str = ""
) -> Prototypes:
    """Make prototypes of a few clips.

    Args:
        embedding: of :func:`embed`, ``(clips, width)``
        categories: of each clip
        revision: of the teacher

    Raises:
        InputError: if there are fewer than two categories

    """
    found = np.array(categories)
    names = sorted(set(categories))
    if len(names) < 2:
        raise InputError(f"categories must be at least two, got {names}: name more")
    vectors = [embedding[found == name].mean(0) for name in names]
    return Prototypes(tuple(names), np.stack(vectors), revision)


def episodes(
    embedding: np.ndarray,
    categories: Sequence[str],
    *,
    ways: int,
    shots: int,
    count: int,
    rng: np.random.Generator,
    queries: int = 5,
) -> np.ndarray:
    """Share of right answers in episodes of N ways and K shots.

    Each draws some categories, makes prototypes of a few clips of each
    and asks about others of them.

    Args:
        embedding: ``(clips, width)``
        categories: of each clip
        ways: categories of an episode
        shots: clips that make a prototype
        count: number of episodes
        rng: draws categories and clips
        queries: clips of a category that are asked about

    Returns:
        shape ``(count,)``, in 0..1

    Raises:
        InputError: if fewer categories have clips enough

    """
    found = np.array(categories)
    names = [n for n in np.unique(found) if (found == n).sum() >= shots + queries]
    if not 2 <= ways <= len(names):
        raise InputError(
            f"ways must be 2 to {len(names)}, the categories of at least "
            f"{shots + queries} clips, got {ways}"
        )
    right = []
    for _ in range(count):
        chosen = rng.choice(names, ways, replace=False)
        drawn = [
            rng.choice(np.flatnonzero(found == name), shots + queries, replace=False)
            for name in chosen
        ]
        known = np.concatenate([rows[:shots] for rows in drawn])
        asked = np.concatenate([rows[shots:] for rows in drawn])
        prototypes = fit(embedding[known], found[known].tolist())
        said = prototypes.shares(embedding[asked]).argmax(1)
        right.append(np.mean(np.array(prototypes.names)[said] == found[asked]))
    return np.array(right)
