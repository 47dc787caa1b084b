"""The source distribution holds each file once, and what its tests read."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MADE = shutil.ignore_patterns(
    ".*", "build", "dist", "runs", "*.egg-info", "__pycache__", "PKG-INFO", "setup.cfg"
)
BUILD = "import sys, setuptools.build_meta as b; print(b.build_sdist(sys.argv[1]))"


@pytest.mark.slow
def test_source_distribution_is_the_repository(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(ROOT, tree, symlinks=True, ignore=MADE)
    there = {
        path.relative_to(tree).as_posix()
        for path in tree.rglob("*")
        if path.is_symlink() or path.is_file()
    }
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(tmp_path)],
        cwd=tree,
        capture_output=True,
        text=True,
        check=True,
    )
    with tarfile.open(tmp_path / done.stdout.split()[-1]) as archive:
        members = {m.name.partition("/")[2]: m for m in archive.getmembers()}
    for part in ("export", "firmware_bench"):
        assert members[f"wav2small/{part}"].linkname == f"../{part}"
    packed = {name for name, member in members.items() if not member.isdir()}
    hidden = {name for name in packed if name.startswith(".")}
    added = {"PKG-INFO", "setup.cfg"}
    egg = {name for name in packed if name.startswith("wav2small.egg-info/")}
    assert packed - hidden - added - egg == there
