"""Agreement measures against audmetric and against properties."""

from __future__ import annotations

import doctest

import audmetric
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav2small import metrics
from wav2small.metrics import (
    bootstrap_interval,
    concordance_cc,
    mean_absolute_error,
    pearson_cc,
)

# multiples of 1/64: no difference is lost to rounding far from the metrics' own
pairs = st.lists(
    st.tuples(st.integers(-256, 256), st.integers(-256, 256)), min_size=2, max_size=50
).map(lambda rows: np.array(rows, dtype=float).T / 64)


@given(pairs)
def test_concordance_equals_audmetric(pair):
    ours, theirs = concordance_cc(*pair), audmetric.concordance_cc(*pair)
    assert ours == pytest.approx(theirs, abs=1e-12, nan_ok=True)


@given(pairs)
def test_pearson_equals_audmetric(pair):
    truth, prediction = pair
    if np.ptp(truth) and np.ptp(prediction):
        theirs = audmetric.pearson_cc(truth, prediction)
        assert pearson_cc(truth, prediction) == pytest.approx(theirs, abs=1e-12)
    else:
        assert np.isnan(pearson_cc(truth, prediction))


@given(pairs)
def test_mean_absolute_error_equals_audmetric(pair):
    theirs = audmetric.mean_absolute_error(*pair)
    assert mean_absolute_error(*pair) == pytest.approx(theirs, abs=1e-12)


@given(pairs, st.floats(0.1, 2), st.floats(-1, 1))
def test_concordance_is_at_most_pearson(pair, scale, shift):
    truth, prediction = pair
    value = concordance_cc(truth, scale * prediction + shift)
    other = pearson_cc(truth, scale * prediction + shift)
    if not np.isnan(value) and not np.isnan(other):
        assert abs(value) <= abs(other) + 1e-9


def test_undefined_is_nan():
    assert np.isnan(concordance_cc([1.0], [1.0]))
    assert np.isnan(concordance_cc([1.0, 1.0], [1.0, 1.0]))
    assert np.isnan(pearson_cc([1.0], [1.0]))
    assert np.isnan(mean_absolute_error([], []))
    low, high = bootstrap_interval(
        concordance_cc, [1.0], [1.0], rng=np.random.default_rng(0)
    )
    assert np.isnan(low)
    assert np.isnan(high)


@pytest.mark.parametrize("metric", [concordance_cc, pearson_cc, mean_absolute_error])
def test_shapes_must_agree(metric):
    with pytest.raises(ValueError, match="shape of truth"):
        metric(np.zeros(3), np.zeros(4))


def test_bootstrap_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        x = rng.normal(size=(60, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])
        low, high = bootstrap_interval(pearson_cc, *x.T, rng=rng, resamples=200)
        covered += low <= 0.6 <= high
    assert 85 <= covered <= 100


def test_bootstrap_is_deterministic_and_narrows():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 2)) @ np.array([[1.0, 0.6], [0.0, 0.8]])

    def interval(rows):
        return bootstrap_interval(
            concordance_cc, *x[:rows].T, rng=np.random.default_rng(0), resamples=200
        )

    assert interval(100) == interval(100)
    assert np.diff(interval(400)) < np.diff(interval(50))


def test_docstrings():
    assert doctest.testmod(metrics).failed == 0
