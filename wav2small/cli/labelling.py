"""Commands that choose what people shall label, and that ask a language model."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wav2small.export.base import escape
from wav2small.export.base.files import claim

from ..adv import DIMENSIONS
from ..errors import InputError
from ..progress import ProgressBar
from .options import AudioAndLabels, Overwrite, Resume, Seed, sources_and_output
from .terminal import check_outputs, say, say_use, show, write_text

if TYPE_CHECKING:
    import numpy as np

    from ..audio import Source

_AT_ONCE = 256
"""Clips of a pool that are held in memory."""

_SECONDS = 10.0
"""How much of a clip is looked at."""


def select(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="AUDIO... TABLE",
            help="Audio files, folders or manifests; last, the table (csv) to write.",
        ),
    ],
    count: Annotated[int, typer.Option(help="How many to choose.", min=1)],
    backbone: Annotated[
        str, typer.Option(help="What clips are compared by, as of finetune.")
    ] = "mel",
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="A fine-tuning so far: choose what it is least sure of; "
            "clips are compared by it."
        ),
    ] = None,
    labelled: Annotated[
        Path | None, typer.Option(help="Table of what is labelled: not chosen again.")
    ] = None,
    passes: Annotated[
        int, typer.Option(help="Answers of the teacher for each clip.", min=2)
    ] = 8,
    seed: Seed = 0,
) -> None:
    """Choose what people shall label: diverse clips, then uncertain ones."""
    places, out = sources_and_output(paths, "TABLE")
    check_outputs(out)
    with claim(out, file=True):
        chosen = _chosen(places, count, backbone, teacher, labelled, passes, seed)
        write_text(out, _to_table(chosen))
    show(out)


def _chosen(
    places: list[Path],
    count: int,
    backbone: str,
    teacher: Path | None,
    labelled: Path | None,
    passes: int,
    seed: int,
) -> list[Source]:
    """Choose clips of a pool that are not labelled yet."""
    import numpy as np

    from .. import audio
    from ..finetune.backbones import load_backbone
    from ..finetune.labelling.selection import choose, dropout_uncertainty
    from ..finetune.probe import layer_features
    from ..finetune.teacher import FinetunedTeacher

    used = {source.path for source in audio.find([labelled])[1]} if labelled else set()
    fresh = [s for s in audio.find(places)[1] if s.path not in used]
    network = (
        FinetunedTeacher.load(teacher, policy="research").network if teacher else None
    )
    compared = network.backbone if network else load_backbone(backbone)[0]
    readable, features, uncertainty = [], [], []
    for sources, signals in _read_in_parts(fresh):
        readable += sources
        features.append(layer_features(compared, signals)[-1])
        if network:
            uncertainty.append(
                dropout_uncertainty(network, signals, passes=passes, seed=seed)
            )
    if not readable:
        raise InputError("audio must hold clips that are not labelled, got none")
    items = choose(
        np.concatenate(features),
        count,
        np.random.default_rng(seed),
        uncertainty=np.concatenate(uncertainty) if uncertainty else None,
    )
    return [readable[item] for item in items]


def _read_in_parts(
    sources: list[Source],
) -> Iterator[tuple[list[Source], list[np.ndarray]]]:
    """Read the beginnings of clips; a pool may be larger than the memory."""
    from .. import audio

    with ProgressBar() as progress:
        for begin in range(0, len(sources), _AT_ONCE):
            readable, signals = [], []
            part = sources[begin : begin + _AT_ONCE]
            for done, source in enumerate(part, begin + 1):
                try:
                    signals.append(audio.beginning(source, _SECONDS))
                    readable.append(source)
                except audio.AudioError as error:
                    say(f"warning: {error}")
                progress("read", done, len(sources))
            if signals:
                yield readable, signals


def _to_table(sources: Iterable[Source]) -> str:
    """Write clips as a table whose scores are to be filled in."""
    from ..audio import METADATA

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "start", "end", *METADATA, *DIMENSIONS])
    for source in sources:
        about = [escape.csv_cell(source.metadata.get(key)) for key in METADATA]
        name = escape.csv_path(str(source.path))
        writer.writerow([name, source.start, source.end, *about, *[""] * 3])
    return text.getvalue()


def ask(
    paths: AudioAndLabels,
    program: Annotated[
        str,
        typer.Option(
            help="Reads a prompt on stdin and writes JSON to stdout, with its "
            "arguments; started anew for each clip, by no shell."
        ),
    ],
    name: Annotated[str, typer.Option(help="Of the model; labels carry it.")],
    revision: Annotated[str, typer.Option(help="Of the model.")] = "unknown",
    licence: Annotated[
        str, typer.Option(help="SPDX identifier: what its answers may be used for.")
    ] = "unknown",
    timeout: Annotated[float, typer.Option(help="Longest time for a reply, s.")] = 120,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Score audio with a language model that reads what is said, and how."""
    import shlex

    from ..finetune.labelling.words import ExternalProgram, annotate_by_words
    from ..teachers.base import TeacherInfo
    from ..teachers.licence import canonical

    sources, out = sources_and_output(paths, "LABELS folder")
    info = TeacherInfo(name, revision, canonical(licence), "unknown")
    with ProgressBar() as progress:
        store = annotate_by_words(
            sources,
            out,
            ExternalProgram(shlex.split(program), timeout=timeout),
            info,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )
    say(f"{len(store)} labels by {name} ({info.licence})")
    say_use(store.teacher, "labels")
    for file, reason in store.errors()[:5]:
        say(f"warning: no label: {file}: {reason}")
    show(out)
    if not len(store):
        raise InputError(
            f"audio must give at least one label, got none: see {out / 'errors.csv'}"
        )
