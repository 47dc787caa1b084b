"""Maximum over a window."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...base.errors import ExportError
from ..scales import Scales
from .base import Operator, Traits, Window, padded

if TYPE_CHECKING:
    from torch import Tensor

    from ...c99.lowering import Lowering, View
    from ..reading import Reading

_LOWEST = -128
"""Border, which never wins."""


def _max_pool(a: Mapping[str, Any], x: Tensor) -> Tensor:
    from torch.nn import functional

    x = padded(a, x, -math.inf)
    return functional.max_pool2d(x, a["kernel_shape"], a.get("strides", 1))


@dataclass(frozen=True, eq=False)
class MaxPool(Operator):
    """Maximum over a window; the border never wins."""

    ONNX = ("MaxPool",)
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "MaxPool": Traits("moves", _max_pool),
    }

    kernel: tuple[int, int]
    """Height and width of the window."""

    strides: tuple[int, int]
    """Steps in both axes."""

    pads: tuple[int, int, int, int]
    """Border at top, left, bottom and right."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read the maximum of an int8 map."""
        attributes = reading.attributes(index)
        if (
            len(attributes.get("kernel_shape", [])) != 2
            or set(attributes.get("dilations", [1])) != {1}
            or attributes.get("ceil_mode", 0)
            or attributes.get("auto_pad", b"NOTSET") != b"NOTSET"
            or len(reading.nodes[index].output) != 1
            or reading.tensor(index).wide
        ):
            reading.fail(index, "a plain maximum of an int8 map in two dimensions")
        kernel = tuple(attributes["kernel_shape"])
        window = reading.window(index, kernel)
        return [cls(*reading.moved(index), kernel, *window)]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Take the largest of each window."""
        (x,) = inputs
        top, left, bottom, right = self.pads
        sides = ((0, 0), (0, 0), (top, bottom), (left, right))
        x = np.pad(x, sides, constant_values=_LOWEST)
        if x.shape[2] < self.kernel[0] or x.shape[3] < self.kernel[1]:
            raise ExportError(
                f"map must be at least {self.kernel}, got {x.shape[2:]}: "
                "give a longer signal"
            )
        windows = np.lib.stride_tricks.sliding_window_view(x, self.kernel, axis=(2, 3))
        return windows[:, :, :: self.strides[0], :: self.strides[1]].max(axis=(4, 5))

    def window(self, zero_point: int) -> Window | None:
        """Return the rows under the window."""
        top, _, bottom, _ = self.pads
        return Window(self.kernel[0], 1, self.strides[0], top, bottom, _LOWEST)

    def without_border(self) -> Operator:
        """Take the border above and below away; that of both sides stays."""
        _, left, _, right = self.pads
        return replace(self, pads=(0, left, 0, right))

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter a stage on rows of a map."""
        view, rows, window = lowering.make_map(self.output, views[0])
        numbers = {
            "channels": view.shape[1],
            "taps": self.kernel[0],
            "width": self.kernel[1],
            "stride": self.strides[1],
            "left": self.pads[1],
            "columns_in": view.shape[3],
            "columns_out": rows.count // view.shape[1],
        }
        lowering.append(
            "max_pool",
            [view],
            rows,
            numbers,
            taps=self.kernel[0],
            stride=window.stride,
            top=window.top,
        )
