"""The heads of published emotion models, on any self-supervised backbone.

Parameters have the names of the published files,
so that a checkpoint is checked against them key by key.

Shape:
    hidden: ``(batch, frames, width)``, last hidden states of the backbone
    valid: ``(batch, frames)``, which frames are of the signal; None if all are
    output: ``(batch, outputs)``
"""

from __future__ import annotations

from contextvars import ContextVar

import torch
from torch import Tensor, nn

_FRAMES: ContextVar[Tensor | None] = ContextVar("frames", default=None)


class DawnHead(nn.Module):
    """Mean over time, a hidden layer with tanh, a linear layer.

    References:
        Wagner et al. 2022, "Dawn of the transformer era
        in speech emotion recognition", arXiv 2203.07378.

    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, outputs)

    def forward(self, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """Score hidden states."""
        if valid is None:
            pooled = hidden.mean(1)
        else:
            filled = hidden * valid[:, :, None]
            pooled = filled.sum(1) / valid.sum(1, keepdim=True)
        return self.out_proj(torch.tanh(self.dense(pooled)))


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time, weighted by one attention.

    References:
        Okabe et al. 2018, "Attentive Statistics Pooling
        for Deep Speaker Embedding", arXiv 1803.10963.

    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sap_linear = nn.Linear(width, width)
        self.attention = nn.Parameter(torch.empty(width, 1))

    def forward(self, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """Pool hidden states to ``(batch, 2 * width)``."""
        score = torch.tanh(self.sap_linear(hidden)) @ self.attention
        if valid is not None:
            score = score.masked_fill(~valid[:, :, None], -torch.inf)
        weight = torch.softmax(score, dim=1)
        mean = (weight * hidden).sum(1)
        # the mean of squares minus the squared mean would lose small variances
        variance = (weight * (hidden - mean[:, None]).square()).sum(1)
        return torch.cat([mean, variance.clamp(min=1e-5).sqrt()], dim=1)


class OdysseyRegression(nn.Module):
    """Hidden layers with layer norm and ReLU, a linear layer.

    References:
        Goncalves et al. 2024, "Odyssey 2024 - Speech Emotion Recognition
        Challenge: Dataset, Baseline Framework, and Results".

    """

    def __init__(self, inputs: int, width: int, layers: int, outputs: int) -> None:
        super().__init__()
        self.fc = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width if layer else inputs, width),
                nn.LayerNorm(width),
                nn.ReLU(),
            )
            for layer in range(layers)
        )
        self.out = nn.Sequential(nn.Linear(width, outputs))

    def forward(self, pooled: Tensor) -> Tensor:
        """Score pooled states, ``(batch, inputs)``."""
        for layer in self.fc:
            pooled = layer(pooled)
        return self.out(pooled)


class Network(nn.Module):
    """A backbone whose padding changes nothing, and what a subclass puts on it.

    Shape:
        signal: ``(batch, time)``, float32, normalised, zeros after its end
        lengths: ``(batch,)``, valid samples; None if all are
        output: ``(batch, outputs)``

    Args:
        name: the backbone's name in the file
        backbone: a model of wav2vec2, HuBERT or WavLM

    """

    def __init__(self, name: str, backbone: nn.Module) -> None:
        super().__init__()
        self.add_module(name, backbone)
        self.backbone_name = name
        convolutions = backbone.get_submodule("feature_extractor.conv_layers")
        convolved = [
            layer for layer in convolutions.modules() if isinstance(layer, nn.Conv1d)
        ]
        self.steps = [(layer.kernel_size[0], layer.stride[0]) for layer in convolved]
        first = convolutions.get_submodule("0")
        norm = getattr(first, "layer_norm", None)
        if isinstance(norm, nn.GroupNorm):
            first.layer_norm = _MaskedGroupNorm(
                norm.num_groups, norm.num_channels, norm.eps, device=norm.weight.device
            )
        self.min_samples = 1
        for kernel, stride in reversed(self.steps):
            self.min_samples = (self.min_samples - 1) * stride + kernel

    def frames(self, lengths: Tensor, layers: int | None = None) -> Tensor:
        """Return how many frames signals have, after some or all convolutions."""
        for kernel, stride in self.steps[:layers]:
            lengths = (lengths - kernel) // stride + 1
        return lengths

    def forward(self, signal: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Score signals."""
        backbone = self.get_submodule(self.backbone_name)
        if lengths is None:
            return self.head(backbone(signal).last_hidden_state.float(), None)
        samples = torch.arange(signal.shape[1], device=signal.device)
        token = _FRAMES.set(self.frames(lengths, 1))
        try:
            hidden = backbone(
                signal, attention_mask=(samples < lengths[:, None]).long()
            ).last_hidden_state
        finally:
            _FRAMES.reset(token)
        frames = torch.arange(hidden.shape[1], device=signal.device)
        return self.head(hidden.float(), frames < self.frames(lengths)[:, None])

    def head(self, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """Score hidden states."""
        raise NotImplementedError


class DawnNetwork(Network):
    """A backbone with :class:`DawnHead`."""

    def __init__(
        self, name: str, backbone: nn.Module, width: int, outputs: int
    ) -> None:
        super().__init__(name, backbone)
        self.classifier = DawnHead(width, outputs)

    def head(self, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """Score hidden states."""
        return self.classifier(hidden, valid)


class OdysseyNetwork(Network):
    """A backbone with :class:`AttentiveStatistics`, :class:`OdysseyRegression`."""

    def __init__(
        self, backbone: nn.Module, width: int, layers: int, outputs: int
    ) -> None:
        super().__init__("ssl_model", backbone)
        self.pool_model = AttentiveStatistics(width)
        self.ser_model = OdysseyRegression(2 * width, width, layers, outputs)

    def head(self, hidden: Tensor, valid: Tensor | None) -> Tensor:
        """Score hidden states."""
        return self.ser_model(self.pool_model(hidden, valid))


class _MaskedGroupNorm(nn.GroupNorm):
    """Group norm over the valid frames of each signal, one group per channel.

    The base models normalise their first layer over time;
    with the padding among it a score would depend on the batch.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(batch, channels, frames)``."""
        frames = _FRAMES.get()
        if frames is None:
            return super().forward(x)
        y = x.float()
        index = torch.arange(x.shape[2], device=x.device)
        valid = (index < frames[:, None])[:, None].to(y.dtype)
        count = frames[:, None, None]
        y = y - (y * valid).sum(2, keepdim=True) / count
        variance = (y * valid).square().sum(2, keepdim=True) / count
        y = y * torch.rsqrt(variance + self.eps)
        y = y * self.weight[:, None] + self.bias[:, None]
        return y.to(x.dtype)
