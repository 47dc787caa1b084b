"""Teachers: what is bundled, and what every one of them must hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wav2small import checkpoint
from wav2small.errors import InputError
from wav2small.teachers.bundled import (
    ASSET,
    BundledTeacher,
    TeacherConfig,
    TeacherNetwork,
)
from wav2small.teachers.loading import TEACHERS, load_any, load_teacher

RNG = np.random.default_rng(0)
LENGTHS = (64, 65, 500, 8191, 16000, 40001)
SIGNALS = [(0.1 * RNG.normal(size=n)).astype(np.float32) for n in LENGTHS]


@pytest.fixture(scope="module")
def teacher():
    return load_teacher("bundled")


@pytest.mark.parametrize("name", TEACHERS)
def test_batched_equals_single(name):
    teacher = load_teacher(name)
    single = np.concatenate([teacher.predict([signal]) for signal in SIGNALS])
    assert single.shape == (len(SIGNALS), 3)
    np.testing.assert_allclose(teacher.predict(SIGNALS), single, atol=1e-5)
    np.testing.assert_allclose(teacher.predict(SIGNALS[::-1])[::-1], single, atol=1e-5)


@pytest.mark.parametrize("name", TEACHERS)
def test_provenance_is_stated(name):
    info = load_teacher(name).info
    assert info.name == name
    assert all(info.to_dict().values())


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_other_forms_of_the_network_are_masked_as_well(stride):
    torch.manual_seed(0)
    config = TeacherConfig(
        stride=stride,
        channels=(4, 8),
        time_kernels=(3, 5),
        time_pools=(2, 3),
        deviation=True,
    )
    network = TeacherNetwork(config)
    network(torch.randn(4, 16000))
    network = network.double().eval()
    lengths = torch.tensor(LENGTHS)
    batch = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.double)
    for row, signal in zip(batch, SIGNALS, strict=True):
        row[: len(signal)] = torch.from_numpy(signal)
    together = network(batch, lengths)
    for number, length in enumerate(LENGTHS):
        alone = network(batch[number : number + 1, :length])
        torch.testing.assert_close(together[number], alone[0], rtol=0, atol=1e-9)


def test_the_bundled_file_is_small_and_cannot_execute():
    files = sorted(path.name for path in ASSET.iterdir())
    assert files == ["README.md", "config.json", "manifest.sha256", "model.safetensors"]
    assert (ASSET / "model.safetensors").stat().st_size <= 4_000_000


def test_level_does_not_matter(teacher):
    loud = teacher.predict([SIGNALS[4] * 5])
    np.testing.assert_allclose(loud, teacher.predict([SIGNALS[4]]), atol=1e-3)


def test_round_trip(teacher, tmp_path):
    info = {"name": "x", "licence": "MIT", "training_data": "none"}
    BundledTeacher.save(tmp_path / "t", teacher.network, info)
    loaded = BundledTeacher.load(tmp_path / "t")
    np.testing.assert_array_equal(loaded.predict(SIGNALS), teacher.predict(SIGNALS))
    assert loaded.info.licence == "MIT"
    assert loaded.info.revision == checkpoint.digest(tmp_path / "t")[:16]


def test_unknown_names_and_other_checkpoints_are_refused(teacher, tmp_path):
    with pytest.raises(
        InputError,
        match="teacher must be one of bundled, hearing, wav2small-teacher or an ONNX",
    ):
        load_teacher("x")
    checkpoint.save(tmp_path / "other", {"a": np.zeros(1)}, {"student": "x"})
    with pytest.raises(InputError, match="must be of a bundled teacher"):
        BundledTeacher.load(tmp_path / "other")


@pytest.mark.slow
def test_held_out_agreement_is_what_the_card_says(teacher, data):
    import csv
    import json

    from wav2small import audio
    from wav2small.metrics import concordance_cc

    with (data / "emodb" / "metadata.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    # the norms of Russell & Mehrabian 1977 for arousal
    norms = {
        "anger": 0.59,
        "boredom": -0.62,
        "disgust": 0.35,
        "fear": 0.60,
        "happiness": 0.51,
        "neutral": 0.0,
        "sadness": -0.27,
    }
    truth = np.array(
        [0.5 + norms[r["emotion"]] * float(r["recognised_pct"]) / 200 for r in rows]
    )
    scores = np.concatenate(
        [teacher.predict([audio.load(data / "emodb" / r["file"])]) for r in rows]
    )
    stated = json.loads((ASSET / "config.json").read_text())["metrics"]["test/arousal"]
    assert concordance_cc(truth, scores[:, 0]) == pytest.approx(stated[0], abs=2e-3)


def test_an_exported_student_can_teach(tmp_path):
    from wav2small.bundled import DEFAULT
    from wav2small.models import bundled, load_model

    folder = bundled()[DEFAULT]
    teacher = load_teacher(str(folder))
    assert teacher.info.name == DEFAULT
    assert teacher.info.licence == "Apache-2.0"
    assert "EMO-DB" in teacher.info.training_data
    wanted = load_model(DEFAULT).predict(SIGNALS)
    np.testing.assert_array_equal(teacher.predict(SIGNALS), wanted)
    same = load_teacher(str(folder / "model.onnx"))
    assert same.info == teacher.info


@pytest.mark.parametrize("name", ["bundled", "wav2small-rt"])
def test_a_tolerance_is_for_what_has_exits(name):
    with pytest.raises(InputError, match="tolerance must be of a run of 'wav2small"):
        load_any(name, tolerance=0.1)
