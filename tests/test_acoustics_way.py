"""The random way to the ear: repeatable, whole, made of its parts."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from waves import NOISE, OTHERS, decibels

from wav2small.acoustics.way import WayConfig, to_the_ear

NOTHING = WayConfig(
    **{
        field.name: 0.0
        for field in fields(WayConfig)
        if not field.name.startswith("snr")
    }
)
"""A way on which there are a microphone and converters alone."""


@pytest.mark.parametrize("seed", range(12))
def test_the_same_generator_gives_the_same_way(seed):
    first, second = (
        to_the_ear(NOISE, np.random.default_rng(seed), noises=OTHERS, voices=OTHERS)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
    assert first.shape == NOISE.shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert abs(decibels(first, NOISE)) < 6


@pytest.mark.parametrize(
    "name", [f.name for f in fields(WayConfig) if not f.name.startswith("snr")]
)
def test_every_part_changes_something(name):
    config = replace(NOTHING, **{name: 1.0})
    changed = 0
    for seed in range(3):
        plain, other = (
            to_the_ear(
                NOISE,
                np.random.default_rng(seed),
                settings,
                noises=OTHERS,
                voices=OTHERS,
            )
            for settings in (NOTHING, config)
        )
        changed += decibels(other - plain, plain) > -40
    assert changed == 3


@pytest.mark.parametrize("samples", [1, 100, 1600])
def test_short_and_silent_signals_are_borne(samples):
    for seed in range(10):
        for signal in (NOISE[:samples], np.zeros(samples, np.float32)):
            changed = to_the_ear(signal, np.random.default_rng(seed))
            assert changed.shape == signal.shape
            assert np.isfinite(changed).all()
