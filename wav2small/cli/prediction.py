"""The command that scores files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from wav2small.export.base import escape
from wav2small.export.base.escape import to_json

from ..adv import DIMENSIONS
from ..bundled import DEFAULT
from .terminal import check_outputs, say, show

if TYPE_CHECKING:
    from ..audio import Source
    from ..prediction import Prediction
    from ..teachers.base import Model

COLUMNS = ("file", "start", "end", "kind", *DIMENSIONS)
FURTHER_COLUMNS = ("category", "share", *(f"doubt_{name}" for name in DIMENSIONS))
"""Further columns of a model that says categories: the likeliest one and its share,
and how far each score may be off."""

AudioPaths = Annotated[
    list[Path], typer.Argument(metavar="AUDIO...", help="Files, folders, manifests.")
]
ModelName = Annotated[str, typer.Option(help="Bundled name, run or ONNX.")]
Window = Annotated[
    float, typer.Option(help="Length of what is scored at a time, s.", min=0.1)
]
Hop = Annotated[
    float | None,
    typer.Option(help="From one window to the next, s; a window if not given."),
]
Calibration = Annotated[
    Path | None, typer.Option(help="File of one wearer, see 'wav2small calibrate'.")
]
Raw = Annotated[
    Literal["int16", "float32"],
    typer.Option(help="With --stream and '-' for AUDIO: samples of 16 kHz."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]
AsStream = Annotated[
    bool, typer.Option("--stream", help="As a chip hears it: a line a second, events.")
]
Forget = Annotated[
    float,
    typer.Option(help="With --stream: what was heard falls to 1/e in so many s."),
]

Picture = Annotated[
    Path | None,
    typer.Option(help="PNG of the scores of one recording under its waveform."),
]


def predict(
    paths: AudioPaths,
    model: ModelName = DEFAULT,
    window: Window = 10.0,
    hop: Hop = None,
    calibration: Calibration = None,
    stream: AsStream = False,
    raw: Raw = "int16",
    forget: Forget = 4.0,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    picture: Picture = None,
) -> None:
    """Score files; silence and other sounds are marked, not scored."""
    if hop is not None and not 0 < hop <= window:
        raise typer.BadParameter(f"--hop must be above 0 and at most {window:g}")
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    if stream and picture:
        raise typer.BadParameter("--stream and --picture exclude each other")
    check_outputs(picture)
    from .. import audio
    from ..api.personal import load_calibration, personal
    from ..models import load_model

    table = load_calibration(calibration, model=model) if calibration else None
    if stream:
        from .streaming import stream_lines

        form = "json" if as_json else "csv" if as_csv else "text"
        code = stream_lines(
            paths, model, raw=raw, forget=forget, table=table, form=form
        )
        raise typer.Exit(code)
    _, sources = audio.find(paths)
    if picture and len(sources) != 1:
        raise typer.BadParameter(
            f"--picture must be of one recording, got {len(sources)}"
        )
    failed: list[Source] = []
    predictions: Iterable[Prediction] = (
        personal(item, table)
        for item in _predictions(sources, load_model(model), window, hop, failed)
    )
    if picture:
        predictions = list(predictions)
    if as_json:
        show(to_json([dict(_cells(item)) for item in predictions]))
    elif as_csv:
        _print_csv(predictions)
    else:
        _print_table(predictions)
    if len(failed) == len(sources):
        raise typer.Exit(2)
    if picture:
        from ..pictures import draw_predictions

        draw_predictions(sources[0], list(predictions), picture)
        say(f"picture: {picture}")


def _predictions(
    sources: Sequence[Source],
    model: Model,
    window: float,
    hop: float | None,
    failed: list[Source],
) -> Iterator[Prediction]:
    """Score sources; say which cannot be read, and note them."""
    from .. import audio
    from ..gate import SpeechGate
    from ..prediction import predict as run

    for source, found in run(model, SpeechGate(), sources, window, hop):
        try:
            yield from found
        except audio.AudioError as error:
            failed.append(source)
            say(f"error: {error}")


def _cells(item: Prediction) -> list[tuple[str, Any]]:
    """Return the columns of a row, rounded, with their names."""
    scores = item.scores or (None,) * len(DIMENSIONS)
    rounded = [None if score is None else round(score, 4) for score in scores]
    values = (item.file, round(item.start, 3), round(item.end, 3), item.kind, *rounded)
    cells = list(zip(COLUMNS, values, strict=True))
    if item.categories is None:
        return cells
    likeliest = max(item.categories.items(), key=itemgetter(1), default=(None, None))
    doubts = item.doubts or (None,) * len(DIMENSIONS)
    further = (*likeliest, *doubts)
    rounded = [round(v, 4) if isinstance(v, float) else v for v in further]
    return cells + list(zip(FURTHER_COLUMNS, rounded, strict=True))


def _print_csv(predictions: Iterable[Prediction]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    begun = False
    for item in predictions:
        names, values = zip(*_cells(item), strict=True)
        if not begun:
            writer.writerow(names)
            begun = True
        writer.writerow([escape.csv_path(escape.line(item.file)), *values[1:]])
    if not begun:
        writer.writerow(COLUMNS)


def _print_table(predictions: Iterable[Prediction]) -> None:
    names = " ".join(f"{name:>9}" for name in DIMENSIONS)
    show(f"{'start':>8} {'end':>8}  {'kind':<10} {names}  file")
    for item in predictions:
        scores = item.scores or (None,) * len(DIMENSIONS)
        shown = " ".join(f"{'-':>9}" if s is None else f"{s:9.3f}" for s in scores)
        if item.categories:
            name, share = max(item.categories.items(), key=itemgetter(1))
            shown += f"  {name} {share:.2f}"
        show(
            f"{item.start:8.2f} {item.end:8.2f}  {item.kind:<10} {shown}"
            f"  {escape.line(item.file)}"
        )
