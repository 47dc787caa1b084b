"""Losses that a student or a teacher is trained with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .adv import DIMENSIONS
from .errors import InputError


def concordance_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """One minus the concordance correlation coefficient of each column.

    Shape:
        prediction: ``(batch, columns)``, batch of at least two
        truth: ``(batch, columns)``
        output: ``(columns,)``, each in [0, 2]

    A small constant in the denominator
    keeps the gradient finite for constant columns.

    References:
        Lin 1989, Biometrics 45(1), 255-268.

    """
    if prediction.shape != truth.shape or prediction.ndim != 2 or len(truth) < 2:
        raise ValueError(
            "prediction and truth must be of one shape (batch >= 2, columns), "
            f"got {tuple(prediction.shape)} and {tuple(truth.shape)}"
        )
    mean_prediction, mean_truth = prediction.mean(0), truth.mean(0)
    a, b = prediction - mean_prediction, truth - mean_truth
    covariance = (a * b).mean(0)
    spread = a.square().mean(0) + b.square().mean(0)
    shift = (mean_prediction - mean_truth).square()
    return 1 - 2 * covariance / (spread + shift + 1e-8)


def score_losses(prediction: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """Losses between two batches of scores, by name.

    The concordance loss of each dimension,
    and the mean absolute error,
    which ties the scale down where a small batch says little about it.

    Shape:
        prediction: ``(batch, 3)``
        truth: ``(batch, 3)``

    """
    losses = dict(
        zip(
            (f"ccc_{name}" for name in DIMENSIONS),
            concordance_loss(prediction, truth),
            strict=True,
        )
    )
    losses["l1"] = torch.mean(torch.abs(prediction - truth))
    return losses


def check_finite(value: float, step: int) -> None:
    """End a training that has diverged: what it makes is of no use.

    Args:
        value: loss, or sum of scores
        step: number of the step, from 0

    Raises:
        InputError: if the value is NaN or infinite

    """
    if not math.isfinite(value):
        raise InputError(
            f"training must stay finite, got {value} at step {step + 1}: "
            "lower the learning rate, or look for labels that are not in 0..1"
        )
