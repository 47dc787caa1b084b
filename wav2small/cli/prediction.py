"""The command that scores files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wav2small.export.base import escape
from wav2small.export.base.escape import to_json

from ..adv import DIMENSIONS
from ..bundled import DEFAULT
from .terminal import (
    say,
    show,
)

if TYPE_CHECKING:
    pass


def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="AUDIO...", help="Files, folders, manifests."),
    ],
    model: Annotated[str, typer.Option(help="Bundled name, run or ONNX.")] = DEFAULT,
    window: Annotated[
        float, typer.Option(help="Length of what is scored at a time, s.", min=0.1)
    ] = 10.0,
    hop: Annotated[
        float | None,
        typer.Option(help="From one window to the next, s; a window if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Score files; silence and other sounds are marked, not scored."""
    if hop is not None and not 0 < hop <= window:
        raise typer.BadParameter(f"--hop must be above 0 and at most {window:g}")
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    import csv

    from .. import audio
    from ..gate import SpeechGate
    from ..models import load_model
    from ..prediction import predict as run

    _, sources = audio.find(paths)
    loaded, gate = load_model(model), SpeechGate()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = ["file", "start", "end", "kind", *DIMENSIONS]
    rows: list[dict[str, Any]] = []
    if as_csv:
        writer.writerow(columns)
    elif not as_json:
        show(
            f"{'start':>8} {'end':>8}  {'kind':<10} "
            + " ".join(f"{name:>9}" for name in DIMENSIONS)
            + "  file"
        )
    failed = 0
    for source in sources:
        try:
            for item in run(
                loaded, gate, source, window_seconds=window, hop_seconds=hop
            ):
                scores = item.scores or (None,) * 3
                cells = [item.file, round(item.start, 3), round(item.end, 3), item.kind]
                cells += [None if s is None else round(s, 4) for s in scores]
                if as_json:
                    rows.append(dict(zip(columns, cells, strict=True)))
                elif as_csv:
                    name = escape.csv_path(escape.line(item.file))
                    writer.writerow([name, *cells[1:]])
                else:
                    shown = " ".join(
                        f"{'-':>9}" if s is None else f"{s:9.3f}" for s in scores
                    )
                    show(
                        f"{item.start:8.2f} {item.end:8.2f}  {item.kind:<10} {shown}"
                        f"  {escape.line(item.file)}"
                    )
        except audio.AudioError as error:
            failed += 1
            say(f"error: {error}")
    if as_json:
        show(to_json(rows))
    if failed == len(sources):
        raise typer.Exit(2)
