"""A network that makes sparse changes of a signal which move a student's scores.

It is trained once on a student whose gradients are known, and changes any signal in one
pass; whether its changes carry over to another model is what the suite asks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..acoustics.signals import crop_or_repeat

SHARE = 0.1
"""Share of the samples that are changed."""

CROP = 16000
"""Samples of the signals that it is trained on."""


class SparseGenerator(nn.Module):
    """Changes for signals: where, and by how much.

    References:
        after Chang et al. 2024, "STAA-Net: A Sparse and Transferable Adversarial
        Attack for Speech Emotion Recognition", whose generator is a larger one.

    Shape:
        signal: ``(batch, time)``
        output: ``(batch, time)``, of a power in dB below the signal's

    """

    def __init__(self, ratio: float, width: int = 24) -> None:
        super().__init__()
        self.ratio = ratio
        self.down = nn.Conv1d(1, width, 16, stride=4, padding=6)
        self.inner = nn.Conv1d(width, width, 9, padding=4)
        self.up = nn.ConvTranspose1d(width, width, 16, stride=4, padding=6)
        self.out = nn.Conv1d(width + 1, 2, 9, padding=4)

    def forward(self, signal: Tensor) -> Tensor:
        """Return the changes."""
        power = signal.square().mean(1, keepdim=True).clamp_min(1e-12)
        level = (signal / power.sqrt())[:, None]
        rest = -signal.shape[1] % 4
        hidden = torch.relu(self.down(nn.functional.pad(level, (0, rest))))
        hidden = torch.relu(self.inner(hidden) + hidden)
        hidden = torch.relu(self.up(hidden))[:, :, : signal.shape[1]]
        change, place = self.out(torch.cat([hidden, level], 1)).unbind(1)
        sparse = torch.tanh(change) * _largest(torch.sigmoid(place))
        scale = sparse.square().mean(1, keepdim=True).clamp_min(1e-12)
        return sparse * (power / scale).sqrt() * 10 ** (-self.ratio / 20)


def _largest(chances: Tensor) -> Tensor:
    """Return 1 at the share of places with the largest chance, and 0 elsewhere.

    The gradient is that of the chances themselves.
    """
    count = max(1, round(SHARE * chances.shape[1]))
    least = chances.detach().topk(count, dim=1).values[:, -1:]
    kept = (chances >= least).float()
    return kept + chances - chances.detach()


def train_generator(
    module: nn.Module,
    signals: Sequence[np.ndarray],
    ratio: float,
    *,
    seed: int,
    steps: int = 150,
    batch_size: int = 8,
) -> SparseGenerator:
    """Train a generator whose changes move a student's scores upwards.

    Args:
        module: the student, whose weights stay as they are
        signals: ``(time,)`` each, to train on
        ratio: power of a signal to that of its change in dB
        seed: of weights and crops
        steps: of training
        batch_size: crops per step

    Returns:
        the generator, to use on signals of any length

    """
    rng = np.random.default_rng([seed, 2**43])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = SparseGenerator(ratio)
    optimizer = torch.optim.Adam(generator.parameters(), lr=2e-3)
    for _ in range(steps):
        items = rng.choice(len(signals), batch_size)
        crops = [crop_or_repeat(signals[int(item)], CROP, rng) for item in items]
        signal = torch.from_numpy(np.stack(crops).astype(np.float32))
        raised = module(signal + generator(signal)).mean()
        optimizer.zero_grad()
        (-raised).backward()
        optimizer.step()
    return generator.eval()
