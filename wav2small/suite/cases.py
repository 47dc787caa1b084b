"""The tests of the suite and their thresholds.

After Derington et al. 2023, Testing correctness, fairness, and robustness of
speech emotion recognition models, arXiv 2312.06270,
and Wagner et al. 2022, Dawn of the transformer era in speech emotion recognition,
arXiv 2203.07378.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..acoustics import aid, lines, outside, rooms, signals
from ..acoustics.rooms import ROOMS, Room, room_response
from ..metrics import concordance_cc, mean_absolute_error, pearson_cc
from . import changes
from .figures import (
    bins_of,
    ccc_of,
    jensen_shannon_distance,
    precision_of,
    rank_cc,
    recall_of,
    shift_of,
)
from .sounds import Sounds

UNCHANGED = 0.05
"""A score that moves by less than this is unchanged."""

STRONG = (0.3, 0.7)
"""A score at or beyond either of these reads as strong emotion."""

CONSISTENT = 0.75
"""Least share of clips in the range that is expected of their category."""

QUIET_THRESHOLD, NOISE_THRESHOLD = 0.0, 0.05
"""Largest share of silence and white noise, and of recordings of noise,
that may read as strong emotion."""


@dataclass(frozen=True)
class Threshold:
    """What a figure must keep."""

    sense: str
    """``>=`` or ``<=``."""

    value: float
    """The worst figure that passes."""

    def passes(self, figure: float) -> bool:
        """Tell whether a figure passes; one that is not defined does not."""
        return figure >= self.value if self.sense == ">=" else figure <= self.value


def at_least(value: float) -> Threshold:
    """Make a threshold that a figure must reach."""
    return Threshold(">=", value)


def at_most(value: float) -> Threshold:
    """Make a threshold that a figure may reach."""
    return Threshold("<=", value)


Figure = Callable[[np.ndarray, np.ndarray], float]

AGREEMENT: dict[str, tuple[Figure, Threshold]] = {
    "CCC": (concordance_cc, at_least(0.5)),
    "PCC": (pearson_cc, at_least(0.5)),
    "MAE": (mean_absolute_error, at_most(0.1)),
    "Jensen-Shannon distance": (jensen_shannon_distance, at_most(0.2)),
}
"""Figures of all clips against a reference."""

SPEAKERS: dict[str, tuple[Figure, Threshold, int]] = {
    "MAE of means": (mean_absolute_error, at_most(0.1), 2),
    "rank correlation of means": (rank_cc, at_least(0.7), 3),
}
"""Figures of the speakers' means, and the least number of speakers."""

FAIRNESS: dict[
    str,
    dict[str, tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], Threshold | None]],
] = {
    "sex": {
        "difference of CCC": (ccc_of, at_most(0.075)),
        "difference of mean error": (shift_of, None),
        "difference of precision per bin": (precision_of, at_most(0.1)),
        "difference of recall per bin": (recall_of, at_most(0.1)),
    },
    "pitch": {
        "difference of CCC": (ccc_of, at_most(0.1)),
        "difference of mean error": (shift_of, None),
        "difference of precision per bin": (precision_of, at_most(0.125)),
        "difference of recall per bin": (recall_of, at_most(0.125)),
    },
    "language": {
        "difference of CCC": (ccc_of, None),
        "difference of mean error": (shift_of, at_most(0.03)),
        "difference of bins": (bins_of, at_most(0.1)),
    },
}
"""Figures of groups of clips, by what the groups differ in."""

UNKNOWN = {
    "accent": "labels do not say it",
    "sentiment of the text": "labels do not say it",
}
"""Tests of fairness whose data a label store has no place for."""


Apply = Callable[[np.ndarray, np.random.Generator, Sounds], np.ndarray]


@dataclass(frozen=True)
class Change:
    """A change of the signal that should not change the score."""

    group: str
    """Heading of the report."""

    name: str
    """What is done."""

    apply: Apply
    """Function of signal ``(time,)``, generator and recordings."""

    unchanged: float
    """Least share of unchanged scores."""

    ccc: float | None = None
    """Least change of the concordance, None where it is only reported."""

    needs: str | None = None
    """Kind of recordings that it needs."""


def all_changes() -> list[Change]:
    """Return the changes of the suite in their order."""
    small, noise, channel = (
        f"robustness: {name}" for name in ("small changes", "noise", "channel")
    )
    table = []
    for title, apply, settings in (
        ("tone of 5-7 kHz at {} dB", _drawn(changes.tone), (40, 45, 50)),
        ("{} zeros appended", _plain(changes.append), (100, 500, 1000)),
        ("{} zeros prepended", _plain(changes.prepend), (100, 500, 1000)),
        (
            "{} samples cropped at the start",
            _plain(changes.crop_start),
            (100, 500, 1000),
        ),
        ("{} samples cropped at the end", _plain(changes.crop_end), (100, 500, 1000)),
        ("{:.1%} of samples clipped", _plain(changes.clip), (0.001, 0.002, 0.003)),
        ("gain of {:+} dB", _plain(changes.gain), (-2, -1, 1, 2)),
        ("high-pass at {} Hz", _plain(changes.high_pass), (50, 100, 150)),
        ("low-pass at {} Hz", _plain(changes.low_pass), (6500, 7000, 7500)),
        ("white noise at {} dB", _drawn(changes.white_noise), (35, 40, 45)),
    ):
        table += [
            Change(small, title.format(value), apply(value), 0.95) for value in settings
        ]
    for kind, mix, snr in (
        ("speech", outside.babble, 20),
        ("music", changes.recording, 20),
        ("environment", changes.recording, 20),
        ("cough", changes.event, 10),
        ("sneeze", changes.event, 10),
    ):
        name = f"{'babble' if kind == 'speech' else kind} at {snr} dB"
        table.append(Change(noise, name, _mixed(mix, kind, snr), 0.9, -0.05, kind))
    white = _drawn(changes.white_noise)(20)
    table.append(Change(noise, "white noise at 20 dB", white, 0.9, -0.05))
    for name, coding in (
        ("phone, mu-law", "mu-law"),
        ("phone, low-rate codec", "modulated noise"),
    ):
        table.append(Change(channel, name, _drawn(lines.phone)(coding), 0.5, -0.05))
    for name, room in ROOMS.items():
        table.append(Change(channel, f"room: {name}", _in_room(room), 0.8))
    for slope in (-3, 3):
        name = f"spectral tilt of {slope:+} dB per octave"
        table.append(Change(channel, name, _plain(signals.tilt)(slope), 0.8))
    return table + _of_an_aid()


def _of_an_aid() -> list[Change]:
    """Return the changes that an aid and its wearer's life bring.

    What colours or compresses is judged as rooms and tilts are,
    wind as a noise where it is light, a line and strong wind as the phone is.
    """
    group = "robustness: hearing aid"

    def compression(ratio: float) -> Apply:
        settings = aid.Compression(ratio=ratio)
        return lambda signal, rng, sounds: aid.compress(signal, settings)

    def own_voice(signal: np.ndarray, rng: np.random.Generator, _: Sounds) -> Any:
        room = rooms.own_voice(ROOMS["living room, 2 m"])
        near = aid.own_voice_path(signal)
        return rooms.reverberate(near, room_response(room))

    table = [
        Change(group, f"compression {ratio}:1 in 5 bands", compression(ratio), 0.8)
        for ratio in (1.5, 2, 3)
    ]
    places: tuple[aid.Place, ...] = ("behind the ear", "in the canal")
    for place in places:
        table.append(
            Change(group, f"microphone {place}", _placed(aid.microphone, place), 0.8)
        )
    table.append(Change(group, "own voice", own_voice, 0.8))
    drawn: tuple[tuple[str, Callable[..., np.ndarray], float], ...] = (
        ("feedback", aid.feedback, 0.8),
        ("residue of a feedback canceller", aid.canceller_residue, 0.8),
        ("telecoil with hum at 20 dB", lines.telecoil, 0.5),
    )
    for name, function, least in drawn:
        table.append(Change(group, name, _alone(function), least))
    for speed, least in ((3, 0.9), (5, 0.5), (8, 0.5)):
        blown = _drawn(outside.wind)(speed)
        table.append(Change(group, f"wind of {speed} m/s", blown, least, -0.05))
    for name, plain, least in (
        ("noise reduction", aid.reduce_noise, 0.8),
        ("clipping 6 dB below the peak", partial(aid.saturate, below_peak=6.0), 0.8),
        (
            "12 bits at 20.48 kHz",
            partial(aid.digital_path, bits=12, rate=20480),
            0.95,
        ),
    ):
        table.append(Change(group, name, _fixed(plain), least))
    return table


def _plain(function: Callable[..., np.ndarray]) -> Callable[[Any], Apply]:
    """Take a function of signal and setting."""
    return lambda setting: lambda signal, rng, sounds: function(signal, setting)


def _drawn(function: Callable[..., np.ndarray]) -> Callable[[Any], Apply]:
    """Take a function of signal, setting and generator."""
    return lambda setting: lambda signal, rng, sounds: function(signal, setting, rng)


def _placed(function: Callable[..., np.ndarray], place: str) -> Apply:
    return lambda signal, rng, sounds: function(signal, place, rng)


def _alone(function: Callable[..., np.ndarray]) -> Apply:
    """Take a function of signal and generator."""
    return lambda signal, rng, sounds: function(signal, rng)


def _fixed(function: Callable[..., np.ndarray]) -> Apply:
    """Take a function of a signal alone."""
    return lambda signal, rng, sounds: function(signal)


def _mixed(function: Callable[..., np.ndarray], kind: str, snr: float) -> Apply:
    """Take a function of signal, recordings, ratio and generator."""
    return lambda signal, rng, sounds: function(signal, sounds.of_kind(kind), snr, rng)


def _in_room(room: Room) -> Apply:
    # the response takes a while to make, so not before it is wanted
    return lambda signal, rng, sounds: rooms.reverberate(signal, room_response(room))
