"""Tests of fairness: whether groups of speakers are scored equally well."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ..adv import DIMENSIONS
from .figures import (
    bins_of,
    ccc_of,
    count_groups,
    fair_limit,
    gap,
    precision_of,
    recall_of,
    shift_of,
)
from .pitch import pitch_group
from .rows import Heading, SuiteRows, Threshold, at_most
from .speech import Tested

FAIRNESS: dict[
    str,
    dict[str, tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], Threshold | None]],
] = {
    "sex": {
        "difference of CCC": (ccc_of, at_most(0.075)),
        "difference of mean error": (shift_of, None),
        "difference of precision per bin": (precision_of, at_most(0.1)),
        "difference of recall per bin": (recall_of, at_most(0.1)),
    },
    "pitch": {
        "difference of CCC": (ccc_of, at_most(0.1)),
        "difference of mean error": (shift_of, None),
        "difference of precision per bin": (precision_of, at_most(0.125)),
        "difference of recall per bin": (recall_of, at_most(0.125)),
    },
    "language": {
        "difference of CCC": (ccc_of, None),
        "difference of mean error": (shift_of, at_most(0.03)),
        "difference of bins": (bins_of, at_most(0.1)),
    },
    "accent": {
        "difference of mean error": (shift_of, at_most(0.075)),
        "difference of bins": (bins_of, at_most(0.225)),
    },
    "sentiment of the text": {
        "difference of mean error": (shift_of, at_most(0.025)),
        "difference of bins": (bins_of, at_most(0.075)),
    },
}
"""Figures of groups of clips, by what the groups differ in."""

SIMULATED = ("language", "accent", "sentiment of the text")
"""Groups whose thresholds are those of a model that is fair by construction:
where groups are so small that chance gives such a model more, that much is let in."""

FURTHER = ("age", "race", "ethnicity")
"""What speech may say of its speakers beside :data:`FAIRNESS`; judged as sex is."""

AGES = (30, 50)
"""Borders of the groups of age, in years."""


def add_groups(rows: SuiteRows, tested: Tested) -> None:
    """Add rows of how the groups of :data:`FAIRNESS` and :data:`FURTHER` differ."""
    speech, scores, truth = tested.speech, tested.scores, tested.truth
    groups = {
        "sex": speech.names("gender"),
        "pitch": np.array([pitch_group(s) or "" for s in speech.signals]),
        "language": speech.names("language"),
        "accent": speech.names("accent"),
        "sentiment of the text": speech.names("sentiment"),
    }
    table = dict(FAIRNESS)
    for kind in FURTHER:
        if kind in speech.metadata:
            table[kind] = FAIRNESS["sex"]
            groups[kind] = speech.names(kind)
    if "age" in groups:
        groups["age"] = np.array([age_group(years) for years in groups["age"]])
    for kind, figures in table.items():
        names = groups[kind]
        if count_groups(names) < 2:
            reason = "labels have fewer than two groups of 10 clips or more"
            rows.skip("fairness", kind, reason)
            continue
        for axis in range(3):
            known = np.flatnonzero(~np.isnan(truth[:, axis]))
            series = truth[known, axis], scores[known, axis], names[known]
            for figure, (metric, threshold) in figures.items():
                if np.isnan(gap(metric, *series)):
                    rows.skip(
                        "fairness",
                        f"{kind}: {figure}, {DIMENSIONS[axis]}",
                        "no two groups have 10 clips or more of one bin",
                    )
                    continue
                if kind in SIMULATED and threshold:
                    limit = fair_limit(metric, series[2])
                    threshold = at_most(max(threshold.value, round(limit, 4)))
                difference = partial(gap, metric)
                heading = Heading("fairness", kind, figure, axis, threshold)
                rows.add(heading, difference, *series)


def age_group(years: str) -> str:
    """Return the group of an age in years; empty if it is no number.

    Examples:
        >>> age_group("29"), age_group("50"), age_group("51.5"), age_group("")
        ('below 30', '30 to 50', 'above 50', '')

    """
    try:
        age = float(years)
    except ValueError:
        return ""
    low, high = AGES
    if age < low:
        return f"below {low}"
    return f"{low} to {high}" if age <= high else f"above {high}"
