"""Stop a network early where two of its exits agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ...adv import DIMENSIONS
from ...errors import InputError
from ...metrics import concordance_cc
from ...teachers.base import check_lengths
from ..backbones import States, pad
from ..network import FinetuneNetwork


class _Left(Exception):
    """Raised to stop: the answer was good enough, and no further layer is run."""


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
    check_exits(network)
    backbone, numbers = network.backbone, network.config.exits
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
                    states = backbone(pad([signal])[0].to(device))
                    answers.append(_last_answer(network, states)[0])
                    layers.append(backbone.depth)
                except _Left:
                    layers.append(numbers[len(answers) - 1])
                scores.append(answers[-1].cpu().numpy())
    finally:
        backbone.watch = None
        network.train(was_training)
    return Early(np.stack(scores), np.array(layers))


def check_exits(network: FinetuneNetwork) -> None:
    """Refuse a network whose exits cannot agree.

    Raises:
        InputError: if it has fewer than two

    """
    numbers = list(network.config.exits)
    if len(numbers) < 2:
        raise InputError(
            f"exits must be at least two to agree, got {numbers}: train with more"
        )


def _last_answer(network: FinetuneNetwork, states: States) -> Tensor:
    """Scores behind the last layer, without those of the exits."""
    return network.head(network.pooled(*states), None, None)


def exit_costs(network: FinetuneNetwork, samples: int) -> dict[int, float]:
    """What leaving costs, of what the network would cost without exits.

    Multiplications and additions of matrices and convolutions are counted,
    with the encoder of the waveform and every head that is asked.

    Args:
        network: with exits
        samples: length of a signal

    Returns:
        share by the number of layers that are run, above 1 for all of them

    """
    backbone = network.backbone
    signal = torch.zeros(1, samples, device=next(network.parameters()).device)
    hidden: dict[int, Tensor] = {}

    def run(depth: int) -> None:
        def watch(number: int, given: Tensor) -> None:
            hidden[number] = given.float()
            if number == depth:
                raise _Left

        backbone.watch = watch
        with suppress(_Left):
            backbone(signal)

    was_training = network.training
    network.eval()
    try:
        costs, heads = {}, 0
        for number, leave in zip(network.config.exits, network.exits, strict=True):
            behind = _operations(partial(run, number))
            heads += _operations(partial(leave, hidden[number], None))
            costs[number] = behind + heads
        backbone.watch = None
        whole = _operations(lambda: _last_answer(network, backbone(signal)))
        costs[backbone.depth] = whole + heads
    finally:
        backbone.watch = None
        network.train(was_training)
    return {number: cost / whole for number, cost in costs.items()}


def _operations(run: Callable[[], object]) -> int:
    # the counter does not know fused attention, so the plain one is used
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        run()
    return counter.get_total_flops()


def exit_curve(
    network: FinetuneNetwork,
    signals: Sequence[np.ndarray],
    truth: np.ndarray,
    tolerances: Sequence[float],
) -> list[dict[str, float]]:
    """Concordance against what was run for it.

    Args:
        network: with at least two exits
        signals: ``(time,)`` each
        truth: ``(signals, 3)``
        tolerances: of :func:`predict_early`

    Returns:
        for each tolerance itself, the mean share of layers in 0..1
        and that of the computation (:func:`exit_costs`, at the mean length),
        the concordance of each dimension and their mean

    """
    costs = exit_costs(network, round(np.mean([len(signal) for signal in signals])))
    rows = []
    for tolerance in tolerances:
        early = predict_early(network, signals, tolerance)
        row = {
            name: concordance_cc(truth[:, axis], early.scores[:, axis])
            for axis, name in enumerate(DIMENSIONS)
        }
        row["mean"] = float(np.mean(list(row.values())))
        row["share"] = float(early.layers.mean() / network.backbone.depth)
        row["compute"] = float(np.mean([costs[number] for number in early.layers]))
        rows.append({"tolerance": float(tolerance), **row})
    return rows
