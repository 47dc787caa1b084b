"""What the command line says and shows, and how it ends."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer

from wav2small.export.base import escape

from ..adv import DIMENSIONS
from ..errors import InputError


def say_averaged(count: int) -> None:
    """Tell the user if scores by humans are the mean of several rows."""
    if count:
        say(
            f"{count} recordings have several rows of scores by humans: "
            "their mean is used"
        )


def say_unreadable(count: int) -> None:
    """Tell the user if clips were left out because they could not be read."""
    if count:
        say(f"warning: {count} clips could not be read and were left out")


def say_use(stated: Mapping[str, Any], what: str) -> None:
    """Tell the user if what was made may not be used for everything."""
    from ..teachers.licence import RESEARCH

    if stated.get("use") == RESEARCH:
        say(f"{what}: {RESEARCH} by the teacher's licence, {stated['licence']}")


def scores_line(figures: dict[str, float]) -> str:
    """Write a figure of each dimension in a line."""
    return " ".join(f"{name[0].upper()} {figures[name]:.3f}" for name in DIMENSIONS)


@contextmanager
def ending(advice: str) -> Iterator[None]:
    """End in order when asked to, by Ctrl-C or by a batch system."""
    import signal
    import threading

    def end(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    ours = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, end) if ours else None
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        say(advice)
        raise
    finally:
        if ours:
            signal.signal(signal.SIGTERM, before)


def check_outputs(*files: Path | None, folders: Sequence[Path | None] = ()) -> None:
    """Check before the work begins that its outputs can be written.

    Raises:
        InputError: if something else is there, or a folder cannot be written to

    """
    from wav2small.export.base.files import check_output

    for path in filter(None, files):
        check_output(path)
    for path in filter(None, folders):
        check_output(path, folder=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file and make the folders that it needs.

    Raises:
        InputError: if the disk is full, or the file cannot be written

    """
    from wav2small.export.base.files import replace_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.rstrip("\n").encode() + b"\n")
    except OSError as error:
        raise InputError(
            f"output must be a file that can be written, got {path}: {error.strerror}: "
            "make room or name another"
        ) from error


def speak_any_language() -> None:
    """Escape what the encoding of stdout or stderr lacks, instead of failing.

    On a terminal of Latin-1 a file ``aœ.wav`` is shown as ``a\\u0153.wav``.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Tell the user one line; what a program reads goes to stdout."""
    print(escape.line(text), file=sys.stderr)


def show(text: object = "") -> None:
    """Write lines of a result to stdout, whatever names are in them."""
    print(escape.lines(text))


def fail(text: str) -> NoReturn:
    """Say in one line what does not hold, and end with exit code 1."""
    say(f"error: {text}")
    raise typer.Exit(1)
