"""Rows of one tensor as they come."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...base.errors import ExportError
from ..tensor import BYTES, Tensor
from .pace import Pace


class Line:
    """Rows of one tensor as they come, the last ones kept."""

    def __init__(
        self, tensor: Tensor, shape: tuple[int, ...], axis: int, pace: Pace
    ) -> None:
        self.tensor = tensor
        self.shape = shape
        """Shape of one row; the axis of time has length 1."""
        self.axis = axis
        """Axis of time."""
        self.pace = pace
        self.keep = 0
        """Rows that are kept from one push to the next."""
        self.reset()

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.shape) * BYTES[self.tensor.dtype]

    def filled(self, rows: int, value: int = 0) -> np.ndarray:
        """Rows that hold one number."""
        shape = list(self.shape)
        shape[self.axis] = rows
        dtype = np.int64 if self.tensor.wide else np.int8
        return np.full(shape, value, dtype)

    def reset(self) -> None:
        """Forget all rows."""
        self.count = 0
        self.kept = self.filled(0)

    def known(self, new: np.ndarray) -> int:
        """Rows that have come, the new ones included."""
        return self.count + new.shape[self.axis]

    def rows(self, start: int, stop: int, new: np.ndarray) -> np.ndarray:
        """Rows from one number up to another, of those kept and the new ones."""
        first = self.count - self.kept.shape[self.axis]
        together = np.concatenate([self.kept, new], self.axis)
        places = [slice(None)] * self.axis
        return together[(*places, slice(start - first, stop - first))]

    def push(self, new: np.ndarray) -> None:
        """Take new rows; the oldest go."""
        count = self.known(new)
        self.kept = self.rows(max(0, count - self.keep), count, new)
        self.count = count


def pace_together(name: str, inputs: Sequence[Line]) -> tuple[Pace, list[int]]:
    """Pace of rows made of several, and how far back each of them lies."""
    paces = [line.pace for line in inputs]
    if len({(pace.period, pace.extra) for pace in paces}) > 1:
        raise ExportError(
            f"rows must come at the same pace, got {name} of tensors that differ in "
            "stride or border: export a model that streams, like wav2small-rt"
        )
    last = max(paces, key=lambda pace: pace.delay)
    return last, [-((pace.delay - last.delay) // pace.period) for pace in paces]


def rows_together(
    inputs: Sequence[Line], new: Sequence[np.ndarray], start: int
) -> list[np.ndarray]:
    """Rows from a number on of all inputs, as far as all of them are there."""
    pairs = list(zip(inputs, new, strict=True))
    stop = min(line.known(rows) for line, rows in pairs)
    return [line.rows(start, stop, rows) for line, rows in pairs]
