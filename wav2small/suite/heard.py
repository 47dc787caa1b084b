"""Tests of the categories that a model says, and of one take under two conditions."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import numpy as np

from .figures import MIN_GROUP, category_name
from .robustness import UNCHANGED
from .rows import COLUMNS, Heading, SuiteRows, at_least
from .speech import Tested

CATEGORIES = "correctness: categories that are said"
CONDITIONS = "robustness: recording condition"

LEAST = 0.5
"""Least recall and precision, of each category and on average."""

LEAST_UNCHANGED = 0.8
"""Least share of takes that a recording condition leaves as they are."""


def add_said(rows: SuiteRows, tested: Tested) -> None:
    """Add rows of recall and precision of the categories that a model says."""
    model: Any = tested.model
    if not getattr(model, "categories", ()):
        rows.skip(CATEGORIES, "recall and precision", "the model says no categories")
        return
    truth = np.array([category_name(e) for e in tested.speech.names("emotion")])
    names = sorted(
        {category_name(name) for name in model.categories} & set(truth) - {""}
    )
    known = np.flatnonzero(np.isin(truth, names))
    if len(names) < 2:
        reason = "labels name fewer than two of the model's categories"
        rows.skip(CATEGORIES, "recall and precision", reason)
        return
    said = []
    for item in known.tolist():
        shares = model.further(tested.speech.signals[item])[0]
        said.append(category_name(max(shares, key=lambda name: shares[name])))
    codes = [np.searchsorted(names, truth[known])]
    # what is said and is no category of the labels is wrong for each of them
    codes.append(np.array([names.index(s) if s in names else -1 for s in said]))
    axis, threshold = COLUMNS.index("category"), at_least(LEAST)
    for figure, order in (("recall", (0, 1)), ("precision", (1, 0))):
        pair = [codes[number] for number in order]
        heading = Heading(CATEGORIES, "all", f"mean {figure}", axis, threshold)
        rows.add(heading, partial(mean_share, len(names)), *pair)
        for number, name in enumerate(names):
            heading = Heading(CATEGORIES, name, figure, axis, threshold)
            rows.add(heading, partial(share_of, number), *pair)


def share_of(category: int, of: np.ndarray, hit: np.ndarray) -> float:
    """Share of what is of a category in one series that is so in another.

    Recall of truth and prediction, precision of prediction and truth.

    Returns:
        share in 0..1, NaN if nothing is of the category

    """
    chosen = of == category
    return float((hit[chosen] == category).mean()) if chosen.any() else float("nan")


def mean_share(count: int, of: np.ndarray, hit: np.ndarray) -> float:
    """Mean of :func:`share_of` over the categories; one that never occurs counts 0."""
    return float(np.mean(np.nan_to_num([share_of(n, of, hit) for n in range(count)])))


def add_conditions(rows: SuiteRows, tested: Tested) -> None:
    """Add rows of how scores of one take differ between recording conditions.

    Each condition is compared with the one that most takes have.

    References:
        after Derington et al. 2023, arXiv 2312.06270, "recording condition".

    """
    takes, conditions = (tested.speech.names(name) for name in ("take", "condition"))
    place = {
        (take, condition): item
        for item, (take, condition) in enumerate(zip(takes, conditions, strict=True))
        if take and condition
    }
    counts = Counter(condition for _, condition in place)
    usual = max(sorted(counts), key=lambda name: counts[name], default="")
    found = False
    for condition in sorted(set(counts) - {usual}):
        both = [
            (place[take, usual], item)
            for (take, name), item in place.items()
            if name == condition and (take, usual) in place
        ]
        if len(both) < MIN_GROUP:
            continue
        found = True
        before, after = (tested.scores[list(part)] for part in zip(*both, strict=True))
        name = f"{condition} in place of {usual}"
        for axis in range(3):
            same = np.abs(after[:, axis] - before[:, axis]) < UNCHANGED
            heading = Heading(
                CONDITIONS, name, "share unchanged", axis, at_least(LEAST_UNCHANGED)
            )
            rows.add_share(heading, same)
    if not found:
        reason = f"fewer than {MIN_GROUP} takes under two conditions: --about"
        rows.skip(CONDITIONS, "two conditions of a take", reason)
