"""The command that makes a model ready for others."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..progress import ProgressBar
from .options import Overwrite
from .terminal import say, show


def publish(
    model: Annotated[
        str, typer.Argument(help="Model folder, ONNX file, bundled name or run.")
    ],
    out: Annotated[str, typer.Argument(help="Folder to write, or owner/name.")],
    to: Annotated[
        Literal["folder", "hub"],
        typer.Option(help="Where to: a folder, or the Hugging Face hub."),
    ] = "folder",
    figures: Annotated[
        Path | None,
        typer.Option(help="JSON of 'evaluate --json', for the card; its name is told."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write or upload a model with card, C, page, examples and checksums."""
    from ..api.publishing import publish as run

    with ProgressBar() as progress, tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "model" if to == "hub" else Path(out)
        paths = run(
            model, folder, figures=figures, overwrite=overwrite, progress=progress
        )
        if to == "hub":
            from ..hub import upload

            show(upload(folder, out))
            return
    say(f"{len(paths) - 1} files and folders")
    show(paths[0])
