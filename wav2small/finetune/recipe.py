"""What a fine-tuning trains, at which rates, and towards what."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..losses import check_finite
from ..training import Batch, Recipe
from ..training_schedule import concordance_row
from .backbones import Backbone, Origin
from .batches import Batches
from .config import FinetuneConfig
from .network import ALIKE, FinetuneNetwork
from .objective import alike_part, exit_parts, score_parts, task_part
from .parts.adapters import add_lora
from .parts.knowers import taught_parts
from .teacher import save_teacher, score


def parameter_groups(
    network: FinetuneNetwork, config: FinetuneConfig, pretrained: bool
) -> list[dict[str, Any]]:
    """Share out what is trained among rates, and freeze what is not.

    Args:
        network: its parameters are frozen or not
        config: rates, and what stays as it is
        pretrained: whether the backbone has weights to keep near

    Returns:
        names, parameters and peak rate of each group

    """
    backbone = network.backbone
    depth = backbone.depth
    level: dict[int, int] = {}
    for number, layer in enumerate(backbone.layers, 1):
        level.update((id(parameter), number) for parameter in layer.parameters())
    fixed = set()
    if backbone.convolutions is not None and config.freeze_convolutions:
        fixed = {id(parameter) for parameter in backbone.convolutions.parameters()}
        # otherwise transformers computes gradients back to the signal, for nothing
        freeze = getattr(backbone.convolutions, "_freeze_parameters", None)
        if freeze:
            freeze()
    groups: dict[float, dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        new = not name.startswith("backbone.") or (
            name.startswith("backbone.adapters.") or "lora_" in name
        )
        if not new and (config.freezes or id(parameter) in fixed):
            parameter.requires_grad_(False)
        if not parameter.requires_grad:
            continue
        rate = config.learning_rate
        if not new and pretrained:
            behind = depth - level.get(
                id(parameter), depth if _behind_the_layers(name) else 0
            )
            rate = config.backbone_learning_rate * config.layer_decay**behind
        group = groups.setdefault(rate, {"names": [], "params": [], "peak": rate})
        group["names"].append(name)
        group["params"].append(parameter)
    return list(groups.values())


def _behind_the_layers(name: str) -> bool:
    """Tell whether a parameter that is of no layer comes behind the last one."""
    return name.endswith(
        ("encoder.layer_norm.weight", "encoder.layer_norm.bias")
    ) or name.startswith("backbone.norm.")


class FinetuneRecipe(Recipe):
    """Training of a network towards scores by people."""

    def __init__(
        self,
        batches: Batches,
        backbone: Backbone,
        origin: Origin,
        info: dict[str, str],
        device: str,
    ) -> None:
        config = batches.config
        self.batches, self.info = batches, info
        self.curve: list[float] = []
        self.begun = time.monotonic()
        backbone.masked = config.masked
        if config.lora:
            add_lora(backbone, config.lora)
        self.network = FinetuneNetwork(config.network, backbone).to(device)
        self.groups = parameter_groups(
            self.network, config, pretrained=bool(origin.licence)
        )
        self.network.train()
        if config.freezes:
            self.network.backbone.eval()
        self.module = self.network

    @property
    def trainable(self) -> int:
        """Number of parameters that are trained."""
        return sum(p.numel() for part in self.groups for p in part["params"])

    def make_batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        return self.batches.make(step)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return what the network makes of this process's share of a batch."""
        seed, rank = self.batches.config.seed, self.batches.group.rank
        # dropout and masks depend on step and process alone,
        # so that a resumed run needs no state of the generator
        torch.manual_seed((seed * 2**31 + step) * 64 + rank)
        return self.network(
            batch["signal"], gender=batch["gender"], text=batch.get("text")
        )

    def losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return the losses of the whole batch, by name."""
        config = self.batches.config
        outputs = self.batches.group.gather(
            {key: value.float() for key, value in outputs.items()}
        )
        parts = score_parts(outputs["scores"], batch["truth"], config.l1_weight)
        for task in config.network.tasks:
            part = alike_part if task == ALIKE else task_part
            parts[task] = part(
                outputs[task], batch[f"{task} class"], config.task_weight
            )
        if config.network.taught_by:
            parts |= taught_parts(
                outputs, batch, config.network.taught_by,
                config.temperature, config.taught_weights,
            )  # fmt: skip
        if config.network.exits:
            parts |= exit_parts(outputs, batch["truth"], config.l1_weight)
        return parts

    def evaluate(self, average: nn.Module, step: int) -> dict[str, float]:
        """Return the concordance of the averaged weights on the development rows."""
        scores = self._scores(cast(FinetuneNetwork, average))
        check_finite(float(scores.sum()), step)
        material = self.batches.material
        return concordance_row(material.table.truth[material.dev], scores)

    def save(self, folder: Path, average: nn.Module, described: dict[str, Any]) -> None:
        """Write the teacher."""
        described["seconds"] = round(time.monotonic() - self.begun, 1)
        save_teacher(folder, cast(FinetuneNetwork, average), self.info, described)

    def stepped(
        self, step: int, share: float, loss: float, figures: Mapping[str, float]
    ) -> None:
        """Note the loss of a step."""
        self.curve.append(round(loss, 6))

    def describe(self) -> dict[str, Any]:
        """Return the loss of each step so far."""
        return {"curve": self.curve}

    def restore(self, state: Mapping[str, np.ndarray], saved: dict[str, Any]) -> None:
        """Go on with the losses of a run that was stopped."""
        self.curve = saved["curve"]

    def _scores(self, network: FinetuneNetwork) -> np.ndarray:
        """Score the development rows, shared out among the processes."""
        group, material = self.batches.group, self.batches.material
        own = np.array(group.mine(material.dev.tolist()), np.int64)
        rows: dict[int, object] = {}
        if len(own):
            scores = score(
                network,
                [material.clips[int(item)] for item in own],
                gender=self.batches.gender[own],
                text=material.text[own]
                if material.text is not None and network.config.text_width
                else None,
            )
            rows = dict(zip(own.tolist(), scores, strict=True))
        found = group.collect(rows)
        return np.stack([np.asarray(found[int(item)]) for item in material.dev])
