"""What an integer operator promises.

An operator is one file of this folder.
It holds what the operator needs (a dataclass), how it is read from the ONNX,
its integers (the norm), what it costs, what it needs of other frames,
how it becomes C, and how the ONNX operators that it is read from
are quantised, tuned and counted.
Its C stands in a file of ``c99/fragments`` with the name of its kernel.
:mod:`wav2small.export.integer.operators` finds all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np

from ...base.errors import ExportError
from ..scales import Scales

if TYPE_CHECKING:
    from torch import Tensor

    from ...c99.lowering import Lowering, View
    from ..reading import Reading


Shape = tuple[int, ...]
Shapes = Sequence[Shape]


class Window(NamedTuple):
    """Rows that one row of an operator is made of."""

    reach: int
    """Rows from the first to the last, both included."""

    dilation: int
    """Rows from tap to tap."""

    stride: int
    """Rows of the input from row to row of the output."""

    top: int
    """Rows of border before the first one."""

    bottom: int
    """Rows of border behind the last one."""

    border: int
    """Integer that fills the border."""


@dataclass(frozen=True)
class Traits:
    """What the rest of the export and the bench have to know of an ONNX operator."""

    role: Literal["layer", "moves", "rectifies", "averages", "pointwise", "float"]
    """How it is quantised:
    a ``layer`` has weights,
    what ``moves`` only picks values, so that the scale stays,
    what ``rectifies`` may become part of the range of what is before it,
    what ``averages`` or is ``pointwise`` can read 8 bits where others need more,
    and ``float`` is left as it is."""

    torch: Callable[..., Any]
    """The same on torch tensors, differentiable:
    gets the node's attributes and its inputs, None for one that is left out."""

    macs: Callable[[Shapes, Shape, Mapping[str, Any]], int] | None = None
    """Multiply-accumulates by the shapes of inputs and output and the attributes;
    None if it has none."""

    in_place: bool = False
    """Whether it may write over an input of the same size."""


class Sums(Protocol):
    """What a pooling over time keeps of the rows that have passed."""

    bytes_each: ClassVar[int]
    """Bytes for each number of the result."""

    def push(self, *rows: np.ndarray) -> None:
        """Add rows, one array of each input."""

    def result(self) -> np.ndarray:
        """Integers of the output for the rows so far."""

    def forget(self, decay: int) -> None:
        """Let older rows weigh less from now on, see :meth:`Operator.forgetting`."""


@dataclass(frozen=True, eq=False)
class Operator(ABC):
    """What all operators have."""

    ONNX: ClassVar[tuple[str, ...]] = ()
    """ONNX operators that :meth:`read` looks at."""

    TRAITS: ClassVar[Mapping[str, Traits]] = {}
    """Traits of each of them, unless another operator states them."""

    COUNTS_ROWS: ClassVar[bool] = False
    """Whether a pooling over time needs the number of its rows,
    so that it cannot go on for ever."""

    inputs: tuple[str, ...]
    """Names of the tensors that it reads."""

    output: str
    """Name of the tensor that it makes."""

    nodes: tuple[int, ...]
    """Indices of the ONNX nodes that it stands for, rescaling included."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read the node of an index.

        Returns:
            operators that the node becomes,
            none if a node behind it decides what that is;
            None if it is not of this kind

        Raises:
            ExportError: if it has no integer arithmetic

        """
        return None

    @abstractmethod
    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Integers of the output from those of the inputs: the norm."""

    def count_macs(self, source: tuple[int, ...], outputs: int) -> int:
        """Multiply-accumulates.

        Args:
            source: shape of its first input
            outputs: numbers that it makes

        """
        return 0

    def window(self, zero_point: int) -> Window | None:
        """Rows that it needs, None if those of the same place.

        Args:
            zero_point: of its first input

        """
        return None

    def without_border(self) -> Operator:
        """The same on a map whose border along time is there already."""
        raise TypeError(f"{type(self).__name__} must have a window to have a border")

    def pools(self, time: int) -> bool:
        """Whether it pools over an axis, that of time."""
        return False

    def sums(self, scales: Scales, shape: tuple[int, ...]) -> Sums:
        """Sums of a pooling over time, none added yet.

        Args:
            scales: of its tensors
            shape: of the result

        """
        raise TypeError(f"{type(self).__name__} must pool over time to have sums")

    def forgetting(self, decay: int) -> Operator:
        """Make the same pooling over time, with older rows weighing less.

        Args:
            decay: how far weights fall from row to row, in ``2 ** -24`` octaves,
                0 to forget nothing

        Raises:
            ExportError: if it cannot forget

        """
        if decay:
            raise ExportError(
                "model must pool by a softmax alone to forget, got a "
                f"{type(self).__name__} over time: choose a student that does, "
                "like wav2small-rt"
            )
        return self

    def time_axis(self, shape: tuple[int, ...], time: int) -> int | None:
        """Axis of time of the output, None if it joins frames.

        Args:
            shape: of one row of the first input, where time has length 1
            time: axis of time of the inputs

        """
        return time

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter the C stages that compute it.

        Args:
            lowering: stages so far
            views: where its inputs lie

        Raises:
            ExportError: if there is no C for it

        """
        lowering.fail("which has none")


def padded(a: Mapping[str, Any], x: Tensor, value: float) -> Tensor:
    """Torch tensor with the border that the attribute ``pads`` asks for.

    Args:
        a: attributes
        x: map whose last axes have a border
        value: what fills it

    """
    from torch.nn import functional

    pads = a.get("pads", [])
    half = len(pads) // 2
    pairs = [(pads[axis], pads[axis + half]) for axis in reversed(range(half))]
    flat = [side for pair in pairs for side in pair]
    return functional.pad(x, flat, value=value) if any(flat) else x


def reduction_axes(a: Mapping[str, Any], axes: Tensor | None) -> list[int] | None:
    """Axes of a reduction: an attribute or, in later opsets, an input."""
    if "axes" in a:
        return list(a["axes"])
    return None if axes is None else axes.tolist()
