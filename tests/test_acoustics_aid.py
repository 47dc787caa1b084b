"""What an aid does, by physics: gains, ratios, times, tones, steps."""

from __future__ import annotations

import numpy as np
import pytest
from waves import NOISE, RATE, decibels, generator, power_between, wave

from wav2small.acoustics import aid


def levels(signal: np.ndarray) -> np.ndarray:
    """Level of each 5 ms in dB."""
    blocks = np.mean(np.asarray(signal, float).reshape(-1, RATE // 200) ** 2, axis=1)
    return 10 * np.log10(np.maximum(blocks, 1e-12))


def stepped(frequency: float = 700.0, step: float = 20.0) -> np.ndarray:
    """A tone that is loud for a second in the middle of three."""
    tone = wave(frequency, 3 * RATE)
    tone[RATE : 2 * RATE] *= 10 ** (step / 20)
    return tone


@pytest.mark.parametrize("ratio", [1.5, 2.0, 3.0])
def test_a_step_comes_out_smaller_by_the_ratio(ratio):
    changed = levels(aid.compress(stepped(), aid.Compression(ratio=ratio)))
    soft, loud = changed[150:195].mean(), changed[350:395].mean()
    assert loud - soft == pytest.approx(20 / ratio, abs=0.3)


def test_gain_falls_within_the_attack_and_comes_back_with_the_release():
    settings = aid.Compression(ratio=3.0, attack=0.005, release=0.1)
    changed = levels(aid.compress(stepped(), settings))
    loud, soft = changed[350:395].mean(), changed[550:595].mean()
    # 20 ms after the step up: within 3 dB of what it comes to, at once it is not
    assert changed[200] > loud + 3
    assert abs(changed[204] - loud) < 1
    # after the step down it is too soft, and a release later within 37 %
    below = soft - changed[400:]
    assert below[1] > 8
    assert below[20] == pytest.approx(below[1] * np.exp(-0.95), rel=0.15)
    assert abs(below[100]) < 0.2


def test_what_is_below_the_knee_is_left_alone():
    quiet = 10 ** (-40 / 20) * wave(3000, 3 * RATE)
    tones = stepped(700.0) + quiet  # far enough apart for other bands
    changed = aid.compress(tones, aid.Compression(ratio=3.0, knee=45.0))
    band = aid.split_bands(changed, (2000.0,))[1][RATE // 2 : -RATE // 2]
    assert np.ptp(levels(band[: RATE // 4])) < 0.2
    settings = aid.Compression(ratio=3.0, knee=120.0)
    np.testing.assert_allclose(aid.compress(tones, settings), tones, atol=1e-4)


def test_silence_is_left_silent():
    assert not aid.compress(np.zeros(1000, np.float32), aid.Compression()).any()
    assert not aid.reduce_noise(np.zeros(1000, np.float32)).any()


def test_bands_add_up_and_hold_their_tones():
    bands = aid.split_bands(NOISE, (500.0, 1000.0, 2000.0, 4000.0))
    np.testing.assert_allclose(bands.sum(0), NOISE, atol=1e-6)
    for number, frequency in enumerate((250, 707, 1414, 2828, 6000)):
        tone = wave(frequency)
        parts = aid.split_bands(tone, (500.0, 1000.0, 2000.0, 4000.0))
        shares = [decibels(part, tone) for part in parts]
        assert shares[number] == pytest.approx(0, abs=0.1)
        assert max(s for n, s in enumerate(shares) if n != number) < -25


@pytest.mark.parametrize("place", ["behind the ear", "in the canal"])
def test_a_microphone_loses_what_is_lowest(place):
    for seed in range(5):
        changed = aid.microphone(NOISE, place, np.random.default_rng(seed))
        low = power_between(changed, 20, 40) - power_between(NOISE, 20, 40)
        middle = power_between(changed, 600, 900) - power_between(NOISE, 600, 900)
        assert middle - low > 6
        assert decibels(changed, NOISE) == pytest.approx(0, abs=1e-3)


def test_the_concha_resonates_in_the_canal_alone():
    gains = {}
    for place in ("behind the ear", "in the canal"):
        changed = [
            aid.microphone(NOISE, place, np.random.default_rng(n)) for n in range(10)
        ]
        gains[place] = [
            power_between(x, 4000, 5500) - power_between(x, 600, 1200) for x in changed
        ]
    assert min(gains["in the canal"]) > 3
    assert np.mean(gains["behind the ear"]) < 0


def test_the_own_voice_falls_by_3_db_per_octave_above_1_khz():
    changed = aid.own_voice_path(NOISE)
    bands = [(500 * 2**n, 600 * 2**n) for n in range(4)]
    gains = [power_between(changed, *b) - power_between(NOISE, *b) for b in bands]
    # the first band lies below the bend, the second begins at it
    np.testing.assert_allclose(np.diff(gains)[1:], -3, atol=0.3)


@pytest.mark.parametrize("bits", [8, 12, 14])
def test_a_bit_is_6_db(bits):
    signal = 0.5 * wave(443.3)
    noise = aid.digital_path(signal, bits=bits, rate=RATE, headroom=0.0) - signal
    assert decibels(signal, noise) == pytest.approx(6.02 * bits + 1.76, abs=1.0)


@pytest.mark.parametrize("rate", [16000, 20480, 24000])
def test_a_path_at_another_rate_keeps_length_and_band(rate):
    signal = wave(1000) + wave(6000)
    changed = aid.digital_path(signal, bits=16, rate=rate)
    assert len(changed) == len(signal)
    inside = slice(2000, -2000)
    assert decibels((changed - signal)[inside], signal[inside]) < -60


@pytest.mark.parametrize("below", [3.0, 12.0])
def test_saturation_flattens_at_the_level_asked(below):
    tone = wave(440)
    changed = aid.saturate(tone, below_peak=below)
    share = np.mean(np.abs(changed) > 0.999 * np.abs(changed).max())
    limit = 10 ** (-below / 20)
    assert share == pytest.approx(1 - 2 / np.pi * np.arcsin(limit), abs=0.03)
    assert decibels(changed, tone) == pytest.approx(0, abs=1e-3)


def test_feedback_is_one_tone_that_grows_and_dies_away():
    found = 0
    for seed in range(8):
        added = aid.feedback(NOISE, np.random.default_rng(seed)).astype(float) - NOISE
        power = np.abs(np.fft.rfft(added * np.hanning(len(added)))) ** 2
        peak = int(power.argmax())
        assert 1500 <= peak * RATE / len(added) <= 5000
        assert power[peak - 20 : peak + 21].sum() > 0.98 * power.sum()
        loudest = levels(added).max() - 10 * np.log10(np.mean(NOISE**2))
        assert -62 < loudest < -4
        found += loudest > -21
    assert found >= 6  # the others begin before the signal or end after it


def test_the_residue_is_shifted_late_and_10_to_20_db_below():
    for seed in range(5):
        tone = wave(3000)
        added = (
            aid.canceller_residue(tone, np.random.default_rng(seed)).astype(float)
            - tone
        )
        assert -20.5 < decibels(added, tone) < -9.5
        power = np.abs(np.fft.rfft(added)) ** 2
        middle = (power * np.arange(len(power))).sum() / power.sum() / 2
        assert 3004 < middle < 3021
        assert not np.abs(added[:50]).max() > 1e-3


def test_noise_between_words_is_reduced_to_the_floor_and_words_stay():
    word = np.zeros(2 * RATE)
    word[RATE // 2 : RATE] = wave(1000, RATE // 2)
    noisy = word + 0.01 * generator().normal(size=len(word))
    changed = aid.reduce_noise(noisy, floor=-12.0, oversubtraction=3.0)
    pause, spoken = slice(RATE + 2000, None), slice(RATE // 2 + 500, RATE - 500)
    kept = decibels(changed[spoken], noisy[spoken])
    assert kept == pytest.approx(0, abs=0.2)
    assert -12.5 < decibels(changed[pause], noisy[pause]) < -5


def test_noise_reduction_leaves_musical_noise():
    noise = 0.01 * generator().normal(size=2 * RATE)
    noise[RATE // 2 : RATE] += wave(1000, RATE // 2)
    changed = aid.reduce_noise(noise, floor=-15.0, oversubtraction=2.0)

    def peakiness(signal: np.ndarray) -> float:
        frames = signal[RATE + 2000 :][: RATE // 2].reshape(-1, 250)
        power = np.abs(np.fft.rfft(frames * np.hanning(250))) ** 2
        return float(np.std(power) / np.mean(power))

    assert peakiness(changed) > 1.3 * peakiness(noise)
