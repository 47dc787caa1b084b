"""MobileNetV4-Conv on a log-mel spectrogram.

Qin et al. 2024, "MobileNetV4 - Universal Models for the Mobile Ecosystem",
arXiv 2404.10518, the tables of MNv4-Conv-S and MNv4-Conv-M.
Against the published 3,774,024 and 9,715,512 parameters
the first convolution has one input channel in place of three
(2 * 9 * 32 = 576 weights less)
the last layer three outputs in place of 1000
(997 * 1281 = 1,277,157 less)
and the layer before it a bias in place of batch normalisation (1,280 less):
2,495,011 and 8,436,499.

The paper of Wav2Small quotes 3.12 M for its "MobileNetV4-S"
and does not say what they are made of.
The 0.62 M more cannot come from the table's own layers:
a classifier of three outputs has 3,843 parameters and one of 1000 would end
at 3.77 M, two more input channels add 576.
The frozen front end of this module, 279,616, leads to 2.78 M.
What would lead there, and is conjecture:
a frozen Fourier transform of 768 samples with 80 mel bands (3,118,451 in all),
or two dense layers of 960 x 960 that pool over time,
like the paper's own model, in place of the layer of 1280 (3,109,091).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn

from .layers import ConvNorm, LogMelMap, MobileNet, MobileNetConfig, Sequence


@dataclass(frozen=True)
class MobileNetV4Config(MobileNetConfig):
    """Configuration of :class:`MobileNetV4`."""

    size: Literal["small", "medium"] = "small"
    """Which of the published convolutional networks."""


class _Conv(NamedTuple):
    """A plain convolution."""

    kernel: int
    outputs: int
    stride: int


class _Fused(NamedTuple):
    """A fused inverted bottleneck: a full convolution expands."""

    kernel: int
    expansion: int
    outputs: int
    stride: int


class _Universal(NamedTuple):
    """A universal inverted bottleneck, a kernel of 0 where a filter is left out.

    Both filters make the paper's ExtraDW, the first alone its ConvNext block,
    the second alone an inverted bottleneck, none a feed-forward block.
    """

    first: int
    middle: int
    expansion: int
    outputs: int
    stride: int


_ROWS: dict[str, list[_Conv | _Fused | _Universal]] = {
    "small": [
        _Conv(3, 32, 2),
        _Conv(3, 32, 2),
        _Conv(1, 32, 1),
        _Conv(3, 96, 2),
        _Conv(1, 64, 1),
        _Universal(5, 5, 3, 96, 2),
        *[_Universal(0, 3, 2, 96, 1)] * 4,
        _Universal(3, 0, 4, 96, 1),
        _Universal(3, 3, 6, 128, 2),
        _Universal(5, 5, 4, 128, 1),
        _Universal(0, 5, 4, 128, 1),
        _Universal(0, 5, 3, 128, 1),
        *[_Universal(0, 3, 4, 128, 1)] * 2,
        _Conv(1, 960, 1),
    ],
    "medium": [
        _Conv(3, 32, 2),
        _Fused(3, 4, 48, 2),
        _Universal(3, 5, 4, 80, 2),
        _Universal(3, 3, 2, 80, 1),
        _Universal(3, 5, 6, 160, 2),
        *[_Universal(3, 3, 4, 160, 1)] * 2,
        _Universal(3, 5, 4, 160, 1),
        _Universal(3, 3, 4, 160, 1),
        _Universal(3, 0, 4, 160, 1),
        _Universal(0, 0, 2, 160, 1),
        _Universal(3, 0, 4, 160, 1),
        _Universal(5, 5, 6, 256, 2),
        _Universal(5, 5, 4, 256, 1),
        *[_Universal(3, 5, 4, 256, 1)] * 2,
        _Universal(0, 0, 4, 256, 1),
        _Universal(3, 0, 4, 256, 1),
        _Universal(3, 5, 2, 256, 1),
        _Universal(5, 5, 4, 256, 1),
        *[_Universal(0, 0, 4, 256, 1)] * 2,
        _Universal(5, 0, 2, 256, 1),
        _Conv(1, 960, 1),
    ],
}


class _Bottleneck(nn.Module):
    """An inverted bottleneck; the input is added where it fits."""

    def __init__(self, inputs: int, row: _Fused | _Universal) -> None:
        super().__init__()
        expanded = row.expansion * inputs
        self.layers = Sequence()
        if isinstance(row, _Fused):
            self.layers.append(
                ConvNorm(
                    inputs,
                    expanded,
                    row.kernel,
                    stride=row.stride,
                    activation=nn.ReLU(),
                )
            )
        else:
            if row.first:
                # The stride stands at the later of the two filters
                stride = 1 if row.middle else row.stride
                self.layers.append(
                    ConvNorm(inputs, inputs, row.first, stride=stride, groups=inputs)
                )
            self.layers.append(ConvNorm(inputs, expanded, activation=nn.ReLU()))
            if row.middle:
                self.layers.append(
                    ConvNorm(
                        expanded,
                        expanded,
                        row.middle,
                        stride=row.stride,
                        groups=expanded,
                        activation=nn.ReLU(),
                    )
                )
        self.layers.append(ConvNorm(expanded, row.outputs))
        self.residual = row.stride == 1 and inputs == row.outputs

    def forward(self, x: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor | None]:
        y, frames = self.layers(x, frames)
        return (x + y if self.residual else y), frames


class MobileNetV4(MobileNet):
    """MobileNetV4-Conv, small or medium."""

    def __init__(self, config: MobileNetV4Config) -> None:
        front_end = LogMelMap(config.window_length, config.hop_length, config.n_mels)
        channels = 1
        trunk = Sequence()
        for row in _ROWS[config.size]:
            if isinstance(row, _Conv):
                layer: nn.Module = ConvNorm(
                    channels,
                    row.outputs,
                    row.kernel,
                    stride=row.stride,
                    activation=nn.ReLU(),
                )
            else:
                layer = _Bottleneck(channels, row)
            trunk.append(layer)
            channels = row.outputs
        # Without the original's batch normalisation: after the pooling it would see
        # one value for each signal, and training would lean on the batch.
        super().__init__(front_end, trunk, channels, 1280, nn.ReLU(), config.dropout)
        self.config = config
