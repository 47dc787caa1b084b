"""Interpreter of the integer graph in NumPy: the norm of what a model computes.

Every operator of :mod:`wav2small.export.integer.graph` is a function here,
stated for other languages in ``docs/arithmetic.md``.
Code that gives the same integers is right, whatever its speed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnx import ModelProto

from ..base.errors import ExportError
from . import front_end, graph
from .graph import IntegerGraph, Operator, Tensor
from .reader import read
from .rescale import Rescale, shift_right

Rounding = Literal["integer", "float"]
"""How sums become int8: ``integer`` is the norm (see :class:`Rescale`),
``float`` multiplies in float32 and rounds halves to even, as onnxruntime does."""

EXP_TABLE = np.rint(2.0 ** (16 - np.arange(257) / 256)).astype(np.int64)
"""``2 ** (-i / 256)`` in steps of ``2 ** -16``."""

MOST_FRAMES = 2**17 - 1
"""Frames that softmax pooling can add up in 64 bits."""


class ReferenceModel:
    """A model in integers, one signal at a time.

    Shape:
        signals: sequence of ``(time,)``, int16, or float where 1 is full scale
        scores: ``(signals, scores)``, float32

    """

    def __init__(
        self,
        source: IntegerGraph | ModelProto | bytes | str | Path,
        rounding: Rounding = "integer",
    ) -> None:
        self.graph = source if isinstance(source, IntegerGraph) else read(source)
        self.rounding: Rounding = rounding

    def run(self, signal: np.ndarray) -> dict[str, np.ndarray]:
        """Compute every tensor for a signal.

        Args:
            signal: ``(time,)``, int16, or float where 1 is full scale

        Returns:
            integers of each tensor by its name, int8 or int64

        Raises:
            ExportError: if the signal is too short or too long

        """
        values: dict[str, np.ndarray] = {}
        for operator in self.graph.operators:
            if isinstance(operator, graph.LogMel):
                value = front_end.log_mel(operator.front_end, signal)
            else:
                value = self.apply(operator, values)
            values[operator.output] = value
        return values

    def apply(self, operator: Operator, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Compute one operator from the integers of its inputs."""
        tensors = self.graph.tensors
        sources = [tensors[name] for name in operator.inputs]
        target = tensors[operator.output]
        step = _Step(sources, target, self.rounding)
        inputs = [values[name] for name in operator.inputs]
        try:
            return _compute(operator, step, *inputs)
        except ExportError:
            raise
        except ValueError as error:  # lengths that depend on the signal's
            shapes = ", ".join(str(value.shape) for value in inputs)
            raise ExportError(
                f"shapes must fit, got {shapes} for {self.graph.label(operator)}: "
                "give a signal of the length that the model was made for"
            ) from error

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals."""
        output = self.graph.tensors[self.graph.output]
        zero_point = np.int64(output.zero_point)
        return np.stack(
            [
                ((self.run(signal)[output.name] - zero_point) * output.scale)
                .reshape(-1)
                .astype(np.float32)
                for signal in signals
            ]
        )


class _Step:
    """Scales and rounding of one operator."""

    def __init__(self, sources: list[Tensor], target: Tensor, rounding: Rounding):
        self.sources = sources
        self.target = target
        self.rounding = rounding

    def centred(self, value: np.ndarray, position: int = 0) -> np.ndarray:
        """Integers of an input less its zero point."""
        return value.astype(np.int64) - self.sources[position].zero_point

    def narrowed(
        self, values: tuple[np.ndarray, ...], shifts: tuple[int, ...]
    ) -> list[np.ndarray]:
        """Centred inputs with fewer bits."""
        return [
            shift_right(self.centred(value, position), shifts[position])
            for position, value in enumerate(values)
        ]

    def finish(
        self, sums: np.ndarray, rescale: Rescale, bias: np.ndarray | int = 0
    ) -> np.ndarray:
        """Integers of the output from sums whose last axis is the factor's."""
        if self.target.dtype == "int32":
            return rescale(sums) + bias
        sums = sums + bias
        if self.rounding == "integer":
            return self.saturate(rescale(sums))
        product = sums.astype(np.float32) * rescale.factor
        return self.saturate(np.rint(product).astype(np.int64))

    def saturate(self, integers: np.ndarray) -> np.ndarray:
        """Add the output's zero point and keep to int8."""
        return np.clip(integers + self.target.zero_point, -128, 127).astype(np.int8)


@singledispatch
def _compute(operator: Operator, step: _Step, *inputs: np.ndarray) -> np.ndarray:
    raise TypeError(f"operator must be known, got {type(operator).__name__}")


def _windows(
    x: np.ndarray,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    border: int,
) -> np.ndarray:
    """Windows ``(batch, channels, height, width, *kernel)`` of a padded map."""
    top, left, bottom, right = pads
    x = np.pad(
        x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=border
    )
    if x.shape[2] < kernel[0] or x.shape[3] < kernel[1]:
        raise ExportError(
            f"map must be at least {kernel}, got {x.shape[2:]}: give a longer signal"
        )
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    return windows[:, :, :: strides[0], :: strides[1]]


@_compute.register
def _(operator: graph.Convolution, step: _Step, x: np.ndarray) -> np.ndarray:
    outputs, _, height, width = operator.weight.shape
    groups = operator.groups
    # Integers that stay exact in floating point, which multiplies faster.
    dtype = _exact_float(operator.weight)
    top, left, bottom, right = operator.pads
    padded = np.pad(
        step.centred(x).astype(dtype), ((0, 0), (0, 0), (top, bottom), (left, right))
    )
    down, across = operator.dilations
    rows = _places(padded.shape[2], down * (height - 1) + 1, operator.strides[0])
    columns = _places(padded.shape[3], across * (width - 1) + 1, operator.strides[1])
    batch = len(x)
    padded = padded.reshape(batch, groups, -1, *padded.shape[2:])
    padded = np.ascontiguousarray(padded.transpose(1, 0, 3, 4, 2))
    weight = operator.weight.astype(dtype).reshape(
        groups, outputs // groups, -1, height, width
    )
    shape = (groups, batch, len(rows), len(columns), outputs // groups)
    sums = np.zeros(shape, dtype)
    for row in range(height):
        for column in range(width):
            part = padded[
                :,
                :,
                down * row : down * row + rows.stop : rows.step,
                across * column : across * column + columns.stop : columns.step,
            ]
            taps = weight[..., row, column].transpose(0, 2, 1)
            if groups == 1:
                sums += part @ taps[:, None, None]
            else:
                sums += np.einsum("gbhwi,gio->gbhwo", part, taps)
    sums = sums.transpose(1, 2, 3, 0, 4).reshape(*shape[1:4], outputs)
    result = step.finish(sums.astype(np.int64), operator.rescale, operator.bias)
    return result.transpose(0, 3, 1, 2)


def _exact_float(weight: np.ndarray) -> np.dtype[Any]:
    """Float type that holds every sum of int8 inputs times these weights exactly."""
    rows = np.abs(weight.reshape(len(weight), -1).astype(np.int64)).sum(axis=1)
    return np.dtype(np.float32 if 255 * rows.max(initial=0) < 2**24 else np.float64)


def _places(length: int, kernel: int, stride: int) -> range:
    """Where the window of a convolution may begin."""
    if length < kernel:
        raise ExportError(
            f"map must have at least {kernel} rows and columns, got {length}: "
            "give a longer signal"
        )
    return range(0, length - kernel + 1, stride)


@_compute.register
def _(operator: graph.Linear, step: _Step, x: np.ndarray) -> np.ndarray:
    weight = operator.weight.T
    centred = step.centred(x)
    if step.sources[0].dtype == "int8":
        dtype = _exact_float(operator.weight)
        sums = (centred.astype(dtype) @ weight.astype(dtype)).astype(np.int64)
    else:
        sums = centred @ weight.astype(np.int64)
    return step.finish(sums, operator.rescale, operator.bias)


@_compute.register
def _(operator: graph.MaxPool, step: _Step, x: np.ndarray) -> np.ndarray:
    windows = _windows(x, operator.kernel, operator.strides, operator.pads, -128)
    return windows.max(axis=(4, 5))


@_compute.register
def _(operator: graph.Transpose, step: _Step, x: np.ndarray) -> np.ndarray:
    return x.transpose(operator.axes)


@_compute.register
def _(operator: graph.Reshape, step: _Step, x: np.ndarray) -> np.ndarray:
    return x.reshape(
        [size or x.shape[axis] for axis, size in enumerate(operator.shape)]
    )


@_compute.register
def _(operator: graph.Table, step: _Step, x: np.ndarray) -> np.ndarray:
    values = operator.table[x.astype(np.int64) + 128]
    return values.astype(np.int8 if step.target.dtype == "int8" else np.int64)


@_compute.register
def _(operator: graph.HardSwish, step: _Step, x: np.ndarray) -> np.ndarray:
    three = round(3 / step.sources[0].scale)
    return step.finish(x * np.clip(x + three, 0, 2 * three), operator.rescale)


@_compute.register
def _(operator: graph.Relu, step: _Step, x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


@_compute.register
def _(operator: graph.Sum, step: _Step, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    left, right = operator.multipliers
    centred = step.centred(a, 0), step.centred(b, 1)
    if step.target.dtype == "int8" and step.rounding == "float":
        real = sum(
            value.astype(np.float32) * np.float32(source.scale)
            for value, source in zip(centred, step.sources, strict=True)
        )
        scaled = np.rint(real / np.float32(step.target.scale))
        return step.saturate(np.clip(scaled, -512, 512).astype(np.int64))
    total = shift_right(centred[0] * left + centred[1] * right, operator.shift)
    return step.saturate(total) if step.target.dtype == "int8" else total


@_compute.register
def _(operator: graph.Product, step: _Step, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    left, right = step.narrowed((a, b), operator.shifts)
    return step.finish(left * right, operator.rescale)


@_compute.register
def _(
    operator: graph.MatrixProduct, step: _Step, a: np.ndarray, b: np.ndarray
) -> np.ndarray:
    left, right = step.narrowed((a, b), operator.shifts)
    return step.finish(left @ right, operator.rescale)


@_compute.register
def _(operator: graph.Concat, step: _Step, *inputs: np.ndarray) -> np.ndarray:
    shifted = [
        shift_right(value, bits)
        for value, bits in zip(inputs, operator.shifts, strict=True)
    ]
    return np.concatenate(shifted, axis=operator.axis)


@_compute.register
def _(operator: graph.Mean, step: _Step, x: np.ndarray) -> np.ndarray:
    centred = step.centred(x)
    count = int(np.prod([x.shape[axis] for axis in operator.axes]))
    total = centred.sum(axis=operator.axes, keepdims=operator.keep)
    mean = ((total << operator.fraction) + count // 2) // count
    return step.finish(mean, operator.rescale)


@_compute.register
def _(
    operator: graph.SoftmaxPool, step: _Step, value: np.ndarray, score: np.ndarray
) -> np.ndarray:
    value = np.moveaxis(value, operator.axis, 0)
    score = np.moveaxis(operator.logarithm(score), operator.axis, 0)
    if len(score) > MOST_FRAMES:
        raise ExportError(
            f"signal must have at most {MOST_FRAMES} frames to pool, got "
            f"{len(score)}: cut it"
        )
    pool = PoolState(value.shape[1:])
    pool.push(value, score)
    return pool.result()


class PoolState:
    """Softmax pooling as frames come in.

    The running reference of the weights is a whole power of two,
    so that a new one is a shift.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.started = False
        self.reference = np.zeros(shape, np.int64)
        self.numerator = np.zeros(shape, np.int64)
        self.denominator = np.zeros(shape, np.int64)

    def push(self, values: np.ndarray, logarithms: np.ndarray) -> None:
        """Add frames; one at a time or all at once, the result is the same.

        Args:
            values: integers to be averaged, ``(frames, ...)``
            logarithms: logarithm to base 2 of their weights,
                in steps of ``2 ** -16``, same shape

        """
        needed = -((-logarithms) >> 16)
        if self.started:
            needed[0] = np.maximum(needed[0], self.reference)
        else:
            self.reference = needed[0].copy()
            self.started = True
        needed = np.maximum.accumulate(needed, axis=0)
        below = (needed << 16) - logarithms
        place, part = (below >> 8) & 0xFF, below & 0xFF
        high, low = EXP_TABLE[place], EXP_TABLE[place + 1]
        weights = high - (((high - low) * part + 2**7) >> 8)
        weights = shift_right(weights, np.minimum(below >> 16, 62))
        # frames from one new reference to the next are added up together
        steps = np.diff(needed, axis=0, prepend=self.reference[None])
        changes = np.flatnonzero(steps.reshape(len(steps), -1).any(axis=1))
        bounds = sorted({0, *changes.tolist(), len(steps)})
        for start, stop in itertools.pairwise(bounds):
            drop = np.minimum(steps[start], 62)
            self.numerator = shift_right(self.numerator, drop)
            self.denominator = shift_right(self.denominator, drop)
            weight = weights[start:stop]
            self.numerator += (weight * values[start:stop]).sum(axis=0)
            self.denominator += weight.sum(axis=0)
        self.reference = needed[-1]

    def result(self) -> np.ndarray:
        """Weighted mean of the frames so far."""
        half = self.denominator // 2
        return (self.numerator + half) // self.denominator
