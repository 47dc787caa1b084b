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
    from ..finetune.backbones import Backbone
    from ..finetune.labelling.words import Asking

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
    adapt: Annotated[
        int,
        typer.Option(
            help="Steps in which the backbone first gets used to the clips, without "
            "labels.",
            min=0,
        ),
    ] = 0,
    seed: Seed = 0,
) -> None:
    """Choose what people shall label: diverse clips, then uncertain ones."""
    places, out = sources_and_output(paths, "TABLE")
    check_outputs(out)
    with claim(out, file=True):
        chosen = _chosen(
            places, count, backbone, teacher, labelled, passes, adapt, seed
        )
        write_text(out, _to_table(chosen))
    show(out)


def _chosen(
    places: list[Path],
    count: int,
    backbone: str,
    teacher: Path | None,
    labelled: Path | None,
    passes: int,
    adapt: int,
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
    if adapt:
        _adapt(compared, fresh, adapt, seed)
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


def _adapt(backbone: Backbone, sources: list[Source], steps: int, seed: int) -> None:
    """Let a backbone get used to clips, of which some at even distances are heard."""
    import numpy as np

    from ..acoustics.signals import crop_or_repeat
    from ..adv import SAMPLING_RATE
    from ..finetune.warm_up.taught import adapt

    heard = sources[:: max(1, len(sources) // _AT_ONCE)][:_AT_ONCE]
    signals = [signal for _, part in _read_in_parts(heard) for signal in part]

    def draw(step: int) -> np.ndarray:
        rng = np.random.default_rng([seed, step])
        chosen = rng.choice(len(signals), min(12, len(signals)))
        return np.stack(
            [crop_or_repeat(signals[n], 2 * SAMPLING_RATE, rng) for n in chosen]
        )

    if signals:
        with ProgressBar() as progress:
            adapt(backbone, draw, steps=steps, seed=seed, progress=progress)


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


Program = Annotated[
    str,
    typer.Option(
        help="Reads a prompt on stdin and writes JSON to stdout, with its "
        "arguments; started anew for each clip, by no shell."
    ),
]
ModelName = Annotated[str, typer.Option(help="Of the model; labels carry it.")]
Revision = Annotated[str, typer.Option(help="Of the model.")]
Licence = Annotated[
    str, typer.Option(help="SPDX identifier: what its answers may be used for.")
]
Timeout = Annotated[float, typer.Option(help="Longest time for a reply, s.")]
Examples = Annotated[
    Path | None,
    typer.Option(help="Table of clips with scores; up to 8 are shown in each prompt."),
]
Batch = Annotated[int, typer.Option(help="Clips of a prompt.", min=1)]
Attempts = Annotated[
    int,
    typer.Option(help="How often an invalid reply is asked for.", min=1),
]
Price = Annotated[
    tuple[float, float] | None,
    typer.Option(help="Of a million tokens read and written, to say what it costs."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what it costs, and ask nothing.")
]


def ask(
    paths: AudioAndLabels,
    program: Program,
    name: ModelName,
    revision: Revision = "unknown",
    licence: Licence = "unknown",
    timeout: Timeout = 120,
    examples: Examples = None,
    batch: Batch = 1,
    attempts: Attempts = 2,
    price: Price = None,
    dry_run: DryRun = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Score audio with a language model that reads what is said, and how."""
    from ..finetune.labelling.words import Asking, annotate_by_words, read_examples
    from ..programs import ExternalProgram
    from ..teachers.base import TeacherInfo
    from ..teachers.licence import canonical

    sources, out = sources_and_output(paths, "LABELS folder")
    info = TeacherInfo(name, revision, canonical(licence), "unknown")
    shown = read_examples(examples) if examples else []
    asking = Asking(
        ExternalProgram.of(program, timeout=timeout), shown, attempts, batch
    )
    _say_cost(sources, asking, price)
    if dry_run:
        return
    with ProgressBar() as progress:
        store = annotate_by_words(
            sources,
            out,
            asking,
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


def _say_cost(
    sources: list[Path], asking: Asking, price: tuple[float, float] | None
) -> None:
    """Say what asking takes, before it is done."""
    from ..finetune.labelling.words import cost

    found = cost(sources, asking.examples, asking.batch)
    tokens = (found.read, found.written)
    said = f"{found.prompts:,} prompts, about {tokens[0]:,} tokens read"
    said += f" and {tokens[1]:,} written"
    if price:
        total = sum(a * b for a, b in zip(tokens, price, strict=True)) / 1e6
        said += f": about {total:,.2f} at {price[0]:g} and {price[1]:g} a million"
    say(f"{said}; more where a reply is not valid")
