"""Ranges of tensors, measured by running a model on signals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ..base.errors import ExportError
from ..model import topology

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


def cut(signals: Iterable[np.ndarray], window: int) -> Iterator[np.ndarray]:
    """Cut signals into windows that do not overlap.

    Args:
        signals: signals, each of shape ``(samples,)``
        window: length of a window in samples

    Yields:
        arrays of shape ``(window,)``;
        the rest of a signal is left out,
        a signal shorter than one window is padded with zeros

    """
    for signal in signals:
        if len(signal) < window:
            yield np.pad(signal, (0, window - len(signal)))
        for start in range(0, len(signal) - window + 1, window):
            yield signal[start : start + window]


def checked_signals(signals: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Pass signals on that a model can take.

    Raises:
        ExportError: if one is not a finite float signal with one axis,
            or there is none

    """
    index = -1
    for index, signal in enumerate(signals):
        signal = np.asarray(signal)
        if signal.ndim != 1 or signal.dtype.kind != "f" or not signal.size:
            raise ExportError(
                f"signals must be float arrays of shape (samples,), got "
                f"{signal.dtype} {signal.shape} at index {index}: "
                "load them as mono float32"
            )
        if not np.isfinite(signal).all():
            raise ExportError(
                f"signals must be finite, got NaN or Inf at index {index}: "
                "leave that signal out"
            )
        yield signal.astype(np.float32)
    if index < 0:
        raise ExportError("signals must be at least one, got none: give some audio")


def run_over(
    model: ModelProto,
    signals: Iterable[np.ndarray],
    execution: Literal["default", "exact"] = "default",
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Run a model over signals, one at a time.

    Args:
        model: model with one input ``(1, time)``
        signals: signals, each of shape ``(samples,)``
        execution: see :func:`wav2small.export.model.topology.session`

    Yields:
        each signal, float32, and the model's outputs for it

    Raises:
        ExportError: if a signal cannot be used

    """
    session = topology.session(model, execution)
    (source,) = model.graph.input
    names = [value.name for value in model.graph.output]
    for index, signal in enumerate(checked_signals(signals)):
        try:
            # onnxruntime refuses to run for nothing
            outputs = session.run(names, {source.name: signal[None]}) if names else []
        except Exception as error:  # onnxruntime's have no common base class
            raise ExportError(
                f"signals must fit the model, got {signal.shape} at index {index} "
                f"and {topology.one_line(error)}: cut or lengthen them"
            ) from error
        yield signal, outputs


def activation_ranges(
    model: ModelProto,
    tensors: Sequence[str],
    signals: Iterable[np.ndarray],
    method: Method = "minmax",
) -> dict[str, tuple[float, float]]:
    """Measure the range of each tensor that its 256 levels shall span.

    Memory is bounded by the longest signal.
    ``minmax`` takes the extremes inside the graph
    and reads the signals once, so they may come from a generator;
    the other methods fill histograms of 2048 bins between the extremes
    and read the signals twice.

    ``entropy`` and ``mse`` try shares of either end down to 1/16,
    in all combinations where a tensor has values of both signs.
    What lies outside the range that they choose saturates.

    Args:
        model: float model with one input ``(1, time)``
        tensors: names of float tensors in it
        signals: signals, each of shape ``(samples,)``;
            see :func:`cut` for a model with a fixed window
        method: how the range is chosen

    Returns:
        low and high end of each tensor, in its own unit;
        the range holds 0 but for ``minmax`` and ``percentile``

    Raises:
        ExportError: if a signal cannot be used,
            a tensor is not finite,
            or signals cannot be read twice

    References:
        Migacz 2017, 8-bit Inference with TensorRT, GTC (the divergence)

    """
    if method not in get_args(Method):
        raise ExportError(
            f"method must be {', '.join(get_args(Method))}, got '{method}': "
            "choose one of them"
        )
    if method == "minmax":
        return _extremes(model, tensors, signals)
    if isinstance(signals, Iterator):
        raise ExportError(
            f"signals must be a sequence for method '{method}', got "
            f"{type(signals).__name__}: they are read twice, make a list of them"
        )
    # every scale has 0 among its values
    ends = {
        tensor: (min(low, 0.0), max(high, 0.0))
        for tensor, (low, high) in _extremes(model, tensors, signals).items()
    }
    ranges = dict(ends)
    for tensor, counts in _histograms(model, ends, signals).items():
        if method == "percentile":
            ranges[tensor] = _percentile(counts, *ends[tensor])
        else:
            ranges[tensor] = _least_loss(counts, *ends[tensor], method)
    return ranges


def _probe(
    model: ModelProto, tensors: Iterable[str], operators: Sequence[str]
) -> ModelProto:
    """Give a model the outputs of operators on its tensors, and no others."""
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for index, tensor in enumerate(tensors):
        for operator in operators:
            name = f"calibration/{operator}/{index}"
            node = helper.make_node(operator, [tensor], [name])
            if operator != "Identity":
                node.attribute.append(helper.make_attribute("keepdims", 0))
            probe.graph.node.append(node)
            probe.graph.output.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            )
    return probe


def _extremes(
    model: ModelProto, tensors: Sequence[str], signals: Iterable[np.ndarray]
) -> dict[str, tuple[float, float]]:
    low = np.full(len(tensors), np.inf)
    high = np.full(len(tensors), -np.inf)
    probe = _probe(model, tensors, ("ReduceMin", "ReduceMax"))
    for _, outputs in run_over(probe, signals):
        # np.minimum hands NaN on, min() may drop it
        low = np.minimum(low, outputs[0::2])
        high = np.maximum(high, outputs[1::2])
    for tensor, smallest, largest in zip(tensors, low, high, strict=True):
        if not (np.isfinite(smallest) and np.isfinite(largest)):
            raise ExportError(
                f"activations must be finite, got {smallest} to {largest} for tensor "
                f"'{tensor}': check the weights and the signals"
            )
    return {
        tensor: (float(smallest), float(largest))
        for tensor, smallest, largest in zip(tensors, low, high, strict=True)
    }


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
    for _, outputs in run_over(_probe(model, counts, ("Identity",)), signals):
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
