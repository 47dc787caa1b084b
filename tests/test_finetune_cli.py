"""Fine-tuning from the command line, and what comes of its teacher."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from finetune_corpus import write_corpus, write_mel

from wav2small import checkpoint
from wav2small.annotation.store import LabelStore
from wav2small.cli import labelling as commands
from wav2small.finetune import probe

Run = Callable[..., tuple[int, str, str]]
FAST = (
    "--steps", 2, "--evaluations", 1, "--batch-size", 4, "--crop", 0.3,
    "--licence", "CC0-1.0", "--training-data", "noise",
)  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def mel(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_mel(tmp_path_factory.mktemp("backbone") / "mel")


KINDS = {
    "plain": (),
    "parts": (
        "--states", "weighted", "--pooling", "attentive", "--gender", "--fusion",
        "gated", "--task", "category", "--task", "gender", "--exits", "1",
    ),
    "merged": ("--states", "merged", "--adapters", 2),
    "updates": ("--lora", 2, "--layers", 2, "--choose", "uniform",
                "--warm-up", "taught", "--warm-up-steps", 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(KINDS))
def test_from_people_to_a_chip(tmp_path, run, table, mel, kind) -> None:
    names = ("teacher", "labels", "student", "model")
    teacher, labels, student, model = (tmp_path / name for name in names)
    said = {}
    for words in (
        ("finetune", table, teacher, "--backbone", mel, "--name", kind, *FAST,
         *KINDS[kind]),
        ("annotate", table, labels, "--teacher", teacher, "--workers", 0),
        ("distill", labels, student, "--teacher", teacher, "--student",
         "wav2small-rt-mini", "--epochs", 1, "--batch-size", 8, "--crop", 0.5),
        ("export", student, model, "--calibration", table.parent, "--tune", 0,
         "--precision", "fp32"),
        ("bench", model, "--ram", "10MiB"),
    ):  # fmt: skip
        code, _, said[words[0]] = run(*words)
        assert code == 0, (words[0], said)
    assert "parameters trained" in said["finetune"]
    assert "dev CCC to people A" in said["finetune"]
    store = LabelStore.open(labels)
    assert (store.teacher["name"], len(store)) == (kind, 24)
    _, config = checkpoint.load(student / "best")
    assert config["teacher"]["name"] == kind
    assert config["licence"] == "CC0-1.0"


def test_norms_and_unknown_licences_are_said(tmp_path, run, table, mel) -> None:
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    path = table.parent / "emotions.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "speaker", "emotion"])
        writer.writerows([r["file"], r["speaker"], r["emotion"]] for r in rows)
    code, _, said = run(
        "finetune", path, tmp_path / "run", "--backbone", mel, *FAST[:8]
    )
    assert code == 0
    assert "the norms of their categories are used" in said
    assert "research-only" not in said
    code, _, said = run(
        "annotate", table, tmp_path / "l", "--teacher", tmp_path / "run", "--workers", 0
    )
    assert code == 2
    assert "licence" in said


def test_layers_are_shown(tmp_path, run, table, mel) -> None:
    code, told, said = run(
        "layers", table, "--backbone", mel, "--folds", 3,
        "--json", tmp_path / "l.json", "--picture", tmp_path / "l.png",
    )  # fmt: skip
    assert code == 0, said
    assert told.splitlines()[0].split() == ["layer", "arousal", "dominance", "valence"]
    figures = json.loads((tmp_path / "l.json").read_text())
    assert [row["layer"] for row in figures["layers"]] == [0, 1, 2, 3]
    assert (tmp_path / "l.png").read_bytes().startswith(b"\x89PNG")


def test_layers_of_a_fine_tuning(tmp_path, run, table, mel) -> None:
    out = tmp_path / "run"
    run("finetune", table, out, "--backbone", mel, "--adapters", 2, *FAST)
    code, told, said = run("layers", table, "--backbone", out, "--folds", 2)
    assert code == 0, said
    assert len(told.splitlines()) == 5
    # and it can be trained further
    again = tmp_path / "again"
    code, _, said = run("finetune", table, again, "--backbone", out, *FAST)
    assert code == 0, said
    assert checkpoint.load(again / "best")[1]["info"]["training_data"] == "noise; noise"


def test_a_pool_larger_than_the_memory(tmp_path, run, mel, monkeypatch) -> None:
    pool = write_corpus(tmp_path / "pool").parent
    (pool / "broken.wav").write_bytes(b"no sound")
    counts, hear = [], probe.layer_features
    monkeypatch.setattr(
        probe, "layer_features", lambda b, s: counts.append(len(s)) or hear(b, s)
    )
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    for out, most in ((whole, 256), (parts, 5)):
        monkeypatch.setattr(commands, "_AT_ONCE", most)
        code, _, said = run("select", pool, out, "--count", 5, "--backbone", mel)
        assert code == 0, said
        assert "broken.wav" in said
    assert counts == [24, 5, 5, 5, 5, 4]
    assert whole.read_text() == parts.read_text()


def test_clips_are_selected(tmp_path, run, table, mel) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    code, told, said = run(
        "select", table.parent, first, "--count", 5, "--backbone", mel
    )
    assert code == 0, said
    assert told.strip() == str(first)
    with first.open(newline="") as file:
        chosen = {row["file"] for row in csv.DictReader(file)}
    assert len(chosen) == 5
    assert chosen <= {str(path) for path in table.parent.glob("*.wav")}
    out = tmp_path / "run"
    run("finetune", table, out, "--backbone", mel, *FAST)
    code, _, said = run(
        "select", table, second, "--count", 4, "--teacher", out, "--labelled", first,
        "--passes", 2,
    )  # fmt: skip
    assert code == 0, said
    with second.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert not chosen & {row["file"] for row in rows}
    # what the manifest said goes along, the scores are to be filled in
    assert rows[0]["speaker"].startswith("s")
    assert rows[0]["arousal"] == ""
    code, _, said = run(
        "select", first, tmp_path / "x.csv", "--count", 1, "--labelled", first,
        "--backbone", mel,
    )  # fmt: skip
    assert code == 2
    assert "clips that are not labelled" in said


def test_a_language_model_is_asked(tmp_path, run, table) -> None:
    script = tmp_path / "model.py"
    script.write_text(
        "import json, sys\n"
        "loud = 'loud' in sys.stdin.read().partition('Voice:')[2]\n"
        "print(json.dumps(dict(arousal=float(loud), dominance=.5, valence=.5)))\n"
    )
    code, _, said = run(
        "ask", table.parent / "00.wav", table.parent / "01.wav", tmp_path / "labels",
        "--program", f"{sys.executable} {script}", "--name", "reader",
        "--licence", "mit",
    )  # fmt: skip
    assert code == 0, said
    assert "2 labels by reader (MIT)" in said
    store = LabelStore.open(tmp_path / "labels")
    assert set(store.read().scores[:, 1]) == {0.5}
    code, _, said = run(
        "ask", table.parent / "00.wav", tmp_path / "labels", "--overwrite",
        "--program", f"{sys.executable} -c exit(3)", "--name", "reader",
    )  # fmt: skip
    assert code == 2
    assert "no label: 00.wav" in said
    assert "research-only" in said
    assert "audio must give at least one label, got none" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("finetune", "t.csv", "run", "--exits", "four"), "numbers of layers"),
        (("select", "only", "--count", 1), "at least one AUDIO and the TABLE"),
        (("ask", "only", "--program", "x", "--name", "x"), "the LABELS folder"),
    ],
)
def test_wrong_use(run, words, message) -> None:
    code, _, said = run(*words)
    assert code == 2
    assert message in " ".join(said.replace("│", " ").split())
