"""The teacher of patches: pooling by hand, any length, files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wav2small import checkpoint
from wav2small.errors import InputError
from wav2small.teachers.patches import (
    ASSET,
    PatchConfig,
    PatchNetwork,
    PatchTeacher,
)

CONFIG = PatchConfig(filters=5, frames=3, bands=4, zones=2, heads=2, hidden=6)
RNG = np.random.default_rng(0)
SIGNALS = [(0.1 * RNG.normal(size=n)).astype(np.float32) for n in (1, 65, 8191, 40001)]


def network() -> PatchNetwork:
    torch.manual_seed(0)
    made = PatchNetwork(CONFIG)
    for parameter in (made.hidden, made.hidden_bias, made.mean):
        torch.nn.init.normal_(parameter)
    return made.eval()


def test_pooling_is_that_of_a_loop():
    made = network()
    maps = torch.from_numpy(20 * RNG.normal(size=(40, CONFIG.n_mels))).float()
    floored = np.maximum(maps.numpy(), maps.max().item() - CONFIG.floor)
    weights = made.patches.weight.detach().numpy()[:, 0]
    bias = made.patches.bias.detach().numpy()
    found = [
        [
            np.maximum((floored[t : t + 3, b : b + 4] * weights).sum((1, 2)) + bias, 0)
            for b in range(0, CONFIG.n_mels - 3, 3)
        ]
        for t in range(0, 38, 2)
    ]
    grid = np.array(found)  # time, bands, filters
    half = -(-grid.shape[1] // 2)
    zones = np.stack([grid[:, :half].mean(1), grid[:, half:].mean(1)])
    expected = [zones.mean(1).ravel(), zones.std(1).ravel(), floored.mean(0)]
    expected += [floored.std(0), np.abs(np.diff(floored, axis=0)).mean(0)]
    with torch.inference_mode():
        got = made.pool(maps).numpy()
    assert got.shape == (CONFIG.features,)
    np.testing.assert_allclose(got, np.concatenate(expected), rtol=1e-3, atol=1e-3)


def test_heads_are_averaged_by_the_last_layer():
    made = network()
    with torch.inference_mode():
        both = made(torch.from_numpy(SIGNALS[3])[None])
        parts = []
        for head in range(2):
            one = network()
            keep = torch.zeros(2 * CONFIG.hidden)
            keep[head * CONFIG.hidden : (head + 1) * CONFIG.hidden] = 1
            one.scores.weight.mul_(keep)
            one.scores.bias.mul_(0.5)
            parts.append(one(torch.from_numpy(SIGNALS[3])[None]))
    torch.testing.assert_close(both, parts[0] + parts[1])


def test_signals_of_any_length_and_level_have_scores():
    teacher = PatchTeacher(network(), None)
    scores = teacher.predict(SIGNALS)
    assert scores.shape == (4, 3)
    assert scores.dtype == np.float32
    assert np.isfinite(teacher.predict([np.zeros(500, np.float32)])).all()
    louder = teacher.predict([3 * signal for signal in SIGNALS[2:]])
    np.testing.assert_allclose(louder, scores[2:], atol=1e-3)
    with pytest.raises(InputError, match="signal must have at least 1 sample"):
        teacher.predict([np.zeros(0, np.float32)])


def test_a_file_holds_what_was_trained_in_half_precision(tmp_path):
    made = network()
    info = {"name": "x", "licence": "MIT", "training_data": "none"}
    PatchTeacher.save(tmp_path / "t", made, info, metrics={"a": 1})
    loaded = PatchTeacher.load(tmp_path / "t")
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.requires_grad or parameter.shape[0] == CONFIG.heads:
                parameter.copy_(parameter.half().float())
    expected = PatchTeacher(made, None).predict(SIGNALS)
    np.testing.assert_allclose(loaded.predict(SIGNALS), expected, atol=1e-5)
    assert loaded.info.revision == checkpoint.digest(tmp_path / "t")[:16]
    names = set(checkpoint.load(tmp_path / "t")[0])
    assert not any(name.startswith("front_end") for name in names)


def test_other_checkpoints_are_refused(tmp_path):
    checkpoint.save(tmp_path / "other", {"a": np.zeros(1)}, {"student": "x"})
    with pytest.raises(InputError, match="must be of a teacher of patches"):
        PatchTeacher.load(tmp_path / "other")


def test_the_file_in_the_package_is_small_and_names_its_data():
    files = sorted(path.name for path in ASSET.iterdir())
    assert files == ["README.md", "config.json", "manifest.sha256", "model.safetensors"]
    assert (ASSET / "model.safetensors").stat().st_size <= 4_000_000
    teacher = PatchTeacher.load()
    # the card's names of data and licence travel with the labels
    assert "CREMA-D (ODbL-1.0/DbCL-1.0)" in teacher.info.training_data
    assert "Open Database" in (ASSET / "README.md").read_text()
    weights = teacher.network.patches.weight.sum((1, 2, 3))
    torch.testing.assert_close(weights, torch.zeros_like(weights), atol=2e-3, rtol=0)


def test_a_loud_high_voice_is_more_aroused_than_a_soft_low_one():
    """Harmonics that jump about, against a murmur: it hears more than nothing."""
    time = np.arange(48000) / 16000
    rng = np.random.default_rng(0)

    def voice(pitch: float, swing: float, slope: float) -> np.ndarray:
        contour = pitch * (1 + swing * np.sin(2 * np.pi * 1.5 * time))
        phase = 2 * np.pi * np.cumsum(contour) / 16000
        parts = [
            np.sin(n * phase) / n**slope
            for n in range(1, int(7000 / (pitch * (1 + swing))))
        ]
        words = np.maximum(np.sin(2 * np.pi * 3 * time), 0.02)
        return (words * np.sum(parts, axis=0) + 1e-3 * rng.normal(size=48000)).astype(
            np.float32
        )

    high, low = PatchTeacher.load().predict([voice(280, 0.3, 0.6), voice(100, 0.02, 2)])
    assert high[0] > low[0] + 0.1
