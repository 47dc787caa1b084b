import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from wav2small.export.base.errors import ExportError
from wav2small.export.base.log_mel import ENTRY
from wav2small.export.model import topology
from wav2small.export.model.compact import compact, convert_opset
from wav2small.export.model.constants import expand_constants
from wav2small.features import LogMel


def model(text, *, opset=17, **constants):
    """Graph from ONNX text, its larger constants from arrays."""
    graph = onnx.parser.parse_graph(text)
    for name, value in constants.items():
        graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    opsets = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def run(candidate, value, name="x"):
    (result,) = topology.session(candidate, "exact").run(None, {name: value})
    return result


def constant(candidate):
    """The constant that a model of one product uses, after expansion."""
    (tensor,) = expand_constants(candidate).graph.initializer
    return onnx.numpy_helper.to_array(tensor)


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        elements=st.sampled_from([0.0, -0.0, 0.0, 0.0, 0.0, 1.5, 1e-38, -2.25]),
        fill=st.just(0.0),
    )
)
def test_constants_come_back_bit_for_bit(value):
    whole = model("g (float[1] x) => (float[N, M] y) { y = Mul(x, w) }", w=value)
    small = compact(whole)
    assert small.ByteSize() <= whole.ByteSize() + len("model")
    back = constant(small)
    assert back.dtype == value.dtype and back.shape == value.shape
    assert back.tobytes() == value.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_frame_of_zeros_is_not_stored(dtype):
    value = np.zeros((16, 16, 3, 3), dtype)
    value[:13, :13] = np.random.default_rng(0).integers(1, 60, (13, 13, 3, 3))
    whole = model(
        "g (float[1] x) => (float[16, 16, 3, 3] y) { c = Cast<to=1>(w) y = Mul(x, c) }"
        if dtype == np.float32
        else "g (float[1] x, float s) => (float[16, 16, 3, 3] y)"
        " { c = DequantizeLinear(w, s) y = Mul(x, c) }",
        w=value,
    )
    small = compact(whole)
    assert small.ByteSize() < 13 * 13 * 9 * value.itemsize + 300
    np.testing.assert_array_equal(constant(small), value)


@pytest.mark.parametrize("window, n_fft", [(64, 64), (400, 512)])
def test_fourier_kernels_are_formulas(window, n_fft):
    time, bins = np.arange(window), np.arange(n_fft // 2 + 1)
    angle = 2 * np.pi * np.outer(bins, time) / n_fft
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * time / window)
    settings = LogMel(
        window_length=window, n_fft=n_fft, hop_length=32, n_mels=8
    ).settings(normalized=True)
    for wave in (np.cos(angle), -np.sin(angle)):
        kernel = (wave * hann)[:, None].astype(np.float32)
        small = compact(whole_of(kernel, settings))
        assert small.ByteSize() < 600 + len(settings.to_text())
        assert np.abs(constant(small) - kernel).max() <= 1e-7
        # of a log-mel that nobody states it is stored
        np.testing.assert_array_equal(constant(compact(whole_of(kernel))), kernel)
        # the smallest change that matters is no formula
        kernel[3, 0, 5] += 1e-6
        changed = compact(whole_of(kernel, settings))
        np.testing.assert_array_equal(constant(changed), kernel)


def test_the_stated_log_mel_stays():
    settings = LogMel(window_length=64, hop_length=32, n_mels=8)
    settings = settings.settings(normalized=True)
    small = compact(whole_of(np.ones((2, 1, 4), np.float32), settings))
    for made in (small, convert_opset(small, 21)):
        (entry,) = made.metadata_props
        assert (entry.key, entry.value) == (ENTRY, settings.to_text())


def whole_of(kernel, settings=None):
    made = model(
        "g (float[1, 1, N] x) => (float[1, K, M] y) { y = Conv(x, w) }", w=kernel
    )
    if settings is not None:
        made.metadata_props.add(key=ENTRY, value=settings.to_text())
    return made


def test_compact_twice_is_compact_once():
    value = np.zeros((26, 33), np.float32)
    value[3, 4:9] = 0.5
    small = compact(
        model("g (float[1] x) => (float[26, 33] y) { y = Mul(x, w) }", w=value)
    )
    assert compact(small).SerializeToString() == small.SerializeToString()


def test_equal_parts_are_merged_and_dead_ones_go():
    ones = np.ones(300, np.float32)
    small = compact(
        model(
            "g (float[1] x) => (float[300] y) {"
            " a = Mul(x, u) b = Mul(x, v) dead = Exp(x) y = Add(a, b) }",
            u=ones,
            v=ones.copy(),
            unused=ones + 1,
        )
    )
    assert [node.op_type for node in small.graph.node] == ["Mul", "Add"]
    assert len(small.graph.initializer) == 1
    assert run(small, np.array([3], np.float32)).tolist() == [6.0] * 300


def test_names_annotations_and_defaults_go():
    whole = model(
        "g (float[1, 4] signal) => (float[1, 4] logits) {"
        " long_name = Softmax<axis=-1>(signal) logits = LeakyRelu<alpha=0.5>(long_name)"
        "}"
    )
    whole.graph.node[0].name = "/layer/softmax"
    whole.graph.node[0].doc_string = "File somewhere.py, line 3"
    whole.graph.node[0].metadata_props.add(key="stack", value="trace")
    whole.metadata_props.add(key="key", value="value")
    small = compact(whole)
    text = small.SerializeToString()
    for part in (b"layer", b"long_name", b"trace", b"File", b"value"):
        assert part not in text
    softmax, rectifier = small.graph.node
    assert not softmax.attribute and rectifier.attribute[0].f == 0.5
    assert softmax.input[0] == "signal" and rectifier.output[0] == "logits"


def test_defaults_are_those_of_the_opset():
    # in opset 11 Softmax flattens from axis 1 unless told otherwise
    text = "g (float[1, 2, 3] x) => (float[1, 2, 3] y) { y = Softmax<axis=-1>(x) }"
    whole = model(text, opset=11)
    value = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    np.testing.assert_array_equal(run(compact(whole), value), run(whole, value))


def test_dequantised_weights_stay_integers():
    whole = model(
        "g (float[1] x, float s) => (float[4] y)"
        " { c = DequantizeLinear(w, s) y = Mul(x, c) }",
        w=np.arange(4, dtype=np.int8),
    )
    assert constant(whole).dtype == np.int8


CONVOLUTION = """g (float[1, 1, 9] x) => (float[1, 40, 7] y) <
    float s = {0.3}, uint8 z = {128}, int8[40] zeros = {ZEROS}> {
  q = QuantizeLinear(x, s, z)
  a = DequantizeLinear(q, s, z)
  b = DequantizeLinear<axis=0>(w, sw, zeros)
  c = DequantizeLinear<axis=0>(v, sv)
  y = Conv(a, b, c)
}""".replace("ZEROS", ", ".join(["0"] * 40))


@pytest.mark.parametrize("factor, stored", [(np.float32(0.3), 0), (0.3001, 1)])
def test_a_bias_whose_scale_is_a_product_stores_none(factor, stored):
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.01, 0.1, 40).astype(np.float32)
    whole = model(
        CONVOLUTION,
        w=rng.integers(-127, 127, (40, 1, 3)).astype(np.int8),
        sw=scale,
        v=rng.integers(-999, 999, 40).astype(np.int32),
        sv=(scale * factor).astype(np.float32),
    )
    small = compact(whole)
    kinds = [(t.data_type, *t.dims) for t in small.graph.initializer]
    assert kinds.count((onnx.TensorProto.FLOAT, 40)) == 1 + stored
    x = rng.standard_normal((1, 1, 9)).astype(np.float32)
    np.testing.assert_array_equal(run(small, x), run(whole, x))
    assert compact(small) == small


def test_constant_output_is_kept():
    whole = model("g (float[1] x) => (float[2] y) { y = Exp(w) }", w=np.zeros(2, "f"))
    assert run(expand_constants(whole), np.zeros(1, np.float32)).tolist() == [1, 1]


def test_argument_is_left_alone():
    whole = model("g (float[1] x) => (float[1] y) { a = Exp(x) y = Exp(a) }")
    before = whole.SerializeToString()
    compact(whole)
    assert whole.SerializeToString() == before


def test_custom_operator_is_refused():
    whole = model("g (float[1] x) => (float[1] y) { y = com.acme.Magic(x) }")
    whole.opset_import.append(onnx.helper.make_opsetid("com.acme", 1))
    with pytest.raises(ExportError, match=r"got com\.acme\.Magic 'y'"):
        compact(whole)


def test_branch_is_refused():
    branch = onnx.parser.parse_graph("b () => (float[1] z) { z = Exp(x) }")
    whole = model("g (bool c, float[1] x) => (float[1] y) { y = Exp(x) }")
    whole.graph.node[0].CopyFrom(
        onnx.helper.make_node(
            "If", ["c"], ["y"], then_branch=branch, else_branch=branch
        )
    )
    with pytest.raises(ExportError, match="plain graph, got a sub-graph in If 'y'"):
        compact(whole)


@settings(max_examples=30, deadline=None)
@given(
    arrays.arrays(
        np.int8,
        st.tuples(st.integers(30, 50), st.integers(35, 40)),
        elements=st.integers(-8, 7),
    ),
    st.sampled_from([17, 21]),
)
def test_four_bits_take_half_a_byte_and_come_back(value, opset):
    whole = model(
        "g (float[1] x) => (float[N, M] y)"
        " { c = DequantizeLinear<axis=0>(w, s) y = Mul(x, c) }",
        opset=opset,
        w=value,
        s=np.linspace(0.1, 1, len(value), dtype=np.float32),
    )
    small = compact(whole)
    assert small.ByteSize() < whole.ByteSize() - 0.5 * value.size + 420
    x = np.array([1.5], np.float32)
    np.testing.assert_array_equal(run(small, x), run(whole, x))


def test_five_bits_are_left_alone():
    value = np.full((40, 40), 8, np.int8)
    whole = model(
        "g (float[1] x, float s) => (float[N, M] y)"
        " { c = DequantizeLinear(w, s) y = Mul(x, c) }",
        w=value,
    )
    assert not any(node.op_type == "BitShift" for node in compact(whole).graph.node)


def test_later_opset_computes_the_same():
    whole = model(
        "g (float[2, 3] x) => (float[2] y) { y = ReduceMean<axes=[1], keepdims=0>(x) }"
    )
    later = convert_opset(whole, 21)
    assert topology.opset(later) == 21 and topology.opset(whole) == 17
    assert convert_opset(later, 17) is later
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(run(later, x), run(whole, x))


def test_the_format_is_as_old_as_the_operators_allow():
    new = model("g (float[1] x) => (float[1] y) { y = Add(x, x) }")
    new.ir_version = 10
    assert compact(new).ir_version == 8


def test_an_opset_that_the_model_cannot_have():
    old = model("g (float[1, 2] x) => (float[1, 2] y) { y = Add(x, x) }")
    with pytest.raises(ExportError, match="must be one that opset 9999 can express"):
        convert_opset(old, 9999)


def test_a_constant_larger_than_any_memory():
    huge = model(
        "g (float[1] x) => (float[N] y) { c = ConstantOfShape(n) y = Mul(x, c) }",
        n=np.array([2**40]),
    )
    with pytest.raises(ExportError, match="constants must have at most 67108864 value"):
        expand_constants(huge)
