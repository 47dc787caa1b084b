import hashlib

import numpy as np
import onnx
import pytest

from wav2small.export.base.errors import BenchError, one_line
from wav2small.firmware_bench.plan.onnx_graph import TensorType, load_graph

FREE = """<ir_version: 8, opset_import: ["" : 17]>
g (float[batch, time] x) => (float[batch, m] y) {
  k = Constant<value_ints=[0]>()
  s = Shape(x)
  z = Reshape(x, s)
  y = Exp(z)
}"""


def save(folder, text, metadata=None, change=None):
    model = onnx.parser.parse_model(text)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    if change:
        change(model)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(
    ("shape", "dtype", "size"),
    [
        ((3, 5), "float32", 60),
        ((3, 5), "int8", 15),
        ((3, 5), "int4", 8),
        ((), "int64", 8),
        ((0, 7), "bool", 0),
    ],
)
def test_bytes(shape, dtype, size):
    assert TensorType(shape, dtype).bytes == size


@pytest.mark.parametrize(
    ("window", "metadata", "samples", "seconds"),
    [
        (None, {}, 16000, 1.0),
        (0.25, {}, 4000, 0.25),
        (None, {"window": "2"}, 32000, 2.0),
        (None, {"window": "any"}, 16000, 1.0),
        (0.5, {"window": "2", "sampling_rate": "8000"}, 4000, 0.5),
    ],
)
def test_window_is_fixed_everywhere(tmp_path, window, metadata, samples, seconds):
    path = save(tmp_path, FREE, metadata)
    graph = load_graph(path, window)
    assert graph.window_seconds == seconds
    for name in ("x", "z", "y"):
        assert graph.tensors[name] == TensorType((1, samples), "float32")
    assert "k" not in graph.tensors  # nothing reads it
    data = path.read_bytes()
    assert graph.file_bytes == len(data)
    assert graph.sha256 == hashlib.sha256(data).hexdigest()


def test_structure_leaves_contents_out(tmp_path):
    def with_weights(count):
        def change(model):
            values = np.zeros(count, np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, "w"))

        return save(tmp_path, FREE, change=change)

    small, large = (load_graph(with_weights(count)) for count in (100, 120))
    assert large.file_bytes - small.file_bytes >= 80
    assert large.structure_bytes == small.structure_bytes


def test_static_window_is_kept(tmp_path):
    path = save(tmp_path, FREE.replace("float[batch, time] x", "float[1, 8000] x"))
    assert load_graph(path).window_seconds == 0.5
    assert load_graph(path, 0.5).window_seconds == 0.5
    with pytest.raises(BenchError, match=r"must be 0.5 for this model, got 1: its"):
        load_graph(path, 1)


def test_other_inputs_need_seconds(tmp_path):
    path = save(tmp_path, FREE.replace("float[batch, time] x", "float[1, 4, 8] x"))
    assert load_graph(path, 0.1).window_seconds == 0.1
    with pytest.raises(BenchError, match=r"must be given for an input of shape"):
        load_graph(path)


def test_unknown_shape_is_learned_by_running(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, time] x) => (float[a, b] y) {
  large = Abs(x)
  where = NonZero(large)
  count = Cast<to=1>(where)
  y = Exp(count)
}"""
    graph = load_graph(save(tmp_path, text), 0.001)
    # the tone is zero at its first sample alone
    assert graph.tensors["y"] == TensorType((2, 15), "float32")
    assert graph.tensors["where"] == TensorType((2, 15), "int64")


def test_no_shape_at_all(tmp_path):
    # An operator of nobody, and onnxruntime has none of that name either
    text = FREE.replace('["" : 17]', '["" : 17, "mine" : 1]')
    path = save(tmp_path, text.replace("Exp(z)", "mine.Nothing(z)"))
    with pytest.raises(BenchError, match=r"tensor 'y' must have a shape that follows"):
        load_graph(path)


def sparse(model):
    values = onnx.numpy_helper.from_array(np.ones(1, np.float32), "s")
    indices = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "i")
    model.graph.sparse_initializer.append(
        onnx.helper.make_sparse_tensor(values, indices, [4])
    )


def function(model):
    model.functions.add(name="f", domain="mine")


def branch(model):
    node = model.graph.node[-1]
    node.op_type = "If"
    node.attribute.append(onnx.helper.make_attribute("then_branch", onnx.GraphProto()))


def external(model):
    tensor = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../weights.bin")
    model.graph.initializer.append(tensor)


def external_constant(model):
    external(model)
    tensor = model.graph.initializer.pop()
    model.graph.node.insert(
        0, onnx.helper.make_node("Constant", [], ["w"], value=tensor)
    )


def second_input(model):
    value = onnx.helper.make_tensor_value_info("state", 1, [1, 4])
    model.graph.input.append(value)


def nowhere(model):
    model.graph.node[-1].input[0] = "nowhere"


def text_type(model):
    model.graph.node[-1].CopyFrom(
        onnx.helper.make_node("Cast", ["z"], ["y"], to=onnx.TensorProto.STRING)
    )
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.STRING


def wide_kernel(model):
    weight = np.zeros((1, 1, 64), np.float32)
    axes = np.array([1], np.int64)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name)
        for name, value in (("w", weight), ("axes", axes))
    )
    del model.graph.node[:]
    model.graph.node.extend(
        [
            onnx.helper.make_node("Unsqueeze", ["x", "axes"], ["z"]),
            onnx.helper.make_node("Conv", ["z", "w"], ["y"]),
        ]
    )
    model.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info("y", 1, ["a", "b", "c"])
    )


def contradiction(model):
    values = onnx.numpy_helper.from_array(np.zeros((1, 3), np.float32), "w")
    model.graph.initializer.append(values)
    model.graph.node[-1].CopyFrom(onnx.helper.make_node("Add", ["x", "w"], ["y"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (sparse, "must hold dense weights and operators alone, got sparse_initializer"),
        (function, "must be one flat graph of dense tensors, got function 'f'"),
        (branch, "must be one flat graph of dense tensors, got control flow in If"),
        (external, "must hold all of its weights, got external data for 'w'"),
        (external_constant, "must hold all of its weights, got external data for 'w'"),
        (second_input, "model must have one input, got 2"),
        (nowhere, "must be a valid ONNX model"),
        (text_type, "tensor 'y' must have a type that can be planned, got ONNX type 8"),
        (wide_kernel, "tensor 'y' must have no negative length"),
        (contradiction, "must fit its window"),
    ],
)
def test_what_cannot_be_planned(tmp_path, change, message):
    with pytest.raises(BenchError, match=message) as caught:
        load_graph(save(tmp_path, FREE, change=change), 0.001)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ("float[1, n, 8] x", r"must be free in batch and time at most, got 3 axes"),
        ("float x", r"must be free in batch and time at most, got 0 axes"),
        ("float[1, 4, n] x", r"must be a signal or have a fixed length, got 3 axes"),
    ],
)
def test_other_free_axes(tmp_path, shape, message):
    with pytest.raises(BenchError, match=message):
        load_graph(save(tmp_path, FREE.replace("float[batch, time] x", shape)))


@pytest.mark.parametrize("window", [0, -1, 1e9, float("nan")])
def test_wrong_window(tmp_path, window):
    with pytest.raises(BenchError, match="window_seconds must be from one sample to"):
        load_graph(save(tmp_path, FREE), window)


@pytest.mark.parametrize(
    ("key", "value"), [("window", "long"), ("window", "nan"), ("sampling_rate", "0")]
)
def test_wrong_metadata(tmp_path, key, value):
    with pytest.raises(BenchError, match=f"metadata entry '{key}' must be a number"):
        load_graph(save(tmp_path, FREE, {key: value}))


def test_missing_and_huge_file(tmp_path):
    with pytest.raises(BenchError, match=r"none\.onnx' must be a readable ONNX file"):
        load_graph(tmp_path / "none.onnx")
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(2**31)  # takes no room on disk
    with pytest.raises(BenchError, match="are more than 2147483647"):
        load_graph(path)


def test_every_truncation_is_one_line(tmp_path):
    path = save(tmp_path, FREE)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(BenchError, match="must") as caught:
            load_graph(path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_flipped_bytes_are_refused_or_planned(tmp_path):
    path = save(tmp_path, FREE)
    data = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        mutated = bytearray(data)
        mutated[generator.integers(len(data))] = generator.integers(256)
        path.write_bytes(mutated)
        try:
            load_graph(path, 0.001)
        except BenchError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 100


def test_one_line():
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("x" * 1000))) == 160
