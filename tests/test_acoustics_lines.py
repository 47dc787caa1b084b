"""Telephone and telecoil: bands, codings, hum."""

from __future__ import annotations

import numpy as np
import pytest
from waves import NOISE, RATE, decibels, generator, power_between, wave

from wav2small.acoustics import lines


def test_the_compressor_draws_loud_and_soft_together():
    loud, soft = wave(500, RATE), 0.1 * wave(500, RATE)
    changed = lines.compress(np.concatenate([loud, soft]))
    first, second = changed[2000 : RATE - 2000], changed[RATE + 2000 : -2000]
    # 20 dB apart, at the threshold and 20 dB above it: a third is left
    assert decibels(first, second) == pytest.approx(20 / 3, abs=0.2)


def test_the_compressor_leaves_silence():
    assert not lines.compress(np.zeros(1000)).any()


def test_mu_law_has_255_steps_and_keeps_soft_signals():
    signal = np.linspace(-1, 1, 100_001)
    coded = lines.mu_law(signal)
    assert len(np.unique(coded)) == 255
    assert (np.diff(coded) >= 0).all()
    for level in (1, 0.1, 0.01):  # the ratio hardly depends on the level
        inside = level * wave(440)
        loudest = np.append(inside, 1.0)
        error = lines.mu_law(loudest)[:-1] - inside
        assert 28 < decibels(inside, error) < 45


@pytest.mark.parametrize("coding", ["mu-law", "modulated noise"])
def test_a_phone_passes_its_band_alone(coding):
    changed = lines.phone(NOISE, coding, generator())
    assert len(changed) == len(NOISE)
    power = np.abs(np.fft.rfft(changed)) ** 2
    frequency = np.fft.rfftfreq(len(changed), 1 / RATE)
    inside = power[(frequency > 350) & (frequency < 3350)].mean()
    for low, high, least in ((0, 150, 20), (4100, 8000, 40)):
        outside = power[(frequency > low) & (frequency < high)].mean()
        assert 10 * np.log10(inside / outside) > least
    assert decibels(changed, NOISE) == pytest.approx(0, abs=1e-3)


def test_modulated_noise_is_25_db_below():
    tone = wave(1000)
    changed = lines.phone(tone, "modulated noise", generator())
    spectrum = np.abs(np.fft.rfft(changed)) ** 2
    peak = spectrum.argmax()
    line = spectrum[peak - 3 : peak + 4].sum()
    # 3100 of 4000 Hz are passed, and pink noise is 35 dB below
    expected = -10 * np.log10(10**-2.5 * 0.775 + 10**-3.5)
    level = 10 * np.log10(line / (spectrum.sum() - line))
    assert level == pytest.approx(expected, abs=0.7)


@pytest.mark.parametrize("frequency", [300, 1000, 3000])
def test_a_tone_in_the_band_passes_a_telecoil(frequency):
    tone = wave(frequency)
    changed = lines.telecoil(tone, generator(), snr=60.0)
    assert decibels(changed - tone, tone) < -40


@pytest.mark.parametrize("frequency", [80, 6000])
def test_a_tone_outside_the_band_is_lost_in_a_telecoil(frequency):
    tones = wave(1000) + wave(frequency)
    changed = lines.telecoil(tones, generator(), snr=60.0)
    near = power_between(changed, frequency - 5, frequency + 5)
    assert near < power_between(changed, 995, 1005) - 25


@pytest.mark.parametrize("mains", [50.0, 60.0])
def test_the_hum_has_the_ratio_and_the_harmonics_asked(mains):
    tone = wave(1000)
    changed = lines.telecoil(tone, generator(), snr=20.0, mains=mains)
    changed = changed / np.dot(changed, tone) * np.dot(tone, tone)
    assert decibels(tone, changed - tone) == pytest.approx(20, abs=0.5)
    first, second, third = (
        power_between(changed, n * mains - 2, n * mains + 2) for n in (1, 2, 3)
    )
    assert first - third == pytest.approx(20 * np.log10(3), abs=0.5)
    assert second < third - 20
