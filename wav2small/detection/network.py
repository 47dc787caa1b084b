"""The network that tells speech from other sounds, and its training.

Shape:
    rows: ``(scenes, time, bands)``, log-mel rows as the layers of the scores read them
    labels: ``(scenes, time)``, see :mod:`wav2small.detection.scenes`
    output: ``(scenes, time)``, log-odds of speech

"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from wav2small.export.base.progress import Progress

from ..config import DetectorConfig
from .scenes import SPEECH, UNCLEAR

PERIOD = 2
"""Frames of which the detector reads one."""

_TAPS, _DILATIONS = (4, 4, 4), (2, 6, 10)


class DetectorNetwork(nn.Module):
    """Convolutions over the past of log-mel rows.

    Shape:
        rows: ``(batch, bands, time)``
        output: ``(batch, time)``, log-odds of speech

    """

    def __init__(self, bands: int, channels: int) -> None:
        super().__init__()
        sizes = zip((1, *_TAPS), (1, *_DILATIONS), strict=True)
        inputs = (bands, *[channels] * len(_TAPS))
        self.layers = nn.ModuleList(
            nn.Conv1d(count, channels, taps, dilation=dilation, bias=False)
            for count, (taps, dilation) in zip(inputs, sizes, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in self.layers)
        self.last = nn.Conv1d(channels, 1, 1)

    def pairs(self) -> Iterator[tuple[nn.Conv1d, nn.BatchNorm1d]]:
        """Layers before the last, each with its norm."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            assert isinstance(layer, nn.Conv1d)
            assert isinstance(norm, nn.BatchNorm1d)
            yield layer, norm

    def hidden(self, rows: Tensor) -> list[Tensor]:
        """Outputs of the layers before the last."""
        made = []
        for layer, norm in self.pairs():
            past = (layer.kernel_size[0] - 1) * layer.dilation[0]
            rows = functional.relu(norm(layer(functional.pad(rows, (past, 0)))))
            made.append(rows)
        return made

    def forward(self, rows: Tensor) -> Tensor:
        """Log-odds of each row."""
        odds: Tensor = self.last(self.hidden(rows)[-1])
        return odds[:, 0]


class Folded(NamedTuple):
    """A layer with its norm, as plain numbers."""

    weight: np.ndarray
    """``(outputs, inputs, rows, bands)``."""

    bias: np.ndarray
    """``(outputs,)``."""

    step: int
    """Rows of the input from one row to the next."""

    dilation: int
    """Rows of the input from tap to tap."""

    largest: float | None
    """Largest output in what was heard, None for the log-odds."""


def train(
    rows: np.ndarray,
    labels: np.ndarray,
    to_numbers: Callable[[np.ndarray], np.ndarray],
    config: DetectorConfig,
    progress: Progress | None = None,
) -> list[Folded]:
    """Train a network from scratch.

    Args:
        rows: int8
        labels: of the rows
        to_numbers: from int8 to what the layers read
        config: length and seed
        progress: called now and then

    Returns:
        its layers, the first one for every second row

    """
    # the scenes before have seeds of their own
    rng = np.random.default_rng(config.seed + 4)
    torch.manual_seed(config.seed)
    network = DetectorNetwork(rows.shape[2], config.channels)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps
    )
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.average)
    )

    def numbers(part: np.ndarray) -> Tensor:
        return torch.from_numpy(to_numbers(part)).transpose(1, 2)

    for step in range(config.steps):
        chosen = rng.integers(0, len(rows), config.batch_size)
        # either of the frames may be the one that is read
        first = int(rng.integers(PERIOD))
        odds = network(numbers(rows[chosen, first::PERIOD]))
        truth = torch.from_numpy(labels[chosen, first::PERIOD])
        known = truth != UNCLEAR
        loss = functional.binary_cross_entropy_with_logits(
            odds[known], (truth[known] == SPEECH).float()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        if progress and (step % 100 == 99 or step + 1 == config.steps):
            progress("detector", step + 1, config.steps, {"loss": loss.item()})
    for kept, last in zip(averaged.module.buffers(), network.buffers(), strict=True):
        kept.copy_(last)
    mean = averaged.module.eval()
    assert isinstance(mean, DetectorNetwork)
    return _folded(mean, numbers(rows[:200, ::PERIOD]))


@torch.no_grad()
def _folded(network: DetectorNetwork, heard: Tensor) -> list[Folded]:
    """Layers with the norms folded in, and the largest numbers that they make."""
    made: list[Folded] = []
    outputs = network.hidden(heard)
    for (layer, norm), output in zip(network.pairs(), outputs, strict=True):
        mean, power = norm.running_mean, norm.running_var
        assert mean is not None
        assert power is not None
        gain = norm.weight / torch.sqrt(power + norm.eps)
        weight = (layer.weight * gain[:, None, None]).numpy()
        bias = (norm.bias - mean * gain).numpy()
        largest = float(np.quantile(output.numpy(), 0.9999))
        first = not made
        # the first layer goes over the bands, the others over the past
        weight = weight.transpose(0, 2, 1)[:, None] if first else weight[..., None]
        step = PERIOD if first else 1
        made.append(Folded(weight, bias, step, layer.dilation[0], largest))
    last = network.last
    assert last.bias is not None
    return [
        *made,
        Folded(last.weight.numpy()[..., None], last.bias.numpy(), 1, 1, None),
    ]
