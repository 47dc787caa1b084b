"""What the command line says and shows, and how it ends."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer

from wav2small.export.base import escape

from ..adv import DIMENSIONS
from ..errors import InputError, ToolError

LOG_SECONDS = 15.0
"""Time between two lines of progress in a log file."""


def say_averaged(count: int) -> None:
    """Say it where scores by humans are the mean of several rows."""
    if count:
        say(
            f"{count} recordings have several rows of scores by humans: "
            "their mean is used"
        )


def say_use(stated: Mapping[str, Any], what: str) -> None:
    """Say it where what was made is not for every use."""
    from ..teachers.licence import RESEARCH

    if stated.get("use") == RESEARCH:
        say(f"{what}: {RESEARCH} by the teacher's licence, {stated['licence']}")


def scores_line(figures: dict[str, float]) -> str:
    """Write a figure of each dimension in a line."""
    return " ".join(f"{name[0].upper()} {figures[name]:.3f}" for name in DIMENSIONS)


@contextmanager
def bars() -> Iterator[Callable[..., None]]:
    """Show one bar after the other; yields a function of title, done, total, text."""
    current: tuple[str, ExitStack, Callable[..., None]] | None = None

    def advance(title: str, done: int, total: int, text: str = "") -> None:
        nonlocal current
        if current is None or current[0] != title:
            if current:
                current[1].close()
            stack = ExitStack()
            current = title, stack, stack.enter_context(bar(title))
        current[2](done, total, text)

    try:
        yield advance
    finally:
        if current:
            current[1].close()


@contextmanager
def bar(title: str) -> Iterator[Callable[..., None]]:
    """Show progress on stderr; yields a function of done, total and text.

    A terminal gets a bar, a log file a line now and then.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        begun = said = time.monotonic()

        def log(done: int, total: int, text: str = "") -> None:
            nonlocal said
            now = time.monotonic()
            if now - said > LOG_SECONDS or (done == total and now - begun > 2):
                said = now
                say(f"{title} {done}/{total}, {now - begun:.0f} s {text}".rstrip())

        yield log
        return
    bar = Progress(
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
    )
    with bar:
        task = bar.add_task(title, total=None, text="")

        def advance(done: int, total: int, text: str = "") -> None:
            bar.update(task, completed=done, total=total, text=text)

        yield advance


def hours(advance: Callable[..., None]) -> Callable[[int, int, float, int], None]:
    """Say how much audio is done, how fast, and when the end will be."""
    begun, first = time.monotonic(), -1

    def progress(done: int, total: int, seconds: float, errors: int) -> None:
        nonlocal first
        if first < 0:
            first = done
        spent = time.monotonic() - begun
        text = f"{seconds / 3600:.2f} h of audio, {seconds / spent:.1f} x real time"
        if done > first:
            left = spent / (done - first) * (total - done)
            text += f", {left / 60:.0f} min left"
        advance(done, total, f"{text}, {errors} errors")

    return progress


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


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Turn a missing optional dependency into a line that names the extra.

    Args:
        name: the extra, but for packages that one of the same name installs

    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("wav2small"):
            raise  # ours: no extra brings it
        wanted = error.name if error.name == "tflite" else name
        raise ToolError(
            f"package {error.name} is missing: pip install 'wav2small[{wanted}]'"
        ) from error


def check_outputs(*files: Path | None, folders: Sequence[Path | None] = ()) -> None:
    """See to it, before the work, that what was asked for can be written.

    Raises:
        InputError: if something else is there, or a folder cannot be written to

    """
    from wav2small.export.base.files import check_output

    for path in filter(None, files):
        check_output(path)
    for path in filter(None, folders):
        check_output(path, folder=True)


def write(path: Path, text: str) -> None:
    """Write a text file, and the folders that it needs.

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

    A terminal of Latin-1 is told ``a\\u0153.wav`` of a file ``aœ.wav``.
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
