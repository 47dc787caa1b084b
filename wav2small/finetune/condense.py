"""Data distillation: a few made-up log-mel maps that train nearly as well as all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from wav2small.export.base.progress import Progress

from ..adv import DIMENSIONS, NEUTRAL
from ..errors import InputError
from ..features import LogMel, normalize
from ..losses import check_finite
from .labelling.selection import k_means


@dataclass(frozen=True)
class CondenseConfig:
    """How a set is condensed."""

    count: int = 20
    """Maps of the small set."""

    rounds: int = 20
    """Networks with new random weights that are looked at."""

    steps: int = 10
    """Steps in each round."""

    batch_size: int = 64
    """Real maps per step."""

    learning_rate: float = 0.05
    """Rate of the maps, in standard deviations of the real ones."""

    seed: int = 0
    """Seed of the networks, of the batches and of the first maps."""


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


def log_mel_maps(
    signals: list[np.ndarray], *, seconds: float = 2.0, n_mels: int = 40
) -> np.ndarray:
    """Log-mel maps of the middles of signals, standardised together.

    Args:
        signals: ``(time,)`` each, at 16 kHz; a short one is repeated
        seconds: length of the maps
        n_mels: bands

    Returns:
        shape ``(signals, frames, n_mels)``, float32

    """
    front_end = LogMel(window_length=512, hop_length=256, n_mels=n_mels)
    samples = round(seconds * 16000)
    rows = []
    for signal in signals:
        start = max(0, (len(signal) - samples) // 2)
        rows.append(np.resize(signal[start : start + samples], samples))
    with torch.inference_mode():
        maps = front_end(normalize(torch.from_numpy(np.stack(rows)))).numpy()
    return ((maps - maps.mean()) / maps.std()).astype(np.float32)


def gradient_distance(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """How far the directions of two gradients are apart, row by row of each weight.

    Args:
        first: gradients of a network's parameters
        second: same

    Returns:
        sum of ``1 - cosine``

    """
    total = torch.zeros(())
    for a, b in zip(first, second, strict=True):
        rows = len(a) if a.ndim > 1 else 1
        pair = a.reshape(rows, -1), b.reshape(rows, -1)
        total = total + (1 - nn.functional.cosine_similarity(*pair, dim=1)).sum()
    return total


def condense(
    maps: np.ndarray,
    truth: np.ndarray,
    config: CondenseConfig,
    *,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Make a small set whose gradients point where those of the whole set do.

    The maps begin as noise around the mean of the real ones: none is a recording.
    Their scores are the centres of clusters of the real scores.

    Args:
        maps: of :func:`log_mel_maps`
        truth: shape ``(maps, 3)``
        config: how
        progress: called after each round with its ``distance``

    Returns:
        maps ``(count, frames, n_mels)``, their scores ``(count, 3)``
        and the mean distance of each round

    Raises:
        InputError: if there are fewer real maps than shall be made

    References:
        after Chang et al. 2024, arXiv 2406.15119;
        Zhao et al. 2021, "Dataset Condensation with Gradient Matching",
        arXiv 2006.05929.

    """
    if not 2 <= config.count <= len(maps):
        raise InputError(f"count must be 2 to {len(maps)}, got {config.count}")
    rng = np.random.default_rng(config.seed)
    wanted = torch.from_numpy(k_means(truth, config.count, rng).astype(np.float32))
    mean = maps.mean((0, 1), keepdims=True)
    start = mean + rng.normal(size=(config.count, *maps.shape[1:]))
    made = torch.from_numpy(start.astype(np.float32)).requires_grad_()
    optimizer = torch.optim.Adam([made], lr=config.learning_rate)
    distances = []
    for turn in range(config.rounds):
        network = tiny_network(maps.shape[2], config.seed * 1000 + turn)
        follow = torch.optim.SGD(network.parameters(), lr=0.05)
        apart = []
        for _ in range(config.steps):
            items = rng.choice(len(maps), min(config.batch_size, len(maps)), False)
            real = torch.from_numpy(maps[items]), torch.from_numpy(truth[items])
            towards = [gradient.detach() for gradient in _gradients(network, *real)]
            ours = _gradients(network, made, wanted, keep=True)
            distance = gradient_distance(towards, ours)
            _descend(optimizer, distance)
            apart.append(distance.item())
            check_finite(apart[-1], turn)
            # train on the small set, so that the next gradients are compared further on
            _descend(follow, nn.functional.mse_loss(network(made.detach()), wanted))
        distances.append(float(np.mean(apart)))
        if progress:
            progress("condense", turn + 1, config.rounds, {"distance": distances[-1]})
    return made.detach().numpy(), wanted.numpy(), distances


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _gradients(
    network: nn.Module, maps: Tensor, truth: Tensor, *, keep: bool = False
) -> list[Tensor]:
    loss = nn.functional.mse_loss(network(maps), truth)
    found = torch.autograd.grad(loss, list(network.parameters()), create_graph=keep)
    return list(found)


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
        _descend(optimizer, loss)
    return network.eval()
