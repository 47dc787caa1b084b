"""Where a checkpoint's files come from, and what is said where they do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import teacher_checkpoints as made
from teacher_checkpoints import SIGNALS

from wav2small.errors import InputError
from wav2small.teachers.loading import load_teacher
from wav2small.teachers.source import CheckpointFiles

COMMIT = "0123456789abcdef0123456789abcdef01234567"
DAWN = "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr(
        huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub")
    )
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put(cache: Path, name: str, folder: Path) -> Path:
    """Put a folder into the cache as the hub's own client does."""
    place = cache / f"models--{name.replace('/', '--')}"
    snapshot = place / "snapshots" / COMMIT
    shutil.copytree(folder, snapshot)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_without_a_network_the_files_are_named(cache: Path) -> None:
    message = (
        "must be in reach of the hub or in its cache, got LocalEntryNotFoundError: "
        "without a network, put config.json, model.safetensors .*preprocessor_config"
    )
    with pytest.raises(InputError, match=message):
        load_teacher(DAWN)


def test_a_name_on_the_hub(cache: Path, tmp_path: Path) -> None:
    folder = made.write_dawn(tmp_path / "x", card="license: cc-by-nc-sa-4.0")
    snapshot = put(cache, DAWN, folder)
    for name in (DAWN, f"{DAWN}@main", f"{DAWN}@{COMMIT}"):
        teacher = load_teacher(name, policy="research")
        assert teacher.info.name == DAWN
        assert teacher.info.training_data == "MSP-Podcast v1.7"
    local = load_teacher(str(folder), policy="research")
    assert local.info.revision == teacher.info.revision
    np.testing.assert_array_equal(teacher.predict(SIGNALS), local.predict(SIGNALS))
    with pytest.raises(InputError, match="must be in reach of the hub"):
        load_teacher(f"{DAWN}@other", policy="research")
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(InputError, match="must be in reach of the hub"):
        load_teacher(DAWN, policy="research")


def test_the_licence_is_looked_at_before_the_weights(
    cache: Path, tmp_path: Path
) -> None:
    folder = made.write_dawn(tmp_path / "x", card="license: cc-by-nc-sa-4.0")
    (folder / "model.safetensors").unlink()
    put(cache, DAWN, folder)
    with pytest.raises(
        InputError, match="must be free for any use, got licence CC-BY-NC"
    ):
        load_teacher(DAWN)


@pytest.mark.parametrize("file", ["config", "preprocessor_config", "model"])
def test_a_folder_without_a_file(file: str, tmp_path: Path) -> None:
    folder = made.write_dawn(tmp_path / "x")
    name = {"model": "model.safetensors"}.get(file, f"{file}.json")
    (folder / name).unlink()
    with pytest.raises(
        InputError, match=f"must have {name}.*got no such file: put conf"
    ):
        load_teacher(str(folder))


def test_the_backbone_of_odyssey_is_asked_for(cache: Path, tmp_path: Path) -> None:
    folder = made.write_odyssey(tmp_path / "x")
    settings = (folder / "backbone.json").read_text()
    (folder / "backbone.json").unlink()
    config = folder / "config.json"
    text = config.read_text()
    config.write_text(text.replace("microsoft/wavlm-large", "own/backbone"))
    message = "or in reach, got 'own/backbone': put its config.json .*backbone.json"
    with pytest.raises(InputError, match=message):
        load_teacher(str(folder))
    (tmp_path / "backbone").mkdir()
    (tmp_path / "backbone" / "config.json").write_text(settings)
    put(cache, "own/backbone", tmp_path / "backbone")
    assert load_teacher(str(folder)).predict(SIGNALS).shape == (len(SIGNALS), 3)
    config.write_text(text.replace("microsoft/wavlm-large", "no model"))
    with pytest.raises(InputError, match="no such model: no model"):
        load_teacher(str(folder))


@pytest.mark.parametrize(
    "name", ["x", "a/b/c", "../x", "./x/y", "/x/y", "a/b@", "a b/c"]
)
def test_what_is_no_name_on_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert CheckpointFiles.open(name) is None
    with pytest.raises(InputError, match="teacher must be one of bundled"):
        load_teacher(name)
