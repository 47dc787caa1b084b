"""The Makefile takes a Python that can run the project, or says what to install."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parent.parent / "Makefile"

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None, reason="make is not installed"
)

INTERPRETER = """\
#!{python}
import sys, types
words = sys.argv[1:]
if words[0] == "-c":
    if not {venv}:
        sys.modules["ensurepip"] = None  # as Debian's without its package of venv
    sys.version_info = {version}
    exec(words[1])
elif words[:2] == ["-m", "venv"]:
    with open("made", "a") as file:
        print({name!r}, *words[2:], file=file)
"""

Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(MAKEFILE, tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    (tmp_path / "bin").mkdir()
    for name in ("sh", "touch"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    return tmp_path


@pytest.fixture
def make(folder: Path) -> Make:
    """Run make where no interpreter is but those that a test adds."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [shutil.which("make"), "SHELL=/bin/sh", *words]
        return subprocess.run(
            command,
            cwd=folder,
            env={"PATH": str(folder / "bin")},
            capture_output=True,
            text=True,
        )

    return run


def add(folder: Path, name: str, version: tuple[int, int], venv: bool = True) -> None:
    """Put down an interpreter that claims a version."""
    program = folder / name
    program.parent.mkdir(parents=True, exist_ok=True)
    text = INTERPRETER.format(
        python=sys.executable, name=name, version=version, venv=venv
    )
    program.write_text(text)
    program.chmod(0o755)


def made(folder: Path, make: Make, *words: str) -> str:
    make(*words, "install")
    return (folder / "made").read_text().splitlines()[-1]


@pytest.mark.parametrize(
    "there, taken",
    [
        ([(3, 11)], "3.11"),
        ([(3, 12)], "3.12"),
        ([(3, 11), (3, 13)], "3.13"),
        ([(3, 14), (3, 9), (3, 12)], "3.14"),
        ([(3, 15), (3, 12)], "3.12"),
    ],
)
def test_the_newest_that_the_pins_allow(folder, make, there, taken):
    for version in there:
        add(folder, f"bin/python{version[0]}.{version[1]}", version)
    assert made(folder, make) == f"bin/python{taken} --clear .venv"


def test_a_plain_python3_counts_by_its_version(folder, make):
    add(folder, "bin/python3", (3, 13))
    assert made(folder, make) == "bin/python3 --clear .venv"


def test_one_without_venv_or_that_does_not_run_is_passed_over(folder, make):
    add(folder, "bin/python3.14", (3, 14), venv=False)
    (folder / "bin" / "python3.13").write_text("#!/bin/sh\nexit 127\n")
    (folder / "bin" / "python3.13").chmod(0o755)
    add(folder, "bin/python3.12", (3, 12))
    assert made(folder, make) == "bin/python3.12 --clear .venv"


def test_an_environment_keeps_its_python(folder, make):
    add(folder, "bin/python3.14", (3, 14))
    add(folder, ".venv/bin/python", (3, 11))
    assert made(folder, make) == ".venv/bin/python .venv"
    assert made(folder, make, "PYTHON=python3.14", "-B").startswith("bin/python3.14")


def test_nothing_is_made_again_without_a_change(folder, make):
    add(folder, ".venv/bin/python", (3, 12))
    assert make("install").returncode == 0
    assert make("install").returncode == 0
    assert len((folder / "made").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "there, word, got",
    [
        (None, (), "none"),
        ("bin/python3", (), "none"),  # of version 3.10
        ("bin/python3.10", ("PYTHON=python3.10",), "python3.10"),
    ],
)
def test_it_says_what_to_install(folder, make, there, word, got):
    if there:
        add(folder, there, (3, 10))
    ended = make(*word, "install")
    assert ended.returncode == 2
    line = ended.stderr.splitlines()[0]
    assert line.startswith(
        f"error: PYTHON must be Python 3.11 to 3.14 with venv, got {got}: "
        "apt-get install python3-venv"
    )
    for package in ("python3.11-venv", "python3.12-venv", "python3.13-venv"):
        assert package in line
    assert not (folder / ".venv").exists()
