"""The firmware examples: that they find what is wrong, and their own parts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ziglang")
pytest.importorskip("unicorn")
sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

import added_parts
import bench_firmware
import firmware_sweep
import fuzz_c99
import latency_of_change
import listening_sweep
import long_stream
import non_speech_scores

from wav2small import follow
from wav2small.export.c99 import generate
from wav2small.export.integer.reader import read
from wav2small.export.tflite import write_tflite
from wav2small.firmware_bench.plan.liveness import lower_bound
from wav2small.firmware_bench.run import toolchain
from wav2small.models import find_onnx
from wav2small.suite.non_speech import NOISE_THRESHOLD

pytestmark = pytest.mark.emulator

GCC = shutil.which("gcc")
with_gcc = pytest.mark.skipif(GCC is None, reason="no gcc: nothing is built with it")
MINI = find_onnx("wav2small-rt-mini")


@pytest.fixture(scope="module", autouse=True)
def compiler_cache():
    """What the compiler makes of its own sources is there once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZIG_GLOBAL_CACHE_DIR", str(toolchain.user_cache() / "zig"))
        yield


# -- sweep -------------------------------------------------------------------


def test_the_same_clips_each_time():
    clips, again = (firmware_sweep.real_clips(None, 5) for _ in range(2))
    assert all(map(np.array_equal, clips, again))
    _, longest = firmware_sweep.SECONDS
    for clip in clips:
        assert clip.dtype == np.int16
        assert len(clip) <= 16000 * longest
        assert clip.any()


@with_gcc
@pytest.mark.parametrize("name", ["wav2small-rt-mini", "wav2small"])
def test_the_sweep_finds_a_bit(name, tmp_path):
    model = read(find_onnx(name))
    clips = [clip[:5000] for clip in firmware_sweep.real_clips(None, 2)]
    firmware_sweep.write_package(model, tmp_path, 5000)
    vectors = [firmware_sweep.vector(model, clip, i) for i, clip in enumerate(clips)]
    compiler = firmware_sweep.Compiler("", (str(GCC),), (str(GCC),), 8)
    data = tmp_path / "clips"

    def differing(*parts: bytes) -> int:
        data.write_bytes(b"".join(parts))
        return firmware_sweep.on_host(tmp_path, compiler, "-O1", data)

    assert differing(*vectors) == 0
    wrong = bytearray(vectors[0])
    for place in (24, 36):  # a bit of an integer, and of a score
        wrong[place] ^= 1
    assert differing(wrong, vectors[1]) == 2
    # a result half way is compared where the level of the whole does not matter
    wrong[12] ^= 1
    assert differing(wrong, vectors[1]) == (3 if name != "wav2small" else 2)


def test_the_sweep_finds_a_bit_on_a_core(tmp_path, monkeypatch):
    monkeypatch.setattr(firmware_sweep, "CACHE", tmp_path / "cache")
    model = read(MINI)
    (clip,) = (clip[:3000] for clip in firmware_sweep.real_clips(None, 1))
    firmware_sweep.write_package(model, tmp_path, 3000)
    vector = bytearray(firmware_sweep.vector(model, clip, 0))
    wrong = vector.copy()
    wrong[24] ^= 5
    vectors = [bytes(vector), bytes(wrong), bytes(vector)]
    assert firmware_sweep.on_core(tmp_path, "cortex-m4", "-O2", vectors) == 2


def test_table_of_the_sweep():
    row = firmware_sweep.Row("one", "GCC", "-O3", 4, 7.6, 3)
    assert firmware_sweep.line(row) == "| one | GCC | -O3 | 4 | 8 | 3 |"
    assert firmware_sweep.HEADER.count("|") == 2 * 7


@with_gcc
def test_the_listening_sweep_finds_a_bit(tmp_path):
    model = read(MINI)
    heard = [np.resize(clip, 20000) for clip in firmware_sweep.real_clips(None, 2)]
    clips = listening_sweep.at_rates(heard)
    assert len(clips[0]) == len(heard[0])
    assert len(clips[1]) == pytest.approx(len(heard[1]) * 20000 / 16000, abs=1)
    scripts = [
        listening_sweep.Script(model, clip, number) for number, clip in enumerate(clips)
    ]
    vectors = [bytearray(script.to_bytes()) for script in scripts]
    listening_sweep.write_package(model, tmp_path)
    host = listening_sweep.Host("", (str(GCC),))
    data = tmp_path / "clips"

    def differing() -> tuple[int, int]:
        data.write_bytes(b"".join(vectors))
        return listening_sweep.on_host(tmp_path, host, data)

    assert differing() == (0, 0)
    # the last word of a script is a smoothed score, the first a call
    place = 4 * (4 + len(scripts[1].words) - 1)
    vectors[1][place] ^= 5
    assert differing() == (1, 2)
    assert scripts[0].latest is not None


# -- long streams ------------------------------------------------------------


@with_gcc
# a second of the one ends with a frame, whose work then waits for the next samples
@pytest.mark.parametrize("name", ["wav2small-rt", "wav2small-rt-mini"])
def test_long_streams_hear_as_fresh_ones(name, tmp_path):
    program = long_stream.build(name, tmp_path)
    audio = np.concatenate(firmware_sweep.real_clips(None, 40))
    (tmp_path / "audio").write_bytes(audio.astype("<i2").tobytes())

    def run(*numbers: int) -> str:
        arguments = [program, tmp_path / "audio", *map(str, numbers)]
        done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout

    # a minute, then a warm-up that is long enough, and one that is not
    assert "0 of 5 results differ, 0 sums and references" in run(60, 200, 14, 5)
    assert "5 of 5 results differ" in run(60, 2000, 1, 5)


@pytest.mark.slow
@with_gcc
def test_more_rows_than_sums_can_hold_unhalved(tmp_path):
    program = long_stream.build("wav2small-rt-mini", tmp_path)
    audio = np.concatenate(firmware_sweep.real_clips(None, 40))
    (tmp_path / "audio").write_bytes(audio.astype("<i2").tobytes())
    arguments = [program, tmp_path / "audio", "4300", "0", "0", "0"]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("    4300 s, in the end:")
    hour, end = (np.array(line.split(":")[1].split(), float) for line in lines)
    # the same clips again and again: their mean stays
    assert np.abs(end - hour).max() < 0.01


# -- latency -----------------------------------------------------------------


def test_times_of_a_change():
    said = np.full(900, 0.2)
    said[600:] = 0.2 + np.arange(300) / 100 * 0.6
    # between two readings, of which the later one tells
    assert latency_of_change.times(said, 0.2, 0.8, 0.1) == pytest.approx(
        [6.4, 9.1], abs=0.11
    )
    assert np.isnan(latency_of_change.times(said, 0.2, 9, 0.1)).all()


# -- what parts add ------------------------------------------------------------


@pytest.mark.parametrize("name", added_parts.MODELS)
def test_parts_that_are_taken_out_are_there(name, tmp_path):
    generate(find_onnx(name), tmp_path)
    text = (tmp_path / "wav2small.c").read_text()
    for part in (
        added_parts.WITHOUT_FORGETTING,
        added_parts.WITHOUT_OWN_VOICE,
        added_parts.ALL_IS_SPEECH,
    ):
        rest = added_parts.without(text, part)
        with pytest.raises(SystemExit, match="C must hold once what is taken out"):
            added_parts.without(rest, part)


def test_costs_of_a_part():
    whole, rest = added_parts.Cost(9e6, 900, 80, 7000), added_parts.Cost(8e6, 9, 8, 70)
    row = added_parts.line("it", whole - rest)
    assert row == "| it | 1.000 | 891 | 72 | 6,930 |"


# -- non-speech --------------------------------------------------------------


@with_gcc
def test_scores_of_non_speech_are_those_of_follow(tmp_path):
    heard = np.concatenate(firmware_sweep.real_clips(None, 4))[:64000]
    stream = latency_of_change.Stream("wav2small-rt-mini", tmp_path)
    minutes = non_speech_scores.Minutes(read(MINI), stream)
    minutes.hear(heard)
    *_, moment = follow([heard], model="wav2small-rt-mini", seconds=4)
    assert tuple(minutes.smooth[-1].tolist()) == moment.scores
    assert np.isnan(minutes.smooth[0]).all()
    assert minutes.heard[-1] is moment.speech
    minutes.latest = [np.full(3, np.nan), np.array([0.5, 0.2, 0.8])]
    table = non_speech_scores.rows("one", minutes)
    assert "| `latest`, farthest | 0.00 | 0.30 | 0.30 |" in table
    assert (
        "| `latest`, at most 0.3 or at least 0.7 | 0.00% | 50.00% | 50.00% |" in table
    )


@with_gcc
@pytest.mark.parametrize("name", ["wav2small-rt", "wav2small-rt-mini"])
def test_non_speech_is_seldom_strong(name, data):
    sounds = non_speech_scores.noises(data, "test")
    minutes = non_speech_scores.heard(name, sounds, 20)
    assert 0 < np.mean(minutes.heard) < 0.03
    assert (non_speech_scores.strong(np.array(minutes.smooth)) <= NOISE_THRESHOLD).all()


# -- fuzzing -----------------------------------------------------------------


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory) -> Path:
    """C code of a model with its resampler."""
    folder = tmp_path_factory.mktemp("fuzzed")
    generate(MINI, folder, input_rate=fuzz_c99.INPUT_RATE)
    return folder


@with_gcc
@pytest.mark.parametrize("blob", [False, True])
def test_fuzzing_finds_nothing(blob, fuzzed, tmp_path):
    shutil.copytree(fuzzed, tmp_path, dirs_exist_ok=True)
    fuzzer = fuzz_c99.Fuzzer(tmp_path, str(GCC), blob=blob)
    passed, said = fuzzer.random(3000)
    assert passed, said
    assert int(said.split(" calls")[0]) >= 3000
    passed, said = fuzzer.guided(20)
    assert passed, said
    assert said.startswith("20 inputs, ")
    assert not list(tmp_path.glob("found-*"))


BEGIN, RESET, NOTHING = bytes([255]), bytes([167, 0]), bytes([165, 0])
PLANTED = {
    "a status": (
        "wav2small.c",
        "if ((samples == NULL) && (count != 0u)) {",
        "if ((samples == NULL) && (count == 0u)) {",
        "not so: wav2small_push",
    ),
    "a byte behind the state": (
        "wav2small.c",
        "    if (status == WAV2SMALL_OK) {\n        begin(state);",
        "    if (status == WAV2SMALL_OK) {\n        ((char *)(state + 1))[0] = 1;",
        "heap-buffer-overflow",
    ),
    "how the signal is cut matters": (
        "wav2small.c",
        "        count -= taken;",
        "        count -= (count % 16u == 3u) ? count : taken;",
        "not so: ",
    ),
    "a row too far": (
        "wav2small_resample.c",
        "resampler->fill == TAPS + BLOCK",
        "resampler->fill == TAPS + BLOCK + 3u",
        "runtime error",
    ),
    "an event that is not there": (
        "wav2small_decide.c",
        "if (event >= (uint32_t)WAV2SMALL_EVENTS) {",
        "if (event > (uint32_t)WAV2SMALL_EVENTS) {",
        "runtime error",
    ),
    "a damaged table": (
        "wav2small_decide.c",
        "crc ^= bytes[i];",
        "crc ^= bytes[i] & 0xfeu;",
        "not so: wav2small_decide_calibrate",
    ),
    "a damaged blob": (
        "wav2small.c",
        "if (crc != model->crc) {",
        "if ((crc ^ model->crc) & 1u) {",
        "not so: wav2small_init",
    ),
}


@pytest.mark.slow
@with_gcc
@pytest.mark.parametrize("fault", PLANTED)
def test_fuzzing_finds_what_is_planted(fault, fuzzed, tmp_path):
    name, right, wrong, problem = PLANTED[fault]
    shutil.copytree(fuzzed, tmp_path, dirs_exist_ok=True)
    code = tmp_path / name
    text = code.read_text()
    assert text.count(right) == 1
    code.write_text(text.replace(right, wrong))
    fuzzer = fuzz_c99.Fuzzer(tmp_path, str(GCC), blob="blob" in fault)
    passed, said = fuzzer.random(20000)
    assert not passed
    assert problem in said
    kept = tmp_path / "found-random"
    command = [tmp_path / "fuzz", kept]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert problem in done.stderr
    for calls, found in (
        (BEGIN, False),
        (BEGIN + NOTHING, fault == "a status"),
        (BEGIN + RESET, fault == "a byte behind the state"),
    ):
        kept.write_bytes(calls)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == found, calls


# -- side by side ------------------------------------------------------------


def test_tensors_of_a_tflite_file():
    tflite = pytest.importorskip("ai_edge_litert.schema_py_generated")
    data = write_tflite(read(MINI), 30)
    ranges = {live.name: live for live in bench_firmware.tensor_ranges(data)}
    model = tflite.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    assert len(ranges) == sum(
        model.Buffers(graph.Tensors(i).Buffer()).DataLength() == 0
        for i in range(graph.TensorsLength())
    )
    # what is written by now and read from now on, step by step
    steps = [
        (
            set(graph.Operators(i).InputsAsNumpy().tolist()),
            set(graph.Operators(i).OutputsAsNumpy().tolist()),
        )
        for i in range(graph.OperatorsLength())
    ]
    outputs = set(graph.OutputsAsNumpy().tolist())
    fullest = 0
    for now in range(len(steps)):
        made = set(graph.InputsAsNumpy().tolist()).union(
            *(out for _, out in steps[: now + 1])
        )
        wanted = outputs.union(*(read for read, _ in steps[now:]), steps[now][1])
        names = [graph.Tensors(i).Name().decode() for i in made & wanted]
        alive = {n for n, live in ranges.items() if live.first <= now <= live.last}
        assert alive == set(names)
        fullest = max(fullest, sum(ranges[name].bytes for name in names))
    assert lower_bound(list(ranges.values())) == fullest
    assert ranges["log_mel"].bytes == 30 * 40
    assert ranges["logits"].bytes == 12


def test_arena_that_is_told():
    said = "".join(
        f"[RecordingMicroAllocator] Arena allocation {part} {size} bytes\n"
        for part, size in (("total", 30), ("head", 20), ("tail", 10))
    )
    assert bench_firmware.parse_arena(said) == (30, 20, 10)
    with pytest.raises(bench_firmware.Failure, match="did not tell its arena"):
        bench_firmware.parse_arena("Arena allocation total 30 bytes")


def test_program_that_fails():
    command = (sys.executable, "-c", "raise SystemExit('because')")
    with pytest.raises(bench_firmware.Failure, match="failed: because"):
        bench_firmware.run(*command)
    lines = "a.c:1: error: no such name\\n1 error generated."
    command = (sys.executable, "-c", f"raise SystemExit('{lines}')")
    with pytest.raises(bench_firmware.Failure, match=r"error: no such name$"):
        bench_firmware.run(*command)


@settings(max_examples=20)
@given(base=st.integers(0, 10**9), slope=st.integers(0, 10**5))
def test_figures_on_a_line(base, slope):
    windows = (1600, 3200)
    figures = [base + slope * samples for samples in windows]
    wanted = base + slope * 16000
    assert bench_firmware.extrapolate(windows, figures, 16000) == wanted


def test_folding_keeps_the_scores(tmp_path):
    import onnx

    folded = tmp_path / "folded.onnx"
    bench_firmware.fold(MINI, folded)
    kinds = {node.op_type for node in onnx.load(folded).graph.node}
    assert {"Sin", "Range"}.isdisjoint(kinds)
    clips = np.stack([np.resize(c, 16000) for c in firmware_sweep.real_clips(None, 2)])
    one, other = (
        bench_firmware.of_onnxruntime(model, clips, optimised=False)
        for model in (MINI, folded)
    )
    assert np.abs(one - other).max() < 0.005


@with_gcc
def test_our_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_firmware, "ENVIRONMENTS", tmp_path)
    clips = np.stack([np.resize(c, 16000) for c in firmware_sweep.real_clips(None, 2)])
    model = read(MINI)
    (row,) = bench_firmware.ours("mini", model, clips)
    assert row.note.endswith("the reference's bits")
    assert row.scores is not None
    truth = row.scores.astype(np.float64)
    truth[0, 0] += 0.25
    shown = bench_firmware.line(row, truth).split(" | ")
    assert shown[5:7] == ["1 of 6", "0.25000"]


def test_a_tool_that_is_left_out(monkeypatch):
    def refuse(*_: object) -> None:
        raise bench_firmware.Failure("no such package")

    for tool in ("ours", "of_micro", "of_emx"):
        monkeypatch.setattr(bench_firmware, tool, refuse)
    clips = np.zeros((1, 16000), np.int16)
    rows, truth = bench_firmware.compare("wav2small-rt-mini", clips)
    assert [row.note for row in rows[:3]] == ["LEFT OUT: no such package"] * 3
    assert truth.shape == (1, 3)
    assert bench_firmware.line(rows[0], truth).count("| - ") == 5
