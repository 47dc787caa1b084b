"""Show how far work has come: in a terminal, a notebook or a log file."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

from wav2small.export.base import escape

if TYPE_CHECKING:
    from rich.console import Console

LOG_SECONDS = 15.0
"""Time between two lines about a stage in a log file."""

QUICK_SECONDS = 2.0
"""A stage that takes less than this is not worth a line in a log file."""


@dataclass
class _Seen:
    """What is remembered about a stage."""

    begun: float
    """When it began, in seconds."""

    first_done: int
    """How much was done at its first report; a resumed run begins above 0."""

    first_seen: float
    """When its first report came, in seconds."""

    logged: float
    """When the last line was written about it, in seconds."""

    task: Any = None
    """Its row of the bar."""

    finished: bool = False
    """Whether all of it is done."""


class ProgressBar:
    """Show each stage as a row with a bar, the time left and the latest figures.

    Pass it to any function that takes ``progress``,
    as ``wav2small.annotate("speech", "labels", progress=wav2small.ProgressBar())``.
    A terminal or notebook gets bars.
    Anything else, such as a log file, gets a line about every 15 seconds.
    Reports may come from several threads.

    Args:
        file: where to write, stderr if None

    Examples:
        >>> import io
        >>> file = io.StringIO()
        >>> with ProgressBar(file) as progress:
        ...     progress("train", 1, 1, {"loss": 0.5})

    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._stages: dict[str, _Seen] = {}
        self._rich: Any = None
        self._console: Console | None = None
        self._created = self._latest = time.monotonic()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(
        self,
        stage: str,
        done: int,
        total: int,
        figures: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Show that a part of a stage is done.

        Args:
            stage: name of the stage
            done: how much of it is done
            total: how much there is
            figures: what was found so far, by name

        """
        now = time.monotonic()
        with self._lock:
            known = self._stages.get(stage)
            if known is None or (known.finished and done < total):
                known = _Seen(self._latest, done, now, self._created)
                self._stages[stage] = known
            self._latest = now
            known.finished = done >= total
            text = _figures_text(figures, now - known.begun)
            if self._shows_bars():
                self._draw(known, stage, done, total, text)
            else:
                self._log(known, stage, done, total, text, now)

    def close(self) -> None:
        """Leave the bars as they are; a later report begins new ones."""
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        if self._rich:
            self._rich.stop()
        self._rich = None
        self._stages.clear()

    def _shows_bars(self) -> bool:
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=self._file or sys.stderr)
        if self._console.is_jupyter:
            # without its widgets a notebook shows no bar
            return find_spec("ipywidgets") is not None
        return self._console.is_terminal

    def _draw(self, known: _Seen, stage: str, done: int, total: int, text: str) -> None:
        if self._rich is None:
            self._rich = _new_bars(self._console)
            self._rich.start()
        if known.task is None:
            known.task = self._rich.add_task(stage, total=total, text="")
        self._rich.update(known.task, completed=done, total=total, text=text)
        if all(other.finished for other in self._stages.values()):
            self._stop()

    def _log(
        self,
        known: _Seen,
        stage: str,
        done: int,
        total: int,
        text: str,
        now: float,
    ) -> None:
        spent = now - known.begun
        late = now - known.logged > LOG_SECONDS
        if not late and not (known.finished and spent > QUICK_SECONDS):
            return
        known.logged = now
        parts = [f"{stage} {done}/{total}", f"{spent:.0f} s"]
        if known.first_done < done < total:
            rate = (now - known.first_seen) / (done - known.first_done)
            parts.append(f"{_duration(rate * (total - done))} left")
        line = escape.line(", ".join([*parts, *filter(None, [text])]))
        print(line, file=self._file or sys.stderr, flush=True)


def _new_bars(console: Console | None) -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description:<9}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False),
        console=console,
    )


def _figures_text(figures: Mapping[str, float], spent: float) -> str:
    parts = []
    for name, value in figures.items():
        if name == "audio_seconds":
            parts.append(f"{value / 3600:.2f} h of audio")
            if spent > 0:
                parts.append(f"{value / spent:.1f} x real time")
        else:
            number = f"{value}" if isinstance(value, int) else f"{value:.3f}"
            parts.append(f"{name.replace('_', ' ')} {number}")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
