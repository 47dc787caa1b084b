"""The workflow that is there to be copied, and that its commands exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
yaml = pytest.importorskip("yaml", reason="no PyYAML: the workflow is not read")


def steps() -> dict[str, dict[str, object]]:
    text = (ROOT / "examples" / "ci" / "firmware.yml").read_text()
    (job,) = yaml.safe_load(text)["jobs"].values()
    return {step["name"]: step for step in job["steps"] if "name" in step}


def bench_words() -> list[str]:
    command = str(steps()["Bench"]["run"]).replace("\\\n", " ")
    words = shlex.split(command)
    assert words[:2] == ["wav2small", "bench"]
    return words[1:]


def test_workflow_is_whole():
    text = (ROOT / "examples" / "ci" / "firmware.yml").read_text()
    workflow = yaml.safe_load(text)
    # YAML takes "on" for true
    assert set(workflow) == {"name", True, "permissions", "jobs"}
    (job,) = workflow["jobs"].values()
    assert all(("uses" in step) != ("run" in step) for step in job["steps"])
    assert set(re.findall(r"\$([A-Z]+)\b", text)) <= {"MODEL", "BASELINE", "NUMBER"}
    for step in job["steps"]:
        if "run" in step:
            subprocess.run(["bash", "-n", "-c", step["run"]], check=True)


def test_it_installs_extras_that_exist():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"wav2small\[(.*)\]", str(steps()["Install"]["run"]))
    for extra in extras.split(","):
        needs = project["optional-dependencies"][extra]
        assert not [need for need in needs if need.startswith("torch")]


@pytest.mark.slow
@pytest.mark.emulator
def test_its_bench_runs(tmp_path, monkeypatch):
    for package in ("ziglang", "unicorn", "capstone", "elftools", "matplotlib"):
        pytest.importorskip(package, reason=f"no {package}: no firmware is emulated")
    from wav2small.cli import main

    monkeypatch.chdir(tmp_path)
    places = {"$MODEL": "wav2small-rt-mini", "$BASELINE": "before.json"}
    words = [places.get(word, word) for word in bench_words()]
    place = words.index("--baseline")

    def call(words: list[str]) -> int:
        monkeypatch.setattr(sys, "argv", ["wav2small", *words])
        try:
            main()
        except SystemExit as done:
            return int(done.code or 0)
        return 0

    # one core is enough to see that each option is one
    (first, second) = (i for i, word in enumerate(words) if word == "--target")
    for start in sorted((second, place), reverse=True):
        del words[start : start + 2]
    assert words[first + 1] == "generic-m4-64k"
    assert call(words) == 0
    (tmp_path / "bench.json").rename("before.json")
    assert call([*words, "--baseline", "before.json"]) == 0
    made = {path.name for path in tmp_path.iterdir()}
    (upload,) = [step for name, step in steps().items() if name == "Upload"]
    assert set(str(upload["with"]["path"]).split()) <= made  # type: ignore[index]
