"""Signals that firmware is run on."""

from __future__ import annotations

import numpy as np
import pytest

from wav2small.firmware_bench.run.signals import clipped_noise, near_silence, voice


@pytest.mark.parametrize("make", [voice, clipped_noise, near_silence])
def test_the_same_each_time(make):
    signal = make(5000)
    assert signal.shape == (5000,) and signal.dtype == np.int16
    assert np.array_equal(make(6000)[:4999], signal[:4999]) or make is near_silence


def test_voice_has_what_speech_has():
    syllables = voice(24000).reshape(6, 4000).astype(float)
    voiced, hiss, pause = (
        syllables[:, part] for part in np.s_[:2600, 2600:3400, 3700:]
    )
    levels = voiced.std(axis=1)
    assert levels.max() > 10 * levels.min() > 1000
    assert (pause.std(axis=1) < 0.1 * levels).all()
    # what is voiced repeats itself, hiss crosses zero much more often
    crossings = [
        (np.diff(np.sign(part), axis=1) != 0).mean() for part in (voiced, hiss)
    ]
    assert crossings[1] > 1.3 * crossings[0]
    assert (np.abs(syllables) >= 32767).mean() < 0.05


def test_loud_is_clipped_and_quiet_is_not_heard():
    extreme = np.isin(clipped_noise(20000), (-32768, 32767)).mean()
    assert 0.45 < extreme < 0.55
    assert set(np.unique(near_silence(600))) == {-1, 0, 1}
    assert not near_silence(600)[:300].any()
