from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from speech import clips, exported

from wav2small.export.base.errors import ExportError
from wav2small.export.base.log_mel import ENTRY, LogMelSettings
from wav2small.export.integer.operators.concat import Concat
from wav2small.export.integer.operators.convolution import Convolution
from wav2small.export.integer.operators.hard_swish import HardSwish
from wav2small.export.integer.operators.linear import Linear
from wav2small.export.integer.operators.log_mel import LogMel
from wav2small.export.integer.operators.matrix_product import MatrixProduct
from wav2small.export.integer.operators.max_pool import MaxPool
from wav2small.export.integer.operators.mean import Mean
from wav2small.export.integer.operators.product import Product
from wav2small.export.integer.operators.relu import Relu
from wav2small.export.integer.operators.reshape import Reshape
from wav2small.export.integer.operators.softmax_pool import SoftmaxPool
from wav2small.export.integer.operators.sum import Sum
from wav2small.export.integer.operators.table import Table
from wav2small.export.integer.operators.transpose import Transpose
from wav2small.export.integer.reader import SUPPORTED, read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.tensor import Tensor
from wav2small.export.model import topology
from wav2small.export.model.constants import expand_constants
from wav2small.export.quantise.steps import quantize

FRONT_END = """
    mean = ReduceMean<axes = [1]>(signal)
    centred = Sub(signal, mean)
    square = Mul(centred, centred)
    power = ReduceMean<axes = [1]>(square)
    floored = Add(power, power_floor)
    root = Sqrt(floored)
    unit = Div(centred, root)
    line = Unsqueeze(unit, one)
    real = Conv<strides = [4]>(line, cosine)
    imaginary = Conv<strides = [4]>(line, sine)
    real_square = Mul(real, real)
    imaginary_square = Mul(imaginary, imaginary)
    spectrum = Add(real_square, imaginary_square)
    mel_power = Conv(spectrum, mel)
    heard = Max(mel_power, floor)
    log = Log(heard)
    turned = Transpose<perm = [0, 2, 1]>(log)
    map = Unsqueeze(turned, one)
    q = QuantizeLinear(map, s, z)
    x = DequantizeLinear(q, s, z)
"""
SETTINGS = LogMelSettings(
    sampling_rate=16000,
    window_length=16,
    hop_length=4,
    n_fft=16,
    n_mels=4,
    fmin=0.0,
    fmax=8000.0,
    padding=0,
    floor=1e-8,
    power_floor=1e-6,
    past_frames=None,
    center=0.0,
    spread=10 / np.log(10),  # the natural logarithm
)
"""What :data:`FRONT_END` computes."""

BODY = """
    wf = DequantizeLinear<axis = 0>(w, sw)
    bf = DequantizeLinear<axis = 0>(b, sb)
    c = Conv<pads = [1, 1, 1, 1]>(x, wf, bf)
    cq = QuantizeLinear(c, s1, z1)
    d = DequantizeLinear(cq, s1, z1)
"""
HEAD = """
    m = ReduceMean<axes = [2, 3], keepdims = 0>(d)
    vf = DequantizeLinear<axis = 0>(v, sv)
    scores = Gemm<transB = 1>(m, vf, bias)
"""
POOL = """
    r = Reshape(d, to_lines)
    rq = QuantizeLinear(r, s1, z1)
    lines = DequantizeLinear(rq, s1, z1)
    mf = DequantizeLinear<axis = 1>(matrix, smatrix)
    value = MatMul(lines, mf)
    score = MatMul(lines, mf)
    weight = Softmax<axis = 1>(score)
    weighted = Mul(value, weight)
    m = ReduceSum<keepdims = 0>(weighted, one)
    vf = DequantizeLinear<axis = 0>(v, sv)
    scores = Gemm<transB = 1>(m, vf, bias)
"""


def constants() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    time = np.arange(16)
    hann = np.sin(np.pi * time / 16) ** 2
    angle = 2 * np.pi * np.outer(np.arange(9), time) / 16
    step, weight_step = np.float32(0.125), np.array([0.01, 0.02, 0.03], np.float32)
    return {
        "power_floor": np.float32(1e-6),
        "one": np.array([1]),
        "cosine": (hann * np.cos(angle))[:, None].astype(np.float32),
        "sine": (hann * -np.sin(angle))[:, None].astype(np.float32),
        "mel": SETTINGS.mel_weights()[:, :, None],
        "floor": np.float32(1e-8),
        "s": step,
        "z": np.int8(20),
        "w": generator.integers(-60, 60, (3, 1, 3, 3)).astype(np.int8),
        "sw": weight_step,
        "b": np.array([100, -200, 300], np.int32),
        "sb": step * weight_step,
        "s1": np.float32(0.5),
        "z1": np.int8(-10),
        "v": generator.integers(-60, 60, (3, 3)).astype(np.int8),
        "sv": np.float32(0.01),
        "bias": np.array([0.5, 0.25, -1], np.float32),
        "to_lines": np.array([0, -1, 3]),
        "matrix": generator.integers(-60, 60, (3, 3)).astype(np.int8),
        "smatrix": np.array([0.004, 0.002, 0.003], np.float32),
    }


def model(
    body: str = BODY + HEAD,
    *,
    opset: int = 17,
    output: str = "float[1, 3] scores",
    signal: str = "float[1, time] signal",
    **changes: np.ndarray,
) -> onnx.ModelProto:
    graph = onnx.parser.parse_graph(f"g ({signal}) => ({output}) {{{FRONT_END}{body}}}")
    used = {name for node in graph.node for name in node.input}
    for name, value in (constants() | changes).items():
        if name in used:
            tensor = numpy_helper.from_array(np.asarray(value), name)
            graph.initializer.append(tensor)
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10
    )
    helper.set_model_props(made, {ENTRY: SETTINGS.to_text()})
    return made


def refuse(candidate: onnx.ModelProto, match: str) -> None:
    with pytest.raises(ExportError, match=match) as caught:
        read(candidate)
    assert "\n" not in str(caught.value)


# -- what is read ------------------------------------------------------------


def test_graph():
    graph = read(model())
    assert [type(operator) for operator in graph.operators] == [
        LogMel,
        Convolution,
        Mean,
        Linear,
    ]
    assert list(graph.tensors) == ["q", "cq", "m", "scores"]
    assert graph.output == "scores" and len(graph.model.graph.node) == 28
    mel, convolution, mean, linear = graph.operators
    assert mel.inputs == ("signal",) and mel.nodes == tuple(range(19))
    (_, _, frames, _) = graph.tensors["q"].shape
    shape = (1, 1, frames, 4)
    assert graph.tensors["q"] == Tensor("q", "int8", 0.125, 20, shape, 18.5)
    assert not isinstance(frames, int)
    given = constants()
    assert graph.tensors["cq"].shape[1::2] == (3, 4)
    assert (graph.tensors["cq"].scale, graph.tensors["cq"].zero_point) == (0.5, -10)
    assert np.array_equal(convolution.weight, given["w"])
    assert convolution.bias.tolist() == [100, -200, 300]
    assert convolution.pads == (1, 1, 1, 1) and convolution.strides == (1, 1)
    assert convolution.groups == 1 and convolution.rescale.before == 0
    factor = np.float32(0.125) * given["sw"] / np.float32(0.5)
    assert np.array_equal(convolution.rescale.factor, factor)
    # casts and rescaling belong to their operator, each node to one
    assert convolution.nodes == (20, 21, 22, 23)
    covered = [node for operator in graph.operators for node in operator.nodes]
    assert len(covered) == len(set(covered)) == 28 - 2
    assert (mean.axes, mean.keep, mean.fraction) == ((2, 3), False, 22)
    assert graph.tensors["m"].scale == 2.0 ** (7 - 30)  # up to 137 * 0.5
    assert graph.tensors["m"].bound == 137 * 0.5
    scores = graph.tensors["scores"]
    assert (scores.dtype, scores.zero_point, scores.shape) == ("int32", 0, (1, 3))
    assert np.array_equal(linear.weight, given["v"])
    assert linear.bias.tolist() == [round(b / scores.scale) for b in given["bias"]]
    assert [graph.label(operator) for operator in graph.operators] == [
        "LogMel 1",
        "Convolution 1",
        "Mean 1",
        "Linear 1",
    ]


def scored(candidate: onnx.ModelProto, limit: float = 0.02) -> list[type]:
    """Kinds of operators after the convolution; scores must be onnxruntime's."""
    generator = np.random.default_rng(1)
    signal = (generator.integers(-9000, 9000, 400) / 2**15).astype(np.float32)
    graph = read(candidate)
    (expected,) = topology.session(candidate, "exact").run(
        None, {"signal": signal[None]}
    )
    scores = ReferenceModel(graph).predict([signal])[0]
    assert np.abs(scores - expected.reshape(-1)).max() < limit
    return [type(operator) for operator in graph.operators[2:]]


def replaced(old: str, new: str, body: str = BODY + HEAD) -> str:
    assert body.count(old) == 1
    return body.replace(old, new)


def test_scores_are_those_of_onnxruntime():
    assert scored(model()) == [Mean, Linear]
    assert scored(model(BODY + POOL)) == [Reshape, Linear, Linear, SoftmaxPool, Linear]


AFTER = {
    "pool": (
        "e = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(d)"
        "eq = QuantizeLinear(e, s1, z1) m = DequantizeLinear(eq, s1, z1)",
        [MaxPool],
    ),
    "transpose": (
        "f = Add(d, d) m = Transpose<perm = [0, 1, 3, 2]>(f)",
        [Sum, Transpose],
    ),
    "sigmoid": ("m = Sigmoid(d)", [Table]),
    "clip": ("m = Clip(d, low, high)", [Table]),
    "leaky": (
        "e = LeakyRelu(d) eq = QuantizeLinear(e, s1, z1)"
        "m = DequantizeLinear(eq, s1, z1)",
        [Table],
    ),
    "add": ("m = Add(d, d)", [Sum]),
    "mul": ("m = Mul(d, d)", [Product]),
    "relu": ("e = Add(d, d) m = Relu(e)", [Sum, Relu]),
    "hard swish": ("e = Add(d, d) m = HardSwish(e)", [Sum, HardSwish]),
    "concat": (
        "e = Mul(d, d) f = Add(d, d) m = Concat<axis = 2>(e, f)",
        [Product, Sum, Concat],
    ),
    "unsqueeze": (
        "f = Add(d, d) e = Unsqueeze(f, one) m = Squeeze(e, one)",
        [Sum, Reshape, Reshape],
    ),
    "shape": (
        "f = Add(d, d) sh = Shape(f) two = Slice(sh, zero, end)"
        "to = Concat<axis = 0>(two, tail)"
        "e = Reshape(f, to) m = Reshape(e, back)",
        [Sum, Reshape, Reshape],
    ),
}


@pytest.mark.parametrize("name", AFTER)
def test_operators(name):
    body, kinds = AFTER[name]
    head = HEAD.replace("(d)", "(m)").replace("m = Reduce", "n = Reduce")
    head = head.replace("Gemm<transB = 1>(m", "Gemm<transB = 1>(n")
    extra = {
        "low": np.float32(-0.7),
        "high": np.float32(3),
        "zero": np.array([0]),
        "end": np.array([2]),
        "tail": np.array([-1]),
        "back": np.array([0, 0, -1, 4]),
    }
    assert scored(model(BODY + body + head, **extra)) == [*kinds, Mean, Linear]


def test_matrix_product_and_flatten():
    body = """
        n = MatMul(m, t)
        e = Flatten(n)
        vf = DequantizeLinear<axis = 0>(v, sv)
        scores = Gemm<transB = 1>(e, vf, bias)
    """
    first = """
        f = ReduceMean<axes = [3], keepdims = 0>(d)
        g = ReduceMean<axes = [2], keepdims = 1>(f)
        m = Add(g, g)
        t = Transpose<perm = [0, 2, 1]>(m)
    """
    weight = np.arange(-4, 5).reshape(3, 3)[:, :1].repeat(9, 1).astype(np.int8)
    found = scored(model(BODY + first + body, v=weight), 0.5)
    assert found[-3:] == [MatrixProduct, Reshape, Linear]


def test_pooled_over_all_places():
    body = replaced(
        "m = ReduceMean<axes = [2, 3], keepdims = 0>(d)",
        "p = GlobalAveragePool(d) m = Flatten(p)",
    )
    assert scored(model(body)) == [Mean, Reshape, Linear]


def test_matrix_with_a_bias_behind_it():
    body = BODY + replaced("value = MatMul(lines, mf)", "", POOL).replace(
        "score = MatMul(lines, mf)",
        "u = MatMul(lines, mf) value = Add(bias, u) score = MatMul(lines, mf)",
    )
    graph = read(model(body))
    first = next(op for op in graph.operators if isinstance(op, Linear))
    assert first.output == "value" and first.bias.any()
    assert scored(model(body))[-2:] == [SoftmaxPool, Linear]


def test_sum_of_a_matrix_product_with_itself():
    body = BODY + replaced(
        "value = MatMul(lines, mf)", "u = MatMul(lines, mf)value = Add(u, u)", POOL
    )
    assert Sum in scored(model(body))


def test_int8_scores():
    body = BODY + replaced("scores =", "sf =", HEAD)
    body += "sq = QuantizeLinear(sf, s2, z2) scores = DequantizeLinear(sq, s2, z2)"
    scales = {"s2": np.float32(0.25), "z2": np.int8(7)}
    assert scored(model(body, **scales), 0.26) == [Mean, Linear]


def test_weights_of_four_bits():
    body = BODY + HEAD
    candidate = model(body, opset=21, v=np.ones((3, 3), np.int8))
    (tensor,) = (t for t in candidate.graph.initializer if t.name == "v")
    tensor.CopyFrom(helper.make_tensor("v", TensorProto.INT4, (3, 3), [-8, 7, 1] * 3))
    for node in candidate.graph.node:  # axes are inputs from opset 18 on
        if node.op_type == "ReduceMean":
            (axes,) = (entry for entry in node.attribute if entry.name == "axes")
            values = np.array(axes.ints)
            node.attribute.remove(axes)
            node.input.append(f"axes{len(candidate.graph.initializer)}")
            candidate.graph.initializer.append(
                numpy_helper.from_array(values, node.input[-1])
            )
    graph = read(candidate)
    assert graph.operators[-1].weight.tolist() == [[-8, 7, 1]] * 3
    assert scored(candidate) == [Mean, Linear]


# -- what is refused ---------------------------------------------------------

SIZED = "float[1, 3] scores"
OPEN = "float[a, b] scores"


def test_messages_name_what_is_supported():
    body = BODY + "e = Elu(d)" + HEAD.replace("(d)", "(e)")
    refuse(
        model(body),
        r"^node must be an operator with integer arithmetic, got Elu 'e': "
        rf"supported after the front end are {', '.join(SUPPORTED)}$",
    )


def body(old: str, new: str) -> dict:
    return {"body": replaced(old, new)}


def pool(old: str, new: str) -> dict:
    return {"body": BODY + replaced(old, new, POOL)}


def after(text: str, **values) -> dict:
    """Model with more nodes between the convolution and its mean."""
    return {"body": BODY + text + HEAD.replace("(d)", "(e)"), **values}


FOUR = np.array([0.01, 0.02, 0.03], np.float32)
REFUSALS = {
    "float weights": (
        body("c = Conv<pads = [1, 1, 1, 1]>(x, wf, bf)", "c = Conv(x, mel4)")
        | {"mel4": np.ones((3, 1, 1, 1), np.float32)},
        "a layer with constant integer weights, got Conv 'c'",
    ),
    "float matrix": (
        pool("score = MatMul(lines, mf)", "score = MatMul(lines, fm)")
        | {"fm": np.ones((3, 3), np.float32)},
        "fed with integer tensors and not 'fm', got MatMul 'score'",
    ),
    "uint8 activations": (
        {"z1": np.uint8(10)},
        "a quantisation to int8 and not uint8, got QuantizeLinear 'cq'",
    ),
    "uint8 map": (
        {"z": np.uint8(10)},
        "a quantisation to int8 and not uint8, got QuantizeLinear 'q'",
    ),
    "scales of channels for activations": (
        {"s1": FOUR, "z1": np.zeros(3, np.int8)},
        "a quantisation with one constant scale and zero point, got QuantizeLinear",
    ),
    "no zero point": (
        body("cq = QuantizeLinear(c, s1, z1)", "cq = QuantizeLinear<axis = 1>(c, s1)")
        | {"z1": np.uint8(0)},
        "one constant scale and zero point, got QuantizeLinear 'cq'",
    ),
    "scale of 0": (
        {"s1": np.float32(0)},
        r"a scale in 2 \*\* -60 .. 2 \*\* 60 and not 0.0, got QuantizeLinear",
    ),
    "scale of nothing": ({"s1": np.float32(np.nan)}, "and not nan, got QuantizeLinear"),
    "huge scale": ({"s1": np.float32(1e30)}, r"and not 1\.0.*e\+30, got Quantize"),
    "another scale after the cast": (
        body("d = DequantizeLinear(cq, s1, z1)", "d = DequantizeLinear(cq, s, z1)"),
        "a cast with the scale that it was made with, got DequantizeLinear 'd'",
    ),
    "wrong axis": (
        body("<axis = 0>(w, sw)", "<axis = 2>(w, sw)"),
        r"one scale for each output \(axis 0\) and not \(3,\) on axis 2, got Conv 'c'",
    ),
    "wrong axis of a matrix": (
        pool("mf = DequantizeLinear<axis = 1>", "mf = DequantizeLinear<axis = 0>"),
        r"one scale for each output \(axis 1\) and not \(3,\) on axis 0, got MatMul",
    ),
    "zero points of weights": (
        body("(w, sw)", "(w, sw, zw)") | {"zw": np.array([0, 1, 0], np.int8)},
        "weights with zero points of 0, got DequantizeLinear 'wf'",
    ),
    "unsigned weights": (
        {"w": np.ones((3, 1, 3, 3), np.uint8)},
        "signed weights and not uint8, got DequantizeLinear 'wf'",
    ),
    "wide weights": (
        {"w": np.full((3, 1, 3, 3), 128, np.int32)},
        "a layer with weights of at most 8 bits, got Conv 'c'",
    ),
    "negative weight scale": (
        {"sw": -FOUR},
        "weights with scales in .*, got DequantizeLinear 'wf'",
    ),
    "vector as a matrix": (
        {
            "body": BODY
            + POOL[: POOL.index("    mf")]
            + "rf = DequantizeLinear(row, s) scores = MatMul(lines, rf)",
            "row": np.ones(3, np.int8),
            "output": OPEN,
        },
        "a layer with a matrix or kernels of weights, got MatMul 'scores'",
    ),
    "bias of another length": (
        {"bias": np.float32(1)},
        "a layer with a constant bias for each output, got Gemm 'scores'",
    ),
    "computed bias": (
        body("(m, vf, bias)", "(m, vf, m)"),
        "a layer with a constant bias for each output, got Gemm 'scores'",
    ),
    "integer bias of another length": (
        {"b": np.ones(1, np.int32), "sb": np.float32(0.001)},
        "a layer with a constant bias for each output, got Conv 'c'",
    ),
    "bias in coarse steps": (
        {"sb": np.float32(0.001), "sw": np.float32(3), "b": np.full(3, 77, np.int32)},
        "a layer whose bias keeps its value .* got Conv 'c'",
    ),
    "large bias": (
        {"b": np.full(3, 2**31 - 1, np.int32)},
        "a layer whose sums fit 32 bits, got Conv 'c'",
    ),
    "infinite bias": (
        body("(x, wf, bf)", "(x, wf, fb)") | {"fb": np.full(3, np.inf, np.float32)},
        "a layer whose sums fit 32 bits, got Conv 'c'",
    ),
    "infinite bias in float": (
        {"bias": np.full(3, np.inf, np.float32)},
        r"tensor 'scores' must hold numbers below 2 \*\* 60, got up to inf: quantise",
    ),
    "scales that do not fit": (
        {"s1": np.float32(1e-12)},
        r"quantised with other scales \(scales must stand in ratios .*\), got Conv 'c'",
    ),
    "border as wide as the reach of the window": (
        body("pads = [1, 1, 1, 1]", "dilations = [2, 2], pads = [5, 2, 2, 2]"),
        "a window over a map, its border smaller than itself, got Conv 'c'",
    ),
    "automatic border": (
        body("pads = [1, 1, 1, 1]", 'auto_pad = "SAME_UPPER"'),
        "a plain convolution of an int8 map in two dimensions, got Conv 'c'",
    ),
    "groups": (
        body("pads = [1, 1, 1, 1]", "group = 3, pads = [1, 1, 1, 1]"),
        "a convolution of 1 channels, got Conv 'c'",
    ),
    "wide border": (
        body("pads = [1, 1, 1, 1]", "pads = [3, 1, 1, 1]"),
        "a window over a map, its border smaller than itself, got Conv 'c'",
    ),
    "factor": (
        body("Gemm<transB = 1>", "Gemm<alpha = 0.5, transB = 1>"),
        "a product without factors, got Gemm 'scores'",
    ),
    "another scale after a maximum": (
        after(
            "p = MaxPool<kernel_shape = [2, 2]>(d) pq = QuantizeLinear(p, s, z1)"
            "e = DequantizeLinear(pq, s, z1)"
        ),
        "followed by the scale that it is fed with, got MaxPool 'p'",
    ),
    "maximum rounded up": (
        after("e = MaxPool<kernel_shape = [2, 2], ceil_mode = 1>(d)"),
        "a plain maximum of an int8 map in two dimensions, got MaxPool 'e'",
    ),
    "maximum of wide numbers": (
        after("f = Add(d, d) e = MaxPool<kernel_shape = [2, 2]>(f)"),
        "a plain maximum of an int8 map in two dimensions, got MaxPool 'e'",
    ),
    "empty shape": (
        after("e = Reshape<allowzero = 1>(d, to)", to=np.array([1, 3, -1, 4])),
        "a change of shape where 0 keeps the length, got Reshape 'e'",
    ),
    "flattening": (
        after(
            "f = Flatten<axis = 2>(d) e = Reshape(f, to)", to=np.array([1, 3, -1, 4])
        ),
        "a flattening from axis 1 on, got Flatten 'f'",
    ),
    "target shape that is computed": (
        after("n = Shape(d) e = Reshape(d, n)"),
        "a change to a constant shape, got Reshape 'e'",
    ),
    "target shape of another tensor": (
        after(
            "n = Shape(signal) h = Slice(n, zero, one)"
            "to = Concat<axis = 0>(h, tail) e = Reshape(d, to)",
            zero=np.array([0]),
            tail=np.array([3, -1, 4]),
        ),
        "a change to a constant shape, got Reshape 'e'",
    ),
    "target shape from the end": (
        after(
            "n = Shape(d) h = Slice(n, one, end)"
            "to = Concat<axis = 0>(h, tail) e = Reshape(d, to)",
            end=np.array([2]),
            tail=np.array([1, -1, 4]),
        ),
        "a change to a constant shape, got Reshape 'e'",
    ),
    "concatenation of bytes": (
        after("e = Concat<axis = 1>(d, d)", v=np.ones((3, 6), np.int8)),
        "a concatenation of int32 tensors, got Concat 'e'",
    ),
    "concatenation of floats": (
        after("e = Concat<axis = 2>(map, map)", v=np.ones((3, 1), np.int8)),
        "all that reads the log-mel, got QuantizeLinear 'q'",
    ),
    "concatenation with what is no integer": (
        after(
            "l = Unsqueeze(line, one) e = Concat<axis = 3>(l, l)",
            v=np.ones((3, 1), np.int8),
        ),
        "fed with integer tensors and not 'line', got Unsqueeze 'l'",
    ),
    "one limit": (
        after("e = Clip(d, low)", low=np.float32(0)),
        "a clip with two constant limits, got Clip 'e'",
    ),
    "table of wide numbers": (
        after("f = Add(d, d) e = Sigmoid(f)"),
        "Relu or HardSwish, fed with more than 8 bits, got Sigmoid 'e'",
    ),
    "no number": (
        after("e = LeakyRelu<alpha = 3e38>(d)"),
        "a function with finite values, got LeakyRelu 'e'",
    ),
    "sum with a coarse step": (
        after(
            "f = Add(d, d) fq = QuantizeLinear(f, s2, z1)"
            "e = DequantizeLinear(fq, s2, z1)",
            s2=np.float32(1e-10),
        ),
        "a sum with a step in the range of its inputs', got Add 'f'",
    ),
    "product over time": (
        after("f = Add(d, d) t = Transpose<perm = [0, 1, 3, 2]>(f) e = MatMul(t, f)"),
        "a product over an axis of fixed length, got MatMul 'e'",
    ),
    "two readers, one a cast": (
        body(
            "d = DequantizeLinear(cq, s1, z1)",
            "g = DequantizeLinear(cq, s1, z1) d = Add(g, c)",
        ),
        "the only reader of a tensor that an operator makes, got QuantizeLinear 'cq'",
    ),
    "kernels in a product": (
        after(
            "kf = DequantizeLinear(k, s) e = MatMul(d, kf)",
            k=np.ones((1, 3, 4, 4), np.int8),
        ),
        "a product with a matrix, got MatMul 'e'",
    ),
    "floats put together": (
        after("g = Concat<axis = 2>(line, line) e = Relu(d)"),
        "fed with integer tensors, got Concat 'g'",
    ),
    "pooled floats": (
        pool("Mul(value, weight)", "Mul(line, weight)"),
        "fed with integer tensors, got Mul 'weighted'",
    ),
    "two open axes": (
        after(
            "f = Add(d, d) g = Unsqueeze(f, one) e = Squeeze(g, one)",
            signal="float[n, time] signal",
            output=OPEN,
        ),
        "a change of shape with one open axis, got Unsqueeze 'g'",
    ),
    "sum that is no pooling": (
        after("e = ReduceSum(d, axes)", axes=np.array([2])),
        "the sum that ends a softmax pooling, got ReduceSum 'e'",
    ),
    "pooling over another axis": (
        pool("Softmax<axis = 1>", "Softmax<axis = 2>"),
        "the sum over the softmax's axis that ends a pooling, got ReduceSum 'm'",
    ),
    "pooling of bytes": (
        pool("Mul(value, weight)", "Mul(lines, weight)"),
        "the sum over the softmax's axis that ends a pooling, got ReduceSum 'm'",
    ),
    "pooling into bytes": (
        pool(
            "vf = DequantizeLinear<axis = 0>(v, sv)\n    scores = Gemm<transB = 1>(m,",
            "mq = QuantizeLinear(m, s1, z1) mm = DequantizeLinear(mq, s1, z1)"
            "vf = DequantizeLinear<axis = 0>(v, sv) scores = Gemm<transB = 1>(mm,",
        ),
        "read in more than 8 bits, got ReduceSum 'm'",
    ),
    "softmax that is left": (
        after("f = Add(d, d) e = Softmax(f)"),
        "fed with integer tensors and not 'e', got ReduceMean 'm'",
    ),
    "mean over all axes": (
        {
            "body": BODY + "scores = ReduceMean<keepdims = 0>(d)",
            "output": "float scores",
        },
        "a reduction with constant axes, got ReduceMean 'scores'",
    ),
    "number without axes": (
        {
            "body": BODY + "f = Add(d, d)"
            "n = ReduceMean<axes = [0, 1, 2, 3], keepdims = 0>(f)"
            "scores = Transpose(n)",
            "output": "float scores",
        },
        "fed with a tensor of known rank, got Transpose 'scores'",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(name):
    changes, match = REFUSALS[name]
    refuse(model(**changes), match)


def test_blocks_of_weights():
    text = replaced("<axis = 0>(v, sv)", "<axis = 1, block_size = 2>(v, sv)")
    changes = {"sv": np.ones((3, 2), np.float32)}
    graph = model(text, opset=17, **changes).graph
    for node in graph.node:
        if node.op_type == "ReduceMean":
            (axes,) = (entry for entry in node.attribute if entry.name == "axes")
            node.input.append(f"axes{len(graph.initializer)}")
            graph.initializer.append(
                numpy_helper.from_array(np.array(axes.ints), node.input[-1])
            )
            node.attribute.remove(axes)
    opsets = [helper.make_opsetid("", 21)]
    candidate = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    helper.set_model_props(candidate, {ENTRY: SETTINGS.to_text()})
    refuse(candidate, "one constant scale for each output, got DequantizeLinear 'vf'")


def test_external_data():
    candidate = model()
    tensor = candidate.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    refuse(candidate, f"got external data for '{tensor.name}': save it as one file")


def test_no_quantisation():
    text = "scores = Flatten(map)"
    candidate = model(text, output="float[a, b] scores")
    del candidate.graph.node[18:20]
    refuse(candidate, "must be quantised, got no QuantizeLinear: export it as int8")


def test_float_scores():
    candidate = model("scores = Flatten(map)", output="float[a, b] scores")
    refuse(candidate, "all that reads the log-mel, got QuantizeLinear 'q'")
    front = model(BODY, output="float[a, b, e] turned")
    refuse(front, "output 'turned' must be made of integer tensors, got a float graph")


def test_two_outputs():
    candidate = model(output="float[1, 3] scores, float[1, 3] m")
    refuse(candidate, "one input and one output, got 1 and 2: export it with")


def test_two_inputs():
    candidate = model(signal="float[1, time] signal, float[1, 3] length")
    refuse(candidate, "one input and one output, got 2 and 1: export it with")


def test_batch():
    candidate = model(signal="float[2, time] signal", output="float[2, 3] scores")
    refuse(candidate, r"input 'signal' must be float32 of shape \(1, time\), got")


def test_double():
    candidate = model(signal="double[1, time] wide")
    cast = helper.make_node("Cast", ["wide"], ["signal"], to=TensorProto.FLOAT)
    candidate.graph.node.insert(0, cast)
    refuse(candidate, r"input 'wide' must be float32 of shape \(1, time\), got type 11")


def test_old_opset():
    graph = onnx.parser.parse_graph("g (float[t] x) => (float[t] y) { y = Relu(x) }")
    opsets = [helper.make_opsetid("", 12)]
    old = helper.make_model(graph, opset_imports=opsets, ir_version=7)
    refuse(old, "model must have opset 13 or later, got 12: export it again")


def test_constants_of_another_size():
    candidate = model()
    (tensor,) = (t for t in candidate.graph.initializer if t.name == "bias")
    tensor.raw_data += bytes(4)
    refuse(candidate, r"must have constants with the bytes of their shape, got \[3\]")


def test_constants_that_cannot_be_computed():
    text = replaced("(m, vf, bias)", "(m, vf, made)").replace(
        "m = Reduce", "made = ScatterElements(bias, place, bias) m = Reduce"
    )
    candidate = model(text, place=np.array([0, 1, 7]))
    refuse(candidate, "must be made by nodes that run, got .*: export the model again")


def with_activation_scale(model, place, value):
    """Model whose quantised tensor at a place, from the end, has another scale."""
    changed = ModelProto()
    changed.CopyFrom(model)
    nodes = [n for n in changed.graph.node if n.op_type == "QuantizeLinear"]
    old = nodes[place].input[1]
    changed.graph.initializer.append(
        numpy_helper.from_array(np.float32(value), "coarse")
    )
    for node in changed.graph.node:
        node.input[:] = ["coarse" if name == old else name for name in node.input]
    return changed


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wav2small", r"fed with steps of at most 0.00390625, got .*, got Softmax"),
        ("mobilenetv4-small", r"output 'logits' must have steps of at most 0.015625"),
    ],
)
def test_steps_that_leave_no_digits(name, message):
    model = expand_constants(quantize(exported(name), clips(2, 0)))
    coarse = with_activation_scale(model, -1, 1e7)
    with pytest.raises(ExportError, match=message):
        read(coarse)
