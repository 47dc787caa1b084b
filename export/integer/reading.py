"""What has been read of an exported QDQ model so far, and how to read more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper

from ..base.errors import ExportError
from ..model import topology
from ..model.topology import Topology
from .rescale import Rescale, fixed_scale
from .tensor import Tensor

LARGEST_SCALE = 2.0**60
"""Scales up to it, and from its inverse on, have products that float32 holds."""


@dataclass(frozen=True, eq=False)
class Constant:
    """Integers that the file stores, with what they stand for."""

    integers: np.ndarray
    """Their values, int32."""

    scale: np.ndarray
    """Step of all, or of each place of an axis, float32."""

    axis: int
    """That axis."""

    node: int
    """Index of the DequantizeLinear that makes numbers of them."""


class MadeTensor(NamedTuple):
    """A tensor that an operator makes."""

    tensor: Tensor
    """The tensor."""

    nodes: tuple[int, ...]
    """Indices of the nodes that make it, ascending."""


class Reading:
    """A model that is being read, node by node."""

    def __init__(self, model: ModelProto, supported: Sequence[str]) -> None:
        self.model = model
        self.supported = supported
        """ONNX operators that an error names."""
        self.graph = Topology(model)
        self.nodes = self.graph.nodes
        self.tensors: dict[str, Tensor] = {}
        """All integer tensors by name."""
        self.names: dict[str, str] = {}
        """Integer tensor of each float one."""
        self.constants: dict[str, Constant] = {}
        """Constants by the name of their numbers."""
        self.done: set[int] = set()
        """Nodes that need not be read any more."""
        self.begun: dict[str, Any] = {}
        """Float tensors within an operator of several nodes,
        and what that needs to know at its last one."""
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        self.shapes = {
            value.name: tuple(
                dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
                for dim in value.type.tensor_type.shape.dim
            )
            for value in (*inferred.graph.value_info, *inferred.graph.output)
        }

    def fail(self, index: int, expected: str) -> NoReturn:
        """Refuse a node."""
        node = self.nodes[index]
        raise ExportError(
            f"node must be {expected}, got {topology.label(node)}: "
            f"supported after the front end are {', '.join(self.supported)}"
        )

    # -- nodes -----------------------------------------------------------

    def attributes(self, index: int) -> Mapping[str, Any]:
        """Attributes of a node."""
        return attributes(self.nodes[index])

    def behind(self, name: str, operator: str) -> int | None:
        """Node that makes a tensor, None if it is not of this kind."""
        index = self.graph.producer.get(name)
        if index is None or self.nodes[index].op_type != operator:
            return None
        return index

    def axes(self, index: int) -> tuple[int, ...]:
        """Axes of a reduction, ascending; an attribute or, later, an input."""
        node = self.nodes[index]
        axes = self.attributes(index).get("axes")
        if axes is None and len(node.input) > 1:
            axes = self.graph.array(node.input[1])
        if axes is None or not np.size(axes):
            self.fail(index, "a reduction with constant axes")
        rank = self.rank(index)
        return tuple(sorted({int(axis) % rank for axis in axes}))

    def window(
        self, index: int, kernel: tuple[int, ...], dilations: tuple[int, ...] = (1, 1)
    ) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
        """Strides and borders of a window that moves over a map."""
        reach = [
            step * (taps - 1) + 1 for step, taps in zip(dilations, kernel, strict=True)
        ]
        attributes = self.attributes(index)
        strides = tuple(attributes.get("strides", [1, 1]))
        pads = tuple(attributes.get("pads", [0] * 4))
        if (
            self.rank(index) != 4
            or len(strides) != 2
            or len(pads) != 4
            or min(strides) < 1
            or not all(
                0 <= pad < size for pad, size in zip(pads, reach * 2, strict=True)
            )
            or tuple(attributes.get("kernel_shape", kernel)) != kernel
        ):
            self.fail(index, "a window over a map, its border smaller than itself")
        return (strides[0], strides[1]), (pads[0], pads[1], pads[2], pads[3])

    # -- tensors ---------------------------------------------------------

    def is_integer(self, index: int, position: int = 0) -> bool:
        """Whether an input of a node is an integer tensor."""
        return self.nodes[index].input[position] in self.names

    def tensor(self, index: int, position: int = 0) -> Tensor:
        """Integer tensor that a node reads."""
        name = self.nodes[index].input[position]
        if name not in self.names:
            self.fail(index, f"fed with integer tensors and not '{name}'")
        return self.tensors[self.names[name]]

    def rank(self, index: int, position: int = 0) -> int:
        """Axes of a tensor that a node reads."""
        rank = len(self.tensor(index, position).shape)
        if not rank:
            self.fail(index, "fed with a tensor of known rank")
        return rank

    def channels(self, index: int) -> int | None:
        """Channels of the map that a node reads, None if they are open."""
        size = self.tensor(index).shape[1]
        return size if isinstance(size, int) else None

    def add(
        self,
        name: str,
        stands_for: str,
        *,
        bound: float = 0.0,
        scale: float | None = None,
        zero_point: int = 0,
    ) -> Tensor:
        """Enter a tensor; without a scale it is int32, with room for the bound."""
        if scale is not None:
            bound = scale * max(127 - zero_point, 128 + zero_point)
            dtype: Literal["int8", "int32"] = "int8"
        else:
            if not bound < LARGEST_SCALE:
                raise ExportError(
                    f"tensor '{stands_for}' must hold numbers below 2 ** 60, got up to "
                    f"{bound:.3g}: quantise the model again"
                )
            scale, dtype = fixed_scale(bound), "int32"
        shape = self.shapes.get(stands_for, ())
        tensor = Tensor(name, dtype, scale, zero_point, shape, bound)
        self.tensors[name] = tensor
        self.names[name] = name
        self.names[stands_for] = name
        return tensor

    def target(self, name: str, bound: float, covered: Sequence[int]) -> MadeTensor:
        """Tensor that an operator shall make: int8 if that is all that is read.

        Args:
            name: of the float tensor
            bound: largest absolute number that it can hold
            covered: indices of the nodes that make it

        """
        readers = self.graph.consumers.get(name, [])
        if (
            len(readers) == 1
            and self.nodes[readers[0]].op_type == "QuantizeLinear"
            and name not in self.graph.outputs
        ):
            (reader,) = readers
            scale, zero_point = self.activation_parameters(reader)
            self.done.add(reader)
            tensor = self.add(
                self.nodes[reader].output[0], name, scale=scale, zero_point=zero_point
            )
            covered = [*covered, reader]
        else:
            tensor = self.add(name, name, bound=bound)
        self.done.update(covered)
        return MadeTensor(tensor, tuple(sorted(covered)))

    def moved(self, index: int) -> tuple[tuple[str], str, tuple[int, ...]]:
        """Inputs, output and nodes where the integers of the input stay."""
        source = self.tensor(index)
        tensor, nodes = self.target(self.nodes[index].output[0], source.bound, [index])
        if (tensor.dtype, tensor.scale, tensor.zero_point) != (
            source.dtype,
            source.scale,
            source.zero_point,
        ):
            self.fail(index, "followed by the scale that it is fed with")
        return (source.name,), tensor.name, nodes

    # -- scales ----------------------------------------------------------

    def activation_parameters(self, index: int) -> tuple[float, int]:
        """Scale and zero point of a QuantizeLinear or DequantizeLinear."""
        node = self.nodes[index]
        scale = self.graph.array(node.input[1])
        zero = self.graph.array(node.input[2]) if len(node.input) > 2 else None
        if scale is None or scale.size != 1 or zero is None or zero.size != 1:
            self.fail(index, "a quantisation with one constant scale and zero point")
        if zero.dtype != np.int8:
            self.fail(index, f"a quantisation to int8 and not {zero.dtype}")
        value = float(scale.reshape(()))
        if not 1 / LARGEST_SCALE <= value <= LARGEST_SCALE:
            self.fail(
                index,
                f"a quantisation with a scale in 2 ** -60 .. 2 ** 60 and not {value}",
            )
        return value, int(zero.reshape(()))

    def rescale(
        self, index: int, factor: np.ndarray | np.floating | float, largest: float
    ) -> Rescale:
        """Rescaling by a factor of integers up to a largest one."""
        try:
            return Rescale.of(factor, largest)
        except ExportError as error:
            self.fail(index, f"quantised with other scales ({error})")


def attributes(node: NodeProto) -> Mapping[str, Any]:
    """Attributes of a node by name."""
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
