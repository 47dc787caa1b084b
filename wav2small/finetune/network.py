"""The network that is fine-tuned: a backbone and the parts put on it.

Shape:
    signal: ``(batch, time)``, float32 at 16 kHz, normalised
    lengths: ``(batch,)``, valid samples; None if all are
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..adv import DIMENSIONS, NEUTRAL
from ..errors import InputError
from .backbones import Backbone
from .config import ExitHead, NetworkConfig
from .parts import conditions, pooling, states
from .parts.adapters import add_adapters
from .parts.knowers import EMBEDDING
from .table import GENDERS

ALIKE = "alike"
"""The task that puts clips of one category near each other, and others apart."""


class Exit(nn.Module):
    """Scores behind a shallow layer.

    With a ``recurrent`` head a GRU reads the frames, as in the paper;
    a ``light`` one works on their mean and deviation alone,
    so that it costs nothing for each frame.

    References:
        after Ren et al. 2022, "Fast Yet Effective Speech Emotion Recognition
        with Self-distillation", arXiv 2210.14636.

    """

    def __init__(self, width: int, hidden: int, head: ExitHead = "recurrent") -> None:
        super().__init__()
        self.light = head == "light"
        if self.light:
            self.pool = pooling.MeanDeviation()
            self.join = nn.Linear(2 * width, width)
        else:
            self.read = nn.GRU(width, width, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.dense = nn.Linear(width, hidden)
        self.scores = nn.Linear(hidden, len(DIMENSIONS))

    def forward(self, hidden: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return scores ``(batch, 3)`` and the pooled feature ``(batch, width)``."""
        if self.light:
            x = self.norm(self.join(self.pool(hidden, valid)))
            feature = nn.functional.selu(x)
        else:
            x = nn.functional.selu(self.norm(self.read(hidden)[0]))
            feature = pooling.masked_mean(x, valid)
        return self.scores(torch.relu(self.dense(feature))) + NEUTRAL, feature


class FinetuneNetwork(nn.Module):
    """A backbone, what chooses its layers, a pooling, conditions and heads.

    Args:
        config: the parts
        backbone: is changed: adapters are put into it

    Raises:
        InputError: if the parts do not fit the backbone

    """

    def __init__(self, config: NetworkConfig, backbone: Backbone) -> None:
        super().__init__()
        if any(not 1 <= number < backbone.depth for number in config.exits):
            raise InputError(
                f"exits must be layers 1 to {backbone.depth - 1}, got "
                f"{list(config.exits)}: behind the last layer there is one anyway"
            )
        if list(config.exits) != sorted(set(config.exits)):
            raise InputError(f"exits must be rising, got {list(config.exits)}")
        self.config = config
        self.backbone = backbone
        if config.adapters:
            add_adapters(backbone, config.adapters)
        self.states, self.views, width = states.build_states(
            config.states, backbone.depth + 1, backbone.width
        )
        self.pool, width = pooling.build_pooling(config.pooling, width)
        self.conditions: conditions.Conditions | None = None
        if config.gender or config.text_width:
            self.conditions = conditions.Conditions(
                width,
                gender=config.gender,
                text_width=config.text_width,
                fusion=config.fusion,
            )
        plain, width = width, self.conditions.width if self.conditions else width
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(width, config.hidden)
        self.scores = nn.Linear(config.hidden, len(DIMENSIONS))
        self.tasks = nn.ModuleDict()
        for task in config.tasks:
            # the conditions would tell a task the class that it has to find
            classes = len(self.classes(task))
            self.tasks[task] = nn.Linear(plain, EMBEDDING if task == ALIKE else classes)
        self.toward = nn.ModuleDict(
            {name: nn.Linear(config.hidden, EMBEDDING) for name in config.taught_by}
        )
        self.exits = nn.ModuleList(
            Exit(backbone.width, config.hidden, config.exit_head) for _ in config.exits
        )

    def classes(self, task: str) -> Sequence[str]:
        """Names of the classes of a task.

        Raises:
            InputError: if there is no such task, or it has fewer than two classes

        """
        if task == "gender":
            return GENDERS[1:]
        if task not in ("category", ALIKE):
            raise InputError(f"tasks must be of category, gender, alike, got '{task}'")
        if len(self.config.categories) < 2:
            raise InputError(
                "categories must be at least two for the task, got "
                f"{list(self.config.categories)}: add a column emotion"
            )
        return self.config.categories

    def embed(
        self, pooled: Tensor, gender: Tensor | None, text: Tensor | None
    ) -> Tensor:
        """Make what scores are made of, ``(batch, views, hidden)``."""
        if self.conditions:
            pooled = self.conditions(pooled, gender, text)
        return torch.tanh(self.dense(self.dropout(pooled)))

    def head(
        self, pooled: Tensor, gender: Tensor | None, text: Tensor | None
    ) -> Tensor:
        """Score what was pooled, ``(batch, views, width)``."""
        return self._scores(self.embed(pooled, gender, text))

    def _scores(self, embedded: Tensor) -> Tensor:
        hidden = self.dropout(embedded)
        scores = self.scores(hidden)
        # with a view for each dimension, each has its own row of the last layer
        chosen = scores[:, 0] if self.views == 1 else scores.diagonal(dim1=1, dim2=2)
        return chosen + NEUTRAL

    def pooled(self, layers: Sequence[Tensor], valid: Tensor | None) -> Tensor:
        """Choose layers and pool them, ``(batch, views, width)``."""
        mixed = self.states(layers, valid)
        return torch.stack([self.pool(view, valid) for view in mixed.unbind(1)], dim=1)

    def forward(
        self,
        signal: Tensor,
        lengths: Tensor | None = None,
        *,
        gender: Tensor | None = None,
        text: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Score signals.

        Returns:
            ``scores`` ``(batch, 3)``,
            the logits of each task by its name, of ``alike`` an embedding,
            for each of ``taught_by`` ``toward NAME``, what its teacher sees in a clip,
            and with exits ``exit_scores`` ``(batch, exits, 3)``,
            ``exit_features`` ``(batch, exits, width)``
            and ``feature`` ``(batch, width)``, the mean of the last layer

        """
        layers, valid = self.backbone(signal, lengths)
        pooled = self.pooled(layers, valid)
        embedded = self.embed(pooled, gender, text)
        outputs = {"scores": self._scores(embedded)}
        for name, toward in self.toward.items():
            outputs[f"toward {name}"] = toward(embedded.mean(1))
        for task, head in self.tasks.items():
            outputs[task] = head(pooled.mean(1))
        if self.exits:
            early = [
                leave(layers[number], valid)
                for number, leave in zip(self.config.exits, self.exits, strict=True)
            ]
            outputs["exit_scores"] = torch.stack([scores for scores, _ in early], 1)
            outputs["exit_features"] = torch.stack([feature for _, feature in early], 1)
            outputs["feature"] = pooling.masked_mean(layers[-1], valid)
        return outputs


def network_config(fields: Mapping[str, Any]) -> NetworkConfig:
    """Return a configuration as it comes back from JSON."""
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in fields.items()
    }
    return NetworkConfig(**plain)
