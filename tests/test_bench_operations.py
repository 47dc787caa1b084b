import numpy as np
import onnx
import pytest

from wav2small.export.base.errors import BenchError
from wav2small.firmware_bench.plan.onnx_graph import TensorType, load_graph
from wav2small.firmware_bench.plan.operations import lower_window

HEAD = '<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>'
ARRAYS = {
    "s": np.float32(0.5),
    "s2": np.float32(0.25),
    "z": np.int8(3),
    "w": np.ones((4, 2, 3), np.int8),
    "ws": np.ones(4, np.float32),
    "wz": np.zeros(4, np.int8),
    "b": np.ones(4, np.int32),
    "m": np.ones((10, 5), np.float32),
    "axes": np.array([0], np.int64),
    "flat": np.array([1, -1], np.int64),
    "low": np.float32(0),
}


@pytest.fixture
def program(tmp_path):
    def make(body, inputs="float[1, 2, 10] x", outputs="float[1, a, b] y"):
        model = onnx.parser.parse_model(
            f"{HEAD}\ng ({inputs}) => ({outputs}) {{ {body} }}"
        )
        read = {name for node in model.graph.node for name in node.input}
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(np.asarray(value), name)
            for name, value in ARRAYS.items()
            if name in read
        )
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return lower_window(load_graph(path, 0.1))

    return make


CONVOLUTION = """
  q = QuantizeLinear(x, s, z)
  d = DequantizeLinear(q, s, z)
  wd = DequantizeLinear<axis=0>(w, ws, wz)
  bd = DequantizeLinear<axis=0>(b, ws)
  c = Conv(d, wd, bd)
"""


def test_integers_between_q_and_dq_are_all_there_is(program):
    found = program(
        CONVOLUTION
        + """r = Relu(c)
        qr = QuantizeLinear(r, s2, z)
        dr = DequantizeLinear(qr, s2, z)
        y = MaxPool<kernel_shape=[2]>(dr)"""
    )
    assert [step.operators for step in found.operations] == [
        ("QuantizeLinear",),
        ("Conv", "Relu"),
        ("MaxPool",),
    ]
    # one byte per element, and no float but what comes in and goes out
    assert {name: kind.bytes for name, kind in found.buffers.items()} == {
        "x": 80,
        "q": 20,
        "qr": 32,
        "y": 4 * 4 * 7,
    }
    convolution = found.operations[1]
    assert (convolution.inputs, convolution.outputs) == (("q",), ("qr",))
    assert convolution.constants == ("w", "ws", "wz", "b", "s2", "z")
    assert convolution.integer and not found.operations[0].integer
    assert not any(constant.generated for constant in found.constants.values())


def test_a_float_that_is_also_read_exists(program):
    found = program(
        CONVOLUTION
        + """qc = QuantizeLinear(c, s2, z)
        dc = DequantizeLinear(qc, s2, z)
        y = Add(dc, c)"""
    )
    assert [step.operators[0] for step in found.operations] == [
        "QuantizeLinear",
        "Conv",
        "QuantizeLinear",
        "Add",
    ]
    assert found.buffers["c"] == TensorType((1, 4, 8), "float32")
    assert found.operations[-1].inputs == ("qc", "c")


def test_two_scales_of_one_result(program):
    found = program(
        CONVOLUTION
        + """q1 = QuantizeLinear(c, s, z) q2 = QuantizeLinear(c, s2, z)
        d1 = DequantizeLinear(q1, s, z) d2 = DequantizeLinear(q2, s2, z)
        y = Add(d1, d2)"""
    )
    assert found.operations[1].outputs == ("q1", "q2")
    assert "c" not in found.buffers


@pytest.mark.parametrize(
    ("scale", "names"),
    [("s", ["QuantizeLinear", "Exp"]), ("s2", ["QuantizeLinear"] * 2 + ["Exp"])],
)
def test_requantising_is_work_and_an_equal_scale_is_not(program, scale, names):
    found = program(
        f"""q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
        r = Flatten(d) q2 = QuantizeLinear(r, {scale}, z)
        d2 = DequantizeLinear(q2, {scale}, z) y = Exp(d2)""",
        outputs="float[a, b] y",
    )
    assert [step.operators[0] for step in found.operations] == names


def test_an_output_is_the_float_that_it_is(program):
    found = program(
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Identity(d)"
    )
    assert [step.operators[0] for step in found.operations] == [
        "QuantizeLinear",
        "DequantizeLinear",
    ]
    assert found.buffers["y"].bytes == 80
    assert found.outputs == ("y",)


def test_an_output_in_between_exists(program):
    found = program(
        CONVOLUTION + "y = Relu(c) v = Exp(y)",
        outputs="float[1, a, b] y, float[1, a, b] v",
    )
    assert found.operations[1].operators == ("Conv", "Relu")
    assert found.outputs == ("y", "v")
    found = program(
        CONVOLUTION + "y = Relu(c)", outputs="float[1, a, b] y, float[1, a, b] c"
    )
    assert [step.operators for step in found.operations[1:]] == [("Conv",), ("Relu",)]


def test_views_are_free(program):
    found = program(
        """a = Reshape(x, flat) t = Unsqueeze(a, axes)
        p = Transpose<perm=[1, 0, 2]>(t) u = Squeeze(p, axes) v = Identity(u)
        y = Exp(v)""",
        outputs="float[a, b] y",
    )
    assert [step.name for step in found.operations] == ["Exp_0"]
    assert list(found.buffers) == ["x", "y"]
    assert found.constants == {}


def test_a_transposition_that_moves_something_is_work(program):
    found = program("t = Transpose<perm=[0, 2, 1]>(x) y = Exp(t)")
    assert [step.name for step in found.operations] == ["Transpose_0", "Exp_1"]
    found = program("t = Transpose(x) y = Exp(t)")  # reverses the axes
    assert [step.name for step in found.operations] == ["Transpose_0", "Exp_1"]


def test_constants_are_computed_before(program):
    found = program(
        """e = Exp(m) shape = Shape(x) ones = ConstantOfShape(shape)
        n = Mul(x, ones) y = MatMul(n, e)"""
    )
    assert [step.operators[0] for step in found.operations] == ["Mul", "MatMul"]
    # m itself is not needed once e is made
    assert {name: c.generated for name, c in found.constants.items()} == {
        "e": True,
        "ones": True,
    }
    assert found.constants["e"].type.bytes == 200
    assert found.constants["ones"].type == TensorType((1, 2, 10), "float32")


def test_a_moved_constant_is_the_stored_one(program):
    found = program(
        "mt = Transpose(m) mm = Transpose(mt) y = MatMul(x, mm)",
    )
    assert not found.constants["m"].generated
    assert set(found.constants) == {"m"}


def test_int4_weights_are_half_a_byte(tmp_path):
    values = onnx.helper.make_tensor("w4", onnx.TensorProto.INT4, [10, 5], [1] * 50)
    model = onnx.parser.parse_model(
        HEAD + "g (float[1, 2, 10] x) => (float[1, a, b] y) "
        "{ d = DequantizeLinear(w4, s) y = MatMul(x, d) }"
    )
    scale = onnx.numpy_helper.from_array(np.array(0.5, np.float32), "s")
    model.graph.initializer.extend([values, scale])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    found = lower_window(load_graph(tmp_path / "m.onnx", 0.1))
    assert found.constants["w4"].type == TensorType((10, 5), "int4")
    assert sum(constant.type.bytes for constant in found.constants.values()) == 25 + 4


def test_a_scale_from_the_signal_is_read(program):
    found = program(
        """q, t, u = DynamicQuantizeLinear(x) d = DequantizeLinear(q, t, u)
        y = Exp(d)"""
    )
    assert [step.operators[0] for step in found.operations] == [
        "DynamicQuantizeLinear",
        "DequantizeLinear",
        "Exp",
    ]
    assert found.operations[1].inputs == ("q", "t", "u")


def test_a_computed_bound_is_no_epilogue(program):
    found = program("low1 = ReduceMin<keepdims=0>(x) a = Exp(x) y = Clip(a, low1)")
    assert [step.operators for step in found.operations] == [
        ("ReduceMin",),
        ("Exp",),
        ("Clip",),
    ]


def test_random_numbers_are_no_constant(program):
    found = program("r = RandomNormal<shape=[1, 2, 10]>() y = Add(x, r)")
    assert [step.operators[0] for step in found.operations] == ["RandomNormal", "Add"]


@pytest.mark.parametrize(
    "body", ["y = Identity(x)", "k = Shape(x) y = ConstantOfShape(k)"]
)
def test_nothing_to_do(program, body):
    with pytest.raises(BenchError, match="model must compute something"):
        program(body)


def test_an_empty_tensor(program):
    with pytest.raises(BenchError, match=r"tensor 'c' must have elements, got shape"):
        program("c = MaxPool<kernel_shape=[11]>(x) y = Exp(c)")
