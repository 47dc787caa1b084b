"""A small set of log-mel maps, and the network that it trains.

Weights are lists of tensors in the order of a network's parameters.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from wav2small.export.base.escape import line

from .. import checkpoint
from ..adv import DIMENSIONS, NEUTRAL
from ..errors import InputError
from ..features import LogMel, normalize
from ..losses import check_finite
from ..students.layers import CENTER, SPREAD

Weights = list[Tensor]

FORMAT = "wav2small condensed 1"
"""What the configuration of a set says."""


class TinyNetwork(nn.Module):
    """Two convolutions along time, a mean, a linear layer.

    Shape:
        maps: ``(batch, frames, n_mels)``, standardised
        output: ``(batch, 3)``

    """

    def __init__(self, n_mels: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(n_mels, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2),
            nn.ReLU(),
        )
        self.scores = nn.Linear(width, len(DIMENSIONS))

    def forward(self, maps: Tensor) -> Tensor:
        """Score maps."""
        return self.scores(self.layers(maps.transpose(1, 2)).mean(2)) + NEUTRAL


@dataclass(frozen=True)
class Condensed:
    """A small set, and how the network of its seed is trained with it."""

    maps: np.ndarray
    """``(count, frames, n_mels)``, float32, as of :func:`log_mel_maps`."""

    truth: np.ndarray
    """Their scores, ``(count, 3)``, float32; they may lie beyond 0..1."""

    rate: float
    """Learning rate."""

    steps: int
    """Steps, each on all maps."""

    seed: int
    """Of the initial weights."""

    def train(self) -> TinyNetwork:
        """Train the network that the set was made for, the same way each time."""
        network = tiny_network(self.maps.shape[2], self.seed)
        pair = torch.from_numpy(self.maps), torch.from_numpy(self.truth)
        weights = [p.detach().clone() for p in network.parameters()]
        for _ in range(self.steps):
            found = gradients_of(network, weights, *pair)
            weights = [w - self.rate * g for w, g in zip(weights, found, strict=True)]
        nn.utils.vector_to_parameters(
            nn.utils.parameters_to_vector(weights), network.parameters()
        )
        return network.eval()

    def save(self, folder: Path) -> None:
        """Write a folder that :func:`load_condensed` reads."""
        rest = asdict(self)
        arrays = {name: rest.pop(name) for name in ("maps", "truth")}
        checkpoint.save(folder, arrays, {"format": FORMAT, **rest})


def load_condensed(folder: Path) -> Condensed:
    """Read a set that :meth:`Condensed.save` wrote.

    Raises:
        InputError: if it is another folder, or damaged

    """
    arrays, config = checkpoint.load(folder)
    problem = f"set must be what wav2small condense wrote, got {line(folder)}"
    if config.pop("format", None) != FORMAT:
        raise InputError(f"{problem}, which is another format")
    fields: dict[str, Any] = {**arrays, **config}
    try:
        found = Condensed(**fields)
        count, _, bands = found.maps.shape
        fits = found.truth.shape == (count, len(DIMENSIONS)) and 1 <= bands <= 512
        types = {found.maps.dtype, found.truth.dtype}
        sane = 1 <= found.steps <= 10_000 and 0 < found.rate < 1000
        if not (fits and sane and types == {np.dtype(np.float32)}):
            raise ValueError("shapes, steps or rate that cannot be")
    except (TypeError, ValueError) as error:
        raise InputError(f"{problem}: {error}") from error
    return found


def log_mel_maps(
    signals: list[np.ndarray], *, seconds: float = 2.0, n_mels: int = 40
) -> np.ndarray:
    """Log-mel maps of the middles of signals.

    Args:
        signals: ``(time,)`` each, at 16 kHz; a short one is repeated
        seconds: length of the maps
        n_mels: bands

    Returns:
        shape ``(signals, frames, n_mels)``, float32,
        in units of 20 dB around the typical level of speech

    """
    front_end = LogMel(window_length=512, hop_length=256, n_mels=n_mels)
    samples = round(seconds * 16000)
    rows = []
    for signal in signals:
        start = max(0, (len(signal) - samples) // 2)
        rows.append(np.resize(signal[start : start + samples], samples))
    with torch.inference_mode():
        maps = front_end(normalize(torch.from_numpy(np.stack(rows)))).numpy()
    return ((maps - CENTER) / SPREAD).astype(np.float32)


def scores_of(network: nn.Module, weights: Weights, maps: Tensor) -> Tensor:
    """Scores of maps by a network with other weights than its own."""
    names = (name for name, _ in network.named_parameters())
    scores: Tensor = functional_call(
        network, dict(zip(names, weights, strict=True)), (maps,)
    )
    return scores


def gradients_of(
    network: nn.Module,
    weights: Weights,
    maps: Tensor,
    truth: Tensor,
    *,
    keep: bool = False,
) -> Weights:
    """Gradients of the squared error by the weights; can be differentiated if kept."""
    if not keep:
        weights = [w.detach() for w in weights]
    weights = [w if w.requires_grad else w.clone().requires_grad_() for w in weights]
    loss = nn.functional.mse_loss(scores_of(network, weights, maps), truth)
    return list(torch.autograd.grad(loss, weights, create_graph=keep))


def tiny_network(n_mels: int, seed: int) -> TinyNetwork:
    """Build a network with the weights of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TinyNetwork(n_mels)


def train_tiny(
    maps: np.ndarray, truth: np.ndarray, *, steps: int, seed: int
) -> TinyNetwork:
    """Train a tiny network on maps, the same way whatever set they are of.

    Args:
        maps: shape ``(maps, frames, n_mels)``
        truth: shape ``(maps, 3)``
        steps: of at most 64 maps
        seed: of the weights and of the batches

    """
    network = tiny_network(maps.shape[2], seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        items = rng.choice(len(maps), min(64, len(maps)), replace=False)
        scores = network(torch.from_numpy(maps[items]))
        loss = nn.functional.mse_loss(scores, torch.from_numpy(truth[items]))
        check_finite(loss.item(), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()
