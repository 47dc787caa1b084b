"""Leave a network early where it has made up its mind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..adv import DIMENSIONS
from ..errors import InputError
from ..metrics import concordance_cc
from .backbones import pad
from .network import FinetuneNetwork
from .teacher import check_lengths


class _Left(Exception):
    """The answer was good enough; no further layer is run."""


@dataclass(frozen=True)
class Early:
    """Answers, and how deep each signal had to go for its own."""

    scores: np.ndarray
    """Arousal, dominance, valence, shape ``(signals, 3)``, float32."""

    layers: np.ndarray
    """Layers that were run, shape ``(signals,)``."""


def predict_early(
    network: FinetuneNetwork, signals: Sequence[np.ndarray], tolerance: float
) -> Early:
    """Score each signal, and leave at the first exit that agrees with the last one.

    Two exits agree where no dimension differs by more than the tolerance.
    The first exit has nobody to agree with;
    where nobody agrees, the last layer answers.
    The layers behind the exit that is taken are not run.

    Args:
        network: with at least two exits
        signals: ``(time,)`` each
        tolerance: on the scale of 0..1; below 0 nobody ever agrees

    Raises:
        InputError: if the network has fewer than two exits,
            or a signal is too short

    """
    backbone, numbers = network.backbone, network.config.exits
    if len(numbers) < 2:
        raise InputError(
            f"exits must be at least two to agree, got {list(numbers)}: train with more"
        )
    check_lengths(signals, backbone.min_samples)
    places = dict(zip(numbers, network.exits, strict=True))
    device = next(network.parameters()).device
    answers: list[Tensor] = []

    def watch(number: int, hidden: Tensor) -> None:
        if number not in places:
            return
        answers.append(places[number](hidden.float(), None)[0][0])
        if len(answers) > 1 and (answers[-1] - answers[-2]).abs().max() <= tolerance:
            raise _Left

    scores, layers = [], []
    was_training = network.training
    network.eval()
    backbone.watch = watch
    try:
        with torch.inference_mode():
            for signal in signals:
                answers.clear()
                try:
                    outputs = network(pad([signal])[0].to(device))
                    answers.append(outputs["scores"][0])
                    layers.append(backbone.depth)
                except _Left:
                    layers.append(numbers[len(answers) - 1])
                scores.append(answers[-1].cpu().numpy())
    finally:
        backbone.watch = None
        network.train(was_training)
    return Early(np.stack(scores), np.array(layers))


def exit_curve(
    network: FinetuneNetwork,
    signals: Sequence[np.ndarray],
    truth: np.ndarray,
    tolerances: Sequence[float],
) -> list[dict[str, float]]:
    """Concordance against the share of the layers that were run.

    The encoder of the waveform and the heads are not counted.

    Args:
        network: with at least two exits
        signals: ``(time,)`` each
        truth: ``(signals, 3)``
        tolerances: of :func:`predict_early`

    Returns:
        for each tolerance itself, the mean share of layers in 0..1,
        the concordance of each dimension and their mean

    """
    rows = []
    for tolerance in tolerances:
        early = predict_early(network, signals, tolerance)
        row = {
            name: concordance_cc(truth[:, axis], early.scores[:, axis])
            for axis, name in enumerate(DIMENSIONS)
        }
        row["mean"] = float(np.mean(list(row.values())))
        row["share"] = float(early.layers.mean() / network.backbone.depth)
        rows.append({"tolerance": float(tolerance), **row})
    return rows
