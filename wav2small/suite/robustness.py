"""Tests of robustness: changes of a signal that should not change its scores."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from wav2small.export.base.progress import Progress

from ..acoustics import aid, lines, outside, rooms, signals
from ..acoustics.rooms import ROOMS, Room, room_response
from . import changes
from .figures import loss_of_ccc
from .rows import Heading, SuiteRows, at_least
from .sounds import Sounds, spread
from .speech import Tested

UNCHANGED = 0.05
"""A score that moves by less than this is unchanged."""

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


def add_changes(
    rows: SuiteRows,
    tested: Tested,
    sounds: Sounds,
    *,
    clips: int,
    seed: int,
    progress: Progress,
) -> None:
    """Add rows of how scores stay the same when clips are changed.

    Args:
        rows: gets the new rows
        tested: model, speech and scores
        sounds: recordings that some changes need
        clips: most clips that are changed, spread evenly
        seed: seed of the changes
        progress: called after each clip of each change

    """
    chosen = spread(len(tested.scores), clips)
    before, truth = tested.scores[chosen], tested.truth[chosen]
    todo = []
    for change in all_changes():
        if change.needs and not sounds.of_kind(change.needs):
            option = "--speech" if change.needs == "speech" else "--noise"
            rows.skip(
                change.group, change.name, f"no recordings of {change.needs}: {option}"
            )
        else:
            todo.append(change)
    for number, change in enumerate(todo):
        # each change has a generator of its own, so that adding or removing a test
        # does not alter the noise that the others draw
        key = zlib.crc32(change.name.encode())
        after = np.zeros_like(before)
        for row, item in enumerate(chosen):
            rng = np.random.default_rng([seed, key, item])
            changed = change.apply(tested.speech.signals[item], rng, sounds)
            after[row] = tested.speech.score(tested.model, item, changed)
            done = number * len(chosen) + row + 1
            progress("changes", done, len(todo) * len(chosen), {})
        _add_change(rows, change, truth, before, after)


def _add_change(
    rows: SuiteRows,
    change: Change,
    truth: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
) -> None:
    """Add the rows of a change; all scores are ``(clips, 3)``."""
    place = change.group, change.name
    for axis in range(3):
        same = np.abs(after[:, axis] - before[:, axis]) < UNCHANGED
        least = at_least(change.unchanged)
        rows.add_share(Heading(*place, "share unchanged", axis, least), same)
    threshold = None if change.ccc is None else at_least(change.ccc)
    for axis in range(3):
        known = np.flatnonzero(~np.isnan(truth[:, axis]))
        if len(known) >= 2:
            series = (part[known, axis] for part in (truth, before, after))
            heading = Heading(*place, "change of CCC", axis, threshold)
            rows.add(heading, loss_of_ccc, *series)


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
    """Return the changes that a hearing aid makes, or that its wearer meets.

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
    # the response takes a while to compute, so it is made when it is first needed
    return lambda signal, rng, sounds: rooms.reverberate(signal, room_response(room))
