"""Losses against the metric that they stand for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wav2small.errors import InputError
from wav2small.losses import check_finite, concordance_loss, score_losses
from wav2small.metrics import concordance_cc


def test_loss_is_one_minus_the_metric():
    rng = np.random.default_rng(0)
    for size in (2, 3, 16, 500):
        truth, prediction = rng.normal(size=(2, size, 3))
        loss = concordance_loss(torch.tensor(prediction), torch.tensor(truth))
        for axis in range(3):
            wanted = 1 - concordance_cc(truth[:, axis], prediction[:, axis])
            assert loss[axis].item() == pytest.approx(wanted, abs=1e-6)


def test_gradient_is_finite_for_constants():
    prediction = torch.full((4, 3), 0.5, requires_grad=True)
    concordance_loss(prediction, torch.full((4, 3), 0.5)).sum().backward()
    assert torch.isfinite(prediction.grad).all()


def test_gradient_descent_finds_the_truth():
    truth = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
    prediction = torch.rand(8, 3, generator=torch.Generator().manual_seed(1))
    prediction.requires_grad_()
    optimizer = torch.optim.Adam([prediction], lr=0.02)
    for _ in range(500):
        loss = sum(score_losses(prediction, truth).values())
        optimizer.zero_grad()
        sum(concordance_loss(prediction, truth)).backward()
        optimizer.step()
    assert loss.item() < 0.01


def test_losses_are_named():
    losses = score_losses(torch.rand(4, 3), torch.rand(4, 3))
    assert list(losses) == ["ccc_arousal", "ccc_dominance", "ccc_valence", "l1"]


@pytest.mark.parametrize("shape", [(1, 3), (4,), (4, 2)])
def test_shapes_are_checked(shape):
    with pytest.raises(ValueError, match="batch >= 2"):
        concordance_loss(torch.zeros(shape), torch.zeros(4, 3))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_no_loss(value: float) -> None:
    check_finite(1e30, 0)
    with pytest.raises(InputError, match=f"must stay finite, got {value} at step 8"):
        check_finite(value, 7)
