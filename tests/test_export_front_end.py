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
from wav2small.export.base.errors import ExportError
from wav2small.export.integer.front_end.constants import (
    CENTRED,
    FRACTION,
    FrontEnd,
    Settings,
    count_multiplications,
    integer_constants,
    mel_bytes,
    transform_bytes,
)
from wav2small.export.integer.front_end.fourier import LENGTHS, find_window, twiddles
from wav2small.export.integer.front_end.log_mel import (
    _log2_array,
    _spectra,
    log2,
    log_mel,
    samples,
)
from wav2small.export.integer.front_end.reading import read_front_end
from wav2small.export.integer.operators.log_mel import LogMel
from wav2small.export.integer.reader import read
from wav2small.export.model import topology
from wav2small.export.model.constants import expand_constants
from wav2small.export.quantise.steps import quantize
from wav2small.students import STUDENTS

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
    window_length, mels = 16, 3
    length = window_length * int(generator.integers(1, 3))
    values = {
        "window": np.sin(np.pi * np.arange(window_length) / window_length) ** 2,
        "length": length,
        "hop_length": int(generator.integers(1, 20)),
        "padding": tuple(int(size) for size in generator.integers(0, 9, 2)),
        "power_floor": [None, 1e-7][int(generator.integers(2))],
        "mel": generator.random((mels, length // 2 + 1)).astype(np.float32),
        "floor": float(10.0 ** generator.uniform(-12, -3)),
        "slope": float(generator.uniform(0.2, 5)),
        "intercept": float(generator.normal() * 10),
    }
    scale = float(10.0 ** generator.uniform(-2, 0.5))
    zero_point = int(generator.integers(-128, 128))
    return integer_constants(Settings(**values | changes), scale, zero_point)


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


def harmonics(length):
    """Signals of full scale that lie on one turn of the transform, or against it."""
    time = np.arange(length)
    for k in (0, 1, length // 8, length // 4, length // 2 - 1, length // 2):
        for phase in (0, 0.25):
            wave = np.cos(2 * np.pi * (k * time / length + phase))
            yield np.where(wave >= 0, 32767, -32768).astype(np.int16)
    yield (-32768 * (time == 5)).astype(np.int16)


@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_stays_within_its_bits(length):
    # the window that lets most through; the oracle checks every number's width
    changes = {
        "window": np.ones(length),
        "length": length,
        "mel": np.eye(length // 2 + 1, dtype=np.float32)[:: max(1, length // 64)],
        "hop_length": length,
        "padding": (0, 0),
    }
    signals = list(harmonics(length))
    if length > 128:
        signals = signals[:: length // 128]
    for power_floor in (None, 1e-7):
        constants = small(np.random.default_rng(0), power_floor=power_floor, **changes)
        signal = np.concatenate(signals)
        expected = integers.log_mel(constants, signal)
        assert np.array_equal(log_mel(constants, signal), expected)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("level", "error"), [(3, 4e-5), (30, 4e-6), (3000, 2e-6)])
def test_amplitude_is_that_of_a_transform_in_floats(length, level, error):
    generator = np.random.default_rng(length)
    window = np.sin(np.pi * np.arange(length) / length) ** 2
    constants = small(generator, window=window, length=length, padding=(0, 0))
    frames = np.rint(generator.normal(size=(5, length)) * level).astype(np.int64)
    power, exponent = _spectra(constants, frames << CENTRED)
    expected = np.abs(np.fft.rfft(frames * window)).T
    found = np.sqrt(power) / 2.0 ** (exponent + 14)
    # 14 bits after the point of a sample, then 30 bits for the frame
    assert np.abs(found - expected).max() < error * np.sqrt(np.mean(expected**2))


def test_twiddles_do_not_depend_on_the_last_bit_of_a_cosine():
    table = twiddles(max(LENGTHS))
    angle = 2 * np.pi / max(LENGTHS) * np.arange(1, table.shape[1] + 1)
    for turns, row in ((1, 0), (3, 2)):
        exact = np.stack([np.cos(turns * angle), np.sin(turns * angle)]) * 2.0**31
        distance = np.abs(exact - table[row : row + 2])
        assert distance.max() < 0.5 - 1e-4
    assert table.max() < 2**31


def multiplications(length):
    """Multiplications of a split-radix transform by its recursion."""
    if length < 8:
        return 0
    turns = length // 8 - 1  # of two complex numbers each, and the root of one half
    return (
        8 * turns + 2 + multiplications(length // 2) + 2 * multiplications(length // 4)
    )


@pytest.mark.parametrize("length", LENGTHS)
def test_multiplications(length):
    count = count_multiplications(7, length, 11)
    assert count == 7 + multiplications(length) + length + 2 * 11
    # Sorensen et al.: half of that of complex numbers, rotations by 45 degrees in two
    stages = length.bit_length() - 1
    bound = 2 / 3 * length * stages - 19 / 9 * length + 3
    assert abs(multiplications(length) - bound) < 1


def test_figures_of_the_bundled_front_end(constants):
    weights = np.count_nonzero(constants.mel)
    assert constants.multiplications == 64 + 124 + 64 + 2 * weights
    # half of the window, and four numbers for each turn
    size = transform_bytes(constants.window, 64)
    assert size == 4 * 33 + 4 * 4 * 7
    assert transform_bytes(np.arange(64), 64) == size + 4 * 31
    assert mel_bytes(26, weights) == 26 * 4 + weights * 2


def fourier(window, length):
    turns = np.outer(np.arange(length // 2 + 1), np.arange(len(window))) % length
    angle = 2 * np.pi * turns / length
    return [
        (wave * window).astype(np.float32) for wave in (np.cos(angle), np.sin(angle))
    ]


@pytest.mark.parametrize("window_length", [64, 50, 1])
@pytest.mark.parametrize("sign", [-1, 1])
def test_windows_are_found(window_length, sign):
    window = np.random.default_rng(0).uniform(-1, 1, window_length)
    cosine, sine = fourier(window, 64)
    for kernels in ((cosine, sign * sine), (sign * sine, cosine)):
        found, length = find_window(*kernels)
        assert length == 64
        np.testing.assert_array_equal(found, window.astype(np.float32))


def test_other_kernels_are_no_transform():
    cosine, sine = fourier(np.hanning(64), 64)
    off = cosine.copy()
    off[3, 5] += 1e-5
    longer = fourier(np.ones(70), 64)
    for kernels in (
        (off, sine),
        (cosine, off),
        (cosine, cosine),
        (sine, sine),
        (cosine, sine[:, :-1]),
        (cosine[0], sine[0]),
        (cosine[:1], sine[:1]),
        longer,
        (0 * cosine, 0 * sine),
        (cosine, np.where(np.arange(64) < 32, sine, -sine)),
    ):
        assert find_window(*kernels) is None


@given(st.one_of(st.integers(1, 2**80), st.sampled_from([2**i for i in range(90)])))
def test_logarithm(value):
    computed = log2(value)
    assert computed == integers.log2(value)
    # half a step of the table, half of one of the line between, and the line itself
    assert abs(computed / 2**20 - math.log2(value)) < 4e-6


@given(st.integers(0, 2**55 - 1), st.integers(0, 2**32 - 1))
def test_logarithms_of_two_words(high, low):
    low = max(low, 1)
    computed = _log2_array(np.array([high, 0]), np.array([low, low]))
    assert computed.tolist() == [
        integers.log2(word * 2**32 + low) for word in (high, 0)
    ]


def test_logarithms_around_powers_of_two():
    values = [2**i + step for i in range(1, 87) for step in (-1, 0, 1)]
    high, low = zip(*(divmod(value, 2**32) for value in values), strict=True)
    computed = _log2_array(np.array(high), np.array(low))
    assert computed.tolist() == [integers.log2(value) for value in values]


def test_samples():
    signal = np.array([-2, -1, -0.5, 0, 1.5 / 2**15, 2.5 / 2**15, 1, 7], np.float32)
    expected = [-32768, -32768, -16384, 0, 2, 2, 32767, 32767]
    assert samples(signal).tolist() == expected == integers.samples(signal)


@pytest.mark.parametrize("name", STUDENTS)
def test_onnxruntime_is_one_step_away_at_most(name):
    model = expand_constants(quantize(exported(name), list(clips(2, 0))))
    constants = extract(model)
    output = node(model, "QuantizeLinear").output[0]
    model.graph.output.append(onnx.ValueInfoProto(name=output))
    session = topology.session(model, "exact")
    differing = elements = 0
    for clip in clips(6, 3):
        signal = (samples(clip) / 2**15).astype(np.float32)
        (expected,) = session.run([output], {"signal": signal[None]})
        found = log_mel(constants, signal)
        assert found.shape == expected.shape
        difference = np.abs(found.astype(int) - expected)
        assert difference.max() <= 1
        differing += np.count_nonzero(difference)
        elements += difference.size
    assert differing < 0.001 * elements


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
    return read_front_end(model, graph, kinds.index("QuantizeLinear"))


@pytest.fixture(scope="module")
def streaming():
    return expand_constants(quantize(exported("wav2small-rt-mini"), clips(3, 0)))


def test_level_of_the_past(streaming):
    constants = extract(streaming)
    assert constants.past_frames == STUDENTS["wav2small-rt-mini"].config.past_frames
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


def test_mel_bands_of_very_different_weight(model, constants):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    name = mel_convolution(changed).input[1]
    weights = value(changed, name)
    weights[5] *= 1e4
    replace(changed, name, weights)
    found = extract(changed)
    assert np.array_equal(found.mel, constants.mel)
    gained = (constants.log_offset - found.log_offset) / 2**FRACTION
    np.testing.assert_allclose(gained[5], math.log2(1e4), rtol=1e-6)
    assert not gained[np.arange(26) != 5].any()


def test_a_length_that_is_no_power_of_two(model):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    window = np.sin(np.pi * np.arange(60) / 60) ** 2
    for number, kernel in enumerate(fourier(window, 60)):
        replace(changed, node(changed, "Conv", number).input[1], kernel[:, None])
    mel = mel_convolution(changed).input[1]
    replace(changed, mel, value(changed, mel)[:, :31])
    with pytest.raises(
        ExportError, match=r"must be one of \(8, .* 1024\) samples, got 60 in .*: give"
    ):
        extract(changed)


def test_a_window_shorter_than_the_transform(model):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    window = np.sin(np.pi * np.arange(50) / 50) ** 2
    for number, kernel in enumerate(fourier(window, 64)):
        replace(changed, node(changed, "Conv", number).input[1], kernel[:, None])
    found = extract(changed)
    assert (found.window_length, found.length) == (50, 64)


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
