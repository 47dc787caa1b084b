"""Findings of cppcheck by rule of MISRA C:2012, against the table of deviations."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from wav2small.export.c99 import generate
from wav2small.models import find_onnx

PAGE = Path(__file__).parent.parent / "docs" / "misra.md"
PLACES = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin"
CPPCHECK = shutil.which("cppcheck", path=PLACES)
VERSION = "Cppcheck 2.22"
FILES = ("wav2small.c", "wav2small_decide.c", "wav2small_selftest.c")
UNDEFINED = (
    "__GNUC__ __clang__ WAV2SMALL_BLOB __ARM_FEATURE_DSP __ARM_FEATURE_SAT "
    "__ARM_FEATURE_MVE"
)


def allowed() -> Counter[str]:
    """Findings that the page lists, by rule; rules of one line share theirs."""
    rows = re.findall(
        r"^\| ([\d., ]+) \| (?:required|advisory) \| (\d+) \|", PAGE.read_text(), re.M
    )
    return Counter({rules: int(count) for rules, count in rows})


def shorten(folder: Path) -> None:
    """Leave one entry of each long table: the tool takes minutes for numbers."""
    for path in folder.glob("wav2small*.[ch]"):
        text = path.read_text()
        text = re.sub(
            r"(static const u?int\d+_t \w+\[\d+\] = )\{[^}]{200,}\};", r"\1{0};", text
        )
        text = re.sub(r"\{\{\n(    \w+\([^)]*\),\n)+\}\}", "{{0}}", text)
        path.write_text(text)


def test_the_page_lists_rules_once() -> None:
    listed = [rule for line in allowed() for rule in line.split(", ")]
    assert len(listed) == len(set(listed)) > 20


@pytest.mark.slow
@pytest.mark.skipif(CPPCHECK is None, reason="no cppcheck: MISRA's rules not checked")
def test_no_more_findings_than_the_table_of_deviations(tmp_path: Path) -> None:
    assert CPPCHECK is not None
    version = subprocess.run([CPPCHECK, "--version"], capture_output=True, text=True)
    if not version.stdout.startswith(VERSION):
        pytest.skip(f"table is of {VERSION}, got {version.stdout.strip()}")
    generate(find_onnx("wav2small-rt"), tmp_path)
    shorten(tmp_path)
    options = ["--std=c99", "--platform=unix32", "--addon=misra", "--enable=style"]
    options += ["-q", "--max-configs=1", "--template={id} {file}:{line}"]
    options += [f"-U{name}" for name in UNDEFINED.split()]
    done = subprocess.run(
        [CPPCHECK, *options, *FILES], cwd=tmp_path, capture_output=True, text=True
    )
    lines = re.findall(r"^misra-c2012-([\d.]+) (\S+)$", done.stderr, re.M)
    assert len(lines) > 200, done.stderr
    table = allowed()
    groups = {rule: line for line in table for rule in line.split(", ")}
    unknown = [entry for entry in lines if entry[0] not in groups]
    assert not unknown
    found = Counter(groups[rule] for rule, _ in lines)
    more = {rules: count for rules, count in found.items() if count > table[rules]}
    assert not more, [entry for entry in lines if groups[entry[0]] in more]
