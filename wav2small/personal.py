"""Make a model's scores those of one wearer: a gain and an offset for each."""

from __future__ import annotations

import numpy as np

from .adv import NEUTRAL

CALM_CLIPS = 1.0
"""How many calm clips the model's own view of a voice is worth."""

LABELLED_CLIPS = np.array([1.0, 2.0, 7.0])
"""How many labelled clips it is worth for each dimension, where the offset is fitted:
how far clips scatter around a speaker's offset, and how large such offsets are,
as squares (``examples/studies/calibration_study.py``)."""

SPREAD = 0.1
"""Sum of squared distances of scores that labelled clips need
for half of what they say of the gain."""

MOST_GAIN = 4.0
"""Largest gain that is believed."""


def from_calm(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit to clips of a wearer who speaks calmly.

    Arousal and dominance move, so that the median clip becomes neutral,
    the more clips the further.
    Valence stays: a calm voice need not be a neutral one.

    Args:
        scores: of the clips, ``(clips, 3)``

    Returns:
        gains and offsets, each ``(3,)``

    """
    clips = len(scores)
    offsets = (NEUTRAL - np.median(scores, axis=0)) * clips / (clips + CALM_CLIPS)
    offsets[2] = 0
    return np.ones(3), offsets


def from_labels(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit to clips of a wearer of which somebody knows the scores.

    Least squares, drawn towards a gain of 1 and no offset:
    few clips move little.

    Args:
        scores: of the clips, ``(clips, 3)``
        truth: what they should be, same shape

    Returns:
        gains and offsets, each ``(3,)``

    """
    clips = len(scores)
    middle = scores.mean(0)
    missing = truth - scores
    centred = scores - middle
    gains = 1 + (centred * missing).sum(0) / ((centred**2).sum(0) + SPREAD)
    gains = np.clip(gains, 0, MOST_GAIN)
    shift = missing.mean(0) * clips / (clips + LABELLED_CLIPS)
    return gains, middle + shift - gains * middle
