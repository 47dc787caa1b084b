import json
import subprocess
import sys
from importlib import resources

import jsonschema
import numpy as np
import onnx
import pytest

from wav2small.export.base import isolated, onnx_file
from wav2small.export.base.errors import BenchError, ExportError, ToolError
from wav2small.firmware_bench.bench import bench
from wav2small.firmware_bench.limits import Limits
from wav2small.firmware_bench.target import DEFAULT_TARGETS, Figure, Target
from wav2small.models import find_onnx

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, time] signal) => (float[1, 3] logits) {
  a = ReduceMean<axes=[1]>(signal)
  c = Sub(signal, a)
  l = ReduceL2<axes=[1]>(c)
  logits = Concat<axis=1>(l, l, l)
}"""
SCHEMA = json.loads(
    resources.files("wav2small.firmware_bench.report")
    .joinpath("report.schema.json")
    .read_text()
)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(onnx.parser.parse_model(TEXT).SerializeToString())
    return path


def test_a_machine_too_busy_for_an_answer_gives_no_verdict(monkeypatch):
    monkeypatch.setattr(isolated, "_CODE", "import time; time.sleep(60)")
    monkeypatch.setattr(isolated, "_TRIAL_SECONDS", 0.02)
    monkeypatch.setattr(onnx_file, "_TRIED", set())
    with pytest.raises(ToolError, match="the machine is too busy"):
        bench(find_onnx("wav2small-rt"), targets=DEFAULT_TARGETS)


def test_report_by_hand(model):
    limits = Limits(ram=64100, flash=10, realtime_factor=100)
    report = bench(model, limits=limits)
    jsonschema.validate(report, SCHEMA)
    json.dumps(report, allow_nan=False)
    ram = report["arena"]
    # signal and mean; the difference takes the place of the signal
    assert ram["lower_bound_bytes"] == 64004 == ram["bytes"] - ram["gap_bytes"]
    assert [step["live_bytes"] for step in report["steps"]] == [64004, 64004, 64004, 16]
    assert report["model"]["file"] == "small.onnx"
    assert report["flash"]["stored_bytes"] == report["compute"]["macs"] == 0
    checks = report["budgets"][0]["checks"]
    assert [check["passed"] for check in checks] == [True, False, True]
    assert checks[0]["basis"] == "arena of the whole window, no C99"
    assert report["fits"] is False and report["budgets"][0]["basis"] == "arena"
    assert report["c99"]["plan"] is None
    assert "must be quantised" in report["c99"]["reason"]
    assert report["host"]["threads"] == 1 and report["host"]["runs"] == 30
    assert "stack" in " ".join(report["not_counted"])


def test_every_target_is_checked_alone(model):
    own = Target("own", "cortex-m4", ram_bytes=Figure(64005, "mine", True))
    report = bench(model, targets=[*DEFAULT_TARGETS, own], host=False)
    jsonschema.validate(report, SCHEMA)
    assert report["host"] is None
    # nobody knows the own one's flash memory and clock
    assert [budget["fits"] for budget in report["budgets"]] == [True, True, True, None]
    assert report["fits"] is None
    assert [budget["target"]["name"] for budget in report["budgets"]][-1] == "own"
    assert bench(model, targets=[own], window_seconds=2, host=False)["fits"] is False


def test_the_same_report_each_time(model):
    reports = [bench(model, targets=DEFAULT_TARGETS, host=False) for _ in range(2)]
    assert json.dumps(reports[0]) == json.dumps(reports[1])


def test_the_schema_refuses_something_else(model):
    report = bench(model, host=False)
    report["arena"]["peak"] = 3
    with pytest.raises(jsonschema.ValidationError, match="peak"):
        jsonschema.validate(report, SCHEMA)


def test_wrong_arguments(model):
    with pytest.raises(BenchError, match="target must be one of"):
        bench(model, targets=["nothing"])
    with pytest.raises(BenchError, match="ram must be above 0"):
        bench(model, limits=Limits(ram=-1))
    for option in (
        {"limits": Limits(max_push_instructions=5)},
        {"limits": Limits(max_result_instructions=5)},
        {"limits": Limits(baseline="x")},
        {"audio": {"a": 1}},
    ):
        with pytest.raises(
            BenchError, match="must be used with emulate, got no emulate"
        ):
            bench(model, **option)


def test_floats_are_not_emulated(model):
    with pytest.raises(ExportError, match="must"):
        bench(model, host=False, emulate=True)


def test_neither_torch_nor_the_training_package(model):
    code = (
        "import sys; from wav2small.firmware_bench.bench import bench; "
        "bench(sys.argv[1]); "
        "from wav2small.firmware_bench.report import markdown, pictures; "
        "parts = ('wav2small.export', 'wav2small.firmware_bench'); "
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'matplotlib') "
        "or m.startswith('wav2small.') and not m.startswith(parts)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(model)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    """The paper's network with random weights, in floats and in 8 bits."""
    torch = pytest.importorskip("torch")
    from wav2small.export.model.to_onnx import to_onnx
    from wav2small.export.quantise.config import QuantConfig
    from wav2small.export.quantise.steps import quantize
    from wav2small.students import STUDENTS

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = STUDENTS["wav2small"].build()
    floats = to_onnx(module, window=None, example_samples=16000)
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    integers = quantize(floats, [noise], QuantConfig(channel_multiple=1))
    folder = tmp_path_factory.mktemp("students")
    paths = []
    for name, proto in (("floats", floats), ("integers", integers)):
        paths.append(folder / f"{name}.onnx")
        paths[-1].write_bytes(proto.SerializeToString())
    return [bench(path, host=False) for path in paths]


def test_wav2small_in_8_bits(students):
    floats, integers = students
    maps = 13 * 499 * 26  # channels, frames of one second, mel bands
    widest = [
        step["live_bytes"]
        for step in integers["steps"]
        if [output["shape"] for output in step["outputs"]] == [[1, 13, 499, 26]]
    ]
    assert widest == [maps + 499 * 26, 2 * maps, 2 * maps]  # 329 KiB
    # the float pooling tail needs two maps of 4 bytes, and the int8 one they are from
    tokens = 250 * 169
    assert integers["arena"]["lower_bound_bytes"] == 2 * 4 * tokens + tokens
    assert integers["arena"]["gap_bytes"] <= 16
    assert floats["arena"]["lower_bound_bytes"] == 2 * 4 * maps
    assert floats["arena"]["gap_bytes"] <= 16


def test_wav2small_work(students):
    full = 499 * 26 * 9 * (13 + 2 * 13 * 13)
    half = 250 * 13 * (4 * 9 * 13 * 13 + 13 * 13)
    tokens = 2 * 250 * 169 * 169
    # 124 multiplications in the transform, 64 for window and squares each,
    # 59 mel weights that are not 0
    front_end = (64 + 124 + 64 + 2 * 59) * 499
    head = 3 * 169
    for report in students:
        compute = report["compute"]
        assert compute["macs"] == full + half + tokens + front_end + head
        assert 62e6 < compute["macs_per_second"] < 80e6
        (transform,) = compute["transforms"]
        assert transform.endswith("(64 samples)")
    assert students[1]["compute"]["integer_macs"] == full + half + tokens
