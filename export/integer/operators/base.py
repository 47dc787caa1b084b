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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import numpy as np

from ..scales import Scales

if TYPE_CHECKING:
    from ...c99.lowering import Lowering, View
    from ..reading import Reading


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


class Sums(Protocol):
    """What a pooling over time keeps of the rows that have passed."""

    bytes_each: ClassVar[int]
    """Bytes for each number of the result."""

    def push(self, *rows: np.ndarray) -> None:
        """Add rows, one array of each input."""

    def result(self) -> np.ndarray:
        """Integers of the output for the rows so far."""


@dataclass(frozen=True, eq=False)
class Operator(ABC):
    """What all operators have."""

    ONNX: ClassVar[tuple[str, ...]] = ()
    """ONNX operators that :meth:`read` looks at."""

    MOST_ROWS: ClassVar[int | None] = None
    """Rows that a pooling over time can add up, None if any number."""

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
