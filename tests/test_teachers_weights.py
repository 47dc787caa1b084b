"""Weights in one file and in several; hostile ones are one line."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import teacher_checkpoints as made
import torch

from wav2small import checkpoint
from wav2small.errors import InputError
from wav2small.models import load_student
from wav2small.teachers.loading import load_teacher
from wav2small.teachers.source import INDEX


def shard(folder: Path) -> dict[str, str]:
    """Put a checkpoint's weights into two files; return the weight map."""
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    where = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-{number:05d}-of-00002.safetensors"
        safetensors.torch.save_file({n: weights[n] for n in part}, folder / file)
        where |= dict.fromkeys(part, file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return where


def test_shards_give_the_scores_of_the_whole(tmp_path):
    folder = made.write_dawn(tmp_path / "x")
    whole = load_teacher(str(folder))
    shard(folder)
    parts = load_teacher(str(folder))
    np.testing.assert_array_equal(
        parts.predict(made.SIGNALS), whole.predict(made.SIGNALS)
    )
    # other bytes of a shard are another revision
    path = folder / "model-00001-of-00002.safetensors"
    safetensors.torch.save_file(
        {k: v + 1 for k, v in safetensors.torch.load_file(path).items()}, path
    )
    assert load_teacher(str(folder)).info.revision != parts.info.revision


def test_shards_of_half_precision_are_the_rounded_weights(tmp_path):
    """As large checkpoints are copied: two files, an index, 16-bit floats."""
    form = made.DAWN_FORM
    folder = made.write_dawn(tmp_path / "x", form=form)
    _, weights, model = made.dawn(form=form)
    rounded = {key: value.half().float() for key, value in weights.items()}
    for name in set(shard(folder).values()):
        path = folder / name
        halves = {k: v.half() for k, v in safetensors.torch.load_file(path).items()}
        safetensors.torch.save_file(halves, path)
    teacher = load_teacher(str(folder))
    prefix = "wav2vec2."
    model.load_state_dict(
        {k.removeprefix(prefix): v for k, v in rounded.items() if k.startswith(prefix)}
    )
    wanted = [made.dawn_scores(rounded, model, signal) for signal in made.SIGNALS]
    np.testing.assert_allclose(teacher.predict(made.SIGNALS), wanted, rtol=0, atol=1e-5)
    whole = [made.dawn_scores(weights, model, signal) for signal in made.SIGNALS]
    assert np.abs(np.array(whole) - wanted).max() > 1e-5
    assert {value.dtype for value in teacher.network.state_dict().values()} == {
        torch.float32
    }


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "x.bin", 3, "\n"]
)
def test_an_index_names_files_beside_it(name, tmp_path):
    folder = made.write_dawn(tmp_path / "x")
    where = shard(folder)
    where[min(where)] = name
    (folder / INDEX).write_text(json.dumps({"weight_map": where}))
    with pytest.raises(InputError, match="weight_map must name files of safetensors"):
        load_teacher(str(folder))


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": {}}', "x", "[" * 9999])
def test_what_is_no_index(content, tmp_path):
    folder = made.write_dawn(tmp_path / "x")
    shard(folder)
    (folder / INDEX).write_text(content)
    with pytest.raises(InputError, match=r"weight_map must|must be .*JSON"):
        load_teacher(str(folder))


def test_shards_hold_what_the_index_says(tmp_path):
    folder = made.write_dawn(tmp_path / "x")
    where = shard(folder)
    moved = min(where)
    where[moved] = next(name for name in where.values() if name != where[moved])
    (folder / INDEX).write_text(json.dumps({"weight_map": where}))
    with pytest.raises(InputError, match="shard must hold the tensors that"):
        load_teacher(str(folder))


def test_a_shard_that_is_gone(tmp_path):
    folder = made.write_dawn(tmp_path / "x")
    (folder / min(shard(folder).values())).unlink()
    with pytest.raises(InputError, match="got no such file"):
        load_teacher(str(folder))


HUGE = {
    "num_hidden_layers": 1_000_000,
    "hidden_size": 2**40,
    "conv_dim": [16] * 100_000,
    "intermediate_size": -(2**70),
    "num_conv_pos_embeddings": 1e300,
}


@pytest.mark.parametrize("name", HUGE)
def test_settings_beyond_any_network_are_refused_before_it_is_built(name, tmp_path):
    folder = made.write_dawn(tmp_path / "x")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, name: HUGE[name]}))
    with pytest.raises(InputError, match=r"must describe a model that can be built"):
        load_teacher(str(folder))


@pytest.mark.parametrize("settings", [{"hidden": 2**40}, {"depth": [1] * 999}, 7, []])
def test_settings_of_a_student(settings, tmp_path):
    config = {"student": "wav2small-rt-mini", "config": settings}
    checkpoint.save(tmp_path / "x", {"a": np.zeros(1, np.float32)}, config)
    with pytest.raises(InputError, match="checkpoint"):
        load_student(tmp_path / "x")


def test_types_that_numpy_has_not(tmp_path):
    folder = tmp_path / "x"
    checkpoint.save(folder, {"a": np.zeros(1, np.float32)}, {})
    safetensors.torch.save_file(
        {"a": torch.zeros(2, dtype=torch.bfloat16)}, folder / "model.safetensors"
    )
    from wav2small.export.base import checksums

    checksums.write(folder)
    with pytest.raises(InputError, match="checkpoint must hold safetensors"):
        checkpoint.load(folder)


def test_no_pipe_is_waited_for(tmp_path):
    folder = made.write_dawn(tmp_path / "x")
    (folder / "model.safetensors").unlink()
    os.mkfifo(folder / "model.safetensors")
    with pytest.raises(InputError):
        load_teacher(str(folder))


def test_an_archive_is_not_larger_than_its_file(tmp_path):
    folder = made.write_dawn(tmp_path / "x")
    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(
        folder / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED
    ) as archive:
        archive.writestr("archive/data/0", bytes(10**7))
    with pytest.raises(InputError, match=r"weights must be a file.*compressed"):
        load_teacher(str(folder))


def test_deep_json_is_one_line(tmp_path):
    folder = made.write_dawn(tmp_path / "x")
    (folder / "config.json").write_text('{"a":' * 5000 + "1" + "}" * 5000)
    with pytest.raises(InputError, match="file must be JSON") as caught:
        load_teacher(str(folder))
    assert "\n" not in str(caught.value)
