"""Options that several commands have; defaults come from the configurations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .terminal import say

if TYPE_CHECKING:
    import numpy as np

    from ..audio import Source

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a run stopped.")]

Seed = Annotated[int, typer.Option(help="Seed of everything.", min=0)]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")]
BatchSize = Annotated[int, typer.Option(help="Crops per step.", min=2)]
Crop = Annotated[float, typer.Option(help="Length of a crop, s.", min=0.1)]

AudioRoot = Annotated[
    Path | None, typer.Option(help="Where the audio is, if it was moved.")
]
Noise = Annotated[Path | None, typer.Option(help="Recordings of noise to train with.")]
TeacherLabels = Annotated[
    str | None,
    typer.Option(
        help="Outputs of the teacher in its order, e.g. arousal,valence,dominance, "
        "if its files do not say it."
    ),
]
AudioAndLabels = Annotated[
    list[Path],
    typer.Argument(
        metavar="AUDIO... LABELS",
        help="Audio files, folders or manifests; last, the label folder to write.",
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        help="Leave a fine-tuned teacher early, where two of its exits differ by no "
        "more than this.",
        min=0,
        max=1,
    ),
]
TranscriberName = Annotated[
    str,
    typer.Option(
        "--transcriber",
        help="Program that reads WAV on stdin and writes what is said; asked where "
        "no table says it. Started anew for each clip, by no shell.",
    ),
]
LabelsFolder = Annotated[Path, typer.Argument(help="Folder of labels.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the figures as JSON.")
]


def is_first_process() -> bool:
    """Tell whether this is the one of several processes of torchrun that prints."""
    return os.environ.get("RANK", "0") == "0"


def own_device(device: str) -> str:
    """Return the device of this process, if torchrun has started several."""
    number = os.environ.get("LOCAL_RANK")
    return f"cuda:{number}" if device == "cuda" and number is not None else device


def split_order(labels: str | None) -> list[str] | None:
    """Return the dimensions that ``--teacher-labels`` names, None if none."""
    return labels.split(",") if labels else None


def sources_and_output(paths: list[Path], output: str) -> tuple[list[Path], Path]:
    """Split paths into the sources that are read and, last, the output.

    Raises:
        typer.BadParameter: if one of them is missing

    """
    if len(paths) < 2:
        raise typer.BadParameter(
            f"at least one AUDIO and the {output} to write are needed"
        )
    return paths[:-1], paths[-1]


def read_beginnings(sources: Sequence[Source], seconds: float) -> list[np.ndarray]:
    """Read the first seconds of clips; say which cannot be read.

    Raises:
        InputError: if none of them can be read

    """
    from .. import audio

    signals = []
    for source in sources:
        try:
            signals.append(audio.beginning(source, seconds))
        except audio.AudioError as error:
            say(f"warning: {error}")
    if not signals:
        raise InputError(
            f"audio must be clips that can be read, got none of {len(sources)}: "
            "name others"
        )
    return signals
