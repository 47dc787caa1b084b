"""Shift biases by what rounding the weights adds to the mean of a layer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from wav2small.export.model.topology import Topology
from wav2small.export.quantise.calibrate import run_over
from wav2small.export.quantise.config import QuantConfig
from wav2small.export.quantise.plan import Plan, PlannedLayer
from wav2small.export.quantise.scales import weight_limits, weight_scale


def correct_bias(
    model: ModelProto,
    plan: Plan,
    signals: Iterable[np.ndarray],
    config: QuantConfig | None = None,
) -> ModelProto:
    """Take the mean error of each planned layer's rounded weights from its bias.

    The mean of ``(rounded weight - weight) * input`` over signals
    is measured by running the layer with that difference for a weight,
    so that padding, strides and groups count as they do in the layer.
    Signals weigh by their length.

    Left out are layers without a bias,
    what rounding and clipping the activations does to the mean,
    and that the input is itself changed by the layers before.
    Memory is bounded by the longest signal.

    Args:
        model: float model that the plan was made for
        plan: plan of that model
        signals: signals as the model will meet them,
            each of shape ``(samples,)``; may come from a generator
        config: configuration that the model will be written with,
            the default one if None

    Returns:
        new float model that the plan holds for as well

    Raises:
        ExportError: if a signal cannot be used

    References:
        Nagel et al. 2019, Data-Free Quantization through Weight Equalization
        and Bias Correction, arXiv 1906.04721, section 4.2

    """
    limits = weight_limits(model, plan, config or QuantConfig())
    graph = Topology(model)
    copy, probe = ModelProto(), ModelProto()
    copy.CopyFrom(model)
    probe.CopyFrom(model)
    del probe.graph.output[:]
    biases = {
        layer: bias
        for layer in plan.layers
        if (bias := _bias(graph, layer)) is not None
    }
    for layer in biases:
        _add_effect(probe, graph, layer, limits[layer.weight])
    totals = {layer: np.zeros(bias.shape) for layer, bias in biases.items()}
    samples = 0
    for signal, effects in run_over(probe, signals):
        samples += len(signal)
        for (layer, total), effect in zip(totals.items(), effects, strict=True):
            # outputs of a convolution come second, those of a product last
            axis = 1 if graph.nodes[layer.node].op_type == "Conv" else effect.ndim - 1
            others = tuple(index for index in range(effect.ndim) if index != axis)
            total += effect.mean(axis=others, dtype=np.float64) * len(signal)
    for layer, bias in biases.items():
        name = f"{graph.nodes[layer.node].output[0]}/corrected"
        copy.graph.node[layer.node].input[2] = name
        corrected = (bias - totals[layer] / samples).astype(np.float32)
        copy.graph.initializer.append(numpy_helper.from_array(corrected, name))
    return copy


def _bias(graph: Topology, layer: PlannedLayer) -> np.ndarray | None:
    names = graph.nodes[layer.node].input[2:]
    bias = graph.array(names[0]) if names else None
    outputs = graph.initializers[layer.weight].dims[layer.axis]
    return bias if bias is not None and bias.shape == (outputs,) else None


def _add_effect(
    probe: ModelProto, graph: Topology, layer: PlannedLayer, limit: int
) -> None:
    """Add the layer with the error of its rounded weight and no bias."""
    weight = graph.array(layer.weight)
    assert weight is not None
    shape = [1] * weight.ndim
    shape[layer.axis] = -1
    step = weight_scale(weight, layer.axis, limit).scale.reshape(shape)
    error = np.clip(np.rint(weight / step), -limit, limit) * step - weight
    prefix = f"{graph.nodes[layer.node].output[0]}/bias"
    node = NodeProto()
    node.CopyFrom(graph.nodes[layer.node])
    node.name = ""
    node.input[:] = [node.input[0], f"{prefix}/error"]
    node.output[:] = [f"{prefix}/effect"]
    probe.graph.node.append(node)
    probe.graph.initializer.append(
        numpy_helper.from_array(error.astype(np.float32), node.input[1])
    )
    probe.graph.output.append(
        helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)
    )
