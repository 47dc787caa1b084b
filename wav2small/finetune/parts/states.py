"""Which hidden layers are read: the last, a weighted mean, or a merger of all.

Shape:
    layers: ``layers`` tensors ``(batch, frames, width)``
    output: ``(batch, views, frames, width of the result)``
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...adv import DIMENSIONS
from ..config import HiddenStates
from .pooling import masked_mean


class LastLayer(nn.Module):
    """The last layer alone."""

    views = 1

    def forward(self, layers: Sequence[Tensor], valid: Tensor | None) -> Tensor:
        """Return the last layer."""
        return layers[-1][:, None]


class LayerWeights(nn.Module):
    """A mean of the layers for each dimension, with weights that are learned.

    The weights of a dimension are above 0 and sum to 1;
    they begin equal.

    References:
        after de Oliveira et al. 2023, "Leveraging Semantic Information for Efficient
        Self-Supervised Emotion Recognition with Audio-Textual Distilled Models",
        arXiv 2305.19184.

    """

    views = len(DIMENSIONS)

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(self.views, layers))

    @property
    def weights(self) -> Tensor:
        """Weights by dimension and layer, ``(3, layers)``."""
        return torch.softmax(self.logits, dim=1)

    def forward(self, layers: Sequence[Tensor], valid: Tensor | None) -> Tensor:
        """Mix the layers once for each dimension."""
        return torch.einsum("lbtw,dl->bdtw", torch.stack(list(layers)), self.weights)


class AttentiveMerging(nn.Module):
    """Layers behind gates, joined, and read by a small recurrent network.

    What a layer is on average over time decides through a bottleneck
    how far each gate opens.

    References:
        after Pan et al. 2024, "Attentive Merging of Hidden Embeddings from
        Pre-trained Speech Model for Anti-spoofing Detection", at a small size.

    """

    views = 1

    def __init__(self, layers: int, width: int, merged: int, bottleneck: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(width, 1)
        self.narrow = nn.Linear(layers, bottleneck)
        self.widen = nn.Linear(bottleneck, layers)
        self.join = nn.Linear(layers * width, merged)
        self.read = nn.GRU(merged, merged, batch_first=True)

    def gates(self, layers: Sequence[Tensor], valid: Tensor | None) -> Tensor:
        """How far the gate of each layer opens, ``(batch, layers)`` in 0..1."""
        means = torch.stack([masked_mean(layer, valid) for layer in layers], dim=1)
        squeezed = torch.tanh(self.squeeze(means))[:, :, 0]
        return torch.sigmoid(self.widen(torch.relu(self.narrow(squeezed))))

    def forward(self, layers: Sequence[Tensor], valid: Tensor | None) -> Tensor:
        """Merge the layers."""
        gates = self.gates(layers, valid)
        gated = [layer * gates[:, i, None, None] for i, layer in enumerate(layers)]
        # it reads from the beginning, so the padding at the end changes nothing before
        hidden, _ = self.read(torch.relu(self.join(torch.cat(gated, dim=2))))
        return hidden[:, None]


def build_states(
    kind: HiddenStates, layers: int, width: int
) -> tuple[nn.Module, int, int]:
    """Build what chooses layers; return it, its views and its width.

    Raises:
        ValueError: if there is no such choice

    """
    if kind == "last":
        return LastLayer(), LastLayer.views, width
    if kind == "weighted":
        return LayerWeights(layers), LayerWeights.views, width
    if kind == "merged":
        merged = min(width, 128)
        module = AttentiveMerging(layers, width, merged, max(2, layers // 2))
        return module, module.views, merged
    raise ValueError(f"states must be last, weighted or merged, got '{kind}'")
