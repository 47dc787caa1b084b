"""Changes of signals are what they say: levels, bands, lengths, places."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from waves import NOISE, OTHERS, RATE, decibels, generator, wave

from wav2small.suite import changes
from wav2small.suite.robustness import all_changes
from wav2small.suite.sounds import Sounds


@pytest.mark.parametrize("snr", [10, 20, 40])
@pytest.mark.parametrize(
    "add",
    [
        changes.tone,
        changes.white_noise,
        lambda x, snr, rng: changes.recording(x, OTHERS, snr, rng),
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
