"""Probes of layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from finetune_corpus import SMALL_MEL, clip

from wav2small.adv import DIMENSIONS
from wav2small.errors import InputError
from wav2small.finetune.backbones import build_backbone, pad
from wav2small.finetune.probe import draw_layers, layer_features, probe_layers, ridge


def test_features_are_of_each_layer_and_signal_alone() -> None:
    torch.manual_seed(0)
    backbone = build_backbone(SMALL_MEL)
    signals = [
        clip(np.random.default_rng(i), 1, 2)[:n] for i, n in enumerate([8000, 3000])
    ]
    told = []
    found = layer_features(backbone, signals, progress=lambda *x: told.append(x))
    assert found.shape == (4, 2, 64)
    assert told[-1] == ("features", 2, 2, {})
    assert backbone.training
    backbone.eval()
    with torch.inference_mode():
        for item, signal in enumerate(signals):
            for number, layer in enumerate(backbone(pad([signal])[0]).layers):
                x = layer[0].numpy()
                wanted = np.concatenate([x.mean(0), np.sqrt(x.var(0) + 1e-6)])
                np.testing.assert_allclose(found[number, item], wanted, atol=1e-4)


@pytest.mark.parametrize("shape", [(50, 4), (10, 20)])
def test_ridge_is_what_its_equation_says(shape) -> None:
    rng = np.random.default_rng(0)
    features, others = rng.normal(size=shape), rng.normal(size=(3, shape[1]))
    truth = rng.normal(size=(shape[0], 2))
    found = ridge(features, truth, others, 0.1)
    mean, deviation = features.mean(0), features.std(0)
    a, b = (features - mean) / deviation, (others - mean) / deviation
    # the penalty as further rows of a least-squares problem
    rows = np.vstack([a, np.sqrt(0.1 * len(a)) * np.eye(shape[1])])
    wanted = np.vstack([truth - truth.mean(0), np.zeros((shape[1], 2))])
    weights = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    np.testing.assert_allclose(found, b @ weights + truth.mean(0), atol=1e-4)


def test_the_layer_that_knows_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((60, 3))
    noise = rng.normal(size=(3, 60, 6)).astype(np.float32)
    noise[1, :, :3] = truth
    rows = probe_layers(noise, truth, np.arange(60) % 5)
    assert [row["layer"] for row in rows] == [0, 1, 2]
    for name in DIMENSIONS:
        value, low, high = rows[1][name]
        assert value > 0.9
        assert low <= value <= high
        assert max(rows[0][name][0], rows[2][name][0]) < 0.4
    draw_layers(rows, tmp_path / "new" / "layers.png")
    assert (tmp_path / "new" / "layers.png").read_bytes().startswith(b"\x89PNG")


def test_a_probe_is_not_asked_for_what_it_was_fitted_on() -> None:
    # a layer that names each speaker, and scores that are the speaker's alone
    speaker = np.repeat(np.arange(6), 5)
    features = np.eye(6, dtype=np.float32)[speaker][None]
    truth = np.random.default_rng(0).random((6, 3))[speaker]
    rows = probe_layers(features, truth, speaker)
    assert max(rows[0][name][0] for name in DIMENSIONS) < 0.1
    leaky = probe_layers(features, truth, np.arange(30) % 5)
    assert min(leaky[0][name][0] for name in DIMENSIONS) > 0.8


def test_short_signals_are_refused() -> None:
    backbone = build_backbone(SMALL_MEL)
    with pytest.raises(InputError, match="signal must have at least 1 samples"):
        layer_features(backbone, [np.zeros(0, np.float32)])
