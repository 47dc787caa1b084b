"""The examples' own parts, and that their tables fit the library."""

from __future__ import annotations

import ast
import importlib
import sys
from dataclasses import replace
from pathlib import Path

import compare_suites
import numpy as np
import pytest
import real_speech
import recipe_study
import soundfile
import torch
import train_categories
from ears import Ear

from wav2small.annotation.labels import Labels
from wav2small.annotation.run import annotate
from wav2small.config import AugmentConfig, DistillConfig
from wav2small.export.integer.streaming.run import Stream
from wav2small.models import bundled
from wav2small.students import STUDENTS

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.stem
)
def test_what_an_example_imports_of_us_is_there(path):
    """Most of them run for minutes or hours, and no other test would notice."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("wav2small"):
            package = importlib.import_module(node.module)
            for name in (entry.name for entry in node.names):
                if not hasattr(package, name):
                    importlib.import_module(f"{node.module}.{name}")


@pytest.mark.parametrize("row", recipe_study.ROWS, ids=lambda row: row.key)
def test_rows_of_the_study_change_something(row):
    DistillConfig(**row.config, augment=AugmentConfig(**row.augment))
    base = recipe_study.ROWS[0]
    assert (row is base) == (replace(row, group=base.group, name=base.name) == base)


def test_names_of_rows_are_files_of_their_own():
    keys = [row.key for row in recipe_study.ROWS]
    assert len(set(keys)) == len(keys)


TRUTH = torch.tensor([[0.2, 0.5, 0.9], [0.8, 0.6, 0.1], [0.4, 0.3, 0.6]])


@pytest.mark.parametrize(
    ("losses", "name"),
    [(recipe_study.with_quadrant, "quadrant"), (recipe_study.with_ranking, "ranking")],
)
def test_losses_of_the_study_are_least_at_the_truth(losses, name):
    right, wrong = losses(TRUTH, TRUTH)[name], losses(1 - TRUTH, TRUTH)[name]
    assert right < wrong
    assert right >= 0
    assert "l1" in losses(TRUTH, TRUTH)
    assert "l1" not in recipe_study.ccc_alone(TRUTH, TRUTH)


def test_the_share_of_speakers():
    speakers = ["emodb_03", "emodb_03", "ls_1", "ls_2", "ls_3", "ls_4", "synthetic_a"]
    labels = Labels(
        names=[f"{i}.wav" for i in range(7)],
        starts=np.zeros(7),
        ends=np.ones(7),
        scores=np.zeros((7, 3)),
        human=np.full((7, 3), np.nan),
        sha256=[""] * 7,
        metadata={"speaker": speakers},
    )
    items = np.arange(7)
    rows = {row.name: row for row in recipe_study.ROWS if row.group == "hours"}

    def chosen(row: recipe_study.Row) -> list[int]:
        return recipe_study.choose(row, labels, items).tolist()

    assert chosen(recipe_study.ROWS[0]) == [0, 1, 2, 3, 4, 5]
    assert chosen(rows["EMO-DB alone"]) == [0, 1]
    assert chosen(rows["half of both"]) == [0, 1, 2, 3]
    assert chosen(rows["both and synthetic voices"]) == [0, 1, 2, 3, 4, 5, 6]


def test_the_bundled_students_have_recipes():
    assert set(bundled()) <= set(real_speech.RECIPES) <= set(STUDENTS)


def test_the_front_is_drawn(tmp_path):
    results = {
        name: {
            "int8 to the teacher": {"mean": mean},
            "macs_per_second": macs,
            "bytes": 1000 * (i + 1),
            "ram": 5000,
            "streams": i == 0,
            "precision": ("int8", "fp32")[i],
        }
        for i, (name, mean, macs) in enumerate([("a", 0.9, 1e6), ("b", 0.8, 2e6)])
    }
    assert real_speech.front([(1, 0.9, "a"), (2, 0.8, "b"), (3, 0.95, "c")]) == [
        (1, 0.9),
        (3, 0.95),
    ]
    real_speech.draw(results, tmp_path / "students.png")
    assert (tmp_path / "students.png").read_bytes().startswith(b"\x89PNG")


def test_suites_side_by_side():
    def entry(group, figure, name, value, passed, sense=">="):
        return {
            "group": group,
            "figure": figure,
            "name": name,
            "value": value,
            "passed": passed,
            "sense": sense,
        }

    groups = [
        ("correctness: categories", "share in the expected range"),
        ("robustness: small changes", "share unchanged"),
        ("robustness: noise", "share unchanged"),
        ("robustness: channel", "share unchanged"),
    ]
    tests = [
        entry(*group, name, value, value > 0.7)
        for group in groups
        for name, value in (("all", 0.9), ("another", 0.5))
    ]
    figure = "share strong, model alone"
    tests += [
        entry("non-speech", figure, "silence", 0.0, True, "<="),
        entry("non-speech", figure, "rain", 0.5, False, "<="),
        entry("non-speech", figure, "siren", 0.9, None, None),
    ]
    report = {
        "tests": [
            {**t, "dimension": d} for t in tests for d in compare_suites.DIMENSIONS
        ]
    }
    lines = compare_suites.compare({"a": report, "b": report})
    assert len(lines) == 8
    assert lines[2].split(" | ")[1] == "0.90 / 0.90 / 0.90"
    assert lines[3].split(" | ")[1] == " / ".join(["0.70 (0.50)"] * 3)
    assert lines[6].split(" | ")[1] == " / ".join(["0.25 (0.50)"] * 3)
    assert lines[7] == "| tests passed | 15 of 30 | 15 of 30 |"


def test_categories_are_learned_from_labels(tmp_path, monkeypatch, capsys):
    """Clips that hiss are angry, and those that hum are sad."""
    rng = np.random.default_rng(0)
    lines = ["file,emotion,split"]
    for i in range(12):
        emotion = ("anger", "sadness", "curiosity")[i % 3]
        clip = rng.normal(size=24000)
        clip = np.diff(clip, prepend=0) if i % 3 == 0 else np.cumsum(clip) / 20
        soundfile.write(tmp_path / f"{i}.wav", clip.clip(-9, 9) / 10, 16000)
        lines.append(f"{i}.wav,{emotion},{'test' if i >= 9 else 'train'}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    annotate([tmp_path / "manifest.csv"], tmp_path / "labels", Ear())
    out = tmp_path / "with.onnx"
    words = ["", tmp_path / "labels", "wav2small-rt-mini", out]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    train_categories.main()
    assert "labels, 2 clips" in capsys.readouterr().out
    stream = Stream(out)
    for i, emotion in ((9, "anger"), (10, "sadness")):
        stream.reset()
        stream.push(soundfile.read(tmp_path / f"{i}.wav")[0])
        shares = stream.latest_categories()
        assert max(shares, key=shares.get) == emotion
        assert (stream.latest_doubts() >= 0).all()


def test_categories_need_clips_that_judge(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.ones(8000) / 9, 16000)
    (tmp_path / "manifest.csv").write_text("file,emotion,split\na.wav,anger,train")
    annotate([tmp_path / "manifest.csv"], tmp_path / "labels", Ear())
    with pytest.raises(SystemExit, match="labels must have an emotion of training and"):
        train_categories.read_labels(tmp_path / "labels")
