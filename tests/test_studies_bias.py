import numpy as np
import onnx
import pytest
from bias import correct_bias

from wav2small.export.base.errors import ExportError
from wav2small.export.model import topology
from wav2small.export.model.constants import expand_constants
from wav2small.export.model.topology import Topology
from wav2small.export.quantise.config import QuantConfig
from wav2small.export.quantise.plan import plan
from wav2small.export.quantise.scales import measure_scales, weight_limits
from wav2small.export.quantise.write import write_quantised


def signals(count=6, seed=0):
    generator = np.random.default_rng(seed)
    return [
        (generator.standard_normal(generator.integers(60, 200)) + 0.5).astype(
            np.float32
        )
        for _ in range(count)
    ]


def build(body, outputs="float[N, C, T] y", **constants):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        f"g (float[1, T] x) => ({outputs}) {{ u = Unsqueeze(x, axis) {body} }}"
    )
    for name, value in {"axis": np.array([0]), **constants}.items():
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.asarray(value), name)
        )
    return expand_constants(model)


def weights(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def chain():
    """Every kind of layer: full with stride, depthwise, without bias, dense."""
    return build(
        "c = Conv<pads=[1, 1], strides=[2]>(u, w, b) r = Relu(c)"
        " d = Conv<group=6, pads=[2, 0]>(r, d0, d1) s = Relu(d)"
        " e = Conv(s, v) m = GlobalAveragePool(e) f = Flatten(m)"
        " y = Gemm<transB=1>(f, g, h)",
        outputs="float[1, 3] y",
        w=weights(6, 1, 3),
        b=weights(6),
        d0=weights(6, 1, 4),
        d1=weights(6) + 1,
        v=weights(5, 6, 2),
        g=weights(3, 5),
        h=weights(3),
    )


def rounded_weights(model, config):
    """The float model with the weights that the configuration leaves it."""
    parts = plan(model)
    limits = weight_limits(model, parts, config)
    graph = Topology(model)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        for layer in parts.layers:
            if tensor.name == layer.weight:
                assert layer.axis == 0
                weight = graph.array(tensor.name)
                rows = weight.reshape(len(weight), -1)
                step = np.abs(rows).max(axis=1, keepdims=True) / limits[tensor.name]
                value = (np.rint(rows / step) * step).reshape(weight.shape)
                tensor.CopyFrom(
                    onnx.numpy_helper.from_array(value.astype(np.float32), tensor.name)
                )
    return result


def channel_sums(model, names, clip):
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    for name in names:
        probe.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        )
    values = topology.session(probe).run(names, {"x": clip[None]})
    return [value.astype(float) for value in values]


def test_mean_of_the_first_layer_is_restored():
    """Padding included, to the last border frame."""
    model = chain()
    config = QuantConfig()
    clips = [clip[:100] for clip in signals() if len(clip) >= 100]
    corrected = correct_bias(model, plan(model), clips, config)
    means = []
    for entry in (model, rounded_weights(model, config)):
        values = [channel_sums(entry, ["c"], clip)[0] for clip in clips]
        means.append(np.concatenate(values, axis=2).mean(axis=(0, 2)))
    truth, rounded = means
    shift = Topology(corrected).array("c/corrected") - Topology(model).array("b")
    assert np.abs(truth - rounded).max() > 1e-3
    np.testing.assert_allclose(shift, truth - rounded, atol=1e-6)


def test_later_layers_read_float_inputs():
    """Shift of each layer is the mean of its weights' error on float inputs."""
    model = chain()
    clips = [clip[:60] for clip in signals()]
    parts = plan(model)
    graph = Topology(model)
    fixed = Topology(correct_bias(model, parts, clips, QuantConfig()))
    rounded = Topology(rounded_weights(model, QuantConfig()))
    found = fixed.array("y/corrected") - graph.array("h")
    inputs = [channel_sums(model, ["f"], clip)[0][0] for clip in clips]
    error = rounded.array("g") - graph.array("g")
    np.testing.assert_allclose(found, -error @ np.mean(inputs, axis=0), atol=1e-6)
    # by hand: a depthwise layer padded by two frames before
    found = fixed.array("d/corrected") - graph.array("d1")
    error = (rounded.array("d0") - graph.array("d0"))[:, 0].astype(float)
    effects = []
    for clip in clips:
        (x,) = channel_sums(model, ["r"], clip)
        x = np.pad(x[0], ((0, 0), (2, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(x, 4, axis=1)
        effects.append(np.einsum("ctk,ck->ct", windows, error).mean(axis=1))
    np.testing.assert_allclose(found, -np.mean(effects, axis=0), atol=1e-6)


def test_signals_weigh_by_their_length():
    w = np.array([[[1.0]], [[1.0]]], np.float32)
    w = np.concatenate([w, np.full((2, 1, 1), 0.3, np.float32)], axis=2)
    model = build("y = Conv(u, w, b)", w=w, b=np.zeros(2, np.float32))
    clips = [np.full(300, 1, np.float32), np.full(100, 5, np.float32)]
    fixed = correct_bias(model, plan(model), clips)
    error = np.rint(0.3 * 63) / 63 - 0.3
    mean = (300 * 1 + 100 * 5) / 400
    np.testing.assert_allclose(
        Topology(fixed).array("y/corrected"), -error * mean, rtol=1e-4
    )


@pytest.mark.parametrize(
    "config", [QuantConfig(), QuantConfig(four_bit_layers=3)], ids=["7", "4"]
)
def test_mean_error_of_the_written_model_falls(config):
    model = chain()
    clips, test = signals(), signals(seed=1)
    parts = plan(model)
    errors = []
    for entry in (model, correct_bias(model, parts, clips, config)):
        scales = measure_scales(entry, parts, clips)
        result = write_quantised(entry, parts, scales, config)
        session = topology.session(result, "exact")
        reference = topology.session(model)
        errors.append(
            np.mean(
                [
                    session.run(None, {"x": clip[None]})[0]
                    - reference.run(None, {"x": clip[None]})[0]
                    for clip in test
                ],
                axis=0,
            )
        )
    before, after = (np.linalg.norm(error) for error in errors)
    assert after < 0.85 * before


def test_layers_without_a_bias_stay():
    model = chain()
    before = model.SerializeToString()
    fixed = correct_bias(model, plan(model), iter(signals()))
    assert model.SerializeToString() == before
    changed = [
        index
        for index, (a, b) in enumerate(
            zip(model.graph.node, fixed.graph.node, strict=True)
        )
        if a != b
    ]
    biased = [i for i, n in enumerate(model.graph.node) if len(n.input) > 2]
    assert changed == biased and len(biased) == 3
    # and the plan still holds
    assert plan(fixed) == plan(model)


def test_nothing_to_correct():
    model = build("y = Conv(u, w)", w=weights(2, 1, 3))
    assert correct_bias(model, plan(model), signals()) == model


def test_signals_are_checked():
    model = chain()
    with pytest.raises(ExportError, match="signals must be at least one, got none"):
        correct_bias(model, plan(model), [])
