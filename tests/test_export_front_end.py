import dataclasses
import math
from pathlib import Path

import integers
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from speech import clips, exported

import wav2small
from export import front_end, topology
from export.compact import expand_constants
from export.errors import ExportError
from export.front_end import FrontEnd, log_mel
from export.graph import LogMel
from export.quantize import quantize
from export.reader import read

MODEL = Path(wav2small.__file__).parent / "assets/models/wav2small/model.onnx"


@pytest.fixture(scope="module")
def model():
    return expand_constants(topology.load(MODEL))


@pytest.fixture(scope="module")
def constants(model):
    (operator,) = (op for op in read(model).operators if isinstance(op, LogMel))
    return operator.front_end


def small(generator, **changes):
    """Front end with few bins and random constants of the usual sizes."""
    window_length, bins, mels = 16, 5, 3
    time = np.arange(window_length)
    hann = np.sin(np.pi * time / window_length) ** 2
    angle = 2 * np.pi * np.outer(np.arange(bins), time) / window_length
    values = {
        "kernels": (hann * np.cos(angle), -hann * np.sin(angle)),
        "hop_length": int(generator.integers(1, 20)),
        "padding": tuple(int(size) for size in generator.integers(0, 9, 2)),
        "power_floor": [None, 1e-7][int(generator.integers(2))],
        "mel": generator.random((mels, bins)).astype(np.float32),
        "floor": float(10.0 ** generator.uniform(-12, -3)),
        "slope": float(generator.uniform(0.2, 5)),
        "intercept": float(generator.normal() * 10),
        "scale": float(10.0 ** generator.uniform(-2, 0.5)),
        "zero_point": int(generator.integers(-128, 128)),
    } | changes
    return front_end._constants(**values)


SIGNALS = {
    "silence": lambda generator, count: np.zeros(count),
    "one step": lambda generator, count: np.arange(count) % 7 == 3,
    "noise": lambda generator, count: generator.normal(size=count) * 3000,
    "whisper": lambda generator, count: generator.normal(size=count) * 2,
    "full scale": lambda generator, count: generator.choice([-32768, 32767], count),
    "upper end": lambda generator, count: np.full(count, 32767),
    "lower end": lambda generator, count: np.full(count, -32768),
    "offset": lambda generator, count: 20000 + generator.normal(size=count) * 50,
    "tone": lambda generator, count: 32767 * np.sin(np.arange(count) / 3),
}


@pytest.mark.parametrize("kind", SIGNALS)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1), count=st.integers(16, 120), integer=st.booleans()
)
def test_equals_the_oracle(kind, seed, count, integer):
    generator = np.random.default_rng(seed)
    constants = small(generator)
    past_frames = [None, 1, 3, 50][int(generator.integers(4))]
    constants = dataclasses.replace(constants, past_frames=past_frames)
    signal = np.clip(SIGNALS[kind](generator, count), -32768, 32767)
    signal = signal.astype(np.int16) if integer else (signal / 2**15).astype(np.float32)
    value = log_mel(constants, signal)
    assert value.dtype == np.int8
    assert np.array_equal(value, integers.log_mel(constants, signal))


@pytest.mark.parametrize("kind", SIGNALS)
def test_bundled_front_end_equals_the_oracle(kind, constants):
    generator = np.random.default_rng(1)
    signal = np.clip(SIGNALS[kind](generator, 300), -32768, 32767).astype(np.int16)
    expected = integers.log_mel(constants, signal)
    assert np.array_equal(log_mel(constants, signal), expected)
    # the same samples as floats
    as_float = (signal / 2**15).astype(np.float32)
    assert np.array_equal(log_mel(constants, as_float), expected)


@pytest.mark.parametrize("window_length", [64, 1024])
def test_sums_of_long_windows_are_exact(window_length):
    time = np.arange(window_length)
    wave = np.ones(window_length)
    kernels = np.stack([wave, -wave]), np.stack([0 * wave, 0 * wave])
    constants = small(
        np.random.default_rng(0),
        kernels=kernels,
        mel=np.ones((1, 2), np.float32),
        hop_length=window_length,
        padding=(0, 0),
        power_floor=1e-7,
    )
    signal = np.where(time > 0, 32767, -32768).astype(np.int16)
    signal = np.concatenate([signal, -(signal + 1)]).astype(np.int16)
    expected = integers.log_mel(constants, signal)
    assert np.array_equal(log_mel(constants, signal), expected)


@given(st.one_of(st.integers(1, 2**80), st.sampled_from([2**i for i in range(90)])))
def test_logarithm(value):
    computed = front_end.log2(value)
    assert computed == integers.log2(value)
    # half a step of the table, half of one of the line between, and the line itself
    assert abs(computed / 2**16 - math.log2(value)) < 1.6e-5


@given(st.integers(0, 2**55 - 1), st.integers(0, 2**32 - 1))
def test_logarithms_of_two_words(high, low):
    low = max(low, 1)
    computed = front_end._log2_array(np.array([high, 0]), np.array([low, low]))
    assert computed.tolist() == [
        integers.log2(word * 2**32 + low) for word in (high, 0)
    ]


def test_logarithms_around_powers_of_two():
    values = [2**i + step for i in range(1, 87) for step in (-1, 0, 1)]
    high, low = zip(*(divmod(value, 2**32) for value in values), strict=True)
    computed = front_end._log2_array(np.array(high), np.array(low))
    assert computed.tolist() == [integers.log2(value) for value in values]


def test_samples():
    signal = np.array([-2, -1, -0.5, 0, 1.5 / 2**15, 2.5 / 2**15, 1, 7], np.float32)
    expected = [-32768, -32768, -16384, 0, 2, 2, 32767, 32767]
    assert front_end.samples(signal).tolist() == expected == integers.samples(signal)


@pytest.mark.parametrize("name", ["wav2small", "mobilenetv3-small"])
def test_onnxruntime_is_one_step_away_at_most(name):
    model = quantize(exported(name), list(clips(2, 0)))
    graph = read(model)
    front = graph.operators[0]
    probe = onnx.ModelProto()
    probe.CopyFrom(graph.model)
    probe.graph.output.append(onnx.ValueInfoProto(name=front.output))
    session = topology.session(probe, "exact")
    differing = elements = 0
    for clip in clips(6, 3):
        signal = (front_end.samples(clip) / 2**15).astype(np.float32)
        (expected,) = session.run([front.output], {"signal": signal[None]})
        value = log_mel(front.front_end, signal)
        assert value.shape == expected.shape
        difference = np.abs(value.astype(int) - expected)
        assert difference.max() <= 1
        differing += np.count_nonzero(difference)
        elements += difference.size
    assert differing < 0.005 * elements


def test_short_signals(constants):
    with pytest.raises(ExportError, match="at least 64 samples, got 63: give a longer"):
        log_mel(constants, np.zeros(63, np.int16))
    padded = small(np.random.default_rng(0), padding=(9, 9))
    with pytest.raises(ExportError, match="samples, got 0: give a longer"):
        log_mel(padded, np.zeros(0, np.int16))


# -- graphs that are no log-mel ----------------------------------------------


def node(model, kind, number=0):
    return [entry for entry in model.graph.node if entry.op_type == kind][number]


def replace(model, name, value):
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(value), name))


def value(model, name):
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    return numpy_helper.to_array(tensor).copy()


def constant(model, array):
    name = f"new{len(model.graph.initializer)}"
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return name


def attribute(entry, name, number):
    for old in [old for old in entry.attribute if old.name == name]:
        entry.attribute.remove(old)
    entry.attribute.append(helper.make_attribute(name, number))


def no_logarithm(m):
    node(m, "Log").op_type = "Sqrt"


def no_floor(m):
    replace(m, floor_of(m).input[1], np.float32(0))


def floor_of(m):
    kinds = {entry.op_type for entry in m.graph.node}
    return node(m, "Max" if "Max" in kinds else "Clip")


def upper_limit(m):
    floor_of(m).input.append(constant(m, np.float32(3)))


def frames_last(m):
    attribute(node(m, "Transpose"), "perm", [0, 1, 2])


def other_axis(m):
    unsqueeze = [entry for entry in m.graph.node if entry.op_type == "Unsqueeze"][-1]
    unsqueeze.input[1] = constant(m, np.array([0]))


def infinite_slope(m):
    entry = affine(m)
    replace(m, entry.input[1], np.float32(np.inf))


def vector(m):
    entry = affine(m)
    replace(m, entry.input[1], np.ones(26, np.float32))


def affine(m):
    """Node with a number that comes after the logarithm."""
    name = node(m, "Log").output[0]
    while True:
        (entry,) = (e for e in m.graph.node if name in e.input)
        if entry.op_type in ("Add", "Mul", "Sub", "Div"):
            return entry
        name = entry.output[0]


def tiny_slope(m):
    entry = affine(m)
    entry.op_type = "Mul"
    replace(m, entry.input[1], np.float32(1e-30))


def mel_convolution(m):
    return node(m, "Conv", 2)


def negative_mel(m):
    name = mel_convolution(m).input[1]
    replace(m, name, -value(m, name))


def wide_mel(m):
    name = mel_convolution(m).input[1]
    replace(m, name, np.repeat(value(m, name), 3, axis=2))


def strided_mel(m):
    attribute(mel_convolution(m), "strides", [2])


def no_square(m):
    square = [e for e in m.graph.node if e.op_type == "Mul" and len(set(e.input)) == 1]
    square[1].op_type = "Abs"
    del square[1].input[1]


def product(m):
    squares = [e for e in m.graph.node if e.op_type == "Mul" and len(set(e.input)) == 1]
    squares[-1].input[1] = squares[-2].input[0]


def dilated(m):
    attribute(node(m, "Conv"), "dilations", [2])


def padded(m):
    for number in (0, 1):
        attribute(node(m, "Conv", number), "pads", [3, 3])


def large_kernel(m):
    name = node(m, "Conv").input[1]
    replace(m, name, 2 * value(m, name))


def computed_kernel(m):
    node(m, "Conv").input[1] = node(m, "Unsqueeze").output[0]


def two_hops(m):
    attribute(node(m, "Conv"), "strides", [16])
    # lengths differ, so the sum is one that shape inference does not see through
    attribute(node(m, "Conv", 1), "strides", [32])


def no_mean(m):
    centred = node(m, "Sub").output[0]
    for entry in m.graph.node:
        if entry.op_type == "Div" and centred in entry.input:
            entry.input[0] = m.graph.input[0].name


def mean_over_batch(m):
    entry = node(m, "ReduceMean")
    attribute(entry, "axes", [0])


def tiny_power_floor(m):
    root = node(m, "Sqrt")
    (add,) = (e for e in m.graph.node if root.input[0] in e.output)
    replace(m, add.input[1], np.float32(0))


def no_root(m):
    node(m, "Sqrt").op_type = "Exp"


REFUSALS = {
    no_logarithm: "got Sqrt .* where Add or .* is expected",
    no_floor: "got (Max|Clip) .* where a floor above 0 is expected",
    upper_limit: "got (Max|Clip) .* where a floor above 0 is expected",
    frames_last: r"got Transpose .* where a map \(1, 1, frames, mels\) is expected",
    other_axis: r"got Unsqueeze .* where a map \(1, 1, frames, mels\) is expected",
    infinite_slope: "where a constant number is expected",
    vector: "where a constant number is expected",
    tiny_slope: "where a logarithm in the range of its quantisation is expected",
    negative_mel: "got Conv .* where a 1x1 convolution with mel weights is expected",
    wide_mel: "got Conv .* where a 1x1 convolution with mel weights is expected",
    strided_mel: "got Conv .* where a 1x1 convolution with mel weights is expected",
    no_square: "got Abs .* where Mul is expected",
    product: "got Mul .* where a square is expected",
    dilated: "got Conv .* where a windowed Fourier kernel is expected",
    padded: "got Conv .* where a windowed Fourier kernel is expected",
    large_kernel: "got Conv .* where a windowed Fourier kernel is expected",
    computed_kernel: "got Conv .* where a windowed Fourier kernel is expected",
    two_hops: "where two convolutions of the same signal are expected",
    no_mean: "where Sub is expected",
    mean_over_batch: "where the normalisation to zero mean and unit power is expected",
    tiny_power_floor: "where the normalisation to zero mean and unit power is expected",
    no_root: "got Exp .* where Sqrt is expected",
}


@pytest.mark.parametrize("change", REFUSALS, ids=lambda change: change.__name__)
def test_no_log_mel(model, change):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    change(changed)
    with pytest.raises(ExportError, match=f"front end must be .* {REFUSALS[change]}"):
        extract(changed)


def extract(model):
    graph = topology.Topology(model)
    kinds = [entry.op_type for entry in graph.nodes]
    return front_end.extract(model, graph, kinds.index("QuantizeLinear"))


@pytest.fixture(scope="module")
def streaming():
    return expand_constants(quantize(exported("wav2small-rt-mini"), clips(3, 0)))


def test_level_of_the_past(streaming):
    constants = extract(streaming)
    assert constants.past_frames == 64
    assert constants.padding == (256, 256)
    assert constants.power_floor is None
    (signal,) = clips(1, 1)
    loud, soft = (log_mel(constants, signal * gain) for gain in (1, 0.125))
    # the level goes but for the rounding to 16 bits
    assert np.abs(loud.astype(int) - soft).mean() < 0.5
    plain = log_mel(dataclasses.replace(constants, past_frames=None), signal)
    assert np.abs(plain.astype(int) - loud).mean() > 5


def longer_count(model):
    pools = [node for node in model.graph.node if node.op_type == "AveragePool"]
    for entry in pools[1].attribute:
        if entry.name == "kernel_shape":
            entry.ints[0] = 32


def future_level(model):
    for node in model.graph.node:
        if node.op_type == "AveragePool":
            for entry in node.attribute:
                if entry.name == "pads":
                    entry.ints[:] = entry.ints[::-1]


def count_of_two(model):
    (pool,) = [n for n in model.graph.node if n.op_type == "AveragePool"][1:]
    (plus,) = [n for n in model.graph.node if pool.input[0] in n.output]
    two = numpy_helper.from_array(np.float32(2), "two")
    model.graph.initializer.append(two)
    plus.input[1] = "two"


@pytest.mark.parametrize("change", [longer_count, future_level, count_of_two])
def test_another_level(streaming, change):
    changed = onnx.ModelProto()
    changed.CopyFrom(streaming)
    change(changed)
    with pytest.raises(ExportError, match="the mean level of the past frames is expec"):
        extract(changed)


def test_mel_bands_of_very_different_weight(model):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for tensor in changed.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.shape == (26, 33, 1):
            value = value.copy()
            value[5] *= 1e4
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    with pytest.raises(ExportError, match="weights are within a factor of 64"):
        extract(changed)


def test_nothing_before_the_quantisation(model):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    node(changed, "QuantizeLinear").input[0] = changed.graph.input[0].name
    with pytest.raises(ExportError, match=r"got QuantizeLinear .* expected before it"):
        extract(changed)


PADS = {
    "reflected": ("mode", "reflect"),
    "batch": ("pads", [1, 0, 0, 0]),
    "ones": ("value", 1.0),
    "cropped": ("pads", [0, -2, 0, 0]),
}


@pytest.mark.parametrize("change", [None, "long", *PADS])
def test_padding(model, change):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    unsqueeze = node(changed, "Unsqueeze")
    pads, number, mode = [0, 5, 0, 7], 0.0, "constant"
    if change == "long":
        pads = [0, 65, 0, 0]
    elif change:
        name, setting = PADS[change]
        pads = setting if name == "pads" else pads
        number = setting if name == "value" else number
        mode = setting if name == "mode" else mode
    names = [constant(changed, np.array(pads)), constant(changed, np.float32(number))]
    pad = helper.make_node("Pad", [unsqueeze.input[0], *names], ["padded"], mode=mode)
    unsqueeze.input[0] = "padded"
    changed.graph.node.insert(list(changed.graph.node).index(unsqueeze), pad)
    if change is None:
        found = extract(changed)
        assert isinstance(found, FrontEnd) and found.padding == (5, 7)
        return
    expected = "at most a window" if change == "long" else "before and after the signal"
    with pytest.raises(ExportError, match=f"got Pad .* where zeros .*{expected}"):
        extract(changed)
