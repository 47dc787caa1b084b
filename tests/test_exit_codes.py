"""The command line's exit codes: what each command ends with, and why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wav2small import cli
from wav2small.bundled import DEMO
from wav2small.errors import BenchError, ExportError, InputError, ToolError
from wav2small.export.base.errors import BenchToolError

WRONG_INPUT = [
    ["annotate", "nowhere", "labels"],
    ["distill", "nowhere", "run"],
    ["evaluate", "wav2small-rt-mini", "nowhere"],
    ["export", "nowhere", "out"],
    ["compare", "nowhere", "wav2small-rt-mini"],
    ["bench", "nowhere"],
    ["bench", "wav2small-rt-mini", "--target", "nowhere"],
    ["bench", "wav2small-rt-mini", "--ram", "much"],
    ["predict", "nowhere"],
    ["predict", "text.wav"],
    ["predict", "text.wav", "--stream"],
    ["predict", "text.wav", "--calibration", "text.wav"],
    ["calibrate", "wav2small-rt", "text.wav", "out.json"],
    ["calibrate", "nowhere", "text.wav", "out.json"],
    ["c99", "nowhere", "out"],
    ["hop", "nowhere", "out.onnx"],
    ["hop", "wav2small", "out.onnx"],
    ["publish", "nowhere", "out"],
    ["page", "nowhere", "out.html"],
    ["finetune", "nowhere.csv", "out", "--backbone", "nowhere"],
    ["layers", "nowhere.csv", "--backbone", "nowhere"],
    ["select", "nowhere", "out.csv", "--count", "3"],
    ["ask", "nowhere", "out", "--program", "true"],
    ["condense", "nowhere.csv", "out"],
]
WRONG_USE = [
    ["annotate", "one"],
    ["distill"],
    ["evaluate", "wav2small-rt-mini"],
    ["export", "one"],
    ["compare", "one"],
    ["bench"],
    ["predict"],
    ["calibrate", "wav2small-rt", "one"],
    ["c99"],
    ["hop", "one"],
    ["publish", "one"],
    ["page"],
    ["finetune"],
    ["layers"],
    ["condense", "one"],
    ["select"],
    ["ask"],
    ["c99"],
    ["live", "--cats"],
    ["page"],
    ["list", "cats"],
    ["demo", "--cats"],
    ["nothing"],
]


@pytest.fixture
def end(monkeypatch, tmp_path, capfd):
    """Run the command line in an empty folder; exit code and what it said."""
    monkeypatch.chdir(tmp_path)
    Path("text.wav").write_text("not audio")

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["wav2small", *words])
        try:
            cli.main()
        except SystemExit as done:
            return int(done.code or 0), capfd.readouterr().err
        return 0, capfd.readouterr().err

    return call


@pytest.mark.parametrize("words", [*WRONG_INPUT, *WRONG_USE], ids=" ".join)
def test_wrong_input_and_wrong_use_are_2(words, end):
    code, said = end(*words)
    assert code == 2, said
    assert "Traceback" not in said


def test_every_command_is_tested():
    tested = {words[0] for words in WRONG_USE}
    names = {
        entry.name or entry.callback.__name__ for entry in cli.app.registered_commands
    }
    assert names <= tested | {"demo"}


@pytest.mark.parametrize("budget", [["--ram", "1KiB"], ["--flash", "9KiB"]])
def test_what_does_not_fit_is_1(budget, end):
    assert end("bench", "wav2small-rt-mini", *budget)[0] == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x must be y, got z"), 2),
        (ExportError("x must be y, got z"), 2),
        (BenchError("x must be y, got z"), 2),
        (ToolError("x must be y, got z"), 3),
        (BenchToolError("x must be y, got z"), 3),
        (IsADirectoryError(21, "Is a directory", "out"), 2),
        (OSError(28, "No space left on device", "out"), 3),
        (ZeroDivisionError("a bug"), 70),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(32, "Broken pipe"), 141),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_errors(error, code, end, monkeypatch):
    def raises(*_):
        raise error

    monkeypatch.setattr("wav2small.models.find_onnx", raises)
    # what is written to a pipe that is gone is left out
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    got, said = end("bench", "wav2small-rt-mini")
    assert got == code
    assert "Traceback" not in said


def run_base(*arguments):
    """Run a command as if no extra were installed."""
    # in a process of its own: here other tests have imported what needs them
    code = (
        "import sys; from wav2small.export.base.errors import EXTRAS; "
        "sys.modules |= dict.fromkeys(sum(EXTRAS.values(), ())); "
        f"sys.argv = ['wav2small', *{list(arguments)!r}]; "
        "from wav2small.cli import main; main()"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "students"),
        ("list", "teachers"),
        ("list", "models"),
        ("list", "targets"),
        ("bench", "wav2small-rt-mini", "--target", "generic-m4-64k"),
        ("predict", str(DEMO.parent / "de_f2_p08_r103_031.opus")),
        ("--version",),
        ("export", "--help"),
    ],
    ids=" ".join,
)
def test_base_suffices(arguments):
    done = run_base(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("bench", "--student", "wav2small-rt"), "train"),
        (("annotate", str(DEMO), "labels"), "train"),
        (("distill", "labels", "run"), "train"),
        (("evaluate", "wav2small-rt", "labels"), "train"),
        (("demo", "--out", "demo"), "train"),
        (("export", "wav2small-rt", "model"), "train"),
        (
            ("bench", "wav2small-rt", "--picture", "memory.png"),
            "report",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_a_missing_package_is_3(arguments, extra, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_base(*arguments)
    assert done.returncode == 3, done.stderr
    assert (
        done.stderr.startswith("error: package ") or "\nerror: package " in done.stderr
    )
    assert done.stderr.endswith(f" is missing: pip install 'wav2small[{extra}]'\n")


def test_a_reader_that_goes_away():
    done = subprocess.run(
        f"'{sys.executable}' -c 'from wav2small.cli import main; main()' list targets"
        " | true; exit ${PIPESTATUS[0]}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 141), done.stderr
    assert "Traceback" not in done.stderr


def test_help_says_them(end, capfd, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["wav2small", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    said = " ".join(capfd.readouterr().out.split())
    assert "1 does not fit or does not hold, nothing else; 2 wrong usage" in said
