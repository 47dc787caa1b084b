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
from wav2small.export.base.log_mel import ENTRY, require_settings
from wav2small.export.integer.front_end.constants import (
    CENTRED,
    FloatFrontEnd,
    FrontEnd,
    count_multiplications,
    integer_constants,
    mel_bytes,
    transform_bytes,
)
from wav2small.export.integer.front_end.fourier import LENGTHS, twiddles
from wav2small.export.integer.front_end.log_mel import (
    _log2_array,
    _spectra,
    log2,
    log_mel,
    samples,
)
from wav2small.export.integer.front_end.reading import (
    float_front_end,
    read_front_end,
)
from wav2small.export.integer.operators.log_mel import LogMel
from wav2small.export.integer.reader import read
from wav2small.export.model import topology
from wav2small.export.model.constants import expand_constants
from wav2small.export.quantise.steps import quantize
from wav2small.features import LogMel as LogMelModule
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
    return integer_constants(FloatFrontEnd(**values | changes), scale, zero_point)


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


CHANGES = [
    no_logarithm, no_floor, upper_limit, frames_last, infinite_slope,
    vector, tiny_slope, negative_mel, wide_mel, strided_mel, no_square, product,
    dilated, padded, large_kernel, computed_kernel, two_hops, no_mean,
    mean_over_batch, tiny_power_floor, no_root,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_graph_that_computes_something_else(model, change):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    change(changed)
    with pytest.raises(ExportError, match=LIE) as refused:
        extract(changed)
    assert "\n" not in str(refused.value)


LIE = "model must compute the log-mel that its metadata state, got "


def extract(model):
    graph = topology.Topology(model)
    kinds = [entry.op_type for entry in graph.nodes]
    index = kinds.index("QuantizeLinear")
    step, zero = (graph.array(name) for name in graph.nodes[index].input[1:])
    return read_front_end(model, graph, index, float(step), int(zero))


def state(model, settings):
    """Copy of a model whose metadata state other settings, as an object or text."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    said = {entry.key: entry.value for entry in model.metadata_props}
    text = settings if isinstance(settings, str) else settings.to_text()
    helper.set_model_props(changed, said | {ENTRY: text})
    return changed


def settings_of(model):
    return require_settings({e.key: e.value for e in model.metadata_props})


OTHER = {
    "window_length": lambda s: s.window_length - 1,
    "hop_length": lambda s: s.hop_length + 1,
    "n_fft": lambda s: 2 * s.n_fft,
    "n_mels": lambda s: s.n_mels + 1,
    "fmin": lambda s: s.fmin + 1,
    "fmax": lambda s: s.fmax - 1,
    "padding": lambda s: s.padding + 1,
    "floor": lambda s: s.floor * 1.001,
    "power_floor": lambda s: s.power_floor * 1.001 if s.power_floor else 1e-7,
    "past_frames": lambda s: s.past_frames + 1 if s.past_frames else 400,
    "center": lambda s: s.center + 0.01,
    "spread": lambda s: s.spread * 1.001,
}


@pytest.mark.parametrize("kind", ["paper's", "streaming"])
@pytest.mark.parametrize("name", OTHER)
def test_metadata_that_lie(request, name, kind):
    whole = request.getfixturevalue("model" if kind == "paper's" else "streaming")
    settings = settings_of(whole)
    lie = dataclasses.replace(settings, **{name: OTHER[name](settings)})
    with pytest.raises(ExportError, match=LIE):
        extract(state(whole, lie))
    assert isinstance(extract(state(whole, settings)), FrontEnd)


def test_no_metadata(model):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.metadata_props[:]
    with pytest.raises(ExportError, match=r"state its log-mel .*, got none: export it"):
        extract(changed)


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
    with pytest.raises(ExportError, match=LIE):
        extract(changed)


def test_a_length_without_integers(model):
    lie = dataclasses.replace(settings_of(model), n_fft=80)
    expected = r"n_fft of a log-mel must be one of \(8, .* 1024\) samples, got 80"
    with pytest.raises(ExportError, match=expected):
        extract(state(model, lie))


def test_steps_that_no_logarithm_fits(model):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    replace(changed, node(changed, "QuantizeLinear").input[1], np.float32(1e-17))
    with pytest.raises(ExportError, match="logarithm in the range of its quantisation"):
        extract(changed)


def test_a_window_shorter_than_the_transform():
    front_end = LogMelModule(window_length=50, n_fft=64, hop_length=32, n_mels=8)
    numbers = float_front_end(front_end.settings(normalized=False))
    found = integer_constants(numbers, 0.5, 0)
    assert (found.window_length, found.length) == (50, 64)


def test_nothing_before_the_quantisation(model):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    node(changed, "QuantizeLinear").input[0] = changed.graph.input[0].name
    with pytest.raises(ExportError, match=LIE):
        extract(changed)


@pytest.mark.parametrize("pads", [(5, 7), (6, 6)])
def test_padding(model, pads):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    unsqueeze = node(changed, "Unsqueeze")
    name = constant(changed, np.array([0, pads[0], 0, pads[1]]))
    pad = helper.make_node("Pad", [unsqueeze.input[0], name], ["padded"])
    unsqueeze.input[0] = "padded"
    changed.graph.node.insert(list(changed.graph.node).index(unsqueeze), pad)
    changed = state(changed, dataclasses.replace(settings_of(model), padding=6))
    if pads == (6, 6):
        assert extract(changed).padding == pads
        return
    with pytest.raises(ExportError, match=LIE):
        extract(changed)
