"""The teacher of speech: the encoder by another implementation, length, files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wav2small import checkpoint
from wav2small.errors import InputError
from wav2small.teachers.speech import (
    ASSET,
    SpeechConfig,
    SpeechEncoder,
    SpeechNetwork,
    SpeechTeacher,
    pack,
    unpack,
)

CONFIG = SpeechConfig(layers=2, width=24, attention=3, n_mels=20, hidden=6, heads=2)
RNG = np.random.default_rng(0)
SIGNALS = [(0.1 * RNG.normal(size=n)).astype(np.float32) for n in (1, 65, 8191, 40001)]


def network() -> SpeechNetwork:
    torch.manual_seed(0)
    return SpeechNetwork(CONFIG).eval()


def test_the_encoder_is_whispers():
    """Against transformers: layer by layer the same, from the same log-mel map."""
    whisper = pytest.importorskip("transformers.models.whisper.modeling_whisper")
    config = whisper.WhisperConfig(
        num_mel_bins=20,
        encoder_layers=2,
        encoder_attention_heads=3,
        d_model=24,
        encoder_ffn_dim=96,
        max_source_positions=1500,
        attn_implementation="eager",
    )
    torch.manual_seed(0)
    theirs = whisper.WhisperEncoder(config).eval()
    ours = SpeechEncoder(CONFIG).eval()
    weights = {}
    for name in ("conv_1", "conv_2"):
        for kind in ("weight", "bias"):
            weights[f"{name}.{kind}"] = getattr(
                getattr(theirs, name.replace("_", "")), kind
            )
    for number, layer in enumerate(theirs.layers):
        attention = layer.self_attn
        zeros = torch.zeros(24)  # keys have no bias in Whisper
        parts = {
            "norm_1": layer.self_attn_layer_norm,
            "joined": attention.out_proj,
            "norm_2": layer.final_layer_norm,
            "up": layer.fc1,
            "down": layer.fc2,
        }
        for name, part in parts.items():
            for kind in ("weight", "bias"):
                weights[f"layers.{number}.{name}.{kind}"] = getattr(part, kind)
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        weights[f"layers.{number}.queries.weight"] = torch.cat(
            [p.weight for p in projections]
        )
        weights[f"layers.{number}.queries.bias"] = torch.cat(
            [attention.q_proj.bias, zeros, attention.v_proj.bias]
        )
    ours.load_state_dict(weights, strict=False)
    # thirty seconds: transformers takes nothing else
    signal = torch.from_numpy(RNG.normal(size=480_000).astype(np.float32))[None]
    with torch.inference_mode():
        maps = ours.maps(signal)
        assert maps.shape == (1, 20, 3000)
        hidden = theirs(maps, output_hidden_states=True).hidden_states
        # the last state has another norm, so the first layer's is compared
        expected = torch.cat([hidden[1].mean(1), hidden[1].std(1, correction=0)], 1)
        got = ours(signal)[:, : 2 * CONFIG.width]
    torch.testing.assert_close(got, expected, atol=2e-4, rtol=0)


def test_maps_are_those_of_librosa():
    librosa = pytest.importorskip("librosa")
    encoder = SpeechEncoder(SpeechConfig())
    signal = SIGNALS[3]
    level = signal - signal.mean()
    level = 0.08 * level / np.sqrt(np.mean(level**2))
    power = librosa.feature.melspectrogram(
        y=level, sr=16000, n_fft=400, hop_length=160, n_mels=80, pad_mode="reflect"
    )[:, :-1]
    expected = np.log10(np.maximum(power, 1e-10))
    expected = (np.maximum(expected, expected.max() - 8) + 4) / 4
    got = encoder.maps(torch.from_numpy(signal)[None])[0].numpy()
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_signals_of_any_length_and_level_have_scores():
    teacher = SpeechTeacher(network(), None)
    scores = teacher.predict(SIGNALS)
    assert scores.shape == (4, 3)
    assert scores.dtype == np.float32
    assert np.isfinite(teacher.predict([np.zeros(500, np.float32)])).all()
    louder = teacher.predict([3 * signal for signal in SIGNALS[2:]])
    np.testing.assert_allclose(louder, scores[2:], atol=1e-3)
    long = np.resize(SIGNALS[3], 31 * 16000)
    np.testing.assert_array_equal(
        teacher.predict([long]), teacher.predict([long[: 30 * 16000]])
    )
    with pytest.raises(InputError, match="signal must have at least 1 sample"):
        teacher.predict([np.zeros(0, np.float32)])


def test_signals_of_one_length_score_together_as_alone():
    teacher = SpeechTeacher(network(), None)
    signals = [SIGNALS[3], SIGNALS[3][::-1].copy(), SIGNALS[2]]
    alone = np.concatenate([teacher.predict([signal]) for signal in signals])
    np.testing.assert_allclose(teacher.predict(signals), alone, atol=1e-5)


def test_eight_bits_are_within_half_a_step_of_each_rows_largest():
    weights = {
        "a": RNG.normal(size=(5, 7)).astype(np.float32),
        "b": RNG.normal(size=(4, 3, 2)).astype(np.float32) * 100,
        "c": RNG.normal(size=9).astype(np.float32),
        "d": np.zeros((2, 2), np.float32),
    }
    packed = pack(weights)
    assert {v.dtype for v in packed.values()} == {
        np.dtype(t) for t in ("int8", "float16", "float32")
    }
    found = unpack(packed)
    assert set(found) == set(weights)
    for name in ("a", "b"):
        rows, got = (x[name].reshape(len(x[name]), -1) for x in (weights, found))
        largest = np.abs(rows).max(1, keepdims=True)
        assert (np.abs(rows - got) <= largest / 127 / 2 * 1.001).all()
    np.testing.assert_array_equal(found["c"], weights["c"].astype(np.float16))
    assert not found["d"].any()


def test_a_file_holds_what_was_trained(tmp_path):
    made = network()
    info = {"name": "x", "licence": "MIT", "training_data": "none"}
    SpeechTeacher.save(tmp_path / "t", made, info, metrics={"a": 1})
    loaded = SpeechTeacher.load(tmp_path / "t")
    state = made.state_dict()
    rounded = unpack(pack({k: v.numpy() for k, v in state.items()}))
    kept = {k: torch.from_numpy(v) for k, v in rounded.items() if "front_end" not in k}
    made.load_state_dict(state | kept)
    expected = SpeechTeacher(made, None).predict(SIGNALS)
    np.testing.assert_allclose(loaded.predict(SIGNALS), expected, atol=1e-5)
    assert loaded.info.revision == checkpoint.digest(tmp_path / "t")[:16]
    assert not any("front_end" in name for name in checkpoint.load(tmp_path / "t")[0])


def test_other_checkpoints_are_refused(tmp_path):
    checkpoint.save(tmp_path / "other", {"a": np.zeros(1)}, {"student": "x"})
    with pytest.raises(InputError, match="must be of a teacher of speech"):
        SpeechTeacher.load(tmp_path / "other")


def test_the_file_in_the_package_is_small_and_names_its_data():
    files = sorted(path.name for path in ASSET.iterdir())
    assert files == ["README.md", "config.json", "manifest.sha256", "model.safetensors"]
    assert (ASSET / "model.safetensors").stat().st_size <= 8_000_000
    teacher = SpeechTeacher.load()
    # the card's names of data and licence travel with the labels
    for part in ("CREMA-D (ODbL-1.0/DbCL-1.0)", "Whisper tiny.en (MIT)"):
        assert part in teacher.info.training_data
    card = (ASSET / "README.md").read_text()
    assert "Open Database" in card
    # the licence of Whisper asks that its notice goes along
    assert "Copyright (c) 2022 OpenAI" in card


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

    teacher = SpeechTeacher.load()
    high, low = teacher.predict([voice(280, 0.3, 0.6), voice(100, 0.02, 2)])
    assert high[0] > low[0] + 0.1
