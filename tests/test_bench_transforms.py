import numpy as np
import onnx
import pytest

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
WINDOW = np.sin(np.pi * np.arange(16) / 16) ** 2
MEL = np.array([[0, 1, 2, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 3, 4, 5, 0, 0]])


def constants(length=16):
    turns = np.outer(np.arange(length // 2 + 1), np.arange(length))
    window = np.sin(np.pi * np.arange(length) / length) ** 2
    angle = 2 * np.pi * turns / length
    return {
        "one": np.array([1]),
        "cosine": (window * np.cos(angle))[:, None].astype(np.float32),
        "sine": (window * -np.sin(angle))[:, None].astype(np.float32),
        "mel": MEL[:, : length // 2 + 1, None].astype(np.float32),
        "floor": np.float32(1e-8),
    }


MADE = BODY.replace("(line, sine)", "(line, made)")
BYTES = {"bytes": np.ones((9, 1, 16), np.int8), "step": np.float32(0.1)}


@pytest.fixture
def save(tmp_path):
    def make(body=BODY, **changes):
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
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return make


@pytest.fixture
def found(save):
    def make(body=BODY, **changes):
        graph = load_graph(save(body, **changes), 0.1)
        program = lower_window(graph)
        return find_transforms(graph, program), count_cost(graph, program)

    return make


def test_a_front_end_costs_what_firmware_computes(found):
    transforms, cost = found()
    assert transforms.names == cost.transforms == ("Conv_0 and Conv_1 (16 samples)",)
    # window, 8 + 2 + 2 in the transform, squares, two words for each of 5 weights
    assert cost.macs == (16 + 12 + 16 + 2 * 5) * FRAMES
    tables = 4 * (16 // 2 + 1) + 4 * 4 + 2 * 4 + 5 * 2
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
        (
            BODY.replace(">(line, cosine)", ", pads = [1, 2]>(line, cosine)").replace(
                ">(line, sine)", ", pads = [2, 1]>(line, sine)"
            ),
            {},
        ),
        ("d = DequantizeLinear(bytes, step) made = Mul(d, step)" + MADE, BYTES),
        ("n = Size(signal) f = Cast<to = 1>(n) made = Mul(sine, f)" + MADE, {}),
    ],
    ids=[
        "no sine",
        "too large",
        "no number",
        "another place",
        "of 8 bits",
        "of a shape",
    ],
)
def test_what_is_no_transform_counts_as_it_stands(found, body, changes):
    transforms, cost = found(body, **changes)
    assert transforms.names == cost.transforms == ()
    assert cost.macs == DENSE + 2 * 9 * FRAMES


def test_a_kernel_that_is_read_twice_is_stored(found):
    again = """z = Conv<strides = [4]>(line, cosine) limit = ReduceMax<keepdims = 0>(z)
        y = Clip(bands, limit)"""
    transforms, cost = found(BODY.replace("y = Clip(bands, floor)", again))
    assert not transforms.names
    assert cost.macs == 3 * DENSE // 2 + 2 * 9 * FRAMES


def test_a_length_that_no_firmware_transforms(found):
    assert not found(**constants(12))[1].transforms


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        (BODY, {"mel": -MEL[:, :, None].astype(np.float32)}),
        (BODY.replace("Mul(real, real)", "Mul(real, imaginary)"), {}),
        (BODY.replace("Add(rr, ii)", "Sub(rr, ii)"), {}),
        (BODY.replace("Conv(power, mel)", "Conv<pads = [1, 1]>(power, mel3)"), {}),
    ],
    ids=["negative weights", "no square", "difference", "over time"],
)
def test_what_follows_may_be_no_mel_scale(found, body, changes):
    mel3 = np.repeat(constants()["mel"], 3, axis=2)
    transforms, cost = found(body, mel3=mel3, **changes)
    assert len(transforms.names) == 1
    taps = 3 if "mel3" in body else 1
    assert cost.macs == (16 + 12 + 16) * FRAMES + 2 * 9 * FRAMES * taps


def test_the_report_says_so(save):
    report = bench(save(), window_seconds=0.1, host=False)
    assert report["compute"]["transforms"] == ["Conv_0 and Conv_1 (16 samples)"]
    text = to_text(report)
    assert "as a fast Fourier transform: Conv_0 and Conv_1 (16 samples)" in text
    assert "fast Fourier" not in to_text(bench(save(**constants(12)), host=False))
