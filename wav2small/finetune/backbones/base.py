"""A backbone of which every layer can be read, and what all backbones share.

Shape:
    signal: ``(batch, time)``, float32 at 16 kHz, normalised, zeros after its end
    lengths: ``(batch,)``, valid samples; None if all are
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import InputError
from ...features import normalize


class States(NamedTuple):
    """What a backbone makes of signals."""

    layers: tuple[Tensor, ...]
    """What the first layer gets and what each gives,
    ``depth + 1`` tensors ``(batch, frames, width)``."""

    valid: Tensor | None
    """Which frames are of the signal, ``(batch, frames)``; None if all are."""


class Backbone(nn.Module):
    """Layers of one width, one after the other.

    Args:
        settings: what :func:`build_backbone` builds it from
        width: width of the hidden states

    """

    min_samples: int
    """Samples of the shortest signal that has a frame."""

    def __init__(self, settings: Mapping[str, Any], width: int) -> None:
        super().__init__()
        self.settings = dict(settings)
        self.width = width
        self.adapters = nn.ModuleList()
        self.watch: Callable[[int, Tensor], None] | None = None
        self.masked = 0.0
        self._heard: list[Tensor] = []

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, in their order."""
        raise NotImplementedError

    @property
    def features(self) -> nn.Module:
        """What gives the features that are hidden in part while training."""
        raise NotImplementedError

    @property
    def convolutions(self) -> nn.Module | None:
        """The encoder of the waveform, None if there is none to train."""
        raise NotImplementedError

    @property
    def depth(self) -> int:
        """The number of layers."""
        return len(self.layers)

    @property
    def padding(self) -> bool:
        """Whether padding changes nothing."""
        return True

    def last(self, signal: Tensor, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """Run the layers; return the last hidden states and the valid frames."""
        raise NotImplementedError

    def forward(self, signal: Tensor, lengths: Tensor | None = None) -> States:
        """Run the backbone on signals."""
        self._heard = []
        try:
            last, valid = self.last(signal, lengths)
            # the last states come after the final normalisation, if there is one
            return States((*(h.float() for h in self._heard[:-1]), last.float()), valid)
        finally:
            self._heard = []

    def listen(self) -> None:
        """Record what enters and leaves the layers; called by those who build one."""
        self.features.register_forward_hook(self._mask)
        self.layers[0].register_forward_pre_hook(self._enter)
        for layer in self.layers:
            layer.register_forward_hook(self._leave)

    def _mask(self, module: nn.Module, arguments: object, output: Any) -> Any:
        if not (self.masked and self.training):
            return output
        if isinstance(output, tuple):
            return (mask_features(output[0], self.masked), *output[1:])
        return mask_features(output, self.masked)

    def _enter(self, layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self._heard.append(arguments[0])

    def _leave(self, layer: nn.Module, arguments: object, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        number = len(self._heard)
        if self.adapters:
            hidden = self.adapters[number - 1](hidden)
        self._heard.append(hidden)
        if self.watch:
            self.watch(number, hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    def keep(self, numbers: Sequence[int]) -> None:
        """Drop all layers but some, the first among those that stay.

        Args:
            numbers: rising numbers of layers, from 0

        Raises:
            InputError: if they are not, or the first is not 0

        """
        rising = list(numbers) == sorted(set(numbers))
        if not numbers or numbers[0] != 0 or not rising or numbers[-1] >= self.depth:
            raise InputError(
                f"layers must be rising numbers from 0 to {self.depth - 1}, the first "
                f"0, got {list(numbers)}: the others need what the first one makes"
            )
        self._keep(nn.ModuleList(self.layers[number] for number in numbers))
        self.settings["num_hidden_layers"] = len(numbers)

    def _keep(self, layers: nn.ModuleList) -> None:
        raise NotImplementedError


def mask_features(features: Tensor, share: float) -> Tensor:
    """Blank a stretch of frames and two of bands in each row.

    Shape:
        features: ``(batch, frames, bands)``

    Args:
        features: around 0
        share: of the frames, and of the bands if they do not meet,
            on average, in 0..0.5

    References:
        after Park et al. 2019, "SpecAugment", arXiv 1904.08779.

    """
    rows, frames, bands = features.shape

    def stretch(count: int, longest: float) -> Tensor:
        length, start = torch.rand(2, rows, 1, device=features.device)
        length = (length * (longest * count + 1)).floor()
        start = (start * (count - length + 1)).floor()
        place = torch.arange(count, device=features.device) - start
        return (place >= 0) & (place < length)

    hidden = stretch(frames, 2 * share)[:, :, None]
    for _ in range(2):
        hidden = hidden | stretch(bands, share)[:, None]
    return features.masked_fill(hidden, 0.0)


def first_layers(depth: int, count: int) -> list[int]:
    """Numbers of the first layers."""
    _check_count(depth, count)
    return list(range(count))


def uniform_layers(depth: int, count: int) -> list[int]:
    """Numbers of layers at even distances, the first and the last among them."""
    _check_count(depth, count)
    return [round(place) for place in np.linspace(0, depth - 1, count)]


def _check_count(depth: int, count: int) -> None:
    if not 1 <= count <= depth:
        raise InputError(f"layers must be 1 to {depth} of the backbone, got {count}")


def pad(signals: Sequence[np.ndarray]) -> tuple[Tensor, Tensor | None]:
    """Normalise signals, and pad them to one tensor and their lengths."""
    lengths = torch.tensor([len(signal) for signal in signals])
    batch = torch.zeros(len(signals), int(lengths.max()))
    for row, signal in zip(batch, signals, strict=True):
        row[: len(signal)] = torch.from_numpy(np.asarray(signal, np.float32))
    same = bool((lengths == lengths[0]).all())
    valid = None if same else lengths
    return normalize(batch, valid), valid


def batches(
    signals: Sequence[np.ndarray], *, seconds: float = 60.0, alone: bool = False
) -> list[list[int]]:
    """Share signals out among batches of about one length each.

    Args:
        signals: shape ``(time,)`` each
        seconds: most audio of a batch, padding included
        alone: whether each signal is a batch

    Returns:
        numbers of the signals of each batch

    """
    order = sorted(range(len(signals)), key=lambda item: len(signals[item]))
    found: list[list[int]] = []
    for item in order:
        size = (len(found[-1]) + 1) * len(signals[item]) if found else math.inf
        if alone or not found or size > seconds * 16000:
            found.append([])
        found[-1].append(item)
    return found
