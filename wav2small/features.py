"""Log-mel front end as a module that trains, batches and exports."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from wav2small.export.base.log_mel import LogMelSettings, mel_basis

from .adv import SAMPLING_RATE

POWER_FLOOR = 1e-7
"""Power that is added to a signal's before it is scaled to unit power."""

SPREAD = 20.0
"""Typical deviation of a log-mel cell from the level of the past, in dB."""

FLOOR = 1e-10
"""Smallest power of a mel band."""


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """Mark the frames that belong to each signal.

    Args:
        lengths: number of valid frames of each signal, shape ``(batch,)``
        frames: number of frames in the padded batch

    Returns:
        boolean tensor of shape ``(batch, frames)``

    """
    return torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None]


def normalize(signal: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Remove the mean of each signal and scale it to unit power.

    Statistics are taken over the valid samples alone;
    samples past the end of a signal come out as zero.

    Shape:
        signal: ``(batch, time)``
        lengths: ``(batch,)``, samples; None if all are valid

    """
    if lengths is None:
        signal = signal - signal.mean(dim=1, keepdim=True)
        power = signal.square().mean(dim=1, keepdim=True)
        return signal / torch.sqrt(power + POWER_FLOOR)
    mask = frame_mask(lengths, signal.shape[1]).to(signal.dtype)
    count = lengths[:, None].to(signal.dtype)
    mean = (signal * mask).sum(dim=1, keepdim=True) / count
    signal = (signal - mean) * mask
    power = signal.square().sum(dim=1, keepdim=True) / count
    return signal / torch.sqrt(power + POWER_FLOOR)


def relative_to_past(decibel: Tensor, past_frames: int) -> Tensor:
    """Take from each frame the mean level of it and of the frames before it.

    Shape:
        decibel: ``(batch, time, bands)``
        output: the same

    Args:
        decibel: log-mel frames
        past_frames: frames over which the level is averaged,
            of the first ones as many as there are

    """
    level = decibel.mean(dim=2)[:, None]

    def average(values: Tensor) -> Tensor:
        padded = nn.functional.pad(values, (past_frames - 1, 0))
        return nn.functional.avg_pool1d(padded, past_frames, 1)

    mean = average(level) / average(level * 0 + 1)
    return decibel - mean.transpose(1, 2)


class _Spectrogram(nn.Module):
    """Power spectrogram by two frozen convolutions, Hann window folded in.

    While it trains, a fast Fourier transform gives the same in a tenth of the time.
    """

    conv_real: nn.Conv1d
    conv_imag: nn.Conv1d
    window: Tensor

    def __init__(self, window_length: int, hop_length: int, n_fft: int) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        window = torch.hann_window(window_length)
        self.register_buffer("window", window, persistent=False)
        bins = n_fft // 2 + 1
        time = np.arange(window_length)
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / window_length)
        # Python integers keep k * n exact, so the angle is exact modulo 2 pi
        angle = 2 * np.pi * (np.outer(np.arange(bins), time) % n_fft) / n_fft
        for name, kernel in (
            ("conv_real", np.cos(angle) * hann),
            ("conv_imag", -np.sin(angle) * hann),
        ):
            conv = nn.Conv1d(1, bins, window_length, stride=hop_length, bias=False)
            conv.weight = nn.Parameter(
                torch.tensor(kernel[:, None, :], dtype=torch.float32),
                requires_grad=False,
            )
            setattr(self, name, conv)

    def forward(self, signal: Tensor) -> Tensor:
        with full_precision(signal):
            if self.training and self.n_fft == len(self.window):
                return self._by_fft(signal)
            signal = signal[:, None, :]
            return self.conv_real(signal).square() + self.conv_imag(signal).square()

    def _by_fft(self, signal: Tensor) -> Tensor:
        spectrum = torch.stft(
            signal,
            self.n_fft,
            self.hop_length,
            window=self.window,
            center=False,
            return_complex=True,
        )
        return spectrum.real.square() + spectrum.imag.square()


class _LogMelScale(nn.Module):
    """Mel bands in decibel; the matrix is stored under its published name."""

    def __init__(self, n_fft: int, n_mels: int, fmin: float, fmax: float) -> None:
        super().__init__()
        self.melW = nn.Parameter(
            torch.tensor(mel_basis(n_fft, n_mels, fmin, fmax).T), requires_grad=False
        )

    def forward(self, power: Tensor) -> Tensor:
        # A 1x1 convolution and not a matrix product:
        # onnxruntime would quantise a product's input on the fly.
        with full_precision(power):
            mel = nn.functional.conv1d(power, self.melW.t()[:, :, None])
        return 10 * torch.log10(torch.clamp(mel, min=FLOOR))


class LogMel(nn.Module):
    """Log-mel spectrogram of a signal.

    All parameters are frozen.

    Shape:
        signal: ``(batch, time)``, float32
        output: ``(batch, frames, n_mels)``, decibel, floor -100

    Args:
        window_length: length of the Hann window in samples
        hop_length: samples from one frame to the next
        n_mels: number of mel bands
        n_fft: length of the Fourier transform in samples,
            ``window_length`` if None
        fmin: lower edge of the mel bands in Hz
        fmax: upper edge of the mel bands in Hz
        center: put ``n_fft // 2`` zeros before and after the signal,
            so that a signal of any length has a frame

    """

    def __init__(
        self,
        *,
        window_length: int,
        hop_length: int,
        n_mels: int,
        n_fft: int | None = None,
        fmin: float = 0,
        fmax: float = SAMPLING_RATE / 2,
        center: bool = False,
    ) -> None:
        super().__init__()
        n_fft = n_fft or window_length
        self.window_length = window_length
        self.hop_length = hop_length
        self.n_mels = n_mels
        self.n_fft = n_fft
        self.fmin, self.fmax = fmin, fmax
        self.padding = n_fft // 2 if center else 0
        self.spectrogram_extractor = _Spectrogram(window_length, hop_length, n_fft)
        self.logmel_extractor = _LogMelScale(n_fft, n_mels, fmin, fmax)

    def frames(self, lengths: Tensor) -> Tensor:
        """Return how many frames signals of these lengths (samples) have."""
        lengths = lengths + 2 * self.padding
        return (lengths - self.window_length) // self.hop_length + 1

    def settings(
        self,
        *,
        normalized: bool,
        past_frames: int | None = None,
        center: float = 0.0,
        spread: float = 1.0,
    ) -> LogMelSettings:
        """Return what an exported file says of it and of what surrounds it.

        Args:
            normalized: whether it hears what :func:`normalize` gives
            past_frames: frames whose mean level is taken from the present one's
            center: decibels that are taken away last
            spread: decibels that become 1

        """
        return LogMelSettings(
            sampling_rate=SAMPLING_RATE,
            window_length=self.window_length,
            hop_length=self.hop_length,
            n_fft=self.n_fft,
            n_mels=self.n_mels,
            fmin=self.fmin,
            fmax=self.fmax,
            padding=self.padding,
            floor=FLOOR,
            power_floor=POWER_FLOOR if normalized else None,
            past_frames=past_frames,
            center=center,
            spread=spread,
        )

    def forward(self, signal: Tensor) -> Tensor:
        """Compute the log-mel spectrogram."""
        if self.padding:
            signal = nn.functional.pad(signal, (self.padding, self.padding))
        return self.logmel_extractor(self.spectrogram_extractor(signal)).transpose(1, 2)


def full_precision(signal: Tensor) -> AbstractContextManager[object]:
    """Leave automatic mixed precision: eight bits are too few for a spectrum."""
    kind = signal.device.type
    if torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()


def forgetting_ramp(score: Tensor, slope: float | Tensor, axis: int = 2) -> Tensor:
    """What is added to scores of a pool so that older rows weigh less.

    Weights are relative: where those of newer rows rise, older ones fall.

    Args:
        score: scores of rows, of any shape
        slope: rise from a row to the next; a number, or a tensor of one for each signal
            that has as many axes as ``score``
        axis: axis of the rows

    Returns:
        what to add, with one row for each of ``score``

    """
    # counted by adding ones: exact, and of any length in an ONNX as well
    ones = torch.ones_like(score[(slice(0, 1),) * axis])
    return torch.cumsum(ones, dim=axis) * slope
