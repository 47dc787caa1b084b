"""Changes that a student in training errs by."""

from __future__ import annotations

import numpy as np
import torch
from waves import NOISE, decibels

from wav2small.attacks import attacked


class Linear(torch.nn.Module):
    """Scores that are sums of samples, and another number in training."""

    def __init__(self) -> None:
        super().__init__()
        weights = np.random.default_rng(0).normal(size=(3, 4000)).astype(np.float32)
        self.weights = torch.nn.Parameter(torch.from_numpy(weights))

    def forward(self, signal):
        assert not self.training
        return signal @ self.weights.T


def test_signals_move_where_the_error_grows_and_no_further():
    module = Linear().train()
    signal = torch.from_numpy(np.stack([NOISE[:4000], 3 * NOISE[:4000]])).float()
    with torch.no_grad():
        # all scores of the first row are too low, all of the second too high
        scores = signal @ module.weights.T
    truth = scores + torch.tensor([[1.0], [-1.0]])
    moved = attacked(module, signal, truth)
    total = module.weights.detach().sum(0).sign()
    for row, sense in enumerate((-1, 1)):
        step = signal[row].square().mean().sqrt() / 100
        torch.testing.assert_close(moved[row], signal[row] + sense * step * total)
    assert abs(decibels(NOISE, moved[0].numpy() - NOISE[:4000]) - 40) < 0.5
    assert module.training
    assert module.weights.grad is None
