"""MobileNetV3 on a log-mel spectrogram.

Howard et al. 2019, "Searching for MobileNetV3", arXiv 1905.02244,
tables 1 and 2 with a width of 1.
Batch normalisation follows every convolution but those of the head,
squeeze-excite has a quarter of the expanded channels,
and the head is two dense layers, as in the published weights.
Against those (2,542,856 and 5,483,032 parameters)
the first convolution has one input channel in place of three
and the last layer three outputs in place of 1000:
1,520,643 and 4,205,587.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from .layers import (
    ConvNorm,
    LogMelMap,
    MobileNet,
    MobileNetConfig,
    Sequence,
    masked_mean,
)


@dataclass(frozen=True)
class MobileNetV3Config(MobileNetConfig):
    """Configuration of :class:`MobileNetV3`."""

    size: Literal["small", "large"] = "small"
    """Which of the two published networks."""


class _Row(NamedTuple):
    """A row of the published tables."""

    kernel: int
    expanded: int
    outputs: int
    squeeze: bool
    hard_swish: bool
    stride: int


# fmt: off
_ROWS = {
    "small": [
        _Row(3,  16,  16, True,  False, 2),
        _Row(3,  72,  24, False, False, 2),
        _Row(3,  88,  24, False, False, 1),
        _Row(5,  96,  40, True,  True,  2),
        _Row(5, 240,  40, True,  True,  1),
        _Row(5, 240,  40, True,  True,  1),
        _Row(5, 120,  48, True,  True,  1),
        _Row(5, 144,  48, True,  True,  1),
        _Row(5, 288,  96, True,  True,  2),
        _Row(5, 576,  96, True,  True,  1),
        _Row(5, 576,  96, True,  True,  1),
    ],
    "large": [
        _Row(3,  16,  16, False, False, 1),
        _Row(3,  64,  24, False, False, 2),
        _Row(3,  72,  24, False, False, 1),
        _Row(5,  72,  40, True,  False, 2),
        _Row(5, 120,  40, True,  False, 1),
        _Row(5, 120,  40, True,  False, 1),
        _Row(3, 240,  80, False, True,  2),
        _Row(3, 200,  80, False, True,  1),
        _Row(3, 184,  80, False, True,  1),
        _Row(3, 184,  80, False, True,  1),
        _Row(3, 480, 112, True,  True,  1),
        _Row(3, 672, 112, True,  True,  1),
        _Row(5, 672, 160, True,  True,  2),
        _Row(5, 960, 160, True,  True,  1),
        _Row(5, 960, 160, True,  True,  1),
    ],
}
# fmt: on
_HEAD = {"small": 1024, "large": 1280}


class _SqueezeExcite(nn.Module):
    """Scale each channel by a gate computed from the mean of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # A quarter as the nearest multiple of eight,
        # but not more than a tenth below the quarter: 72 channels squeeze to 24.
        squeezed = max(8, (channels // 4 + 4) // 8 * 8)
        if squeezed < 0.9 * (channels // 4):
            squeezed += 8
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor | None]:
        gate = torch.relu(self.squeeze(masked_mean(x, frames)))
        return x * nn.functional.hardsigmoid(self.excite(gate)), frames


class _Bottleneck(nn.Module):
    """Expand, filter each channel, gate, project; add the input if it fits."""

    def __init__(self, inputs: int, row: _Row) -> None:
        super().__init__()
        activation = nn.Hardswish() if row.hard_swish else nn.ReLU()
        self.layers = Sequence()
        if row.expanded != inputs:
            self.layers.append(ConvNorm(inputs, row.expanded, activation=activation))
        self.layers.append(
            ConvNorm(
                row.expanded,
                row.expanded,
                row.kernel,
                stride=row.stride,
                groups=row.expanded,
                activation=activation,
            )
        )
        if row.squeeze:
            self.layers.append(_SqueezeExcite(row.expanded))
        self.layers.append(ConvNorm(row.expanded, row.outputs))
        self.residual = row.stride == 1 and inputs == row.outputs

    def forward(self, x: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor | None]:
        y, frames = self.layers(x, frames)
        return (x + y if self.residual else y), frames


class MobileNetV3(MobileNet):
    """MobileNetV3, small or large."""

    def __init__(self, config: MobileNetV3Config) -> None:
        front_end = LogMelMap(config.window_length, config.hop_length, config.n_mels)
        channels = 16
        trunk = Sequence(
            [ConvNorm(1, channels, 3, stride=2, activation=nn.Hardswish())]
        )
        for row in _ROWS[config.size]:
            trunk.append(_Bottleneck(channels, row))
            channels = row.outputs
        trunk.append(ConvNorm(channels, 6 * channels, activation=nn.Hardswish()))
        super().__init__(
            front_end, trunk, 6 * channels, _HEAD[config.size], nn.Hardswish(),
            config.dropout,
        )  # fmt: skip
        self.config = config
