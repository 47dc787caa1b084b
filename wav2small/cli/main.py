"""The command line: parse, call, print."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .annotation import annotate
from .benchmark import bench
from .comparison import compare
from .distillation import distill
from .evaluation import evaluate
from .exporting import export
from .finetuning import ask, finetune, layers, select
from .listing import list_
from .prediction import predict
from .terminal import extra, say, speak_any_language

app = typer.Typer(
    name="wav2small",
    help="Tiny speech-emotion models for hearing aids.\n\n"
    "Exit codes: 0 done, fits or holds; 1 does not fit or does not hold, nothing else; "
    "2 wrong usage or wrong input; 3 a package or tool is missing or fails; "
    "4 something that was asked could not be checked.",
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
    compare,
    bench,
    predict,
    finetune,
    layers,
    select,
    ask,
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
    with extra("train"):
        from .demonstration import demo as run

    run(out)


PATH_ERRORS = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
"""What the system says of a path that the user gave."""


def main() -> None:
    """Run the command line; what a user can mend is one line."""
    speak_any_language()
    try:
        app()
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    except SystemExit as done:
        if not isinstance(done.__context__, BrokenPipeError):
            raise
        # the reader went away, as with 'head'; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())
        sys.exit(141)
    except InputError as error:
        say("error: " + " ".join(str(error).split()))
        sys.exit(error.exit_code)
    except OSError as error:
        say("error: " + " ".join(str(error).split()))
        sys.exit(2 if isinstance(error, PATH_ERRORS) else 3)
    except Exception:
        # a bug: 1 would say that a model does not fit
        traceback.print_exc()
        sys.exit(3)
