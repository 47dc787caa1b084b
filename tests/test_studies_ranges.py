"""Ranges that clip outliers: against the definition of what each makes least."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranges import activation_ranges

from wav2small.export.base.errors import ExportError
from wav2small.export.quantise import calibrate

MODEL = onnx.parser.parse_model(
    """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, time] signal) => (float[1, time] y) {
        a = Mul(signal, signal)
        y = Log(a)
    }"""
)


def signals(*lengths):
    generator = np.random.default_rng(0)
    return [generator.standard_normal(length).astype(np.float32) for length in lengths]


HISTOGRAM_METHODS = ["percentile", "entropy", "mse"]


def values(kind, seed=0, count=20_000):
    """Many values of some distribution, as one signal."""
    generator = np.random.default_rng(seed)
    drawn = {
        "normal": lambda: generator.standard_normal(count),
        "laplace": lambda: generator.laplace(size=count),
        "uniform": lambda: generator.uniform(-1, 1, count),
        "rectified": lambda: np.maximum(generator.standard_normal(count), 0),
        "negative": lambda: -generator.exponential(size=count),
        "outlier": lambda: np.append(generator.standard_normal(count), 60),
    }
    return drawn[kind]().astype(np.float32)


def quantized(signal, low, high):
    """What int8 makes of a signal, by its definition."""
    low, high = min(low, 0), max(high, 0)
    step = (high - low) / 255
    zero = round(-128 - low / step)
    integers = np.clip(np.rint(signal.astype(float) / step) + zero, -128, 127)
    return (integers - zero) * step


def squared_error(signal, low, high):
    return np.square(quantized(signal, low, high) - signal).mean()


def range_of(signal, method):
    return activation_ranges(MODEL, ["signal"], [signal], method)["signal"]


def test_percentile_leaves_the_same_out_at_either_end():
    signal = values("laplace", count=200_000)
    low, high = range_of(signal, "percentile")
    # 10 values at either end, but for those in the bin of the limit
    assert 5 <= (signal < low).sum() <= 15
    assert 5 <= (signal > high).sum() <= 15


@pytest.mark.parametrize("kind", ["normal", "laplace", "negative", "outlier"])
def test_least_squares_is_near_the_best_of_a_fine_search(kind):
    signal = values(kind)
    extremes = min(signal.min(), 0), max(signal.max(), 0)
    best = min(
        squared_error(signal, extremes[0] * lower, extremes[1] * upper)
        for lower in np.linspace(0.05, 1, 40)
        for upper in np.linspace(0.05, 1, 40)
    )
    found = squared_error(signal, *range_of(signal, "mse"))
    assert found <= 1.1 * best
    assert found <= squared_error(signal, *extremes) * (1 + 1e-6)


def divergence(signal, low, high):
    """Divergence of clipped values from what their levels tell, bin by bin."""
    bins = np.histogram(signal[signal != 0], 2048, (min(signal), max(signal)))
    counts, edges = bins
    step = (high - low) / 255
    levels = {}
    truth = {}
    for index, count in enumerate(counts):
        centre = (edges[index] + edges[index + 1]) / 2
        if low <= centre <= high:
            truth[index] = int(count)
            levels.setdefault(round(centre / step), []).append(index)
    kept = dict(truth)
    truth[min(kept)] += int(counts[: min(kept)].sum())
    truth[max(kept)] += int(counts[max(kept) + 1 :].sum())
    total = 0.0
    for members in levels.values():
        filled = [index for index in members if truth[index]]
        for index in filled:
            told = sum(kept[entry] for entry in filled) / len(filled)
            told = max(told / sum(kept.values()), 1e-9)
            share = truth[index] / counts.sum()
            total += share * np.log(share / told)
    return total


def test_entropy_is_the_least_divergence():
    signal = np.abs(values("laplace"))
    signal[0] = 0  # so that the lowest bin starts there
    low, high = range_of(signal, "entropy")
    assert low == 0 and high < signal.max()
    candidates = signal.max() * 2 ** -np.arange(0, 4.01, 1 / 8)
    losses = [divergence(signal, 0, candidate) for candidate in candidates]
    assert high == pytest.approx(candidates[np.argmin(losses)], rel=1e-6)


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_outlier_is_clipped(method):
    low, high = range_of(values("outlier"), method)
    assert 3 < high < 5 and low < -3


def test_squared_error_of_an_outlier_counts():
    """Clipping 60 to 4 would cost more than all rounding."""
    _, high = range_of(values("outlier"), "mse")
    assert high == 60


@pytest.mark.parametrize("method", HISTOGRAM_METHODS)
def test_even_values_are_hardly_clipped(method):
    low, high = range_of(values("uniform"), method)
    assert low < -0.9 and high > 0.9


@pytest.mark.parametrize("method", HISTOGRAM_METHODS)
def test_zeros_do_not_count(method):
    """However many channels a rectifier silences, the rest keep their range."""
    signal = values("rectified")
    more = np.append(signal, np.zeros(10 * len(signal), np.float32))
    assert range_of(signal, method) == range_of(more, method)


@pytest.mark.parametrize("method", HISTOGRAM_METHODS)
@pytest.mark.parametrize("kind", ["rectified", "negative"])
def test_one_sign_stays_one_sign(method, kind):
    low, high = range_of(values(kind), method)
    zero, other = (low, high) if kind == "rectified" else (high, low)
    assert abs(zero) < 0.01 and abs(other) > 2
    if method != "percentile":
        assert zero == 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-100, 100, width=16), min_size=1, max_size=30),
    st.sampled_from(HISTOGRAM_METHODS),
)
def test_range_lies_within_the_extremes(drawn, method):
    signal = np.array(drawn, np.float32)
    low, high = range_of(signal, method)
    assert min(signal.min(), 0) <= low <= high <= max(signal.max(), 0)
    if signal.any():
        assert low < high


@pytest.mark.parametrize("method", HISTOGRAM_METHODS)
def test_signals_count_together(method):
    signal = values("normal")
    parts = np.split(signal, [100, 5000])
    together = activation_ranges(MODEL, ["a", "signal"], [signal], method)
    assert activation_ranges(MODEL, ["a", "signal"], parts, method) == together


@pytest.mark.parametrize("method", HISTOGRAM_METHODS)
def test_silence_has_no_range(method):
    assert range_of(np.zeros(9, np.float32), method) == (0, 0)


@pytest.mark.parametrize("method", HISTOGRAM_METHODS)
def test_signals_must_be_readable_twice(method):
    with pytest.raises(ExportError, match=f"a sequence for method '{method}', got gen"):
        activation_ranges(MODEL, ["a"], (s for s in signals(5)), method)


def test_unknown_method():
    with pytest.raises(ExportError, match="method must be minmax, percentile, entropy"):
        activation_ranges(MODEL, ["a"], signals(5), "median")


def test_the_product_takes_the_extremes():
    clips = signals(10, 1000)
    wanted = calibrate.activation_ranges(MODEL, ["signal", "a"], clips)
    assert activation_ranges(MODEL, ["signal", "a"], clips, "minmax") == wanted
