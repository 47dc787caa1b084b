"""What Convolution and Linear share: weights, bias, and one kernel of C."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..rescale import Rescale
from ..tensor import Tensor
from .base import Operator

if TYPE_CHECKING:
    from ...c99.lowering import Lowering, Number, Rows, View
    from ..reading import Constant, Reading

_BIAS_ERROR = 0.05
"""Most steps of the output that rounding a bias to the step of a sum may cost."""

_FEW = 2
"""Columns up to which weights are not unpacked beforehand."""

_LONG = 496
"""Numbers of a column that are multiplied at once, see ``dense_column.c``."""

_NIBBLES = range(-8, 8)
"""Weights that fit 4 bits."""


@dataclass(frozen=True, eq=False)
class Layer(Operator):
    """Sums of products with constant weights."""

    weight: np.ndarray
    """Weights, int8, outputs first."""

    bias: np.ndarray
    """Bias ``(outputs,)``, int64:
    added to the sum for an int8 output, to the rescaled sum for an int32 one."""

    rescale: Rescale
    """From the step of the sum to the output's, for each output."""

    def count_macs(self, source: tuple[int, ...], outputs: int) -> int:
        """One for each output and weight of it."""
        return outputs * self.weight[0].size


class LayerParts(NamedTuple):
    """What is read of a layer."""

    inputs: tuple[str]
    """Name of its input."""

    output: str
    """Name of its output."""

    nodes: tuple[int, ...]
    """Indices of its nodes."""

    weight: np.ndarray
    """Weights, int8, outputs first."""

    bias: np.ndarray
    """Bias, int64."""

    rescale: Rescale
    """From the step of the sum to the output's."""


def read_weight(reading: Reading, index: int, axis: int) -> Constant:
    """Constant weights of a node, with one scale for each output.

    Args:
        reading: what was read so far
        index: of the node
        axis: axis of the outputs

    """
    node = reading.nodes[index]
    constant = reading.constants.get(node.input[1])
    if constant is None:
        reading.fail(index, "a layer with constant integer weights")
    if constant.integers.ndim < 2 or not constant.integers.size:
        reading.fail(index, "a layer with a matrix or kernels of weights")
    outputs = constant.integers.shape[axis]
    if constant.integers.min() < -128 or constant.integers.max() > 127:
        reading.fail(index, "a layer with weights of at most 8 bits")
    if constant.scale.ndim and (
        constant.scale.shape != (outputs,) or constant.axis != axis
    ):
        reading.fail(
            index,
            f"a layer whose weights have one scale for each output (axis {axis}) "
            f"and not {constant.scale.shape} on axis {constant.axis}",
        )
    return replace(constant, scale=np.broadcast_to(constant.scale, outputs))


def read_layer(
    reading: Reading,
    index: int,
    constant: Constant,
    weight: np.ndarray,
    output: str,
    bias: str,
    covered: Sequence[int] = (),
) -> LayerParts:
    """Read a layer whose weights are known.

    Args:
        reading: what was read so far
        index: of the node
        constant: its weights, with their scale
        weight: the same integers, outputs first
        output: name of the float tensor that it makes
        bias: name of its bias, empty if it has none
        covered: indices of further nodes

    """
    source = reading.tensor(index)
    step = np.float32(source.scale) * constant.scale
    real, integer, bias_nodes = _read_bias(reading, index, bias, step)
    largest = max(127 - source.zero_point, 128 + source.zero_point)
    if source.wide:
        largest = math.ceil(source.bound / source.scale)
    total = np.abs(weight.reshape(len(weight), -1)).sum(axis=1) * float(largest)
    bound = float((total * step + np.abs(real)).max())
    tensor, nodes = reading.target(
        output, bound, [*covered, index, constant.node, *bias_nodes]
    )
    if tensor.wide:
        integer = np.rint(real / tensor.scale).astype(np.int64)
    elif integer is None:
        integer = _rounded_bias(reading, index, real, step, tensor)
    sums = float(total.max()) + (0 if tensor.wide else float(np.abs(integer).max()))
    if not source.wide and sums >= 2**31:
        reading.fail(index, "a layer whose sums fit 32 bits")
    rescale = reading.rescale(index, step / np.float32(tensor.scale), sums)
    int8 = np.ascontiguousarray(weight.astype(np.int8))
    return LayerParts((source.name,), tensor.name, nodes, int8, integer, rescale)


def _read_bias(
    reading: Reading, index: int, bias: str, step: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None, list[int]]:
    """Numbers of a bias, its integers if they have the step of the sum, its nodes."""
    outputs = len(step)
    if not bias:
        return np.zeros(outputs), np.zeros(outputs, np.int64), []
    if bias in reading.constants:
        entry = reading.constants[bias]
        if entry.integers.shape != (outputs,) or entry.scale.shape not in (
            (),
            (outputs,),
        ):
            reading.fail(index, "a layer with a constant bias for each output")
        # rounding differs in the last bit from one library to the next
        same = np.allclose(entry.scale, step, rtol=1e-6, atol=0)
        integer = entry.integers.astype(np.int64) if same else None
        real = entry.integers * entry.scale.astype(np.float64)
        return real, integer, [entry.node]
    array = reading.graph.array(bias)
    if array is None or (array.shape[-1:], array.size) != ((outputs,), outputs):
        reading.fail(index, "a layer with a constant bias for each output")
    return array.astype(np.float64).reshape(-1), None, []


def _rounded_bias(
    reading: Reading, index: int, real: np.ndarray, step: np.ndarray, target: Tensor
) -> np.ndarray:
    """Bias in steps of the sum."""
    steps = np.rint(real / step.astype(np.float64))
    if not np.abs(steps).max() < 2.0**62:
        reading.fail(index, "a layer whose sums fit 32 bits")
    lost = np.abs(real - steps * step).max() / target.scale
    if lost > _BIAS_ERROR:
        reading.fail(
            index, f"a layer whose bias keeps its value ({lost:.2g} steps off)"
        )
    return steps.astype(np.int64)


# -- C -----------------------------------------------------------------------


def lower_dense(
    lowering: Lowering,
    layer: Layer,
    views: list[View],
    rows: Rows,
    weight: np.ndarray,
    numbers: Mapping[str, Number],
    groups: int = 1,
    across: int = 1,
    **window: int,
) -> None:
    """Enter weights ``(outputs, width, taps, channels)`` times columns of rows.

    What a column is multiplied with lies together.
    Columns that overlap share it if their taps are neighbours.

    Args:
        lowering: stages so far
        layer: what is computed
        views: where its input lies
        rows: where its output lies
        weight: weights in the order in which the kernel reads numbers
        numbers: members of the struct
        groups: groups of channels
        across: columns of the input from column to column
        window: rows of the input, if there are several

    """
    outputs, width, taps, _ = weight.shape
    solid = numbers["dilation"] == 1
    narrow = is_narrow(weight)
    unit = weight.reshape(outputs, width if solid else 1, -1)
    # a core loads and multiplies four at a time, of half bytes eight
    pad = -unit.shape[2] % (8 if narrow else 4)
    unit = np.pad(unit, ((0, 0), (0, 0), (0, pad)))
    packed = packed_weight(unit.reshape(outputs, -1), outputs // groups)
    shape = _dense_shape(unit.shape[1:], numbers, width, across)
    if weight.min() == -128:
        shape["flat"] = 0
    shape |= {"groups": groups, "outputs": outputs // groups}
    end, tables = finish_numbers(lowering, layer)
    kind, flat = "nibbles" if narrow else "weight", shape["flat"]
    lowering.append(
        "dense",
        views,
        rows,
        {**numbers, **shape, **end},
        {kind: packed.reshape(-1), **tables},
        packed={kind: packed_runs(shape, narrow)},
        uses=(
            "NIBBLES" if narrow else "BYTES",
            "COLUMN" if flat else "COLUMNS",
            *(["LONG_COLUMN"] if flat and shape["length"] > _LONG else []),
        ),
        # numbers of all columns, and weights of four outputs
        work=2 * shape["pitch"] * shape["units"] + (0 if flat else 8 * shape["length"]),
        taps=taps,
        **window,
    )


def _dense_shape(
    unit: tuple[int, ...], numbers: Mapping[str, Number], width: int, across: int
) -> dict[str, int]:
    """Members that say what a column is multiplied with, and where the next one is.

    Args:
        unit: units of a column, and the padded numbers of each
        numbers: members that are known
        width: columns of the input that a column needs
        across: columns of the input from column to column

    """
    columns = numbers["columns_out"]
    assert isinstance(columns, int)
    solid = numbers["dilation"] == 1
    count, pitch = unit
    length = count * pitch
    return {
        "units": (columns - 1) * across + width if solid else columns,
        "across": 1 if solid else width,
        "hop": 1 if solid else across,
        "pitch": pitch,
        "step": pitch * (across if solid else 1),
        "length": length,
        "flat": int(columns <= _FEW),
        "twice": int(length % 16 == 0),
        "twelves": 2 if length % 24 == 0 else int(length % 12 == 0),
    }


def finish_numbers(
    lowering: Lowering, layer: Layer
) -> tuple[dict[str, Number], dict[str, np.ndarray]]:
    """Members that make outputs of sums: numbers and tables."""
    source, target = (
        lowering.tensors[name] for name in (layer.inputs[0], layer.output)
    )
    outputs = len(layer.weight)
    weight = layer.weight.reshape(outputs, -1).astype(np.int64)
    # numbers are multiplied as they are, with the zero point in them
    start = -source.zero_point * weight.sum(axis=1)
    multiplier = np.broadcast_to(layer.rescale.multiplier, outputs)
    shift = np.broadcast_to(layer.rescale.shift, outputs)
    tables = {"multiplier": multiplier.astype(np.int32)}
    numbers: dict[str, Number] = {"zero_in": source.zero_point}
    if target.wide:
        tables["bias"] = layer.bias.astype(np.int32)
        numbers["end.kind"] = "WIDE_SHORT" if shift.max() < 32 else "WIDE"
    else:
        start = start + layer.bias
        numbers["end.kind"] = "NARROW"
        numbers["end.round"] = target.zero_point
        same = max(32 + lowering.LAST[0], int(shift.max()))
        higher = multiplier << (same - shift)
        last = same - 32
        if higher.max() < 2**31 and last in lowering.LAST:
            numbers["end.kind"] = "NARROW_SHORT"
            numbers["end.last"] = last
            # what rounds, and the zero point, which is added with it
            numbers["end.round"] = (target.zero_point << last) + (1 << last >> 1)
            tables["multiplier"] = higher.astype(np.int32)
    if numbers["end.kind"] != "NARROW_SHORT":
        tables["shift"] = shift.astype(np.uint8)
    tables["start"] = start.astype(np.int32)
    return numbers, {f"end.{name}": table for name, table in tables.items()}


def is_narrow(weight: np.ndarray) -> bool:
    """Whether all weights fit 4 bits."""
    return bool(weight.min() >= _NIBBLES[0] and weight.max() <= _NIBBLES[-1])


def packed_weight(weight: np.ndarray, together: int) -> np.ndarray:
    """Weights as they lie in flash.

    Weights that all fit 4 bits take half a byte.
    The order lets a core with 16-bit lanes unpack two at a time.

    Args:
        weight: int8, ``(outputs, length)``,
            the length a multiple of 4, or of 8 if all fit 4 bits
        together: outputs of a group, of which each four take turns
            with four weights each; those that are left lie behind them

    Returns:
        int8, ``(outputs, length)``: of four outputs the weights 0 and 1 of the first
        two in turn, of the last two, then the weights 2 and 3;
        of a single one the second and the third of each four have changed places;
        or uint8, ``(outputs, length / 2)``: weights plus 8;
        of four outputs bytes with one of the first two and of the last two in turn,
        the last without the 8; of a single one 0, 2; 4, 6; 1, 3; 5, 7 of each eight

    """
    outputs, length = weight.shape
    groups = weight.reshape(-1, together, length).astype(np.int64)
    whole = together // 4 * 4
    narrow = is_narrow(weight)
    # (groups, fours of outputs, fours of numbers, 4 numbers, 4 outputs)
    fours = groups[:, :whole].reshape(len(groups), whole // 4, 4, length // 4, 4)
    fours = fours.transpose(0, 1, 3, 4, 2)
    singles = groups[:, whole:]
    if narrow:
        fours = (fours + 8) ^ np.array([0, 0, 0, 8])
        fours = fours[..., 0::2] | fours[..., 1::2] << 4
        singles = singles.reshape(-1, 8)[:, [0, 2, 4, 6, 1, 3, 5, 7]] + 8
        singles = singles[:, 0::2] | singles[:, 1::2] << 4
    else:
        # (.., 2 pairs of numbers, 2 numbers, 2 pairs of outputs, 2 outputs)
        fours = fours.reshape(*fours.shape[:3], 2, 2, 2, 2).swapaxes(4, 5)
        singles = singles.reshape(-1, 4)[:, [0, 2, 1, 3]]
    parts = [part.reshape(len(groups), -1) for part in (fours, singles)]
    dtype, share = (np.uint8, 2) if narrow else (np.int8, 1)
    return np.hstack(parts).astype(dtype).reshape(outputs, length // share)


def packed_runs(shape: Mapping[str, int], narrow: bool) -> list[tuple[str, int, int]]:
    """Macros that the bytes of :func:`packed_weight` stand in.

    Args:
        shape: members of the struct of the kernel
        narrow: whether all weights fit 4 bits

    Returns:
        name of each macro, how many bytes it takes, and how often it comes

    """
    fours, singles = divmod(shape["outputs"], 4)
    length = shape["length"]
    if narrow:
        runs = [("FOUR_BY_FOUR_HALVES", 8, fours * length // 4)]
        runs += [("EIGHT_HALVES", 4, singles * length // 8)]
    else:
        name = "FLAT_FOUR_BY_FOUR" if shape["flat"] else "FOUR_BY_FOUR"
        runs = [(name, 16, fours * length // 4), ("FOUR", 4, singles * length // 4)]
    return runs * shape["groups"]
