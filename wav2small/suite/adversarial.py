"""Tests with the smallest changes that a model itself says would move its scores."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

import numpy as np

from wav2small.export.base.progress import Progress

from .robustness import UNCHANGED
from .rows import Heading, SuiteRows, at_least
from .sounds import spread
from .speech import Tested

GROUP = "robustness: adversarial"

RATIO = 40.0
"""How far below the speech a change is, in dB."""

LEAST = 0.6
"""Least share of scores that a change by the gradient leaves as they are."""

LEAST_BY_CHANCE = 0.95
"""The same for signs that are drawn."""

Gradient = Callable[[np.ndarray, int], np.ndarray]
"""Gradient of a score: of a signal ``(time,)`` and the dimension's number, as it."""


def gradient_of(name: str) -> Gradient:
    """Return the gradient of a student's scores in float32.

    Args:
        name: bundled model, run or checkpoint

    Raises:
        InputError: if there is no student's checkpoint

    """
    import torch

    from ..models import load_student

    module, _ = load_student(name)

    def gradient(signal: np.ndarray, axis: int) -> np.ndarray:
        x = torch.from_numpy(np.array(signal, np.float32))[None].requires_grad_()
        (found,) = torch.autograd.grad(module(x)[0, axis], x)
        return found[0].numpy()

    return gradient


def by_signs(signal: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Move each sample by one step in its direction.

    Args:
        signal: ``(time,)``
        signs: direction of each sample; only the sign counts

    Returns:
        float32, changed by a step :data:`RATIO` dB below the signal's power

    References:
        Goodfellow, Shlens & Szegedy 2014, Explaining and harnessing adversarial
        examples, arXiv 1412.6572: the fast gradient sign method.

    """
    samples = np.asarray(signal, np.float64)
    step = np.sqrt(np.mean(samples**2)) * 10 ** (-RATIO / 20)
    return (samples + step * np.sign(signs)).astype(np.float32)


def add_adversarial(
    rows: SuiteRows,
    tested: Tested,
    gradients: Mapping[str, Gradient],
    *,
    clips: int,
    seed: int,
    progress: Progress,
) -> None:
    """Add rows of how scores stand changes that are made to move them upwards.

    Args:
        rows: gets the new rows
        tested: model, speech and scores
        gradients: by whose scores changes are made; one that is not
            the model's own tells how changes carry over
        clips: most clips that are changed, spread evenly
        seed: seed of the signs that are drawn
        progress: called after each clip of each change

    """
    chosen = spread(len(tested.scores), clips)
    before = tested.scores[chosen]
    names = {f"FGSM at {RATIO:.0f} dB by {name}": name for name in gradients}
    chance = f"random signs at {RATIO:.0f} dB"
    for number, title in enumerate([chance, *names]):
        least = LEAST if title in names else LEAST_BY_CHANCE
        after = np.zeros_like(before)
        for row, item in enumerate(chosen):
            signal = tested.speech.signals[item]
            rng = np.random.default_rng([seed, zlib.crc32(title.encode()), item])
            for axis in range(3):
                if title in names:
                    signs = gradients[names[title]](signal, axis)
                else:
                    signs = rng.normal(size=len(signal))
                changed = by_signs(signal, signs)
                after[row, axis] = tested.speech.score(tested.model, item, changed)[
                    axis
                ]
            done = number * len(chosen) + row + 1
            progress("changes", done, (len(names) + 1) * len(chosen), {})
        for axis in range(3):
            same = np.abs(after[:, axis] - before[:, axis]) < UNCHANGED
            heading = Heading(GROUP, title, "share unchanged", axis, at_least(least))
            rows.add_share(heading, same)
