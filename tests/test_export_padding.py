import numpy as np
import onnx
import pytest

from wav2small.export.model import topology
from wav2small.export.quantise.padding import pad_channels


def model(body, **shapes):
    parsed = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        f"g (float[1, 2, N] x) => (float[1, C, M] y) {{ {body} }}"
    )
    generator = np.random.default_rng(0)
    for name, shape in shapes.items():
        value = generator.standard_normal(shape).astype(np.float32)
        parsed.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    return parsed


def shapes(candidate):
    graph = topology.Topology(candidate)
    return [
        graph.array(node.input[1]).shape
        for node in graph.nodes
        if node.op_type == "Conv"
    ]


CHAIN = "a = Conv(x, u, b) r = Relu(a) p = MaxPool<kernel_shape=[2]>(r) y = Conv(p, v)"


def test_silent_channels_change_nothing():
    whole = model(CHAIN, u=(13, 2, 3), b=(13,), v=(5, 13, 3))
    before = whole.SerializeToString()
    padded = pad_channels(whole, range(4), 16)
    assert whole.SerializeToString() == before
    # the last one is read by no convolution, so it stays
    assert shapes(padded) == [(16, 2, 3), (5, 16, 3)]
    feed = {"x": np.random.default_rng(1).standard_normal((1, 2, 40)).astype("f")}
    (expected,) = topology.session(whole, "exact").run(None, feed)
    (result,) = topology.session(padded, "exact").run(None, feed)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "body, arrays",
    [
        # too much to add
        (CHAIN, {"u": (12, 2, 3), "b": (12,), "v": (5, 12, 3)}),
        # nothing to add
        (CHAIN, {"u": (16, 2, 3), "b": (16,), "v": (5, 16, 3)}),
        # something else reads it as well
        (
            "a = Conv(x, u) e = Exp(a) f = Conv(a, v) y = Add(e, f)",
            {"u": (13, 2, 1), "v": (13, 13, 1)},
        ),
        # one kernel per channel
        (
            "a = Conv(x, u) y = Conv<group=13>(a, v)",
            {"u": (13, 2, 3), "v": (13, 1, 3)},
        ),
    ],
)
def test_left_alone(body, arrays):
    whole = model(body, **arrays)
    assert shapes(pad_channels(whole, range(len(whole.graph.node)), 16)) == shapes(
        whole
    )


def test_only_given_nodes_grow():
    whole = model(CHAIN, u=(13, 2, 3), b=(13,), v=(5, 13, 3))
    assert shapes(pad_channels(whole, [3], 16)) == shapes(whole)
