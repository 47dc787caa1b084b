"""Read the integer graph out of an exported QDQ model."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto

from ..base.errors import ExportError
from ..base.outputs import CATEGORIES, DOUBT, FURTHER
from ..model import further, speech, topology
from ..model.constants import expand_constants
from .graph import IntegerGraph
from .operators import READERS
from .operators.base import Operator
from .operators.log_mel import LogMel
from .reading import LARGEST_SCALE, Constant, Reading

_OLDEST_OPSET = 13
"""Before it, Softmax and the reductions are other functions."""

_LARGEST_OUTPUT_STEP = 2.0**-6
"""Above it a score of 0 to 1 has no digits left."""

SUPPORTED = sorted({"DequantizeLinear", "QuantizeLinear", *READERS})
"""ONNX operators after the front end that have integer arithmetic."""


def read(source: ModelProto | bytes | str | Path) -> IntegerGraph:
    """Read the integer graph of an exported int8 model.

    An output ``speech`` becomes a graph of its own, ``detector``;
    ``categories`` and ``doubt`` are further outputs of this one.

    Args:
        source: QDQ model, as :func:`wav2small.export.quantise.steps.quantize`
            writes it, its bytes or its file

    Raises:
        ExportError: if it is corrupt,
            has an operator, type or layout that has no integer arithmetic here,
            or no log-mel front end

    """
    model = topology.load(source)
    if topology.opset(model) < _OLDEST_OPSET:
        raise ExportError(
            f"model must have opset {_OLDEST_OPSET} or later, got "
            f"{topology.opset(model)}: export it again"
        )
    digest = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    # constants that overflow are refused where they are used
    with np.errstate(all="ignore"):
        graph = _read_graph(expand_constants(speech.scores_alone(model)))
        heard = speech.speech_alone(model)
        detector = None if heard is None else _read_graph(expand_constants(heard))
    if detector is not None:
        # its layers have names apart from those of the scores
        detector = replace(detector, part="Detector ")
    return replace(graph, digest=digest, detector=detector)


def _read_graph(model: ModelProto) -> IntegerGraph:
    reading = Reading(model, SUPPORTED)
    _check(reading)
    operators: list[Operator] = [LogMel.read_front_end(reading)]
    for index, node in enumerate(reading.nodes):
        if index in reading.done:
            continue
        if node.op_type == "DequantizeLinear":
            _read_cast(reading, index)
        elif node.op_type == "QuantizeLinear":
            reading.fail(index, "the only reader of a tensor that an operator makes")
        else:
            operators += _read_node(reading, index)
    names = {output.name: _made(reading, output.name) for output in model.graph.output}
    scores = names.pop(further.scores_name(model))
    sizes = {
        CATEGORIES: len(further.category_names(model)),
        DOUBT: reading.tensors[scores].shape[-1],
    }
    for output, tensor in names.items():
        made = reading.tensors[tensor].shape
        if made[-1] != sizes[output] or len(made) != 2:
            raise ExportError(
                f"output '{output}' must be of shape (1, {sizes[output]}), got {made}: "
                "train it again"
            )
    return IntegerGraph(reading.tensors, tuple(operators), scores, model, further=names)


def _made(reading: Reading, output: str) -> str:
    """Name of the tensor of an output."""
    if output not in reading.names:
        raise ExportError(
            f"output '{output}' must be made of integer tensors, got a float "
            "graph: quantise the model"
        )
    made = reading.tensors[reading.names[output]]
    if made.wide and made.scale > _LARGEST_OUTPUT_STEP:
        raise ExportError(
            f"output '{output}' must have steps of at most "
            f"{_LARGEST_OUTPUT_STEP}, got {made.scale:.3g} from the largest value that "
            "the weights allow: quantise the model again"
        )
    if output in FURTHER and not made.wide:
        raise ExportError(
            f"output '{output}' must not be quantised, got 8 bits: train it again"
        )
    return reading.names[output]


def _check(reading: Reading) -> None:
    graph = reading.model.graph
    outputs = [value for value in graph.output if value.name not in FURTHER]
    if len(graph.input) != 1 or len(outputs) != 1:
        raise ExportError(
            f"model must have one input and one output, got {len(graph.input)} and "
            f"{len(outputs)}: export it with the signal alone"
        )
    signal = graph.input[0].type.tensor_type
    sizes = [dim.dim_value for dim in signal.shape.dim]
    # an open length counts as 0
    if (
        signal.elem_type != TensorProto.FLOAT
        or len(sizes) != 2
        or sizes[0] not in (0, 1)
    ):
        raise ExportError(
            f"input '{graph.input[0].name}' must be float32 of shape (1, time), "
            f"got type {signal.elem_type} and {sizes}: export it again"
        )
    if not any(node.op_type == "QuantizeLinear" for node in reading.nodes):
        raise ExportError(
            "model must be quantised, got no QuantizeLinear: export it as int8"
        )


def _read_node(reading: Reading, index: int) -> list[Operator]:
    """Operators that a node becomes."""
    for kind in READERS.get(reading.nodes[index].op_type, ()):
        operators = kind.read(reading, index)
        if operators is not None:
            return list(operators)
    reading.fail(index, "an operator with integer arithmetic")


def _read_cast(reading: Reading, index: int) -> None:
    """Enter the constant or the integer tensor that a node dequantises."""
    node = reading.nodes[index]
    integers = reading.graph.array(node.input[0])
    if integers is None:
        tensor = reading.tensor(index)
        parameters = reading.activation_parameters(index)
        if parameters != (tensor.scale, tensor.zero_point):
            reading.fail(index, "a cast with the scale that it was made with")
        reading.names[node.output[0]] = tensor.name
        return
    scale = reading.graph.array(node.input[1])
    zero = reading.graph.array(node.input[2]) if len(node.input) > 2 else None
    attributes = reading.attributes(index)
    if scale is None or attributes.get("block_size", 0):
        reading.fail(index, "weights with one constant scale for each output")
    # before onnx 1.19 four bits are bytes with a name
    kind = (integers.dtype.names or [str(integers.dtype)])[0]
    if kind not in ("int4", "int8", "int16", "int32"):
        reading.fail(index, f"signed weights and not {kind}")
    if zero is not None and np.any(zero.astype(np.int32) != 0):
        reading.fail(index, "weights with zero points of 0")
    if not ((scale >= 1 / LARGEST_SCALE) & (scale <= LARGEST_SCALE)).all():
        reading.fail(index, "weights with scales in 2 ** -60 .. 2 ** 60")
    axis = int(attributes.get("axis", 1)) % max(1, integers.ndim)
    reading.constants[node.output[0]] = Constant(
        integers.astype(np.int32), scale.astype(np.float32), axis, index
    )
