"""Parts of the study of hearing: splits, versions, heads side by side."""

from __future__ import annotations

import struct

import hearing_speech
import numpy as np
import pytest
import torch
from hearing_data import CORPORA, EMODB_PAIRS, TESTED, Speech, changes_to_test

from wav2small.teachers.speech import SpeechConfig, SpeechNetwork

RNG = np.random.default_rng(0)
SPEAKERS = [name for pair in EMODB_PAIRS for name in pair] + [str(n) for n in range(24)]
RECIPE = hearing_speech.Recipe(
    hidden=8, steps=150, batch=8, dropout=0.0, consistency=1.0, learning_rate=0.01
)


def speech() -> Speech:
    """Two clips of each of 30 speakers."""
    return Speech(
        np.repeat(["emodb", "crema_d"], [12, 48]),
        np.repeat(SPEAKERS, 2),
        np.arange(60) < 56,
        {"felt by word": RNG.random((60, 3)).astype(np.float32)},
        RNG.dirichlet(np.ones(7), 60).astype(np.float32),
        RNG.random(60).astype(np.float32),
    )


def features(data: Speech, work) -> hearing_speech.Features:
    """Features that tell arousal, in three versions; one clip lacks the third."""
    plain = RNG.normal(size=(60, 12))
    plain[:, 0] = data.truth["felt by word"][:, 0] * 5
    for version in range(3):
        found = plain + 0.1 * RNG.normal(size=plain.shape)
        if version == 2:
            found[3] = 0
        np.save(work / f"features_{version}.npy", found.astype(np.float16))
    return hearing_speech.Features(work, data)


@pytest.mark.parametrize("corpora", [CORPORA, ("crema_d",), ("emodb",)], ids="+".join)
def test_no_speaker_is_learned_from_and_scored(corpora):
    data = speech()
    for fold in range(5):
        items, held = data.split(corpora, fold)
        assert not set(data.speaker[items]) & set(data.speaker[held])
        assert set(data.corpus[items]) == set(corpora)
        assert set(data.corpus[held]) == {"emodb", "crema_d"}
        assert data.training[items].all()
        assert data.training[held].all()


def test_every_training_actor_is_held_once_in_five_folds():
    data = speech()
    held = [
        set(data.speaker[h]) - set(sum(EMODB_PAIRS, ()))
        for h in (data.split(CORPORA, fold)[1] for fold in range(5))
    ]
    assert sum(len(part) for part in held) == len(set.union(*held)) == 22


def test_all_changes_that_are_tested_are_in_the_suite():
    assert {change.name for change in changes_to_test()} == set(TESTED)


def test_a_clip_without_a_version_is_heard_as_it_is(tmp_path):
    made = features(speech(), tmp_path)
    np.testing.assert_array_equal(made.versions[2][3], made.versions[0][3])
    assert (made.versions[2][4] != made.versions[0][4]).any()


def test_heads_learn_and_side_by_side_give_their_mean(tmp_path, monkeypatch):
    data = speech()
    made = features(data, tmp_path)
    items, _ = data.split(CORPORA, 0)
    heads = [
        hearing_speech.train(made, data, RECIPE, items, seed=seed) for seed in range(3)
    ]
    x = made.versions[0]
    scores = [hearing_speech.score(head, x) for head in heads]
    truth = data.truth["felt by word"][:, 0]
    assert np.corrcoef(scores[0][:, 0], truth)[0, 1] > 0.8

    config = SpeechConfig(layers=1, width=6, attention=1, n_mels=8)
    monkeypatch.setattr(
        hearing_speech,
        "SpeechConfig",
        lambda **options: SpeechConfig(1, 6, 1, 8, **options),
    )
    encoder = SpeechNetwork(config).encoder
    monkeypatch.setattr(hearing_speech, "read_encoder", lambda *_: encoder)
    network = hearing_speech.join(heads, tmp_path)
    with torch.inference_mode():
        got = network.judge(torch.from_numpy(x.astype(np.float32))).numpy()
    np.testing.assert_allclose(got, np.mean(scores, axis=0), atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_colours_keep_a_clip_finite_and_as_it_is_drawn(seed):
    signal = (0.1 * RNG.normal(size=8000)).astype(np.float32)
    noises, voices = [np.zeros(500, np.float32)], [signal[::-1]]
    made = [
        hearing_speech.colour(signal, np.random.default_rng(seed), noises, voices)
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*made)
    assert made[0].dtype == np.float32
    assert np.isfinite(made[0]).all()
    assert 8000 <= len(made[0]) <= 8000 + 3200


def test_tensors_of_ctranslate2_are_read(tmp_path):
    tensors = {
        "encoder/a": RNG.normal(size=(2, 3)).astype(np.float16),
        "b": np.arange(4, dtype=np.float32),
    }

    def text(name: str) -> bytes:
        return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"

    data = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, 2)
    for name, value in tensors.items():
        data += text(name) + struct.pack("<B", value.ndim)
        data += struct.pack(f"<{value.ndim}I", *value.shape)
        kind = {np.float32: 0, np.float16: 4}[value.dtype.type]
        data += struct.pack("<BI", kind, value.nbytes) + value.tobytes()
    (tmp_path / "model.bin").write_bytes(data)
    found = hearing_speech.read_ctranslate2(tmp_path / "model.bin")
    assert list(found) == list(tensors)
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value)
