"""Backbones of wav2vec2, HuBERT and WavLM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...teachers.heads import Network
from .base import Backbone


class _States(Network):
    """A backbone of transformers whose result is its hidden states."""

    def head(self, hidden: Tensor, valid: Tensor | None) -> Any:
        return hidden, valid


class SelfSupervised(Backbone):
    """A model of wav2vec2, HuBERT or WavLM.

    Args:
        settings: those of its configuration, and ``model_type``
        model: the model of transformers

    """

    def __init__(self, settings: Mapping[str, Any], model: nn.Module) -> None:
        super().__init__(settings, settings["hidden_size"])
        self.network = _States("model", model)
        self.min_samples = self.network.min_samples
        self.listen()

    @property
    def model(self) -> Any:
        """The model of transformers."""
        return self.network.get_submodule("model")

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, in their order."""
        return self.model.encoder.layers

    @property
    def features(self) -> nn.Module:
        """What the encoder of the waveform gives, projected to the layers' width."""
        return self.model.feature_projection

    @property
    def convolutions(self) -> nn.Module | None:
        """The encoder of the waveform."""
        return self.model.feature_extractor

    @property
    def padding(self) -> bool:
        """Whether padding changes nothing."""
        # a batch norm before the positional convolution makes padding non-zero
        return not any(
            name.endswith("pos_conv_embed.batch_norm")
            for name, _ in self.network.named_modules()
        )

    def last(self, signal: Tensor, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """Run the layers; return the last hidden states and the valid frames."""
        states: Any = self.network(signal, lengths)
        return states

    def _keep(self, layers: nn.ModuleList) -> None:
        self.model.encoder.layers = layers
        self.model.config.num_hidden_layers = len(layers)
