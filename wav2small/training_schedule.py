"""How long a training lasts, which clips each step takes, and what it averages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .adv import DIMENSIONS
from .metrics import concordance_cc


@dataclass(frozen=True)
class TrainingSchedule:
    """How long a training lasts, and what happens when."""

    steps: int
    """Steps at most."""

    rise: float
    """Share of the steps in which the rates rise, in 0..1."""

    average: float
    """Decay per step of the moving average of the weights, in 0..1."""

    evaluations: int
    """How often it is evaluated and saved, evenly spread."""

    patience: int | None = None
    """Evaluations without a better one after which it stops; None for never."""

    def rate(self, step: int) -> float:
        """Rate of a step relative to the peak: a linear rise, then a cosine."""
        rising = max(1, round(self.rise * self.steps))
        if step < rising:
            return (step + 1) / rising
        left = (step - rising) / max(1, self.steps - rising)
        return 0.5 * (1 + math.cos(math.pi * left))

    def decay(self, step: int) -> float:
        """Decay of the average: it forgets its random start quickly."""
        return min(self.average, (1 + step) / (10 + step))

    @property
    def marks(self) -> set[int]:
        """Numbers of steps after which it is evaluated."""
        return {
            round(self.steps * (item + 1) / self.evaluations)
            for item in range(self.evaluations)
        }

    def done(self, history: Sequence[Mapping[str, float]]) -> bool:
        """Tell whether the last evaluations were no better than one before them."""
        if self.patience is None or not history:
            return False
        qualities = [quality(row) for row in history]
        return len(qualities) - 1 - int(np.argmax(qualities)) >= self.patience


def concordance_row(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Concordance by dimension, and the ``mean`` of those that are defined."""
    row = {
        name: concordance_cc(truth[:, axis], scores[:, axis])
        for axis, name in enumerate(DIMENSIONS)
    }
    defined = [value for value in row.values() if not math.isnan(value)]
    return row | {"mean": float(np.mean(defined)) if defined else math.nan}


def quality(row: Mapping[str, float]) -> float:
    """Mean concordance; below every other where it is not defined."""
    return -1.0 if math.isnan(row["mean"]) else row["mean"]


@torch.no_grad()
def move_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move the average towards a module's weights and statistics, in place."""
    for mean, latest in zip(
        average.state_dict().values(), module.state_dict().values(), strict=True
    ):
        if mean.dtype.is_floating_point:
            mean.lerp_(latest, 1 - decay)
        else:
            mean.copy_(latest)


def epoch_batch(items: np.ndarray, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Return the clips of one step: each clip once per epoch, in random order."""
    epoch, position = divmod(step, steps_in(len(items), batch_size))
    return batch_at(items, batch_size, seed, epoch, position)


def batch_at(
    items: np.ndarray, batch_size: int, seed: int, epoch: int, position: int
) -> np.ndarray:
    """Return the clips at a position in an epoch's order, which begins anew at its end.

    Args:
        items: the clips
        batch_size: how many are taken
        seed: seed of the order
        epoch: number of the pass over the clips
        position: number of the batch in it

    """
    # a stream of its own: step generators have non-negative second words below 2**62
    order = np.random.default_rng([seed, 2**62 + epoch]).permutation(items)
    places = np.arange(position * batch_size, (position + 1) * batch_size)
    return np.take(order, places, mode="wrap")


def steps_in(clips: int, batch_size: int) -> int:
    """Return how many steps an epoch has."""
    return max(1, clips // batch_size)
