"""Changes of signals are what they say: levels, bands, lengths, places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav2small.suite import changes
from wav2small.suite.cases import all_changes
from wav2small.suite.sounds import Sounds

RATE = 16000
NOISE = np.random.default_rng(0).normal(size=2 * RATE).astype(np.float32) * 0.1
OTHERS = [np.random.default_rng(n).normal(size=RATE).astype(np.float32) for n in (1, 2)]


def wave(frequency: float, samples: int = 2 * RATE) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(samples) / RATE)


def decibels(part: np.ndarray, whole: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(part)) / np.mean(np.square(whole))))


def generator() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize("snr", [10, 20, 40])
@pytest.mark.parametrize(
    "add",
    [
        changes.tone,
        changes.white_noise,
        changes.pink_noise,
        lambda x, snr, rng: changes.recording(x, OTHERS, snr, rng),
        lambda x, snr, rng: changes.babble(x, OTHERS, snr, rng),
    ],
)
def test_what_is_added_has_the_level_asked(add, snr):
    added = add(NOISE, snr, generator()).astype(float) - NOISE
    assert decibels(NOISE, added) == pytest.approx(snr, abs=0.05)


@given(seed=st.integers(0, 1000))
def test_the_tone_is_one_line_between_5_and_7_khz(seed):
    added = changes.tone(NOISE, 0, np.random.default_rng(seed)) - NOISE
    power = np.abs(np.fft.rfft(added * np.hanning(len(added)))) ** 2
    peak = int(power.argmax())
    assert 5000 <= peak * RATE / len(added) <= 7000
    assert power[peak - 2 : peak + 3].sum() > 0.999 * power.sum()


def test_pink_noise_falls_by_3_db_per_octave():
    added = changes.pink_noise(NOISE, 0, generator()).astype(float) - NOISE
    power = np.abs(np.fft.rfft(added)) ** 2
    octaves = [power[2**n : 2 ** (n + 1)].mean() for n in range(5, 14)]
    slope = np.polyfit(np.arange(9), 10 * np.log10(octaves), 1)[0]
    assert slope == pytest.approx(-3, abs=0.3)


def test_an_event_is_short_and_has_the_level_asked():
    sound = np.concatenate([np.zeros(20000), wave(1000, RATE // 2), np.zeros(20000)])
    added = changes.event(NOISE, [sound], 10, generator()).astype(float) - NOISE
    heard = np.flatnonzero(np.abs(added) > 1e-6)
    assert heard[-1] - heard[0] < RATE
    cut = added[heard[0] : heard[-1] + 1]
    # half of the second is silent: the tone alone is 3 dB louder than the cut
    assert decibels(NOISE, cut) == pytest.approx(10 - 3, abs=0.2)


def test_zeros_and_crops_are_where_they_should_be():
    samples = 100
    np.testing.assert_array_equal(
        changes.append(NOISE, samples), [*NOISE, *np.zeros(samples)]
    )
    np.testing.assert_array_equal(
        changes.prepend(NOISE, samples), [*np.zeros(samples), *NOISE]
    )
    np.testing.assert_array_equal(changes.crop_start(NOISE, samples), NOISE[100:])
    np.testing.assert_array_equal(changes.crop_end(NOISE, samples), NOISE[:-100])


@pytest.mark.parametrize("crop", [changes.crop_start, changes.crop_end])
def test_half_of_a_short_signal_is_kept(crop):
    assert len(crop(NOISE[:100], 1000)) == 50


@pytest.mark.parametrize("share", [0.001, 0.003, 0.1])
def test_clipping_changes_the_share_asked(share):
    changed = changes.clip(NOISE, share)
    assert np.mean(changed != NOISE) == pytest.approx(share, abs=2e-4)
    assert np.abs(changed).max() <= np.abs(NOISE[changed == NOISE]).max() * 1.01


@given(level=st.floats(-20, 20))
def test_gain(level):
    assert decibels(changes.gain(NOISE, level), NOISE) == pytest.approx(level, abs=1e-3)


@pytest.mark.parametrize("cutoff", [100, 500, 2000])
@pytest.mark.parametrize(
    ("change", "direction"), [(changes.high_pass, 1), (changes.low_pass, -1)]
)
def test_a_filter_passes_stops_and_is_3_db_down_at_its_cutoff(
    change, cutoff, direction
):
    inside = slice(4000, -4000)  # past the transients
    for octaves, expected in ((3, 0.0), (0, -3.01), (-2, -24.1)):
        tone = wave(cutoff * 2.0 ** (direction * octaves))
        if cutoff * 2.0 ** (direction * octaves) < RATE / 2:
            changed = change(tone, cutoff)
            level = decibels(changed[inside], tone[inside])
            assert level == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("slope", [-3, 3])
def test_tilt_is_the_slope_asked_and_keeps_the_level(slope):
    changed = changes.tilt(NOISE, slope)
    before, after = (np.abs(np.fft.rfft(x)) ** 2 for x in (NOISE, changed))
    bands = [slice(250 * 2**n, 300 * 2**n) for n in range(6)]
    levels = [10 * np.log10(after[b].sum() / before[b].sum()) for b in bands]
    np.testing.assert_allclose(np.diff(levels), slope, atol=0.1)
    assert decibels(changed, NOISE) == pytest.approx(0, abs=1e-3)


def test_a_room_of_one_reflection_is_one_echo():
    response = np.zeros(1000)
    response[100], response[700] = 1, 0.5
    click = np.zeros(4000)
    click[1000] = 1
    changed = changes.reverberate(click, response)
    assert changed[1600] / changed[1000] == pytest.approx(0.5)
    assert set(np.flatnonzero(np.abs(changed) > 1e-6)) == {1000, 1600}
    assert decibels(changed, click) == pytest.approx(0, abs=1e-3)


def test_the_compressor_draws_loud_and_soft_together():
    loud, soft = wave(500, RATE), 0.1 * wave(500, RATE)
    changed = changes.compress(np.concatenate([loud, soft]))
    first, second = changed[2000 : RATE - 2000], changed[RATE + 2000 : -2000]
    # 20 dB apart, at the threshold and 20 dB above it: a third is left
    assert decibels(first, second) == pytest.approx(20 / 3, abs=0.2)


def test_the_compressor_leaves_silence():
    assert not changes.compress(np.zeros(1000)).any()


def test_mu_law_has_255_steps_and_keeps_soft_signals():
    signal = np.linspace(-1, 1, 100_001)
    coded = changes.mu_law(signal)
    assert len(np.unique(coded)) == 255
    assert (np.diff(coded) >= 0).all()
    for level in (1, 0.1, 0.01):  # the ratio hardly depends on the level
        inside = level * wave(440)
        loudest = np.append(inside, 1.0)
        error = changes.mu_law(loudest)[:-1] - inside
        assert 28 < decibels(inside, error) < 45


@pytest.mark.parametrize("coding", ["mu-law", "modulated noise"])
def test_a_phone_passes_its_band_alone(coding):
    changed = changes.phone(NOISE, coding, generator())
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
    changed = changes.phone(tone, "modulated noise", generator())
    spectrum = np.abs(np.fft.rfft(changed)) ** 2
    peak = spectrum.argmax()
    line = spectrum[peak - 3 : peak + 4].sum()
    # 3100 of 4000 Hz are passed, and pink noise is 35 dB below
    expected = -10 * np.log10(10**-2.5 * 0.775 + 10**-3.5)
    level = 10 * np.log10(line / (spectrum.sum() - line))
    assert level == pytest.approx(expected, abs=0.7)


SOUNDS = Sounds(
    {"Music": OTHERS, "Cough": OTHERS, "Sneeze": OTHERS, "x": OTHERS}, OTHERS
)


def test_names_are_told_apart():
    names = [change.name for change in all_changes()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("change", all_changes(), ids=lambda change: change.name)
def test_every_change_is_repeatable_and_changes(change):
    first = change.apply(NOISE, generator(), SOUNDS)
    second = change.apply(NOISE, generator(), SOUNDS)
    np.testing.assert_array_equal(first, second)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert not np.array_equal(first, NOISE)
    assert abs(len(first) - len(NOISE)) <= 1000


@pytest.mark.parametrize("change", all_changes(), ids=lambda change: change.name)
def test_every_change_bears_short_and_silent_signals(change):
    for signal in (NOISE[:1600], np.zeros(1600, np.float32)):
        assert np.isfinite(change.apply(signal, generator(), SOUNDS)).all()
