"""Files that are meant ill; ``python tests/hostile.py`` makes many more of them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import hostile
import pytest
import typer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")


@pytest.mark.parametrize("name", hostile.KINDS)
def test_a_good_file_is_loaded(tmp_path: Path, name: str) -> None:
    kind = hostile.KINDS[name]
    assert kind.load(kind.make(tmp_path, random.Random(0))) is not None


@pytest.mark.slow
def test_no_file_is_more_than_a_line(tmp_path: Path) -> None:
    # in a process without the threads of other tests, since it forks
    done = subprocess.run(
        [sys.executable, hostile.__file__, "--count", "56", "--seed", "1"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.endswith("56 files, 0 go wrong\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        ((0, "x\n", 1.0), None),
        ((2, "error: x\n", 1.0), None),
        ((70, "error: this is a bug\n", 1.0), "bug: error: this is a bug"),
        ((2, "Traceback\nKeyError: 1\n", 1.0), "bug: KeyError: 1"),
        ((-11, "", 1.0), "exit code -11"),
        ((2, "error: x\n", 11.0), "11 s"),
        ((2, "error: \x1b[m\n", 1.0), "control characters: 'error: \\x1b[m\\n'"),
        ((2, "", 1.0), "no line of error: ''"),
        ((0, "y\n", 1.0), "another result without an error"),
    ],
)
def test_what_is_wrong_is_seen(result, fault) -> None:
    assert hostile.wrong(result, "x\n") == fault


def test_a_command_may_have_a_verdict() -> None:
    assert hostile.wrong((1, "does not fit\n", 1.0), command=True) is None
    assert hostile.wrong((4, "not checked\n", 1.0), command=True) is None
    assert hostile.wrong((5, "", 1.0), command=True) == "exit code 5"
    assert hostile.wrong((1, "", 1.0)) == "exit code 1"


@pytest.mark.parametrize("name", [n for n, k in hostile.KINDS.items() if k.commands])
def test_commands_take_what_they_are_given(name: str) -> None:
    """Their words are right: what is left to complain about is the file."""
    for line in hostile.KINDS[name].commands:
        words = [word.format_map(Anything()) for word in line.split()]
        context = {"resilient_parsing": False}
        command = typer.main.get_command(hostile.APP)
        name, found, rest = command.resolve_command(
            typer.Context(command, **context), words
        )
        assert found.make_context(name, rest)


class Anything(dict[str, str]):
    """Paths for whatever is asked for."""

    def __missing__(self, key: str) -> str:
        return f"/nowhere/{key}"
