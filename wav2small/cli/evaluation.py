"""The command that compares a model with its teacher and with humans."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wav2small.export.base.escape import to_json

from ..adv import DIMENSIONS
from ..errors import InputError
from ..progress import ProgressBar
from .options import AudioRoot, JsonFile, TeacherLabels, split_order
from .terminal import (
    check_outputs,
    extra,
    say,
    show,
    write,
)

if TYPE_CHECKING:
    import numpy as np

    from ..teachers.base import Model


# typer takes no list of a Literal
Against = StrEnum("Against", ["teacher", "human"])


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="Bundled name, run, or whatever annotate takes as --teacher."
        ),
    ],
    labels: Annotated[Path, typer.Argument(help="Folder of labels.")],
    against: Annotated[
        list[Against] | None,
        typer.Option(help="Whose scores; all that the labels have if not given."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Only rows of this split, e.g. test.")
    ] = None,
    teacher_labels: TeacherLabels = None,
    audio_root: AudioRoot = None,
    json_file: JsonFile = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the model against the teacher (PNG).")
    ] = None,
    suite: Annotated[
        bool,
        typer.Option(
            "--suite",
            help="Run all tests of correctness, fairness and robustness instead.",
        ),
    ] = False,
    noise: Annotated[
        Path | None, typer.Option(help="Recordings of noise for the suite.")
    ] = None,
    speech: Annotated[
        Path | None, typer.Option(help="Other speech, for the suite's babble.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the suite's report as one page.")
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(
            help="Most clips under each change of the suite; 100 if not given.", min=1
        ),
    ] = None,
) -> None:
    """Compare a model with the teacher, and with humans where known."""
    check_outputs(json_file, picture, html)
    if not suite and (noise or speech or html or clips):
        raise typer.BadParameter("--noise, --speech, --html, --clips need --suite")
    if suite and picture:
        raise typer.BadParameter("--picture excludes --suite, whose --html has it")
    import numpy as np

    from ..annotation.store import LabelStore
    from ..audio.spellings import split_name
    from ..evaluation import evaluate as compare
    from ..teachers.loading import load_any

    store = LabelStore.open(labels)
    read = store.read()
    references = {"teacher": read.scores}
    known = not np.isnan(read.human).all()
    if known:
        references["human"] = read.human
    if against:
        if "human" in against and not known:
            raise InputError(
                f"labels have no scores by humans: {labels}: give them as columns "
                f"{', '.join(DIMENSIONS)} of the manifest that is annotated"
            )
        references = {name: references[name] for name in against}
    with extra("train"):
        order = split_order(teacher_labels)
        loaded = load_any(model, labels=order)
    split = split_name(split) if split else None
    rows = [
        row
        for row, name in enumerate(read.metadata["split"])
        if split is None or name == split
    ]
    if not rows:
        raise InputError(
            f"split must be one of {sorted(set(filter(None, read.metadata['split'])))}"
            f", got '{split}': {labels}"
        )
    signals, kept = _read_clips(read, rows, audio_root or store.root)
    references = {name: truth[kept] for name, truth in references.items()}
    if suite:
        teacher = store.teacher
        about = {
            "model": model,
            "teacher of the labels": f"{teacher['name']} {teacher['revision']}",
            "split": split or "all",
        }
        metadata = {
            name: [column[item] for item in kept]
            for name, column in read.metadata.items()
        }
        _run_suite(
            loaded, signals, references, metadata, about,
            noise, speech, clips or 100, json_file, html,
        )  # fmt: skip
        return
    with ProgressBar() as progress:
        everything = read.told
        told = [everything[item] for item in kept]
        result, scores = compare(
            loaded, signals, references, told=told, progress=progress
        )
    for name, figures in result.items():
        show(f"{model} against {name}")
        show(f"{'':<10} {'CCC':>6} {'95 % interval':>16} {'PCC':>6} {'MAE':>6} clips")
        for dimension in DIMENSIONS:
            row = figures[dimension]
            low, high = row["ccc_interval"]
            show(
                f"{dimension:<10} {row['ccc']:6.3f} [{low:6.3f}, {high:6.3f}] "
                f"{row['pcc']:6.3f} {row['mae']:6.3f} {row['clips']:5}"
            )
        show(f"{'mean':<10} {figures['mean']:6.3f}")
    if json_file:
        write(json_file, to_json({"model": model, **result}))
    if picture:
        with extra("report"):
            from ..pictures import draw_agreement

            draw_agreement(read.scores[kept], scores, picture)
        show(picture)


def _run_suite(
    model: Model,
    signals: list[np.ndarray],
    references: dict[str, np.ndarray],
    metadata: dict[str, list[str | None]],
    about: dict[str, str],
    noise: Path | None,
    speech: Path | None,
    clips: int,
    json_file: Path | None,
    html: Path | None,
) -> None:
    """Run the suite of tests and write what was asked for."""
    from ..suite import Speech, read_sounds, run_suite
    from ..suite.report import to_html, to_text

    with ProgressBar() as progress:
        sounds = read_sounds(noise, speech, progress=progress)
        outcome = run_suite(
            model,
            Speech(signals, references, metadata),
            sounds,
            clips=clips,
            about=about,
            progress=progress,
        )
    show(to_text(outcome.report))
    if json_file:
        write(json_file, to_json(outcome.report))
    if html:
        with extra("report"):
            page = to_html(outcome)
        write(html, page)
        show(html)


def _read_clips(
    labels: Any, rows: list[int], root: Path
) -> tuple[list[np.ndarray], list[int]]:
    """Read the clips of rows; those that cannot be read are said and left out."""
    from .. import audio

    signals, kept = [], []
    with ProgressBar() as progress:
        for done, item in enumerate(rows):
            try:
                signals.append(
                    audio.load(
                        root / labels.names[item],
                        start=float(labels.starts[item]),
                        end=float(labels.ends[item]),
                    )
                )
                kept.append(item)
            except audio.AudioError as error:
                say(f"warning: {error}")
            progress("read", done + 1, len(rows))
    if not kept:
        raise InputError(f"no clip of the labels is below {root}: pass --audio-root")
    return signals, kept
