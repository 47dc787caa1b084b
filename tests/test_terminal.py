"""What the command line writes."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from wav2small.cli import terminal
from wav2small.export.base import escape


def test_json_of_what_is_no_number() -> None:
    value = {"a": [1.5, math.nan, (math.inf, "nan")], "b": {"c": -math.inf, "d": None}}
    told = json.loads(escape.to_json(value), parse_constant=lambda name: 1 / 0)
    assert told == {"a": [1.5, None, [None, "nan"]], "b": {"c": None, "d": None}}


def test_a_terminal_without_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="latin-1") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    terminal.speak_any_language()
    print("ä œ \U0001f600 \udcff")
    terminal.say("œ")
    for stream, wanted in zip(
        streams, (b"\xe4 \\u0153 \\U0001f600 \\udcff\n", b"\\u0153\n"), strict=True
    ):
        stream.flush()
        assert stream.buffer.getvalue() == wanted


def test_the_package_can_be_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wav2small", "list", "models"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "wav2small-rt-mini" in done.stdout
