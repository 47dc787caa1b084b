"""The commands that show what a model hears while it hears it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wav2small.export.base import escape

from ..bundled import DEFAULT
from .options import sources_and_output
from .terminal import check_outputs, say, show, write_text

if TYPE_CHECKING:
    from ..live.listen import Heard


def page(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL... OUT",
            help="Bundled names or ONNX files; last, the HTML file to write.",
        ),
    ],
    emulate: Annotated[
        bool,
        typer.Option(
            "--emulate",
            help="Measure on emulated cores what a model costs on a chip; "
            "it is planned otherwise.",
        ),
    ] = False,
    onnxruntime: Annotated[
        Path | None,
        typer.Option(
            help="File of 'npm pack onnxruntime-web': a second file beside OUT with "
            "which the page compares its scores."
        ),
    ] = None,
) -> None:
    """Write a web page in which a model's C hears the microphone or files."""
    names, out = sources_and_output(paths, "page")
    second = out.with_suffix(".onnxruntime") if onnxruntime else None
    check_outputs(out, second)
    from wav2small.export.base.files import replace_file

    from ..live.page import make_page
    from ..live.runtime import pack_runtime
    from ..models import find_onnx

    models = {str(name): find_onnx(name) for name in names}
    runtime = None
    if onnxruntime and second:
        runtime = second.name, pack_runtime(onnxruntime, models)
    text = make_page(models, emulate=emulate, runtime=runtime)
    write_text(out, text)
    if runtime and second:
        replace_file(second, runtime[1].packed)
        say(f"second file: {second}, {len(runtime[1].packed):,} bytes")
    say(f"page: {out}, {len(text.encode()):,} bytes, open it in a browser")


def live(
    file: Annotated[
        Path | None,
        typer.Argument(help="Recording to hear in real time; none: the microphone."),
    ] = None,
    model: Annotated[str, typer.Option(help="Bundled name or ONNX.")] = DEFAULT,
    forget: Annotated[
        float,
        typer.Option(
            help="Time in which what was heard weighs 37 %, s; 0 forgets nothing.",
            min=0,
        ),
    ] = 4.0,
    device: Annotated[
        str | None, typer.Option(help="Number or name of the microphone.")
    ] = None,
) -> None:
    """Show what a model hears, while it hears it, until Ctrl-C."""
    from ..live.listen import hear, microphone, play

    with ExitStack() as stack:
        blocks = play(file) if file else stack.enter_context(microphone(device))
        name = escape.short(file.name) if file else "the microphone"
        moments = hear(blocks, model=model, forget_seconds=forget or None)
        delays: list[float] = []
        try:
            _show_all(f"{escape.short(model)} hears {name}", moments, delays)
        finally:
            if delays:
                median, most = sorted(delays)[len(delays) // 2], max(delays)
                say(
                    f"shown {1000 * median:.0f} ms (median) and at most "
                    f"{1000 * most:.0f} ms after each tenth of a second had ended"
                )


def _show_all(title: str, moments: Iterator[Heard], delays: list[float]) -> None:
    """Show what is heard as it comes: bars in a terminal, lines for a program."""
    from rich.console import Console
    from rich.live import Live

    from ..live.screen import Screen, to_line

    if not sys.stdout.isatty():
        for heard in moments:
            show(to_line(heard))
            sys.stdout.flush()
            delays.append(time.monotonic() - heard.end)
        return
    screen = Screen(title)
    with Live(console=Console(), auto_refresh=False) as view:
        for heard in moments:
            view.update(screen.add(heard), refresh=True)
            delays.append(time.monotonic() - heard.end)
