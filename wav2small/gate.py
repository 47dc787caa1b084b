"""Tell speech from silence and from other sounds.

A model of emotion scores whatever it is given,
silence and chainsaws included.
The gate says which signals are worth a score.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from wav2small.export.base import onnx_file
from wav2small.export.base.errors import missing

from .adv import SAMPLING_RATE
from .errors import InputError

ASSET = Path(__file__).parent / "assets" / "gate" / "gate.onnx"
"""The bundled network."""

SILENCE_LEVEL = -60.0
"""Level in dB of full scale (RMS) below which a signal is silence."""

MIN_SAMPLES = SAMPLING_RATE // 10
"""A signal of fewer samples is silence: no syllable is that short."""

PIECE_SAMPLES = 4 * SAMPLING_RATE
"""Longest stretch in samples that the network hears at once,
as long as the longest that it was trained on."""

Kind = Literal["speech", "silence", "non-speech"]
"""What a signal can be."""


def level(signal: np.ndarray) -> float:
    """Root mean square of a signal without its mean, in dB of full scale.

    Args:
        signal: shape ``(time,)``, full scale is 1

    Returns:
        level in dB, minus infinity for a constant or empty signal

    """
    if not len(signal):
        return -np.inf
    # double precision: a large offset must not leave a rounding error as sound
    rms = float(np.std(signal, dtype=np.float64))
    return 20 * np.log10(rms) if rms else -np.inf


class SpeechGate:
    """A tiny convolutional network that knows speech from other sounds.

    The level of a signal does not matter to it;
    :meth:`classify` looks at that first.

    Shape:
        signal: ``(time,)``, float32 in [-1, 1] at 16 kHz

    Args:
        path: ONNX file with input ``signal`` ``(1, time)``,
            output ``speech`` ``(1, 1)`` and metadata ``threshold``

    Raises:
        InputError: if the file is missing or no such network

    """

    def __init__(self, path: Path = ASSET) -> None:
        opened = onnx_file.session if path == ASSET else onnx_file.open_foreign
        try:
            self._session = opened(onnx_file.read(path))
            metadata = self._session.get_modelmeta().custom_metadata_map
            self.threshold = float(metadata["threshold"])
        except (KeyError, ValueError) as error:
            raise InputError(
                f"gate must be an ONNX file with a threshold, got '{path}': "
                f"{error}: train it anew"
            ) from error
        """Least probability of a signal that counts as speech."""

    def probability(self, signal: np.ndarray) -> float:
        """Probability that a signal is speech.

        A signal longer than 4 seconds is cut into equal pieces,
        and the result is the mean over those that are not silent.

        Args:
            signal: at least 0.1 seconds, louder than silence

        Returns:
            probability in 0..1, 0 for silence

        Raises:
            InputError: if the signal is no finite array of one axis

        """
        _check(signal)
        pieces = np.array_split(signal, -(-len(signal) // PIECE_SAMPLES) or 1)
        probabilities = [
            self._session.run(["speech"], {"signal": piece[None]})[0].item()
            for piece in pieces
            if len(piece) >= MIN_SAMPLES and level(piece) >= SILENCE_LEVEL
        ]
        return float(np.mean(probabilities)) if probabilities else 0.0

    def classify(self, signal: np.ndarray) -> Kind:
        """Say what a signal is.

        Args:
            signal: any length

        Returns:
            ``"silence"`` below 0.1 seconds or -60 dB of full scale,
            otherwise ``"speech"`` or ``"non-speech"``

        Raises:
            InputError: if the signal is no finite array of one axis

        """
        _check(signal)
        if len(signal) < MIN_SAMPLES or level(signal) < SILENCE_LEVEL:
            return "silence"
        if self.probability(signal) < self.threshold:
            return "non-speech"
        return "speech"


class SileroGate(SpeechGate):
    """The voice activity detector of the package silero-vad (MIT).

    Its network hears frames of 32 ms, each with 4 ms of the one before.
    A signal is speech if eight frames in a row are, 256 ms.
    It does not know that music is none.

    Raises:
        InputError: if the package is missing or another version

    """

    FRAME, BEFORE, RUN = 512, 64, 8
    """Samples of a frame, samples of the one before, and frames in a row."""

    threshold = 0.5
    """That of the package."""

    def __init__(self) -> None:
        # the package itself is not run: it would import torch
        package = importlib.util.find_spec("silero_vad")
        if package is None or package.origin is None:
            absent = ModuleNotFoundError(name="silero_vad")
            raise missing(absent) or absent
        path = Path(package.origin).parent / "data" / "silero_vad_16k_sequence.onnx"
        try:
            self._session = onnx_file.session(
                onnx_file.parse(onnx_file.read(path), f"gate '{path}'")
            )
        except InputError as error:
            raise InputError(
                f"gate must be in silero-vad 6.2.3 or later, got '{path}': "
                f"{error}: pip install 'wav2small[vad]'"
            ) from error

    def frames(self, signal: np.ndarray) -> np.ndarray:
        """Probability of each frame that it is speech, shape ``(frames,)``, in 0..1."""
        count = -(-len(signal) // self.FRAME)
        padded = np.zeros(self.BEFORE + count * self.FRAME, np.float32)
        padded[self.BEFORE : self.BEFORE + len(signal)] = signal
        width = self.BEFORE + self.FRAME
        frames = np.lib.stride_tricks.sliding_window_view(padded, width)
        state = np.zeros((1, 1, 128), np.float32)
        found: np.ndarray = self._session.run(
            ["speech_probs"],
            {"input": frames[:: self.FRAME].copy(), "h": state, "c": state},
        )[0]
        return found

    def probability(self, signal: np.ndarray) -> float:
        """Least probability of the eight frames in a row that are most like speech.

        Args:
            signal: at least one sample

        Raises:
            InputError: if the signal is no finite array of one axis

        """
        _check(signal)
        found = self.frames(signal)
        run = min(self.RUN, len(found))
        return float(np.lib.stride_tricks.sliding_window_view(found, run).min(1).max())


def load_gate(name: str) -> SpeechGate | None:
    """Return a gate by its name.

    Args:
        name: ``bundled``, ``silero`` or ``none``

    Raises:
        InputError: if there is no such gate, or its package is missing

    """
    makers: dict[str, Callable[[], SpeechGate | None]] = {
        "none": lambda: None,
        "bundled": SpeechGate,
        "silero": SileroGate,
    }
    if name not in makers:
        raise InputError(f"gate must be one of {', '.join(makers)}, got '{name}'")
    return makers[name]()


def _check(signal: np.ndarray) -> None:
    if signal.ndim != 1 or signal.dtype != np.float32:
        raise InputError(
            "signal must be float32 of shape (time,), "
            f"got {signal.dtype} of shape {signal.shape}: convert it"
        )
    if not np.isfinite(signal).all():
        raise InputError(
            "signal must be finite, got NaN or infinity: check how it was read"
        )
