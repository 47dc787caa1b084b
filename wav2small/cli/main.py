"""The command line: parse, call, print."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TextIO

import typer

from wav2small.export.base.errors import missing

from .. import __version__
from ..errors import InputError, LeftOutWarning
from .annotation import annotate
from .benchmark import bench
from .calibration import calibrate
from .code import c99, hop
from .comparison import compare
from .condensing import condense
from .distillation import distill
from .evaluation import evaluate
from .exporting import export
from .finetuning import finetune, layers
from .labelling import ask, select
from .listing import list_
from .live import live, page
from .prediction import predict
from .publication import publish
from .terminal import say, speak_any_language

BUG = 70
"""Exit code of a bug, as ``EX_SOFTWARE`` of BSD."""

MOST_LETTERS = 1000
"""Longest line of an error."""

TRACEBACK = "WAV2SMALL_TRACEBACK"
"""Variable of the environment that lets a bug show its traceback."""

app = typer.Typer(
    name="wav2small",
    help="Tiny speech-emotion models for hearing aids.\n\n"
    "Exit codes: 0 done, fits or holds; 1 does not fit or does not hold, nothing else; "
    "2 wrong usage or wrong input; 3 a package or tool is missing or fails; "
    "4 something that was asked could not be checked; 70 a bug.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

COMMANDS: tuple[Callable[..., None], ...] = (
    annotate,
    distill,
    evaluate,
    export,
    c99,
    hop,
    publish,
    compare,
    bench,
    predict,
    page,
    live,
    calibrate,
    finetune,
    layers,
    select,
    ask,
    condense,
)
for _command in COMMANDS:
    app.command()(_command)
app.command("list")(list_)


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for everything that the demo makes.")
    ] = Path("runs/demo"),
) -> None:
    """Run the whole chain on bundled audio with the bundled teacher."""
    from .demonstration import demo as run

    run(out)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"wav2small {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say the version."
        ),
    ] = False,
) -> None:
    pass


PATH_ERRORS = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
"""What the system says of a path that the user gave."""


def main() -> None:
    """Run the command line; what a user can mend is one line, and so is a bug."""
    speak_any_language()
    with _warnings_in_a_line():
        _run()


def _run() -> None:
    try:
        app()
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    except SystemExit as done:
        if not isinstance(done.__context__, BrokenPipeError):
            raise
        # the reader has closed the pipe, as 'head' does, so nothing can be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except InputError as error:
        text = " ".join(str(error).split())
        if len(text) > MOST_LETTERS:  # a cell of a table may have any length
            text = f"{text[: MOST_LETTERS // 2]} ... {text[-MOST_LETTERS // 2 :]}"
        say(f"error: {text}")
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder where a file is to be
        # of a rename, the user knows the second name
        path = error.filename2 or error.filename
        where = f"{os.fsdecode(path)}: " if path else ""
        say(f"error: {where}{error.strerror or error}: check the path and the disk")
        sys.exit(2 if isinstance(error, PATH_ERRORS) else 3)
    except MemoryError:
        say("error: memory must suffice, it did not: free some or give less at a time")
        sys.exit(3)
    except Exception as error:
        problem = missing(error) if isinstance(error, ImportError) else None
        if problem:
            say(f"error: {problem}")
            sys.exit(problem.exit_code)
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        else:
            what = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            say(
                f"error: this is a bug in wav2small: {what}: set {TRACEBACK}=1 to see "
                "where, and report it"
            )
        sys.exit(BUG)


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Say what was left out; other libraries' warnings are shown as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", LeftOutWarning)
        show = warnings.showwarning

        def in_a_line(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, LeftOutWarning):
                say(f"warning: {message}")
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = in_a_line
        yield
