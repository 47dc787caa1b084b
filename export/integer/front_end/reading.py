"""Read the log-mel front end of a model out of its float graph."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np
from onnx import ModelProto, NodeProto, helper

from ...base.errors import ExportError
from ...model import topology
from ...model.topology import Topology
from .constants import FrontEnd, Settings, integer_constants
from .fourier import LENGTHS, find_window


def read_front_end(model: ModelProto, graph: Topology, quantize: int) -> FrontEnd:
    """Read the front end that ends at a QuantizeLinear.

    Raises:
        ExportError: if it is not a log-mel of the signal

    """
    return _Extractor(model, graph, quantize).extract()


class _Extractor:
    def __init__(self, model: ModelProto, graph: Topology, quantize: int) -> None:
        (self.source,) = (value.name for value in model.graph.input)
        self.graph = graph
        self.quantize = quantize
        self.last = quantize

    def _fail(self, expected: str) -> NoReturn:
        node = self.graph.nodes[self.last]
        raise ExportError(
            f"front end must be the log-mel of a signal, got {topology.label(node)} "
            f"where {expected}: export a student with its own front end"
        )

    def _node(self, name: str, *operators: str) -> NodeProto:
        """Node that makes a tensor, which must be one of these operators."""
        index = self.graph.producer.get(name)
        if index is None:
            self._fail(f"{' or '.join(operators)} is expected before it")
        self.last = index
        if self.graph.nodes[index].op_type not in operators:
            self._fail(f"{' or '.join(operators)} is expected")
        return self.graph.nodes[index]

    def _scalar(self, node: NodeProto, position: int) -> float | None:
        """Number that a node has as an input, None if it is none or not constant."""
        name = node.input[position] if position < len(node.input) else ""
        value = self.graph.array(name)
        return (
            float(value.reshape(())) if value is not None and value.size == 1 else None
        )

    def extract(self) -> FrontEnd:
        slope, intercept, past_frames, name = self._affine(
            self.graph.nodes[self.quantize].input[0]
        )
        clip = self._node(name, "Clip", "Max")
        floor = self._scalar(clip, 1)
        if floor is None or not 0 < floor < math.inf or any(clip.input[2:]):
            self._fail("a floor above 0 is expected")
        mel_convolution = self._node(clip.input[0], "Conv")
        mel = self.graph.array(mel_convolution.input[1])
        if (
            mel is None
            or mel.ndim != 3
            or mel.shape[2] != 1
            or not ((mel >= 0) & (mel < math.inf)).all()
            or not mel.any()
            or self._hop(mel_convolution) != 1
        ):
            self._fail("a 1x1 convolution with mel weights is expected")
        total = self._node(mel_convolution.input[0], "Add")
        parts = [self._square(name) for name in total.input]
        kernels, inputs, hops = zip(*parts, strict=True)
        if (
            len(set(inputs)) != 1
            or len(set(hops)) != 1
            or len(kernels[0]) != mel.shape[1]
        ):
            self._fail("two convolutions of the same signal are expected")
        window, length = self._fourier(*kernels)
        signal, padding = self._signal(inputs[0])
        if max(padding) > len(window):
            self._fail("zeros of at most a window are expected")
        settings = Settings(
            window=window,
            length=length,
            hop_length=hops[0],
            padding=padding,
            power_floor=self._normalisation(signal),
            mel=mel[:, :, 0],
            floor=floor,
            slope=slope,
            intercept=intercept,
            past_frames=past_frames,
        )
        quantize = self.graph.nodes[self.quantize]
        constants = integer_constants(
            settings,
            scale=self._scalar(quantize, 1) or 1.0,
            zero_point=int(self._scalar(quantize, 2) or 0),
        )
        if constants is None:
            self._fail("a logarithm in the range of its quantisation is expected")
        return constants

    def _affine(self, name: str) -> tuple[float, float, int | None, str]:
        """Slope, intercept, frames of the level, and what the logarithm is taken of."""
        slope, intercept = 1.0, 0.0
        past_frames: int | None = None
        layout: list[str] = []
        while True:
            node = self._node(
                name, "Add", "Div", "Log", "Mul", "Sub", "Transpose", "Unsqueeze"
            )
            if node.op_type == "Log":
                if layout != ["Unsqueeze", "Transpose"]:
                    self._fail("a map (1, 1, frames, mels) is expected after it")
                return slope, intercept, past_frames, node.input[0]
            name = node.input[0]
            if node.op_type in ("Transpose", "Unsqueeze"):
                if self._axes(node) not in ([0, 2, 1], [1]):
                    self._fail("a map (1, 1, frames, mels) is expected")
                layout.append(node.op_type)
                continue
            if node.op_type == "Sub" and past_frames is None and not layout:
                past_frames = self._past_level(node)
                if past_frames is not None:
                    continue
            constant = self._scalar(node, 1)
            if (
                constant is None
                or not math.isfinite(constant)
                or (node.op_type == "Div" and constant == 0)
            ):
                self._fail("a constant number is expected")
            # what was found so far is applied after this node;
            # what is added before a level is taken away goes with it
            if node.op_type in ("Add", "Sub"):
                sign = 1 if node.op_type == "Add" else -1
                intercept += sign * slope * constant if past_frames is None else 0
            elif node.op_type == "Mul":
                slope *= constant
            else:
                slope /= constant

    def _past_level(self, subtraction: NodeProto) -> int | None:
        """Frames of the mean level that is subtracted; None for another number."""
        if self.graph.array(subtraction.input[1]) is not None:
            return None
        self.last = self.graph.producer.get(subtraction.input[1], self.last)
        values = self._node(subtraction.input[0], "Unsqueeze").input[0]
        layout = self._node(subtraction.input[1], "Unsqueeze")
        transposed = self._node(layout.input[0], "Transpose")
        mean = self._node(transposed.input[0], "Div")
        pools = [self._node(name, "AveragePool") for name in mean.input]
        level = self._node(pools[0].input[0], "Unsqueeze")
        reduced = self._node(level.input[0], "ReduceMean")
        # a level of 1 in every frame counts those that there are
        plus = self._node(pools[1].input[0], "Add")
        times = self._node(plus.input[0], "Mul")
        kernel = _attributes(pools[0]).get("kernel_shape", [])
        wanted = {
            "kernel_shape": kernel,
            "pads": [kernel[0] - 1 if kernel else 0, 0],
            "strides": [1],
            "count_include_pad": 1,
        }
        if (
            len(kernel) != 1
            or any({"strides": [1], **_attributes(pool)} != wanted for pool in pools)
            or self._scalar(plus, 1) != 1
            or self._scalar(times, 1) != 0
            or times.input[0] != level.output[0]
            or reduced.input[0] != values
            or self._axes(reduced) not in ([2], [-1])
            or _attributes(reduced).get("keepdims", 1)
            or self._axes(level) != [1]
            or self._axes(transposed) != [0, 2, 1]
            or self._axes(layout) != [1]
        ):
            self._fail("the mean level of the past frames is expected")
        return int(kernel[0])

    def _square(self, name: str) -> tuple[np.ndarray, str, int]:
        """Kernel, input and hop of a convolution that is squared."""
        square = self._node(name, "Mul")
        if square.input[0] != square.input[1]:
            self._fail("a square is expected")
        node = self._node(square.input[0], "Conv")
        kernel = self.graph.array(node.input[1])
        hop_length = self._hop(node)
        if (
            kernel is None
            or kernel.ndim != 3
            or kernel.shape[1] != 1
            or hop_length is None
        ):
            self._fail("a windowed Fourier kernel is expected")
        return kernel[:, 0], node.input[0], hop_length

    def _fourier(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, int]:
        """Window and length of the Fourier transform that two kernels are."""
        found = find_window(first, second)
        if found is None:
            self._fail("a windowed Fourier kernel is expected")
        window, length = found
        if length not in LENGTHS:
            node = self.graph.nodes[self.last]
            raise ExportError(
                f"Fourier transform must be one of {LENGTHS} samples, got {length} in "
                f"{topology.label(node)}: give the log-mel such an n_fft, the window "
                "may be shorter"
            )
        return window, length

    def _hop(self, node: NodeProto) -> int | None:
        """Step of a convolution, None if it is more than kernel and step."""
        attributes = _attributes(node)
        strides = attributes.get("strides", [1])
        plain = (
            not any(node.input[2:])
            and not any(attributes.get("pads", []))
            and attributes.get("dilations", [1]) == [1]
            and attributes.get("group", 1) == 1
            and attributes.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
            and len(strides) == 1
            and strides[0] > 0
        )
        return strides[0] if plain else None

    def _axes(self, node: NodeProto) -> list[int] | None:
        """Axes that a node gets as an attribute or as an input."""
        attributes = _attributes(node)
        axes = attributes.get("perm", attributes.get("axes"))
        if axes is None and len(node.input) > 1:
            axes = self.graph.array(node.input[1])
        return None if axes is None else [int(axis) for axis in np.ravel(axes)]

    def _signal(self, name: str) -> tuple[str, tuple[int, int]]:
        """Tensor before zeros are added and it is unsqueezed, and the zeros."""
        unsqueeze = self._node(name, "Unsqueeze")
        if self._axes(unsqueeze) != [1]:
            self._fail("a signal (1, 1, time) is expected")
        name = unsqueeze.input[0]
        index = self.graph.producer.get(name)
        if index is None or self.graph.nodes[index].op_type != "Pad":
            return name, (0, 0)
        node = self._node(name, "Pad")
        pads = self.graph.array(node.input[1])
        value = self._scalar(node, 2) if any(node.input[2:]) else 0.0
        mode = _attributes(node).get("mode", b"constant")
        if (
            pads is None
            or len(pads) != 4
            or pads[0]
            or pads[2]
            or min(pads) < 0
            or value != 0
            or mode != b"constant"
            or any(node.input[3:])
        ):
            self._fail("zeros before and after the signal are expected")
        return node.input[0], (int(pads[1]), int(pads[3]))

    def _normalisation(self, name: str) -> float | None:
        """Power that is added before the root, None if there is no normalisation."""
        if name == self.source:
            return None
        divided = self._node(name, "Div")
        root = self._node(divided.input[1], "Sqrt")
        floored = self._node(root.input[0], "Add")
        power_floor = self._scalar(floored, 1)
        mean = self._node(floored.input[0], "ReduceMean")
        square = self._node(mean.input[0], "Mul")
        centred = self._node(divided.input[0], "Sub")
        average = self._node(centred.input[1], "ReduceMean")
        means = (mean, average)
        if (
            power_floor is None
            # so small that it would be 0, or too large for a sum of 64 bits
            or not 2.0**-38 <= power_floor <= 1
            or any(self._axes(node) not in ([1], [-1]) for node in means)
            or any(not _attributes(node).get("keepdims", 1) for node in means)
            or list(square.input) != [divided.input[0]] * 2
            or [centred.input[0], average.input[0]] != [self.source] * 2
        ):
            self._fail("the normalisation to zero mean and unit power is expected")
        return power_floor


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
