"""Fourier transform of real numbers, in integers.

References:
    Sorensen, Jones, Heideman, Burrus 1987,
    Real-valued fast Fourier transform algorithms,
    IEEE Transactions on Acoustics, Speech, and Signal Processing 35(6), 849-863.

"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

LENGTHS = tuple(2**bits for bits in range(3, 11))
"""Lengths that a Fourier transform may have, in samples."""

_TWIDDLE = 31
"""Bits of a twiddle factor after the point."""

ROOT = round(2**_TWIDDLE * math.sqrt(0.5))
"""Root of one half."""


def twiddles(length: int) -> np.ndarray:
    """Cosines and sines of a Fourier transform.

    Args:
        length: of the transform in samples, one of :data:`LENGTHS`

    Returns:
        ``(4, length / 8 - 1)``, int64, 1 is ``2 ** 31``:
        cosine, sine of one and cosine, sine of three times the angle
        ``2 * pi * k / length`` for ``k = 1 .. length / 8 - 1``;
        the transforms of shorter blocks take every second, fourth, ... of them

    """
    angle = 2 * np.pi / length * np.arange(1, length // 8)
    rows = [np.cos(angle), np.sin(angle), np.cos(3 * angle), np.sin(3 * angle)]
    return np.rint(np.stack(rows) * 2**_TWIDDLE).astype(np.int64)


def count_blocks(count: int) -> int:
    """Count the blocks of one size, of so many, that are transformed."""
    return len(_blocks(count))


def _blocks(count: int) -> np.ndarray:
    """Blocks of one size, of so many, that are transformed.

    A block is made of one of half its size and two of a quarter,
    so that of the blocks of its size
    those count whose number ends in an even number of ones.
    """
    numbers = np.arange(count)
    rest = numbers.copy()
    while (pair := rest & 3 == 3).any():
        rest[pair] >>= 2
    return numbers[rest & 1 == 0]


class Joining(NamedTuple):
    """What is done to all blocks of one size."""

    size: int
    starts: np.ndarray
    """Where its blocks begin, ``(blocks,)``."""

    places: np.ndarray
    """Starts plus ``k = 1 .. size / 8 - 1``, ``(blocks * k,)``."""

    mirrored: np.ndarray
    """Starts less the same."""

    twiddles: np.ndarray
    """Factors of each of those, ``(4, blocks * k, 1)``."""


@cache
def plan(length: int) -> tuple[np.ndarray, tuple[Joining, ...]]:
    """Order of the samples and the stages of a transform."""
    order = np.zeros(1, np.int64)
    while len(order) < length:
        order = np.concatenate([2 * order, 2 * order + 1])
    stages = []
    for size in (2**bits for bits in range(1, length.bit_length())):
        starts = size * _blocks(length // size)
        steps = np.arange(1, size // 8)
        factors = twiddles(length)[:, length // size * steps - 1]
        stages.append(
            Joining(
                size,
                starts,
                (starts[:, None] + steps).reshape(-1),
                (starts[:, None] - steps).reshape(-1),
                np.tile(factors, len(starts))[:, :, None],
            )
        )
    return order, tuple(stages)


def transform(values: np.ndarray) -> None:
    """Fourier transform of real numbers, in place.

    Args:
        values: ``(length, frames)``, int64, in the order of :func:`plan`;
            afterwards the real parts of bins 0 up to ``length / 2``,
            then the imaginary parts of bins ``length / 2 - 1`` down to 1

    """
    for size, starts, places, mirrored, factors in plan(len(values))[1]:
        half, quarter, eighth = size // 2, size // 4, size // 8
        if size == 2:
            first, second = values[starts], values[starts + 1]
            values[starts], values[starts + 1] = first + second, first - second
            continue
        # bins 0, quarter and half
        even = values[starts]
        one, three = values[starts + half], values[starts + half + quarter]
        total = one + three
        values[starts], values[starts + half] = even + total, even - total
        values[starts + half + quarter] = three - one
        if not eighth:
            continue
        # bins eighth and half - eighth
        real, imaginary = values[starts + eighth], values[starts + half - eighth]
        one, three = values[starts + half + eighth], values[starts + size - eighth]
        total = _scaled((one - three) * ROOT)
        turned = _scaled((one + three) * ROOT)
        values[starts + eighth], values[starts + half - eighth] = (
            real + total,
            real - total,
        )
        values[starts + size - eighth] = imaginary - turned
        values[starts + half + eighth] = -imaginary - turned
        if not len(places):
            continue
        # bins k, half - k, quarter - k and quarter + k
        real, imaginary = values[places], values[mirrored + half]
        other, below = values[mirrored + quarter], values[places + quarter]
        a, b = values[places + half], values[mirrored + half + quarter]
        c, d = values[places + half + quarter], values[mirrored + size]
        one_real = 2 * (_upper(a * factors[0]) + _upper(b * factors[1]))
        one_imaginary = 2 * (_upper(b * factors[0]) - _upper(a * factors[1]))
        three_real = 2 * (_upper(c * factors[2]) + _upper(d * factors[3]))
        three_imaginary = 2 * (_upper(d * factors[2]) - _upper(c * factors[3]))
        total, turned = one_real + three_real, one_imaginary + three_imaginary
        values[places], values[mirrored + half] = real + total, real - total
        values[mirrored + size], values[places + half] = (
            turned + imaginary,
            turned - imaginary,
        )
        total, turned = one_real - three_real, one_imaginary - three_imaginary
        values[mirrored + quarter], values[places + quarter] = (
            other - turned,
            other + turned,
        )
        values[places + half + quarter], values[mirrored + half + quarter] = (
            below - total,
            -below - total,
        )


def _scaled(products: np.ndarray) -> np.ndarray:
    return (products + 2 ** (_TWIDDLE - 1)) >> _TWIDDLE


def _upper(products: np.ndarray) -> np.ndarray:
    """Upper words of products, rounded."""
    return (products + 2**31) >> 32
