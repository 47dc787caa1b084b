"""A module's weights as arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .errors import InputError

MOST_LAYERS = 200
"""Layers that a network may have, and entries of a setting."""

MOST_WIDTH = 100_000
"""The largest number that a setting may be."""


MOST_WEIGHTS = 5_000_000_000
"""Weights that a network may have."""


def check_settings(settings: Mapping[str, Any], most: int = MOST_WIDTH) -> None:
    """Refuse settings beyond any network: building it would never end.

    Args:
        settings: settings by name
        most: the largest number that may be

    Raises:
        ValueError: if one is

    """
    for name, value in settings.items():
        values = value if isinstance(value, list | tuple) else [value]
        limit = MOST_LAYERS if name.endswith("_layers") else most
        if len(values) > MOST_LAYERS or any(
            isinstance(entry, int | float) and not -limit <= entry <= limit
            for entry in values
        ):
            raise ValueError(f"{name} is {str(value)[:40]}, at most {limit} can be")


def check_count(module: nn.Module) -> None:
    """Refuse a network of more weights than any backbone that is known.

    Raises:
        ValueError: if it is

    """
    count = sum(parameter.numel() for parameter in module.parameters())
    if count > MOST_WEIGHTS:
        raise ValueError(f"{count:,} weights, at most {MOST_WEIGHTS:,} can be")


def to_arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """Return a module's weights as a checkpoint holds them."""
    return {k: v.detach().cpu().numpy() for k, v in module.state_dict().items()}


def load_weights(
    module: nn.Module, weights: Mapping[str, np.ndarray], where: Path
) -> None:
    """Put weights into a module.

    Raises:
        InputError: if a key is missing, unexpected or of another shape

    """
    try:
        module.load_state_dict(
            {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
        )
    except RuntimeError as error:
        raise InputError(
            f"weights must have the keys that config.json describes: {where}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
