"""Pitch of tones, of pulses, in noise; none where there is none."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav2small import audio
from wav2small.bundled import DEMO
from wav2small.suite.pitch import median_pitch, pitch_group

TIME = np.arange(16000) / 16000


@given(pitch=st.floats(70, 450), level=st.floats(0.001, 1))
def test_a_tone_has_its_frequency(pitch, level):
    signal = level * np.sin(2 * np.pi * pitch * TIME)
    assert median_pitch(signal) == pytest.approx(pitch, rel=0.01)


@given(pitch=st.floats(70, 400), seed=st.integers(0, 100))
def test_a_buzz_in_noise_has_its_fundamental(pitch, seed):
    # harmonics that fall as those of a voice, the fundamental missing
    numbers = range(2, int(4000 / pitch))
    signal = sum(np.sin(2 * np.pi * n * pitch * TIME + n) / n for n in numbers)
    noise = np.random.default_rng(seed).normal(size=len(TIME)) * 0.05
    assert median_pitch(signal + noise) == pytest.approx(pitch, rel=0.02)


@pytest.mark.parametrize(
    "signal",
    [
        np.zeros(16000),
        np.zeros(100),
        np.ones(16000),
        np.random.default_rng(0).normal(size=16000),
    ],
)
def test_what_has_no_pitch_gets_none(signal):
    assert np.isnan(median_pitch(signal))
    assert pitch_group(signal) is None


@pytest.mark.parametrize(
    ("pitch", "group"),
    [
        (100, "low"),
        (144.5, "low"),
        (145.5, "middle"),
        (189.5, "middle"),
        (190.5, "high"),
    ],
)
def test_groups(pitch, group):
    assert pitch_group(np.sin(2 * np.pi * pitch * TIME)) == group


def test_soft_stretches_do_not_count():
    loud, soft = (np.sin(2 * np.pi * pitch * TIME) for pitch in (200, 100))
    signal = np.concatenate([0.01 * soft, 0.01 * soft, loud])
    assert median_pitch(signal) == pytest.approx(200, rel=0.01)


def test_voices_have_the_pitch_that_librosa_finds():
    files = sorted(DEMO.parent.glob("*.opus"))
    for file in files[:: len(files) // 8]:
        signal = audio.load(file)[:32000]
        pitch, voiced, _ = librosa.pyin(
            signal, sr=16000, fmin=60, fmax=500, frame_length=1024, hop_length=640
        )
        semitones = 12 * np.log2(median_pitch(signal) / np.median(pitch[voiced]))
        assert abs(semitones) < 2, file.name
