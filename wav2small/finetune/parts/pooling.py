"""From frames to one vector, whatever the padding.

Shape:
    hidden: ``(batch, frames, width)``
    valid: ``(batch, frames)``, which frames are of the signal; None if all are
    output: ``(batch, width)`` of ``mean``, ``(batch, 2 * width)`` of the others
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...teachers.heads import AttentiveStatistics
from ..config import Pooling


def masked_mean(hidden: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over the valid frames."""
    if valid is None:
        return hidden.mean(1)
    filled = hidden.masked_fill(~valid[:, :, None], 0.0)
    return filled.sum(1) / valid.sum(1, keepdim=True)


class MeanPooling(nn.Module):
    """Mean over time."""

    def forward(self, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """Pool hidden states."""
        return masked_mean(hidden, valid)


class MeanDeviation(nn.Module):
    """Mean and standard deviation over time.

    References:
        after Diatlova et al. 2024, "Adapting WavLM for Speech Emotion
        Recognition", arXiv 2405.04485.

    """

    def forward(self, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """Pool hidden states."""
        mean = masked_mean(hidden, valid)
        variance = masked_mean((hidden - mean[:, None]).square(), valid)
        # the root has no gradient at 0, where a signal is one frame long
        return torch.cat([mean, torch.sqrt(variance + 1e-6)], dim=1)


class Attentive(AttentiveStatistics):
    """Mean and standard deviation, weighted by an attention that is trained."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        nn.init.xavier_uniform_(self.attention)


def build_pooling(kind: Pooling, width: int) -> tuple[nn.Module, int]:
    """Build a pooling, and say how wide its result is.

    Raises:
        ValueError: if there is no such pooling

    """
    if kind == "mean":
        return MeanPooling(), width
    if kind == "deviation":
        return MeanDeviation(), 2 * width
    if kind == "attentive":
        return Attentive(width), 2 * width
    raise ValueError(f"pooling must be mean, deviation or attentive, got '{kind}'")
