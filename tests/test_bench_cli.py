"""The bench from the command line, on emulated cores and before training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import onnx
import pytest
from test_bench_measurement import twice

from wav2small.export.model.speech import scores_alone
from wav2small.firmware_bench.run import measurement as measuring
from wav2small.models import find_onnx

for package in ("ziglang", "unicorn", "capstone", "elftools"):
    pytest.importorskip(package, reason=f"no {package}: no firmware is emulated")

from test_bench_toolchain import compiler_cache  # noqa: E402

__all__ = ["compiler_cache"]

pytestmark = pytest.mark.emulator

MODEL = "wav2small-rt-mini"
DEMO = resources.files("wav2small") / "assets" / "demo"
SCHEMA = json.loads(
    resources.files("wav2small.firmware_bench.report")
    .joinpath("report.schema.json")
    .read_text()
)
Run = Callable[..., int]


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def run(caches) -> Run:
    """Run the command line with a cache of firmware of its own."""
    from wav2small.cli import main

    def call(*words: object) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(caches))
            patch.setattr(sys, "argv", ["wav2small", *map(str, words)])
            try:
                main()
            except SystemExit as done:
                return int(done.code or 0)
        return 0

    return call


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Path:
    """Reports of a model that fits: on a core, on one of one's own and planned."""
    made = tmp_path_factory.mktemp("bench")
    own = made / "own.json"
    own.write_text('{"name": "own", "core": "cortex-m4", "clock_hz": 200000000}')
    # nothing is too much, but nobody can say how fast gap9 is
    assert run(
        "bench", MODEL, "--emulate", "--target", "generic-m4-64k", "--target", own,
        "--target", "gap9", "--ram", "12KiB", "--flash", "96KiB",
        "--realtime-factor", 1, "--max-push-instructions", 10**7,
        "--max-result-instructions", 10**7, "--max-latest-instructions", 10**6,
        "--max-slice-instructions", 10**6,
        "--json", made / "bench.json", "--markdown", made / "bench.md",
        "--junit", made / "bench.xml", "--pictures", made / "pictures",
        "--audio", DEMO / "de_f2_p08_r103_031.opus",
    ) == 4  # fmt: skip
    return made


@pytest.mark.slow
def test_report(folder):
    report = json.loads((folder / "bench.json").read_text())
    jsonschema.validate(report, SCHEMA)
    (core,) = report["firmware"]["cores"]
    assert core["core"] == "cortex-m4"
    assert [entry["name"] for entry in core["signals"]][-1] == "clip 0"
    assert core["differing_bits"] == 0 and core["golden_vectors"] == "agree"
    assert core["figures"]["ram"] == (
        core["data_bytes"] + core["bss_bytes"] + core["stack_bytes"]
    )
    assert core["held_bytes"] == 0
    # the plan says the same quantities
    (planned,) = (
        entry
        for entry in report["c99"]["plan"]["cores"]
        if entry["core"] == "cortex-m4"
    )
    figures = core["figures"]
    assert planned["ram_bytes"] == pytest.approx(figures["ram"], rel=0.05)
    assert planned["flash_bytes"] == pytest.approx(figures["flash"], rel=0.1)
    assert planned["instructions_per_second"] == pytest.approx(
        figures["instructions"], rel=0.1
    )
    assert planned["cycles_per_second"] == pytest.approx(
        core["cycles_per_second"], rel=0.1
    )
    assert sum(core["classes"].values()) == sum(core["functions"].values())
    generic, own, gap9 = report["budgets"]
    assert (generic["basis"], own["basis"], gap9["basis"]) == (
        "emulated",
        "emulated",
        "planned",
    )
    ratios = [
        a / b
        for a, b in zip(
            generic["realtime_factor_derived"],
            own["realtime_factor_derived"],
            strict=True,
        )
    ]
    assert ratios == pytest.approx([200 / 64, 200 / 64])
    assert gap9["realtime_factor_derived"] is None
    assert report["firmware"]["planned"] == [
        {"target": "gap9", "reason": "riscv-gap9 is not emulated"}
    ]
    names = [check["name"] for check in generic["checks"]]
    assert names == [
        "bits",
        "link",
        "ram",
        "flash",
        "realtime_factor",
        "push",
        "slice",
        "result",
        "latest",
    ]
    assert all(check["passed"] for check in generic["checks"])
    assert [budget["fits"] for budget in report["budgets"]] == [True, True, None]
    assert report["fits"] is None
    for name in ("push", "slice", "result", "latest"):
        (check,) = (check for check in gap9["checks"] if check["name"] == name)
        assert check["passed"] is None and "not emulated" in check["source"]


def test_formats(folder):
    page = (folder / "bench.md").read_text()
    assert "Instructions on cortex-m4" in page
    assert "derived" in page and "Technical Reference Manual" in page
    assert "planned alone: riscv-gap9 is not emulated" in page
    assert len(page.encode()) < 64 * 1024
    suites = ElementTree.parse(folder / "bench.xml").getroot()
    assert [suite.attrib["tests"] for suite in suites] == ["9", "9", "7"]
    assert {path.name for path in (folder / "pictures").iterdir()} == {
        "memory.png",
        "fit.png",
        "layers.png",
    }


@pytest.mark.slow
def test_the_same_again_fits_and_slower_code_does_not(
    folder, run, tmp_path, monkeypatch, capsys
):
    words = ("bench", MODEL, "--emulate", "--target", "generic-m4-64k")
    words += ("--audio", DEMO / "de_f2_p08_r103_031.opus")
    words += ("--baseline", folder / "bench.json", "--json", tmp_path / "new.json")
    assert run(*words, "--growth", 0) == 0
    old, new = (
        json.loads(path.read_text())["firmware"]["cores"]
        for path in (folder / "bench.json", tmp_path / "new.json")
    )
    assert old == new

    plain = measuring.generate

    def slower(model, out):
        memory = plain(model, out)
        # the eight stages that follow the front end are those of the detector
        twice(Path(out), 3 + 8)
        return memory

    monkeypatch.setattr(measuring, "generate", slower)
    capsys.readouterr()
    assert run(*words) == 1
    text = capsys.readouterr().out
    (line,) = (line for line in text.splitlines() if "growth of instructions" in line)
    assert "DOES NOT FIT" in line and "baseline of" in line
    report = json.loads((tmp_path / "new.json").read_text())
    jsonschema.validate(report, SCHEMA)
    checks = {check["name"]: check for check in report["budgets"][0]["checks"]}
    assert checks["bits"]["passed"] is True  # slower, not wrong
    assert checks["growth of ram"]["passed"] is True
    assert report["fits"] is False


def test_broken_budgets_give_exit_code_1(run, tmp_path, folder):
    path, report = tmp_path / "bench.json", tmp_path / "bench.xml"
    words = ("bench", MODEL, "--emulate", "--target", "generic-m4-64k")
    words += ("--ram", "4KiB", "--flash", "20KiB", "--realtime-factor", "0.001")
    words += ("--max-push-instructions", "100", "--max-result-instructions", "100")
    words += ("--json", path, "--junit", report)
    assert run(*words) == 1
    (budget,) = json.loads(path.read_text())["budgets"]
    failed = {entry["name"] for entry in budget["checks"] if entry["passed"] is False}
    # what does not fit is found by the linker as well
    assert failed == {"link", "ram", "flash", "realtime_factor", "push", "result"}
    assert len(list(ElementTree.parse(report).getroot().iter("failure"))) == 6


def test_without_torch_and_pictures(tmp_path, caches, folder):
    code = (
        "import sys\n"
        "for name in ('torch', 'librosa', 'onnxsim', 'matplotlib', 'transformers'):\n"
        "    sys.modules[name] = None\n"
        "from wav2small.cli import main\n"
        "main()"
    )
    words = ("bench", MODEL, "--emulate", "--target", "generic-m4-64k")
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--json", str(tmp_path / "bench.json")],
        env={**os.environ, "XDG_CACHE_HOME": str(caches)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "bench.json").read_text())["firmware"]["cores"]


# -- before training ---------------------------------------------------------


@pytest.mark.slow
def test_a_student_before_training(run, tmp_path):
    pytest.importorskip("torch")
    reports = []
    narrow = tmp_path / "narrow.json"
    narrow.write_text('{"student": "wav2small-rt-mini", "config": {"channels": 32}}')
    own = Path(str(DEMO)).parent / "models" / MODEL / "checkpoint" / "config.json"
    for student in (MODEL, MODEL, narrow, own):
        path = tmp_path / "bench.json"
        assert run("bench", "--student", student, "--json", path, "--ram", "1MiB") == 0
        reports.append(json.loads(path.read_text()))
    one, again, small, bundled = reports
    assert one["model"] == again["model"]
    assert one["model"]["file"] == f"{MODEL}-untrained.onnx"
    # by a checkpoint's settings the same plan as of its trained model
    path = tmp_path / "trained.json"
    # students before training know nothing of speech
    trained = tmp_path / "scores.onnx"
    onnx.save(scores_alone(onnx.load(find_onnx(MODEL))), trained)
    assert run("bench", trained, "--json", path, "--ram", "1MiB") == 0
    trained = json.loads(path.read_text())
    for report in (bundled, trained):  # dead channels of a trained one are left out
        assert report["c99"]["plan"]["held_bytes"] == 0
    assert bundled["c99"]["plan"]["state_bytes"] == pytest.approx(
        trained["c99"]["plan"]["state_bytes"], rel=0.05
    )
    assert bundled["compute"]["macs"] == trained["compute"]["macs"]
    assert small["flash"]["total_bytes"] < one["flash"]["total_bytes"]
    assert small["compute"]["macs"] < one["compute"]["macs"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "student must be a name or a JSON file with 'student' and 'config'"),
        ("[]", "student must be a name or a JSON file"),
        ('{"student": "cat"}', "student must be one of"),
        ('{"student": "wav2small-rt", "config": 3}', "student must be a name or"),
        (
            '{"student": "wav2small-rt", "config": {"legs": 4}}',
            "config of 'wav2small-rt' must be settings that it has",
        ),
        (
            '{"student": "wav2small-rt", "config": {"channels": "x"}}',
            "config of 'wav2small-rt' must be settings that it has",
        ),
    ],
)
def test_students_that_are_none(text, message, run, tmp_path, capsys):
    pytest.importorskip("torch")
    path = tmp_path / "student.json"
    path.write_text(text)
    assert run("bench", "--student", path) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("error:") == 1
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["bench"], 2, "either MODEL or --student"),
        (["bench", MODEL, "--student", MODEL], 2, "either MODEL or --student"),
        (["bench", MODEL, "--baseline", "x"], 2, "need --emulate"),
        (["bench", MODEL, "--max-push-instructions", "9"], 2, "need --emulate"),
        (["bench", MODEL, "--max-result-instructions", "9"], 2, "need --emulate"),
        (["bench", MODEL, "--audio", "x"], 2, "need --emulate"),
        (["bench", MODEL, "--emulate", "--compiler", "cc"], 2, "compiler must be zig"),
        (["bench", MODEL, "--emulate", "--baseline", "x"], 2, "must be a report"),
        (["bench", MODEL, "--emulate", "--growth", "-1"], 2, "--growth"),
    ],
)
def test_wrong_use(words, code, message, run, capsys):
    assert run(*words) == code
    assert message in capsys.readouterr().err


# -- verdicts ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [
        # the plan of the C99 decides, as the measurement does
        ([MODEL, "--target", "generic-m4-64k", "--ram", "9KiB"], 0),
        ([MODEL, "--target", "generic-m4-64k", "--ram", "7000"], 1),
        # 2.7 times real time
        (["wav2small", "--target", "generic-m4-64k"], 1),
        (["wav2small", "--target", "generic-m4-64k", "--realtime-factor", "9"], 0),
        # the caller holds 32,000 B for each second
        (["wav2small", "--ram", "46KiB"], 0),
        (["wav2small", "--ram", "46KiB", "--window", "2"], 1),
        # what nobody verified decides
        ([MODEL, "--target", "rsl15", "--realtime-factor", "0.01"], 1),
        ([MODEL, "--target", "rsl15"], 0),
        # what nobody knows is no success, asked for or not
        ([MODEL, "--target", "gap9"], 4),
        ([MODEL, "--target", "ezairo7160", "--ram", "64KiB"], 4),
        ([MODEL, "--target", "gap9", "--flash", "20KiB"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_verdicts(words, code, run, capsys):
    assert run("bench", *words) == code
    title = capsys.readouterr().out.splitlines()[0]
    wanted = {0: "fits", 1: "does not fit", 4: "not checked"}[code]
    assert title.endswith(f": {wanted}")


@pytest.mark.parametrize(
    ("chip", "code"),
    [
        ({"core": "cortex-m0", "clock_hz": 64_000_000}, 4),
        ({"core": "cortex-m4", "clock_hz": 4_000_000}, 1),
        ({"core": "cortex-m4", "clock_hz": 64_000_000}, 0),
    ],
)
def test_chips_of_ones_own(chip, code, run, tmp_path):
    path = tmp_path / "own.json"
    memory = {"ram_bytes": "64KiB", "flash_bytes": "256KiB"}
    path.write_text(json.dumps({"name": "own", **memory, **chip}))
    assert run("bench", MODEL, "--target", path) == code


def test_a_mobilenet_is_too_large_for_an_unverified_chip(run, capsys):
    pytest.importorskip("torch")
    words = ("--student", "mobilenetv3-small", "--target", "ezairo7160")
    assert run("bench", *words) == 1
    text = capsys.readouterr().out
    assert "DOES NOT FIT, unverified" in text and "no C99" in text


def test_targets_are_listed_with_what_is_known(run, capsys):
    assert run("list", "targets") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "emulated" in lines["nrf54l15"] and "Zephyr" in lines["nrf54l15"]
    assert lines["generic-m55-256k"].split()[1:7] == [
        "cortex-m55", "160", "256", "1,024",
        "planned" if measuring.why_not_emulated("cortex-m55") else "emulated", "yes",
    ]  # fmt: skip
    assert lines["rsl15"].split()[1:7] == [
        "cortex-m33", "48?", "80?", "512?", "emulated", "no",
    ]  # fmt: skip
    assert lines["ezairo8300"].split()[2:5] == ["30.72?", "-", "-"]
