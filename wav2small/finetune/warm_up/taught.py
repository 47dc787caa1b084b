"""A smaller backbone: some layers of a larger one, taught by all of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from wav2small.export.base.progress import Progress

from ...adv import SAMPLING_RATE
from ...features import normalize
from ..backbones import Backbone
from .contrast import train_parts

_FRAME = SAMPLING_RATE // 50


def energy_mask(
    signals: np.ndarray,
    rng: np.random.Generator,
    *,
    share: float = 0.4,
    span: int = 10,
) -> np.ndarray:
    """Choose stretches to hide, more often where there is more energy.

    What is loud says most of an emotion, so it is what shall be guessed.

    Args:
        signals: shape ``(batch, time)``
        rng: source of the starts
        share: share of the frames in which hidden stretches would cover the signal
            if none overlapped, in 0..1
        span: length of a stretch in frames of 20 ms

    Returns:
        which samples are hidden, shape ``(batch, time)``, bool

    References:
        after Chen et al. 2023, "Vesper: A Compact and Effective Pretrained Model
        for Speech Emotion Recognition", arXiv 2307.10757.

    """
    count = signals.shape[1] // _FRAME
    hidden = np.zeros(signals.shape, bool)
    starts = max(1, round(share * count / span))
    for row, signal in zip(hidden, signals, strict=True):
        energy = (signal[: count * _FRAME].reshape(count, _FRAME) ** 2).mean(1)
        energy = np.sqrt(energy) + 1e-6
        for start in rng.choice(
            count, min(starts, count), replace=False, p=energy / energy.sum()
        ):
            row[start * _FRAME : (start + span) * _FRAME] = True
    return hidden


def matching_layers(kept: int, depth: int) -> list[tuple[int, int]]:
    """Pairs of a kept layer and the one that teaches it: the middle and the last.

    Args:
        kept: layers of the smaller backbone
        depth: layers of the larger one

    Returns:
        numbers from 1

    """
    pairs = [((kept + 1) // 2, (depth + 1) // 2), (kept, depth)]
    return pairs if kept > 1 else pairs[1:]


def likeness_loss(guess: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error, and how far the directions are apart.

    Shape:
        guess: ``(batch, frames, width)``
        wanted: same

    References:
        Chang et al. 2022, "DistilHuBERT", arXiv 2110.01900.

    """
    cosine = nn.functional.cosine_similarity(guess, wanted, dim=2)
    return (guess - wanted).abs().mean() - nn.functional.logsigmoid(cosine).mean()


def adapt(
    backbone: Backbone,
    draw: Callable[[int], np.ndarray],
    *,
    steps: int,
    seed: int,
    progress: Progress | None = None,
) -> list[float]:
    """Go on with a backbone's pre-training on the speech of a task, without labels.

    What is hidden is guessed as the backbone itself, as it was before, would hear it.

    Args:
        backbone: is trained in place, but for its encoder of the waveform
        draw: gives the crops of a step, ``(batch, time)``
        steps: how many
        seed: as of :func:`teach_layers`
        progress: called after each step with its ``loss``

    Returns:
        loss of each step

    References:
        after Li et al. 2023, arXiv 2310.00283 (AFTER), which goes on with the
        pre-training of wav2vec2 itself.

    """
    before = copy.deepcopy(backbone)
    numbers = range(backbone.depth)
    return teach_layers(
        before, backbone, numbers, draw, steps=steps, seed=seed, progress=progress
    )


def teach_layers(
    whole: Backbone,
    small: Backbone,
    numbers: Sequence[int],
    draw: Callable[[int], np.ndarray],
    *,
    steps: int,
    seed: int,
    learning_rate: float = 3e-4,
    progress: Progress | None = None,
) -> list[float]:
    """Let a whole backbone teach the layers of it that were kept.

    The whole one hears all, the small one guesses what was hidden from it.

    Args:
        whole: is left as it is
        small: is trained in place, but for its encoder of the waveform
        numbers: which layers were kept, from 0
        draw: gives the crops of a step, ``(batch, time)``
        steps: how many
        seed: of the heads' weights, of the dropout and of what is hidden
        learning_rate: peak of the cosine schedule
        progress: called after each step with its ``loss``

    Returns:
        loss of each step

    """
    torch.manual_seed(seed)
    device = next(small.parameters()).device
    pairs = matching_layers(len(numbers), whole.depth)
    heads = nn.ModuleList(nn.Linear(small.width, whole.width) for _ in pairs)
    module = nn.ModuleDict({"small": small, "heads": heads}).to(device).train()
    whole.eval()
    rng = np.random.default_rng([seed, 2**41])

    def loss_of(signals: np.ndarray) -> Tensor:
        hidden = torch.from_numpy(energy_mask(signals, rng))
        signal = normalize(torch.from_numpy(signals))
        with torch.inference_mode():
            wanted = whole(signal.to(device)).layers
        guessed = small(signal.masked_fill(hidden, 0.0).to(device)).layers
        return torch.stack(
            [
                likeness_loss(head(guessed[own]), wanted[other].clone())
                for head, (own, other) in zip(heads, pairs, strict=True)
            ]
        ).mean()

    return train_parts(module, small, loss_of, draw, steps, learning_rate, progress)
