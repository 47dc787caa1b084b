"""A backbone before it is fine-tuned: which layers are kept, and their warm-up."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch

from wav2small.export.base.progress import Progress

from ..backbones import (
    Backbone,
    Origin,
    first_layers,
    load_backbone,
    save_backbone,
    uniform_layers,
)
from ..batches import Batches
from .contrast import learn_views
from .taught import adapt, teach_layers


def warm_backbone(
    backbone: Backbone,
    origin: Origin,
    batches: Batches,
    folder: Path,
    device: str,
    progress: Progress | None,
) -> Backbone:
    """Keep some layers of a backbone and warm them up.

    Args:
        backbone: is changed in place
        origin: where it comes from
        batches: crops, and the configuration of the fine-tuning
        folder: where the warm backbone is written,
            or was written by a run that is resumed
        device: torch device
        progress: called after each step of the warm-up

    Returns:
        the backbone that is to be fine-tuned

    """
    config, group = batches.config, batches.group
    whole = copy.deepcopy(backbone) if config.warm_up == "taught" else None
    numbers: list[int] | None = None
    if config.layers is not None:
        choose = uniform_layers if config.choose == "uniform" else first_layers
        numbers = choose(backbone.depth, config.layers)
        backbone.keep(numbers)
    if config.warm_up == "none":
        return backbone
    if group.rank == 0 and not folder.exists():
        backbone.to(device)
        _learn(backbone, whole, numbers, batches, progress)
        save_backbone(folder, backbone.cpu(), origin)
    group.wait()
    warm, _ = load_backbone(str(folder))
    # a resumed run skips the warm-up and has used fewer random numbers until here
    torch.manual_seed(config.seed)
    return warm


def _learn(
    backbone: Backbone,
    whole: Backbone | None,
    numbers: list[int] | None,
    batches: Batches,
    progress: Progress | None,
) -> None:
    """Learn from the whole backbone, from itself, or from views of clips."""
    config, audible = batches.config, batches.material.audible

    def draw(step: int) -> np.ndarray:
        rng = np.random.default_rng([config.seed, 2**40 + step])
        chosen = rng.choice(audible, config.batch_size)
        return np.stack([batches.crop(int(item), rng) for item in chosen])

    steps, seed = config.warm_up_steps, config.seed
    if whole is not None and numbers is not None:
        device = next(backbone.parameters()).device
        teach_layers(
            whole.to(device), backbone, numbers, draw,
            steps=steps, seed=seed, progress=progress,
        )  # fmt: skip
    elif config.warm_up == "adapt":
        adapt(backbone, draw, steps=steps, seed=seed, progress=progress)
    else:
        learn_views(backbone, draw, steps=steps, seed=seed, progress=progress)
