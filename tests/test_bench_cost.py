import numpy as np
import onnx
import pytest

from wav2small.firmware_bench.plan.cost import count_cost
from wav2small.firmware_bench.plan.onnx_graph import load_graph
from wav2small.firmware_bench.plan.operations import lower_window

HEAD = '<ir_version: 8, opset_import: ["" : 17, "mine" : 1]>'
ARRAYS = {
    "w": np.ones((4, 2, 3), np.float32),
    "dw": np.ones((2, 1, 3), np.float32),
    "wt": np.ones((2, 4, 3), np.float32),
    "m": np.ones((10, 5), np.float32),
    "mt": np.ones((5, 10), np.float32),
    "lw": np.ones((1, 28, 10), np.float32),
    "lr": np.ones((1, 28, 7), np.float32),
    "qs": np.float32(0.5),
    "qz": np.int8(0),
    "qw": np.ones((4, 2, 3), np.int8),
    "qm": np.ones((10, 5), np.int8),
}


@pytest.fixture
def cost(tmp_path):
    def make(body, rank=3, inputs="float[1, 2, 10] x"):
        axes = ", ".join("abcd"[:rank])
        model = onnx.parser.parse_model(
            f"{HEAD}\ng ({inputs}) => (float[{axes}] y) {{ {body} }}"
        )
        read = {name for node in model.graph.node for name in node.input}
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(np.asarray(value), name)
            for name, value in ARRAYS.items()
            if name in read
        )
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        graph = load_graph(tmp_path / "model.onnx", 0.1)
        return graph, count_cost(graph, lower_window(graph))

    return make


@pytest.mark.parametrize(
    ("body", "rank", "macs"),
    [
        ("y = Conv(x, w)", 3, 4 * 8 * 2 * 3),
        ("y = Conv<pads=[1, 1], strides=[2]>(x, w)", 3, 4 * 5 * 2 * 3),
        ("y = Conv<group=2>(x, dw)", 3, 2 * 8 * 3),
        ("y = ConvTranspose(x, wt)", 3, 2 * 10 * 4 * 3),
        ("y = MatMul(x, m)", 3, 2 * 5 * 10),
        ("f = Flatten<axis=2>(x) y = Gemm(f, m)", 2, 2 * 5 * 10),
        ("f = Flatten<axis=2>(x) y = Gemm<transB=1>(f, mt)", 2, 2 * 5 * 10),
        ("f = Flatten<axis=2>(x) y = Gemm<transA=1>(f, f)", 2, 10 * 10 * 2),
        ("t = Transpose<perm=[0, 2, 1]>(x) y = MatMul(x, t)", 3, 2 * 2 * 10),
        ("y = LSTM<hidden_size=7>(x, lw, lr)", 4, 2 * (28 * 10 + 28 * 7)),
        (
            """q = QuantizeLinear(x, qs, qz)
            c = QLinearConv(q, qs, qz, qw, qs, qz, qs, qz)
            y = DequantizeLinear(c, qs, qz)""",
            3,
            4 * 8 * 2 * 3,
        ),
        ("a = Softmax(x) y = MaxPool<kernel_shape=[2]>(a)", 3, 0),
    ],
)
def test_multiplications_by_hand(cost, body, rank, macs):
    _, found = cost(body, rank)
    assert (found.macs, found.uncounted) == (macs, ())
    assert (found.integer_macs > 0) == ("QLinear" in body)


def test_the_shape_before_a_view_counts(cost):
    _, found = cost("c = MatMul(x, m) y = Flatten(c)", 2)
    assert found.macs == 2 * 5 * 10


def test_integers_and_floats_are_kept_apart(cost):
    _, found = cost(
        """q = QuantizeLinear(x, qs, qz) d = DequantizeLinear(q, qs, qz)
        md = DequantizeLinear(qm, qs, qz) i = MatMul(d, md) f = MatMul(x, md)
        y = Add(i, f)"""
    )
    assert (found.integer_macs, found.float_macs) == (100, 100)


def test_flash_by_hand(cost):
    graph, found = cost(
        """e = Exp(m) a = MatMul(x, e) c = Conv(x, w) b = Conv(x, w)
        d = Add(b, c) s = ReduceSum(d) y = Add(a, s)"""
    )
    assert found.flash.stored_bytes == 4 * 24  # w once, m not at all
    assert found.flash.generated_bytes == 4 * 50  # e
    assert found.flash.structure_bytes == graph.structure_bytes
    assert found.flash.total == 96 + 200 + graph.structure_bytes
    assert sum(step.weight_bytes for step in found.steps) == 296
    assert [step.elements for step in found.steps] == [10, 32, 32, 32, 1, 10]


def test_what_nobody_counted_is_said(cost):
    _, found = cost('y = Einsum<equation="abc,abc->abc">(x, x) ')
    assert found.uncounted == ("Einsum_0",)
    assert [step.macs for step in found.steps] == [None]
    assert found.macs == 0
