"""Two-dimensional convolution of an int8 map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ...base.errors import ExportError
from ..scales import Scales, exact_float
from ._layer import Layer, finish_numbers, lower_dense, read_layer, read_weight
from .base import Operator, Shape, Shapes, Traits, Window, padded

if TYPE_CHECKING:
    from torch import Tensor

    from ...c99.lowering import Lowering, Number, View
    from ..reading import Reading


def _convolve(
    a: Mapping[str, Any], x: Tensor, w: Tensor, b: Tensor | None = None
) -> Tensor:
    from torch.nn import functional

    function = {1: functional.conv1d, 2: functional.conv2d}[w.ndim - 2]
    return function(
        padded(a, x, 0.0),
        w,
        b,
        stride=a.get("strides", 1),
        dilation=a.get("dilations", 1),
        groups=a.get("group", 1),
    )


def _macs(inputs: Shapes, output: Shape, a: Mapping[str, Any]) -> int:
    # (outputs, inputs / groups, *kernel)
    return math.prod(output) * math.prod(inputs[1][1:])


@dataclass(frozen=True, eq=False)
class Convolution(Layer):
    """Two-dimensional convolution of an int8 map.

    Weights are ``(outputs, inputs / groups, height, width)``.
    """

    ONNX = ("Conv",)
    TRAITS: ClassVar[Mapping[str, Traits]] = {
        "Conv": Traits("layer", _convolve, _macs),
    }

    strides: tuple[int, int]
    """Steps in both axes."""

    pads: tuple[int, int, int, int]
    """Border at top, left, bottom and right, filled with the zero point."""

    groups: int
    """Groups of channels."""

    dilations: tuple[int, int] = (1, 1)
    """Places from one tap to the next in both axes."""

    @classmethod
    def read(cls, reading: Reading, index: int) -> Sequence[Operator] | None:
        """Read a Conv of an int8 map with constant weights."""
        node, attributes = reading.nodes[index], reading.attributes(index)
        constant = read_weight(reading, index, 0)
        weight = constant.integers
        dilations = tuple(attributes.get("dilations", [1, 1]))
        if (
            weight.ndim != 4
            or len(dilations) != 2
            or min(dilations) < 1
            or attributes.get("auto_pad", b"NOTSET") != b"NOTSET"
            or reading.tensor(index).wide
        ):
            reading.fail(index, "a plain convolution of an int8 map in two dimensions")
        strides, pads = reading.window(index, weight.shape[2:], dilations)
        groups = attributes.get("group", 1)
        channels = reading.channels(index)
        if (
            groups < 1
            or len(weight) % groups
            or channels not in (None, weight.shape[1] * groups)
        ):
            reading.fail(index, f"a convolution of {channels} channels")
        bias = node.input[2] if len(node.input) > 2 else ""
        parts = read_layer(reading, index, constant, weight, node.output[0], bias)
        return [cls(*parts, strides, pads, groups, dilations)]

    def compute(self, scales: Scales, *inputs: np.ndarray) -> np.ndarray:
        """Add up tap by tap, in floating point that is exact."""
        (x,) = inputs
        outputs, _, height, width = self.weight.shape
        groups = self.groups
        dtype = exact_float(self.weight)
        top, left, bottom, right = self.pads
        sides = ((0, 0), (0, 0), (top, bottom), (left, right))
        padded = np.pad(scales.centred(x).astype(dtype), sides)
        down, across = self.dilations
        rows = _places(padded.shape[2], down * (height - 1) + 1, self.strides[0])
        columns = _places(padded.shape[3], across * (width - 1) + 1, self.strides[1])
        batch = len(x)
        padded = padded.reshape(batch, groups, -1, *padded.shape[2:])
        padded = np.ascontiguousarray(padded.transpose(1, 0, 3, 4, 2))
        weight = self.weight.astype(dtype).reshape(
            groups, outputs // groups, -1, height, width
        )
        shape = (groups, batch, len(rows), len(columns), outputs // groups)
        sums = np.zeros(shape, dtype)
        for row in range(height):
            for column in range(width):
                part = padded[
                    :,
                    :,
                    down * row : down * row + rows.stop : rows.step,
                    across * column : across * column + columns.stop : columns.step,
                ]
                taps = weight[..., row, column].transpose(0, 2, 1)
                if groups == 1:
                    sums += part @ taps[:, None, None]
                else:
                    sums += np.einsum("gbhwi,gio->gbhwo", part, taps)
        sums = sums.transpose(1, 2, 3, 0, 4).reshape(*shape[1:4], outputs)
        result = scales.finish(sums.astype(np.int64), self.rescale, self.bias)
        return result.transpose(0, 3, 1, 2)

    def window(self, zero_point: int) -> Window | None:
        """Return the rows under the kernel; the border is 0."""
        down = self.dilations[0]
        reach = down * (self.weight.shape[2] - 1) + 1
        top, _, bottom, _ = self.pads
        return Window(reach, down, self.strides[0], top, bottom, zero_point)

    def without_border(self) -> Operator:
        """Take the border above and below away; that of both sides stays."""
        _, left, _, right = self.pads
        return replace(self, pads=(0, left, 0, right))

    def lower(self, lowering: Lowering, views: list[View]) -> None:
        """Enter a filter of each channel, or a product with columns."""
        view, rows, needed = lowering.make_map(self.output, views[0])
        *_, channels, _, columns = view.shape
        outputs, _, taps, width = self.weight.shape
        window = {
            "stride": needed.stride,
            "top": needed.top,
            "dilation": needed.dilation,
        }
        numbers: dict[str, Number] = {
            "channels": channels // self.groups,
            "taps": taps,
            "dilation": self.dilations[1],
            "left": self.pads[1],
            "columns_in": columns,
            "columns_out": rows.count // outputs,
        }
        if self.groups == channels == outputs:
            numbers |= {"channels": channels, "width": width}
            numbers["stride"] = self.strides[1]
            end, tables = finish_numbers(lowering, self)
            weight = self.weight[:, 0].transpose(1, 2, 0).reshape(-1)
            tables = {"weight": weight, **tables}
            lowering.append(
                "filter", [view], rows, numbers | end, tables, taps=taps, **window
            )
            return
        lower_dense(
            lowering,
            self,
            [view],
            rows,
            self.weight.transpose(0, 3, 2, 1),
            numbers,
            self.groups,
            self.strides[1],
            **window,
        )


def _places(length: int, kernel: int, stride: int) -> range:
    """Where the window of a convolution may begin."""
    if length < kernel:
        raise ExportError(
            f"map must have at least {kernel} rows and columns, got {length}: "
            "give a longer signal"
        )
    return range(0, length - kernel + 1, stride)
