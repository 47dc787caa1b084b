"""Wav2Small-RT: a student that streams, for chips with little memory and time.

Log-mel every 10 ms, relative to the level of the past second,
two convolutions that halve the mel axis,
then separable convolutions over time whose reach doubles from one to the next,
and softmax pooling.
Nothing needs more than the past and a fixed look-ahead,
so it runs frame by frame in constant memory with the scores of the whole signal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..adv import SAMPLING_RATE
from ..features import (
    SPREAD,
    LogMel,
    forgetting_ramp,
    frame_mask,
    relative_to_past,
)


@dataclass(frozen=True)
class StreamingConfig:
    """Configuration of :class:`Streaming`."""

    window_length: int = 512
    """Length of the Hann window in samples."""

    hop_length: int = 160
    """Samples from one frame to the next."""

    n_mels: int = 40
    """Number of mel bands."""

    past_frames: int = 100
    """Frames over which the level is averaged that a frame is relative to."""

    filters: tuple[int, int] = (8, 16)
    """Channels of the two convolutions over time and mel."""

    channels: int = 48
    """Channels of the convolutions over time."""

    dilations: tuple[int, ...] = (1, 2, 4, 8)
    """Frames from one tap to the next, for each convolution over time."""

    kernel: int = 3
    """Taps of the convolutions over time, odd."""

    forget_seconds: float | None = None
    """Seconds in which the weight of what was heard falls to 1 / e,
    None if all of a signal weighs the same."""

    def __post_init__(self) -> None:
        if self.forget_seconds is not None and not self.forget_seconds > 0:
            raise ValueError(
                "forget_seconds must be above 0 or None, got "
                f"{self.forget_seconds}: None forgets nothing"
            )


class _Block(nn.Module):
    """Depthwise filter over time and a mix of the channels, added to the input."""

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.filter = nn.Conv2d(
            channels,
            channels,
            (kernel, 1),
            padding=(dilation * (kernel // 2), 0),
            dilation=(dilation, 1),
            groups=channels,
            bias=False,
        )
        self.norm1 = nn.BatchNorm2d(channels)
        self.mix = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.filter(x)))
        return torch.relu(x + self.norm2(self.mix(y)))


class Streaming(nn.Module):
    """The streaming student.

    Shape:
        signal: ``(batch, time)``, float32 in [-1, 1] at 16 kHz, without offset,
            at least 64 samples
        lengths: ``(batch,)``, valid samples of each signal; None if all are
        forgetting: ``(batch,)``, 1 / seconds in which the weight of what was heard
            falls to 1 / e, 0 forgets nothing; None for that of the configuration
        output: ``(batch, 3)``, arousal, dominance, valence

    With ``lengths`` a padded signal scores as it does alone.
    The scores do not depend on the level of the signal.

    """

    min_samples = 64
    normalisation = "level of the past second, inside"

    def __init__(self, config: StreamingConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel(
            window_length=config.window_length,
            hop_length=config.hop_length,
            n_mels=config.n_mels,
            fmin=60,
            center=True,
        )
        self.log_mel_settings = self.log_mel.settings(
            normalized=False, past_frames=config.past_frames, spread=SPREAD
        )
        first, second = config.filters
        self.conv1 = nn.Conv2d(1, first, 3, (1, 2), 1, bias=False)
        self.norm1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, 3, (2, 2), 1, bias=False)
        self.norm2 = nn.BatchNorm2d(second)
        mels = ((config.n_mels + 1) // 2 + 1) // 2
        self.join = nn.Conv2d(second, config.channels, (1, mels), bias=False)
        self.norm3 = nn.BatchNorm2d(config.channels)
        self.blocks = nn.ModuleList(
            _Block(config.channels, config.kernel, dilation)
            for dilation in config.dilations
        )
        self.value = nn.Conv2d(config.channels, config.channels, 1)
        self.score = nn.Conv2d(config.channels, config.channels, 1)
        self.adv = nn.Linear(config.channels, 3)

    def relative_log_mel(self, signal: Tensor) -> Tensor:
        """Log-mel less the mean level of the past, ``(batch, 1, frames, mels)``."""
        x = relative_to_past(self.log_mel(signal), self.config.past_frames)
        return x[:, None] / SPREAD

    @property
    def row_seconds(self) -> float:
        """Seconds from one row that is pooled to the next."""
        return 2 * self.config.hop_length / SAMPLING_RATE

    def forward(
        self,
        signal: Tensor,
        lengths: Tensor | None = None,
        forgetting: Tensor | None = None,
    ) -> Tensor:
        """Score signals."""
        frames = None
        if lengths is not None:
            signal = signal * frame_mask(lengths, signal.shape[1]).to(signal.dtype)
            frames = self.log_mel.frames(lengths)
        x = self.relative_log_mel(signal)

        def masked(x: Tensor, frames: Tensor | None) -> Tensor:
            if frames is None:
                return x
            mask = frame_mask(frames, x.shape[2])[:, None, :, None]
            return x * mask.to(x.dtype)

        x = torch.relu(self.norm1(self.conv1(masked(x, frames))))
        x = torch.relu(self.norm2(self.conv2(masked(x, frames))))
        if frames is not None:
            frames = (frames + 1) // 2
        x = torch.relu(self.norm3(self.join(x)))
        for block in self.blocks:
            x = block(masked(x, frames))
        score = self.score(x)
        if forgetting is not None:
            score = score + forgetting_ramp(
                score, forgetting[:, None, None, None] * self.row_seconds
            )
        elif self.config.forget_seconds is not None:
            score = score + forgetting_ramp(
                score, self.row_seconds / self.config.forget_seconds
            )
        if frames is not None:
            valid = frame_mask(frames, score.shape[2])[:, None, :, None]
            score = score.masked_fill(~valid, -torch.inf)
        x = (self.value(x) * torch.softmax(score, dim=2)).sum(dim=2)
        return self.adv(x.flatten(1))
