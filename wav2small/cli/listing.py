"""The command that lists what there is."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from .terminal import (
    show,
)


def list_(
    what: Annotated[
        Literal["students", "teachers", "models", "targets"],
        typer.Argument(help="What to list."),
    ],
) -> None:
    """List students, teachers, bundled models or targets."""
    if what == "students":
        from ..students import STUDENTS

        for name, entry in STUDENTS.items():
            show(f"{name:<20} {entry.parameters:>9,} parameters  {entry.description}")
    elif what == "teachers":
        from ..teachers.loading import ENSEMBLES, TEACHERS

        for name, teacher in TEACHERS.items():
            info = teacher.info()
            show(f"{name:<20} {info.licence:<12} {info.training_data}")
        for name, path in ENSEMBLES.items():
            members = json.loads(path.read_text())["members"]
            show(f"{name:<20} {' + '.join(member['teacher'] for member in members)}")
    elif what == "models":
        from ..models import OnnxModel, bundled, find_onnx

        for name in bundled():
            path = find_onnx(name)
            metadata = OnnxModel(path).metadata
            show(
                f"{name:<20} {path.stat().st_size:>9,} bytes  "
                f"{metadata['licence']:<12} window: {metadata['window']}"
            )
    else:
        from wav2small.firmware_bench.run.measurement import why_not_emulated
        from wav2small.firmware_bench.target import TARGETS

        show(
            f"{'name':<18}{'core':<12}{'MHz':>7}{'RAM, KiB':>11}{'flash, KiB':>12}  "
            "bench     verified  source"
        )
        for name, target in TARGETS.items():
            show(
                f"{name:<18}{target.core:<12}{target.amount('clock_hz', 10**6):>7}"
                f"{target.amount('ram_bytes', 1024):>11}"
                f"{target.amount('flash_bytes', 1024):>12}  "
                f"{'planned' if why_not_emulated(target.core) else 'emulated':<8}  "
                f"{'yes' if target.verified else 'no':<8}  {target.source}"
            )
        show("A figure with ? is not verified: it decides, and is marked.")
