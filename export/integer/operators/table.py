"""Function of one int8 number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..scales import Scales
from .base import Operator, Traits

if TYPE_CHECKING:
    from torch import Tensor

    from ...c99.lowering import Lowering, View
    from ..reading import Reading

_FUNCTIONS: dict[str, Callable[[np.ndarray, Mapping[str, Any]], np.ndarray]] = {
    "Clip": lambda x, a: np.clip(x, a["low"], a["high"]),
    "HardSigmoid": lambda x, a: np.clip(
        np.float32(a.get("alpha", 0.2)) * x + np.float32(a.get("beta", 0.5)), 0, 1
    ),
    "HardSwish": lambda x, a: x * np.clip(x / np.float32(6) + np.float32(0.5), 0, 1),
    "LeakyRelu": lambda x, a: np.where(x < 0, np.float32(a.get("alpha", 0.01)) * x, x),
    "Relu": lambda x, a: np.maximum(x, 0),
    "Sigmoid": lambda x, a: 1 / (1 + np.exp(-x)),
    "Tanh": lambda x, a: np.tanh(x),
}


def _clip(
    a: Mapping[str, Any],
    x: Tensor,
    low: Tensor | None = None,
    high: Tensor | None = None,
) -> Tensor:
    return x if low is None and high is None else x.clamp(low, high)


def _hard_sigmoid(a: Mapping[str, Any], x: Tensor) -> Tensor:
    return (a.get("alpha", 0.2) * x + a.get("beta", 0.5)).clamp(0, 1)


def _leaky_relu(a: Mapping[str, Any], x: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.leaky_relu(x, a.get("alpha", 0.01))


@dataclass(frozen=True, eq=False)
class Table(Operator):
    """Function of one int8 number."""

    ONNX = tuple(_FUNCTIONS)
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "Clip": Traits("rectifies", _clip, in_place=True),
        "HardSigmoid": Traits("pointwise", _hard_sigmoid, in_place=True),
        "LeakyRelu": Traits("pointwise", _leaky_relu, in_place=True),
        "Sigmoid": Traits("pointwise", lambda a, x: x.sigmoid(), in_place=True),
        "Tanh": Traits("pointwise", lambda a, x: x.tanh(), in_place=True),
    }

    table: np.ndarray
    """Output for each of -128..127, int32."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Compute the function of all 256 numbers."""
        source = reading.tensor(index)
        node = reading.nodes[index]
        attributes = reading.attributes(index)
        if node.op_type == "Clip":
            limits = [reading.graph.array(name) for name in node.input[1:] if name]
            if len(limits) != 2 or any(
                limit is None or limit.size != 1 for limit in limits
            ):
                reading.fail(index, "a clip with two constant limits")
            attributes = dict(zip(("low", "high"), limits, strict=True))
        if source.wide:
            reading.fail(index, "Relu or HardSwish, fed with more than 8 bits")
        numbers = (np.arange(-128, 128) - source.zero_point).astype(np.float32)
        values = _FUNCTIONS[node.op_type](
            numbers * np.float32(source.scale), attributes
        )
        bound = float(np.abs(values).max())
        if not math.isfinite(bound):
            reading.fail(index, "a function with finite values")
        tensor, nodes = reading.target(node.output[0], bound, [index])
        table = np.rint(values / np.float32(tensor.scale))
        if not tensor.wide:
            table = np.clip(table + tensor.zero_point, -128, 127)
        return [cls((source.name,), tensor.name, nodes, table.astype(np.int32))]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Look each number up in the table."""
        (x,) = inputs
        values = self.table[x.astype(np.int64) + 128]
        return values.astype(np.int64 if scales.target.wide else np.int8)

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter a stage on single numbers."""
        wide = lowering.tensors[self.output].wide
        table = self.table.astype(np.int32 if wide else np.int8)
        tables = {"wide" if wide else "narrow": table}
        lowering.same("table", self.output, views, {}, tables)
