"""The commands that show what a model hears while it hears it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import sources_and_output
from .terminal import check_outputs, say, write_text


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
) -> None:
    """Write a web page in which a model's C hears the microphone or files."""
    models, out = sources_and_output(paths, "page")
    check_outputs(out)
    from ..live.page import make_page
    from ..models import find_onnx

    text = make_page({str(name): find_onnx(name) for name in models}, emulate=emulate)
    write_text(out, text)
    say(f"page: {out}, {len(text.encode()):,} bytes, open it in a browser")
