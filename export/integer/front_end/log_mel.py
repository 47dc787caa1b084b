"""Integer log-mel front end: from 16-bit samples to the int8 map of a model.

The float graph before the first QuantizeLinear is recognised by its operators
and turned into integer constants;
:func:`log_mel` is the arithmetic, step by step.
The graph's convolutions with windowed cosines and sines
become a window and a fast Fourier transform.

References:
    Sorensen, Jones, Heideman, Burrus 1987,
    Real-valued fast Fourier transform algorithms,
    IEEE Transactions on Acoustics, Speech, and Signal Processing 35(6), 849-863.

"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple, NoReturn

import numpy as np
from onnx import ModelProto, NodeProto, helper

from ..base.errors import ExportError
from ..model import topology
from ..model.topology import Topology
from .rescale import shift_right

FRACTION = 20
"""Bits of a logarithm to base 2 after the point."""

CENTRED = 11
"""Bits of a sample after the point once the mean is removed."""

LENGTHS = tuple(2**bits for bits in range(3, 11))
"""Lengths that a Fourier transform may have, in samples."""

LOG_TABLE = np.rint(np.log2(1 + np.arange(257) / 256) * 2**FRACTION).astype(np.int64)
"""``log2(1 + i / 256)`` in steps of ``2 ** -FRACTION``."""

_WINDOW = 30
"""Bits of a window's value after the point."""
_WINDOWED = 14
"""Bits of a windowed sample after the point."""
_LOUDNESS = 30
"""Bits of the sum of the absolute values that are transformed."""
_TWIDDLE = 31
"""Bits of a twiddle factor after the point."""
_MEL = 2**16 - 1
"""Largest mel weight of a band."""
_ROOT = round(2**_TWIDDLE * math.sqrt(0.5))
"""Root of one half."""
_KERNEL_ERROR = 1e-6
"""Largest error of a kernel in float32."""
_NUMBERS = 2**17
"""Numbers that are transformed at once, so that they stay in the cache."""


@dataclass(frozen=True, eq=False)
class FrontEnd:
    """Constants of the integer log-mel front end."""

    hop_length: int
    """Samples from one frame to the next."""

    padding: tuple[int, int]
    """Zeros before and after the signal, in samples."""

    power_floor: int | None
    """Power that is added to the signal's before it is scaled to unit power,
    in steps of ``2 ** -8`` of a squared 16-bit step;
    None if the signal is not normalised."""

    window: np.ndarray
    """Window ``(window_length,)``, int32, 1 is ``2 ** 30``."""

    length: int
    """Length of the Fourier transform in samples, one of :data:`LENGTHS`;
    zeros follow a window that is shorter."""

    mel: np.ndarray
    """Mel weights ``(mels, bins)``, uint16 in int64;
    the largest of each band is 65,535."""

    log_offset: np.ndarray
    """What the logarithm of each mel sum lies above that of the mel power,
    ``(mels,)``, int64, in steps of ``2 ** -20``."""

    log_floor: int
    """Smallest logarithm of a mel power, in steps of ``2 ** -20``."""

    multiplier: int
    """Rescaling of a logarithm to the int8 step, over ``2 ** shift``."""

    offset: int
    """What is added after the multiplication; holds the zero point."""

    shift: int
    """Bits that the sum is shifted right by."""

    past_frames: int | None = None
    """Frames, the present one included,
    whose mean logarithm over all bands is taken from the present one's;
    None if nothing is taken."""

    @property
    def window_length(self) -> int:
        """Samples in a frame."""
        return len(self.window)

    @property
    def multiplications(self) -> int:
        """Multiplications for each frame, see :func:`count_multiplications`."""
        weights = int(np.count_nonzero(self.mel))
        return count_multiplications(self.window_length, self.length, weights)


def count_multiplications(window_length: int, length: int, weights: int) -> int:
    """Count the multiplications that a frame needs.

    All are of two 32-bit numbers, with a product of 64 bits:
    window, Fourier transform, squares,
    and two for each mel weight, whose power has two words.
    Logarithms, one multiplication for a band and one for a cell, are not among them.

    Args:
        window_length: samples in a frame
        length: length of the Fourier transform in samples, one of :data:`LENGTHS`
        weights: mel weights that are not 0

    """
    transform = sum(
        len(_blocks(length // size)) * (size - 6) for size in LENGTHS if size <= length
    )
    return window_length + transform + length + 2 * weights


def transform_bytes(window: np.ndarray, length: int) -> int:
    """Bytes of the tables of window and Fourier transform, 32 bits for a number.

    Half of a symmetric window is enough.

    Args:
        window: window ``(window_length,)``
        length: length of the Fourier transform in samples, one of :data:`LENGTHS`

    """
    values = len(window)
    if np.array_equal(window[1:], window[:0:-1]):
        values = values // 2 + 1
    return 4 * (values + twiddles(length).size)


def mel_bytes(bands: int, weights: int) -> int:
    """Bytes of the mel weights that are not 0, and of where they are.

    16 bits for a weight, and for first bin and number of bins of each band.
    """
    return 4 * bands + 2 * weights


def integer_mel(mel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn mel weights into integers.

    Args:
        mel: weights ``(mels, bins)``, none below 0

    Returns:
        weights ``(mels, bins)``, int64, at most 65,535,
        and what each band was multiplied with, ``(mels,)``

    """
    largest = mel.max(axis=1).astype(np.float64)
    # a band without weights stays as it is
    gains = _MEL / np.where(largest > 0, largest, _MEL)
    return np.rint(mel.astype(np.float64) * gains[:, None]).astype(np.int64), gains


def find_window(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Find the window of two kernels that are a windowed Fourier transform.

    Args:
        first: windowed cosines of all bins ``(bins, window_length)``
        second: windowed sines, of either sign; or the other way round

    Returns:
        window ``(window_length,)`` and length of the transform in samples,
        None if the kernels are something else

    """
    if first.shape != second.shape or first.ndim != 2:
        return None
    bins, window_length = first.shape
    length = 2 * (bins - 1)
    if not 0 < window_length <= length:
        return None
    # sines of the bin at 0 are 0
    cosine, sine = (first, second) if np.any(first[0]) else (second, first)
    window = cosine[0].astype(np.float64)
    if not window.any() or not (np.abs(window) <= 1 + _KERNEL_ERROR).all():
        return None
    turns = np.outer(np.arange(bins), np.arange(window_length)) % length
    angle = 2 * np.pi / length * turns

    def equal(kernel: np.ndarray, wave: np.ndarray) -> bool:
        return bool((np.abs(kernel - wave * window) <= _KERNEL_ERROR).all())

    if not equal(cosine, np.cos(angle)):
        return None
    if not equal(sine, np.sin(angle)) and not equal(sine, -np.sin(angle)):
        return None
    return window, length


def extract(model: ModelProto, graph: Topology, quantize: int) -> FrontEnd:
    """Read the front end that ends at a QuantizeLinear.

    Raises:
        ExportError: if it is not a log-mel of the signal

    """
    return _Extractor(model, graph, quantize).extract()


class _Extractor:
    def __init__(self, model: ModelProto, graph: Topology, quantize: int) -> None:
        (self.source,) = (value.name for value in model.graph.input)
        self.graph = graph
        self.quantize = quantize
        self.last = quantize

    def _fail(self, expected: str) -> NoReturn:
        node = self.graph.nodes[self.last]
        raise ExportError(
            f"front end must be the log-mel of a signal, got {topology.label(node)} "
            f"where {expected}: export a student with its own front end"
        )

    def _node(self, name: str, *operators: str) -> NodeProto:
        """Node that makes a tensor, which must be one of these operators."""
        index = self.graph.producer.get(name)
        if index is None:
            self._fail(f"{' or '.join(operators)} is expected before it")
        self.last = index
        if self.graph.nodes[index].op_type not in operators:
            self._fail(f"{' or '.join(operators)} is expected")
        return self.graph.nodes[index]

    def _scalar(self, node: NodeProto, position: int) -> float | None:
        """Number that a node has as an input, None if it is none or not constant."""
        name = node.input[position] if position < len(node.input) else ""
        value = self.graph.array(name)
        return (
            float(value.reshape(())) if value is not None and value.size == 1 else None
        )

    def extract(self) -> FrontEnd:
        slope, intercept, past_frames, name = self._affine(
            self.graph.nodes[self.quantize].input[0]
        )
        clip = self._node(name, "Clip", "Max")
        floor = self._scalar(clip, 1)
        if floor is None or not 0 < floor < math.inf or any(clip.input[2:]):
            self._fail("a floor above 0 is expected")
        mel_convolution = self._node(clip.input[0], "Conv")
        mel = self.graph.array(mel_convolution.input[1])
        if (
            mel is None
            or mel.ndim != 3
            or mel.shape[2] != 1
            or not ((mel >= 0) & (mel < math.inf)).all()
            or not mel.any()
            or self._hop(mel_convolution) != 1
        ):
            self._fail("a 1x1 convolution with mel weights is expected")
        total = self._node(mel_convolution.input[0], "Add")
        parts = [self._square(name) for name in total.input]
        kernels, inputs, hops = zip(*parts, strict=True)
        if (
            len(set(inputs)) != 1
            or len(set(hops)) != 1
            or len(kernels[0]) != mel.shape[1]
        ):
            self._fail("two convolutions of the same signal are expected")
        window, length = self._fourier(*kernels)
        signal, padding = self._signal(inputs[0])
        if max(padding) > len(window):
            self._fail("zeros of at most a window are expected")
        power_floor = self._normalisation(signal)
        quantize = self.graph.nodes[self.quantize]
        constants = _constants(
            window=window,
            length=length,
            hop_length=hops[0],
            padding=padding,
            power_floor=power_floor,
            mel=mel[:, :, 0],
            floor=floor,
            slope=slope,
            intercept=intercept,
            scale=self._scalar(quantize, 1) or 1.0,
            zero_point=int(self._scalar(quantize, 2) or 0),
        )
        if constants is None:
            self._fail("a logarithm in the range of its quantisation is expected")
        return replace(constants, past_frames=past_frames)

    def _affine(self, name: str) -> tuple[float, float, int | None, str]:
        """Slope, intercept, frames of the level, and what the logarithm is taken of."""
        slope, intercept = 1.0, 0.0
        past_frames: int | None = None
        layout: list[str] = []
        while True:
            node = self._node(
                name, "Add", "Div", "Log", "Mul", "Sub", "Transpose", "Unsqueeze"
            )
            if node.op_type == "Log":
                if layout != ["Unsqueeze", "Transpose"]:
                    self._fail("a map (1, 1, frames, mels) is expected after it")
                return slope, intercept, past_frames, node.input[0]
            name = node.input[0]
            if node.op_type in ("Transpose", "Unsqueeze"):
                if self._axes(node) not in ([0, 2, 1], [1]):
                    self._fail("a map (1, 1, frames, mels) is expected")
                layout.append(node.op_type)
                continue
            if node.op_type == "Sub" and past_frames is None and not layout:
                past_frames = self._past_level(node)
                if past_frames is not None:
                    continue
            constant = self._scalar(node, 1)
            if (
                constant is None
                or not math.isfinite(constant)
                or (node.op_type == "Div" and constant == 0)
            ):
                self._fail("a constant number is expected")
            # what was found so far is applied after this node;
            # what is added before a level is taken away goes with it
            if node.op_type in ("Add", "Sub"):
                sign = 1 if node.op_type == "Add" else -1
                intercept += sign * slope * constant if past_frames is None else 0
            elif node.op_type == "Mul":
                slope *= constant
            else:
                slope /= constant

    def _past_level(self, subtraction: NodeProto) -> int | None:
        """Frames of the mean level that is subtracted; None for another number."""
        if self.graph.array(subtraction.input[1]) is not None:
            return None
        self.last = self.graph.producer.get(subtraction.input[1], self.last)
        values = self._node(subtraction.input[0], "Unsqueeze").input[0]
        layout = self._node(subtraction.input[1], "Unsqueeze")
        transposed = self._node(layout.input[0], "Transpose")
        mean = self._node(transposed.input[0], "Div")
        pools = [self._node(name, "AveragePool") for name in mean.input]
        level = self._node(pools[0].input[0], "Unsqueeze")
        reduced = self._node(level.input[0], "ReduceMean")
        # a level of 1 in every frame counts those that there are
        plus = self._node(pools[1].input[0], "Add")
        times = self._node(plus.input[0], "Mul")
        kernel = _attributes(pools[0]).get("kernel_shape", [])
        wanted = {
            "kernel_shape": kernel,
            "pads": [kernel[0] - 1 if kernel else 0, 0],
            "strides": [1],
            "count_include_pad": 1,
        }
        if (
            len(kernel) != 1
            or any({"strides": [1], **_attributes(pool)} != wanted for pool in pools)
            or self._scalar(plus, 1) != 1
            or self._scalar(times, 1) != 0
            or times.input[0] != level.output[0]
            or reduced.input[0] != values
            or self._axes(reduced) not in ([2], [-1])
            or _attributes(reduced).get("keepdims", 1)
            or self._axes(level) != [1]
            or self._axes(transposed) != [0, 2, 1]
            or self._axes(layout) != [1]
        ):
            self._fail("the mean level of the past frames is expected")
        return int(kernel[0])

    def _square(self, name: str) -> tuple[np.ndarray, str, int]:
        """Kernel, input and hop of a convolution that is squared."""
        square = self._node(name, "Mul")
        if square.input[0] != square.input[1]:
            self._fail("a square is expected")
        node = self._node(square.input[0], "Conv")
        kernel = self.graph.array(node.input[1])
        hop_length = self._hop(node)
        if (
            kernel is None
            or kernel.ndim != 3
            or kernel.shape[1] != 1
            or hop_length is None
        ):
            self._fail("a windowed Fourier kernel is expected")
        return kernel[:, 0], node.input[0], hop_length

    def _fourier(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, int]:
        """Window and length of the Fourier transform that two kernels are."""
        found = find_window(first, second)
        if found is None:
            self._fail("a windowed Fourier kernel is expected")
        window, length = found
        if length not in LENGTHS:
            node = self.graph.nodes[self.last]
            raise ExportError(
                f"Fourier transform must be one of {LENGTHS} samples, got {length} in "
                f"{topology.label(node)}: give the log-mel such an n_fft, the window "
                "may be shorter"
            )
        return window, length

    def _hop(self, node: NodeProto) -> int | None:
        """Step of a convolution, None if it is more than kernel and step."""
        attributes = _attributes(node)
        strides = attributes.get("strides", [1])
        plain = (
            not any(node.input[2:])
            and not any(attributes.get("pads", []))
            and attributes.get("dilations", [1]) == [1]
            and attributes.get("group", 1) == 1
            and attributes.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
            and len(strides) == 1
            and strides[0] > 0
        )
        return strides[0] if plain else None

    def _axes(self, node: NodeProto) -> list[int] | None:
        """Axes that a node gets as an attribute or as an input."""
        attributes = _attributes(node)
        axes = attributes.get("perm", attributes.get("axes"))
        if axes is None and len(node.input) > 1:
            axes = self.graph.array(node.input[1])
        return None if axes is None else [int(axis) for axis in np.ravel(axes)]

    def _signal(self, name: str) -> tuple[str, tuple[int, int]]:
        """Tensor before zeros are added and it is unsqueezed, and the zeros."""
        unsqueeze = self._node(name, "Unsqueeze")
        if self._axes(unsqueeze) != [1]:
            self._fail("a signal (1, 1, time) is expected")
        name = unsqueeze.input[0]
        index = self.graph.producer.get(name)
        if index is None or self.graph.nodes[index].op_type != "Pad":
            return name, (0, 0)
        node = self._node(name, "Pad")
        pads = self.graph.array(node.input[1])
        value = self._scalar(node, 2) if any(node.input[2:]) else 0.0
        mode = _attributes(node).get("mode", b"constant")
        if (
            pads is None
            or len(pads) != 4
            or pads[0]
            or pads[2]
            or min(pads) < 0
            or value != 0
            or mode != b"constant"
            or any(node.input[3:])
        ):
            self._fail("zeros before and after the signal are expected")
        return node.input[0], (int(pads[1]), int(pads[3]))

    def _normalisation(self, name: str) -> float | None:
        """Power that is added before the root, None if there is no normalisation."""
        if name == self.source:
            return None
        divided = self._node(name, "Div")
        root = self._node(divided.input[1], "Sqrt")
        floored = self._node(root.input[0], "Add")
        power_floor = self._scalar(floored, 1)
        mean = self._node(floored.input[0], "ReduceMean")
        square = self._node(mean.input[0], "Mul")
        centred = self._node(divided.input[0], "Sub")
        average = self._node(centred.input[1], "ReduceMean")
        means = (mean, average)
        if (
            power_floor is None
            # so small that it would be 0, or too large for a sum of 64 bits
            or not 2.0**-38 <= power_floor <= 1
            or any(self._axes(node) not in ([1], [-1]) for node in means)
            or any(not _attributes(node).get("keepdims", 1) for node in means)
            or list(square.input) != [divided.input[0]] * 2
            or [centred.input[0], average.input[0]] != [self.source] * 2
        ):
            self._fail("the normalisation to zero mean and unit power is expected")
        return power_floor


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def _constants(
    *,
    window: np.ndarray,
    length: int,
    hop_length: int,
    padding: tuple[int, int],
    power_floor: float | None,
    mel: np.ndarray,
    floor: float,
    slope: float,
    intercept: float,
    scale: float,
    zero_point: int,
) -> FrontEnd | None:
    """Turn the numbers of a float front end into integers, None if they do not fit."""
    weights, gains = integer_mel(mel)
    # a windowed sample is the signal's times 2 ** (15 + _WINDOWED)
    log_offset = np.log2(gains) + 2 * (15 + _WINDOWED)
    # one step of a logarithm to base 2 in steps of the int8 tensor
    factor = slope * math.log(2) / 2**FRACTION / scale
    offset = intercept / scale + zero_point
    if not (math.isfinite(factor) and math.isfinite(offset)):
        return None
    shift = 30 - math.frexp(factor)[1]
    # logarithms have less than 30 bits
    if factor == 0 or not 1 <= shift <= 62 or abs(offset) >= 2.0 ** (62 - shift):
        return None
    return FrontEnd(
        hop_length=hop_length,
        padding=padding,
        power_floor=(
            None if power_floor is None else round(power_floor * 2 ** (2 * 15 + 8))
        ),
        window=np.rint(np.clip(window, -1, 1) * 2**_WINDOW).astype(np.int32),
        length=length,
        mel=weights,
        log_offset=np.rint(log_offset * 2**FRACTION).astype(np.int64),
        log_floor=round(math.log2(floor) * 2**FRACTION),
        multiplier=round(math.ldexp(factor, shift)),
        offset=round(math.ldexp(offset, shift)),
        shift=shift,
    )


def samples(signal: np.ndarray) -> np.ndarray:
    """Signal as 16-bit samples.

    Args:
        signal: ``(time,)``, int16, or float where 1 is full scale

    """
    signal = np.asarray(signal)
    if signal.dtype == np.int16:
        return signal.astype(np.int64)
    scaled = np.rint(signal.astype(np.float64) * 2**15)
    return np.clip(scaled, -(2**15), 2**15 - 1).astype(np.int64)


def log2(value: int) -> int:
    """Logarithm of a positive integer in steps of ``2 ** -20``.

    The bits after the leading one are cut to 24,
    the first 8 look up the table, the other 16 interpolate.
    """
    exponent = value.bit_length() - 1
    if exponent >= 24:
        rest = (value >> (exponent - 24)) - 2**24
    else:
        rest = (value << (24 - exponent)) - 2**24
    place, part = rest >> 16, rest & 0xFFFF
    low, high = int(LOG_TABLE[place]), int(LOG_TABLE[place + 1])
    return (exponent << FRACTION) + low + (((high - low) * part + 2**15) >> 16)


def _log2_array(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """:func:`log2` of ``high * 2 ** 32 + low``, all at once."""
    # 56 bits are plenty for the 24 that count, and int64 holds them.
    excess = np.maximum(np.frexp(high.astype(np.float64))[1].astype(np.int64) - 24, 0)
    values = (high << (32 - excess)) + (low >> excess)
    exponent = np.frexp(values.astype(np.float64))[1].astype(np.int64) - 1
    # a value just below a power of two rounds up to it in float
    exponent -= values < (np.int64(1) << exponent)
    rest = np.where(
        exponent >= 24,
        values >> np.maximum(exponent - 24, 0),
        values << np.maximum(24 - exponent, 0),
    )
    place, part = (rest >> 16) & 0xFF, rest & 0xFFFF
    lower, upper = LOG_TABLE[place], LOG_TABLE[place + 1]
    mantissa = lower + (((upper - lower) * part + 2**15) >> 16)
    return ((exponent + excess) << FRACTION) + mantissa


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


class _Stage(NamedTuple):
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
def _plan(length: int) -> tuple[np.ndarray, tuple[_Stage, ...]]:
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
            _Stage(
                size,
                starts,
                (starts[:, None] + steps).reshape(-1),
                (starts[:, None] - steps).reshape(-1),
                np.tile(factors, len(starts))[:, :, None],
            )
        )
    return order, tuple(stages)


def _transform(values: np.ndarray) -> None:
    """Fourier transform of real numbers, in place.

    Args:
        values: ``(length, frames)``, int64, in the order of :func:`_plan`;
            afterwards the real parts of bins 0 up to ``length / 2``,
            then the imaginary parts of bins ``length / 2 - 1`` down to 1

    """
    for size, starts, places, mirrored, factors in _plan(len(values))[1]:
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
        total = _scaled((one - three) * _ROOT)
        turned = _scaled((one + three) * _ROOT)
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


def _spectra(constants: FrontEnd, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Power of frames ``(bins, frames)`` and its exponents ``(frames,)``."""
    length = constants.length
    shift = CENTRED + _WINDOW - _WINDOWED
    windowed = shift_right(constants.window[:, None] * frames.T, shift)
    loudness = np.abs(windowed).sum(axis=0)
    exponent = _LOUDNESS - np.frexp(loudness.astype(np.float64))[1].astype(np.int64)
    windowed <<= np.maximum(exponent, 0)
    values = np.zeros((length, len(frames)), np.int64)
    values[: len(windowed)] = shift_right(windowed, np.maximum(-exponent, 0))
    values = values[_plan(length)[0]]
    _transform(values)
    values *= values
    power = values[: length // 2 + 1]
    power[1:-1] += values[: length // 2 : -1]
    return power, exponent


def frame_logarithms(
    constants: FrontEnd, centred: np.ndarray, gain: int = 0
) -> np.ndarray:
    """Logarithms of the mel powers of all whole frames.

    Args:
        constants: of the front end
        centred: samples ``(time,)``, int64, with zeros before and after,
            without mean and times ``2 ** CENTRED``; at least a window
        gain: logarithm of the power that the samples are divided by

    Returns:
        logarithms to base 2 in steps of ``2 ** -20``, ``(frames, mels)``, int64

    """
    frames = np.lib.stride_tricks.sliding_window_view(centred, constants.window_length)[
        :: constants.hop_length
    ]
    step = max(1, _NUMBERS // constants.length)
    return np.concatenate(
        [
            _logarithms(constants, frames[start : start + step], gain)
            for start in range(0, len(frames), step)
        ]
    )


def _logarithms(constants: FrontEnd, frames: np.ndarray, gain: int) -> np.ndarray:
    power, exponent = _spectra(constants, frames)
    # in two halves, whose weighted sums fit 64 bits
    low = (constants.mel @ (power & 0xFFFFFFFF)).T
    high = (constants.mel @ (power >> 32)).T + (low >> 32)
    low &= 0xFFFFFFFF
    heard = (high > 0) | (low > 0)
    low[~heard] = 1
    logarithm = _log2_array(high, low) - constants.log_offset
    logarithm -= (2 * exponent << FRACTION)[:, None] + gain
    return np.where(
        heard, np.maximum(logarithm, constants.log_floor), constants.log_floor
    )


def to_int8(constants: FrontEnd, logarithms: np.ndarray) -> np.ndarray:
    """Cells of the log-mel map, int8, from logarithms relative to the past's level."""
    scaled = logarithms * constants.multiplier + constants.offset
    return np.clip(shift_right(scaled, constants.shift), -128, 127).astype(np.int8)


def log_mel(constants: FrontEnd, signal: np.ndarray) -> np.ndarray:
    """Compute the int8 log-mel map of a signal.

    Args:
        constants: of the front end
        signal: ``(time,)``, int16 or float

    Returns:
        map ``(1, 1, frames, mels)``, int8

    Raises:
        ExportError: if the signal is shorter than a window

    """
    x = samples(signal)
    count = len(x)
    before, after = constants.padding
    if count == 0 or count + before + after < constants.window_length:
        raise ExportError(
            f"signal must have at least {constants.window_length - before - after} "
            f"samples, got {count}: give a longer one"
        )
    total = int(x.sum())
    mean = 0
    gain = 0  # logarithm of the power that a sample is divided by
    if constants.power_floor is not None:
        mean = ((total << (CENTRED + 1)) + count) // (2 * count)
        energy = 2**8 * (count * int((x * x).sum()) - total**2)
        energy += constants.power_floor * count**2
        gain = log2(energy) - 2 * log2(count) - (8 + 2 * 15) * 2**FRACTION
    centred = np.pad((x << CENTRED) - mean, (before, after))
    logarithm = frame_logarithms(constants, centred, gain)
    if constants.past_frames is not None:
        logarithm -= _past_level(logarithm, constants.past_frames)[:, None]
    return to_int8(constants, logarithm)[None, None]


def _past_level(logarithm: np.ndarray, past_frames: int) -> np.ndarray:
    """Mean logarithm of each frame and those before it, halves up, ``(frames,)``."""
    frames, mels = logarithm.shape
    total = np.cumsum(np.concatenate([[0], logarithm.sum(axis=1)]))
    last = np.arange(1, frames + 1)
    first = np.maximum(last - past_frames, 0)
    count = (last - first) * mels
    return (2 * (total[last] - total[first]) + count) // (2 * count)
