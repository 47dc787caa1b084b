"""Backbones of which every layer can be read: self-supervised ones, and log-mel."""

from .base import (
    Backbone,
    States,
    batches,
    first_layers,
    mask_features,
    pad,
    uniform_layers,
)
from .loading import Origin, build_backbone, load_backbone, save_backbone
from .mel import MEL, MelBackbone, MelConfig
from .self_supervised import SelfSupervised

__all__ = [
    "MEL",
    "Backbone",
    "MelBackbone",
    "MelConfig",
    "Origin",
    "SelfSupervised",
    "States",
    "batches",
    "build_backbone",
    "first_layers",
    "load_backbone",
    "mask_features",
    "pad",
    "save_backbone",
    "uniform_layers",
]
