"""A small backbone on log-mel, trained from nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from ...features import LogMel, frame_mask
from .base import Backbone

MEL = "mel"
"""Name of the backbone that needs no weights of others."""


@dataclass(frozen=True)
class MelConfig:
    """Configuration of :class:`MelBackbone`."""

    n_mels: int = 64
    """Number of mel bands."""

    hidden_size: int = 96
    """Width of the layers."""

    num_hidden_layers: int = 4
    """Number of layers."""

    num_attention_heads: int = 4
    """Heads of the attention of a layer."""

    intermediate_size: int = 256
    """Width inside a layer."""

    hidden_dropout: float = 0.1
    """Share of activations dropped in training, in 0..1."""


class MelBackbone(Backbone):
    """Log-mel, two convolutions of stride 2, a few transformer layers.

    It is trained from nothing,
    where no self-supervised weights can be had.
    25 frames per second.
    """

    min_samples = 1

    def __init__(self, config: MelConfig) -> None:
        super().__init__({"model_type": MEL, **asdict(config)}, config.hidden_size)
        width = config.hidden_size
        self.front_end = LogMel(
            window_length=400, hop_length=160, n_fft=512, n_mels=config.n_mels,
            center=True,
        )  # fmt: skip
        self.bands = nn.LayerNorm(config.n_mels)
        self.narrow = nn.Conv1d(config.n_mels, width, 3, stride=2, padding=1)
        self.halve = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.place = nn.Conv1d(width, width, 15, padding=7, groups=width)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.transformer = nn.ModuleList(
            _Layer(config) for _ in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.listen()

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, in their order."""
        return self.transformer

    @property
    def features(self) -> nn.Module:
        """The log-mel."""
        return self.bands

    @property
    def convolutions(self) -> nn.Module | None:
        """None: the log-mel is frozen, and what follows it is not pre-trained."""
        return None

    def last(self, signal: Tensor, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """Run the layers; return the last hidden states and the valid frames."""
        frames = None if lengths is None else self.front_end.frames(lengths)
        x = self.bands(self.front_end(signal) / 20).transpose(1, 2)
        for convolution in (self.narrow, self.halve):
            x = nn.functional.gelu(convolution(_silenced(x, frames)))
            frames = None if frames is None else (frames + 1) // 2
        x = _silenced(x, frames)
        x = self.dropout((x + nn.functional.gelu(self.place(x))).transpose(1, 2))
        valid = None if frames is None else frame_mask(frames, x.shape[1])
        for layer in self.transformer:
            x = layer(x, valid)
        return self.norm(x), valid

    def _keep(self, layers: nn.ModuleList) -> None:
        self.transformer = layers


class _Layer(nn.Module):
    """Attention and two dense layers, each behind a normalisation."""

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.attention_norm = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.intermediate_dense = nn.Linear(width, config.intermediate_size)
        self.output_dense = nn.Linear(config.intermediate_size, width)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, hidden: Tensor, valid: Tensor | None) -> Tensor:
        batch, frames, width = hidden.shape
        parts = self.attention(self.attention_norm(hidden)).view(
            batch, frames, 3, self.heads, width // self.heads
        )
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(
            query, key, value, None if valid is None else valid[:, None, None]
        )
        attended = attended.transpose(1, 2).reshape(batch, frames, width)
        hidden = hidden + self.dropout(self.attention_out(attended))
        inner = nn.functional.gelu(self.intermediate_dense(self.norm(hidden)))
        return hidden + self.dropout(self.output_dense(inner))


def _silenced(x: Tensor, frames: Tensor | None) -> Tensor:
    """Put zeros behind the valid frames of ``(batch, channels, frames)``."""
    if frames is None:
        return x
    return x * frame_mask(frames, x.shape[2])[:, None].to(x.dtype)
