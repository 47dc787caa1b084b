"""Data distillation: a few made-up log-mel maps that train nearly as well as all.

The initial weights are fixed: the maps are made for one network with the weights of one
seed, whose training they then replace. Another beginning learns less from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from wav2small.export.base.progress import Progress

from ..errors import InputError
from ..losses import check_finite, concordance_loss
from .condensed import Condensed, Weights, gradients_of, scores_of, tiny_network
from .labelling.selection import k_means

Way = Literal["result", "path", "gradients"]

PARTS, AHEAD = 12, 10
"""Parts of the path of weights that real clips train, and steps of each."""


@dataclass(frozen=True)
class CondenseConfig:
    """How a set is condensed."""

    count: int = 20
    """Maps of the small set."""

    way: Way = "result"
    """What the small set shall have in common with the real one: ``result``, scores of
    real clips after the whole training (Wang 2018); ``path``, the weights after a part
    of it (Cazenavette 2022); ``gradients``, those of one step (Zhao 2021)."""

    rounds: int = 160
    """Updates of the maps."""

    steps: int = 15
    """Steps on the small set: of its training, or of a part of the path."""

    batch_size: int = 128
    """Real maps per update."""

    learning_rate: float = 0.05
    """Rate of the maps, in standard deviations of the real ones."""

    clips: bool = False
    """Begin from real clips, which stay in the maps in part, and not from noise."""

    seed: int = 0
    """Seed of the initial weights, of the batches and of the first maps."""


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


def path_distance(ours: Weights, begun: Weights, reached: Weights) -> Tensor:
    """How far weights are from where they shall be, over how far that is.

    Args:
        ours: after some steps on the small set
        begun: where both began
        reached: after some steps on the real set

    Returns:
        ``|ours - reached|^2 / |begun - reached|^2``

    References:
        Cazenavette et al. 2022, "Dataset Distillation by Matching Training
        Trajectories", arXiv 2203.11932.

    """
    far, near = (
        sum(((a - b) ** 2).sum() for a, b in zip(weights, reached, strict=True))
        for weights in (begun, ours)
    )
    return torch.as_tensor(near) / far


def condense(
    maps: np.ndarray,
    truth: np.ndarray,
    config: CondenseConfig,
    *,
    progress: Progress | None = None,
) -> tuple[Condensed, list[float]]:
    """Make a small set that trains one network as the whole set does.

    Args:
        maps: of :func:`log_mel_maps`
        truth: shape ``(maps, 3)``
        config: how
        progress: called after each update with its ``distance``

    Returns:
        the set, and how far it was from the real one in each update

    Raises:
        InputError: if there are fewer real maps than shall be made

    References:
        after Chang et al. 2024, "Speech Emotion Recognition under Resource
        Constraints with Data Distillation", arXiv 2406.15119;
        Wang et al. 2018, "Dataset Distillation", arXiv 1811.10959;
        Zhao et al. 2021, "Dataset Condensation with Gradient Matching",
        arXiv 2006.05929.

    """
    if not 2 <= config.count <= len(maps):
        raise InputError(f"count must be 2 to {len(maps)}, got {config.count}")
    rng = np.random.default_rng(config.seed)
    work = _Work(maps, truth, config, rng)
    made, wanted, rate = work.learned
    optimizer = torch.optim.Adam(
        [
            {"params": [made], "lr": config.learning_rate},
            {"params": [wanted], "lr": config.learning_rate / 5},
            {"params": [rate], "lr": 0.02},
        ]
    )
    distances = []
    for turn in range(config.rounds):
        distance = work.distance(rng)
        distances.append(distance.item())
        check_finite(distances[-1], turn)
        optimizer.zero_grad()
        distance.backward()
        # one update whose training runs away must not undo all others
        nn.utils.clip_grad_norm_(work.learned, 1.0)
        optimizer.step()
        if progress:
            progress("condense", turn + 1, config.rounds, {"distance": distances[-1]})
    steps = config.steps if config.way == "result" else PARTS * AHEAD
    arrays = made.detach().numpy(), wanted.detach().numpy()
    return Condensed(*arrays, rate.exp().item(), steps, config.seed), distances


class _Work:
    """The small set while it is made, beside the real one."""

    def __init__(
        self,
        maps: np.ndarray,
        truth: np.ndarray,
        config: CondenseConfig,
        rng: np.random.Generator,
    ) -> None:
        self.config = config
        self.maps = torch.from_numpy(maps)
        self.truth = torch.from_numpy(truth.astype(np.float32))
        rate = torch.zeros(())  # its logarithm
        self.learned = [*_beginning(maps, truth, config, rng), rate]
        for tensor in self.learned:
            tensor.requires_grad_()
        self.network = tiny_network(maps.shape[2], config.seed)
        self.start = [p.detach().clone() for p in self.network.parameters()]
        self.path = [self.start]
        if config.way != "result":
            self.path = _path(self.network, self.start, self.maps, self.truth, rng)

    def follow(self, weights: Weights) -> Weights:
        """Train weights for some steps on the small set."""
        made, wanted, rate = self.learned
        for _ in range(self.config.steps):
            found = gradients_of(self.network, weights, made, wanted, keep=True)
            weights = [w - rate.exp() * g for w, g in zip(weights, found, strict=True)]
        return weights

    def distance(self, rng: np.random.Generator) -> Tensor:
        """How far the small set is from a batch of the real one, or its path."""
        count = len(self.maps)
        items = rng.choice(count, min(self.config.batch_size, count), False)
        maps, truth = self.maps[items], self.truth[items]
        if self.config.way == "result":
            scores = scores_of(self.network, self.follow(self.start), maps)
            apart = nn.functional.mse_loss(scores, truth)
            return concordance_loss(scores, truth).mean() + apart
        place = int(rng.integers(PARTS))
        begun, reached = self.path[place : place + 2]
        if self.config.way == "path":
            return path_distance(self.follow(begun), begun, reached)
        made, wanted, _ = self.learned
        return gradient_distance(
            gradients_of(self.network, begun, maps, truth),
            gradients_of(self.network, begun, made, wanted, keep=True),
        )


def _beginning(
    maps: np.ndarray,
    truth: np.ndarray,
    config: CondenseConfig,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Return the first maps and their scores."""
    if config.clips:
        items = rng.choice(len(maps), config.count, replace=False)
        made, wanted = maps[items], truth[items]
    else:
        wanted = k_means(truth, config.count, rng)
        shape = config.count, *maps.shape[1:]
        made = maps.mean() + maps.std() * rng.normal(size=shape)
    return (
        torch.from_numpy(made.astype(np.float32)),
        torch.from_numpy(wanted.astype(np.float32)),
    )


def _path(
    network: nn.Module,
    weights: Weights,
    maps: Tensor,
    truth: Tensor,
    rng: np.random.Generator,
) -> list[Weights]:
    """Return the weights from time to time while real clips train them."""
    path, speed = [weights], [torch.zeros_like(w) for w in weights]
    for _ in range(PARTS):
        for _ in range(AHEAD):
            items = rng.choice(len(maps), min(64, len(maps)), replace=False)
            found = gradients_of(network, weights, maps[items], truth[items])
            speed = [0.9 * v + g for v, g in zip(speed, found, strict=True)]
            weights = [w - 0.4 * v for w, v in zip(weights, speed, strict=True)]
        path.append(weights)
    return path
