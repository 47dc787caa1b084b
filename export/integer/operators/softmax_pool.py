"""Mean weighted by a softmax over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..pooling import EXP_TABLE, PoolState
from ..rescale import Rescale
from ..scales import Scales
from ..tensor import Tensor
from ._ramp import ONNX as RAMP
from ._ramp import Forgetting, ones, read_ramp
from .base import Operator, Sums, Traits, reduction_axes

if TYPE_CHECKING:
    import torch

    from ...c99.lowering import Lowering, View
    from ..reading import Reading

_LARGEST_SCORE_STEP = 2.0**-8
"""Above it the weights of a softmax are off by more than two of a thousand."""

_MOST_SCORE = 11000.0
"""Largest score whose distance to another one, as a logarithm, has 32 bits."""


def _sum(
    a: Mapping[str, Any], x: torch.Tensor, axes: torch.Tensor | None = None
) -> torch.Tensor:
    dim = reduction_axes(a, axes)
    dim = list(range(x.ndim)) if dim is None else dim
    return x.sum(dim=dim, keepdim=bool(a.get("keepdims", 1)))


class _Begun(NamedTuple):
    """Nodes of a pooling that have been read."""

    softmax: int
    """Index of the Softmax."""

    product: int | None = None
    """Index of the Mul."""

    value: str = ""
    """Name of what is weighted."""


@dataclass(frozen=True, eq=False)
class SoftmaxPool(Operator):
    """Mean of the first input weighted by the softmax of the second."""

    ONNX = (*RAMP, "ReduceSum", "Softmax")
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "ConstantOfShape": Traits("float", ones),
        "CumSum": Traits("float", lambda a, x, axis: x.cumsum(int(axis))),
        "ReduceSum": Traits("float", _sum),
        "Softmax": Traits(
            "float", lambda a, x: x.softmax(dim=a.get("axis", -1)), in_place=True
        ),
    }

    axis: int
    """Axis of time, which goes."""

    logarithm: Rescale
    """From the step of the scores to ``2 ** -16`` in powers of two."""

    decay: int = 0
    """How far weights fall from row to row, in ``2 ** -24`` octaves; 0 to forget
    nothing."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read a ramp, Softmax, Mul and the ReduceSum that ends them."""
        node = reading.nodes[index]
        if node.op_type == "Softmax":
            reading.tensor(index)
            reading.begun[node.output[0]] = _Begun(index)
            return []
        if node.op_type == "Mul":
            for value, weights in (node.input, node.input[::-1]):
                begun = reading.begun.get(weights)
                if isinstance(begun, _Begun) and begun.product is None:
                    product = begun._replace(product=index, value=value)
                    reading.begun[node.output[0]] = product
                    return []
        if node.op_type in RAMP:
            return [] if read_ramp(reading, index) else None
        return [cls._read_sum(reading, index)]

    @classmethod
    def _read_sum(cls, reading: Reading, index: int) -> SoftmaxPool:
        node = reading.nodes[index]
        begun = reading.begun.get(node.input[0])
        if not isinstance(begun, _Begun) or begun.product is None:
            reading.fail(index, "the sum that ends a softmax pooling")
        if begun.value not in reading.names:
            reading.fail(begun.product, "fed with integer tensors")
        value = reading.tensors[reading.names[begun.value]]
        score = reading.tensor(begun.softmax)
        axes = reading.graph.array(node.input[1]) if len(node.input) > 1 else None
        rank = reading.rank(begun.softmax)
        axis = reading.attributes(begun.softmax).get("axis", -1) % rank
        if (
            axes is None
            or [int(entry) % rank for entry in axes] != [axis]
            or reading.attributes(index).get("keepdims", 1)
            or not value.wide
            or not score.wide
            or not _same_shape(value, score)
        ):
            reading.fail(index, "the sum over the softmax's axis that ends a pooling")
        forgetting = reading.begun.get(reading.nodes[begun.softmax].input[0])
        decay = 0
        if isinstance(forgetting, Forgetting):
            decay = forgetting.decay
            if forgetting.axis != axis:
                reading.fail(begun.softmax, "over the axis that a ramp rises along")
        covered = [index, begun.product, begun.softmax]
        tensor, nodes = reading.target(node.output[0], value.bound, covered)
        if not tensor.wide:
            reading.fail(index, "read in more than 8 bits")
        if score.scale > _LARGEST_SCORE_STEP:
            reading.fail(
                begun.softmax,
                f"fed with steps of at most {_LARGEST_SCORE_STEP}, got {score.scale}",
            )
        factor = score.scale * math.log2(math.e) * 2**16
        logarithm = reading.rescale(begun.softmax, factor, score.bound / score.scale)
        inputs = value.name, score.name
        return cls(inputs, tensor.name, nodes, axis, logarithm, decay)

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Add up all frames."""
        value = inputs[0]
        shape = tuple(np.delete(value.shape, self.axis))
        sums = self.sums(scales, shape)
        sums.push(*inputs)
        return sums.result()

    def count_macs(self, source: tuple[int, ...], outputs: int) -> int:
        """One for each output."""
        return outputs

    def pools(self, time: int) -> bool:
        """Whether it is over time and not over another axis."""
        return self.axis == time

    def sums(self, scales: Scales, shape: tuple[int, ...]) -> Sums:
        """Begin a pooling over time."""
        return _SoftmaxSums(self, shape)

    def forgetting(self, decay: int) -> SoftmaxPool:
        """Make the same pooling with another decay."""
        return replace(self, decay=decay)

    def time_axis(self, shape: tuple[int, ...], time: int) -> int | None:
        """Move the axis of time to the front if the axis that goes is before it."""
        return time - (self.axis < time)

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter a pool of weighted rows."""
        if lowering.shape is None or not lowering.pooling:
            lowering.fail("which stands where none is expected")
        first, second = views
        views = [first, lowering.reordered(second, first.order)]
        # time has length 1, so that the order stays without it
        rows = lowering.make(self.output, lowering.shape, first.order)
        numbers: dict[str, Any] = {"count": rows.count}
        numbers |= lowering.single(self.logarithm)
        # int32 suffices for its result
        higher = max(0, 33 - numbers["shift"])
        shift = numbers["shift"] + higher - 32
        largest = lowering.tensors[self.inputs[1]].bound
        if (
            shift in lowering.LAST
            and not numbers["before"]
            and numbers["multiplier"] << higher < 2**31
            and largest <= _MOST_SCORE
        ):
            numbers["multiplier"] <<= higher
            numbers["last"] = shift
        lowering.append(
            "softmax_pool",
            views,
            rows,
            numbers,
            work=20 * rows.count + 8,
            # and how far older rows have fallen
            sums=2 * rows.count + 1,
            references=rows.count,
            decay=self.decay,
            # what is missing to 65,536, which 16 bits do not hold
            shared={"exp_table": (2**16 - EXP_TABLE).astype(np.uint16)},
        )


class _SoftmaxSums:
    """Sums of a softmax pooling."""

    bytes_each: ClassVar[int] = 8 + 8 + 4
    """Numerator and denominator of 64 bits, reference of 32."""

    def __init__(self, operator: SoftmaxPool, shape: tuple[int, ...]) -> None:
        self.operator = operator
        self.pool = PoolState(shape, operator.decay)

    def push(self, *rows: np.ndarray) -> None:
        value, score = rows
        axis = self.operator.axis
        logarithm = self.operator.logarithm(score)
        self.pool.push(np.moveaxis(value, axis, 0), np.moveaxis(logarithm, axis, 0))

    def forget(self, decay: int) -> None:
        self.pool.decay = decay

    def result(self) -> np.ndarray:
        return self.pool.result()


def _same_shape(left: Tensor, right: Tensor) -> bool:
    """Whether shapes are the same as far as they are known."""
    return len(left.shape) == len(right.shape) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int))
        for a, b in zip(left.shape, right.shape, strict=True)
    )
