"""The log-mel that a model computes: what its file says of it, and its numbers.

The metadata of an ONNX file state the settings under :data:`ENTRY`.
Whoever needs the log-mel in another form (integers, formulas, costs)
takes it from there, and compares numbers with those of the file:
the shape of the graph says nothing.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import ExportError, InputError
from .escape import short
from .reading import parse_json

ENTRY = "log_mel"
"""Name of the metadata entry."""

_LN_10 = float(np.float32(math.log(10)))
"""Natural logarithm of 10 as a graph of float32 divides by it."""


@dataclass(frozen=True)
class LogMelSettings:
    """Settings of a log-mel.

    Frames of the signal are multiplied by a periodic Hann window;
    the power of their Fourier transform is weighted by Slaney's mel bands,
    and expressed in decibel.
    """

    sampling_rate: int
    """Samples per second, in Hz."""

    window_length: int
    """Length of the Hann window in samples."""

    hop_length: int
    """Samples from one frame to the next."""

    n_fft: int
    """Length of the Fourier transform in samples; zeros follow a shorter window."""

    n_mels: int
    """Number of mel bands."""

    fmin: float
    """Lower edge of the first band in Hz."""

    fmax: float
    """Upper edge of the last band in Hz."""

    padding: int
    """Zeros before the signal, and after it, in samples."""

    floor: float
    """Smallest mel power; a smaller one counts as this."""

    power_floor: float | None
    """Power that is added to the signal's before it is scaled to unit power,
    its mean removed; None if the signal is taken as it is."""

    past_frames: int | None
    """Frames, the present one included,
    whose mean over all bands is taken from the present one, in decibel;
    None if nothing is taken."""

    center: float
    """Decibels that are taken away last."""

    spread: float
    """Decibels that become 1."""

    window: str = "hann"
    """Kind of the window; there is one."""

    mel: str = "slaney"
    """Kind of the mel bands; there is one."""

    def __post_init__(self) -> None:
        """Refuse what cannot be computed."""
        for name, (low, high) in self._bounds().items():
            value = getattr(self, name)
            if value is None and name in ("power_floor", "past_frames"):
                continue
            if not low <= value <= high:
                raise ExportError(
                    f"{name} of a log-mel must be in {low:g}..{high:g}, got "
                    f"{short(value)}"
                )
        for name, kind in (("window", "hann"), ("mel", "slaney")):
            if getattr(self, name) != kind:
                raise ExportError(
                    f"{name} of a log-mel must be '{kind}', got "
                    f"'{short(getattr(self, name))}'"
                )

    def _bounds(self) -> dict[str, tuple[float, float]]:
        return {
            "sampling_rate": (1000, 96_000),
            "window_length": (2, 4096),
            "hop_length": (1, 4096),
            "n_fft": (self.window_length, 4096),
            "n_mels": (1, 512),
            "fmin": (0, self.sampling_rate / 2 - 1),
            "fmax": (self.fmin + 1, self.sampling_rate / 2),
            "padding": (0, self.window_length),
            "floor": (1e-12, 1),
            "power_floor": (2.0**-38, 1),
            "past_frames": (1, 10 * self.sampling_rate / max(1, self.hop_length)),
            "center": (-1000, 1000),
            "spread": (1e-3, 1000),
        }

    def to_text(self) -> str:
        """Write the metadata entry."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @property
    def bins(self) -> int:
        """Bins of the Fourier transform."""
        return self.n_fft // 2 + 1

    @property
    def slope(self) -> float:
        """What the natural logarithm of a mel power is multiplied by."""
        return 1 / self.spread * 10 / _LN_10

    @property
    def intercept(self) -> float:
        """What is added after that."""
        return -self.center * (1 / self.spread)

    def window_values(self) -> np.ndarray:
        """Hann window, shape ``(window_length,)``."""
        return np.sin(np.pi / self.window_length * np.arange(self.window_length)) ** 2

    def waves(self) -> tuple[np.ndarray, np.ndarray]:
        """Windowed cosines and negative sines, each ``(bins, window_length)``."""
        step = 2 * np.pi / self.n_fft  # from one bin and sample to the next
        angle = step * np.outer(np.arange(self.bins), np.arange(self.window_length))
        window = self.window_values()
        return np.sin(angle + np.pi / 2) * window, np.sin(angle + np.pi) * window

    def mel_weights(self) -> np.ndarray:
        """Weights of the mel bands, ``(n_mels, bins)``, float32."""
        return mel_basis(
            self.n_fft, self.n_mels, self.fmin, self.fmax, self.sampling_rate
        )


def mel_basis(
    n_fft: int, n_mels: int, fmin: float, fmax: float, sampling_rate: int = 16000
) -> np.ndarray:
    """Slaney mel filter bank, area-normalised.

    The same numbers as ``librosa.filters.mel`` with its defaults,
    made here because importing librosa costs seconds.

    Args:
        n_fft: length of the Fourier transform in samples
        n_mels: number of bands
        fmin: lower edge of the first band in Hz
        fmax: upper edge of the last band in Hz
        sampling_rate: samples per second, in Hz

    Returns:
        array of shape ``(n_mels, n_fft // 2 + 1)``, float32

    References:
        Slaney 1998, Auditory Toolbox, Interval Technical Report 1998-010.

    """
    step = np.log(6.4) / 27  # above 1 kHz 27 mels to a factor of 6.4

    def to_mel(hertz: float) -> float:
        if hertz < 1000:
            return hertz * 3 / 200
        return 15 + np.log(hertz / 1000) / step

    mels = np.linspace(to_mel(fmin), to_mel(fmax), n_mels + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(step * (mels - 15)))
    frequencies = np.linspace(0, sampling_rate / 2, n_fft // 2 + 1)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0, np.minimum(rising, falling))
    triangles *= (2 / (edges[2:] - edges[:-2]))[:, None]
    return triangles.astype(np.float32)


def compute(settings: LogMelSettings, signal: np.ndarray) -> np.ndarray:
    """Compute the log-mel of a signal in float64.

    Args:
        settings: what it shall be
        signal: samples, shape ``(samples,)``

    Returns:
        map ``(frames, n_mels)``, decibels less center, over spread

    """
    signal = signal.astype(np.float64)
    if settings.power_floor is not None:
        signal = signal - signal.mean()
        signal /= np.sqrt(np.mean(signal**2) + settings.power_floor)
    signal = np.pad(signal, settings.padding)
    frames = np.lib.stride_tricks.sliding_window_view(signal, settings.window_length)
    frames = frames[:: settings.hop_length] * settings.window_values()
    power = np.abs(np.fft.rfft(frames, settings.n_fft)) ** 2
    mel = power @ settings.mel_weights().T.astype(np.float64)
    decibels = 10 * np.log10(np.maximum(mel, settings.floor))
    if settings.past_frames is not None:
        sums = np.cumsum(np.concatenate([[0], decibels.mean(axis=1)]))
        last = np.arange(1, len(sums))
        first = np.maximum(0, last - settings.past_frames)
        decibels -= ((sums[last] - sums[first]) / (last - first))[:, None]
    return (decibels - settings.center) / settings.spread


def read_settings(
    metadata: Mapping[str, str], error: type[InputError] = ExportError
) -> LogMelSettings | None:
    """Read the settings that a file states.

    Args:
        metadata: metadata of an ONNX file
        error: type of the error

    Returns:
        settings, None if the file states none

    Raises:
        InputError: of the type given, if what it states are no settings

    """
    text = metadata.get(ENTRY)
    if text is None:
        return None
    try:
        return _parse(text, metadata.get("sampling_rate"))
    except (ValueError, ExportError) as cause:
        raise error(
            f"metadata entry '{ENTRY}' must be settings of a log-mel, got {cause}: "
            "export the model again"
        ) from cause


def _parse(text: str, sampling_rate: str | None) -> LogMelSettings:
    values = parse_json(text) if len(text) <= 2000 else None
    fields = {
        field.name: str(field.type) for field in dataclasses.fields(LogMelSettings)
    }
    if not isinstance(values, dict) or values.keys() != fields.keys():
        raise ValueError(
            f"'{short(text)}', which is no JSON object of {', '.join(fields)}"
        )
    for name, kind in fields.items():
        if not _is_of(kind, values[name]):
            raise ValueError(f"{name} {short(json.dumps(values[name]))}, no {kind}")
    settings = LogMelSettings(**values)
    if sampling_rate not in (None, str(settings.sampling_rate)):
        raise ValueError(
            f"sampling_rate {settings.sampling_rate}, where entry 'sampling_rate' "
            f"says '{short(sampling_rate)}'"
        )
    return settings


def _is_of(kind: str, value: Any) -> bool:
    """Whether a value of JSON has the type that a field is annotated with."""
    if value is None:
        return kind.endswith("| None")
    if kind == "str":
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(value, int):  # of any length in JSON
        return abs(value) < 2**31
    return not kind.startswith("int")


def require_settings(
    metadata: Mapping[str, str], error: type[InputError] = ExportError
) -> LogMelSettings:
    """Read the settings that a file states, and refuse a file without.

    Raises:
        InputError: of the type given, if it states none, or what are none

    """
    settings = read_settings(metadata, error)
    if settings is None:
        raise error(
            f"model must state its log-mel in the metadata entry '{ENTRY}', got none: "
            "export it again from its checkpoint"
        )
    return settings
