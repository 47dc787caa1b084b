"""Ways of choosing ranges that clip outliers, for comparison with the extremes.

The product measures from the least to the largest value
(:func:`wav2small.export.quantise.calibrate.activation_ranges`):
see docs/lab/export.md for what these ways cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from onnx import ModelProto, TensorProto, helper

from wav2small.export.base.errors import ExportError
from wav2small.export.quantise import calibrate
from wav2small.export.quantise.calibrate import run_over

Method = Literal["minmax", "percentile", "entropy", "mse"]
"""How a range is chosen:
from extreme to extreme,
around all but one value of 10,000 that are not 0,
with the least divergence of the values' distribution from its 256 levels,
or with the least squared error of rounding and clipping."""

_BINS = 2048
_LEVELS = 256
_OUTSIDE = 1e-4
_SHARES = np.geomspace(1, 1 / 16, 33)
"""Shares of either end that are tried, the widest first."""


def activation_ranges(
    model: ModelProto,
    tensors: Sequence[str],
    signals: Iterable[np.ndarray],
    method: Method,
) -> dict[str, tuple[float, float]]:
    """Measure the range of each tensor that its 256 levels shall span.

    ``minmax`` is what the product does.
    The other methods fill histograms of 2048 bins between the extremes
    and read the signals twice.

    ``entropy`` and ``mse`` try shares of either end down to 1/16,
    in all combinations where a tensor has values of both signs.
    What lies outside the range that they choose saturates.

    Args:
        model: float model with one input ``(1, time)``
        tensors: names of float tensors in it
        signals: signals, each of shape ``(samples,)``
        method: how the range is chosen

    Returns:
        low and high end of each tensor, in its own unit;
        the range holds 0 but for ``minmax`` and ``percentile``

    Raises:
        ExportError: if signals cannot be read twice

    References:
        Migacz 2017, 8-bit Inference with TensorRT, GTC (the divergence)

    """
    if method not in get_args(Method):
        raise ExportError(
            f"method must be {', '.join(get_args(Method))}, got '{method}': "
            "choose one of them"
        )
    if method != "minmax" and isinstance(signals, Iterator):
        raise ExportError(
            f"signals must be a sequence for method '{method}', got "
            f"{type(signals).__name__}: they are read twice, make a list of them"
        )
    extremes = calibrate.activation_ranges(model, tensors, signals)
    if method == "minmax":
        return extremes
    # every scale has 0 among its values
    ends = {
        tensor: (min(low, 0.0), max(high, 0.0))
        for tensor, (low, high) in extremes.items()
    }
    ranges = dict(ends)
    for tensor, counts in _histograms(model, ends, signals).items():
        if method == "percentile":
            ranges[tensor] = _percentile(counts, *ends[tensor])
        else:
            ranges[tensor] = _least_loss(counts, *ends[tensor], method)
    return ranges


def _with_outputs(model: ModelProto, tensors: Iterable[str]) -> ModelProto:
    """Give a model its tensors as its only outputs."""
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for index, tensor in enumerate(tensors):
        # the input of a model cannot be its output under the same name
        name = f"histogram/{index}"
        probe.graph.node.append(helper.make_node("Identity", [tensor], [name]))
        probe.graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        )
    return probe


def _histograms(
    model: ModelProto,
    ends: Mapping[str, tuple[float, float]],
    signals: Iterable[np.ndarray],
) -> dict[str, np.ndarray]:
    """Count values in equal bins from end to end, of tensors that are not all 0.

    Zeros are not counted: every scale has a level for them,
    and after a rectifier they are so many that ranges would shrink around them.
    """
    counts = {
        tensor: np.zeros(_BINS, np.int64)
        for tensor, (low, high) in ends.items()
        if low < high
    }
    for _, outputs in run_over(_with_outputs(model, counts), signals):
        for (tensor, bins), values in zip(counts.items(), outputs, strict=True):
            low, high = ends[tensor]
            place = (values[values != 0] - low) * (_BINS / (high - low))
            # the highest value belongs into the last bin
            place = np.clip(place, 0, _BINS - 1).astype(np.int32)
            bins += np.bincount(place, minlength=_BINS)
    return counts


def _percentile(counts: np.ndarray, low: float, high: float) -> tuple[float, float]:
    below = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
    edges = np.linspace(low, high, _BINS + 1)
    lower, upper = np.interp([_OUTSIDE / 2, 1 - _OUTSIDE / 2], below, edges)
    return float(lower), float(upper)


def _least_loss(
    counts: np.ndarray, low: float, high: float, method: Literal["entropy", "mse"]
) -> tuple[float, float]:
    """Try shares of both ends, those of the high end all at once."""
    edges = np.linspace(low, high, _BINS + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    best = (np.inf, low, high)
    uppers = high * _SHARES if high > 0 else np.zeros(1)
    for lower in low * _SHARES if low < 0 else np.zeros(1):
        step = (uppers[:, None] - lower) / (_LEVELS - 1)
        zero = np.rint(-lower / step)
        levels = np.clip(np.rint(centres / step) + zero, 0, _LEVELS - 1)
        if method == "mse":
            losses = np.square((levels - zero) * step - centres) @ counts
        else:
            inside = (centres >= lower) & (centres <= uppers[:, None])
            losses = _divergence(counts, levels.astype(np.int64), inside)
        place = int(np.argmin(losses))
        if losses[place] < best[0]:
            best = float(losses[place]), float(lower), float(uppers[place])
    return best[1:]


def _divergence(
    counts: np.ndarray, levels: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Kullback-Leibler divergence of clipped values from what levels tell of them.

    What is clipped counts in the outermost bins of the one distribution
    and is not there in the other, in which
    the values of a level are spread evenly over its bins that are not empty.

    Args:
        counts: values per bin, shape ``(bins,)``
        levels: level of each bin, shape ``(candidates, bins)``
        inside: whether a bin is not clipped, shape ``(candidates, bins)``

    """
    candidates = np.arange(len(levels))
    kept = counts * inside
    first = inside.argmax(axis=1)
    last = inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)
    clipped = kept.astype(np.float64)
    below = np.concatenate([[0], np.cumsum(counts)])
    clipped[candidates, first] += below[first]
    clipped[candidates, last] += below[-1] - below[last + 1]
    filled = clipped > 0
    place = levels + candidates[:, None] * _LEVELS
    length = len(levels) * _LEVELS
    mass = np.bincount(place[filled], kept[filled], length)
    bins = np.bincount(place[filled], None, length)
    spread = (mass / np.maximum(bins, 1))[place]
    truth = clipped / counts.sum()
    # a level that lost all of its values must cost much, but not everything
    told = np.maximum(spread / kept.sum(axis=1, keepdims=True).clip(1), 1e-9)
    terms = np.zeros_like(truth)
    terms[filled] = truth[filled] * np.log(truth[filled] / told[filled])
    return terms.sum(axis=1)
