"""Checkpoints: nothing damaged loads, nothing is lost by a kill."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from wav2small import checkpoint
from wav2small.errors import InputError
from wav2small.export.base.files import recover_folder
from wav2small.models import find_checkpoint

WEIGHTS = {
    "a": np.arange(600, dtype=np.float32).reshape(20, 30),
    "b": np.array(3, dtype=np.int64),
}
CONFIG = {"student": "x", "metrics": [1.5, 2.5]}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "best"
    checkpoint.save(path, WEIGHTS, CONFIG, extra={"training": {"m": np.ones(5)}})
    return path


def test_round_trip(folder):
    weights, config = checkpoint.load(folder)
    assert config == CONFIG
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(weights[name], value)
        assert weights[name].dtype == value.dtype
    tensors, _ = checkpoint.load(folder, extra="training")
    np.testing.assert_array_equal(tensors["m"], np.ones(5))


def test_each_of_300_flipped_bits_is_found(folder):
    rng = np.random.default_rng(0)
    files = sorted(folder.iterdir())
    sizes = np.array([file.stat().st_size for file in files])
    found = 0
    for number in range(300):
        # the small files get their share as well
        file = files[number % len(files)]
        data = file.read_bytes()
        bit = int(rng.integers(8 * len(data)))
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        file.write_bytes(broken)
        with pytest.raises(InputError, match=r"damaged|cannot be read"):
            checkpoint.load(folder)
        found += 1
        file.write_bytes(data)
    assert found == 300
    assert (sizes > 0).all()
    checkpoint.load(folder)


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(InputError, match=r"manifest\.sha256: No such file"):
        checkpoint.load(tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json: No such file"):
        checkpoint.load(folder)


def test_extra_tensors_are_asked_for_by_name(folder):
    with pytest.raises(InputError, match=r"must hold other\.safetensors"):
        checkpoint.load(folder, extra="other")


def test_listed_files_must_be_of_their_format(folder):
    manifest = folder / "manifest.sha256"
    for name in ("model.safetensors", "config.json"):
        before, listed = (folder / name).read_bytes(), manifest.read_text()
        old = hashlib.sha256(before).hexdigest()
        (folder / name).write_bytes(b"junk")
        new = hashlib.sha256(b"junk").hexdigest()
        manifest.write_text(listed.replace(old, new))
        with pytest.raises(InputError, match="must hold safetensors and JSON"):
            checkpoint.load(folder)
        (folder / name).write_bytes(before)
        manifest.write_text(listed)


def test_saving_replaces_the_whole(folder):
    checkpoint.save(folder, {"c": np.zeros(1)}, {})
    weights, config = checkpoint.load(folder)
    assert list(weights) == ["c"]
    assert config == {}
    assert not (folder / "training.safetensors").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_a_kill_between_the_renames_loses_nothing(folder):
    folder.rename(folder.with_name(".best.old"))
    recover_folder(folder)
    assert checkpoint.load(folder)[1] == CONFIG


def test_a_run_is_found_though_a_kill_came_between_the_renames(folder, tmp_path):
    folder.rename(folder.with_name(".best.old"))
    assert checkpoint.load(find_checkpoint(tmp_path))[1] == CONFIG
    assert checkpoint.digest(find_checkpoint(tmp_path))


def test_a_half_written_successor_is_ignored(folder):
    half = folder.with_name(".best.new")
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    assert checkpoint.load(folder)[1] == CONFIG
    checkpoint.save(folder, WEIGHTS, {"next": 1})
    assert checkpoint.load(folder)[1] == {"next": 1}


def test_digest_is_that_of_the_weights(folder):
    wanted = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert checkpoint.digest(folder) == wanted
    (folder / "manifest.sha256").write_text("nothing\n")
    with pytest.raises(InputError, match="manifest is damaged"):
        checkpoint.digest(folder)
