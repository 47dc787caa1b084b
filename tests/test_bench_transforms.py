import librosa
import numpy as np
import onnx
import pytest

from wav2small.export.base.errors import BenchError
from wav2small.export.base.log_mel import ENTRY
from wav2small.features import LogMel
from wav2small.firmware_bench.bench import bench
from wav2small.firmware_bench.plan.cost import count_cost
from wav2small.firmware_bench.plan.onnx_graph import load_graph
from wav2small.firmware_bench.plan.operations import lower_window
from wav2small.firmware_bench.plan.transforms import find_transforms
from wav2small.firmware_bench.report.text import to_text

BODY = """
  line = Unsqueeze(signal, one)
  real = Conv<strides = [4]>(line, cosine)
  imaginary = Conv<strides = [4]>(line, sine)
  rr = Mul(real, real)
  ii = Mul(imaginary, imaginary)
  power = Add(rr, ii)
  bands = Conv(power, mel)
  y = Clip(bands, floor)
"""
FRAMES = (1600 - 16) // 4 + 1
DENSE = 2 * 16 * 9 * FRAMES
MELS = 4


def settings(length=16):
    front_end = LogMel(window_length=length, hop_length=4, n_mels=MELS)
    return front_end.settings(normalized=False)


def constants(length=16):
    turns = np.outer(np.arange(length // 2 + 1), np.arange(length))
    window = np.sin(np.pi * np.arange(length) / length) ** 2
    angle = 2 * np.pi * turns / length
    mel = librosa.filters.mel(sr=16000, n_fft=length, n_mels=MELS)
    return {
        "one": np.array([1]),
        "cosine": (window * np.cos(angle))[:, None].astype(np.float32),
        "sine": (window * -np.sin(angle))[:, None].astype(np.float32),
        "mel": mel[:, :, None].astype(np.float32),
        "floor": np.float32(1e-8),
    }


WEIGHTS = np.count_nonzero(constants()["mel"])
MADE = BODY.replace("(line, sine)", "(line, made)")
BYTES = {"bytes": np.ones((9, 1, 16), np.int8), "step": np.float32(0.1)}


@pytest.fixture
def save(tmp_path):
    def make(body=BODY, stated=settings(), **changes):  # noqa: B008
        model = onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 17]>'
            f"g (float[1, time] signal) => (float[1, a, b] y) {{ {body} }}"
        )
        read = {name for node in model.graph.node for name in node.input}
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(np.asarray(value), name)
            for name, value in (constants() | changes).items()
            if name in read
        )
        if stated is not None:
            onnx.helper.set_model_props(model, {ENTRY: stated.to_text()})
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return make


@pytest.fixture
def found(save):
    def make(body=BODY, stated=settings(), **changes):  # noqa: B008
        graph = load_graph(save(body, stated, **changes), 0.1)
        program = lower_window(graph)
        return find_transforms(graph, program), count_cost(graph, program)

    return make


def test_a_front_end_costs_what_firmware_computes(found):
    transforms, cost = found()
    assert transforms.names == cost.transforms == ("Conv_0 and Conv_1 (16 samples)",)
    # window, 8 + 2 + 2 in the transform, squares, two words for each weight
    assert cost.macs == (16 + 12 + 16 + 2 * WEIGHTS) * FRAMES
    tables = 4 * (16 // 2 + 1) + 4 * 4 + MELS * 4 + WEIGHTS * 2
    assert cost.flash.generated_bytes == tables
    assert cost.flash.stored_bytes == 4  # the floor
    assert sum(step.weight_bytes for step in cost.steps) == tables + 4


def test_constants_that_are_computed(found):
    _, plain = found()
    body = "made = Mul(half, two)" + BODY.replace("(line, cosine)", "(line, made)")
    half = constants()["cosine"] / 2
    _, cost = found(body, half=half, two=np.float32(2))
    assert (cost.macs, cost.transforms) == (plain.macs, plain.transforms)
    assert cost.flash.generated_bytes == plain.flash.generated_bytes


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        (BODY, {"sine": constants()["cosine"]}),
        (BODY, {"cosine": constants()["cosine"] * np.float32(1.001)}),
        (BODY, {"cosine": constants()["cosine"] * np.float32(np.nan)}),
        (BODY, {"mel": constants()["mel"] * np.float32(1.01)}),
        (BODY, {"mel": np.repeat(constants()["mel"], 3, axis=2)}),
        (BODY, constants(12)),
        ("d = DequantizeLinear(bytes, step) made = Mul(d, step)" + MADE, BYTES),
        ("n = Size(signal) f = Cast<to = 1>(n) made = Mul(sine, f)" + MADE, {}),
    ],
    ids=[
        "no sine",
        "too large",
        "no number",
        "other weights",
        "over time",
        "another length",
        "of 8 bits",
        "of a shape",
    ],
)
def test_kernels_that_are_not_what_is_stated(found, body, changes):
    with pytest.raises(BenchError, match="the log-mel that its metadata state, got o"):
        found(body, **changes)


def test_a_kernel_that_is_read_twice_is_stored(found):
    again = """z = Conv<strides = [4]>(line, cosine) limit = ReduceMax<keepdims = 0>(z)
        y = Clip(bands, limit)"""
    with pytest.raises(BenchError, match="the log-mel that its metadata state, got o"):
        found(BODY.replace("y = Clip(bands, floor)", again))


@pytest.mark.parametrize("stated", [None, settings(12)])
def test_what_states_none_counts_as_it_stands(found, stated):
    """Or one whose length no firmware transforms."""
    transforms, cost = found(stated=stated)
    assert transforms.names == cost.transforms == ()
    assert cost.macs == DENSE + MELS * 9 * FRAMES


def test_the_report_says_so(save):
    report = bench(save(), window_seconds=0.1, host=False)
    assert report["compute"]["transforms"] == ["Conv_0 and Conv_1 (16 samples)"]
    text = to_text(report)
    assert "as a fast Fourier transform: Conv_0 and Conv_1 (16 samples)" in text
    assert "fast Fourier" not in to_text(bench(save(stated=None), host=False))
