"""The log-mel front end of one hop, step by step as the norm has it."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from ..integer.front_end import fourier
from ..integer.front_end.constants import (
    CENTRED,
    FRACTION,
    WINDOW,
    WINDOWED,
    FrontEnd,
)
from ..integer.front_end.log_mel import LOG_TABLE, LOUDNESS
from .numbers import Integers, Nodes


def to_samples(builder: Nodes, signal: Integers) -> Integers:
    """Return 16-bit samples of a signal in float32, where 1 is full scale."""
    scaled = builder.node("Round", signal * np.float32(2**15))
    low, high = np.float32(-(2**15)), np.float32(2**15 - 1)
    return builder.node("Clip", scaled, low, high).cast(TensorProto.INT64)


def frame_logarithms(builder: Nodes, front: FrontEnd, frame: Integers) -> Integers:
    """Logarithms of the mel powers of a frame ``(window_length,)``: ``(mels,)``."""
    power, exponent = _spectrum(builder, front, frame)
    column = power.reshape([-1, 1])
    low = builder.node("MatMul", front.mel, column % 2**32).reshape([-1])
    high = builder.node("MatMul", front.mel, column // 2**32).reshape([-1])
    high = high + low // 2**32
    low = low % 2**32
    heard = high + low >= 1
    low = builder.where(heard, low, 1)
    logarithm = _log2(builder, high, low) - front.log_offset
    logarithm = logarithm - exponent * (2 << FRACTION)
    floor = front.log_floor
    return builder.where(heard, logarithm.at_least(floor), floor)


def to_int8(front: FrontEnd, logarithms: Integers) -> Integers:
    """Cells of the map."""
    scaled = logarithms * front.multiplier + front.offset
    return scaled.rounded_shift(front.shift).at_least(-128).at_most(127)


def _spectrum(
    builder: Nodes, front: FrontEnd, frame: Integers
) -> tuple[Integers, Integers]:
    """Power of each bin, and the exponent that it was scaled by."""
    length = front.length
    windowed = frame * 2**CENTRED * front.window
    windowed = windowed.rounded_shift(CENTRED + WINDOW - WINDOWED)
    loudness = builder.node("ReduceSum", builder.node("Abs", windowed), [0], keepdims=1)
    exponent = -(builder.bit_length(loudness) - LOUDNESS)
    windowed = windowed * builder.power_of_two(exponent.at_least(0))
    values = windowed.rounded_shift_by((-exponent).at_least(0))
    if front.window_length < length:
        zeros = np.zeros(length - front.window_length, np.int64)
        values = builder.concat([values, zeros], 0)
    values = values.take(fourier.plan(length)[0])
    for stage in fourier.plan(length)[1]:
        values = _join(builder, values, length, stage)
    squares = values * values
    half = length // 2
    # bins 0 and half have no imaginary part
    imaginary = squares.take(np.arange(length - 1, half, -1))
    ends = [np.zeros(1, np.int64)]
    power = squares.take(np.arange(half + 1))
    return power + builder.concat([*ends, imaginary, *ends], 0), exponent


def _join(
    builder: Nodes, values: Integers, length: int, stage: fourier.Joining
) -> Integers:
    """All blocks of one size, as :func:`fourier.transform` joins them."""
    size, starts, places, mirrored, factors = stage
    half, quarter, eighth = size // 2, size // 4, size // 8
    made: list[tuple[np.ndarray, Integers]] = []
    if size == 2:
        first, second = values.take(starts), values.take(starts + 1)
        made += [(starts, first + second), (starts + 1, first - second)]
        return _replaced(builder, values, length, made)
    even = values.take(starts)
    one, three = values.take(starts + half), values.take(starts + half + quarter)
    total = one + three
    made += [
        (starts, even + total),
        (starts + half, even - total),
        (starts + half + quarter, three - one),
    ]
    if eighth:
        real = values.take(starts + eighth)
        imaginary = values.take(starts + half - eighth)
        one = values.take(starts + half + eighth)
        three = values.take(starts + size - eighth)
        total = ((one - three) * fourier.ROOT).rounded_shift(31)
        turned = ((one + three) * fourier.ROOT).rounded_shift(31)
        made += [
            (starts + eighth, real + total),
            (starts + half - eighth, real - total),
            (starts + size - eighth, imaginary - turned),
            (starts + half + eighth, -imaginary - turned),
        ]
    if len(places):
        made += _inner(values, size, places, mirrored, factors[:, :, 0])
    return _replaced(builder, values, length, made)


def _inner(
    values: Integers,
    size: int,
    places: np.ndarray,
    mirrored: np.ndarray,
    factors: np.ndarray,
) -> list[tuple[np.ndarray, Integers]]:
    """Bins k, half - k, quarter - k and quarter + k."""
    half, quarter = size // 2, size // 4
    real, imaginary = values.take(places), values.take(mirrored + half)
    other, below = values.take(mirrored + quarter), values.take(places + quarter)
    a, b = values.take(places + half), values.take(mirrored + half + quarter)
    c, d = values.take(places + half + quarter), values.take(mirrored + size)

    def upper(value: Integers, row: int) -> Integers:
        return (value * factors[row]).rounded_shift(32)

    one_real = (upper(a, 0) + upper(b, 1)) * 2
    one_imaginary = (upper(b, 0) - upper(a, 1)) * 2
    three_real = (upper(c, 2) + upper(d, 3)) * 2
    three_imaginary = (upper(d, 2) - upper(c, 3)) * 2
    total, turned = one_real + three_real, one_imaginary + three_imaginary
    made = [
        (places, real + total),
        (mirrored + half, real - total),
        (mirrored + size, turned + imaginary),
        (places + half, turned - imaginary),
    ]
    total, turned = one_real - three_real, one_imaginary - three_imaginary
    return [
        *made,
        (mirrored + quarter, other - turned),
        (places + quarter, other + turned),
        (places + half + quarter, below - total),
        (mirrored + half + quarter, -below - total),
    ]


def _replaced(
    builder: Nodes,
    values: Integers,
    length: int,
    made: list[tuple[np.ndarray, Integers]],
) -> Integers:
    """Values with new ones at some places, which all are read before."""
    order, place = np.arange(length), length
    for places, _ in made:
        order[places] = np.arange(place, place + len(places))
        place += len(places)
    together = builder.concat([values, *(value for _, value in made)], 0)
    return together.take(order)


def _log2(builder: Nodes, high: Integers, low: Integers) -> Integers:
    """Logarithm of ``high * 2 ** 32 + low`` in steps of ``2 ** -20``."""
    excess = (builder.bit_length(high) - 24).at_least(0)
    scale = builder.power_of_two(excess)
    values = high * (builder.power_of_two(-(excess - 32))) + low // scale
    exponent = builder.bit_length(values) - 1
    down = builder.power_of_two((exponent - 24).at_least(0))
    up = builder.power_of_two((-(exponent - 24)).at_least(0))
    rest = values // down * up
    place, part = rest // 2**16 % 2**8, rest % 2**16
    lower = builder.look_up(LOG_TABLE, place)
    upper = builder.look_up(LOG_TABLE, place + 1)
    mantissa = lower + ((upper - lower) * part).rounded_shift(16)
    return (exponent + excess) * 2**FRACTION + mantissa
