"""Tests with the smallest changes that a model itself says would move its scores."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from wav2small.export.base.progress import Progress

from ..config import ATTACK_RATIO as RATIO
from .robustness import UNCHANGED
from .rows import Heading, SuiteRows, at_least
from .sounds import spread
from .speech import Tested

GROUP = "robustness: adversarial"

LEAST = 0.6
"""Least share of scores that a change by the gradient leaves as they are."""

LEAST_BY_CHANCE = 0.95
"""The same for signs that are drawn."""

Gradient = Callable[[np.ndarray, int], np.ndarray]
"""Gradient of a score: of a signal ``(time,)`` and the dimension's number, as it."""


Attack = Callable[[np.ndarray, int], np.ndarray]
"""Changes a signal ``(time,)`` so that a dimension's score rises; takes its number."""


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


def by_projection(
    signal: np.ndarray, axis: int, gradient: Gradient, *, steps: int = 5
) -> np.ndarray:
    """Move a signal several times along the gradient, none of its samples far.

    Args:
        signal: ``(time,)``
        axis: number of the dimension that is raised
        gradient: of the scores
        steps: how many, each of 2.5 / ``steps`` of the way that is allowed

    Returns:
        float32; no sample moved further than by :func:`by_signs`

    References:
        Madry et al. 2017, "Towards Deep Learning Models Resistant to Adversarial
        Attacks", arXiv 1706.06083: projected gradient descent.

    """
    samples = np.asarray(signal, np.float64)
    most = np.sqrt(np.mean(samples**2)) * 10 ** (-RATIO / 20)
    change = np.zeros_like(samples)
    for _ in range(steps):
        signs = np.sign(gradient((samples + change).astype(np.float32), axis))
        change = np.clip(change + 2.5 / steps * most * signs, -most, most)
    return (samples + change).astype(np.float32)


def attacks_of(
    name: str, signals: Sequence[np.ndarray], *, seed: int = 0
) -> dict[str, Attack]:
    """Return the attacks that know a student's weights.

    Args:
        name: bundled model, run or checkpoint
        signals: to train the generator of sparse changes on
        seed: of that training

    Returns:
        by title: fast gradient sign, projected gradient, sparse generator

    Raises:
        InputError: if there is no student's checkpoint

    """
    import torch

    from ..models import load_student
    from .sparse import train_generator

    gradient = gradient_of(name)
    module, _ = load_student(name)
    module.eval().requires_grad_(False)
    generator = train_generator(module, signals, RATIO, seed=seed)

    def sparse(signal: np.ndarray, axis: int) -> np.ndarray:
        given = torch.from_numpy(np.array(signal, np.float32))[None]
        with torch.inference_mode():
            return (given + generator(given))[0].numpy()

    how = f"at {RATIO:.0f} dB by {name}"
    return {
        f"FGSM {how}": lambda signal, axis: by_signs(signal, gradient(signal, axis)),
        f"PGD {how}": lambda signal, axis: by_projection(signal, axis, gradient),
        f"sparse generator {how}": sparse,
    }


def add_adversarial(
    rows: SuiteRows,
    tested: Tested,
    attacks: Mapping[str, Attack],
    *,
    clips: int,
    seed: int,
    progress: Progress,
) -> None:
    """Add rows of how scores stand changes that are made to move them upwards.

    Args:
        rows: gets the new rows
        tested: model, speech and scores
        attacks: make changes, by title; one that knows another model's weights
            than this one's tells how changes carry over
        clips: most clips that are changed, spread evenly
        seed: seed of the signs that are drawn
        progress: called after each clip of each change

    """
    chosen = spread(len(tested.scores), clips)
    before = tested.scores[chosen]
    chance = f"random signs at {RATIO:.0f} dB"
    for number, title in enumerate([chance, *attacks]):
        least = LEAST if title in attacks else LEAST_BY_CHANCE
        after = np.zeros_like(before)
        for row, item in enumerate(chosen):
            signal = tested.speech.signals[item]
            rng = np.random.default_rng([seed, zlib.crc32(title.encode()), item])
            for axis in range(3):
                if title in attacks:
                    changed = attacks[title](signal, axis)
                else:
                    changed = by_signs(signal, rng.normal(size=len(signal)))
                found = tested.speech.score(tested.model, item, changed)
                after[row, axis] = found[axis]
            done = number * len(chosen) + row + 1
            progress("changes", done, (len(attacks) + 1) * len(chosen), {})
        for axis in range(3):
            same = np.abs(after[:, axis] - before[:, axis]) < UNCHANGED
            heading = Heading(GROUP, title, "share unchanged", axis, at_least(least))
            rows.add_share(heading, same)
