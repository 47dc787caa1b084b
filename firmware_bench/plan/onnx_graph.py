"""Load an ONNX model and find the shape and type of every tensor."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto

from wav2small.export.base import isolated, onnx_file
from wav2small.export.base.errors import BenchError, one_line
from wav2small.export.base.escape import line

DEFAULT_WINDOW = 1.0
"""Seconds of audio in a window if neither the model nor the user says."""

DEFAULT_SAMPLING_RATE = 16000
"""Samples per second of a model that does not say, in Hz."""

_MAX_SECONDS = 3600

_TYPES: dict[int, tuple[str, int]] = {
    TensorProto.FLOAT: ("float32", 32),
    TensorProto.DOUBLE: ("float64", 64),
    TensorProto.FLOAT16: ("float16", 16),
    TensorProto.BFLOAT16: ("bfloat16", 16),
    TensorProto.BOOL: ("bool", 8),
    TensorProto.INT4: ("int4", 4),
    TensorProto.UINT4: ("uint4", 4),
    TensorProto.INT8: ("int8", 8),
    TensorProto.UINT8: ("uint8", 8),
    TensorProto.INT16: ("int16", 16),
    TensorProto.UINT16: ("uint16", 16),
    TensorProto.INT32: ("int32", 32),
    TensorProto.UINT32: ("uint32", 32),
    TensorProto.INT64: ("int64", 64),
    TensorProto.UINT64: ("uint64", 64),
}
_BITS = dict(_TYPES.values())
_CONTENT = (
    "raw_data",
    "float_data",
    "int32_data",
    "int64_data",
    "double_data",
    "uint64_data",
)


@dataclass(frozen=True)
class TensorType:
    """Shape and type of a tensor."""

    shape: tuple[int, ...]
    """Elements along each axis."""

    dtype: str
    """Type of an element, for instance ``float32`` or ``int8``."""

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bits(self) -> int:
        """Bits of an element."""
        return _BITS[self.dtype]

    @property
    def bytes(self) -> int:
        """Bytes of the tensor; two 4-bit elements share one."""
        return (self.elements * self.bits + 7) // 8


@dataclass(frozen=True)
class Graph:
    """A model with an input of one window, so that all shapes are known."""

    model: ModelProto
    """The model, its input fixed to the window."""

    tensors: dict[str, TensorType]
    """Every tensor that the outputs depend on, by name."""

    nodes: tuple[onnx.NodeProto, ...]
    """Nodes that the outputs depend on, in the order of execution."""

    input: str
    """Name of the input."""

    outputs: tuple[str, ...]
    """Names of the outputs."""

    window_seconds: float
    """Audio of one execution, in seconds."""

    sampling_rate: int
    """Samples per second of that audio, in Hz."""

    file_bytes: int
    """Size of the file."""

    structure_bytes: int
    """Size of the file without the contents of its tensors."""

    sha256: str
    """Hash of the file, 64 hexadecimal digits."""

    metadata: dict[str, str]
    """Metadata of the model."""


def load_graph(path: str | Path, window_seconds: float | None = None) -> Graph:
    """Load a model and fix it to a window.

    The free length of a signal becomes the window;
    a free batch becomes 1.
    Shapes come from ONNX shape inference;
    where that leaves a tensor open,
    the model is run once in onnxruntime, in a process of its own.

    Args:
        path: ONNX file without external data and with one input,
            of which at most batch (first axis) and time (last axis) are free
        window_seconds: length of the window in seconds;
            if None, the length of the model's input if that is fixed,
            else its metadata entry ``window`` (unless ``any``),
            else :data:`DEFAULT_WINDOW`

    Raises:
        BenchError: if the file is missing, corrupt or invalid,
            holds something that cannot be planned,
            or the window does not fit it

    """
    where = f"'{line(Path(path).name)}'"
    data = onnx_file.read(path, BenchError)
    model = _parse(data, where)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    structure_bytes = _structure_bytes(model)
    rate = int(_number(metadata, "sampling_rate", DEFAULT_SAMPLING_RATE, 1, 10**6))
    seconds = _fix_input(model, metadata, window_seconds, rate)
    nodes = _needed(model)
    outputs = tuple(value.name for value in model.graph.output)
    return Graph(
        model=model,
        tensors=_static(model, nodes, where),
        nodes=nodes,
        input=model.graph.input[0].name,
        outputs=outputs,
        window_seconds=seconds,
        sampling_rate=rate,
        file_bytes=len(data),
        structure_bytes=structure_bytes,
        sha256=hashlib.sha256(data).hexdigest(),
        metadata=metadata,
    )


def _parse(data: bytes, where: str) -> ModelProto:
    model = onnx_file.parse(data, where, BenchError, only_look=True)
    problem = None
    if model.functions:
        problem = f"function '{model.functions[0].name}'"
    for node in model.graph.node:
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            problem = f"control flow in {node.op_type}"
    if problem:
        raise BenchError(
            f"{where} must be one flat graph of dense tensors, got {problem}: "
            "simplify the model first"
        )
    onnx_file.check_valid(model, where, BenchError)
    return model


def _stored(model: ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _structure_bytes(model: ModelProto) -> int:
    bare = ModelProto()
    bare.CopyFrom(model)
    for tensor in _stored(bare):
        for field in _CONTENT:
            tensor.ClearField(field)
    return bare.ByteSize()


def _number(
    metadata: dict[str, str], key: str, default: float, low: float, high: float
) -> float:
    if key not in metadata:
        return default
    try:
        value = float(metadata[key])
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise BenchError(
            f"metadata entry '{key}' must be a number from {low:g} to {high:g}, got "
            f"'{one_line(ValueError(metadata[key]))}': export the model again"
        )
    return value


def _fix_input(
    model: ModelProto,
    metadata: dict[str, str],
    window_seconds: float | None,
    rate: int,
) -> float:
    """Give the input a static shape and return its length in seconds."""
    stored = {tensor.name for tensor in model.graph.initializer}
    sources = [value for value in model.graph.input if value.name not in stored]
    if len(sources) != 1:
        raise BenchError(
            f"model must have one input, got {len(sources)}: "
            "export it with the signal alone"
        )
    (source,) = sources
    del model.graph.input[:]
    model.graph.input.append(source)
    axes = model.graph.input[0].type.tensor_type.shape.dim
    free = [i for i, axis in enumerate(axes) if not axis.HasField("dim_value")]
    if not axes or not set(free) <= {0, len(axes) - 1}:
        raise BenchError(
            f"input '{source.name}' must be free in batch and time at most, got "
            f"{len(axes)} axes of which {free} are free: fix the others"
        )
    if window_seconds is not None and not 1 / rate <= window_seconds <= _MAX_SECONDS:
        raise BenchError(
            f"window_seconds must be from one sample to {_MAX_SECONDS} s, got "
            f"{window_seconds}: give the seconds that the model hears at once"
        )
    time = len(axes) - 1
    if 0 in free and time != 0:
        axes[0].dim_value = 1
    if time not in free and len(axes) <= 2:
        samples = axes[time].dim_value
        if window_seconds is not None and round(window_seconds * rate) != samples:
            raise BenchError(
                f"window_seconds must be {samples / rate:g} for this model, got "
                f"{window_seconds:g}: its window is fixed; export it with another"
            )
        return samples / rate
    seconds = window_seconds
    if seconds is None and metadata.get("window", "any") != "any":
        seconds = _number(metadata, "window", DEFAULT_WINDOW, 1 / rate, _MAX_SECONDS)
    if len(axes) > 2:
        shape = [axis.dim_value for axis in axes]
        if time in free:
            raise BenchError(
                f"input '{source.name}' must be a signal or have a fixed length, got "
                f"{len(axes)} axes with free time: export it with a fixed window"
            )
        if seconds is None:
            raise BenchError(
                f"window_seconds must be given for an input of shape {shape}, got "
                "none: say how many seconds of audio that is"
            )
        return seconds
    axes[time].dim_value = round((seconds or DEFAULT_WINDOW) * rate)
    return axes[time].dim_value / rate


def _needed(model: ModelProto) -> tuple[onnx.NodeProto, ...]:
    wanted = {value.name for value in model.graph.output}
    nodes = []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    return tuple(reversed(nodes))


def _static(
    model: ModelProto, nodes: tuple[onnx.NodeProto, ...], where: str
) -> dict[str, TensorType]:
    # What the file claims was for another length.
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        # Strict to find what cannot be. Shape arithmetic is left to a second
        # pass, whose rules for it refuse to multiply a column by a row.
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # shape inference has no common base class
        raise BenchError(
            f"{where} must fit its window, got {one_line(error)}: "
            "take a longer window or export it again"
        ) from error
    graph = inferred.graph
    wanted = [name for node in nodes for name in node.output if name]
    needed = {*wanted, *(name for node in nodes for name in node.input)}
    needed |= {value.name for value in (*graph.input, *graph.output)}
    tensors = {
        tensor.name: _tensor_type(tensor.name, tensor.data_type, tuple(tensor.dims))
        for tensor in graph.initializer
        if tensor.name in needed
    }
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        dims = kind.shape.dim
        known = kind.HasField("shape") and all(d.HasField("dim_value") for d in dims)
        if value.name in needed and known:
            shape = tuple(d.dim_value for d in dims)
            tensors[value.name] = _tensor_type(value.name, kind.elem_type, shape)
    unknown = [name for name in wanted if name not in tensors]
    if unknown:
        tensors |= _run_for_types(model, tensors, unknown)
    return tensors


def _tensor_type(name: str, data_type: int, shape: tuple[int, ...]) -> TensorType:
    if data_type not in _TYPES:
        raise BenchError(
            f"tensor '{name}' must have a type that can be planned, got ONNX type "
            f"{data_type}: supported are {', '.join(_BITS)}"
        )
    if any(length < 0 for length in shape):
        raise BenchError(
            f"tensor '{name}' must have no negative length, got {list(shape)}: "
            "take a longer window"
        )
    return TensorType(shape, _TYPES[data_type][0])


def _run_for_types(
    model: ModelProto, tensors: dict[str, TensorType], unknown: list[str]
) -> dict[str, TensorType]:
    probe = ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in unknown)
    shape = tensors[model.graph.input[0].name].shape
    try:
        found = isolated.run(
            probe.SerializeToString(), shape, outputs=unknown, error=BenchError
        )
    except BenchError as error:
        raise BenchError(
            f"tensor '{unknown[0]}' must have a shape that follows from the input's, "
            f"got none from inference and no run ({error})"
        ) from error
    codes = {name: code for code, (name, _) in _TYPES.items()}
    return {
        name: _tensor_type(name, codes.get(dtype, 0), tuple(shape))
        for name, (shape, dtype) in found["types"].items()
    }
