"""The integer graph again, from its page: Python integers and loops, slow and plain.

An oracle for :mod:`wav2small.export.integer.reference`,
written from ``docs/arithmetic.md`` alone.
Arrays hold Python integers, which have no width that could be too small.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from operator_rows import ROWS

from wav2small.export.integer.front_end.constants import FrontEnd
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.operators.base import Operator
from wav2small.export.integer.operators.concat import Concat
from wav2small.export.integer.operators.convolution import Convolution
from wav2small.export.integer.operators.hard_swish import HardSwish
from wav2small.export.integer.operators.linear import Linear
from wav2small.export.integer.operators.log_mel import LogMel
from wav2small.export.integer.operators.matrix_product import MatrixProduct
from wav2small.export.integer.operators.max_pool import MaxPool
from wav2small.export.integer.operators.mean import Mean
from wav2small.export.integer.operators.product import Product
from wav2small.export.integer.operators.relu import Relu
from wav2small.export.integer.operators.reshape import Reshape
from wav2small.export.integer.operators.softmax_pool import SoftmaxPool
from wav2small.export.integer.operators.sum import Sum
from wav2small.export.integer.operators.table import Table
from wav2small.export.integer.operators.transpose import Transpose
from wav2small.export.integer.rescale import Rescale
from wav2small.export.integer.tensor import Tensor

Array = np.ndarray
"""Array of Python integers."""


def array(values: Any) -> Array:
    """Array of Python integers from any integers."""
    values = np.asarray(values)
    made = np.empty(values.shape, object)
    for place in np.ndindex(values.shape):
        made[place] = int(values[place])
    return made


# -- conventions -------------------------------------------------------------


def round_shift(a: int, n: int) -> int:
    return (a + ((1 << n) >> 1)) >> n


def clamp(a: int, low: int, high: int) -> int:
    return min(max(a, low), high)


def rescale(a: int, by: Rescale, output: int = 0) -> int:
    multiplier = int(np.reshape(by.multiplier, -1)[output])
    shift = int(np.reshape(by.shift, -1)[output])
    return round_shift(round_shift(a, by.before) * multiplier, shift)


def rescale_constants(factor: float, largest: float) -> tuple[int, int, int]:
    """Multiplier, shift and ``before`` of a factor."""
    before = max(0, math.frexp(max(1.0, largest))[1] - 38)
    exact = Fraction(float(factor)) * 2**before
    exponent = 0
    while exact >= Fraction(2) ** exponent:
        exponent += 1
    while exact < Fraction(2) ** (exponent - 1):
        exponent -= 1
    multiplier = exact / Fraction(2) ** exponent * 2**24
    assert multiplier.denominator == 1
    whole, shift = multiplier.numerator, 24 - exponent
    return (whole >> (shift - 62), 62, before) if shift > 62 else (whole, shift, before)


def finish(a: int, by: Rescale, target: Tensor, output: int = 0, bias: int = 0) -> int:
    if target.dtype == "int32":
        return rescale(a, by, output) + bias
    return clamp(rescale(a + bias, by, output) + target.zero_point, -128, 127)


# -- front end ---------------------------------------------------------------

LOG_TABLE = [round(math.log2(1 + i / 256) * 2**20) for i in range(257)]
EXP_TABLE = [round(2 ** (16 - i / 256)) for i in range(257)]


def log2(a: int) -> int:
    exponent = a.bit_length() - 1
    rest = math.floor(Fraction(a * 2**24, 2**exponent)) - 2**24
    place, part = rest >> 16, rest & 65535
    step = LOG_TABLE[place + 1] - LOG_TABLE[place]
    return (exponent << 20) + LOG_TABLE[place] + ((step * part + 32768) >> 16)


Complex = tuple[int, int]


def word(a: int) -> int:
    """The same number, which must fit 32 bits."""
    assert -(2**31) <= a < 2**31
    return a


def turn(z: Complex, j: int, n: int) -> Complex:
    if j == 0:
        return z
    c = round(math.cos(2 * math.pi * j / n) * 2**31)
    s = round(math.sin(2 * math.pi * j / n) * 2**31)
    real = word(upper(z[0] * c) + upper(z[1] * s))
    imaginary = word(upper(z[1] * c) - upper(z[0] * s))
    return word(2 * real), word(2 * imaginary)


def upper(a: int) -> int:
    assert abs(a) < 2**62
    return round_shift(a, 32)


def fft(x: list[int]) -> list[Complex]:
    """Bins 0 to half the length of a split-radix Fourier transform."""
    n = len(x)
    if n == 1:
        return [(x[0], 0)]
    if n == 2:
        return [(word(x[0] + x[1]), 0), (word(x[0] - x[1]), 0)]
    e, p, q = fft(x[0::2]), fft(x[1::4]), fft(x[3::4])
    y: list[Complex] = [(0, 0)] * (n // 2 + 1)
    for k in range(n // 8 + 1):
        if n >= 8 and k == n // 8:
            h = round(math.sqrt(0.5) * 2**31)
            less, more = word(p[k][0] - q[k][0]), word(p[k][0] + q[k][0])
            s, d = (round_shift(less * h, 31), -round_shift(more * h, 31)), None
        else:
            a, b = turn(p[k], k, n), turn(q[k], 3 * k, n)
            s = word(a[0] + b[0]), word(a[1] + b[1])
            d = word(a[0] - b[0]), word(a[1] - b[1])
        y[k] = word(e[k][0] + s[0]), word(e[k][1] + s[1])
        y[n // 2 - k] = word(e[k][0] - s[0]), word(s[1] - e[k][1])
        if d is not None:
            f = e[n // 4 - k]
            y[n // 4 - k] = word(f[0] - d[1]), word(f[1] - d[0])
            y[n // 4 + k] = word(f[0] + d[1]), word(-(f[1] + d[0]))
    return y


def samples(signal: np.ndarray) -> list[int]:
    if signal.dtype == np.int16:
        return [int(sample) for sample in signal]
    return [
        clamp(round(Fraction(float(sample)) * 2**15), -(2**15), 2**15 - 1)
        for sample in signal
    ]


def log_mel(constants: FrontEnd, signal: np.ndarray) -> Array:
    x = samples(signal)
    count = len(x)
    mean, gain = 0, 0
    if constants.power_floor is not None:
        total = sum(x)
        mean = ((total << 12) + count) // (2 * count)
        energy = (count * sum(sample * sample for sample in x) - total * total) << 8
        energy += constants.power_floor * count * count
        gain = log2(energy) - 2 * log2(count) - (38 << 20)
    before, after = constants.padding
    c = [0] * before + [(sample << 11) - mean for sample in x] + [0] * after
    window, mel = constants.window.tolist(), constants.mel.tolist()
    window_length = len(window)
    frames = (len(c) - window_length) // constants.hop_length + 1
    y = np.empty((1, 1, frames, len(mel)), object)
    levels: list[list[int]] = []
    for t in range(frames):
        frame = c[t * constants.hop_length :][:window_length]
        p = [
            word(round_shift(sample * value, 27))
            for sample, value in zip(frame, window, strict=True)
        ]
        loudness = sum(abs(sample) for sample in p)
        e = 30 - loudness.bit_length()
        v = [word(sample << e) if e >= 0 else round_shift(sample, -e) for sample in p]
        v += [0] * (constants.length - window_length)
        power = [real * real + imaginary * imaginary for real, imaginary in fft(v)]
        assert max(power) < 2**61
        levels.append([])
        for weights, log_offset in zip(mel, constants.log_offset.tolist(), strict=True):
            s = sum(
                weight * value for weight, value in zip(weights, power, strict=True)
            )
            level = constants.log_floor
            if s:
                level = max(log2(s) - log_offset - ((2 * e) << 20) - gain, level)
            levels[t].append(level)
        past = 0
        if constants.past_frames is not None:
            frames_heard = levels[max(0, t + 1 - constants.past_frames) :]
            heard = [level for row in frames_heard for level in row]
            past = (2 * sum(heard) + len(heard)) // (2 * len(heard))
        for m, level in enumerate(levels[t]):
            scaled = (level - past) * constants.multiplier + constants.offset
            y[0, 0, t, m] = clamp(round_shift(scaled, constants.shift), -128, 127)
    return y


# -- operators ---------------------------------------------------------------


def _places(length: int, kernel: int, stride: int, pads: int) -> int:
    return (length + pads - kernel) // stride + 1


def _convolution(
    operator: Convolution, sources: list[Tensor], target: Tensor, x: Array
) -> Array:
    weight = operator.weight.tolist()
    outputs, inputs, height, width = operator.weight.shape
    top, left, bottom, right = operator.pads
    down, across = operator.dilations
    tall, wide = down * (height - 1) + 1, across * (width - 1) + 1
    rows = _places(x.shape[2], tall, operator.strides[0], top + bottom)
    columns = _places(x.shape[3], wide, operator.strides[1], left + right)
    y = np.empty((len(x), outputs, rows, columns), object)
    for b, o, i, j in np.ndindex(y.shape):
        first = o // (outputs // operator.groups) * inputs
        total = 0
        for c, u, v in itertools.product(range(inputs), range(height), range(width)):
            row = i * operator.strides[0] + u * down - top
            column = j * operator.strides[1] + v * across - left
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                value = x[b, first + c, row, column] - sources[0].zero_point
                total += weight[o][c][u][v] * value
        bias = int(operator.bias[o])
        y[b, o, i, j] = finish(total, operator.rescale, target, o, bias)
    return y


def _linear(operator: Linear, sources: list[Tensor], target: Tensor, x: Array) -> Array:
    weight = operator.weight.tolist()
    y = np.empty((*x.shape[:-1], len(weight)), object)
    for place in np.ndindex(x.shape[:-1]):
        for o, row in enumerate(weight):
            total = sum(
                w * (x[(*place, i)] - sources[0].zero_point) for i, w in enumerate(row)
            )
            bias = int(operator.bias[o])
            y[(*place, o)] = finish(total, operator.rescale, target, o, bias)
    return y


def _max_pool(
    operator: MaxPool, sources: list[Tensor], target: Tensor, x: Array
) -> Array:
    (height, width), (down, along) = operator.kernel, operator.strides
    top, left, bottom, right = operator.pads
    rows = _places(x.shape[2], height, down, top + bottom)
    columns = _places(x.shape[3], width, along, left + right)
    y = np.empty((*x.shape[:2], rows, columns), object)
    for b, c, i, j in np.ndindex(y.shape):
        y[b, c, i, j] = max(
            x[b, c, row, column]
            for row in range(i * down - top, i * down - top + height)
            for column in range(j * along - left, j * along - left + width)
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]
        )
    return y


def _transpose(
    operator: Transpose, sources: list[Tensor], target: Tensor, x: Array
) -> Array:
    y = np.empty([x.shape[axis] for axis in operator.axes], object)
    for place in np.ndindex(y.shape):
        origin = [0] * x.ndim
        for i, axis in enumerate(operator.axes):
            origin[axis] = place[i]
        y[place] = x[tuple(origin)]
    return y


def _reshape(
    operator: Reshape, sources: list[Tensor], target: Tensor, x: Array
) -> Array:
    flat = [x[place] for place in np.ndindex(x.shape)]
    shape = [size or x.shape[axis] for axis, size in enumerate(operator.shape)]
    if -1 in shape:
        shape[shape.index(-1)] = len(flat) // -math.prod(shape)
    y = np.empty(shape, object)
    for place, value in zip(np.ndindex(*shape), flat, strict=True):
        y[place] = value
    return y


def _each(function: Callable[..., int], *inputs: Array) -> Array:
    """Function of the numbers at the same place, shapes broadcast."""
    together = np.broadcast_arrays(*inputs)
    y = np.empty(together[0].shape, object)
    for place in np.ndindex(y.shape):
        y[place] = function(*(values[place] for values in together))
    return y


def _table(operator: Table, sources: list[Tensor], target: Tensor, x: Array) -> Array:
    return _each(lambda value: int(operator.table[value + 128]), x)


def _hard_swish(
    operator: HardSwish, sources: list[Tensor], target: Tensor, x: Array
) -> Array:
    three = round(3 / Fraction(sources[0].scale))
    return _each(
        lambda value: finish(
            value * clamp(value + three, 0, 2 * three), operator.rescale, target
        ),
        x,
    )


def _relu(operator: Relu, sources: list[Tensor], target: Tensor, x: Array) -> Array:
    return _each(lambda value: max(value, 0), x)


def _sum(
    operator: Sum, sources: list[Tensor], target: Tensor, x1: Array, x2: Array
) -> Array:
    def add(a: int, b: int) -> int:
        total = (a - sources[0].zero_point) * operator.multipliers[0]
        total += (b - sources[1].zero_point) * operator.multipliers[1]
        total = round_shift(total, operator.shift)
        if target.dtype == "int32":
            return total
        return clamp(total + target.zero_point, -128, 127)

    return _each(add, x1, x2)


def _narrowed(
    operator: Product | MatrixProduct,
    sources: list[Tensor],
    *inputs: Array,
) -> list[Array]:
    def narrow(n: int) -> Callable[[int], int]:
        zero_point, bits = sources[n].zero_point, operator.shifts[n]
        return lambda value: round_shift(value - zero_point, bits)

    return [_each(narrow(n), x) for n, x in enumerate(inputs)]


def _product(
    operator: Product, sources: list[Tensor], target: Tensor, x1: Array, x2: Array
) -> Array:
    narrow = _narrowed(operator, sources, x1, x2)
    return _each(lambda a, b: finish(a * b, operator.rescale, target), *narrow)


def _matrix_product(
    operator: MatrixProduct,
    sources: list[Tensor],
    target: Tensor,
    x1: Array,
    x2: Array,
) -> Array:
    a, b = _narrowed(operator, sources, x1, x2)
    outer = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = np.broadcast_to(a, (*outer, *a.shape[-2:]))
    b = np.broadcast_to(b, (*outer, *b.shape[-2:]))
    y = np.empty((*outer, a.shape[-2], b.shape[-1]), object)
    for *place, i, j in np.ndindex(y.shape):
        left, right = a[tuple(place)], b[tuple(place)]
        total = sum(left[i, k] * right[k, j] for k in range(a.shape[-1]))
        y[(*place, i, j)] = finish(total, operator.rescale, target)
    return y


def _mean(operator: Mean, sources: list[Tensor], target: Tensor, x: Array) -> Array:
    kept = [1 if i in operator.axes else size for i, size in enumerate(x.shape)]
    count = math.prod(x.shape[axis] for axis in operator.axes)
    totals = np.full(kept, 0, object)
    for place in np.ndindex(x.shape):
        where = tuple(0 if i in operator.axes else at for i, at in enumerate(place))
        totals[where] += x[place] - sources[0].zero_point
    y = _each(
        lambda total: finish(
            ((total << operator.fraction) + count // 2) // count,
            operator.rescale,
            target,
        ),
        totals,
    )
    left = [size for i, size in enumerate(x.shape) if i not in operator.axes]
    return y if operator.keep else y.reshape(left)


class Pool:
    """Softmax pooling of one place, frame by frame."""

    def __init__(self, decay: int = 0) -> None:
        self.decay = decay
        self.fallen = 0
        self.reference: int | None = None
        self.numerator = self.denominator = 0
        self.largest = 0
        """Largest absolute number that either sum had."""

    def push(self, value: int, logarithm: int) -> None:
        self.fallen += self.decay
        logarithm += self.fallen >> 8
        needed = -((-logarithm) >> 16)
        if self.reference is None:
            self.reference = needed
        if self.denominator > 131070 * 2**16:
            needed = max(needed, self.reference + 1)
        if needed > self.reference:
            drop = min(needed - self.reference, 62)
            self.numerator = round_shift(self.numerator, drop)
            self.denominator = round_shift(self.denominator, drop)
            self.reference = needed
        below = (self.reference << 16) - logarithm
        place, part = (below >> 8) & 255, below & 255
        step = EXP_TABLE[place] - EXP_TABLE[place + 1]
        weight = EXP_TABLE[place] - ((step * part + 128) >> 8)
        weight = round_shift(weight, min(below >> 16, 62))
        self.numerator += weight * value
        self.denominator += weight
        self.largest = max(self.largest, abs(self.numerator), self.denominator)

    def result(self) -> int:
        half = self.denominator // 2
        self.largest = max(self.largest, abs(self.numerator + half))
        return (self.numerator + half) // self.denominator


def _softmax_pool(
    operator: SoftmaxPool,
    sources: list[Tensor],
    target: Tensor,
    value: Array,
    score: Array,
) -> Array:
    value = np.moveaxis(value, operator.axis, -1)
    score = np.moveaxis(score, operator.axis, -1)
    y = np.empty(value.shape[:-1], object)
    for place in np.ndindex(y.shape):
        pool = Pool(operator.decay)
        for v, s in zip(value[place], score[place], strict=True):
            pool.push(v, rescale(s, operator.logarithm))
        y[place] = pool.result()
    return y


def _concat(
    operator: Concat, sources: list[Tensor], target: Tensor, *inputs: Array
) -> Array:
    return np.concatenate(
        [
            _each(lambda value, bits=bits: round_shift(value, bits), x)
            for x, bits in zip(inputs, operator.shifts, strict=True)
        ],
        axis=operator.axis,
    )


_OPERATORS: dict[type[Operator], Callable[..., Array]] = {
    Concat: _concat,
    Convolution: _convolution,
    HardSwish: _hard_swish,
    Linear: _linear,
    MatrixProduct: _matrix_product,
    MaxPool: _max_pool,
    Mean: _mean,
    Product: _product,
    Relu: _relu,
    Reshape: _reshape,
    SoftmaxPool: _softmax_pool,
    Sum: _sum,
    Table: _table,
    Transpose: _transpose,
}


_OPERATORS |= {row.kind: row.oracle for row in ROWS.values() if row.oracle}


def apply(
    operator: Operator, tensors: Mapping[str, Tensor], values: Mapping[str, Array]
) -> Array:
    """Compute one operator from the integers of its inputs."""
    return _OPERATORS[type(operator)](
        operator,
        [tensors[name] for name in operator.inputs],
        tensors[operator.output],
        *(values[name] for name in operator.inputs),
    )


def run(model: IntegerGraph, signal: np.ndarray) -> dict[str, Array]:
    """Compute every tensor of a model for a signal."""
    values: dict[str, Array] = {}
    for operator in model.operators:
        if isinstance(operator, LogMel):
            value = log_mel(operator.front_end, signal)
        else:
            value = apply(operator, model.tensors, values)
        values[operator.output] = value
    return values
