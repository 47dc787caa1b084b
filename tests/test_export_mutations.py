"""Damaged models are refused in one line or give the right scores."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper
from speech import clips, exported

import wav2small
from wav2small.export.base.errors import ExportError
from wav2small.export.checks.agreement import agree
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.model import topology
from wav2small.export.model.constants import expand_constants
from wav2small.export.quantise.steps import quantize

MODEL = Path(wav2small.__file__).parent / "assets/models/wav2small/model.onnx"
SIGNAL = next(clips(1, 0))[:1600]


# -- damage ------------------------------------------------------------------


def flip(data: bytearray, generator: np.random.Generator) -> None:
    """Flip one to eight bits."""
    for place in generator.integers(0, len(data), generator.integers(1, 9)):
        data[place] ^= 1 << int(generator.integers(8))


def overwrite(data: bytearray, generator: np.random.Generator) -> None:
    """Overwrite a run of bytes."""
    length = int(generator.integers(1, 64))
    start = int(generator.integers(len(data) - length))
    data[start : start + length] = generator.bytes(length)


def truncate(data: bytearray, generator: np.random.Generator) -> None:
    """Cut the end off."""
    del data[int(generator.integers(len(data))) :]


def splice(data: bytearray, generator: np.random.Generator) -> None:
    """Move a piece to another place: over what is there, or in between."""
    length = int(generator.integers(1, 512))
    start, to = (int(place) for place in generator.integers(len(data) - length, size=2))
    piece = data[start : start + length]
    data[to : to + generator.choice([0, length])] = piece


def _node(model: ModelProto, generator: np.random.Generator) -> onnx.NodeProto:
    return model.graph.node[int(generator.integers(len(model.graph.node)))]


def _constant(model: ModelProto, generator: np.random.Generator) -> onnx.TensorProto:
    # the small ones are the parameters
    constants = sorted(model.graph.initializer, key=lambda tensor: tensor.ByteSize())
    return constants[int(len(constants) * generator.random() ** 1.5)]


def drop_node(model: ModelProto, generator: np.random.Generator) -> None:
    """Drop a node; its readers read what it read."""
    node = _node(model, generator)
    source, name = node.input[0] if node.input else "", node.output[0]
    model.graph.node.remove(node)
    if generator.random() < 0.7:
        for other in model.graph.node:
            for position, entry in enumerate(other.input):
                if entry == name:
                    other.input[position] = source


def rename_input(model: ModelProto, generator: np.random.Generator) -> None:
    """Let a node read another tensor."""
    names = [name for node in model.graph.node for name in node.output]
    names += [tensor.name for tensor in model.graph.initializer] + [""]
    node = _node(model, generator)
    if node.input:
        place = int(generator.integers(len(node.input)))
        node.input[place] = str(generator.choice(names))


def swap_inputs(model: ModelProto, generator: np.random.Generator) -> None:
    """Swap the inputs of a node, or drop its last."""
    node = _node(model, generator)
    names = list(node.input)
    node.input[:] = names[::-1] if generator.random() < 0.5 else names[:-1]


def change_operator(model: ModelProto, generator: np.random.Generator) -> None:
    """Make a node another operator."""
    kinds = sorted({node.op_type for node in model.graph.node})
    kinds += ["Relu", "Tanh", "HardSwish", "Sub", "Exp", "Add", "Softmax", "Mul"]
    _node(model, generator).op_type = str(generator.choice(kinds))


def change_type(model: ModelProto, generator: np.random.Generator) -> None:
    """Give a constant another type, its bytes as they are or its values."""
    tensor = _constant(model, generator)
    if generator.random() < 0.5:
        tensor.data_type = int(generator.integers(1, 23))
    else:
        kinds = [np.float32, np.int8, np.uint8, np.int32, np.int64, np.float16]
        kind = kinds[int(generator.integers(len(kinds)))]
        with np.errstate(all="ignore"):
            value = numpy_helper.to_array(tensor).astype(kind)
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def swap_constants(model: ModelProto, generator: np.random.Generator) -> None:
    """Swap the values of two constants."""
    a, b = _constant(model, generator), _constant(model, generator)
    a.name, b.name = b.name, a.name


def change_shape(model: ModelProto, generator: np.random.Generator) -> None:
    """Change the shape of a constant or of the input."""
    tensor = _constant(model, generator)
    if generator.random() < 0.1:
        shape = model.graph.input[0].type.tensor_type.shape
        shape.dim[int(generator.integers(2))].dim_value = int(generator.integers(-1, 9))
    elif generator.random() < 0.5:
        tensor.dims[:] = tensor.dims[::-1]
    elif tensor.dims:
        tensor.dims[int(generator.integers(len(tensor.dims)))] = int(
            generator.integers(-1, 20)
        )
    else:
        tensor.dims.append(1)


def change_value(model: ModelProto, generator: np.random.Generator) -> None:
    """Change one number of a constant to one of another magnitude."""
    tensor = _constant(model, generator)
    value = numpy_helper.to_array(tensor).copy()
    if not value.size:
        return
    numbers = [0, 1, -1, 3, 127, -128, 1e-30, 1e-12, 0.01, 30, 1e6, 1e30, -1e30]
    number = numbers[int(generator.integers(len(numbers)))]
    if value.dtype.kind == "f":
        number = [number, np.nan, np.inf][int(generator.choice(3, p=[0.8, 0.1, 0.1]))]
    with np.errstate(all="ignore"):
        value.flat[int(generator.integers(value.size))] = np.array(number).astype(
            value.dtype
        )
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))


def change_attribute(model: ModelProto, generator: np.random.Generator) -> None:
    """Change, drop or add an attribute."""
    nodes = [node for node in model.graph.node if node.attribute]
    node = nodes[int(generator.integers(len(nodes)))]
    attribute = node.attribute[int(generator.integers(len(node.attribute)))]
    how = generator.random()
    if how < 0.2:
        node.attribute.remove(attribute)
    elif how < 0.3:
        names = ["axis", "axes", "keepdims", "group", "auto_pad", "dilations", "alpha"]
        added = onnx.helper.make_attribute(str(generator.choice(names)), 1)
        node.attribute.append(added)
    elif attribute.ints:
        place = int(generator.integers(len(attribute.ints)))
        attribute.ints[place] = int(generator.integers(-2, 5))
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = float(generator.normal() * 10 ** generator.integers(-3, 9))
    else:
        attribute.i = int(generator.integers(-2, 5))


BYTES = [flip, overwrite, truncate, splice]
STRUCTURE = [
    drop_node,
    rename_input,
    swap_inputs,
    change_operator,
    change_type,
    swap_constants,
    change_shape,
    change_value,
    change_attribute,
]


# -- judgement ---------------------------------------------------------------


def scores_of(model: ModelProto) -> np.ndarray | None:
    """What onnxruntime says, None if it refuses the model."""
    try:
        session = topology.session(model, "exact")
        (result,) = session.run(None, {session.get_inputs()[0].name: SIGNAL[None]})
    except Exception:
        return None
    return np.reshape(result, -1)


def judge(source: bytes | ModelProto) -> str:
    """Whether a model is refused or right; what is wrong otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            graph = read(source)
            model = ReferenceModel(graph)
            scores = model.predict([SIGNAL])[0]
        except ExportError as error:
            if "\n" in str(error) or not 20 < len(str(error)) < 700:
                return f"not one line: {error}"
            return "refused"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    expected = scores_of(topology.load(source))
    if expected is None:
        return "onnxruntime refused"
    limit = 0.01 * max(1.0, float(np.abs(scores).max()))
    same = scores.shape == expected.shape and np.abs(scores - expected).max() <= limit
    if same:
        return "right"
    # single steps that damaged weights or scales make large
    layers = agree(graph, [SIGNAL]).layers["exact"]
    if all(layer.passed for layer in layers) and scores.shape == expected.shape:
        return "right in each layer"
    return f"{scores} and not {expected}"


def table(found: Counter[tuple[str, str]]) -> str:
    return "\n" + "\n".join(
        f"{name:>16} {count:4} {verdict}" for (name, verdict), count in found.items()
    )


GOOD = {"refused", "right", "right in each layer", "onnxruntime refused"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes(seed):
    data = MODEL.read_bytes()
    generator = np.random.default_rng(seed)
    found: Counter[tuple[str, str]] = Counter()
    for mutation in BYTES * 32:
        damaged = bytearray(data)
        mutation(damaged, generator)
        found[mutation.__name__, judge(bytes(damaged))] += 1
    assert {verdict for _, verdict in found} <= GOOD, table(found)


@pytest.mark.parametrize("expanded", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_damaged_structure(seed, expanded):
    model = topology.load(MODEL)
    model = expand_constants(model) if expanded else model
    generator = np.random.default_rng(seed)
    found: Counter[tuple[str, str]] = Counter()
    for mutation in STRUCTURE * 7:
        damaged = ModelProto()
        damaged.CopyFrom(model)
        mutation(damaged, generator)
        found[mutation.__name__, judge(damaged)] += 1
    assert {verdict for _, verdict in found} <= GOOD, table(found)


def test_damaged_float_models_are_not_quantised():
    model = exported("wav2small-17k")
    signals = [SIGNAL]
    generator = np.random.default_rng(0)
    found: Counter[tuple[str, str]] = Counter()
    for mutation in STRUCTURE * 8:
        damaged = ModelProto()
        damaged.CopyFrom(model)
        mutation(damaged, generator)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                read(quantize(damaged, signals))
                verdict = "quantised"
            except ExportError as error:
                verdict = "refused" if "\n" not in str(error) else f"lines: {error}"
            except Exception as error:
                verdict = f"{type(error).__name__}: {error}"
        found[mutation.__name__, verdict] += 1
    assert {verdict for _, verdict in found} <= {"refused", "quantised"}, table(found)
