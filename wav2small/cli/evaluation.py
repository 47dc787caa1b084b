"""The command that compares a model with its teacher and with humans."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wav2small.export.base.escape import to_json

from ..adv import DIMENSIONS
from ..errors import InputError
from ..progress import ProgressBar
from .options import (
    AudioRoot,
    JsonFile,
    LabelsFolder,
    TeacherLabels,
    Tolerance,
    TranscriberName,
    split_order,
)
from .terminal import (
    check_outputs,
    show,
    write_text,
)

if TYPE_CHECKING:
    import numpy as np

    from ..annotation.labels import Labels
    from ..suite.adversarial import Attack
    from ..teachers.base import Model


# typer takes no list of a Literal
Against = StrEnum("Against", ["teacher", "human"])


ModelName = Annotated[
    str,
    typer.Argument(help="Bundled name, run, or whatever annotate takes as --teacher."),
]
AgainstNames = Annotated[
    list[Against] | None,
    typer.Option(help="Whose scores; all that the labels have if not given."),
]
Split = Annotated[str | None, typer.Option(help="Only rows of this split, e.g. test.")]
Picture = Annotated[
    Path | None, typer.Option(help="Draw the model against the teacher (PNG).")
]
Suite = Annotated[
    bool,
    typer.Option(
        "--suite",
        help="Run all tests of correctness, fairness and robustness instead.",
    ),
]
SuiteNoise = Annotated[
    Path | None, typer.Option(help="Recordings of noise for the suite.")
]
OtherSpeech = Annotated[
    Path | None, typer.Option(help="Other speech, for the suite's babble.")
]
Adversarial = Annotated[
    bool,
    typer.Option(
        "--adversarial",
        help="Let the suite make changes by one who knows a student's weights.",
    ),
]
Html = Annotated[
    Path | None, typer.Option(help="Write the suite's report as one page.")
]
About = Annotated[
    Path | None,
    typer.Option(
        help="Table of what the labels do not say, for the suite: file, and accent, "
        "sentiment, take, condition, age, race, ethnicity."
    ),
]
MostClips = Annotated[
    int | None,
    typer.Option(
        help="Most clips under each change of the suite; 100 if not given.", min=1
    ),
]


def evaluate(
    model: ModelName,
    labels: LabelsFolder,
    against: AgainstNames = None,
    split: Split = None,
    teacher_labels: TeacherLabels = None,
    audio_root: AudioRoot = None,
    json_file: JsonFile = None,
    picture: Picture = None,
    suite: Suite = False,
    noise: SuiteNoise = None,
    speech: OtherSpeech = None,
    html: Html = None,
    clips: MostClips = None,
    adversarial: Adversarial = False,
    about: About = None,
    tolerance: Tolerance = None,
    transcriber: TranscriberName = "",
) -> None:
    """Compare a model with the teacher, and with humans where known."""
    check_outputs(json_file, picture, html)
    if not suite and (noise or speech or html or clips or adversarial or about):
        raise typer.BadParameter(
            "--noise, --speech, --html, --clips, --adversarial, --about need --suite"
        )
    if suite and picture:
        raise typer.BadParameter("--picture excludes --suite, whose --html has it")
    from ..annotation.store import LabelStore
    from ..clips import load_clips
    from ..teachers.loading import load_any

    store = LabelStore.open(labels)
    rows = store.read()
    references = _references(rows, against, labels)
    loaded = load_any(model, labels=split_order(teacher_labels), tolerance=tolerance)
    chosen = _rows_of_split(rows, split, labels)
    with ProgressBar() as progress:
        root = audio_root or store.root
        signals, readable = load_clips(rows, chosen, root, progress=progress)
        known = _known(rows, readable, signals, transcriber)
    references = {name: truth[readable] for name, truth in references.items()}
    if suite:
        teacher = f"{store.teacher['name']} {store.teacher['revision']}"
        part = str(rows.metadata["split"][chosen[0]]) if split else "all"
        told = {"model": model, "teacher of the labels": teacher, "split": part}
        files = [root / rows.names[item] for item in readable]
        metadata = _metadata(known, about, files)
        _run_suite(
            loaded, signals, references, metadata, told,
            noise, speech, clips or 100, json_file, html,
            _attacks(model, signals) if adversarial else {},
        )  # fmt: skip
        return
    scores = _compare(model, loaded, signals, references, known, json_file)
    if picture:
        from ..pictures import draw_agreement

        draw_agreement(rows.scores[readable], scores, picture)
        show(picture)


def _metadata(
    known: list[dict[str, str | None]], about: Path | None, files: list[Path]
) -> dict[str, list[str | None]]:
    """Return what labels and a table know of clips, by column."""
    from ..suite.about import read_about

    metadata = {name: [row[name] for row in known] for name in known[0]}
    return metadata | (read_about(about, files) if about else {})


def _known(
    rows: Labels, readable: list[int], signals: list[np.ndarray], transcriber: str
) -> list[dict[str, str | None]]:
    """Return what is known of each clip; a transcriber says what no table does."""
    from ..programs import Transcriber

    every = rows.metadata_rows
    known = [every[row] for row in readable]
    if transcriber:
        transcribe = Transcriber(transcriber)
        for row, signal in zip(known, signals, strict=True):
            row["text"] = row["text"] or transcribe(signal) or None
    return known


def _references(
    rows: Labels, against: list[Against] | None, labels: Path
) -> dict[str, np.ndarray]:
    """Return the scores that a model is compared with, by who gave them."""
    import numpy as np

    references = {"teacher": rows.scores}
    if not np.isnan(rows.human).all():
        references["human"] = rows.human
    if not against:
        return references
    if "human" in against and "human" not in references:
        raise InputError(
            f"labels have no scores by humans: {labels}: give them as columns "
            f"{', '.join(DIMENSIONS)} of the manifest that is annotated"
        )
    return {name: references[name] for name in against}


def _rows_of_split(rows: Labels, split: str | None, labels: Path) -> list[int]:
    """Return the numbers of the rows of a split, of all rows if it is None."""
    from ..audio.spellings import split_name

    splits = rows.metadata["split"]
    wanted = split_name(split) if split else None
    chosen = [row for row, name in enumerate(splits) if wanted in (None, name)]
    if not chosen:
        raise InputError(
            f"split must be one of {sorted(set(filter(None, splits)))}"
            f", got '{wanted}': {labels}"
        )
    return chosen


def _compare(
    name: str,
    model: Model,
    signals: list[np.ndarray],
    references: dict[str, np.ndarray],
    known: list[dict[str, str | None]],
    json_file: Path | None,
) -> np.ndarray:
    """Score clips, show how well the scores agree with others, and return them."""
    from ..evaluation import evaluate as compare

    with ProgressBar() as progress:
        result, scores = compare(
            model, signals, references, metadata=known, progress=progress
        )
    for reference, figures in result.items():
        show(f"{name} against {reference}")
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
        write_text(json_file, to_json({"model": name, **result}))
    return scores


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
    attacks: dict[str, Attack],
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
            attacks=attacks,
            about=about,
            progress=progress,
        )
    show(to_text(outcome.report))
    if json_file:
        write_text(json_file, to_json(outcome.report))
    if html:
        page = to_html(outcome)
        write_text(html, page)
        show(html)


def _attacks(model: str, signals: list[np.ndarray]) -> dict[str, Attack]:
    """Return attacks that know a student, and a bundled one, which tells transfer.

    What is no student has none of its own.
    """
    from ..bundled import DEFAULT
    from ..suite.adversarial import attacks_of

    other = DEFAULT if model != DEFAULT else f"{DEFAULT}-mini"
    found = attacks_of(other, signals)
    with suppress(InputError):
        found = attacks_of(model, signals) | found
    return found
