"""Parts of the studies of hearing: maps, splits, pooled patches, joined heads."""

from __future__ import annotations

import hearing_data
import hearing_final
import hearing_networks
import hearing_patches
import hearing_ridge
import numpy as np
import pytest
import torch
from hearing_data import EMODB_PAIRS, UNIT_POWER, WIDTHS, Speech, to_power

from wav2small.teachers.patches import PatchConfig, PatchNetwork

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(30, 120, 60)
SPEAKERS = [name for pair in EMODB_PAIRS for name in pair] + [str(n) for n in range(24)]


def speech() -> Speech:
    """Two clips of each of 30 speakers, in two versions."""
    maps = [RNG.normal(0, 8, (LENGTHS.sum(), 64)).astype(np.float16) for _ in range(2)]
    corpus = np.repeat(["emodb", "crema_d"], [12, 48])
    votes = RNG.dirichlet(np.ones(7), 60).astype(np.float32)
    return Speech(
        np.stack([np.cumsum(LENGTHS) - LENGTHS, LENGTHS], axis=1),
        corpus,
        np.repeat(SPEAKERS, 2),
        np.arange(60) < 56,
        {"felt by word": RNG.random((60, 3)).astype(np.float32)},
        votes,
        RNG.random(60).astype(np.float32),
        maps,
        [RNG.normal(0, 8, (130, 64)).astype(np.float16) for _ in range(3)],
    )


@pytest.mark.parametrize(
    "corpora", [("emodb", "crema_d"), ("crema_d",), ("emodb",)], ids="+".join
)
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
        for h in (data.split(("emodb", "crema_d"), fold)[1] for fold in range(5))
    ]
    assert sum(len(part) for part in held) == len(set.union(*held)) == 22


@pytest.mark.parametrize("colour", [0.3, 1.0])
def test_a_map_has_the_power_of_its_signal(colour):
    signal = np.convolve(RNG.normal(size=48000), [1, 1 - colour]).astype(np.float32)
    maps = hearing_data.log_mel(signal, hearing_data.make_front_end())
    power = 10 * np.log10((to_power(maps.astype(np.float32)) @ WIDTHS).mean())
    assert power == pytest.approx(UNIT_POWER, abs=0.2)


def test_noise_is_added_between_5_and_35_db():
    batch = RNG.normal(0, 6, (20, 80, 64)).astype(np.float32)
    mixed = hearing_data.add_noise(batch, speech().noises, RNG)
    before, after = (to_power(maps).mean((1, 2)) for maps in (batch, mixed))
    ratio = 10 * np.log10(before / (after - before))
    assert (ratio > 4.9).all()
    assert (ratio < 36).all()


def test_a_crop_at_its_own_speed_is_a_piece_of_the_map():
    frames = RNG.normal(size=(200, 64)).astype(np.float32)
    crop = hearing_networks.warp(frames, speed=1.0, start=0.0, shift=0.0)
    np.testing.assert_allclose(crop, frames[: len(crop)], atol=1e-6)
    higher = hearing_networks.warp(frames, speed=1.0, start=0.0, shift=2.0)
    np.testing.assert_allclose(higher[:, :-2], frames[: len(crop), 2:], atol=1e-6)


@pytest.mark.parametrize("row", hearing_networks.ROWS, ids=lambda row: row.name)
def test_crops_of_every_row_are_whole(row):
    data = speech()
    items, _ = data.split(row.corpora, row.fold)
    batch = hearing_networks.Crops(data, row)(items[:6], RNG)
    assert len(batch) == 6 * (2 if row.consistency else 1)
    assert torch.isfinite(batch).all()


def test_names_of_rows_are_told_apart():
    for rows in (hearing_networks.ROWS, hearing_patches.ROWS):
        names = [row.name for row in rows]
        assert len(set(names)) == len(names)


def test_a_ridge_finds_a_plane():
    x = RNG.normal(size=(200, 4))
    y = x @ RNG.normal(size=(4, 3)) + 0.5
    weights = hearing_ridge.fit(x, y, 1e-6)
    np.testing.assert_allclose(hearing_ridge.predict(x, weights), y, atol=1e-5)


def test_the_joined_teacher_is_the_mean_of_its_heads(tmp_path):
    torch.manual_seed(0)
    data = speech()
    weights, bias = hearing_patches.learn_filters(data, RNG)
    assert torch.allclose(weights.sum((1, 2, 3)), torch.zeros(len(weights)), atol=1e-4)
    (tmp_path / "patches").mkdir()
    np.savez(tmp_path / "patches" / "filters.npz", weights=weights, bias=bias)
    maps = [data.maps[0][a : a + n] for a, n in data.places]
    features = np.stack([hearing_patches.pool(m, weights, bias) for m in maps])
    features = features.astype(np.float32)
    heads = [hearing_patches.Head(hearing_final.ROW, features).eval() for _ in range(3)]
    expected = np.mean([hearing_patches.score(h, features) for h in heads], axis=0)
    network = hearing_final.join(heads, tmp_path)
    assert isinstance(network, PatchNetwork)
    assert network.config == PatchConfig(heads=3)
    with torch.inference_mode():
        for item, clip in enumerate(maps):
            pooled = network.pool(torch.from_numpy(clip.astype(np.float32)))
            x = ((pooled - network.mean) * network.scale).clamp(-4, 4)
            hidden = (network.hidden @ x[:, :, None])[:, :, 0] + network.hidden_bias
            got = network.scores(hidden.relu().ravel()).numpy()
            np.testing.assert_allclose(got, expected[item], atol=2e-3)
