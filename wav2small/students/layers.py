"""Layers that the MobileNets share.

A map has the shape ``(batch, channels, time, mel)``.
Beside it goes ``frames``,
the number of valid time steps of each element, shape ``(batch,)``,
or None if all are valid.
What lies past the valid steps is never read:
convolutions see zeros there, as they do past the end of an unpadded signal,
and means leave it out.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ..features import LogMel, frame_mask, normalize


def time_mask(frames: Tensor, x: Tensor) -> Tensor:
    """Mask of shape ``(batch, 1, time, 1)`` in the type of the map ``x``."""
    return frame_mask(frames, x.shape[2])[:, None, :, None].to(x.dtype)


def masked_mean(x: Tensor, frames: Tensor | None) -> Tensor:
    """Mean of a map over its valid time steps and mel.

    Shape:
        x: ``(batch, channels, time, mel)``
        output: ``(batch, channels, 1, 1)``

    """
    if frames is None:
        return x.mean(dim=(2, 3), keepdim=True)
    count = (frames * x.shape[3])[:, None, None, None].to(x.dtype)
    return (x * time_mask(frames, x)).sum(dim=(2, 3), keepdim=True) / count


class LogMelMap(nn.Module):
    """Signal to a map of one channel whose values lie in about -3..3.

    Each signal is first normalised to zero mean and unit power,
    so its level carries no information.

    Shape:
        signal: ``(batch, time)``, float32 at 16 kHz
        lengths: ``(batch,)``, samples; None if all are valid
        output: ``(batch, 1, frames, n_mels)`` and frames ``(batch,)`` or None

    """

    def __init__(self, window_length: int, hop_length: int, n_mels: int) -> None:
        super().__init__()
        self.log_mel = LogMel(
            window_length=window_length,
            hop_length=hop_length,
            n_mels=n_mels,
            center=True,
        )
        self.settings = self.log_mel.settings(
            normalized=True, center=CENTER, spread=SPREAD
        )

    def forward(
        self, signal: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Compute the map."""
        decibel = self.log_mel(normalize(signal, lengths))
        # Constants and not statistics: a batch element must not depend
        # on the others, nor a score on how much silence surrounds the speech.
        x = (decibel[:, None] - CENTER) / SPREAD
        return x, None if lengths is None else self.log_mel.frames(lengths)


CENTER = -15.0
"""Typical level of a log-mel cell of speech at unit power, in dB."""

SPREAD = 20.0
"""Typical deviation from :data:`CENTER`, in dB."""


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation and an activation.

    The padding is half the (odd) kernel,
    so ``n`` time steps become ``ceil(n / stride)`` for any kernel.

    Args:
        inputs: channels of the input
        outputs: channels of the output
        kernel: side of the square kernel, odd
        stride: steps in time and in mel
        groups: groups of the convolution, ``inputs`` for a depthwise one
        activation: applied last, nothing if None

    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = activation or nn.Identity()
        self.kernel = kernel
        self.stride = stride
        # Keeps the variance through the depth, whatever the default may be
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Filter a map."""
        if frames is not None:
            if self.kernel > 1:
                x = x * time_mask(frames, x)
            frames = (frames - 1) // self.stride + 1
        return self.activation(self.norm(self.conv(x))), frames


class Sequence(nn.ModuleList):
    """Layers that pass a map and its frames on."""

    def forward(self, x: Tensor, frames: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Apply the layers in turn."""
        for layer in self:
            x, frames = layer(x, frames)
        return x, frames


@dataclass(frozen=True)
class MobileNetConfig:
    """Configuration of a MobileNet."""

    size: str = "small"
    """Which of the published networks."""

    n_mels: int = 64
    """Number of mel bands."""

    window_length: int = 512
    """Length of the Hann window in samples."""

    hop_length: int = 160
    """Samples from one frame to the next."""

    dropout: float = 0.2
    """Probability of dropping a feature before the last layer."""


class MobileNet(nn.Module):
    """What the MobileNets share: a log-mel map, a trunk, a hidden layer, three scores.

    Shape:
        signal: ``(batch, time)``, float32 in [-1, 1] at 16 kHz,
            at least 64 samples
        lengths: ``(batch,)``, valid samples of each signal; None if all are
        output: ``(batch, 3)``, arousal, dominance, valence

    With ``lengths`` a padded signal scores as it does alone
    (in evaluation mode: in training, batch normalisation sees the batch).
    Each signal is normalised to zero mean and unit power,
    so its level carries no information.

    Args:
        front_end: makes the map
        trunk: layers on the map
        channels: that the trunk makes
        hidden: width of the hidden layer
        activation: of the hidden layer
        dropout: share of it that is dropped in training, in 0..1

    """

    min_samples = 64

    def __init__(
        self,
        front_end: LogMelMap,
        trunk: Sequence,
        channels: int,
        hidden: int,
        activation: nn.Module,
        dropout: float,
    ) -> None:
        super().__init__()
        self.front_end, self.trunk = front_end, trunk
        self.log_mel_settings = front_end.settings
        self.hidden, self.activation = nn.Linear(channels, hidden), activation
        self.dropout = nn.Dropout(dropout)
        self.adv = nn.Linear(hidden, 3)
        # Start near the middle of the scale, where a loss of the mean is least
        nn.init.normal_(self.adv.weight, std=0.01)
        nn.init.constant_(self.adv.bias, 0.5)

    def forward(self, signal: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Score signals."""
        x, frames = self.trunk(*self.front_end(signal, lengths))
        x = self.activation(self.hidden(masked_mean(x, frames).flatten(1)))
        return self.adv(self.dropout(x))
