"""Static int8 quantisation, written as QuantizeLinear and DequantizeLinear.

Three regions are told apart by the structure of the graph:

* the **front end**, everything before the first layer with learned weights,
  stays float: a power spectrum spans more than 80 dB, 8 bits less than 50
* the **body** has int8 activations and int8 weights
* the **tail**, everything after the last convolution,
  has float activations and int8 weights:
  softmax pooling sums products of about one over the number of frames.
  A matrix product or mean that reads the body's int8 tensor as it is reads int8.

Learned layers are convolutions and products with a constant matrix
that no logarithm on the way to a convolution depends on.

Between measuring and writing stands a plain mapping
from a tensor's name to its :class:`Scale`:
:func:`plan` says which tensors need one,
:func:`measure` makes them from signals,
:func:`write` takes them from anywhere, trained ones as well.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from ..base.errors import ExportError
from ..integer.operators import TRAITS
from ..model import topology
from ..model.compact import compact, convert_opset, expand_constants
from ..model.topology import Topology
from .calibrate import activation_ranges
from .padding import pad_channels


def _with_role(role: str) -> set[str]:
    return {name for name, traits in TRAITS.items() if traits.role == role}


_LINEAR = _with_role("layer")
_MOVES = {"Identity"} | _with_role("moves")
"""Operators that only pick values: same scale before and after."""
_RECTIFIERS = _with_role("rectifies")
_MEANS = {"AveragePool"} | _with_role("averages")
_POINTWISE = _with_role("pointwise")
_FLOAT = _with_role("float") | {
    "Abs",
    "BatchNormalization",
    "Cast",
    "Div",
    "Exp",
    "Log",
    "Max",
    "Min",
    "Neg",
    "Pad",
    "Pow",
    "ReduceMax",
    "Sqrt",
    "Sub",
}
"""Operators that stay as they are; those without integers are the front end's."""
SUPPORTED = sorted(_LINEAR | _MOVES | _RECTIFIERS | _MEANS | _POINTWISE | _FLOAT)
"""Operators that a model may consist of."""

_LOW, _HIGH = -128, 127
_FOUR_BIT_LIMIT = 7


class Scale(NamedTuple):
    """How integers stand for numbers: ``(integer - zero_point) * scale``."""

    scale: np.ndarray
    """Step in the tensor's unit, float32;
    no axis for an activation, ``(outputs,)`` for a weight."""

    zero_point: int = 0
    """Integer that stands for 0, in [-128, 127]; 0 for a weight."""


@dataclass(frozen=True)
class QuantConfig:
    """Configuration of :func:`quantize`."""

    weight_bits: Literal[7, 8] = 7
    """Bits of a weight, sign included.
    With 8 the processors without 8-bit dot products (AVX2 without VNNI)
    saturate in onnxruntime and give wrong scores without a word;
    with 7 two products of a weight and an activation always fit 16 bits."""

    channel_multiple: int = 16
    """Channels between plain convolutions are rounded up to a multiple of this
    if that makes them at most a quarter more.
    onnxruntime runs multiples of 16 twice as fast;
    1 leaves them and needs the least activation memory."""

    four_bit_layers: int = 0
    """How many layers, those with the most weights, get 4 bits.
    Two of their weights share a byte in the file."""

    opset: Literal[17, 21] = 17
    """Version of the ONNX operators.
    17 runs everywhere; 21 has a 4-bit type of its own (onnxruntime 1.18)."""

    def __post_init__(self) -> None:
        if self.four_bit_layers < 0:
            raise ExportError(
                f"four_bit_layers must be at least 0, got {self.four_bit_layers}: "
                "0 gives every layer weight_bits"
            )
        if self.channel_multiple < 1:
            raise ExportError(
                f"channel_multiple must be at least 1, got {self.channel_multiple}: "
                "1 leaves the channels as they are"
            )
        if self.opset not in (17, 21):
            raise ExportError(
                f"opset must be 17 or 21, got {self.opset}: 17 runs everywhere"
            )
        if self.weight_bits not in (7, 8):
            raise ExportError(
                f"weight_bits must be 7 or 8, got {self.weight_bits}: "
                "7 is right on every processor"
            )

    @property
    def weight_limit(self) -> int:
        """Largest absolute value of a quantised weight, but for 4-bit layers."""
        return 2 ** (self.weight_bits - 1) - 1


class Layer(NamedTuple):
    """A convolution or matrix product that gets int8 weights."""

    node: int
    """Index of its node."""

    weight: str
    """Name of its weight."""

    axis: int
    """Axis of the weight that counts outputs."""

    output: str
    """Tensor that it gives, after a rectifier that the range can express."""

    integer_input: bool
    """Whether its input is int8."""


@dataclass(frozen=True)
class Plan:
    """What is to be quantised in a float model whose constants are stored."""

    layers: tuple[Layer, ...]
    """Layers with int8 weights, in the order of the graph."""

    activations: dict[str, str]
    """Tensors that become int8 and the one whose scale each has:
    its own, or that of the tensor whose values it only picks from."""

    @property
    def measured(self) -> list[str]:
        """Activations that have a scale of their own."""
        return [name for name, source in self.activations.items() if name == source]


def quantize(
    model: ModelProto,
    calibration_signals: Iterable[np.ndarray],
    config: QuantConfig | None = None,
) -> ModelProto:
    """Quantise a float model by the range that its tensors have on signals.

    Args:
        model: float ONNX model, input ``(1, time)``
        calibration_signals: signals as the model will meet them,
            each of shape ``(samples,)``
        config: configuration, the default one if None

    Returns:
        compact QDQ model with the same input and output

    Raises:
        ExportError: if an operator is not supported,
            nothing can be quantised,
            or a signal cannot be used

    """
    config = config or QuantConfig()
    model, parts = prepare(model, config)
    return write(model, parts, measure(model, parts, calibration_signals), config)


def prepare(
    model: ModelProto, config: QuantConfig | None = None
) -> tuple[ModelProto, Plan]:
    """Bring a float model into the form that is measured, tuned and written.

    Args:
        model: float ONNX model, input ``(1, time)``
        config: configuration, the default one if None

    Returns:
        model with stored constants and padded channels, and its plan

    Raises:
        ExportError: if an operator is not supported or nothing can be quantised

    """
    config = config or QuantConfig()
    model = expand_constants(model)
    learned = [layer.node for layer in plan(model).layers]
    model = pad_channels(model, learned, config.channel_multiple)
    return model, plan(model)


def fit(
    model: ModelProto,
    plan: Plan,
    scales: Mapping[str, Scale],
    max_bytes: int,
    config: QuantConfig | None = None,
) -> QuantConfig:
    """Give as few layers 4 bits as bring a model under a size.

    Args:
        model: float model that the plan was made for
        plan: plan of that model
        scales: scale of each of ``plan.measured``
        max_bytes: largest size of the written model, without metadata
        config: configuration to start from, the default one if None

    Returns:
        configuration with the fewest ``four_bit_layers`` that fit,
        or with as many as there are layers if none does

    """
    config = config or QuantConfig()

    def fits(count: int) -> bool:
        written = write(model, plan, scales, replace(config, four_bit_layers=count))
        return written.ByteSize() <= max_bytes

    counts = range(config.four_bit_layers, len(plan.layers))
    found = bisect.bisect_left(counts, True, key=fits)
    return replace(config, four_bit_layers=config.four_bit_layers + found)


def plan(model: ModelProto) -> Plan:
    """Decide which tensors and weights of a float model become int8.

    Args:
        model: model from :func:`wav2small.export.model.compact.expand_constants`

    Raises:
        ExportError: if an operator is not supported
            or there is no learned layer

    """
    return _Planner(model).plan()


class _Planner:
    def __init__(self, model: ModelProto) -> None:
        self.graph = graph = Topology(model)
        self.nodes = graph.nodes
        self._check(model)
        every = range(len(self.nodes))
        convolutions = [i for i in every if self.nodes[i].op_type == "Conv"]
        before_convolution = graph.upstream(convolutions)
        logarithms = [i for i in before_convolution if self.nodes[i].op_type == "Log"]
        front_end = graph.upstream(logarithms)
        self.linear = [
            i for i in every if i not in front_end and self._has_learned_weight(i)
        ]
        if not self.linear:
            raise ExportError(
                "model must have a layer with constant weights to quantise, got "
                "none: give a model with convolutions or matrix products"
            )
        body_convolutions = [i for i in self.linear if i in set(convolutions)]
        self.learned = graph.downstream(self.linear)
        self.tail = (
            self.learned - graph.upstream(body_convolutions) - set(body_convolutions)
        )

    def _check(self, model: ModelProto) -> None:
        if len(model.graph.input) != 1 or len(model.graph.output) != 1:
            raise ExportError(
                f"model must have one input and one output, got "
                f"{len(model.graph.input)} and {len(model.graph.output)}: "
                "export it with the signal alone"
            )
        version = topology.opset(model)
        if version < 13:
            raise ExportError(
                f"model must be written in opset 13 or later, got {version}: "
                "export it again with opset 17"
            )
        for node in self.nodes:
            if node.op_type not in SUPPORTED:
                raise ExportError(
                    f"model must consist of operators that can be quantised, got "
                    f"{topology.label(node)}: supported are {', '.join(SUPPORTED)}"
                )
            if node.op_type == "Conv" and self.graph.array(node.input[1]) is None:
                raise ExportError(
                    f"weights must be constant, got computed ones in "
                    f"{topology.label(node)}: export the model with fixed weights"
                )

    def _has_learned_weight(self, index: int) -> bool:
        node = self.nodes[index]
        if node.op_type not in _LINEAR:
            return False
        weight = self.graph.array(node.input[1])
        if weight is None or weight.dtype != np.float32 or weight.ndim < 2:
            return False
        plain = node.op_type == "Conv" or weight.ndim == 2
        return plain and all(
            attribute.name not in ("alpha", "beta", "transA")
            or helper.get_attribute_value(attribute)
            == (0 if attribute.name == "transA" else 1)
            for attribute in node.attribute
        )

    def plan(self) -> Plan:
        """Walk the graph once for layers and once for residual sums."""
        wanted: set[str] = set()
        layers: list[Layer] = []
        for index in self.linear:
            node = self.nodes[index]
            for name in node.input[1:]:
                value = self.graph.array(name)
                if value is not None and not np.isfinite(value).all():
                    raise ExportError(
                        f"weights must be finite, got NaN or Inf in "
                        f"{topology.label(node)}: train the model again"
                    )
            source = self._source(node.input[0])
            integer_input = index not in self.tail or self._gives_integers(source)
            if integer_input:
                wanted.add(node.input[0])
            output = self._rectified(index)
            if index not in self.tail and self._readers_take_integers(output):
                wanted.add(output)
            axis = 0 if node.op_type == "Conv" or _transposed(node) else 1
            # onnxruntime turns other products of float activations
            # with int8 weights into ones that quantise the activations.
            if integer_input or node.op_type == "Conv" or _gemm_form(node):
                layers.append(Layer(index, node.input[1], axis, output, integer_input))
        for index, node in enumerate(self.nodes):
            if node.op_type == "Add" and index in self.learned - self.tail:
                sources = [self._source(name) for name in node.input]
                if all(
                    source in wanted or self._gives_integers(source)
                    for source in sources
                ):
                    wanted.update(node.input)
                    wanted.add(self._rectified(index))
        activations: dict[str, str] = {}
        for name in sorted(wanted, key=self._order):
            path = self._path(name)
            for step in reversed(path):
                activations.setdefault(step, path[-1])
        return Plan(
            tuple(layers),
            dict(sorted(activations.items(), key=lambda item: self._order(item[0]))),
        )

    def _order(self, name: str) -> tuple[int, str]:
        return self.graph.producer.get(name, -1), name

    def _path(self, name: str) -> list[str]:
        """Tensors from this one back to the one whose values it picks from."""
        path = [name]
        while True:
            index = self.graph.producer.get(path[-1])
            # before the body there is nothing to gain from moving integers
            if index is None or index not in self.learned:
                return path
            if self.nodes[index].op_type not in _MOVES:
                return path
            path.append(self.nodes[index].input[0])

    def _source(self, name: str) -> str:
        return self._path(name)[-1]

    def _gives_integers(self, name: str) -> bool:
        """Whether a tensor comes from a body layer or residual sum."""
        index = self.graph.producer.get(name)
        if index is None or (index in self.tail and not self._is_rectifier(index)):
            return False
        if self._is_rectifier(index):
            index = self.graph.producer.get(self.nodes[index].input[0])
        if index is None or index in self.tail or index not in self.learned:
            return False
        return index in self.linear or self.nodes[index].op_type == "Add"

    def _is_rectifier(self, index: int) -> bool:
        return _rectifier_limit(self.graph, self.nodes[index]) is not None

    def _rectified(self, index: int) -> str:
        """Output of a layer, or of the rectifier that alone reads it."""
        (output,) = self.nodes[index].output
        readers = self.graph.consumers.get(output, [])
        if len(readers) == 1 and output not in self.graph.outputs:
            reader = readers[0]
            if self._is_rectifier(reader) and self.nodes[reader].input[0] == output:
                return self.nodes[reader].output[0]
        return output

    def _readers_take_integers(self, name: str) -> bool:
        """Whether no reader in the tail needs more than 8 bits."""
        if name in self.graph.outputs:
            return False
        for index in self.graph.consumers.get(name, []):
            node = self.nodes[index]
            if index not in self.tail or index in self.linear:
                continue
            if node.op_type in _MOVES:
                if not self._readers_take_integers(node.output[0]):
                    return False
            elif node.op_type not in _MEANS | _POINTWISE:
                return False
        return True


def _rectifier_limit(graph: Topology, node: NodeProto) -> float | None:
    """Upper limit of max(0, x) or min(max(0, x), limit), None for another node."""
    if node.op_type == "Relu":
        return np.inf
    if node.op_type != "Clip" or len(node.input) < 2:
        return None
    bounds = [graph.array(name) for name in node.input[1:]]
    if bounds[0] is None or float(bounds[0]) != 0:
        return None
    if len(bounds) < 2 or not node.input[2]:
        return np.inf
    return None if bounds[1] is None else float(bounds[1])


def _transposed(node: NodeProto) -> bool:
    return any(entry.name == "transB" and entry.i for entry in node.attribute)


def _gemm_form(node: NodeProto) -> bool:
    return node.op_type == "Gemm" and _transposed(node)


def measure(
    model: ModelProto, plan: Plan, signals: Iterable[np.ndarray]
) -> dict[str, Scale]:
    """Scale of each activation that has one of its own, from its range.

    The range is widened to hold 0,
    and 0 is exactly one of the 256 values.

    Raises:
        ExportError: if a signal cannot be used

    """
    ranges = activation_ranges(model, plan.measured, signals)
    return {name: activation_scale(*extremes) for name, extremes in ranges.items()}


def activation_scale(low: float, high: float) -> Scale:
    """Scale that spreads a range, and 0, over int8."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = np.float32((high - low) / (_HIGH - _LOW))
    if not step > np.finfo(np.float32).tiny:  # nothing but zeros was seen
        return Scale(np.ones((), np.float32))
    zero_point = int(np.clip(np.round(_LOW - low / step), _LOW, _HIGH))
    return Scale(np.asarray(step, np.float32), zero_point)


def weight_scale(
    weight: np.ndarray,
    axis: int,
    limit: int,
    *,
    bias: np.ndarray | None = None,
    input_scale: float = 1.0,
) -> Scale:
    """Symmetric scale of each output of a weight.

    Args:
        weight: weight
        axis: axis of the outputs
        limit: largest absolute integer
        bias: bias ``(outputs,)`` that must fit 32 bits
            with the step ``input_scale * scale``
        input_scale: step of the layer's input

    """
    others = tuple(index for index in range(weight.ndim) if index != axis)
    largest = np.abs(weight).max(axis=others).astype(np.float64)
    step = largest / limit
    if limit <= _FOUR_BIT_LIMIT:
        # with so few steps it pays to clip the largest weights
        step = _least_squares(np.moveaxis(weight, axis, 0), step, limit)
    if bias is not None:
        # A channel of next to no weights would need a larger bias than int32 has.
        step = np.maximum(step, np.abs(bias) / (input_scale * 2**30))
    step[step <= np.finfo(np.float32).tiny] = 1.0
    return Scale(step.astype(np.float32))


def _least_squares(rows: np.ndarray, step: np.ndarray, limit: int) -> np.ndarray:
    """Of some shares of each row's step the one with the least squared error."""
    rows = rows.reshape(len(rows), -1).astype(np.float64)
    step = np.where(step > 0, step, 1.0)
    shares = np.linspace(0.5, 1, 26)
    errors = []
    for share in shares:
        scale = (step * share)[:, None]
        rounded = np.clip(np.rint(rows / scale), -limit, limit) * scale
        errors.append(np.square(rounded - rows).sum(axis=1))
    return step * shares[np.argmin(errors, axis=0)]


def weight_limits(model: ModelProto, plan: Plan, config: QuantConfig) -> dict[str, int]:
    """Largest absolute integer of each planned weight."""
    graph = Topology(model)
    sizes = {layer.weight: graph.size(layer.weight) for layer in plan.layers}
    largest = sorted(sizes, key=lambda name: -sizes[name])
    return dict.fromkeys(sizes, config.weight_limit) | dict.fromkeys(
        largest[: config.four_bit_layers], _FOUR_BIT_LIMIT
    )


def write(
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
            if not _LOW <= entry.zero_point <= _HIGH:
                raise ExportError(
                    f"zero_point must be in [{_LOW}, {_HIGH}], got "
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
            limit = _rectifier_limit(self.graph, node)
            producer = self.graph.producer.get(node.input[0])
            if (
                limit is None
                or producer is None
                or len(self.graph.consumers[node.input[0]]) > 1
                or node.input[0] in self.plan.activations
            ):
                continue
            scale, zero_point = self.scales[self.plan.activations[name]]
            top = float(scale) * (_HIGH - _LOW)
            if zero_point == _LOW and top <= limit * (1 + 1e-6):
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

    def _quantize_layer(self, node: NodeProto, source: str, layer: Layer) -> None:
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
