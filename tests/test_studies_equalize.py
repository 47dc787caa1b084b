import numpy as np
import onnx
import pytest
import torch
from equalize import equalize
from hypothesis import given, settings
from hypothesis import strategies as st

from wav2small.export.checks import parity
from wav2small.export.model import topology
from wav2small.export.model.constants import expand_constants
from wav2small.export.model.to_onnx import to_onnx
from wav2small.export.model.topology import Topology
from wav2small.export.quantise.padding import pad_channels
from wav2small.export.quantise.plan import plan
from wav2small.students import STUDENTS

BETWEEN = {
    "nothing": "m = Identity(c)",  # replaced: the reader takes c itself
    "relu": "m = Relu(c)",
    "pool": "m = MaxPool<kernel_shape=[3], pads=[1, 1]>(c)",
    "both": "r = Relu(c) m = MaxPool<kernel_shape=[3], strides=[2]>(r)",
}


def build(body, constants, outputs="float[N, C, T] y"):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        f"g (float[1, T] x) => ({outputs}) {{ u = Unsqueeze(x, axis) {body} }}"
    )
    for name, value in {"axis": np.array([0]), **constants}.items():
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.asarray(value), name)
        )
    return model


def weights(seed, *shape, spread=2.0):
    """Weights whose channels differ by orders of magnitude."""
    generator = np.random.default_rng(seed)
    value = generator.standard_normal(shape)
    for axis in range(min(2, len(shape))):
        factor = np.exp(spread * generator.standard_normal(shape[axis]))
        value *= factor.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return value.astype(np.float32)


def pair(between, seed=0, channels=5, **changes):
    """Two convolutions with something between."""
    first = "c = Conv<pads=[1, 1]>(u, w, b)"
    body, tensor = BETWEEN[between], "m"
    if between == "nothing":
        body, tensor = "", "c"
    constants = {
        "w": weights(seed, channels, 1, 3),
        "b": weights(seed + 1, channels),
        "v": weights(seed + 2, 4, channels, 3),
    }
    return build(
        f"{first} {body} y = Conv<pads=[1, 1]>({tensor}, v)", {**constants, **changes}
    )


def run(model, seed=0):
    signal = np.random.default_rng(seed).standard_normal((1, 50)).astype(np.float32)
    return topology.session(model, "exact").run(None, {"x": signal})[0]


def error(first, second):
    expected = run(first)
    # one channel may be dead: then both give zeros
    return np.abs(run(second) - expected).max() / max(np.abs(expected).max(), 1e-6)


def kernels(model):
    """Weights of the convolutions, in order."""
    graph = Topology(model)
    return [
        graph.array(node.input[1]) for node in graph.nodes if node.op_type == "Conv"
    ]


def peaks(weight, axis):
    return np.abs(weight).max(axis=tuple({0, 1, 2} - {axis}))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(BETWEEN)), st.integers(0, 10**6), st.integers(1, 9))
def test_scores_stay(between, seed, channels):
    model = pair(between, seed, channels)
    before = model.SerializeToString()
    result = equalize(model)
    onnx.checker.check_model(result, full_check=True)
    assert error(model, result) < 1e-5
    assert model.SerializeToString() == before


@pytest.mark.parametrize("between", sorted(BETWEEN))
def test_what_makes_a_channel_is_as_large_as_what_reads_it(between):
    model = pair(between, b=np.zeros(5, np.float32))
    first, second = kernels(model)
    assert (np.abs(np.log(peaks(first, 0) / peaks(second, 1))) > 0.1).any()
    first, second = kernels(equalize(model))
    np.testing.assert_allclose(peaks(first, 0), peaks(second, 1), rtol=1e-5)


def test_bias_counts_as_a_weight():
    model = pair("relu", w=np.full((5, 1, 3), 1e-12, np.float32))
    result = equalize(model)
    graph = Topology(result)
    _, second = kernels(result)
    (bias,) = (graph.array(n.input[2]) for n in graph.nodes if len(n.input) > 2)
    np.testing.assert_allclose(np.abs(bias), peaks(second, 1), rtol=1e-5)
    assert error(model, result) < 1e-5


CHAIN = (
    "c = Conv(u, w) r = Relu(c) d = Conv<group=6>(r, d0, b) s = Relu(d) y = Conv(s, v)"
)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_depthwise_triple(seed):
    model = build(
        CHAIN,
        {
            "w": weights(seed, 6, 1, 3),
            "d0": weights(seed + 1, 6, 1, 3),
            "b": np.zeros(6, np.float32),
            "v": weights(seed + 2, 4, 6, 3),
        },
    )
    result = equalize(model)
    assert error(model, result) < 1e-5
    first, middle, last = kernels(result)
    # to the tolerance at which the rounds stop
    np.testing.assert_allclose(peaks(first, 0), peaks(middle, 0), rtol=5e-3)
    np.testing.assert_allclose(peaks(middle, 0), peaks(last, 1), rtol=5e-3)


def test_equalized_is_at_rest():
    once = equalize(pair("both"))
    for before, after in zip(kernels(once), kernels(equalize(once)), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5)


@pytest.mark.parametrize("name", ["w", "v", "both"])
def test_silent_channels_stay_silent(name):
    constants = {
        "w": weights(0, 5, 1, 3),
        "b": weights(1, 5),
        "v": weights(2, 4, 5, 3),
    }
    if name != "v":
        constants["w"][2] = constants["b"][2] = 0
    if name != "w":
        constants["v"][:, 2] = 0
    model = pair("relu", **constants)
    result = equalize(model)
    assert error(model, result) < 1e-5
    first, second = kernels(result)
    np.testing.assert_array_equal(first[2], constants["w"][2])
    np.testing.assert_array_equal(second[:, 2], constants["v"][:, 2])


def test_padded_channels_stay_silent():
    model = pair("relu", channels=14)
    wide = pad_channels(model, [1], 16)
    result = equalize(wide)
    first, second = kernels(result)
    assert first.shape[0] == second.shape[1] == 16
    assert not first[14:].any() and not second[:, 14:].any()
    assert error(model, result) < 1e-5


CONSTANTS = {"w": weights(0, 6, 1, 3), "v": weights(1, 6, 6, 3)}


@pytest.mark.parametrize(
    "body, outputs",
    [
        ("c = Conv(u, w) h = HardSwish(c) y = Conv(h, v)", None),
        ("c = Conv(u, w) h = Clip(c, zero, six) y = Conv(h, v)", None),
        ("c = Conv(u, w) h = Add(c, c) y = Conv(h, v)", None),
        ("c = Conv(u, w) a = Conv(c, v) b = Conv(c, v) y = Add(a, b)", None),
        ("c = Conv(u, w) y = Conv(c, v)", "float[N, C, T] y, float[N, D, S] c"),
        ("c = Conv(u, w) e = Exp(v) y = Conv(c, e)", None),
        ("c = Conv(u, w) y = Conv<group=2>(c, g)", None),
        ("c = Conv(u, w) y = Conv<group=6>(c, d)", None),
    ],
    ids=[
        "curve",
        "limit",
        "sum",
        "readers",
        "output",
        "computed",
        "groups",
        "multiplier",
    ],
)
def test_others_are_left_alone(body, outputs):
    """Nothing is scaled that would not cancel."""
    constants = {
        **CONSTANTS,
        "zero": np.float32(0),
        "six": np.float32(6),
        "g": weights(2, 4, 3, 3),
        "d": weights(3, 12, 1, 3),
    }
    used = {name: value for name, value in constants.items() if name in body}
    model = build(body, used, *([outputs] if outputs else []))
    result = equalize(model)
    for before, after in zip(kernels(model), kernels(result), strict=True):
        np.testing.assert_array_equal(before, after)


def test_shared_weight_is_split():
    model = build(
        "a = Conv(u, w) b = Conv(a, v) c = Conv(b, v) y = Conv(c, v)", CONSTANTS
    )
    result = equalize(model)
    assert error(model, result) < 1e-5
    # the shared constant has no reader any more
    assert "v" not in Topology(result).initializers


@pytest.mark.parametrize("name", ["wav2small", "mobilenetv4-small"])
def test_students_keep_their_scores(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = STUDENTS[name].build()
    model = expand_constants(to_onnx(module, window=None, example_samples=4000))
    result = equalize(model)
    generator = np.random.default_rng(0)
    signals = [generator.standard_normal(3000).astype(np.float32) for _ in range(3)]
    truth = parity.scores(model, signals)
    np.testing.assert_allclose(parity.scores(result, signals), truth, atol=1e-4)
    assert plan(result).activations == plan(model).activations
    changed = [
        not np.array_equal(before, after)
        for before, after in zip(kernels(model), kernels(result), strict=True)
    ]
    assert sum(changed) >= 7


def test_same_bytes_twice():
    first, second = (equalize(pair("both")) for _ in range(2))
    assert first.SerializeToString() == second.SerializeToString()
