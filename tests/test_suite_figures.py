"""Figures of the suite against other ways to compute them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st

from wav2small.adv import DIMENSIONS
from wav2small.metrics import concordance_cc, mean_absolute_error
from wav2small.suite.figures import (
    EXPECTED,
    RANGES,
    bins_of,
    ccc_of,
    count_groups,
    expected_range,
    fair_limit,
    gap,
    jensen_shannon_distance,
    loss_of_ccc,
    of_means,
    precision_of,
    rank_cc,
    recall_of,
    shift_of,
)

SCORES = st.lists(st.integers(-2, 12), min_size=3, max_size=30).map(
    lambda values: np.array(values) / 10
)
RNG = np.random.default_rng(0)
TRUTH = RNG.uniform(size=120)
PREDICTION = np.clip(TRUTH + 0.2 * RNG.normal(size=120), 0, 1)
GROUPS = np.array(["a", "b", "c", ""] * 30)


@given(truth=SCORES, prediction=SCORES)
def test_jensen_shannon_is_that_of_scipy(truth, prediction):
    counts = [
        np.bincount(np.clip(np.floor(s * 10 + 1e-9), 0, 9).astype(int), minlength=10)
        for s in (truth + 1e-6, prediction + 1e-6)
    ]
    expected = scipy.spatial.distance.jensenshannon(*counts, base=2)
    distance = jensen_shannon_distance(truth + 1e-6, prediction + 1e-6)
    assert distance == pytest.approx(expected, abs=1e-6)


def test_jensen_shannon_of_what_shares_nothing_is_one():
    assert jensen_shannon_distance(np.zeros(3), np.ones(5)) == pytest.approx(1)
    assert np.isnan(jensen_shannon_distance(np.zeros(0), np.ones(5)))


@given(pair=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3))
def test_rank_correlation_is_that_of_scipy(pair):
    truth, prediction = np.array(pair, float).T
    if np.ptp(truth) and np.ptp(prediction):
        expected = scipy.stats.spearmanr(truth, prediction).statistic
        assert rank_cc(truth, prediction) == pytest.approx(expected)
    else:
        assert np.isnan(rank_cc(truth, prediction))


@pytest.mark.parametrize(
    ("emotion", "expected"),
    [
        ("anger", ("high", "high", "low")),
        ("Angry", ("high", "high", "low")),
        ("fear", ("high", "low", "low")),
        ("sadness", ("low", "low", "low")),
        ("boredom", ("low", None, None)),
        ("happiness", (None, None, "high")),
        (" joy", (None, None, "high")),
        ("neutral", ("neutral",) * 3),
        ("read", (None,) * 3),
        (None, (None,) * 3),
    ],
)
def test_expectations_of_categories(emotion, expected):
    assert tuple(expected_range(emotion, name) for name in DIMENSIONS) == expected


def test_no_category_is_high_and_low():
    for levels in EXPECTED.values():
        assert not set(levels["high"]) & set(levels["low"])


def test_means_are_of_groups_that_are_known():
    # clips of group a are 0, 4, 8 and so on
    means = [[s[n::4].mean() for n in range(3)] for s in (TRUTH, PREDICTION)]
    expected = np.abs(np.subtract(*means)).mean()
    figure = of_means(mean_absolute_error, TRUTH, PREDICTION, GROUPS)
    assert figure == pytest.approx(expected)
    assert count_groups(GROUPS) == 3


def test_small_groups_are_left_out():
    groups = np.array(["a"] * 60 + ["b"] * 51 + ["c"] * 9)
    assert count_groups(groups) == 2
    assert count_groups(groups[:-9][10:]) == 2
    assert count_groups(np.array(["a"] * 10 + ["b"] * 9)) == 1
    without = gap(ccc_of, TRUTH[:111], PREDICTION[:111], groups[:111])
    assert gap(ccc_of, TRUTH, PREDICTION, groups) == without


def test_loss_of_ccc():
    assert loss_of_ccc(TRUTH, TRUTH, PREDICTION) == pytest.approx(
        concordance_cc(TRUTH, PREDICTION) - 1
    )


def test_two_groups_are_compared_with_each_other():
    groups = np.array(["f", "m"] * 60)
    f, m = (concordance_cc(TRUTH[n::2], PREDICTION[n::2]) for n in (0, 1))
    assert gap(ccc_of, TRUTH, PREDICTION, groups) == pytest.approx(abs(f - m))


def test_more_groups_are_compared_with_all():
    # c is shifted by .3, so the mean of all by .1
    shifted = TRUTH + 0.3 * (GROUPS == "c")
    assert gap(shift_of, TRUTH, shifted, GROUPS) == pytest.approx(0.2)


def test_one_group_has_no_gap():
    assert np.isnan(gap(ccc_of, TRUTH, PREDICTION, np.array(["a"] * 120)))


def test_precision_and_recall_per_bin():
    truth = np.repeat([0.1, 0.3, 0.6, 0.9], 20)
    prediction = truth.copy()
    prediction[:5] = 0.3
    np.testing.assert_allclose(precision_of(truth, prediction), [1, 20 / 25, 1, 1])
    np.testing.assert_allclose(recall_of(truth, prediction), [15 / 20, 1, 1, 1])
    np.testing.assert_allclose(
        bins_of(truth, prediction), [-5 / 80, 5 / 80, 0, 0], atol=1e-12
    )


def test_bins_end_at_quarters():
    """A score on a border is of the bin above it."""
    for border, lower in ((0.25, 0), (0.5, 1), (0.75, 2)):
        truth = np.repeat([border - 1e-3, border], 10)
        shares = np.add(bins_of(np.zeros(20), truth), [1, 0, 0, 0])
        assert list(np.flatnonzero(shares)) == [lower, lower + 1]


def test_bins_of_few_clips_are_not_known():
    truth = np.repeat([0.1, 0.9], [20, 9])
    assert list(np.isnan(recall_of(truth, truth))) == [False, True, True, True]
    groups = np.repeat(["a", "b"], [15, 14])
    low = np.array([0.1] * 9 + [0.9] * 6 + [0.1] * 5 + [0.9] * 9)
    assert np.isnan(gap(recall_of, low, low, groups))


@pytest.mark.parametrize("sizes", [(60,) * 30, (100, 40), (300, 20, 80)])
@pytest.mark.parametrize("figure", [shift_of, bins_of])
def test_limit_of_a_fair_model_is_that_of_scores_drawn_clip_by_clip(sizes, figure):
    groups = np.repeat([f"g{n}" for n in range(len(sizes))], sizes)
    rng = np.random.default_rng(1)
    truth = np.full(len(groups), 0.5)
    found = [
        gap(figure, truth, rng.normal(0.5, 1 / 6, len(groups)), groups)
        for _ in range(400)
    ]
    limit = fair_limit(figure, np.append(groups, [""] * 5))
    assert 0.97 <= np.mean(np.array(found) <= limit) <= 1
    assert limit < 1.2 * np.quantile(found, 0.99)


def test_the_papers_thresholds_for_accents_are_those_of_sixty_clips_each():
    groups = np.repeat([f"g{n}" for n in range(30)], 60)
    assert fair_limit(shift_of, groups) == pytest.approx(0.075, abs=0.005)
    assert fair_limit(bins_of, groups) == pytest.approx(0.225, abs=0.015)
    with pytest.raises(ValueError, match="figure must be shift_of or bins_of"):
        fair_limit(recall_of, groups)


@pytest.mark.parametrize(
    ("score", "level"),
    [(0.55, "high"), (0.45, "low"), (0.3, "neutral"), (0.6, "neutral")],
)
def test_ends_of_the_expected_ranges(score, level):
    low, high = RANGES[level]
    assert low <= score <= high
    beyond = score + (0.001 if score in (0.45, 0.6) else -0.001)
    assert not low <= beyond <= high
