"""A random way from a mouth through a room and an aid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import aid, lines, outside, rooms
from .signals import add_at_snr, as_float32, as_float64, crop_or_repeat, tilt


@dataclass(frozen=True)
class WayConfig:
    """How often each part of the way is there; probabilities in 0..1."""

    line: float = 0.12
    """The speaker is on the telephone or on a telecoil: no room, no microphone."""

    own_voice: float = 0.1
    """The wearer speaks."""

    room: float = 0.75
    """The sound comes through a room."""

    ambience: float = 0.4
    """A recording sounds along, if there are any."""

    babble: float = 0.2
    """Other people talk, if there are voices."""

    wind: float = 0.1
    """Wind of 3 to 8 m/s blows."""

    snr_low: float = 5.0
    """Least ratio of speech to ambience or babble in dB."""

    snr_high: float = 30.0
    """Largest ratio of speech to ambience or babble in dB."""

    tilt: float = 0.3
    """The spectrum is tilted, by 3 dB per octave at most: fitting, other aids."""

    noise_reduction: float = 0.25
    """The aid subtracts noise."""

    feedback: float = 0.1
    """The aid whistles, or, as often, leaves a residue."""

    compression: float = 0.6
    """The aid compresses."""

    saturation: float = 0.1
    """The aid clips, up to 12 dB below the peak."""


def to_the_ear(
    signal: np.ndarray,
    rng: np.random.Generator,
    config: WayConfig | None = None,
    *,
    noises: Sequence[np.ndarray] = (),
    voices: Sequence[np.ndarray] = (),
) -> np.ndarray:
    """Send speech on a random way to the output of an aid.

    Args:
        signal: array of shape ``(time,)``, close to the mouth
        rng: source of all randomness
        config: how often what is there
        noises: recordings of places, float32 at 16 kHz
        voices: recordings of speech, float32 at 16 kHz

    Returns:
        array of the same shape, float32, at about the same level

    """
    config = config or WayConfig()
    if rng.random() < config.line:
        changed = _over_a_line(signal, rng)
    else:
        changed = _through_the_air(signal, rng, config, noises, voices)
    return _through_the_aid(changed, rng, config)


def _over_a_line(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    kind = int(rng.integers(3))
    if kind == 0:
        mains = float(rng.choice([50.0, 60.0]))
        return lines.telecoil(signal, rng, snr=rng.uniform(10, 35), mains=mains)
    return lines.phone(signal, "mu-law" if kind == 1 else "modulated noise", rng)


def _through_the_air(
    signal: np.ndarray,
    rng: np.random.Generator,
    config: WayConfig,
    noises: Sequence[np.ndarray],
    voices: Sequence[np.ndarray],
) -> np.ndarray:
    own = rng.random() < config.own_voice
    changed = aid.own_voice_path(signal) if own else signal
    if rng.random() < config.room:
        room = rooms.random_room(rng)
        response = rooms.room_response(rooms.own_voice(room) if own else room)
        changed = rooms.reverberate(changed, response)
    if len(noises) and rng.random() < config.ambience:
        noise = crop_or_repeat(noises[int(rng.integers(len(noises)))], len(signal), rng)
        snr = rng.uniform(config.snr_low, config.snr_high)
        changed = add_at_snr(as_float64(changed), as_float64(noise), snr)
    if len(voices) and rng.random() < config.babble:
        snr = rng.uniform(config.snr_low, config.snr_high)
        talkers = int(rng.integers(2, 9))
        changed = outside.babble(changed, voices, snr, rng, talkers=talkers)
    if rng.random() < config.wind:
        changed = outside.wind(changed, rng.uniform(3, 8), rng)
    place: aid.Place = "behind the ear" if rng.random() < 0.5 else "in the canal"
    return aid.microphone(changed, place, rng)


def _through_the_aid(
    signal: np.ndarray, rng: np.random.Generator, config: WayConfig
) -> np.ndarray:
    bits = int(rng.integers(12, 17))
    rate = int(rng.choice([16000, 20000, 20480, 22050, 24000]))
    changed = aid.digital_path(signal, bits=bits, rate=rate)
    if rng.random() < config.noise_reduction:
        changed = aid.reduce_noise(
            changed,
            floor=rng.uniform(-15, -6),
            oversubtraction=rng.uniform(1, 3),
        )
    if rng.random() < config.feedback:
        whistles = rng.random() < 0.5
        spoil = aid.feedback if whistles else aid.canceller_residue
        changed = spoil(changed, rng)
    if rng.random() < config.compression:
        settings = aid.Compression(
            ratio=rng.uniform(1.5, 3), release=rng.uniform(0.05, 0.15)
        )
        changed = aid.compress(changed, settings)
    if rng.random() < config.saturation:
        changed = aid.saturate(changed, below_peak=rng.uniform(1, 12))
    if rng.random() < config.tilt:
        changed = tilt(changed, rng.uniform(-3, 3))
    return as_float32(changed)
