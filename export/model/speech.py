"""The second output of a model: whether what it hears is speech.

``speech`` has one number for each row of a small network on the log-mel map,
its log-odds that the row is speech: shape ``(1, rows)``, above 0 means speech.
The scores do not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from ..base.errors import ExportError
from .compact import compact
from .constants import expand_constants
from .topology import Topology

OUTPUT = "speech"
"""Name of the output."""

_MOST_WEIGHT = 63
"""Largest weight: sums of two products of 8 bits must fit 16 in some runtimes."""


def has_speech(model: ModelProto) -> bool:
    """Whether a model has the output beside another one."""
    names = [value.name for value in model.graph.output]
    return OUTPUT in names and len(names) > 1


def scores_alone(model: ModelProto) -> ModelProto:
    """Leave out the output ``speech`` and all that only it needs.

    Args:
        model: any model

    Returns:
        the same one if it has no such output

    """
    if not has_speech(model):
        return model
    others = [value.name for value in model.graph.output if value.name != OUTPUT]
    return _with_outputs(model, others)


def speech_alone(model: ModelProto) -> ModelProto | None:
    """Leave out all that the output ``speech`` does not need.

    The last node, which takes the axes of channels and bands away, goes as well.

    Args:
        model: any model

    Returns:
        None if it has no such output

    Raises:
        ExportError: if the output does not end in a Squeeze

    """
    if not has_speech(model):
        return None
    graph = Topology(model)
    last = graph.producer.get(OUTPUT)
    if last is None or graph.nodes[last].op_type != "Squeeze":
        raise ExportError(
            f"output '{OUTPUT}' must be made by a Squeeze, got another node: "
            "train the detector of speech again"
        )
    return _with_outputs(model, [graph.nodes[last].input[0]])


def _with_outputs(model: ModelProto, names: list[str]) -> ModelProto:
    """Part of a model that some of its tensors need."""
    graph = Topology(model)
    needed = graph.upstream(graph.producer[name] for name in names)
    part = ModelProto()
    part.CopyFrom(model)
    values = {value.name: value for value in model.graph.output}
    del part.graph.node[:], part.graph.output[:], part.graph.initializer[:]
    part.graph.node.extend(model.graph.node[index] for index in sorted(needed))
    for name in names:
        if name in values:
            part.graph.output.add().CopyFrom(values[name])
        else:
            value = part.graph.output.add(name=name)
            value.type.tensor_type.elem_type = 1
            for size in (1, 1, name, 1):
                dim = value.type.tensor_type.shape.dim.add()
                if isinstance(size, int):
                    dim.dim_value = size
                else:
                    dim.dim_param = "rows"
    read = {name for node in part.graph.node for name in node.input}
    part.graph.initializer.extend(
        tensor for tensor in model.graph.initializer if tensor.name in read
    )
    return part


@dataclass(frozen=True, eq=False)
class DetectorLayer:
    """A convolution over rows of the detector, in floats."""

    weight: np.ndarray
    """``(outputs, inputs, rows, bands)``."""

    bias: np.ndarray
    """``(outputs,)``."""

    step: int
    """Rows of the input from one row to the next."""

    dilation: int
    """Rows of the input from tap to tap; all taps lie in the past."""

    largest: float | None
    """Largest output that 8 bits hold, for what is below 0 becomes 0;
    None for the log-odds, which stay float."""


def with_speech(model: ModelProto, layers: Sequence[DetectorLayer]) -> ModelProto:
    """Give a model the output ``speech``; one that it has goes.

    Args:
        model: int8 model with a log-mel map of 8 bits
        layers: detector on this map

    Returns:
        new model with the same metadata

    """
    whole = ModelProto()
    whole.CopyFrom(scores_alone(model))
    graph = whole.graph
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    rows = next(node for node in graph.node if node.input[0] == first.output[0])
    scale = float(Topology(whole).array(first.input[1]))  # type: ignore[arg-type]
    writer = _Writer(graph)
    name = rows.output[0]
    for number, layer in enumerate(layers):
        name, scale = writer.add(f"{OUTPUT}_{number}", layer, name, scale)
    writer.node("Squeeze", [name, writer.constant(f"{OUTPUT}_axes", [1, 3])], OUTPUT)
    graph.output.append(
        helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, "rows"])
    )
    packed = compact(whole)
    del packed.metadata_props[:]
    packed.metadata_props.extend(model.metadata_props)
    return packed


def detector_of(model: ModelProto) -> list[DetectorLayer]:
    """Detector that :func:`with_speech` gave a model, e.g. to give it to another.

    A detector knows the log-mel map alone: it serves each model with this map.

    Args:
        model: any model

    Returns:
        its layers; none if the model has no such output

    """
    part = speech_alone(expand_constants(model))
    if part is None:
        return []
    graph = Topology(part)

    def dequantised(name: str) -> np.ndarray | None:
        node = graph.nodes[graph.producer[name]] if name in graph.producer else None
        if node is None or node.op_type != "DequantizeLinear":
            return None
        values, steps = (graph.array(name) for name in node.input[:2])
        if values is None or steps is None:
            return None
        return values * steps.reshape(-1, *[1] * (values.ndim - 1))

    layers = []
    for index, node in enumerate(graph.nodes):
        if node.op_type != "Conv" or len(node.input) < 3:
            continue
        weight, bias = (dequantised(name) for name in node.input[1:])
        if weight is None or bias is None:
            continue
        options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        scales = [graph.array(graph.nodes[i].input[1]) for i in graph.children(index)]
        largest = float(scales[0]) * 255 if scales and scales[0] is not None else None
        # what is left out is the operator's default
        steps, dilations = (options.get(k, [1]) for k in ("strides", "dilations"))
        layers.append(DetectorLayer(weight, bias, steps[0], dilations[0], largest))
    return layers


class _Writer:
    """Nodes and constants that are added to a graph."""

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph

    def constant(self, name: str, values: object, dtype: str = "int64") -> str:
        array = np.asarray(values, dtype)
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **more: Any) -> str:
        self.graph.node.append(helper.make_node(kind, inputs, [output], **more))
        return output

    def add(
        self, name: str, layer: DetectorLayer, source: str, scale: float
    ) -> tuple[str, float]:
        """Add a layer; return its output and the scale of that."""
        reach = np.abs(layer.weight).reshape(len(layer.weight), -1).max(axis=1)
        steps = (np.maximum(reach, 1e-6) / _MOST_WEIGHT).astype(np.float32)
        weight = np.rint(layer.weight / steps[:, None, None, None])
        weight = np.clip(weight, -_MOST_WEIGHT, _MOST_WEIGHT)
        bias_step = (np.float32(scale) * steps).astype(np.float32)
        read = [source]
        for kind, values, step in (
            ("int8", weight, steps),
            ("int32", np.rint(layer.bias / bias_step), bias_step),
        ):
            made = f"{name}_{kind}"
            inputs = [
                self.constant(f"{made}_q", values, kind),
                self.constant(f"{made}_s", step, "float32"),
            ]
            read.append(self.node("DequantizeLinear", inputs, made, axis=0))
        taps, bands = layer.weight.shape[2:]
        output = self.node(
            "Conv",
            read,
            f"{name}_out",
            dilations=[layer.dilation, 1],
            kernel_shape=[taps, bands],
            pads=[(taps - 1) * layer.dilation, 0, 0, 0],
            strides=[layer.step, 1],
        )
        if layer.largest is None:
            return output, 1.0
        made_scale = float(np.float32(layer.largest / 255))
        parameters = [
            self.constant(f"{name}_scale", made_scale, "float32"),
            self.constant(f"{name}_zero", -128, "int8"),
        ]
        output = self.node("QuantizeLinear", [output, *parameters], f"{name}_q")
        output = self.node("DequantizeLinear", [output, *parameters], f"{name}_d")
        return output, made_scale
