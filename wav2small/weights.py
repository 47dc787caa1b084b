"""A module's weights as arrays, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .errors import InputError


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
