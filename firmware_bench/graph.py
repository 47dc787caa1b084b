"""An ONNX file as the steps and buffers that a firmware would have.

The window is fixed, every tensor gets a static shape,
and the conversions that only exist on paper are removed:

* a ``DequantizeLinear`` is done as its reader loads an element,
  a ``QuantizeLinear`` as the producer stores one,
  so the tensor between them counts one byte per element
  and the float tensors on either side do not exist
* a rectifier, and a constant that is added to a matrix product or convolution,
  belong to the step before them
* operators that only rename the axes of a tensor are no steps

What a kernel needs beside its inputs and outputs (stack, scratch) is not here.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export import topology
from export.compact import expand_constants
from export.topology import label, one_line

from .errors import BenchError

DEFAULT_WINDOW = 1.0
"""Window in seconds of a model that takes any length and states none."""

DEFAULT_SAMPLING_RATE = 16000
"""Sampling rate in Hz of a model that states none."""

MAX_WINDOW = 3600.0
"""Longest window in seconds."""

MAX_ELEMENTS = 2**28
"""Most elements that one tensor may have."""

LINEAR = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
"""Operators that multiply with weights."""

_VIEWS = {"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"}
_MOVES = _VIEWS | {"Transpose"}
_RECTIFIERS = {"Clip", "Relu"}
_ELEMENTWISE = {
    *("Abs", "Add", "BatchNormalization", "Ceil", "Clip", "Cos", "Div", "Elu", "Erf"),
    *("Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Max"),
    *("Min", "Mish", "Mul", "Neg", "Pow", "Reciprocal", "Relu", "Round", "Selu"),
    *("Sigmoid", "Sign", "Sin", "Softmax", "Softplus", "Sqrt", "Sub", "Tanh"),
}
"""Operators whose output can take the place of an input.
Softmax is not elementwise but reads a row before it writes it."""

_SMALL = {"INT8", "UINT8", "INT4", "UINT4", "INT2", "UINT2"}


@dataclass(frozen=True)
class Block:
    """A buffer: one tensor and all of its other names."""

    name: str
    """Name of the tensor that a step writes."""

    shape: tuple[int, ...]
    """Its shape."""

    dtype: str
    """Type of its elements as stored, for instance ``INT8``."""

    size: int
    """Bytes."""


@dataclass(frozen=True)
class Constant:
    """A tensor that is known before the first step."""

    name: str
    """Its name in the file."""

    size: int
    """Bytes."""

    generated: bool
    """Whether the file stores a formula and not the values."""


@dataclass(frozen=True)
class Step:
    """One operation of the firmware."""

    node: NodeProto
    """ONNX operator that does the work."""

    operator: str
    """Its type and those of the operators that it has taken in."""

    inputs: tuple[str, ...]
    """Blocks that it reads."""

    outputs: tuple[str, ...]
    """Blocks that it writes."""

    constants: tuple[str, ...]
    """Constants that it reads."""

    integer: bool
    """Whether it multiplies integers of at most 8 bits."""

    in_place: bool = False
    """Whether its output takes the place of an input."""


@dataclass(frozen=True)
class Graph:
    """Steps and buffers of a model for one window."""

    sha256: str
    """Checksum of the file."""

    data: bytes = field(repr=False)
    """The file."""

    metadata: dict[str, str]
    """What the file says of itself."""

    sampling_rate: int
    """Sampling rate in Hz."""

    window: float
    """Seconds of audio that one run takes."""

    inputs: tuple[Block, ...]
    """What is handed to the model."""

    outputs: tuple[str, ...]
    """Blocks that hold the result."""

    steps: tuple[Step, ...]
    """Operations in the order in which they run."""

    blocks: dict[str, Block]
    """Buffers by name, inputs and outputs included."""

    constants: dict[str, Constant]
    """Constants that some step reads."""

    shapes: dict[str, tuple[int, ...]]
    """Shape of every tensor of the file."""

    graph_bytes: int
    """Bytes of the file that are not constants."""


def load(path: str | Path, *, window_seconds: float | None = None) -> Graph:
    """Read a model and say what it does for one window.

    Args:
        path: ONNX file that holds all of its weights
        window_seconds: length of the signal in seconds;
            if None, what the metadata states or 1 s.
            A model with a fixed length takes no other

    Raises:
        BenchError: if the file is missing, corrupt, has external data,
            or an operator or shape that cannot be planned

    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BenchError(
            f"model must be a file that can be read, got {one_line(error)}: "
            "check the path"
        ) from error
    try:
        return _load(data, window_seconds)
    except BenchError as error:
        raise BenchError(f"'{path.name}': {error}") from error
    except Exception as error:  # onnx and onnxruntime raise anything on a bad file
        raise BenchError(
            f"'{path.name}' must be an ONNX model that can be planned, got "
            f"{one_line(error)}: check the file or export it again"
        ) from error


def element_bits(data_type: int) -> int:
    """Bits that one element of an ONNX type takes.

    Raises:
        BenchError: if it has no fixed size

    """
    name = TensorProto.DataType.Name(data_type)  # type: ignore[arg-type]
    if name in ("STRING", "UNDEFINED"):
        raise BenchError(
            f"tensors must be numbers, got {name}: export the model without it"
        )
    if name in ("INT2", "UINT2"):
        return 2
    if name in ("INT4", "UINT4", "FLOAT4E2M1"):
        return 4
    return int(helper.tensor_dtype_to_np_dtype(data_type).itemsize) * 8


def _bytes(shape: tuple[int, ...], data_type: int) -> int:
    return math.ceil(math.prod(shape) * element_bits(data_type) / 8)


def _load(data: bytes, window_seconds: float | None) -> Graph:
    model = topology.load(data)
    if model.graph.sparse_initializer:
        raise BenchError(
            "constants must be dense, got sparse ones: export the model without them"
        )
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    sampling_rate = _sampling_rate(metadata)
    stored = {tensor.name: tensor.ByteSize() for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            stored[node.output[0]] = sum(entry.ByteSize() for entry in node.attribute)
    _refuse_huge(_infer(model)[1])
    model = expand_constants(model)
    window = _fix_inputs(model, metadata, sampling_rate, window_seconds)
    model, types = _static(model)
    parts = _Builder(model, types, set(stored)).build()
    return Graph(
        sha256=hashlib.sha256(data).hexdigest(),
        data=data,
        metadata=metadata,
        sampling_rate=sampling_rate,
        window=window,
        inputs=tuple(parts.inputs),
        outputs=tuple(parts.outputs),
        steps=tuple(parts.steps),
        blocks=parts.blocks,
        constants=parts.constants,
        shapes={name: shape for name, (_, shape) in types.items()},
        graph_bytes=len(data) - sum(stored.values()),
    )


def _sampling_rate(metadata: dict[str, str]) -> int:
    text = metadata.get("sampling_rate", str(DEFAULT_SAMPLING_RATE))
    try:
        rate = int(text)
    except ValueError:
        rate = 0
    if not 1000 <= rate <= 384_000:
        raise BenchError(
            f"sampling_rate must be 1000 to 384000 Hz, got '{text}': "
            "correct the metadata of the model"
        )
    return rate


def _stated_window(metadata: dict[str, str], seconds: float | None) -> float:
    text = metadata.get("window", "any")
    if seconds is None and text == "any":
        return DEFAULT_WINDOW
    try:
        stated = float(text if seconds is None else seconds)
    except (TypeError, ValueError):
        stated = math.nan
    if not 0 < stated <= MAX_WINDOW:
        where = "metadata 'window'" if seconds is None else "window_seconds"
        raise BenchError(
            f"{where} must be more than 0 and at most {MAX_WINDOW:g} seconds, got "
            f"{text if seconds is None else seconds!r}: give the length of a signal"
        )
    return stated


def _fix_inputs(
    model: ModelProto, metadata: dict[str, str], rate: int, seconds: float | None
) -> float:
    """Give every input a static shape and return the window in seconds."""
    stated = _stated_window(metadata, seconds)
    samples = max(1, round(stated * rate))
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if not inputs:
        raise BenchError("model must have an input, got none: export it with a signal")
    free = False
    for value in inputs:
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            if dim.dim_value > 0:
                continue
            if axis == len(dims) - 1:
                dim.dim_value = samples
                free = True
            elif axis == 0:
                dim.dim_value = 1
            else:
                raise BenchError(
                    f"input '{value.name}' must be free in its first and last axis "
                    f"alone, got axis {axis}: export it with a fixed one"
                )
    dims = inputs[0].type.tensor_type.shape.dim
    if free or not 1 <= len(dims) <= 2:  # features: their length is no time
        return samples / rate if free else stated
    fixed = dims[-1].dim_value
    if seconds is not None and fixed != samples:
        raise BenchError(
            f"window_seconds must be {fixed / rate:g} as the model has it, got "
            f"{seconds:g}: leave it out or export the model with this window"
        )
    return fixed / rate


_Types = dict[str, tuple[int, tuple[int, ...]]]


def _infer(model: ModelProto) -> tuple[ModelProto, _Types]:
    """Types and shapes of the tensors that shape inference knows."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = inferred.graph
    types: _Types = {
        tensor.name: (tensor.data_type, tuple(tensor.dims))
        for tensor in graph.initializer
    }
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
            continue
        if all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shape = tuple(int(dim.dim_value) for dim in kind.shape.dim)
            types.setdefault(value.name, (kind.elem_type, shape))
    return inferred, types


def _refuse_huge(types: _Types) -> None:
    for name, (_, shape) in types.items():
        if min(shape, default=0) < 0 or math.prod(shape) > MAX_ELEMENTS:
            raise BenchError(
                f"tensor '{name}' must have at most {MAX_ELEMENTS} elements, got "
                f"shape {list(shape)}: give a shorter window or a smaller model"
            )


def _static(model: ModelProto) -> tuple[ModelProto, _Types]:
    """Replace what only depends on shapes, and find the shape of every tensor."""
    while True:
        del model.graph.value_info[:]
        _, types = _infer(model)
        _refuse_huge(types)
        outputs = {value.name for value in model.graph.output}
        nodes = []
        for node in model.graph.node:
            known = types.get(node.input[0]) if node.op_type == "Shape" else None
            if known is None or node.output[0] in outputs:
                nodes.append(node)
                continue
            limits = {entry.name: entry.i for entry in node.attribute}
            part = known[1][slice(limits.get("start", 0), limits.get("end"))]
            model.graph.initializer.append(
                numpy_helper.from_array(np.array(part, np.int64), node.output[0])
            )
        if len(nodes) == len(model.graph.node):
            break
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        model = expand_constants(model)
    _remove_unused(model)
    names = [name for node in model.graph.node for name in node.output if name]
    missing = [name for name in names if name not in types]
    if missing:
        types |= _observe(model, missing)
        _refuse_huge(types)
    return model, types


def _remove_unused(model: ModelProto) -> None:
    graph = model.graph
    used = {value.name for value in graph.output}
    nodes = []
    for node in reversed(list(graph.node)):
        if used.intersection(node.output):
            used.update(node.input)
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(reversed(nodes))


def _observe(model: ModelProto, names: list[str]) -> _Types:
    """Run the model once to learn the shapes that inference does not know."""
    watched = ModelProto()
    watched.CopyFrom(model)
    outputs = {value.name for value in model.graph.output}
    watched.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in outputs
    )
    inferred, types = _infer(model)
    for value in inferred.graph.input:
        if value.name not in types:
            raise BenchError(
                f"tensor '{value.name}' must have a static shape, got none: "
                "export the model with fixed shapes"
            )
    try:
        session = topology.session(watched, "exact")
        feed = {
            value.name: np.zeros(
                types[value.name][1],
                helper.tensor_dtype_to_np_dtype(types[value.name][0]),
            )
            for value in session.get_inputs()
        }
        values = session.run(names, feed)
    except Exception as error:  # its exceptions have no common base class
        raise BenchError(
            f"tensor '{names[0]}' must have a static shape, got none, and the model "
            f"does not run: {one_line(error)}"
        ) from error
    found: _Types = {}
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, np.ndarray):
            raise BenchError(
                f"tensor '{name}' must be a plain tensor, got "
                f"{type(value).__name__}: export the model without it"
            )
        found[name] = helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
    return found


class _Builder:
    """Walk over the nodes and keep the steps that a firmware would run."""

    def __init__(self, model: ModelProto, types: _Types, stored: set[str]) -> None:
        self.graph = topology.Topology(model)
        self.types = types
        self.stored = stored
        self.inputs: list[Block] = []
        self.outputs: list[str] = []
        self.steps: list[Step] = []
        self.blocks: dict[str, Block] = {}
        self.constants: dict[str, Constant] = {}
        self._fixed: dict[str, tuple[str, ...]] = {
            name: (name,) for name in self.graph.initializers
        }
        """Constants that stand behind each constant tensor."""
        self._storage: dict[str, str] = {}
        """Block that holds each tensor."""
        self._scales: dict[str, tuple[str, ...]] = {}
        """Scale and zero point of each tensor that is read through one."""
        self._writer: dict[str, int] = {}
        """Step that writes each block."""
        for value in model.graph.input:
            if value.name not in self.graph.initializers:
                self.inputs.append(self._new_block(value.name))

    def build(self) -> _Builder:
        for node in self.graph.nodes:
            self._add(node)
        for name in sorted(self.graph.outputs):
            if name not in self._storage:
                raise BenchError(
                    f"output '{name}' must depend on the input, got a constant: "
                    "export the model again"
                )
        self.outputs = sorted({self._storage[name] for name in self.graph.outputs})
        self._place_in_place()
        for step in self.steps:
            for name in step.constants:
                data_type, shape = self.types[name]
                self.constants.setdefault(
                    name,
                    Constant(
                        name, _bytes(shape, data_type), generated=name not in self.stored
                    ),
                )
        return self

    def _new_block(self, name: str) -> Block:
        if name not in self.types:
            raise BenchError(
                f"tensor '{name}' must have a static shape, got none: "
                "export the model with fixed shapes"
            )
        data_type, shape = self.types[name]
        block = Block(
            name,
            shape,
            TensorProto.DataType.Name(data_type),  # type: ignore[arg-type]
            _bytes(shape, data_type),
        )
        self.blocks[name] = block
        self._storage[name] = name
        return block

    def _add(self, node: NodeProto) -> None:
        operator, names = node.op_type, [name for name in node.input if name]
        result = node.output[0]
        if (
            names
            and all(name in self._fixed for name in names)
            and operator in _MOVES | {"DequantizeLinear"}
        ):
            data = names if operator == "DequantizeLinear" else names[:1]
            sources = [source for name in data for source in self._fixed[name]]
            self._fixed[result] = tuple(dict.fromkeys(sources))
            return
        source = node.input[0] if node.input else ""
        is_view = self._is_view(node)
        if source in self._storage and result not in self.graph.outputs:
            if operator == "DequantizeLinear" and self._is_simple(node):
                self._alias(source, result)
                self._scales[result] = tuple(names[1:])
                return
            if is_view or self._is_same_scale(node):
                self._alias(source, result)
                if operator != "QuantizeLinear":
                    self._scales[result] = self._scales.get(source, ())
                return
        if self._fuse(node, source):
            return
        reads = [self._storage[name] for name in names if name in self._storage]
        fixed = [entry for name in names for entry in self._fixed.get(name, ())]
        outputs = [self._new_block(name).name for name in node.output if name]
        for name in outputs:
            self._writer[name] = len(self.steps)
        self.steps.append(
            Step(
                node=node,
                operator=operator,
                inputs=tuple(dict.fromkeys(reads)),
                outputs=tuple(outputs),
                constants=tuple(dict.fromkeys(fixed)),
                integer=self._is_integer(node),
            )
        )

    def _alias(self, source: str, result: str) -> None:
        self._storage[result] = self._storage[source]

    def _is_view(self, node: NodeProto) -> bool:
        if node.op_type in _VIEWS:
            return True
        if node.op_type != "Transpose":
            return False
        shape = self.types[node.input[0]][1]
        order = next(
            (list(entry.ints) for entry in node.attribute if entry.name == "perm"),
            list(reversed(range(len(shape)))),
        )
        moved = [axis for axis in order if shape[axis] != 1]
        return moved == sorted(moved)

    @staticmethod
    def _is_simple(node: NodeProto) -> bool:
        return len(node.output) == 1

    def _is_same_scale(self, node: NodeProto) -> bool:
        """Whether a node quantises what was read through the same scale."""
        if node.op_type != "QuantizeLinear":
            return False
        before = self._scales.get(node.input[0], ())
        after = tuple(name for name in node.input[1:] if name)
        stored = self.blocks[self._storage[node.input[0]]].dtype
        data_type = self.types[node.output[0]][0]
        if len(before) != len(after) or not before:
            return False
        if stored != TensorProto.DataType.Name(data_type):  # type: ignore[arg-type]
            return False
        return all(self._equal(*pair) for pair in zip(before, after, strict=True))

    def _equal(self, first: str, second: str) -> bool:
        if first == second:
            return True
        values = [self.graph.array(name) for name in (first, second)]
        if values[0] is None or values[1] is None:
            return False
        return np.array_equal(values[0], values[1])

    def _fuse(self, node: NodeProto, source: str) -> bool:
        """Let the step before do this node's work on what it stores."""
        if len(node.output) != 1:
            return False
        others = [name for name in node.input if name and name != source]
        if node.op_type == "Add" and source not in self._storage and others:
            source, others = others[0], [source]  # the constant came first
        block = self._storage.get(source)
        if block is None or block not in self._writer:
            return False
        index = self._writer[block]
        before = self.steps[index]
        bias = node.op_type == "Add" and before.node.op_type in LINEAR
        if not (bias or node.op_type in _RECTIFIERS | {"QuantizeLinear"}):
            return False
        result = node.output[0]
        same_size = math.prod(self.types[result][1]) == math.prod(
            self.blocks[block].shape
        )
        if (
            len(before.outputs) != 1
            or self._scales.get(source)
            or not self._only_read_here(block)
            or not others and bias
            or not all(name in self._fixed for name in others)
            or not same_size
        ):
            return False
        if "QuantizeLinear" in before.operator.split("+"):
            return False
        fixed = [entry for name in others for entry in self._fixed[name]]
        del self.blocks[block], self._writer[block]
        self._new_block(result)
        for name, held in list(self._storage.items()):
            if held == block:
                self._storage[name] = result
        self._writer[result] = index
        self.steps[index] = Step(
            node=before.node,
            operator=f"{before.operator}+{node.op_type}",
            inputs=before.inputs,
            outputs=(result,),
            constants=tuple(dict.fromkeys((*before.constants, *fixed))),
            integer=before.integer,
        )
        return True

    def _only_read_here(self, block: str) -> bool:
        names = [name for name, held in self._storage.items() if held == block]
        return all(
            len(self.graph.consumers.get(name, [])) == 1
            and name not in self.graph.outputs
            for name in names
        )

    def _is_integer(self, node: NodeProto) -> bool:
        if node.op_type not in LINEAR:
            return False
        for name in node.input[:2]:
            if name in self._storage:
                dtype = self.blocks[self._storage[name]].dtype
            else:
                data_type = self.types[self._fixed[name][0]][0]
                dtype = TensorProto.DataType.Name(data_type)  # type: ignore[arg-type]
            if dtype not in _SMALL:
                return False
        return True

    def _place_in_place(self) -> None:
        """Let an elementwise output take the place of an input that ends there."""
        last: dict[str, int] = {name: len(self.steps) for name in self.outputs}
        for index, step in enumerate(self.steps):
            for name in step.inputs:
                last[name] = max(last.get(name, 0), index)
        place: dict[str, str] = {}
        for index, step in enumerate(self.steps):
            inputs = tuple(dict.fromkeys(place.get(name, name) for name in step.inputs))
            outputs, in_place = step.outputs, False
            if step.node.op_type in _ELEMENTWISE and len(outputs) == 1:
                (output,) = outputs
                block = self.blocks[output]
                for old in step.inputs:
                    candidate = self.blocks[place.get(old, old)]
                    if (
                        last[old] == index
                        and candidate.size == block.size
                        and math.prod(candidate.shape) == math.prod(block.shape)
                        and output not in self.outputs
                    ):
                        place[output] = candidate.name
                        outputs, in_place = (candidate.name,), True
                        del self.blocks[output]
                        break
            self.steps[index] = Step(
                node=step.node,
                operator=step.operator,
                inputs=inputs,
                outputs=outputs,
                constants=step.constants,
                integer=step.integer,
                in_place=in_place,
            )


def describe(step: Step) -> str:
    """Name a step for a message or a table."""
    return label(step.node)
