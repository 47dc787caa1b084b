"""What may be done with a teacher is what may be done with its students."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import onnx
import pytest
import teacher_checkpoints as made
from hypothesis import given
from hypothesis import strategies as st

from wav2small import cli
from wav2small.annotation.store import LabelStore
from wav2small.bundled import DEMO
from wav2small.errors import InputError
from wav2small.teachers.base import TeacherInfo
from wav2small.teachers.licence import (
    ANY,
    PERMISSIVE,
    RESEARCH,
    canonical,
    check,
    mark,
    most_restrictive,
    use,
)

NON_COMMERCIAL = (
    "CC-BY-NC-SA-4.0", "CC-BY-NC-4.0", "cc-by-nc-nd-4.0", "bigscience-openrail-m",
    "RAIL", "non-commercial", "NonCommercial", "academic use only", "research",
)  # fmt: skip
UNKNOWN = ("unknown", "GPL-7", "proprietary", "once", "license")


@pytest.mark.parametrize("licence", PERMISSIVE)
def test_what_allows_any_use(licence: str) -> None:
    assert canonical(licence.lower()) == licence
    assert use(licence) == ANY
    check("x", licence, "permissive", "teacher.json")


@pytest.mark.parametrize("licence", NON_COMMERCIAL)
def test_what_is_for_research(licence: str) -> None:
    assert use(canonical(licence)) == RESEARCH
    message = "'x' must be free .*: pass --licence-policy research, .* research-only"
    with pytest.raises(InputError, match=message):
        check("x", licence, "permissive", "teacher.json")
    check("x", licence, "research", "teacher.json")


@pytest.mark.parametrize("licence", UNKNOWN)
def test_what_is_not_known(licence: str) -> None:
    assert use(canonical(licence)) == RESEARCH
    with pytest.raises(
        InputError, match=r'state it as "licence" in teacher\.json or pass'
    ):
        check("x", licence, "permissive", "teacher.json")
    check("x", licence, "research", "teacher.json")


def test_no_such_policy() -> None:
    with pytest.raises(
        InputError, match="must be one of permissive, research, got 'x'"
    ):
        check("x", "MIT", "x", "teacher.json")


def test_what_states_none_is_unknown() -> None:
    for stated in (None, "", "other", "None", " Unknown "):
        assert canonical(stated) == "unknown"
    assert canonical("cc-by-nc-sa-4.0") == "CC-BY-NC-SA-4.0"


def test_a_mark_goes_before_a_licence() -> None:
    assert mark({"licence": "MIT"}) == mark({"licence": "MIT", "use": "any"}) == ANY
    assert mark({"licence": "MIT", "use": RESEARCH}) == RESEARCH
    assert mark({"licence": "CC-BY-NC-4.0", "use": "any"}) == RESEARCH
    assert mark({}) == RESEARCH
    with pytest.raises(InputError, match="must be free for any use"):
        check("x", "MIT", "permissive", "teacher.json", mark=RESEARCH)
    assert TeacherInfo("x", "1", "MIT", "d", use=RESEARCH).use == RESEARCH
    assert TeacherInfo("x", "1", "CC-BY-NC-4.0", "d", use=ANY).use == RESEARCH
    member = TeacherInfo("x", "1", "CC-BY-NC-4.0", "d")
    assert TeacherInfo("y", "1", "MIT", "d", members=(member,)).use == RESEARCH


def test_the_most_restrictive() -> None:
    assert most_restrictive(["MIT", "CC-BY-NC-SA-4.0"]) == "CC-BY-NC-SA-4.0"
    assert most_restrictive(["unknown", "CC-BY-NC-SA-4.0"]) == "unknown"
    assert most_restrictive(["MIT", "Apache-2.0", "MIT"]) == "MIT AND Apache-2.0"


@given(
    st.lists(st.sampled_from([*PERMISSIVE, *NON_COMMERCIAL, *UNKNOWN]), min_size=1)
)  # fmt: skip
def test_nothing_is_freed_by_company(licences: list[str]) -> None:
    together = use(most_restrictive(licences))
    assert (together == ANY) == all(use(licence) == ANY for licence in licences)


@pytest.mark.slow
def test_the_mark_reaches_the_int8_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a non-commercial checkpoint to labels, student, ONNX and report."""

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["wav2small", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as error:
            code = int(error.code or 0)
        return code, capsys.readouterr().err

    audio = tmp_path / "audio"
    audio.mkdir()
    for clip in sorted(DEMO.parent.glob("*.opus"))[::8]:
        shutil.copy(clip, audio)
    made.write_dawn(tmp_path / "nc", card="license: cc-by-nc-sa-4.0")
    made.write_odyssey(tmp_path / "mit")
    ensemble = tmp_path / "both.json"
    ensemble.write_text(json.dumps({
        "members": [{"teacher": "nc", "clip": True}, {"teacher": "mit"}]
    }))  # fmt: skip
    labels, out = tmp_path / "labels", tmp_path / "int8"

    for teacher in (tmp_path / "nc", ensemble):
        code, said = run("annotate", audio, labels, "--teacher", teacher)
        assert code == 2
        assert said.count("\n") == 1
        assert "must be free for any use, got licence CC-BY-NC-SA-4.0" in said
        assert "--licence-policy research" in said
        assert not (labels / "manifest.json").exists()

    code, said = run(
        "annotate", audio, labels, "--teacher", ensemble,
        "--licence-policy", "research", "--audformat", tmp_path / "database",
    )  # fmt: skip
    assert code == 0, said
    assert "labels: research-only by the teacher's licence, CC-BY-NC-SA-4.0" in said
    store = LabelStore.open(labels)
    assert store.teacher["use"] == RESEARCH
    assert store.teacher["licence"] == "CC-BY-NC-SA-4.0"
    assert [m["licence"] for m in store.teacher["members"]] == [
        "CC-BY-NC-SA-4.0",
        "MIT",
    ]
    assert set(store.table()["licence"].to_pylist()) == {"CC-BY-NC-SA-4.0"}
    import audformat

    header = audformat.Database.load(str(tmp_path / "database"), load_data=False)
    assert header.usage == "research"
    assert header.license == "CC-BY-NC-SA-4.0"
    assert header.meta["meta"]["use"] == RESEARCH

    code, said = run(
        "distill", labels, tmp_path / "run", "--student", "wav2small-17k", "--teacher",
        ensemble, "--epochs", 16, "--batch-size", 4, "--crop", 0.5,
    )  # fmt: skip
    assert code == 0, said
    config = json.loads((tmp_path / "run" / "best" / "config.json").read_text())
    assert (config["use"], config["licence"]) == (RESEARCH, "CC-BY-NC-SA-4.0")
    assert config["teacher"] == store.teacher

    code, said = run(
        "export", tmp_path / "run", out, "--calibration", audio, "--tune", 10
    )
    assert code == 0, said
    assert "model: research-only by the teacher's licence, CC-BY-NC-SA-4.0" in said
    metadata = {
        entry.key: entry.value for entry in onnx.load(out / "model.onnx").metadata_props
    }
    assert (metadata["use"], metadata["licence"]) == (RESEARCH, "CC-BY-NC-SA-4.0")
    members = json.loads(metadata["provenance"])["members"]
    assert [(m["name"], m["licence"]) for m in members] == [
        ("nc", "CC-BY-NC-SA-4.0"), ("mit", "MIT"),
    ]  # fmt: skip
    assert json.loads((out / "export.json").read_text())["use"] == RESEARCH

    report = tmp_path / "bench.json"
    code, said = run("bench", out, "--window", 1, "--ram", "64MiB", "--json", report)
    assert code == 0, said
    assert "model: research-only" in said
    assert json.loads(report.read_text())["model"]["metadata"]["use"] == RESEARCH

    # the next generation is refused as well
    code, said = run("annotate", audio, tmp_path / "second", "--teacher", out)
    assert code == 2 and "must be free for any use" in said


def test_what_allows_any_use_is_not_spoken_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["wav2small", "bench", "wav2small-rt", "--ram", "64MiB"]
    )
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert not raised.value.code
    assert "research-only" not in capsys.readouterr().err
