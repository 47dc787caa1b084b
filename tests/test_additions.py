"""How few files it takes to add one of each kind, tried in a copy of the sources.

An operator is the fifth kind: :mod:`operator_rows` and the file of the operator,
its fragment and its section of ``docs/arithmetic.md`` are all of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Addition:
    """Files that are written, and the command that finds what they add."""

    most: int
    """Most files that may be touched, those of the tests included."""

    command: tuple[str, ...]
    """What is run; ``{audio}`` and ``{out}`` stand for places."""

    shows: str
    """What it prints."""

    new: dict[str, str] = field(default_factory=dict)
    """Text of each new file."""

    changed: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Text behind which a file gets more, and what it gets."""


STUDENT = '''"""The mean log-mel frame and a linear layer."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ..features import LogMel, normalize


@dataclass(frozen=True)
class PlainConfig:
    """Configuration of :class:`Plain`."""

    n_mels: int = 16
    """Number of mel bands."""


class Plain(nn.Module):
    """The mean log-mel frame and a linear layer."""

    min_samples = 64

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.config = config
        self.front_end = LogMel(
            window_length=512, hop_length=256, n_mels=config.n_mels
        )
        self.scores = nn.Linear(config.n_mels, 3)

    def forward(self, signal: Tensor) -> Tensor:
        """Score signals."""
        return self.scores(self.front_end(normalize(signal)).mean(1))
'''

TEACHER = '''"""A teacher that is a text file with the score of everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .base import TeacherInfo

if TYPE_CHECKING:
    from .loading import Wish


class ConstantTeacher:
    """A teacher that gives everything the same score."""

    def __init__(self, score: float) -> None:
        self.score = score
        self.info = TeacherInfo("constant", str(score), "CC0-1.0", "none")

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals."""
        return np.full((len(signals), 3), self.score, np.float32)


def open_constant(wish: Wish) -> ConstantTeacher | None:
    """Open a file whose name ends in .score."""
    if wish.path.suffix != ".score":
        return None
    return ConstantTeacher(float(wish.path.read_text()))
'''

TARGET = json.dumps(
    {
        "core": "cortex-m4",
        "description": "a chip that does not exist",
        "clock_hz": {"value": 10**8, "source": "this test", "verified": True},
    }
)

CORE = """
    "cortex-m35p": Core(
        architecture=17,
        zig_target=_HARD_FLOAT,
        zig_cpu="cortex_m35p",
        gcc_float=_FPV5,
        timing=Timing("taken to be the Cortex-M33's, memory without waits"),
    ),"""


def prices_of(core: str) -> str:
    path = ROOT / "firmware_bench" / "plan" / "prices.json"
    return json.dumps(json.loads(path.read_text())["cores"][core])


ADDITIONS = {
    "student": Addition(
        most=3,
        command=("list", "students"),
        shows="plain                  267,331 parameters  the mean frame",
        new={"wav2small/students/plain.py": STUDENT},
        changed={
            "wav2small/students/__init__.py": (
                "STUDENTS: dict[str, Student] = {",
                '    "plain": Student("plain:Plain", 267_331, "the mean frame"),',
            ),
            "tests/test_students.py": ("COUNTS = {", '    "plain": (267_331, 51),'),
        },
    ),
    "teacher kind": Addition(
        most=3,
        command=("annotate", "{audio}", "{out}", "--teacher", "{teacher}"),
        shows="1 labels by constant (CC0-1.0)",
        new={
            "wav2small/teachers/constant.py": TEACHER,
            "tests/test_teachers_constant.py": '"""Its test."""\n',
        },
        changed={
            "wav2small/teachers/loading.py": (
                "KINDS: tuple[Callable[[Wish], Teacher | None], ...] = (",
                "    open_constant,",
            )
        },
    ),
    "target": Addition(
        most=1,
        command=("bench", "wav2small-rt-mini", "--target", "no-chip"),
        shows="no-chip",
        changed={"firmware_bench/targets.json": ("{", f'  "no-chip": {TARGET},')},
    ),
    "core": Addition(
        most=2,
        command=("bench", "wav2small-rt-mini", "--target", "{target}"),
        shows="does-not-exist  RAM ",
        changed={
            "firmware_bench/cores.py": ("CORES = {", CORE),
            "firmware_bench/plan/prices.json": (
                '"cores": {',
                f'  "cortex-m35p": {prices_of("cortex-m33")},',
            ),
        },
    ),
}

IMPORTS = {"wav2small/teachers/loading.py": "from .constant import open_constant\n"}
"""What a file imports besides; it is changed anyway."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the sources, whose assets are those of the original."""
    to = tmp_path / "copy"
    skipped = shutil.ignore_patterns("__pycache__", "assets")
    for name in ("export", "firmware_bench", "wav2small", "tests"):
        shutil.copytree(ROOT / name, to / name, symlinks=True, ignore=skipped)
    (to / "wav2small" / "assets").symlink_to(ROOT / "wav2small" / "assets")
    return to


def write(addition: Addition, root: Path) -> int:
    """Write an addition, and count the files that it touches."""
    for name, text in addition.new.items():
        assert not (root / name).exists()
        (root / name).write_text(text)
    for name, (before, more) in addition.changed.items():
        text = (root / name).read_text()
        assert text.count(before + "\n") >= 1, f"{name} must have a line '{before}'"
        text = text.replace(before + "\n", f"{before}\n{more}\n", 1)
        first = "from ..errors import InputError\n"
        text = text.replace(first, first + IMPORTS.get(name, ""), 1)
        (root / name).write_text(text)
    return len(addition.new) + len(addition.changed)


@pytest.mark.parametrize("kind", ADDITIONS)
def test_few_files_are_enough(kind: str, copy: Path, tmp_path: Path) -> None:
    addition = ADDITIONS[kind]
    assert write(addition, copy) <= addition.most
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(16000) / 20) / 4, 16000)
    (tmp_path / "t.score").write_text("0.25")
    (tmp_path / "t.json").write_text(
        '{"name": "does-not-exist", "core": "cortex-m35p"}'
    )
    places = {"audio": "a.wav", "out": "labels", "teacher": "t.score"}
    words = [word.format(target="t.json", **places) for word in addition.command]
    done = subprocess.run(
        [sys.executable, "-c", "from wav2small.cli import main; main()", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert addition.shows in done.stdout + done.stderr, done.stderr
    assert done.returncode in (0, 1, 4)
