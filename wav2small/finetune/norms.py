"""Scores for clips that people gave a category and no score."""

from __future__ import annotations

import numpy as np

NORMS = {
    "anger": (0.59, 0.25, -0.51),
    "boredom": (-0.62, -0.33, -0.65),
    "disgust": (0.35, 0.11, -0.60),
    "fear": (0.60, -0.43, -0.64),
    "happiness": (0.51, 0.46, 0.81),
    "neutral": (0.0, 0.0, 0.0),
    "sadness": (-0.27, -0.33, -0.63),
}
"""Arousal, dominance, valence in -1..1.

Russell & Mehrabian 1977, "Evidence for a three-factor theory of emotions",
Journal of Research in Personality 11(3), 273-294;
neutral is the middle of their scales.
"""

CATEGORIES = tuple(sorted(NORMS))
"""The categories that have a norm."""


def norm_score(emotion: str, recognised: float = 1.0) -> np.ndarray:
    """Score of a category, drawn towards neutral where few heard it.

    Args:
        emotion: one of :data:`CATEGORIES`
        recognised: share of listeners who heard the category, in 0..1

    Returns:
        arousal, dominance, valence in 0..1, shape ``(3,)``, float32

    Raises:
        ValueError: if there is no norm of the category

    """
    if emotion not in NORMS:
        raise ValueError(
            f"emotion must be one of {', '.join(CATEGORIES)}, got '{emotion}'"
        )
    return (0.5 + 0.5 * recognised * np.array(NORMS[emotion])).astype(np.float32)
