"""How well a model agrees with its teacher and with people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wav2small.export.base.progress import Progress

from .adv import DIMENSIONS
from .metrics import bootstrap_interval, concordance_cc, mean_absolute_error, pearson_cc
from .teachers.base import ClipMetadata, Model, predict_with_metadata


def agreement(
    truth: np.ndarray, prediction: np.ndarray, *, seed: int = 0
) -> dict[str, Any]:
    """Compare two tables of scores, dimension by dimension.

    Args:
        truth: reference scores, shape ``(clips, 3)``;
            rows with NaN in a dimension are left out of it
        prediction: the model's scores, same shape
        seed: seed of the bootstrap

    Returns:
        for each dimension: number of clips,
        concordance with its 95 % interval,
        Pearson's correlation with its interval, mean absolute error;
        under ``mean`` the mean concordance

    """
    result: dict[str, Any] = {}
    for axis, name in enumerate(DIMENSIONS):
        known = ~np.isnan(truth[:, axis])
        pair = truth[known, axis], prediction[known, axis]
        intervals = {
            key: bootstrap_interval(metric, *pair, rng=np.random.default_rng(seed))
            for key, metric in (("ccc", concordance_cc), ("pcc", pearson_cc))
        }
        result[name] = {
            "clips": int(known.sum()),
            "ccc": concordance_cc(*pair),
            "ccc_interval": list(intervals["ccc"]),
            "pcc": pearson_cc(*pair),
            "pcc_interval": list(intervals["pcc"]),
            "mae": mean_absolute_error(*pair),
        }
    result["mean"] = float(np.mean([result[name]["ccc"] for name in DIMENSIONS]))
    return result


def evaluate(
    model: Model,
    signals: Sequence[np.ndarray],
    references: dict[str, np.ndarray],
    *,
    metadata: Sequence[ClipMetadata] | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], np.ndarray]:
    """Score clips and compare with each reference apart.

    Args:
        model: what to evaluate
        signals: clips, each ``(time,)``, float32 at 16 kHz
        references: scores ``(clips, 3)`` by name, e.g. of teacher and humans
        metadata: what is known of each clip, for a teacher that uses it
        progress: called after each clip

    Returns:
        :func:`agreement` by name of the reference, and the scores

    """
    scores = np.zeros((len(signals), 3), np.float32)
    for item in range(len(signals)):
        known = [metadata[item] if metadata else {}]
        scores[item] = predict_with_metadata(model, [signals[item]], known)[0]
        if progress:
            progress("evaluate", item + 1, len(signals), {})
    return {key: agreement(truth, scores) for key, truth in references.items()}, scores
