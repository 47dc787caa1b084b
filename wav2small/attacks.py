"""Changes of a signal that a student in training errs by."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ATTACK_RATIO


def attacked(module: nn.Module, signal: Tensor, truth: Tensor) -> Tensor:
    """Move signals by one step where a student's error grows.

    The student is in evaluation mode meanwhile, and learns nothing from it.

    Shape:
        signal: ``(batch, time)``
        truth: ``(batch, 3)``
        output: ``(batch, time)``

    References:
        Goodfellow, Shlens & Szegedy 2014, arXiv 1412.6572: adversarial training
        by the fast gradient sign method.

    """
    was_training = module.training
    module.eval()
    given = signal.detach().requires_grad_()
    error = (module(given).float() - truth).abs().sum()
    (found,) = torch.autograd.grad(error, given)
    module.train(was_training)
    step = signal.square().mean(1, keepdim=True).sqrt() * 10 ** (-ATTACK_RATIO / 20)
    return signal + step * found.sign()
