"""Product of the last axis with a constant matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..scales import Scales, exact_float
from ._layer import Layer, lower_dense, read_layer, read_weight
from .base import Operator, Shape, Shapes, Traits

if TYPE_CHECKING:
    from torch import Tensor

    from ...c99.lowering import Lowering, Number, View
    from ..reading import Reading


def _gemm(
    a: Mapping[str, Any], x: Tensor, w: Tensor, b: Tensor | None = None
) -> Tensor:
    x = x.t() if a.get("transA") else x
    w = w.t() if a.get("transB") else w
    y = a.get("alpha", 1.0) * (x @ w)
    return y if b is None else y + a.get("beta", 1.0) * b


def _gemm_macs(inputs: Shapes, output: Shape, a: Mapping[str, Any]) -> int:
    return math.prod(output) * inputs[0][0 if a.get("transA") else 1]


def _product_macs(inputs: Shapes, output: Shape, a: Mapping[str, Any]) -> int:
    return math.prod(output) * inputs[0][-1]


@dataclass(frozen=True, eq=False)
class Linear(Layer):
    """Product of the last axis with a constant matrix.

    Weights are ``(outputs, inputs)``.
    """

    ONNX = ("Gemm", "MatMul")
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "Gemm": Traits("layer", _gemm, _gemm_macs),
        "MatMul": Traits("layer", lambda a, x, y: x @ y, _product_macs),
    }

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read a Gemm, or a MatMul with a constant and the bias behind it."""
        node, attributes = reading.nodes[index], reading.attributes(index)
        output, covered = node.output[0], []
        if node.op_type == "Gemm":
            if (
                attributes.get("alpha", 1.0) != 1
                or attributes.get("beta", 1.0) != 1
                or attributes.get("transA", 0)
            ):
                reading.fail(index, "a product without factors")
            bias = node.input[2] if len(node.input) > 2 else ""
            axis = 0 if attributes.get("transB", 0) else 1
        elif node.input[1] not in reading.constants:
            return None
        else:
            bias, axis = "", 1
            readers = reading.graph.consumers.get(output, [])
            if len(readers) == 1 and reading.nodes[readers[0]].op_type == "Add":
                (reader,) = readers
                names = reading.nodes[reader].input
                others = [name for name in names if name != output]
                if len(others) == 1 and reading.graph.array(others[0]) is not None:
                    bias, covered = others[0], [reader]
                    output = reading.nodes[reader].output[0]
        constant = read_weight(reading, index, axis)
        if constant.integers.ndim != 2:
            reading.fail(index, "a product with a matrix")
        weight = constant.integers if axis == 0 else constant.integers.T
        parts = read_layer(reading, index, constant, weight, output, bias, covered)
        return [cls(*parts)]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Multiply, add up and rescale."""
        (x,) = inputs
        weight = self.weight.T
        centred = scales.centred(x)
        if scales.sources[0].wide:
            sums = centred @ weight.astype(np.int64)
        else:
            dtype = exact_float(self.weight)
            sums = (centred.astype(dtype) @ weight.astype(dtype)).astype(np.int64)
        return scales.finish(sums, self.rescale, self.bias)

    def time_axis(self, shape: tuple[int, ...], time: int) -> int | None:
        """Leave the axis of time in its place, unless it is the last one."""
        return None if time == len(shape) - 1 else time

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter a product with columns; of int32 a kernel of its own."""
        (view,) = views
        outputs, inputs = self.weight.shape
        count = view.rows.count // inputs
        shape = (*view.shape[:-1], outputs)
        weight = self.weight
        if count == 1:
            weight = weight[:, view.order]
        else:
            view = lowering.plain(view)
        rows = lowering.make(self.output, shape)
        if not view.rows.wide:
            numbers: dict[str, Number] = {
                "channels": inputs,
                "taps": 1,
                "dilation": 1,
                "left": 0,
                "columns_in": count,
                "columns_out": count,
            }
            lower_dense(lowering, self, [view], rows, weight[:, None, None], numbers)
            return
        rescale = self.rescale
        tables = {
            "weight": weight.reshape(-1),
            "bias": self.bias.astype(np.int64),
            "multiplier": np.broadcast_to(rescale.multiplier, outputs).astype(np.int32),
            "shift": np.broadcast_to(rescale.shift, outputs).astype(np.uint8),
        }
        numbers = {"inputs": inputs, "outputs": outputs, "rows": count}
        numbers |= {"before": rescale.before, **lowering.output(self.output)}
        lowering.append("linear", [view], rows, numbers, tables)
