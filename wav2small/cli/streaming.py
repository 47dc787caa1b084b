"""``predict --stream``: a line a second, from files or from raw samples."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from wav2small.export.base import escape
from wav2small.export.integer.personal import Personal

from ..adv import DIMENSIONS, SAMPLING_RATE
from ..api.listening import Moment, follow
from ..errors import InputError
from .terminal import say

STDIN = Path("-")
"""What stands for standard input."""

RAW: dict[str, np.dtype[Any]] = {
    "int16": np.dtype("<i2"),
    "float32": np.dtype("<f4"),
}
"""Raw samples that standard input may have, of 16 kHz and one channel."""

_READ_SAMPLES = SAMPLING_RATE // 10


def stream_lines(
    paths: Sequence[Path],
    model: str,
    *,
    raw: str,
    forget: float,
    table: Personal | None,
    form: str,
) -> int:
    """Print how things stand, a line for each second of audio.

    Args:
        paths: files, folders, manifests, or ``-`` alone for standard input
        model: bundled name or int8 ONNX that streams
        raw: what standard input has, of :data:`RAW`
        forget: seconds in which what was heard falls to 1 / e, 0 to forget nothing
        table: of one wearer
        form: ``text``, ``csv`` or ``json`` (one object a line)

    Returns:
        exit code

    Raises:
        InputError: if the model does not stream or the input cannot be used

    """
    from .. import audio

    write = _writer(form)

    def run(name: str, blocks: Iterator[np.ndarray]) -> None:
        for moment in follow(
            blocks, model=model, forget_seconds=forget or None, calibration=table
        ):
            write(name, moment)

    if STDIN in paths:
        if len(paths) > 1:
            raise InputError("'-' must stand alone, got other paths: leave them out")
        run("-", read_raw(sys.stdin.buffer, RAW[raw]))
        return 0
    failed = 0
    _, sources = audio.find(paths)
    for source in sources:
        try:
            blocks = audio.stream(
                source.path, start=source.start or 0.0, end=source.end
            )
            run(source.given or str(source.path), blocks)
        except audio.AudioError as error:
            failed += 1
            say(f"error: {error}")
    return 2 if failed == len(sources) else 0


def read_raw(file: BinaryIO, kind: np.dtype[Any]) -> Iterator[np.ndarray]:
    """Read raw samples as they come.

    Raises:
        InputError: if the last sample is not whole

    """
    while data := file.read(_READ_SAMPLES * kind.itemsize):
        whole = len(data) // kind.itemsize * kind.itemsize
        yield np.frombuffer(data[:whole], kind).astype(kind.newbyteorder("="))
        if whole < len(data):
            raise InputError(
                f"raw samples must have {kind.itemsize} bytes each, got "
                f"{len(data) - whole} at the end: say what they are with --raw"
            )


def _writer(form: str) -> Callable[[str, Moment], None]:
    """Return what prints a moment, after the line of names that the form has."""
    names = ["file", "seconds", *DIMENSIONS, "speech", "events"]
    rows = csv.writer(sys.stdout, lineterminator="\n")
    if form == "csv":
        rows.writerow(names)
    elif form == "text":
        print(f"{'seconds':>8} " + " ".join(f"{n:>9}" for n in DIMENSIONS) + "  events")

    def write(name: str, moment: Moment) -> None:
        scores = moment.scores or (None,) * len(DIMENSIONS)
        events = [f"{event.name} {event.seconds:.1f} s" for event in moment.events]
        if form == "text":
            shown = " ".join(f"{'-':>9}" if s is None else f"{s:9.3f}" for s in scores)
            pause = "" if moment.speech in (None, True) else "no speech; "
            print(f"{moment.seconds:8.1f} {shown}  {pause}{', '.join(events)}".rstrip())
        else:
            rounded = [None if s is None else round(s, 4) for s in scores]
            cells = [round(moment.seconds, 1), *rounded, moment.speech]
            if form == "csv":
                shown = escape.csv_path(escape.line(name))
                rows.writerow([shown, *cells, "; ".join(events)])
            else:
                durations = {e.name: round(e.seconds, 1) for e in moment.events}
                row = dict(zip(names, [name, *cells, durations], strict=True))
                print(json.dumps(row))
        # whoever reads a pipe shall have the line now
        sys.stdout.flush()

    return write
