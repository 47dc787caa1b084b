"""Ranges of tensors, measured by running a model on signals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ..base.errors import ExportError, one_line
from ..model import topology


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
            # onnxruntime refuses to run when no output is asked for
            outputs = session.run(names, {source.name: signal[None]}) if names else []
        except Exception as error:  # onnxruntime's have no common base class
            raise ExportError(
                f"signals must fit the model, got {signal.shape} at index {index} "
                f"and {one_line(error)}: cut or lengthen them"
            ) from error
        yield signal, outputs


def activation_ranges(
    model: ModelProto, tensors: Sequence[str], signals: Iterable[np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Measure the range of each tensor that its 256 levels shall span.

    A range reaches from the least to the largest value.
    Ways that clip outliers were measured and lose to it.
    The extremes are found inside the graph,
    so memory is bounded by the longest signal.

    Args:
        model: float model with one input ``(1, time)``
        tensors: names of float tensors in it
        signals: signals, each of shape ``(samples,)``, read once;
            see :func:`cut` for a model with a fixed window

    Returns:
        low and high end of each tensor, in its own unit

    Raises:
        ExportError: if a signal cannot be used
            or a tensor is not finite

    """
    low = np.full(len(tensors), np.inf)
    high = np.full(len(tensors), -np.inf)
    for _, outputs in run_over(_with_extremes(model, tensors), signals):
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


def _with_extremes(model: ModelProto, tensors: Sequence[str]) -> ModelProto:
    """Give a model the extremes of its tensors as its only outputs."""
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for index, tensor in enumerate(tensors):
        for operator in ("ReduceMin", "ReduceMax"):
            name = f"calibration/{operator}/{index}"
            node = helper.make_node(operator, [tensor], [name], keepdims=0)
            probe.graph.node.append(node)
            probe.graph.output.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            )
    return probe
