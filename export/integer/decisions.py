"""From scores as they come to events that last.

The norm of what ``wav2small_decide.c`` computes, integer by integer;
``docs/arithmetic.md`` states it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..base.errors import InputError
from .graph import IntegerGraph
from .personal import PART_BITS, Personal, clamp
from .rescale import Rescale

MOST = 2**32 - 1
"""Longest time in samples and in milliseconds; what lasts longer stays at it."""

LARGEST_INTEGER = 2**30
"""Largest absolute integer of a score."""

_MORE_BITS = 14
"""Bits by which smoothed scores are finer than a part."""

_NEUTRAL = 1 << (PART_BITS + _MORE_BITS - 1)
"""Smoothed score of .5, from which smoothing begins: a moment of sound, which may be no
speech at all, has to last to become a strong score."""


@dataclass(frozen=True)
class Rule:
    """When an event begins and ends."""

    begin: float
    """Score from which on it is high, or low."""

    end: float
    """Score to which a high one has to fall, or a low one to rise, to be so no more."""

    seconds: float
    """How long a change must last before it counts, in whole milliseconds."""


HIGH = Rule(begin=0.6, end=0.55, seconds=1.0)
"""Rule of each score being high, until another is given."""

LOW = Rule(begin=0.4, end=0.45, seconds=1.0)
"""Rule of each score being low, until another is given."""

SMOOTHING = 1.0
"""Time constant of the smoothing in seconds, until another is given."""

QUIET = 30.0
"""Seconds without speech that end all events and make the scores neutral again,
until others are given."""


@dataclass(frozen=True)
class Event:
    """Something that is so now."""

    name: str
    """``high`` or ``low`` and the name of the score, like ``high arousal``."""

    seconds: float
    """For how long it has been so."""


class _Watch:
    """Whether one score is high, or low, and since when."""

    def __init__(self, sign: int, rule: Rule) -> None:
        self.sign = sign
        self.on = False
        self.held = 0  # samples for which it has been so, or not so
        self.waiting = 0  # of them the last ones, in which a change shows
        self.set(rule)

    def set(self, rule: Rule) -> None:
        milliseconds = _milliseconds(rule.seconds)
        begin, end = (
            round(self.sign * _checked(value, "score", -1.99, 1.99) * 2**PART_BITS)
            for value in (rule.begin, rule.end)
        )
        if end > begin:
            raise InputError(
                "end of a rule must lie on the side of the middle, got "
                f"{rule.end:g} for an event that begins at {rule.begin:g}: swap them"
            )
        self.begin, self.end = begin, end
        self.milliseconds = milliseconds

    def wait(self, samples: int) -> None:
        self.held = min(self.held + samples, MOST)

    def look(self, part: int, samples: int, least: int) -> None:
        signed = self.sign * part
        changes = signed < self.end if self.on else signed >= self.begin
        self.waiting = min(self.waiting + samples, MOST) if changes else 0
        if changes and self.waiting >= least:
            self.on = not self.on
            self.held, self.waiting = self.waiting, 0


class Decisions:
    """Smoothed scores of one wearer, and events that are polled.

    Args:
        model: integer graph, for the scale of its scores and its sampling rate
        labels: name of each score

    Examples:
        >>> from wav2small import Stream
        >>> from wav2small.models import find_onnx
        >>> stream = Stream(find_onnx("wav2small-rt"))
        >>> decisions = Decisions(stream.graph)
        >>> decisions.rule("high arousal", Rule(begin=0.7, end=0.6, seconds=0.5))
        >>> stream.push(np.zeros(16000, np.int16))
        >>> decisions.hear(stream.latest_integers(), samples=16000, speech=False)
        >>> decisions.scores is None, decisions.events()
        (True, [])

    """

    def __init__(
        self,
        model: IntegerGraph,
        labels: Sequence[str] = ("arousal", "dominance", "valence"),
    ) -> None:
        self._zero_point = model.tensors[model.output].zero_point
        self._to_parts = score_to_parts(model)
        self._rate = model.sampling_rate
        self._personal: Personal | None = None
        self._watches = {
            f"{word} {label}": _Watch(sign, rule)
            for label in labels
            for word, sign, rule in (("high", 1, HIGH), ("low", -1, LOW))
        }
        self._begin()
        self._silent = 0
        self.smooth(SMOOTHING)
        self.quiet(QUIET)

    def _begin(self) -> None:
        """Begin with neutral scores that nothing was heard of."""
        self._begun = False
        self._smooth = [_NEUTRAL] * (len(self._watches) // 2)

    # -- what can be changed at any time -------------------------------------

    def smooth(self, seconds: float) -> None:
        """Set the time constant of the smoothing, 0 for none, in whole milliseconds."""
        self._smoothing = self._samples(_milliseconds(seconds))

    def quiet(self, seconds: float) -> None:
        """Set after how long without speech all begins anew, 0 for never."""
        self._most_silent = self._samples(_milliseconds(seconds))

    def rule(self, name: str, rule: Rule) -> None:
        """Set when an event begins and ends.

        Args:
            name: ``high`` or ``low`` and the name of a score
            rule: from now on

        Raises:
            InputError: if there is no such event, or the rule can't be

        """
        if name not in self._watches:
            raise InputError(
                f"event must be one of {', '.join(self._watches)}, got '{name}'"
            )
        self._watches[name].set(rule)

    def calibrate(self, personal: Personal | None) -> None:
        """Make the scores those of one wearer from now on; None for the model's own."""
        if personal and 2 * len(personal.gains) != len(self._watches):
            raise InputError(
                f"table of a wearer must have {len(self._watches) // 2} scores, "
                f"got {len(personal.gains)}: calibrate with this model"
            )
        self._personal = personal

    # -- what comes and what is asked ----------------------------------------

    def hear(self, integers: np.ndarray, samples: int, *, speech: bool = True) -> None:
        """Take the scores as they stand now.

        Args:
            integers: of :meth:`wav2small.Stream.latest_integers`
            samples: how many were heard since the last call, up to 2 ** 32 - 1
            speech: whether they were speech; if not, the scores are not looked at

        """
        if not samples:
            return
        for watch in self._watches.values():
            watch.wait(samples)
        if not speech:
            self._pause(samples)
            return
        self._silent = 0
        parts = [
            clamp(int(part))
            for part in self._to_parts(np.ravel(integers) - np.int64(self._zero_point))
        ]
        if self._personal:
            parts = self._personal.apply(parts)
        wanted = [part << _MORE_BITS for part in parts]
        self._begun = True
        length = samples + self._smoothing
        self._smooth = [
            old + _towards_zero((new - old) * samples, length)
            for old, new in zip(self._smooth, wanted, strict=True)
        ]
        for i, watch in enumerate(self._watches.values()):
            least = self._samples(watch.milliseconds)
            watch.look(self.parts[i // 2], samples, least)

    def _pause(self, samples: int) -> None:
        self._silent = min(self._silent + samples, MOST)
        if self._most_silent and self._silent >= self._most_silent:
            self._begin()
            for watch in self._watches.values():
                watch.waiting = 0
                if watch.on:
                    watch.on, watch.held = False, 0

    @property
    def parts(self) -> list[int]:
        """Smoothed scores in parts of ``2 ** -14``, those of .5 before any speech."""
        half = 1 << (_MORE_BITS - 1)
        return [(value + half) >> _MORE_BITS for value in self._smooth]

    @property
    def scores(self) -> np.ndarray | None:
        """Smoothed scores of the wearer, float32, None before any speech."""
        if not self._begun:
            return None
        return np.array(self.parts, np.float32) / np.float32(2**PART_BITS)

    def events(self) -> list[Event]:
        """Say what is so now."""
        return [
            Event(name, self._milliseconds_of(watch.held) / 1000)
            for name, watch in self._watches.items()
            if watch.on
        ]

    def states(self) -> list[tuple[bool, int]]:
        """Say of each event whether it is on, and for how many ms it is so or not."""
        return [
            (watch.on, self._milliseconds_of(watch.held))
            for watch in self._watches.values()
        ]

    def _samples(self, milliseconds: int) -> int:
        return min(milliseconds * self._rate // 1000, MOST)

    def _milliseconds_of(self, samples: int) -> int:
        return min(samples * 1000 // self._rate, MOST)


def score_to_parts(model: IntegerGraph) -> Rescale:
    """Rescaling from the integers of a model's scores to parts of ``2 ** -14``."""
    scale = model.tensors[model.output].scale
    return Rescale.of(scale * 2**PART_BITS, LARGEST_INTEGER)


def _towards_zero(value: int, divisor: int) -> int:
    """Quotient as C has it."""
    quotient = abs(value) // divisor
    return quotient if value >= 0 else -quotient


def _milliseconds(seconds: float) -> int:
    return round(_checked(seconds, "seconds", 0, MOST / 1000) * 1000)


def _checked(value: float, name: str, low: float, high: float) -> float:
    if not low <= value <= high:
        raise InputError(f"{name} must be {low:g} to {high:g}, got {value}: change it")
    return value
