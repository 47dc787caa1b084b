"""What may happen to a signal on its way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waves import tone

from wav2small.augment import background, band, degrade, room, vary, without_speech
from wav2small.config import AugmentConfig

NOTHING = AugmentConfig(
    speed=0.0,
    mix_probability=0.0,
    filter_probability=0.0,
    band_probability=0.0,
    room_probability=0.0,
    noise_probability=0.0,
    silence_probability=0.0,
    gain=0.0,
)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.booleans())
def test_crops_are_sound(seed, with_noises):
    clips = [tone(0.3), tone(1.2, 200), np.zeros(1000, np.float32)]
    noises = [tone(0.2, 3000)] if with_noises else []

    def once() -> np.ndarray:
        rng = np.random.default_rng(seed)
        varied = vary(clips, seed % 3, 8000, rng, AugmentConfig(), noises)
        return degrade(varied, rng, AugmentConfig(), noises)

    signal = once()
    assert signal.shape == (8000,)
    assert signal.dtype == np.float32
    assert np.isfinite(signal).all()
    assert np.abs(signal).max() < 1
    np.testing.assert_array_equal(signal, once())


def test_nothing_asked_for_changes_nothing():
    clips = [tone(1.0), tone(1.0, 1000.0)]
    rng = np.random.default_rng(0)
    varied = vary(clips, 0, 16000, rng, NOTHING)
    np.testing.assert_array_equal(varied, clips[0])
    np.testing.assert_allclose(degrade(varied, rng, NOTHING), clips[0], atol=1e-7)


def peak(signal: np.ndarray) -> float:
    """Frequency in Hz of the strongest line."""
    return float(np.argmax(np.abs(np.fft.rfft(signal))) * 16000 / len(signal))


@pytest.mark.parametrize("seed", range(5))
def test_speed_moves_the_pitch(seed):
    config = replace(NOTHING, speed=0.2)
    rng = np.random.default_rng(seed)
    factor = 1 + np.random.default_rng(seed).uniform(-0.2, 0.2)
    varied = vary([tone(3.0, 1000)], 0, 32000, rng, config)
    assert peak(varied) == pytest.approx(1000 * factor, abs=1)


def test_a_second_speaker_is_heard():
    config = replace(NOTHING, mix_probability=1.0, snr_low=10.0, snr_high=10.0)
    mixed = vary([tone(1.0), tone(1.0, 1000.0)], 0, 16000, SecondClip(), config)
    rest = mixed - tone(1.0)
    assert peak(rest) == 1000
    assert 20 * np.log10(np.std(tone(1.0)) / np.std(rest)) == pytest.approx(10)


def test_noise_is_heard_beside_the_voice():
    config = replace(NOTHING, mix_probability=1.0, snr_low=10.0, snr_high=10.0)
    kinds = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        # the recording is the only source of a line at 3 kHz
        mixed = vary([tone(1.0)], 0, 16000, rng, config, [tone(1.0, 3000)])
        kinds.add(peak(mixed - tone(1.0)))
    assert {440.0, 3000.0} <= kinds


def test_a_filter_changes_levels_and_not_length():
    config = replace(NOTHING, filter_probability=1.0)
    noise = np.random.default_rng(0).normal(0, 0.1, 12345).astype(np.float32)
    filtered = vary([noise], 0, 12345, np.random.default_rng(1), config)
    assert filtered.shape == noise.shape
    level = np.abs(np.fft.rfft(filtered)) / np.abs(np.fft.rfft(noise))
    octave = [20 * np.log10(np.median(level[50 * 2**k : 100 * 2**k])) for k in range(6)]
    assert 1 < np.std(octave) < 8
    flat = replace(config, filter_spread=0.0)
    same = vary([noise], 0, 12345, np.random.default_rng(1), flat)
    np.testing.assert_allclose(same, noise, atol=1e-6)


class SecondClip:
    """A source of randomness that always takes the second clip."""

    def random(self) -> float:
        return 0.0  # also less than one half: a clip and no noise

    def integers(self, _: int) -> int:
        return 1

    def uniform(self, low: float, _: float) -> float:
        return low


ONE = (
    "aid_probability",
    "band_probability",
    "room_probability",
    "noise_probability",
    "silence_probability",
)


@pytest.mark.parametrize("name", ONE)
def test_each_part_of_the_channel_does_something(name):
    signal = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    config = replace(NOTHING, **{name: 1.0})
    changed = degrade(signal, np.random.default_rng(1), config)
    assert np.abs(changed - signal).max() > 0.005


def test_silence_is_at_one_end():
    config = replace(NOTHING, silence_probability=1.0)
    ends = set()
    for seed in range(20):
        signal = degrade(np.ones(8000, np.float32), np.random.default_rng(seed), config)
        silent = np.flatnonzero(signal == 0)
        assert len(silent) < 3200
        if len(silent):
            assert len(silent) == silent[-1] - silent[0] + 1
            ends.add(bool(silent[0] == 0))
            assert silent[0] == 0 or silent[-1] == 7999
    assert ends == {False, True}


@given(st.integers(0, 999))
def test_bands_keep_the_middle(seed):
    octaves = np.log2(np.linspace(31.25, 8000, 4001) / 31.25)
    level = band(octaves, np.random.default_rng(seed))
    frequency = 31.25 * 2**octaves
    assert (level[(frequency > 400) & (frequency < 3000)] == 0).all()
    assert level.min() >= -100
    assert level[0] < -4 or level[-1] < 0


@settings(deadline=None)
@given(st.integers(0, 999))
def test_rooms_decay(seed):
    response = room(np.random.default_rng(seed))
    assert response[0] == 1
    assert 0.1 * 16000 < len(response) <= 16000
    tail = response[1:] ** 2
    # reverberant power between that of the two ratios, 15 and -5 dB
    assert 10**-1.5 - 1e-3 <= tail.sum() <= 10**0.5 + 1e-3
    half = len(tail) // 2
    assert tail[half:].sum() < 0.1 * tail[:half].sum()


@settings(deadline=None)
@given(st.integers(0, 999), st.booleans())
def test_noise_alone_is_quiet_or_loud_but_sound(seed, with_noises):
    noises = [tone(0.2, 3000)] if with_noises else []
    signal = without_speech(8000, np.random.default_rng(seed), noises)
    assert signal.shape == (8000,)
    assert signal.dtype == np.float32
    assert np.abs(signal).max() <= 1
    np.testing.assert_array_equal(signal * 32768, np.round(signal * 32768))


def test_pink_noise_falls_by_three_decibels_per_octave():
    rng = np.random.default_rng(3)
    slopes = []
    for _ in range(20):
        power = np.abs(np.fft.rfft(background(16000, rng))) ** 2
        octaves = [
            10 * np.log10(power[2**k : 2 ** (k + 1)].mean()) for k in range(5, 12)
        ]
        slopes.append(np.polyfit(range(5, 12), octaves, 1)[0])
    white = [slope for slope in slopes if slope > -1.5]
    pink = [slope for slope in slopes if slope <= -1.5]
    assert np.mean(white) == pytest.approx(0, abs=0.3)
    assert np.mean(pink) == pytest.approx(-3, abs=0.3)
