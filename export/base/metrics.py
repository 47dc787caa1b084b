"""Agreement between two series of scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def _pair(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth = np.asarray(truth, dtype=np.float64)
    prediction = np.asarray(prediction, dtype=np.float64)
    if truth.shape != prediction.shape:
        raise ValueError(
            "prediction must be of the shape of truth, "
            f"{truth.shape}, got {prediction.shape}"
        )
    return truth, prediction


def concordance_cc(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Concordance correlation coefficient of two series.

    Unlike Pearson's correlation
    it falls when the prediction is shifted or scaled.
    Variances are population variances,
    as in :func:`audmetric.concordance_cc`.

    Args:
        truth: reference values, shape ``(samples,)``
        prediction: predicted values, same shape and unit

    Returns:
        coefficient in [-1, 1],
        NaN for fewer than two samples or two equal constant series

    Raises:
        ValueError: if the shapes differ

    Examples:
        >>> round(concordance_cc(np.array([0, 1, 2]), np.array([0, 1, 1])), 12)
        0.666666666667

    References:
        Lin 1989, Biometrics 45(1), 255-268.

    """
    truth, prediction = _pair(truth, prediction)
    if len(truth) < 2:
        return float("nan")
    mean_truth, mean_prediction = truth.mean(), prediction.mean()
    a, b = truth - mean_truth, prediction - mean_prediction
    shift = len(truth) * (mean_truth - mean_prediction) ** 2
    denominator = a @ a + b @ b + shift
    return float(2 * (a @ b) / denominator) if denominator else float("nan")


def pearson_cc(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Pearson's correlation coefficient of two series.

    Args:
        truth: reference values, shape ``(samples,)``
        prediction: predicted values, same shape

    Returns:
        coefficient in [-1, 1],
        NaN for fewer than two samples or a constant series

    Raises:
        ValueError: if the shapes differ

    """
    truth, prediction = _pair(truth, prediction)
    if len(truth) < 2:
        return float("nan")
    a, b = truth - truth.mean(), prediction - prediction.mean()
    denominator = np.sqrt((a @ a) * (b @ b))
    return float((a @ b) / denominator) if denominator else float("nan")


def mean_absolute_error(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Mean absolute difference of two series, in their unit.

    Args:
        truth: reference values, shape ``(samples,)``
        prediction: predicted values, same shape

    Returns:
        mean of ``|truth - prediction|``, NaN for empty series

    Raises:
        ValueError: if the shapes differ

    """
    truth, prediction = _pair(truth, prediction)
    return float(np.abs(truth - prediction).mean()) if len(truth) else float("nan")


def bootstrap_interval(
    metric: Callable[[np.ndarray, np.ndarray], float],
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    rng: np.random.Generator,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a metric over samples.

    Args:
        metric: function of truth and prediction
        truth: reference values, shape ``(samples,)``
        prediction: predicted values, same shape
        rng: source of the resamples
        resamples: number of resamples
        confidence: share of the resamples inside the interval, in 0..1

    Returns:
        lower and upper end; NaN where the metric is undefined

    Raises:
        ValueError: if the shapes differ

    References:
        Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.

    """
    truth, prediction = _pair(truth, prediction)
    if len(truth) < 2:
        return float("nan"), float("nan")
    values = []
    for _ in range(resamples):
        index = rng.integers(len(truth), size=len(truth))
        values.append(metric(truth[index], prediction[index]))
    defined = np.array([value for value in values if not np.isnan(value)])
    if not len(defined):
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)
