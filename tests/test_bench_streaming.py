"""The plan against hand counts and against streams that run."""

import json
from importlib import resources

import jsonschema
import numpy as np
import onnx
import pytest
from speech import clips, exported

from wav2small.export.base.errors import ExportError
from wav2small.export.integer.reader import read
from wav2small.export.integer.streaming.run import Stream
from wav2small.export.integer.streaming.schedule import schedule
from wav2small.export.quantise.quantize import quantize
from wav2small.firmware_bench import report as formats
from wav2small.firmware_bench import streaming
from wav2small.firmware_bench.bench import bench
from wav2small.firmware_bench.streaming import plan
from wav2small.students import STUDENTS

SCHEMA = json.loads(
    resources.files("wav2small.firmware_bench")
    .joinpath("report.schema.json")
    .read_text()
)
NAMES = ["wav2small-rt", "wav2small-rt-mini", "wav2small", "wav2small-17k"]


@pytest.fixture(scope="module")
def models():
    return {name: quantize(exported(name), list(clips(4, 7))) for name in NAMES}


@pytest.mark.parametrize(
    ("name", "most_macs"), [("wav2small-rt", 8e6), ("wav2small-rt-mini", 3e6)]
)
def test_students_that_stream(models, name, most_macs):
    made = plan(models[name])
    assert made.obstacle is None
    assert made.macs_per_second <= most_macs
    config = STUDENTS[name].config
    (first, second), channels = config.filters, config.channels
    assert (config.n_mels, config.window_length) == (40, 512)
    rate = 16000 / config.hop_length
    # each second frame goes on behind the second convolution
    layers = rate * first * 9 * 20 + rate / 2 * (
        second * first * 9 * 10
        + channels * second * 10
        + len(config.dilations) * (config.kernel * channels + channels**2)
        + 2 * channels**2
        + channels
    )
    (front,) = (stage for stage in made.stages if stage.kind == "front end")
    assert made.macs_per_second == front.macs_per_second + layers
    assert rate * 512 * 5 < front.macs_per_second < rate * 512 * 20
    filters = (config.kernel - 1) * sum(config.dilations) * channels
    lines = 2 * 40 + 2 * first * 20 + filters
    assert made.state_bytes == front.state_bytes + lines + 20 * channels
    # the spectrum is what needs the largest scratch
    assert made.peak_bytes == made.state_bytes + front.temporary_bytes
    # two frames for the convolutions, half a window for the first of them
    late = 2 + 2 * (config.kernel // 2) * sum(config.dilations)
    assert made.look_ahead_seconds == (late * config.hop_length + 256) / 16000
    assert made.result_macs == 3 * channels
    assert made.stages[0].rows_per_second == rate
    assert made.stages[-1].rows_per_second == rate / 2
    assert plan(models[name], 8000).macs_per_second == made.macs_per_second / 2


@pytest.mark.parametrize("name", ["wav2small-rt", "wav2small-rt-mini"])
def test_they_fit_8_kib(models, name):
    made = plan(models[name])
    assert made.peak_bytes <= made.result_bytes <= 8192


def test_state_is_what_a_stream_keeps(models):
    model = read(models["wav2small-rt"])
    stream = Stream(model)
    stream.push(np.ones(30000, np.int16))
    parts = stream.schedule
    lines = sum(line.kept.nbytes for line in parts.lines.values())
    (pool,) = parts.pools
    sums = pool.sums.pool
    kept = sums.numerator.nbytes + sums.denominator.nbytes + sums.reference.nbytes // 2
    made = plan(model)
    assert made.state_bytes == lines + kept + parts.front.state_bytes
    by_name = {stage.name: stage for stage in made.stages}
    config = STUDENTS["wav2small-rt"].config
    taps = (config.kernel - 1) * config.dilations[3]
    assert by_name["Convolution 10"].state_bytes == taps * config.channels
    assert by_name["Sum 4"].state_bytes == 0  # shares it


@pytest.mark.parametrize("name", ["wav2small-rt-mini", "wav2small-17k"])
def test_last_rows_are_what_a_flush_makes(models, name):
    parts = schedule(read(models[name]))
    constants = parts.front.constants
    frames = -(-constants.padding[1] // constants.hop_length)
    most = dict.fromkeys(parts.lines, 0)
    parts.front.push(np.zeros(constants.window_length, np.int64))
    for _ in range(100):
        heard = parts.front.push(np.zeros(constants.hop_length, np.int64))
        rows = {parts.front.operator.output: heard}
        for stage in parts.stages:
            rows[stage.operator.output] = stage.push(
                [rows[entry] for entry in stage.operator.inputs]
            )
        for entry, line in parts.lines.items():
            line.push(rows[entry])
        ended = {parts.front.operator.output: parts.front.flush()}
        for stage in parts.stages:
            ended[stage.operator.output] = stage.flush(
                [ended[entry] for entry in stage.operator.inputs]
            )
        for entry, line in parts.lines.items():
            most[entry] = max(most[entry], ended[entry].shape[line.axis])
    assert most == {
        name: streaming._last_rows(line, frames) for name, line in parts.lines.items()
    }


@pytest.mark.parametrize("name", ["wav2small", "wav2small-17k"])
def test_a_normalised_signal_has_a_cost_all_the_same(models, name):
    made = plan(models[name])
    assert "normalises each signal" in made.obstacle
    lines = 2 * 26 + 3 * 2 * 16 * 26 + 4 * 2 * 16 * 13
    places = 169
    assert made.state_bytes == made.stages[0].state_bytes + lines + 20 * places
    assert made.peak_bytes < 10_000 < made.result_bytes < 16_000
    products = {"wav2small": 3 * 169, "wav2small-17k": 13**3 + 3 * (169 + 169)}
    assert made.result_macs == products[name]


def test_most_that_is_alive_at_once():
    step = streaming._Step
    steps = [
        step(("signal",), "a", 10, 5),
        step(("a",), "b", 20),
        step(("a", "b"), "c", 1),
        step(("c",), "d", 3, 40),
    ]
    # a; a and b; a, b and c; c, d and work
    assert streaming._most_alive(steps[:1]) == 15
    assert streaming._most_alive(steps[:3]) == 31
    assert streaming._most_alive(steps) == 44


def test_what_cannot_stream():
    with pytest.raises(ExportError, match="model must be quantised"):
        plan(exported("wav2small-rt-mini"))


@pytest.fixture(scope="module")
def reports(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for name in ("wav2small-rt-mini", "wav2small"):
        onnx.save(models[name], folder / f"{name}.onnx")
        made[name] = bench(folder / f"{name}.onnx", host=False)
    onnx.save(exported("wav2small-rt-mini"), folder / "floats.onnx")
    made["floats"] = bench(folder / "floats.onnx", host=False)
    return made


def test_report(models, reports):
    for report in reports.values():
        jsonschema.validate(report, SCHEMA)
        json.dumps(report, allow_nan=False)
    section = reports["wav2small-rt-mini"]["streaming"]
    made = plan(models["wav2small-rt-mini"])
    assert section["obstacle"] is None
    assert section["plan"]["peak_bytes"] == made.peak_bytes
    assert section["plan"]["state_bytes"] == made.state_bytes
    assert len(section["plan"]["stages"]) == len(made.stages)
    assert "normalises" in reports["wav2small"]["streaming"]["obstacle"]
    assert reports["wav2small"]["streaming"]["plan"]["macs_per_second"] > 62e6
    floats = reports["floats"]["streaming"]
    assert floats["plan"] is None and "must be quantised" in floats["obstacle"]


def test_text(reports):
    def lines(name):
        return [
            " ".join(line.split())
            for line in formats.to_text(reports[name]).splitlines()
            if "frame by frame" in line or "not as it is" in line
        ]

    (line,) = lines("wav2small-rt-mini")
    assert line.startswith("stream ") and line.endswith(" s")
    cost, reason = lines("wav2small")
    assert cost.startswith("stream ") and "normalises each signal" in reason
    (reason,) = lines("floats")
    assert reason.startswith("stream not as it is: model must be quantised")
    assert "frame by frame" in formats.to_markdown(reports["wav2small"])
