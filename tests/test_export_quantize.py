from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speech import clips, exported

from wav2small.export.base.errors import ExportError
from wav2small.export.checks import agreement, parity
from wav2small.export.model import topology
from wav2small.export.model.constants import expand_constants
from wav2small.export.model.topology import Topology
from wav2small.export.quantise.config import QuantConfig
from wav2small.export.quantise.plan import plan
from wav2small.export.quantise.scales import (
    Scale,
    activation_scale,
    measure_scales,
    weight_scale,
)
from wav2small.export.quantise.steps import (
    fitting_config,
    prepare_to_quantise,
    quantize,
)
from wav2small.export.quantise.write import write_quantised


@pytest.fixture(scope="module", params=["wav2small", "wav2small-17k"])
def student(request):
    return exported(request.param)


@pytest.fixture(
    scope="module",
    params=["wav2small", "wav2small-17k", "mobilenetv3-small", "mobilenetv4-small"],
)
def pair(request):
    """Float and int8 model of each kind of student."""
    model = exported(request.param)
    return request.param, model, quantize(model, clips(4, 0))


def convolution_model(body, *, opset=17, outputs="float[N, C, T] y", **constants):
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : {opset}]>'
        f"g (float[1, T] x) => ({outputs}) {{ {body} }}"
    )
    for name, value in constants.items():
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.asarray(value), name)
        )
    return model


def kernel(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


AXIS = np.array([0])
SIMPLE = "u = Unsqueeze(x, axis) c = Conv(u, w, b) r = Relu(c) y = Conv(r, v)"


def simple(**changes):
    constants = {
        "axis": AXIS,
        "w": kernel(4, 1, 3),
        "b": kernel(4),
        "v": kernel(3, 4, 3),
    }
    return convolution_model(SIMPLE, **{**constants, **changes})


def quantizers(model):
    graph = Topology(expand_constants(model))
    return graph, [n for n in graph.nodes if n.op_type == "QuantizeLinear"]


def weight_layers(graph):
    """Each layer with its quantised weight: node, integers, scale, axis."""
    for node in graph.nodes:
        if node.op_type not in ("Conv", "MatMul", "Gemm"):
            continue
        made_by = graph.producer.get(node.input[1])
        if made_by is not None and graph.nodes[made_by].op_type == "DequantizeLinear":
            source = graph.nodes[made_by]
            arrays = [graph.array(name) for name in source.input]
            yield node, *arrays, source.attribute[0].i if source.attribute else 1


def test_weights_have_seven_bits(pair):
    name, model, quantized = pair
    graph = Topology(expand_constants(quantized))
    layers = list(weight_layers(graph))
    learned = plan(expand_constants(model)).layers
    assert len(layers) == len(learned)
    if name == "wav2small":
        assert len(layers) == 7 + 1 + 2 + 1  # trunk, point, two products, scores
    for _, integers, scale, zero_point, axis in layers:
        assert integers.dtype == np.int8 and np.abs(integers.astype(int)).max() <= 63
        assert scale.shape == (integers.shape[axis],) and (scale > 0).all()
        assert not zero_point.any() and zero_point.dtype == np.int8
    # what AVX2 without VNNI adds up in 16 bits
    assert 255 * 63 + 255 * 63 < 2**15


def test_weights_are_rounded(student):
    """Every float weight is within half a step of what the file says."""
    reference = expand_constants(student)
    layers = plan(reference).layers
    config = QuantConfig(channel_multiple=1)
    graph = Topology(expand_constants(quantize(student, clips(2, 0), config)))
    for layer, (_, integers, scale, _, axis) in zip(
        layers, weight_layers(graph), strict=True
    ):
        weight = Topology(reference).array(layer.weight)
        shape = [1] * weight.ndim
        shape[axis] = -1
        step = scale.reshape(shape)
        assert np.abs(integers * step - weight).max() <= (0.5 + 1e-4) * step.max()
        largest = np.abs(integers).max(axis=tuple(set(range(weight.ndim)) - {axis}))
        assert (largest == 63).all()


def test_every_quantizer_has_its_mate(pair):
    _, _, quantized = pair
    graph, nodes = quantizers(quantized)
    assert nodes
    for node in nodes:
        scale, zero_point = (graph.array(name) for name in node.input[1:])
        assert scale.shape == () and scale.dtype == np.float32 and scale > 0
        assert zero_point.dtype == np.int8
        readers = graph.consumers[node.output[0]]
        assert [graph.nodes[i].op_type for i in readers] == ["DequantizeLinear"]
        assert graph.nodes[readers[0]].input[1:] == node.input[1:]


def test_values_that_are_picked_keep_their_scale(pair):
    _, _, quantized = pair
    graph, _ = quantizers(quantized)
    found = 0
    for node in graph.nodes:
        if node.op_type in ("MaxPool", "Reshape", "Transpose"):
            before = graph.nodes[graph.producer[node.input[0]]]
            after = graph.nodes[graph.consumers[node.output[0]][0]]
            if after.op_type == "QuantizeLinear":
                assert before.op_type == "DequantizeLinear"
                assert before.input[1:] == after.input[1:]
                found += 1
    assert found == {"wav2small": 3, "wav2small-17k": 1}.get(pair[0], 0)


def test_bias_is_in_steps_of_input_times_weight(pair):
    _, _, quantized = pair
    graph, _ = quantizers(quantized)
    found = 0
    for node, _, weight_step, _, _ in weight_layers(graph):
        source = graph.nodes[graph.producer.get(node.input[0], 0)]
        if source.op_type != "DequantizeLinear" or len(node.input) < 3:
            continue
        bias = graph.nodes[graph.producer[node.input[2]]]
        integers, step = (graph.array(name) for name in bias.input)
        assert integers.dtype == np.int32
        input_step = graph.array(source.input[1])
        np.testing.assert_array_equal(step, input_step * weight_step)
        found += 1
    assert found >= 8


def test_front_end_stays_float(pair):
    _, _, quantized = pair
    graph, nodes = quantizers(quantized)
    first = graph.producer[nodes[0].output[0]]
    before = {graph.nodes[i].op_type for i in graph.upstream([first])}
    assert "Log" in before
    logarithm = next(i for i, n in enumerate(graph.nodes) if n.op_type == "Log")
    front_end = {graph.nodes[i].op_type for i in graph.upstream([logarithm])}
    assert {"Conv", "Sqrt"} <= front_end
    assert not front_end & {"QuantizeLinear", "DequantizeLinear"}


def test_softmax_reads_floats(student):
    graph, _ = quantizers(quantize(student, clips(2, 0)))
    softmax = next(i for i, n in enumerate(graph.nodes) if n.op_type == "Softmax")
    after = {graph.nodes[i].op_type for i in graph.downstream([softmax])}
    assert "QuantizeLinear" not in after
    (source,) = graph.parents(softmax)
    assert graph.nodes[source].op_type in ("Add", "Conv")


def test_integer_arithmetic(student):
    """A convolution of the file is one of integers, rounded once."""
    model = expand_constants(quantize(student, clips(2, 0)))
    graph = Topology(model)
    layers = [
        (node, *rest)
        for node, *rest in weight_layers(graph)
        if node.op_type == "Conv" and len(node.input) == 3
    ]
    node, weight, weight_step, _, _ = layers[1]
    source = graph.nodes[graph.producer[node.input[0]]]
    target = graph.nodes[graph.consumers[node.output[0]][0]]
    bias_node = graph.nodes[graph.producer[node.input[2]]]
    bias = graph.array(bias_node.input[0]).astype(np.int64)
    names = [source.input[0], target.output[0]]
    for name in names:
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT8, None)
        )
    session = topology.session(model, "exact")
    signal = next(iter(clips(1, 7)))
    integers, result = session.run(names, {"signal": signal[None]})
    step, zero = (graph.array(name) for name in source.input[1:])
    out_step, out_zero = (graph.array(name) for name in target.input[1:])
    centred = integers[0].astype(np.int64) - int(zero)
    padded = np.pad(centred, ((0, 0), (1, 1), (1, 1)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    sums = np.einsum("itfxy,oixy->otf", views, weight.astype(np.int64))
    sums += bias[:, None, None]
    ratio = step.astype(np.float64) * weight_step / out_step
    expected = np.clip(np.rint(sums * ratio[:, None, None]) + int(out_zero), -128, 127)
    difference = np.abs(expected - result[0])
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-4


@pytest.mark.parametrize("multiple", [1, 16])
def test_scores_stay(student, multiple):
    quantized = quantize(student, clips(8, 0), QuantConfig(channel_multiple=multiple))
    test = list(clips(20, 5))
    spread = parity.scores(student, test).std(axis=0).max()
    report = parity.compare(student, quantized, test, min_concordance_cc=0.9)
    assert report.passed, report
    assert report.parting <= 0.005
    assert report.executions["exact"].mean_error <= 0.25 * spread


def test_every_architecture_runs(pair):
    _, model, quantized = pair
    # The signals of the batch statistics: random deep networks explode on others,
    # and amplify every rounding, so this tells right from wrong and no more.
    test = [clip[:2000] for clip in clips(6, 0)]
    truth = parity.scores(model, test)
    for execution in parity.EXECUTIONS:
        error = parity.scores(quantized, test, execution) - truth
        assert np.linalg.norm(error) < 0.8 * np.linalg.norm(truth)


def test_onnxruntime_computes_with_integers(pair, tmp_path):
    name, _, quantized = pair
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "m.onnx")
    options.log_severity_level = 3
    # enough to keep it alive until the file is written
    session = onnxruntime.InferenceSession(quantized.SerializeToString(), options)
    assert session.get_outputs()[0].shape == [1, 3]
    operators = [n.op_type for n in onnx.load(tmp_path / "m.onnx").graph.node]
    fused = operators.count("QLinearConv")
    assert fused >= {"wav2small": 8, "wav2small-17k": 6}.get(name, 10)
    assert "MatMulNBits" not in operators and "DynamicQuantizeLinear" not in operators


def test_size(pair):
    name, model, quantized = pair
    limit = {"wav2small": 78_000, "wav2small-17k": 18_500}.get(name)
    assert quantized.ByteSize() < (limit or 0.28 * model.ByteSize())


def test_same_bytes_twice(student):
    first, second = (quantize(student, clips(2, 0)) for _ in range(2))
    assert first.SerializeToString() == second.SerializeToString()


def test_contract(pair):
    _, model, quantized = pair
    assert quantized.graph.input == model.graph.input
    assert quantized.graph.output == model.graph.output
    assert topology.opset(quantized) == 17
    onnx.checker.check_model(quantized, full_check=True)


def test_eight_bits_where_asked():
    model = quantize(simple(), clips(1, 0), QuantConfig(weight_bits=8))
    graph = Topology(expand_constants(model))
    assert {np.abs(w.astype(int)).max() for _, w, *_ in weight_layers(graph)} == {127}


def test_residual_sum_is_quantised():
    model = convolution_model(
        "u = Unsqueeze(x, axis) a = Conv<pads=[1, 1]>(u, w) b = Conv<pads=[1, 1]>(a, v)"
        " s = Add(a, b) y = Conv(s, v)",
        axis=AXIS,
        w=kernel(4, 1, 3),
        v=kernel(4, 4, 3),
    )
    graph, _ = quantizers(quantize(model, clips(1, 0)))
    (index,) = (i for i, n in enumerate(graph.nodes) if n.op_type == "Add")
    assert {graph.nodes[i].op_type for i in graph.parents(index)} == {
        "DequantizeLinear"
    }
    assert [graph.nodes[i].op_type for i in graph.children(index)] == ["QuantizeLinear"]


@pytest.mark.parametrize(
    "rectifier, constants, stays",
    [
        ("Relu(c)", {}, False),
        ("Clip(c, low)", {"low": np.float32(0)}, False),
        ("Clip(c, low, high)", {"low": np.float32(0), "high": np.float32(0.5)}, False),
        ("Clip(c, low)", {"low": np.float32(-0.5)}, True),
    ],
)
def test_rectifier_goes_into_the_range(rectifier, constants, stays):
    model = convolution_model(
        f"u = Unsqueeze(x, axis) c = Conv(u, w) r = {rectifier} y = Conv(r, v)",
        axis=AXIS,
        w=kernel(4, 1, 3),
        v=kernel(3, 4, 3),
        **constants,
    )
    quantized = quantize(model, clips(3, 0))
    graph, nodes = quantizers(quantized)
    present = {node.op_type for node in graph.nodes} & {"Relu", "Clip"}
    assert bool(present) == stays
    zero_points = [int(graph.array(node.input[2])) for node in nodes]
    assert (-128 in zero_points) != stays
    signal = next(clips(1, 9))[None]
    for execution in parity.EXECUTIONS:
        result, expected = (
            topology.session(m, execution).run(None, {"x": signal})[0]
            for m in (quantized, model)
        )
        assert np.abs(result - expected).max() < 0.1 * np.abs(expected).max()


def test_trained_scales_are_taken_as_they_are():
    model = expand_constants(simple())
    parts = plan(model)
    scales = measure_scales(model, parts, clips(2, 0))
    name = parts.measured[-1]
    scales[name] = Scale(np.float32(0.123), -7)
    weight = parts.layers[1].weight
    scales[weight] = Scale(np.array([0.01, 0.02, 0.5], np.float32))
    graph, nodes = quantizers(write_quantised(model, parts, scales))
    pairs = [tuple(graph.array(i).item() for i in n.input[1:]) for n in nodes]
    assert (np.float32(0.123), -7) in pairs
    # a zero point above the lowest integer does not rectify
    assert "Relu" in {node.op_type for node in graph.nodes}
    _, integers, step, _, _ = list(weight_layers(graph))[1]
    assert step.tolist() == scales[weight].scale.tolist()
    expected = np.rint(kernel(3, 4, 3) / step[:, None, None])
    np.testing.assert_array_equal(integers, np.clip(expected, -63, 63))


@given(
    st.floats(-1e6, 1e6, width=32),
    st.floats(-1e6, 1e6, width=32),
    st.floats(0, 1),
)
def test_activation_scale(first, second, place):
    low, high = min(first, second), max(first, second)
    scale, zero_point = activation_scale(low, high)
    assert scale > 0 and -128 <= zero_point <= 127
    low, high = min(low, 0), max(high, 0)
    value = low + place * (high - low)
    integer = np.clip(np.rint(value / float(scale)) + zero_point, -128, 127)
    back = (integer - zero_point) * float(scale)
    # rounding the zero point moves the ends by at most half a step
    assert abs(back - value) <= 1.0001 * scale


@pytest.mark.parametrize("low, high, zero_point", [(0, 5, -128), (-5, 0, 127)])
def test_one_sided_ranges(low, high, zero_point):
    assert activation_scale(low, high).zero_point == zero_point


def test_nothing_but_zeros_has_a_scale():
    assert activation_scale(0, 0) == Scale(np.float32(1), 0)


def test_silent_channel_with_a_bias_fits_32_bits():
    weight = np.zeros((3, 2), np.float32)
    weight[0] = 1e-30
    weight[1] = 1
    bias = np.array([0.5, 1e-3, 0], np.float32)
    scale = weight_scale(weight, 0, 63, bias=bias, input_scale=1e-3).scale
    assert (np.abs(bias) / (1e-3 * scale.astype(float)) <= 2**30 * 1.001).all()
    assert scale[1] == np.float32(1 / 63) and scale[2] == 1


def test_silent_channel_keeps_its_bias():
    weight = kernel(4, 1, 3)
    weight[2] *= 1e-12
    model = simple(w=weight)
    quantized = quantize(model, clips(2, 0))
    signal = next(clips(1, 3))[None]
    result, expected = (
        topology.session(m, "exact").run(None, {"x": signal})[0]
        for m in (quantized, model)
    )
    assert np.abs(result - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize(
    "model, message",
    [
        (
            onnx.ModelProto(),
            "must be a valid ONNX model",
        ),
        (
            convolution_model(
                "a = Exp(x) y = Erf(a)",
                outputs="float[1, T] y",
            ),
            "got Erf 'y': supported are Abs, Add",
        ),
        (
            convolution_model("y = Exp(x)", outputs="float[1, T] y"),
            "must have a layer with constant weights to quantise, got none",
        ),
        (
            convolution_model(
                "u = Unsqueeze(x, axis) k = Exp(u) y = Conv(u, k)", axis=AXIS
            ),
            "weights must be constant, got computed ones in Conv 'y'",
        ),
        (
            convolution_model(
                "u = Unsqueeze<axes=[0]>(x) y = Conv(u, w)", opset=11, w=kernel(4, 1, 3)
            ),
            "opset 13 or later, got 11",
        ),
        (
            convolution_model(
                "u = Unsqueeze(x, axis) y = Conv(u, w) z = Exp(x)",
                outputs="float[N, C, T] y, float[1, T] z",
                axis=AXIS,
                w=kernel(4, 1, 3),
            ),
            "one input and one output, got 1 and 2",
        ),
        (
            quantize(simple(), clips(1, 0)),
            "got QuantizeLinear '.*': supported are",
        ),
    ],
    ids=["empty", "operator", "layers", "weights", "opset", "outputs", "twice"],
)
def test_model_is_refused(model, message):
    with pytest.raises(ExportError, match=message) as caught:
        quantize(model, clips(1, 0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change, message",
    [
        (None, "scales must hold every measured activation, got none"),
        (Scale(np.float32(0)), "scales must be finite and above 0, got 0.0"),
        (Scale(np.float32(np.nan)), "scales must be finite and above 0, got nan"),
        (Scale(np.float32(1), 128), r"zero_point must be in \[-128, 127\], got 128"),
    ],
)
def test_scale_is_refused(change, message):
    model = expand_constants(simple())
    parts = plan(model)
    scales = measure_scales(model, parts, clips(1, 0))
    if change is None:
        scales.pop(parts.measured[0])
    else:
        scales[parts.measured[0]] = change
    with pytest.raises(ExportError, match=message):
        write_quantised(model, parts, scales)


@pytest.mark.parametrize("bits", [0, 4, 9])
def test_weight_bits(bits):
    with pytest.raises(ExportError, match=f"weight_bits must be 7 or 8, got {bits}"):
        QuantConfig(weight_bits=bits)


def test_channel_multiple():
    with pytest.raises(ExportError, match="channel_multiple must be at least 1, got 0"):
        QuantConfig(channel_multiple=0)


@pytest.mark.parametrize("opset", [17, 21])
def test_four_bit_layers_are_the_largest(student, opset):
    config = QuantConfig(four_bit_layers=2, opset=opset)
    small, whole = (quantize(student, clips(4, 0), c) for c in (config, None))
    graph = Topology(expand_constants(small))
    assert topology.opset(small) == opset
    sizes, four = [], []
    for node in graph.nodes:
        if node.op_type == "DequantizeLinear":
            value = graph.array(node.input[0])
            if value is not None and value.ndim > 1:
                sizes.append(value.size)
                if np.abs(value.astype(int)).max() <= 7:
                    four.append(value.size)
    assert sorted(four) == sorted(sizes)[-2:]
    saved = whole.ByteSize() - small.ByteSize()
    if four[0] > 1e4:  # else channels of zeros were left out already
        assert saved > 0.45 * sum(four)


def test_opset_21_has_a_type_of_four_bits(student):
    config = QuantConfig(four_bit_layers=11, opset=21)
    model = quantize(student, clips(4, 0), config)
    types = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.INT4 in types
    older = quantize(student, clips(4, 0), replace(config, opset=17))
    assert model.ir_version == 10 and older.ir_version == 8
    signals = list(clips(3, 2))
    np.testing.assert_array_equal(
        *(parity.scores(form, signals, "exact") for form in (model, older))
    )
    # onnxruntime merges the layers of the older file into integer kernels and not
    # those of the newer one: a value half way between two steps may fall either way
    np.testing.assert_allclose(
        parity.scores(model, signals),
        parity.scores(older, signals),
        atol=agreement.LARGEST_SCORE_ERROR,
    )


def test_a_clipped_step_is_better_than_the_largest_weight():
    weight = np.random.default_rng(0).standard_normal((8, 500)).astype(np.float32)
    step = weight_scale(weight, 0, 7).scale[:, None]
    plain = np.abs(weight).max(axis=1, keepdims=True) / 7
    errors = [
        np.square(np.clip(np.rint(weight / s), -7, 7) * s - weight).sum(axis=1)
        for s in (step, plain)
    ]
    assert (errors[0] < 0.9 * errors[1]).all()


@pytest.mark.parametrize("room", [0.999, 0.75, 0.1])
def test_fit_takes_as_few_layers_as_it_can(student, room):
    model, parts = prepare_to_quantise(student)
    scales = measure_scales(model, parts, clips(4, 0))

    def size(count):
        config = QuantConfig(four_bit_layers=count)
        return write_quantised(model, parts, scales, config).ByteSize()

    limit = round(room * size(0))
    found = fitting_config(model, parts, scales, limit).four_bit_layers
    assert found > 0
    assert size(found - 1) > limit
    assert size(found) <= limit or found == len(parts.layers)


def test_settings_that_do_not_exist():
    with pytest.raises(ExportError, match="four_bit_layers must be at least 0, got -1"):
        QuantConfig(four_bit_layers=-1)
    with pytest.raises(ExportError, match="opset must be 17 or 21, got 18"):
        QuantConfig(opset=18)


def test_weights_that_are_not_finite(student):
    model = expand_constants(student)
    layer = plan(model).layers[3]
    for tensor in model.graph.initializer:
        if tensor.name == layer.weight:
            value = onnx.numpy_helper.to_array(tensor).copy()
            value.flat[5] = np.inf
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    with pytest.raises(ExportError, match="weights must be finite, got NaN or Inf in"):
        quantize(model, clips(2, 0))
