"""Warm-ups: views that find each other, layers taught by all layers, prosody."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from finetune_corpus import SMALL_MEL, SMALL_SSL, clip
from hypothesis import given
from hypothesis import strategies as st

from wav2small.finetune.backbones import build_backbone, pad
from wav2small.finetune.labelling.prosody import (
    FEATURES,
    pauses,
    prosody,
    speaking_rate,
    words,
)
from wav2small.finetune.warm_up.contrast import Views, learn_views, view_loss
from wav2small.finetune.warm_up.taught import (
    adapt,
    energy_mask,
    likeness_loss,
    matching_layers,
    teach_layers,
)

CLIPS = np.stack(
    [clip(np.random.default_rng(i), i % 4 / 2, 1 + i)[:4800] for i in range(8)]
)


def draw(step: int) -> np.ndarray:
    return CLIPS[np.random.default_rng(step).choice(8, 4, replace=False)]


def test_the_loss_is_the_formula() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 7))
    x = a / np.linalg.norm(a, axis=1, keepdims=True)
    y = b / np.linalg.norm(b, axis=1, keepdims=True)
    likeness = np.exp(x @ y.T / 0.2)
    forth = -np.log(np.diag(likeness) / likeness.sum(1)).mean()
    back = -np.log(np.diag(likeness) / likeness.sum(0)).mean()
    found = view_loss(torch.tensor(a), torch.tensor(b), 0.2).item()
    assert found == pytest.approx((forth + back) / 2)
    assert view_loss(torch.eye(5), torch.eye(5)).item() < 1e-3
    assert view_loss(torch.eye(5), torch.eye(5).flip(0)).item() > 5


@pytest.mark.parametrize("kind", ["mel", "wavlm"])
def test_views_come_closer_and_the_waveform_encoder_stays(kind) -> None:
    settings = {"mel": SMALL_MEL, "wavlm": {"model_type": "wavlm", **SMALL_SSL}}[kind]
    torch.manual_seed(0)
    backbone = build_backbone(settings)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    told = []
    losses = learn_views(
        backbone, draw, steps=8, seed=1, learning_rate=3e-3,
        progress=lambda *x: told.append(x),
    )  # fmt: skip
    assert len(losses) == 8
    assert np.mean(losses[-3:]) < np.mean(losses[:2])
    assert told[-1] == ("warm up", 8, 8, {"loss": losses[-1]})
    after = backbone.state_dict()
    for key, value in before.items():
        still = "feature_extractor" in key or "front_end" in key
        still = still or key.endswith("masked_spec_embed")
        if still:
            assert torch.equal(value, after[key]), key
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert any("layers.1" in key or "transformer.1" in key for key in changed)


def test_all_views_have_one_width() -> None:
    views = Views(build_backbone(SMALL_MEL))
    features = torch.zeros(8, len(FEATURES))
    shapes = {view.shape for view in views(pad(list(CLIPS))[0], features)}
    assert shapes == {(8, 64)}


# Compression -----------------------------------------------------------------


def test_the_loud_is_hidden_more_often() -> None:
    signal = np.full((200, 16000), 1e-3, np.float32)
    signal[:, 8000:] = 0.5
    hidden = energy_mask(signal, np.random.default_rng(0), share=0.2, span=2)
    assert hidden[:, 8000:].mean() > 20 * hidden[:, :8000].mean()
    assert 0.1 < hidden.mean() <= 0.2


@given(st.integers(1000, 20000), st.floats(0.05, 0.9), st.integers(1, 12))
def test_no_more_is_hidden_than_said(samples, share, span) -> None:
    signals = np.random.default_rng(0).normal(size=(2, samples))
    hidden = energy_mask(signals, np.random.default_rng(1), share=share, span=span)
    assert hidden.shape == signals.shape
    assert hidden.any(1).all()
    starts = max(1, round(share * (samples // 320) / span))
    assert hidden.sum(1).max() <= starts * span * 320
    # silence has no loud part, and still something is hidden
    assert energy_mask(np.zeros((1, samples)), np.random.default_rng(0)).any()


def test_the_middle_teaches_the_middle() -> None:
    assert matching_layers(4, 24) == [(2, 12), (4, 24)]
    assert matching_layers(12, 24) == [(6, 12), (12, 24)]
    assert matching_layers(1, 3) == [(1, 3)]


def test_likeness_is_least_where_equal() -> None:
    wanted = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    least = np.log(1 + np.exp(-1))  # of -log sigmoid(1)
    assert likeness_loss(wanted, wanted).item() == pytest.approx(least, abs=1e-6)
    assert likeness_loss(-wanted, wanted) > likeness_loss(wanted + 1, wanted) > least


def test_the_whole_teaches_some_layers_and_stays_as_it_is() -> None:
    torch.manual_seed(0)
    whole = build_backbone(SMALL_MEL)
    small = copy.deepcopy(whole)
    small.keep([0, 2])
    # hooks of a copy hear the copy
    with torch.inference_mode():
        assert len(small(pad([CLIPS[0]])[0]).layers) == 3
        assert len(whole(pad([CLIPS[0]])[0]).layers) == 4
    before = {key: value.clone() for key, value in whole.state_dict().items()}
    first = small.layers[1].norm.weight.clone()
    losses = teach_layers(
        whole, small, [0, 2], draw, steps=12, seed=0, learning_rate=3e-3
    )
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:2])
    for key, value in whole.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(parameter.grad is None for parameter in whole.parameters())
    assert not torch.equal(first, small.layers[1].norm.weight)


# Prosody ---------------------------------------------------------------------


def tone(hertz: float, level: float = 0.1, beat: float = 0.0) -> np.ndarray:
    time = np.arange(32000) / 16000
    saw = 2 * ((hertz * time) % 1) - 1
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * beat * time) if beat else 1.0
    return (level * saw * swell).astype(np.float32)


def named(signal: np.ndarray) -> dict[str, float]:
    return dict(zip(FEATURES, prosody(signal).tolist(), strict=True))


def test_a_backbone_gets_used_to_clips_and_its_former_self_stays_its_measure() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = build_backbone(SMALL_MEL)
    before = copy.deepcopy(backbone)
    losses = adapt(backbone, draw, steps=40, seed=0)
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])
    # the same as being taught by a copy of itself, layer by layer
    again = copy.deepcopy(before)
    numbers = range(before.depth)
    expected = teach_layers(before, again, numbers, draw, steps=40, seed=0)
    assert losses == expected
    for ours, theirs in zip(backbone.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_prosody_hears_what_was_made() -> None:
    low, high = named(tone(100)), named(tone(200))
    assert high["pitch"] - low["pitch"] == pytest.approx(1, abs=0.05)
    assert low["voiced"] == 1
    loud = named(tone(100, 0.4))
    assert loud["level"] - low["level"] == pytest.approx(np.log10(4), abs=0.02)
    noise = 0.1 * np.random.default_rng(0).normal(size=32000)
    assert named(noise)["slope"] > low["slope"]
    assert named(noise)["voiced"] == 0
    for beat in (2.0, 5.0):
        assert speaking_rate(tone(150, beat=beat)) == pytest.approx(beat, abs=0.6)
    assert named(tone(150, beat=3))["level_deviation"] > low["level_deviation"]


@pytest.mark.parametrize("length", [0, 1, 300, 16000])
def test_prosody_of_silence_is_finite(length) -> None:
    assert np.isfinite(prosody(np.zeros(length, np.float32))).all()


def test_words_say_it() -> None:
    told = words(tone(120, 0.5, beat=6))
    assert "loud" in told
    assert "low pitch (120 Hz)" in told
    assert "fast (6." in told or "fast (5." in told
    assert "2.0 s long" in told
    assert "monotonous (a range of 0." in told
    assert "0% of it pause" in told
    glide = np.sin(2 * np.pi * np.cumsum(np.linspace(100, 300, 32000)) / 16000)
    # from the tenth to the ninetieth percent of what lies between: 120 to 280 Hz
    span = float(words(0.2 * glide).partition("a range of ")[2].split()[0])
    assert span == pytest.approx(12 * np.log2(280 / 120), abs=0.5)
    half = np.concatenate([tone(120), np.zeros(32000)])
    assert pauses(half) == pytest.approx(0.5, abs=0.02)
    bright = words(0.1 * np.random.default_rng(0).normal(size=16000))
    assert "bright (spectral centroid" in bright
    quiet = words(1e-3 * np.random.default_rng(0).normal(size=16000))
    assert quiet.startswith("quiet (-60 dB of full scale), without a pitch")
