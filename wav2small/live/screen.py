"""What a person sees of a model that hears, in a terminal and in a log."""

from __future__ import annotations

from collections import deque

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..adv import DIMENSIONS
from .listen import Heard

_BARS = " ▁▂▃▄▅▆▇█"
_COLOURS = ("red", "blue", "green")
_LEVELS = (-60.0, 0.0)
"""Levels in dB of full scale that the bars of loudness reach from and to."""


def to_line(heard: Heard) -> str:
    """Write what was heard as one line."""
    moment = heard.moment
    scores = "no scores yet"
    if moment.scores is not None:
        pairs = zip(DIMENSIONS, moment.scores, strict=True)
        scores = "  ".join(f"{name} {score:.3f}" for name, score in pairs)
    line = f"{moment.seconds:8.1f} s  {heard.level:6.1f} dBFS  {scores}"
    return f"{line}  {_state(heard)}".rstrip()


class Screen:
    """The last seconds of what was heard, drawn with bars.

    Args:
        title: what hears what
        columns: tenths of a second that are kept

    """

    def __init__(self, title: str, columns: int = 60) -> None:
        self._title = title
        self._kept: deque[Heard] = deque(maxlen=columns)

    def add(self, heard: Heard) -> RenderableType:
        """Take what was heard and draw all that is kept."""
        self._kept.append(heard)
        table = Table.grid(padding=(0, 1))
        table.add_column(min_width=10)
        table.add_column(justify="right", min_width=9)
        table.add_column(no_wrap=True, overflow="crop")
        low, high = _LEVELS
        loudness = [(kept.level - low) / (high - low) for kept in self._kept]
        table.add_row("level", f"{heard.level:.0f} dBFS", _bars(loudness))
        for axis, (name, colour) in enumerate(zip(DIMENSIONS, _COLOURS, strict=True)):
            scores = [kept.moment.scores for kept in self._kept]
            track = [np.nan if known is None else known[axis] for known in scores]
            now = "-" if np.isnan(track[-1]) else f"{track[-1]:.2f}"
            table.add_row(Text(name, colour), now, Text(_bars(track), colour))
        return Group(
            Text(f"{self._title}, {heard.moment.seconds:.1f} s", "bold"),
            table,
            Text(_state(heard) or "no event", "bold"),
        )


def _state(heard: Heard) -> str:
    """What is so now, in words."""
    words = ["no speech"] if heard.moment.speech is False else []
    words += [f"{e.name} for {e.seconds:.1f} s" for e in heard.moment.events]
    return ", ".join(words)


def _bars(track: list[float]) -> str:
    """Bars for numbers in 0..1; none where there is no number."""
    places = np.clip(np.nan_to_num(track, neginf=0, posinf=1), 0, 1)
    return "".join(_BARS[round(place * (len(_BARS) - 1))] for place in places)
