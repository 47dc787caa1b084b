"""Wind, hum, noise and voices: their spectra, levels and gusts."""

from __future__ import annotations

import numpy as np
import pytest
from waves import NOISE, OTHERS, RATE, decibels, generator, power_between

from wav2small.acoustics import outside


@pytest.mark.parametrize("snr", [10, 20, 40])
@pytest.mark.parametrize(
    "add",
    [
        outside.pink_noise,
        lambda x, snr, rng: outside.babble(x, OTHERS, snr, rng),
    ],
)
def test_what_is_added_has_the_level_asked(add, snr):
    added = add(NOISE, snr, generator()).astype(float) - NOISE
    assert decibels(NOISE, added) == pytest.approx(snr, abs=0.05)


def test_pink_noise_falls_by_3_db_per_octave():
    added = outside.pink_noise(NOISE, 0, generator()).astype(float) - NOISE
    power = np.abs(np.fft.rfft(added)) ** 2
    octaves = [power[2**n : 2 ** (n + 1)].mean() for n in range(5, 14)]
    slope = np.polyfit(np.arange(9), 10 * np.log10(octaves), 1)[0]
    assert slope == pytest.approx(-3, abs=0.3)


def test_wind_is_flat_below_its_corner_and_falls_by_12_db_per_octave_above():
    noise = outside.wind_noise(30 * RATE, generator(), speed=5.0)
    flat = power_between(noise, 20, 40) - power_between(noise, 40, 80)
    assert flat == pytest.approx(0, abs=1.5)
    steep = power_between(noise, 800, 1600) - power_between(noise, 1600, 3200)
    assert steep == pytest.approx(12, abs=1.5)
    assert np.mean(noise**2) == pytest.approx(1)


def test_faster_wind_reaches_higher_and_is_louder():
    slow, fast = (
        outside.wind_noise(10 * RATE, generator(), speed=v) for v in (3.0, 6.0)
    )
    assert power_between(fast, 400, 800) > power_between(slow, 400, 800) + 5
    levels = [
        decibels(outside.wind(NOISE, v, generator()) - NOISE, NOISE) for v in (3.0, 6.0)
    ]
    assert levels[0] == pytest.approx(-15, abs=0.1)
    assert levels[1] - levels[0] == pytest.approx(40 * np.log10(2), abs=0.1)


def test_gusts_move_the_level_of_wind():
    def swing(noise: np.ndarray) -> float:
        levels = np.log10(np.mean(noise.reshape(-1, RATE // 10) ** 2, axis=1))
        return float(10 * np.std(levels))

    wind = outside.wind_noise(30 * RATE, generator(), speed=5.0)
    steady = generator().normal(size=30 * RATE)
    assert 3 < swing(wind) < 9
    assert swing(steady) < 0.5


@pytest.mark.parametrize("mains", [50.0, 60.0])
def test_hum_is_of_unit_power_and_repeats_with_the_mains(mains):
    hum = outside.hum(2 * RATE, generator(), mains=mains)
    assert np.mean(hum**2) == pytest.approx(1, rel=0.02)
    turns = round(mains)  # so many in a second
    np.testing.assert_allclose(hum[:RATE], hum[RATE:], atol=1e-6)
    assert (
        power_between(hum, turns - 3, turns + 3) > power_between(hum, 1100, 8000) + 60
    )


def test_more_talkers_are_no_louder():
    few, many = (
        outside.babble(NOISE, OTHERS, 10, generator(), talkers=n) for n in (2, 8)
    )
    assert decibels(few - NOISE, many - NOISE) == pytest.approx(0, abs=0.05)
    assert not np.array_equal(few, many)
