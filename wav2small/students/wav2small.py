"""Wav2Small: a VGG-like network on a 2 ms log-mel spectrogram.

Kounadis-Bastian et al. 2024, "Wav2Small: Distilling Wav2Vec2 to 72K
Parameters for Low-Resource Speech emotion recognition", arXiv 2408.13920.
The paper's model has an attention head and 72,659 parameters.
A later one, published by its first author as "Wav2Small2.0",
has a lighter head and 15,888.
Both hear a signal relative to the level of all of it.
With ``past_frames`` they hear it relative to the level of the past: so they stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..adv import SAMPLING_RATE
from ..features import (
    SPREAD,
    LogMel,
    forgetting_ramp,
    frame_mask,
    normalize,
    relative_to_past,
)


@dataclass(frozen=True)
class Wav2SmallConfig:
    """Configuration of :class:`Wav2Small`."""

    head: Literal["attention", "covariance"] = "attention"
    """``attention`` pools tokens of ``channels * mel`` by a softmax over time
    (the 72K model), ``covariance`` pools each cell alone
    and adds the products between channels (the 17K model)."""

    window_length: int = 64
    """Length of the Hann window in samples."""

    hop_length: int = 32
    """Samples from one frame to the next."""

    n_mels: int = 26
    """Number of mel bands."""

    channels: int = 13
    """Channels of every convolution.
    The covariance head needs as many as mel bands after pooling."""

    past_frames: int | None = None
    """Frames over which the level is averaged that a frame is relative to,
    None if that is the level of the whole signal."""

    n_fft: int | None = None
    """Length of the Fourier transform in samples, ``window_length`` if None.
    With that of the paper one mel band is narrower than a bin and says nothing:
    beside the level of the past it would tell how loud a signal is."""


class _ConvBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return x if mask is None else x * mask


def _time_mask(frames: Tensor, x: Tensor) -> Tensor:
    """Mask of shape ``(batch, 1, time, 1)`` for a map ``(batch, _, time, _)``."""
    return frame_mask(frames, x.shape[2])[:, None, :, None].to(x.dtype)


class _Trunk(nn.Module):
    """Log-mel, seven convolutions and softmax pooling over time.

    The names of its parts are those of the published 17K state dict.
    """

    def __init__(self, config: Wav2SmallConfig) -> None:
        super().__init__()
        channels = config.channels
        front_end = LogMel(
            window_length=config.window_length,
            hop_length=config.hop_length,
            n_mels=config.n_mels,
            n_fft=config.n_fft,
        )
        self.frames = front_end.frames
        self.past_frames = config.past_frames
        self.settings = front_end.settings(
            normalized=config.past_frames is None,
            past_frames=config.past_frames,
            spread=SPREAD if config.past_frames else 1.0,
        )
        self.spectrogram_extractor = front_end.spectrogram_extractor
        self.logmel_extractor = front_end.logmel_extractor
        for index in range(1, 8):
            inputs = 1 if index == 1 else channels
            setattr(self, f"l{index}", _ConvBlock(inputs, channels))
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        if config.head == "attention":
            tokens = channels * ((config.n_mels + 1) // 2)
            self.point = nn.Conv2d(channels, channels, 1)
            self.lin: nn.Module = nn.Linear(tokens, tokens)
            self.sof: nn.Module = nn.Linear(tokens, tokens)
        else:
            self.lin = nn.Conv2d(channels, channels, 1)
            self.sof = nn.Conv2d(channels, channels, 1)
        self.head = config.head
        self.row_seconds = 2 * config.hop_length / SAMPLING_RATE

    def forward(
        self, signal: Tensor, lengths: Tensor | None, forgetting: Tensor | None
    ) -> Tensor:
        if self.past_frames is None:
            signal = normalize(signal, lengths)
        elif lengths is not None:
            signal = signal * frame_mask(lengths, signal.shape[1]).to(signal.dtype)
        x = self.logmel_extractor(self.spectrogram_extractor(signal)).transpose(1, 2)
        if self.past_frames is not None:
            x = relative_to_past(x, self.past_frames) / SPREAD
        x = x[:, None]
        frames = mask = None
        if lengths is not None:
            frames = self.frames(lengths)
            mask = _time_mask(frames, x)
            x = x * mask
        for index in range(1, 4):
            x = getattr(self, f"l{index}")(x, mask)
        x = self.maxpool(x)
        if frames is not None:
            frames = (frames + 1) // 2
            mask = _time_mask(frames, x)
            x = x * mask
        for index in range(4, 8):
            x = getattr(self, f"l{index}")(x, mask)
        if self.head == "attention":
            # (batch, channels, time, mel) -> tokens (batch, time, channels * mel)
            x = self.point(x).permute(0, 2, 1, 3).flatten(2)
            value, score = self.lin(x), self.sof(x)
            axis = 1
        else:
            value, score = self.lin(x), self.sof(x)
            axis = 2
        if forgetting is not None:
            each = forgetting.reshape(-1, *([1] * (score.ndim - 1)))
            score = score + forgetting_ramp(score, each * self.row_seconds, axis)
        if frames is not None:
            valid = frame_mask(frames, score.shape[axis])
            shape = [len(valid), *([1] * (score.ndim - 1))]
            shape[axis] = valid.shape[1]
            score = score.masked_fill(~valid.reshape(shape), -torch.inf)
        return (value * torch.softmax(score, dim=axis)).sum(dim=axis)


class Wav2Small(nn.Module):
    """Wav2Small with either of its heads.

    Shape:
        signal: ``(batch, time)``, float32 in [-1, 1] at 16 kHz,
            at least ``window_length`` samples
        lengths: ``(batch,)``, valid samples of each signal; None if all are
        forgetting: ``(batch,)``, 1 / seconds in which the weight of what was heard
            falls to 1 / e, 0 forgets nothing; None for none, for what streams alone
        output: ``(batch, 3)``, arousal, dominance, valence

    With ``lengths`` a padded signal scores as it does alone.
    Each signal is normalised to zero mean and unit power, or, with ``past_frames``,
    each frame to the level of the past: so the level carries no information.

    """

    def __init__(self, config: Wav2SmallConfig) -> None:
        super().__init__()
        self.config = config
        self.min_samples = config.window_length
        if config.past_frames is not None:
            self.normalisation = "level of the past, inside"
        self.vgg7 = _Trunk(config)
        self.log_mel_settings = self.vgg7.settings
        mels = (config.n_mels + 1) // 2
        if config.head == "attention":
            features = config.channels * mels
        else:
            features = config.channels * (mels + config.channels)
        self.adv = nn.Linear(features, 3)

    def forward(
        self,
        signal: Tensor,
        lengths: Tensor | None = None,
        forgetting: Tensor | None = None,
    ) -> Tensor:
        """Score signals."""
        x = self.vgg7(signal, lengths, forgetting)
        if self.config.head == "covariance":
            x = torch.cat([x, x @ x.transpose(1, 2)], dim=2).flatten(1)
        return self.adv(x)
