"""Mixing, filters, tilt and shift, by their physics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from waves import NOISE, decibels, wave

from wav2small.acoustics import signals


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 99))
def test_fit_crops_or_repeats(length, samples, seed):
    signal = np.arange(length)
    fitted = signals.crop_or_repeat(signal, samples, np.random.default_rng(seed))
    assert len(fitted) == samples
    steps = np.diff(fitted) % length
    assert (steps == 1 % length).all()


@given(st.floats(-10, 40), st.integers(0, 99))
def test_noise_is_added_at_its_ratio(snr, seed):
    rng = np.random.default_rng(seed)
    signal, noise = rng.normal(size=(2, 1000))
    added = signals.add_at_snr(signal, noise, snr) - signal
    got = 10 * np.log10(np.mean(signal**2) / np.mean(added**2))
    assert got == pytest.approx(snr, abs=1e-6)


def test_silence_adds_nothing():
    np.testing.assert_array_equal(
        signals.add_at_snr(wave(440, 1600), np.zeros(1600), 0), wave(440, 1600)
    )


@pytest.mark.parametrize("slope", [-3, 3])
def test_tilt_is_the_slope_asked_and_keeps_the_level(slope):
    changed = signals.tilt(NOISE, slope)
    before, after = (np.abs(np.fft.rfft(x)) ** 2 for x in (NOISE, changed))
    bands = [slice(250 * 2**n, 300 * 2**n) for n in range(6)]
    levels = [10 * np.log10(after[b].sum() / before[b].sum()) for b in bands]
    np.testing.assert_allclose(np.diff(levels), slope, atol=0.1)
    assert decibels(changed, NOISE) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("hertz", [5.0, 20.0])
def test_a_shift_moves_every_tone_by_as_much(hertz):
    tones = wave(500) + wave(3000)
    shifted = signals.shifted(tones, hertz)
    expected = wave(500 + hertz) + wave(3000 + hertz)
    power = [
        np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2 for x in (shifted, expected)
    ]
    for low, high in ((900, 1200), (5900, 6200)):  # two lines to a Hz
        peaks = [low + int(p[low:high].argmax()) for p in power]
        assert peaks[0] == peaks[1]
    inside = slice(2000, -2000)
    assert decibels(shifted[inside], tones[inside]) == pytest.approx(0, abs=0.1)


def test_the_level_of_silence_is_silence():
    assert not signals.at_level_of(NOISE, np.zeros_like(NOISE)).any()
