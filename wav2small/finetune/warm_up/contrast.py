"""Warm-up without labels: three views of one utterance find each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from wav2small.export.base.progress import Progress

from ...features import LogMel, normalize
from ...losses import check_finite
from ..backbones import Backbone
from ..labelling.prosody import FEATURES, prosody
from ..parts.pooling import MeanPooling

WIDTH = 64
"""Width in which the views meet."""


def view_loss(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    """Cross entropy of finding each row's partner among all, both ways.

    Shape:
        first: ``(batch, width)``
        second: ``(batch, width)``

    References:
        van den Oord et al. 2018, arXiv 1807.03748.

    """
    first = nn.functional.normalize(first, dim=1)
    second = nn.functional.normalize(second, dim=1)
    likeness = first @ second.T / temperature
    partner = torch.arange(len(first), device=first.device)
    forth = nn.functional.cross_entropy(likeness, partner)
    return 0.5 * (forth + nn.functional.cross_entropy(likeness.T, partner))


class Views(nn.Module):
    """The backbone's view, that of a log-mel, and that of the prosody.

    Shape:
        signal: ``(batch, time)``, normalised
        features: ``(batch, features)``,
            see :func:`wav2small.finetune.labelling.prosody.prosody`
        output: three tensors ``(batch, WIDTH)``

    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.pool = MeanPooling()
        self.project = _projection(backbone.width)
        self.front_end = LogMel(
            window_length=400, hop_length=160, n_fft=512, n_mels=64, center=True
        )
        self.mel = nn.Sequential(
            nn.Conv1d(64, 96, 5, stride=2), nn.ReLU(), nn.Conv1d(96, 96, 5, stride=2)
        )
        self.project_mel = _projection(96)
        self.project_prosody = _projection(len(FEATURES))

    def forward(
        self, signal: Tensor, features: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Look at signals from three sides."""
        layers, valid = self.backbone(signal)
        mel = self.mel(self.front_end(signal).transpose(1, 2) / 20).relu().mean(2)
        return (
            self.project(self.pool(layers[-1], valid)),
            self.project_mel(mel),
            self.project_prosody(features),
        )


def _projection(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(width, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH)
    )


def learn_views(
    backbone: Backbone,
    draw: Callable[[int], np.ndarray],
    *,
    steps: int,
    seed: int,
    learning_rate: float = 3e-4,
    progress: Progress | None = None,
) -> list[float]:
    """Pull the views of each crop together and those of different crops apart.

    Only what behind the encoder of the waveform is trained.

    Args:
        backbone: is trained in place
        draw: gives the crops of a step, ``(batch, time)``, batch of at least 2
        steps: how many
        seed: of the projections' weights and of the dropout
        learning_rate: peak of the cosine schedule
        progress: called after each step with its ``loss``

    Returns:
        loss of each step

    References:
        after Khaertdinov et al. 2024, arXiv 2406.07900.

    """
    torch.manual_seed(seed)
    device = next(backbone.parameters()).device
    views = Views(backbone).to(device).train()
    return train_parts(
        views, backbone, lambda signals: _views_loss(views, signals, device),
        draw, steps, learning_rate, progress,
    )  # fmt: skip


def _views_loss(views: Views, signals: np.ndarray, device: torch.device) -> Tensor:
    features = torch.from_numpy(np.stack([prosody(signal) for signal in signals]))
    signal = normalize(torch.from_numpy(signals))
    deep, mel, prosodic = views(signal.to(device), features.to(device))
    return view_loss(deep, mel) + view_loss(deep, prosodic) + view_loss(mel, prosodic)


def train_parts(
    module: nn.Module,
    backbone: Backbone,
    loss_of: Callable[[np.ndarray], Tensor],
    draw: Callable[[int], np.ndarray],
    steps: int,
    learning_rate: float,
    progress: Progress | None,
) -> list[float]:
    """Train a module that holds a backbone whose waveform encoder stays as it is.

    Returns:
        loss of each step

    """
    fixed = set()
    if backbone.convolutions is not None:
        fixed = {id(parameter) for parameter in backbone.convolutions.parameters()}
    parameters = [
        p for p in module.parameters() if p.requires_grad and id(p) not in fixed
    ]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for step in range(steps):
        loss = loss_of(draw(step))
        losses.append(loss.item())
        check_finite(losses[-1], step)
        module.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()
        if progress:
            progress("warm up", step + 1, steps, {"loss": losses[-1]})
    return losses
