"""Tests of correctness: agreement with references, and with the categories."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ..adv import DIMENSIONS
from ..metrics import concordance_cc, mean_absolute_error, pearson_cc
from .figures import (
    RANGES,
    count_groups,
    expected_range,
    jensen_shannon_distance,
    of_means,
    rank_cc,
)
from .rows import Heading, SuiteRows, Threshold, at_least, at_most
from .speech import Tested

Figure = Callable[[np.ndarray, np.ndarray], float]

AGREEMENT: dict[str, tuple[Figure, Threshold]] = {
    "CCC": (concordance_cc, at_least(0.5)),
    "PCC": (pearson_cc, at_least(0.5)),
    "MAE": (mean_absolute_error, at_most(0.1)),
    "Jensen-Shannon distance": (jensen_shannon_distance, at_most(0.2)),
}
"""Figures of all clips against a reference."""

SPEAKERS: dict[str, tuple[Figure, Threshold, int]] = {
    "MAE of means": (mean_absolute_error, at_most(0.1), 2),
    "rank correlation of means": (rank_cc, at_least(0.7), 3),
}
"""Figures of the speakers' means, and the least number of speakers."""

CONSISTENT = 0.75
"""Least share of clips in the range that is expected of their category."""


def add_agreement(rows: SuiteRows, tested: Tested) -> None:
    """Add rows of how scores agree with each reference, over clips and speakers."""
    speakers = tested.speech.names("speaker")
    for reference, truth in tested.references.items():
        group = f"correctness: {reference}"
        for axis in range(3):
            known = np.flatnonzero(~np.isnan(truth[:, axis]))
            if len(known) < 2:
                rows.skip(group, DIMENSIONS[axis], "fewer than two scores are known")
                continue
            series = truth[known, axis], tested.scores[known, axis]
            for figure, (metric, threshold) in AGREEMENT.items():
                heading = Heading(group, "all clips", figure, axis, threshold)
                rows.add(heading, metric, *series)
            names = speakers[known]
            count = count_groups(names)
            title = f"{count} speakers"
            for figure, (metric, threshold, least) in SPEAKERS.items():
                if count >= least:
                    heading = Heading(group, title, figure, axis, threshold)
                    rows.add(heading, partial(of_means, metric), *series, names)
        for figure, (_, _, least) in SPEAKERS.items():
            if count_groups(speakers) < least:
                rows.skip(
                    group,
                    f"speakers: {figure}",
                    f"labels name fewer than {least} speakers of 10 clips or more",
                )


def add_categories(rows: SuiteRows, tested: Tested) -> None:
    """Add rows of how many scores lie in the range that is expected of a category."""
    group, scores = "correctness: categories", tested.scores
    emotions = tested.speech.metadata.get("emotion", [None] * len(scores))
    found = False
    for axis, dimension in enumerate(DIMENSIONS):
        levels = [expected_range(emotion, dimension) for emotion in emotions]
        ranges = np.array(
            [RANGES.get(level or "", (np.nan, np.nan)) for level in levels]
        )
        inside = (scores[:, axis] >= ranges[:, 0]) & (scores[:, axis] <= ranges[:, 1])
        parts = {"all": np.array([level is not None for level in levels])}
        for level, emotion in sorted(
            {(str(v), str(e)) for v, e in zip(levels, emotions, strict=True) if v}
        ):
            parts[f"{emotion}: {level}"] = np.array([e == emotion for e in emotions])
        for name, chosen in parts.items():
            if chosen.any():
                found = True
                figure = "share in the expected range"
                heading = Heading(group, name, figure, axis, at_least(CONSISTENT))
                rows.add_share(heading, inside[chosen])
    if not found:
        rows.skip(group, "consistency", "labels name no category with expectations")
