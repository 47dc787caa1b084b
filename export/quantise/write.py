"""Write a float model as QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ..base.errors import ExportError
from ..model.compact import compact, convert_opset
from ..model.topology import Topology
from .config import QuantConfig
from .plan import Plan, PlannedLayer, rectifier_limit
from .scales import HIGH, LOW, Scale, weight_limits, weight_scale


def write_quantised(
    model: ModelProto,
    plan: Plan,
    scales: Mapping[str, Scale],
    config: QuantConfig | None = None,
) -> ModelProto:
    """Write the QDQ model for given scales.

    Args:
        model: float model that the plan was made for
        plan: plan of that model
        scales: scale of each of ``plan.measured``;
            that of a weight, under its name, replaces the measured one
        config: configuration, the default one if None

    Returns:
        compact QDQ model

    Raises:
        ExportError: if a scale is missing or out of range

    """
    return _Writer(model, plan, scales, config or QuantConfig()).write()


class _Writer:
    def __init__(
        self,
        model: ModelProto,
        plan: Plan,
        scales: Mapping[str, Scale],
        config: QuantConfig,
    ) -> None:
        self.plan = plan
        self.config = config
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.graph = Topology(self.model)
        self.nodes: list[NodeProto] = []
        self.scales = dict(scales)
        self.limits = weight_limits(model, plan, config)
        for name in plan.measured:
            if name not in scales:
                raise ExportError(
                    f"scales must hold every measured activation, got none for "
                    f"'{name}': measure or train it"
                )
        for name, entry in scales.items():
            if not (np.isfinite(entry.scale).all() and (entry.scale > 0).all()):
                raise ExportError(
                    f"scales must be finite and above 0, got {entry.scale} for "
                    f"'{name}': measure or train it again"
                )
            if not LOW <= entry.zero_point <= HIGH:
                raise ExportError(
                    f"zero_point must be in [{LOW}, {HIGH}], got "
                    f"{entry.zero_point} for '{name}': measure or train it again"
                )

    def write(self) -> ModelProto:
        layers = {layer.node: layer for layer in self.plan.layers}
        folded = self._folded_rectifiers()
        readable: dict[str, str] = {}  # tensor to the one its readers now read
        for value in self.model.graph.input:
            if value.name in self.plan.activations:
                readable[value.name] = self._quantized(value.name)
        for index, old in enumerate(self.graph.nodes):
            if index in folded.values():
                continue
            node = NodeProto()
            node.CopyFrom(old)
            node.input[:] = [readable.get(name, name) for name in old.input]
            if index in folded:
                node.output[0] = self.graph.nodes[folded[index]].output[0]
            if index in layers:
                self._quantize_layer(node, old.input[0], layers[index])
            self.nodes.append(node)
            for name in node.output:
                if name in self.plan.activations:
                    readable[name] = self._quantized(name)
        graph = self.model.graph
        del graph.node[:]
        graph.node.extend(self.nodes)
        return convert_opset(compact(self.model), self.config.opset)

    def _folded_rectifiers(self) -> dict[int, int]:
        """Nodes whose rectifier the range expresses, and that rectifier.

        Where the lowest integer stands for 0 and the highest for no more than
        the limit, saturation does the same.
        """
        folded: dict[int, int] = {}
        for name in self.plan.activations:
            index = self.graph.producer.get(name)
            if index is None:
                continue
            node = self.graph.nodes[index]
            limit = rectifier_limit(self.graph, node)
            producer = self.graph.producer.get(node.input[0])
            if (
                limit is None
                or producer is None
                or len(self.graph.consumers[node.input[0]]) > 1
                or node.input[0] in self.plan.activations
            ):
                continue
            scale, zero_point = self.scales[self.plan.activations[name]]
            top = float(scale) * (HIGH - LOW)
            if zero_point == LOW and top <= limit * (1 + 1e-6):
                folded[producer] = index
        return folded

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.model.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _quantized(self, name: str) -> str:
        """Send a tensor through int8 and return what comes out."""
        scale, zero_point = self.scales[self.plan.activations[name]]
        parameters = [
            self._constant(f"{name}/scale", np.asarray(scale, np.float32)),
            self._constant(f"{name}/zero", np.asarray(zero_point, np.int8)),
        ]
        self.nodes += [
            helper.make_node("QuantizeLinear", [name, *parameters], [f"{name}/q"]),
            helper.make_node(
                "DequantizeLinear", [f"{name}/q", *parameters], [f"{name}/dq"]
            ),
        ]
        return f"{name}/dq"

    def _quantize_layer(
        self, node: NodeProto, source: str, layer: PlannedLayer
    ) -> None:
        """Give a node int8 weights, and an int32 bias if its input is int8."""
        weight = self.graph.array(layer.weight)
        assert weight is not None
        outputs = weight.shape[layer.axis]
        limit = self.limits[layer.weight]
        prefix = f"{node.output[0]}/layer"
        bias = self.graph.array(node.input[2]) if len(node.input) > 2 else None
        input_scale = None
        if layer.integer_input:
            input_scale = self.scales[self.plan.activations[source]].scale
        if input_scale is None or bias is None or bias.shape != (outputs,):
            bias = None
        step = self.scales.get(layer.weight) or weight_scale(
            weight,
            layer.axis,
            limit,
            bias=bias,
            input_scale=1.0 if input_scale is None else float(input_scale),
        )
        scale = np.asarray(step.scale, np.float32)
        shape = [1] * weight.ndim
        shape[layer.axis] = outputs
        integers = np.clip(np.rint(weight / scale.reshape(shape)), -limit, limit)
        node.input[1] = self._dequantized(
            f"{prefix}/weight", integers.astype(np.int8), scale, layer.axis
        )
        if bias is not None and input_scale is not None:
            bias_scale = np.asarray(input_scale, np.float32) * scale
            node.input[2] = self._dequantized(
                f"{prefix}/bias",
                np.rint(bias / bias_scale.astype(np.float64)).astype(np.int32),
                bias_scale,
                0,
            )

    def _dequantized(
        self, name: str, integers: np.ndarray, scale: np.ndarray, axis: int
    ) -> str:
        parameters = [
            self._constant(f"{name}/integers", integers),
            self._constant(f"{name}/scale", scale),
        ]
        if integers.dtype == np.int8:
            parameters.append(
                self._constant(f"{name}/zero", np.zeros(len(scale), np.int8))
            )
        self.nodes.append(
            helper.make_node("DequantizeLinear", parameters, [name], axis=axis)
        )
        return name
