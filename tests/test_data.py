"""Clips and their augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from wav2small.data import (
    AugmentConfig,
    Clips,
    add_at_snr,
    augment,
    colour,
    fit,
    read_noises,
)


def tone(seconds: float, frequency: float = 440.0, level: float = 0.3) -> np.ndarray:
    time = np.arange(round(16000 * seconds)) / 16000
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.fixture
def files(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1.0), 16000)
    soundfile.write(tmp_path / "b.flac", tone(0.5), 16000)
    (tmp_path / "c.wav").write_text("not audio")
    return [(tmp_path / name, 0.0, None) for name in ("a.wav", "b.flac", "c.wav")]


def test_clips_are_what_the_files_hold(files, tmp_path):
    done = []
    clips, errors = Clips.decode(
        files, tmp_path / "clips", progress=lambda *state: done.append(state)
    )
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert [len(clip) for clip in clips] == [16000, 8000, 0]
    np.testing.assert_allclose(clips[0], tone(1.0), atol=1 / 32768)
    assert clips[1].dtype == np.float32
    assert clips.seconds == 1.5
    ((item, message),) = errors
    assert item == 2
    assert "c.wav" in message


def test_clips_are_decoded_once(files, tmp_path):
    Clips.decode(files, tmp_path / "clips")
    for path, *_ in files:
        path.unlink()
    clips, errors = Clips.decode(files, tmp_path / "clips")
    assert len(clips[0]) == 16000
    assert [item for item, _ in errors] == [2]


def test_clips_of_other_sources_are_decoded_again(files, tmp_path):
    Clips.decode(files, tmp_path / "clips")
    # as many sources, but not the same ones
    clips, _ = Clips.decode(files[::-1], tmp_path / "clips")
    assert [len(clip) for clip in clips] == [0, 8000, 16000]
    clips, _ = Clips.decode([(files[0][0], 0.0, 0.5)] * 3, tmp_path / "clips")
    assert [len(clip) for clip in clips] == [8000] * 3


def test_a_part_of_a_file(files, tmp_path):
    path = files[0][0]
    clips, _ = Clips.decode([(path, 0.25, 0.5)], tmp_path / "clips")
    np.testing.assert_allclose(clips[0], tone(1.0)[4000:8000], atol=1 / 32768)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 99))
def test_fit_crops_or_repeats(length, samples, seed):
    signal = np.arange(length)
    fitted = fit(signal, samples, np.random.default_rng(seed))
    assert len(fitted) == samples
    steps = np.diff(fitted) % length
    assert (steps == 1 % length).all()


@given(st.floats(-10, 40), st.integers(0, 99))
def test_noise_is_added_at_its_ratio(snr, seed):
    rng = np.random.default_rng(seed)
    signal, noise = rng.normal(size=(2, 1000))
    added = add_at_snr(signal, noise, snr) - signal
    got = 10 * np.log10(np.mean(signal**2) / np.mean(added**2))
    assert got == pytest.approx(snr, abs=1e-6)


def test_silence_adds_nothing():
    np.testing.assert_array_equal(add_at_snr(tone(0.1), np.zeros(1600), 0), tone(0.1))


def test_colour_changes_levels_and_not_length():
    signal = np.random.default_rng(0).normal(size=12345)
    filtered = colour(signal, 4.0, np.random.default_rng(1))
    assert len(filtered) == len(signal)
    assert not np.allclose(filtered, signal, atol=0.1)
    np.testing.assert_allclose(colour(signal, 0.0, np.random.default_rng(1)), signal)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.booleans(), st.booleans())
def test_augmented_clips_are_sound(seed, relabelled, with_noises):
    clips = [tone(0.3), tone(1.2, 200), np.zeros(1000, np.float32)]
    noises = [tone(0.2, 3000)] if with_noises else []

    def once() -> np.ndarray:
        rng = np.random.default_rng(seed)
        return augment(
            clips,
            seed % 3,
            8000,
            rng,
            AugmentConfig(),
            noises=noises,
            relabelled=relabelled,
        )

    signal = once()
    assert signal.shape == (8000,)
    assert signal.dtype == np.float32
    assert np.isfinite(signal).all()
    assert np.abs(signal).max() < 1
    np.testing.assert_array_equal(signal, once())


def test_a_kept_label_keeps_speed_and_speaker():
    quiet = AugmentConfig(
        noise_probability=0.0, filter_probability=0.0, mix_probability=1.0, gain=0.0
    )
    clips = [tone(1.0), tone(1.0, 1000.0)]
    rng = np.random.default_rng(0)
    kept = augment(clips, 0, 16000, rng, quiet, relabelled=False)
    np.testing.assert_allclose(kept, clips[0], atol=1e-6)
    changed = augment(clips, 0, 16000, rng, quiet, relabelled=True)
    assert not np.allclose(changed, clips[0], atol=0.01)


def test_noises_skip_what_cannot_be_read(files, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(800), 16000)
    assert len(read_noises(tmp_path)) == 2
    assert read_noises(None) == []
