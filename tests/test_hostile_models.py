"""Hostile models, checkpoints and JSON end in a result or in one clean line.

``HOSTILE_MODELS=1000`` makes as many of them.
"""

import os
import subprocess
import sys

import hostile_models
import onnx
import pytest

from wav2small.bundled import DEMO
from wav2small.errors import InputError

COUNT = int(os.environ.get("HOSTILE_MODELS", "20"))


def test_nothing_goes_wrong(tmp_path):
    counts, wrong = hostile_models.run(tmp_path, COUNT, seed=3)
    assert not wrong, "\n".join(wrong)
    assert sum(counts.values()) == COUNT and len(counts) >= 5


def test_what_goes_wrong_is_found():
    def fail():
        raise KeyError("BF16")

    assert "traceback: KeyError" in hostile_models.judge(fail, False)
    assert hostile_models.judge(dict, True) == "not refused"
    assert hostile_models.judge(dict, False) is None


@pytest.mark.parametrize("words", [["predict", "AUDIO", "--model"], ["bench"]])
def test_no_control_character_reaches_the_terminal(words, tmp_path):
    model = onnx.ModelProto()
    model.CopyFrom(hostile_models.MODEL)
    for node in model.graph.node:
        node.op_type += "\x1b[2J\x9b\x07"
    path = tmp_path / "a\x1b[31m\n\u202eb.onnx"
    onnx.save(model, path)
    audio = next(DEMO.parent.glob("*.opus"))
    done = subprocess.run(
        [sys.executable, "-c", "from wav2small.cli.main import main; main()"]
        + [str(audio) if word == "AUDIO" else word for word in words]
        + [str(path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode not in (0, -11)
    assert "Traceback" not in done.stderr
    (said,) = done.stderr.splitlines()
    assert said.isprintable() and not done.stdout


def test_commands_that_end_badly_are_found(tmp_path, monkeypatch):
    nowhere = {"path": tmp_path / "x", "out": tmp_path / "o", "speech": tmp_path / "y"}
    for lines in hostile_models.COMMANDS.values():
        for line, _ in lines:
            with pytest.raises(InputError, match=r"^error: "):
                hostile_models.commanding(line, **nowhere)()
    for ending in ((70, "error: bug"), (2, "Traceback"), (0, "\x1b[m"), (2, "nothing")):
        monkeypatch.setattr(hostile_models, "command", lambda *a, end=ending, **k: end)
        fault = hostile_models.judge(hostile_models.commanding("bench x"), False)
        assert "RuntimeError: 'bench" in fault.replace('"', "'")
