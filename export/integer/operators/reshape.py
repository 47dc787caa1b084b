"""Change of shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..scales import Scales
from .base import Operator, Traits, reduction_axes

if TYPE_CHECKING:
    from torch import Tensor

    from ...c99.lowering import Lowering, View
    from ..reading import Reading


def _flatten(a: Mapping[str, Any], x: Tensor) -> Tensor:
    return x.reshape(math.prod(x.shape[: a.get("axis", 1)]), -1)


def _reshape(a: Mapping[str, Any], x: Tensor, shape: Tensor) -> Tensor:
    sizes = [
        x.shape[axis] if size == 0 else size for axis, size in enumerate(shape.tolist())
    ]
    if sizes and sizes[0] == 1 and x.shape[0] != 1:  # written for one signal
        sizes[0] = x.shape[0]
    return x.reshape(sizes)


def _shape(a: Mapping[str, Any], x: Tensor) -> Tensor:
    import torch

    return torch.tensor(x.shape[a.get("start", 0) : a.get("end")])


def _slice(
    a: Mapping[str, Any],
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    index = [slice(None)] * x.ndim
    chosen = range(len(starts)) if axes is None else axes.tolist()
    by = [1] * len(starts) if steps is None else steps.tolist()
    for axis, start, end, step in zip(
        chosen, starts.tolist(), ends.tolist(), by, strict=True
    ):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def _squeeze(a: Mapping[str, Any], x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = reduction_axes(a, axes)
    return x.squeeze() if chosen is None else x.squeeze(tuple(chosen))


def _unsqueeze(a: Mapping[str, Any], x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = reduction_axes(a, axes) or []
    rank = x.ndim + len(chosen)
    for axis in sorted(axis % rank for axis in chosen):
        x = x.unsqueeze(axis)
    return x


@dataclass(frozen=True, eq=False)
class Reshape(Operator):
    """Change of shape."""

    ONNX = (
        "Concat",
        "Flatten",
        "Reshape",
        "Shape",
        "Slice",
        "Squeeze",
        "Unsqueeze",
    )
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "Flatten": Traits("moves", _flatten),
        "Reshape": Traits("moves", _reshape),
        "Shape": Traits("float", _shape),
        "Slice": Traits("float", _slice),
        "Squeeze": Traits("moves", _squeeze),
        "Unsqueeze": Traits("moves", _unsqueeze),
    }

    shape: tuple[int, ...]
    """New shape; 0 keeps the length of the axis, -1 takes what is left."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read the new shape, which nodes may make of lengths of the old one."""
        node = reading.nodes[index]
        attributes = reading.attributes(index)
        match node.op_type:
            case "Shape" | "Slice":
                return []
            case "Concat":
                if reading.behind(node.input[0], "Slice") is None:
                    reading.fail(index, "fed with integer tensors")
                return []
            case "Flatten":
                if attributes.get("axis", 1) != 1:
                    reading.fail(index, "a flattening from axis 1 on")
                shape: tuple[int, ...] = (0, -1)
            case "Reshape":
                if attributes.get("allowzero", 0):
                    reading.fail(index, "a change of shape where 0 keeps the length")
                shape = _new_shape(reading, index)
            case _:
                shape = _known_shape(reading, index)
        return [cls(*reading.moved(index), shape)]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Change the shape."""
        (x,) = inputs
        return x.reshape(self._sizes(x.shape))

    def _sizes(self, source: tuple[int, ...]) -> list[int]:
        return [size or source[axis] for axis, size in enumerate(self.shape)]

    def time_axis(self, shape: tuple[int, ...], time: int) -> int | None:
        """None if time is not an axis of its own in the new shape."""
        made = []
        for rows in (2, 3):
            before = (*shape[:time], rows, *shape[time + 1 :])
            try:
                made.append(np.empty(before, np.int8).reshape(self._sizes(before)))
            except ValueError:  # a length that is fixed
                return None
        two, three = (values.shape for values in made)
        outer = math.prod(shape[:time])
        for axis, lengths in enumerate(zip(two, three, strict=True)):
            if lengths == (2, 3) and math.prod(two[:axis]) == outer:
                return axis
        return None

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """See the same numbers in another shape."""
        (view,) = views
        shape = np.empty(view.shape, np.int8).reshape(self._sizes(view.shape)).shape
        lowering.views[self.output] = replace(view, shape=shape)


def _known_shape(reading: Reading, index: int) -> tuple[int, ...]:
    shape = reading.shapes.get(reading.nodes[index].output[0], ())
    if sum(not isinstance(size, int) for size in shape) > 1:
        reading.fail(index, "a change of shape with one open axis")
    return tuple(size if isinstance(size, int) else -1 for size in shape)


def _new_shape(reading: Reading, index: int) -> tuple[int, ...]:
    """Shape that a constant gives, or lengths of the input and a constant."""
    source, name = reading.nodes[index].input
    array = reading.graph.array(name)
    if array is not None:
        return tuple(int(size) for size in array)
    chain = reading.behind(name, "Concat")
    if chain is not None:
        concat = reading.nodes[chain]
        kept = _leading_lengths(reading, concat.input[0], source)
        rest = [reading.graph.array(entry) for entry in concat.input[1:]]
        sizes = [int(size) for part in rest if part is not None for size in part]
        if kept and all(part is not None for part in rest):
            return (*[0] * kept, *sizes)
    reading.fail(index, "a change to a constant shape")


def _leading_lengths(reading: Reading, name: str, source: str) -> int:
    """How many lengths of another tensor, from the first on, a tensor holds."""
    head = reading.behind(name, "Slice")
    if head is None:
        return 0
    shape = reading.behind(reading.nodes[head].input[0], "Shape")
    if (
        shape is None
        or reading.nodes[shape].attribute
        or reading.names.get(reading.nodes[shape].input[0], "")
        != reading.names.get(source)
    ):
        return 0
    arrays = [reading.graph.array(entry) for entry in reading.nodes[head].input[1:]]
    numbers = [int(a[0]) if a is not None and a.size else -1 for a in arrays]
    # from the first on, along the only axis, in steps of one
    if numbers[0] != 0 or numbers[2:] not in ([], [0], [0, 1]):
        return 0
    return max(0, numbers[1])
