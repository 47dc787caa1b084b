"""A published model: what the hub's own library makes of it, and its way back."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

import wav2small
from wav2small import hub, models
from wav2small.card import Known, write_card
from wav2small.errors import InputError
from wav2small.export.base import checksums
from wav2small.export.base.errors import ToolError

MINI = "wav2small-rt-mini"


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """The folder of a bundled model, with figures of somebody's evaluation."""
    folder = tmp_path_factory.mktemp("publish")
    row = {"ccc": 0.75, "mae": 0.125, "clips": 9}
    figures = {name: dict(row) for name in ("arousal", "dominance", "valence")}
    told = {"model": MINI, "human": {**figures, "mean": 0.75}}
    (folder / "emodb.json").write_text(json.dumps(told))
    wav2small.publish(MINI, folder / "out", figures=folder / "emodb.json")
    return folder / "out"


def test_all_of_a_model_is_there(published):
    found = {path.name for path in published.iterdir()}
    assert found >= {
        "README.md", "LICENSE", "model.onnx", "model.yaml", "checkpoint", "c99",
        "audio", "page.html", "manifest.sha256",
    }  # fmt: skip
    assert (published / "c99" / "wav2small.c").is_file()
    source = models.bundled()[MINI]
    assert (published / "model.onnx").read_bytes() == (
        source / "model.onnx"
    ).read_bytes()
    listed = checksums.read(published)
    files = {
        path.relative_to(published).as_posix()
        for path in published.rglob("*")
        if path.is_file()
    }
    assert set(listed) == files - {"manifest.sha256"}
    checksums.verify(published)


def test_the_hubs_library_reads_the_card(published):
    from huggingface_hub import ModelCard, metadata_load

    data = metadata_load(published / "README.md")
    assert data["license"] == "apache-2.0"
    assert {"CREMA-D", "EMO-DB", "ESC-10"} <= set(data["datasets"])
    assert "base_model" not in data  # the bundled teacher is on no hub
    card = ModelCard.load(published / "README.md")
    assert card.data.library_name == "wav2small"
    results = {(r.dataset_name, r.metric_name): r for r in card.data.eval_results}
    ours = results["emodb", "CCC, valence against human"]
    assert (ours.metric_type, ours.metric_value) == ("ccc", 0.75)
    assert results["emodb", "MAE, arousal against human"].metric_value == 0.125
    config = json.loads((published / "checkpoint" / "config.json").read_text())
    held = results[
        "speakers held back from training", "CCC, arousal against the teacher"
    ]
    assert held.metric_value == round(config["metrics"]["arousal"], 4)
    # what it read, written again, is what was written
    assert card.data.to_dict()["model-index"] == data["model-index"]


def test_what_it_says_of_clips_is_what_it_scores(published):
    text = (published / "README.md").read_text()
    loaded = wav2small.load(published)
    clips = sorted((published / "audio").iterdir())
    assert len(clips) == 3
    for clip in clips:
        (scores,) = loaded.predict([wav2small.audio.load(clip)])
        cells = " | ".join(f"{score:.2f}" for score in scores)
        assert f"](audio/{clip.name}) | {cells} |" in text
        original = models.ASSETS.parent / "demo" / clip.name
        assert clip.read_bytes() == original.read_bytes()


@pytest.fixture
def cached(published, tmp_path, monkeypatch) -> Path:
    """The folder as the hub's cache has it, and no network."""
    from huggingface_hub import constants

    home = tmp_path / "hub"
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = home / "models--someone--tiny"
    shutil.copytree(published, folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home))
    monkeypatch.chdir(tmp_path)
    return folder / "snapshots" / commit


def test_it_is_read_back_by_its_name_on_the_hub(cached, published, run):
    signal = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    loaded = wav2small.load("someone/tiny")
    np.testing.assert_array_equal(
        loaded.predict([signal]), wav2small.load(MINI).predict([signal])
    )
    assert models.find_onnx("someone/tiny") == cached / "model.onnx"
    code, out, _ = run("c99", "someone/tiny", "c")
    assert (code, out) == (0, "c/wav2small.h\n")


@pytest.mark.parametrize("name", ["model.onnx", "c99/wav2small.c"])
def test_a_changed_file_of_the_hub_is_refused(name, cached):
    data = bytearray((cached / name).read_bytes())
    data[len(data) // 2] ^= 1
    (cached / name).write_bytes(data)
    with pytest.raises(InputError, match=r"file is damaged: .*its SHA-256 is not"):
        wav2small.load("someone/tiny")


def test_what_the_hub_does_not_have_is_one_line(cached, run):
    code, out, error = run("c99", "someone/gone", "c")
    assert (code, out) == (2, "")
    assert error.count("\n") == 1
    assert "got 'someone/gone': there is no such path, and the hub says" in error


def test_a_path_is_no_name_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert hub.find_model("runs/gone") is None
    assert hub.find_model("a/b/c") is None
    with pytest.raises(InputError, match="got 'runs/gone'"):
        models.load_model("runs/gone")


def test_without_the_hubs_library(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ToolError, match=r"pip install 'wav2small\[hub\]'"):
        wav2small.load("someone/tiny")


@pytest.mark.parametrize(
    "words, said",
    [
        (["gone", "out"], "model must be an ONNX file"),
        ([MINI, "there"], "'there' must not exist, got a folder"),
        ([MINI, "out", "--figures", "there/x"], "figures must be what 'wav2small eval"),
    ],
)
def test_wrong_use_is_one_line(words, said, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    code, out, error = run("publish", *words)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert said in error
    assert not Path("out").exists()


# -- cards of other models ---------------------------------------------------


def front(**metadata: str) -> dict:
    text = write_card(Known(name="mine", bytes=1, metadata=metadata))
    return yaml.safe_load(text.split("---\n")[1])


def test_a_teacher_on_the_hub_is_the_base_model():
    provenance = {"teacher": "audeering/wav2vec2-large", "training_data": "MSP-Podcast"}
    found = front(licence="CC-BY-NC-SA-4.0", provenance=json.dumps(provenance))
    assert found["base_model"] == ["audeering/wav2vec2-large"]
    assert found["license"] == "cc-by-nc-sa-4.0"
    members = [{"name": "a/b"}, {"name": "mine"}, {"name": "c/d"}]
    found = front(provenance=json.dumps({"teacher": "x", "members": members}))
    assert found["base_model"] == ["a/b", "c/d"]
    assert (found["license"], found["license_name"]) == ("other", "unknown")


def test_what_a_model_says_stays_text():
    evil = "x\n---\n# head\n<script> | [a](b)"
    provenance = json.dumps({"teacher": evil, "student": evil, "training_data": evil})
    text = write_card(
        Known(
            name=evil,
            bytes=1,
            metadata={"licence": evil, "range": evil, "provenance": provenance},
        )
    )
    _, head, body = text.split("---\n", 2)
    assert isinstance(yaml.safe_load(head), dict)
    assert "<script>" not in body
    assert "\n# head" not in body
    assert "\n---\n" not in body


def test_export_writes_a_card_and_keeps_its_makers_words(tmp_path):
    from wav2small.api.exporting import _write_card
    from wav2small.export.pipeline import Export

    path = models.find_onnx(MINI)
    stated = {e.key: e.value for e in onnx.load(path).metadata_props}
    result = Export(
        data=path.read_bytes(), metadata=stated, parity=_Parity(), agreement=None,
        parts=(), size=None, quantisation=None, tuned_steps=0,
    )  # fmt: skip
    config = {"metrics": {"arousal": 0.5}}
    assert _write_card(tmp_path, result, config, False) == ["README.md"]
    card = tmp_path / "README.md"
    first = card.read_text()
    assert "| default execution | 0.0125 | 0.9990 0.9980 0.9970 |" in first
    card.write_text(first + "\n## From its maker\n\nFor grandmother.\n")
    assert _write_card(tmp_path, result, config, True) == ["README.md"]
    assert card.read_text() == first + "\n## From its maker\n\nFor grandmother.\n"
    card.write_text("mine")
    assert _write_card(tmp_path, result, config, True) == []
    assert card.read_text() == "mine"


class _Parity:
    """As much of a report of parity as a card tells."""

    passed = True

    def to_dict(self) -> dict:
        ccc = [0.999, 0.998, 0.997]
        return {"executions": {"default": {"max_error": 0.0125, "concordance_cc": ccc}}}
