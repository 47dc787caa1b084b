"""The gate that projects copy into their CI, run as they run it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from programs import CODE, build_program

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples" / "ci"


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def gate(
    out: Path, *options: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the script with the command of this environment."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MODEL": "wav2small-rt-mini",
        "TARGETS": "generic-m4-64k",
        "OUT": str(out),
        **variables,
    }
    return subprocess.run(
        [FOLDER / "gate.sh", *options], env=environment, capture_output=True, text=True
    )


def badge(out: Path) -> str:
    return json.loads((out / "badge.json").read_text())["message"]


def test_a_plan_passes_and_every_report_is_left(tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    out = tmp_path / "out"
    targets = "generic-m4-64k generic-m33-128k"
    done = gate(
        out,
        TARGETS=targets,
        BASELINE=str(tmp_path / "none"),
        GITHUB_STEP_SUMMARY=str(summary),
    )
    assert done.returncode == 0, done.stderr
    made = {path.name for path in out.iterdir()}
    assert made == {"badge.json", "bench.html", "bench.json", "bench.md", "bench.xml"}
    assert badge(out) == "fits"
    assert summary.read_text() == "before\n" + (out / "bench.md").read_text()
    budgets = json.loads((out / "bench.json").read_text())["budgets"]
    assert [budget["target"]["name"] for budget in budgets] == targets.split()


def test_a_budget_fails(tmp_path: Path) -> None:
    assert gate(tmp_path, "--ram", "4KiB").returncode == 1
    assert badge(tmp_path) == "does not fit"


def test_wrong_input_is_no_verdict(tmp_path: Path) -> None:
    assert gate(tmp_path, TARGETS="nothing").returncode == 2
    assert badge(tmp_path) == "error"


@pytest.mark.slow
@pytest.mark.emulator
def test_growth_fails(tmp_path: Path) -> None:
    for package in ("ziglang", "unicorn", "capstone", "elftools"):
        pytest.importorskip(package, reason=f"no {package}: no firmware is emulated")
    options = shlex.split(
        read("firmware.yml")["jobs"]["bench"]["steps"][-1]["with"]["options"]
    )
    baseline = tmp_path / "bench.json"
    assert gate(tmp_path, *options).returncode == 0
    assert gate(tmp_path / "same", *options, BASELINE=str(baseline)).returncode == 0
    report = json.loads(baseline.read_text())
    figures = report["firmware"]["cores"][0]["figures"]
    figures["flash"] = figures["flash"] * 98 // 100  # and 1 % may be added
    baseline.write_text(json.dumps(report))
    assert gate(tmp_path / "grown", *options, BASELINE=str(baseline)).returncode == 1
    (line,) = [
        line
        for line in (tmp_path / "grown" / "bench.md").read_text().splitlines()
        if "DOES NOT FIT" in line and "flash" in line
    ]
    assert f"{figures['flash'] * 1.01:,.0f}" in line


@pytest.mark.emulator
def test_a_program_that_grew_is_told_everywhere(tmp_path: Path) -> None:
    """As on a pull request: summary, JUnit, badge, and a comment by the action."""
    for package in ("ziglang", "unicorn", "capstone"):
        pytest.importorskip(package, reason=f"no {package}: no program is emulated")
    program = build_program(tmp_path / "before")
    options = ["--call", "count", "--growth", "0.02"]
    assert gate(tmp_path, *options, MODEL=str(program)).returncode == 0
    assert badge(tmp_path) == "fits"
    grown = build_program(
        tmp_path / "after", code=CODE.replace("TABLE 100", "TABLE 200")
    )
    out, summary = tmp_path / "firmware-bench", tmp_path / "summary.md"
    done = gate(
        out,
        *options,
        MODEL=str(grown),
        BASELINE=str(tmp_path / "bench.json"),
        GITHUB_STEP_SUMMARY=str(summary),
    )
    assert done.returncode == 1
    assert badge(out) == "does not fit"
    (line,) = [row for row in summary.read_text().splitlines() if "DOES NOT" in row]
    assert "growth of flash" in line and "and 0.02 of it" in line
    cases = ElementTree.parse(out / "bench.xml").findall(".//testcase[failure]")
    assert [case.get("name") for case in cases] == ["growth of flash"]

    comments = tmp_path / "comments"
    said = tmp_path / "gh"  # what GitHub's program is asked to do
    said.write_text(f'#!/bin/sh\necho "$@" >> {comments}\ntest "$6" != --edit-last\n')
    said.chmod(0o755)
    (step,) = [
        step
        for step in read("action.yml")["runs"]["steps"]
        if "pull_request" in step.get("if", "")
    ]
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "NUMBER": "7"},
        check=True,
    )
    # the first time there is none to edit
    file = "pr comment 7 --body-file firmware-bench/bench.md"
    assert comments.read_text().splitlines() == [f"{file} --edit-last", file]
    assert len((out / "bench.md").read_bytes()) < 65536


def test_the_workflow_gives_what_the_action_takes() -> None:
    action, workflow = read("action.yml"), read("firmware.yml")
    # YAML takes "on" for true
    assert set(workflow) == {"name", True, "permissions", "jobs"}
    given = workflow["jobs"]["bench"]["steps"][-1]["with"]
    assert set(given) <= set(action["inputs"])
    used = {
        name
        for step in action["runs"]["steps"]
        for name in re.findall(r"inputs\.(\w+)", json.dumps(step))
    }
    assert used == set(action["inputs"])


def test_the_gate_gets_the_variables_that_it_reads() -> None:
    script = (FOLDER / "gate.sh").read_text()
    (step,) = [s for s in read("action.yml")["runs"]["steps"] if s.get("id") == "gate"]
    gitlab = read("gitlab-ci.yml")["firmware"]["variables"]
    jenkins = (FOLDER / "Jenkinsfile").read_text()
    read_by_script = {"MODEL", "TARGETS", "BASELINE"}
    for name in read_by_script:
        assert f"${name}" in script or f"${{{name}" in script
        assert name in step["env"] and name in gitlab and f"{name} = '" in jenkins
    for line in step["run"], *read("gitlab-ci.yml")["firmware"]["script"]:
        subprocess.run(["bash", "-n", "-c", line], check=True)


@pytest.mark.parametrize("name", ["action.yml", "gitlab-ci.yml", "Jenkinsfile"])
def test_extras_exist_and_bring_no_torch(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found = re.findall(r"wav2small\[(\w+)\]", (FOLDER / name).read_text())
    assert found
    for extra in found:
        needs = project["optional-dependencies"][extra]
        assert not [need for need in needs if need.startswith("torch")]


def test_exit_codes_stand_in_the_guide() -> None:
    guide = (FOLDER / "README.md").read_text()
    readme = (ROOT / "README.md").read_text()
    codes = re.findall(r"^\| (\d+) \| ", readme, re.M)
    assert re.findall(r"^\| (\d+) \| ", guide, re.M) == codes
