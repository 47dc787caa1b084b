"""The rows of a report: figures, their intervals, thresholds and verdicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..adv import DIMENSIONS
from ..metrics import bootstrap_interval

CATEGORY = "category"
"""What stands in place of a dimension in figures of a model's categories."""

COLUMNS = (*DIMENSIONS, CATEGORY)
"""What a figure can be of."""


@dataclass(frozen=True)
class Threshold:
    """What a figure must keep."""

    sense: str
    """``>=`` or ``<=``."""

    value: float
    """The worst figure that passes."""

    def passes(self, figure: float) -> bool:
        """Tell whether a figure passes; a figure that is NaN does not."""
        return figure >= self.value if self.sense == ">=" else figure <= self.value


def at_least(value: float) -> Threshold:
    """Make a threshold that a figure must reach."""
    return Threshold(">=", value)


def at_most(value: float) -> Threshold:
    """Make a threshold that a figure may reach."""
    return Threshold("<=", value)


class Heading(NamedTuple):
    """What a row of the report is about."""

    group: str
    """Group of tests."""

    name: str
    """The test: what was done, or to whom."""

    figure: str
    """What the number is."""

    axis: int
    """Number of the dimension, or of the category, in :data:`COLUMNS`."""

    threshold: Threshold | None
    """What the figure must keep, None if it is for information."""


class SuiteRows:
    """Rows of the report."""

    def __init__(self, seed: int, resamples: int) -> None:
        self.seed, self.resamples = seed, resamples
        self.tests: list[dict[str, Any]] = []
        self.skipped: list[dict[str, str]] = []

    def add(
        self, heading: Heading, metric: Callable[..., float], *series: np.ndarray
    ) -> None:
        """Add a figure: what a metric gives for series of one entry per clip."""
        count = len(series[0])
        value = metric(*series)

        def resampled(items: np.ndarray, _: np.ndarray) -> float:
            return metric(*(entries[items.astype(int)] for entries in series))

        low, high = bootstrap_interval(
            resampled,
            np.arange(count),
            np.arange(count),
            rng=np.random.default_rng(self.seed),
            resamples=self.resamples,
        )
        self._append(heading, value, (low, high), count)

    def add_share(self, heading: Heading, hits: np.ndarray) -> None:
        """Add the share of clips that are hit."""
        count, value = len(hits), float(hits.mean())
        # the number of hits in a resample of the clips follows this distribution
        drawn = np.random.default_rng(self.seed).binomial(count, value, self.resamples)
        low, high = np.quantile(drawn / count, [0.025, 0.975])
        self._append(heading, value, (low, high), count)

    def _append(
        self,
        heading: Heading,
        value: float,
        interval: tuple[float, float],
        count: int,
    ) -> None:
        known, threshold = not np.isnan(interval[0]), heading.threshold
        self.tests.append(
            {
                "group": heading.group,
                "name": heading.name,
                "figure": heading.figure,
                "dimension": COLUMNS[heading.axis],
                "value": _number(value),
                "interval": [_number(end) for end in interval] if known else None,
                "sense": threshold.sense if threshold else None,
                "threshold": threshold.value if threshold else None,
                "passed": threshold.passes(value) if threshold else None,
                "clips": count,
            }
        )

    def skip(self, group: str, name: str, reason: str) -> None:
        """Say why a test is not in the report."""
        self.skipped.append({"group": group, "name": name, "reason": reason})


def _number(value: float) -> float | None:
    """Round, because the last digits depend on the order in which sums are taken."""
    return None if np.isnan(value) else round(float(value), 6)
