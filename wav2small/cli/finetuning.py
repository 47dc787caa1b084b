"""Commands around a teacher of one's own: parse, call, print."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from wav2small.export.base import escape
from wav2small.export.base.escape import to_json
from wav2small.export.base.files import claim

from ..adv import DIMENSIONS
from ..errors import InputError
from ..finetune.config import (
    Choose,
    FinetuneConfig,
    Fusion,
    HiddenStates,
    NetworkConfig,
    Pooling,
    WarmUp,
)
from ..progress import ProgressBar
from .options import (
    AudioAndLabels,
    AudioRoot,
    BatchSize,
    Crop,
    Device,
    JsonFile,
    Noise,
    Overwrite,
    Resume,
    Seed,
    sources_and_output,
)
from .terminal import (
    check_outputs,
    extra,
    say,
    say_averaged,
    say_use,
    scores_line,
    show,
    write,
)

_AT_ONCE = 256
"""Clips of a pool that are held in memory."""


# typer takes no list of a Literal
FurtherTask = StrEnum("FurtherTask", ["category", "gender"])


def finetune(
    labels: Annotated[
        Path,
        typer.Argument(help="Table (csv, parquet) of what people say, or labels."),
    ],
    run: Annotated[Path, typer.Argument(help="Folder to write; it is the teacher.")],
    backbone: Annotated[
        str,
        typer.Option(
            help="mel: log-mel, from nothing; a folder or owner/name of wav2vec2, "
            "HuBERT or WavLM; an earlier fine-tuning."
        ),
    ] = FinetuneConfig.backbone,
    layers: Annotated[
        int | None, typer.Option(help="Layers that are kept; all if not given.", min=1)
    ] = None,
    choose: Annotated[
        Choose, typer.Option(help="Which are kept.")
    ] = FinetuneConfig.choose,
    states: Annotated[
        HiddenStates, typer.Option(help="Which layers are heard.")
    ] = NetworkConfig.states,
    pooling: Annotated[
        Pooling, typer.Option(help="Over time.")
    ] = NetworkConfig.pooling,
    exits: Annotated[
        str | None, typer.Option(help="Layers with a head of their own, e.g. 4,8.")
    ] = None,
    gender: Annotated[
        bool, typer.Option("--gender", help="Hear the speaker's gender where known.")
    ] = False,
    text_encoder: Annotated[
        str | None,
        typer.Option(help="Hear the text through this encoder of transformers."),
    ] = None,
    fusion: Annotated[
        Fusion, typer.Option(help="How gender and text join.")
    ] = NetworkConfig.fusion,
    task: Annotated[
        list[FurtherTask] | None,
        typer.Option(help="What else is learned."),
    ] = None,
    adapters: Annotated[
        int, typer.Option(help="Width of adapters in a frozen backbone.", min=0)
    ] = 0,
    lora: Annotated[
        int, typer.Option(help="Rank of updates of a frozen backbone.", min=0)
    ] = 0,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Train the heads alone.")
    ] = False,
    warm_up: Annotated[
        WarmUp,
        typer.Option(
            help="taught: all layers teach those that are kept; "
            "contrast: views of a clip find each other."
        ),
    ] = FinetuneConfig.warm_up,
    warm_up_steps: Annotated[int, typer.Option(help="Of the warm-up.", min=1)] = (
        FinetuneConfig.warm_up_steps
    ),
    steps: Annotated[
        int, typer.Option(help="Steps at most.", min=1)
    ] = FinetuneConfig.steps,
    evaluations: Annotated[
        int, typer.Option(help="How often it is evaluated and saved.", min=1)
    ] = FinetuneConfig.evaluations,
    patience: Annotated[
        int, typer.Option(help="Evaluations without a better one to the end.", min=1)
    ] = FinetuneConfig.patience,
    batch_size: BatchSize = FinetuneConfig.batch_size,
    crop: Crop = FinetuneConfig.crop_seconds,
    learning_rate: Annotated[
        float, typer.Option(help="Peak rate of what is new.", min=0)
    ] = FinetuneConfig.learning_rate,
    backbone_learning_rate: Annotated[
        float, typer.Option(help="Peak rate of the last layer of others.", min=0)
    ] = FinetuneConfig.backbone_learning_rate,
    seed: Seed = 0,
    noise: Noise = None,
    audio_root: AudioRoot = None,
    name: Annotated[
        str | None, typer.Option(help="Name that labels carry; the folder's.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(help="SPDX identifier of the weights'; that of the backbone."),
    ] = None,
    training_data: Annotated[
        str | None, typer.Option(help="The data sets, with their licences.")
    ] = None,
    device: Device = "cpu",
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Multiply in bfloat16.")
    ] = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a teacher of one's own on what people say."""
    check_outputs(folders=[run])
    with extra("train"):
        from ..finetune.config import FinetuneConfig, NetworkConfig
        from ..finetune.parts.text import SentenceEncoder
        from ..finetune.table import read_table
        from ..finetune.train import finetune as train

    try:
        places = tuple(int(place) for place in exits.split(",")) if exits else ()
    except ValueError as error:
        raise typer.BadParameter(
            f"--exits must be numbers of layers, got {exits}"
        ) from error
    config = FinetuneConfig(
        backbone=backbone,
        layers=layers,
        choose=choose,
        network=NetworkConfig(
            states=states,
            pooling=pooling,
            adapters=adapters,
            gender=gender,
            fusion=fusion,
            tasks=tuple(dict.fromkeys(map(str, task or ()))),
            exits=places,
        ),
        warm_up=warm_up,
        warm_up_steps=warm_up_steps,
        frozen=frozen,
        lora=lora,
        steps=steps,
        evaluations=evaluations,
        patience=patience,
        batch_size=batch_size,
        crop_seconds=crop,
        learning_rate=learning_rate,
        backbone_learning_rate=backbone_learning_rate,
        bfloat16=bfloat16,
        seed=seed,
    )
    table = read_table(labels, audio_root)
    # of several processes one speaks
    speaks = os.environ.get("RANK", "0") == "0"
    if speaks and table.origin == "norms":
        say("labels have no scores by humans: the norms of their categories are used")
    if speaks:
        say_averaged(table.averaged)
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    with extra("teachers"), ProgressBar() as progress:
        best = train(
            table,
            run,
            config,
            text=SentenceEncoder(text_encoder) if text_encoder else None,
            noise=noise,
            name=name,
            licence=licence,
            training_data=training_data,
            device=device,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )
    if not speaks:
        return
    if best["unreadable"]:
        say(f"warning: {best['unreadable']} clips could not be read and were left out")
    say(
        f"best at step {best['metrics']['step']}: dev CCC to people "
        f"{scores_line(best['metrics'])}, {best['trainable']:,} of "
        f"{best['parameters']:,} parameters trained"
    )
    say_use(best["info"], "teacher")
    show(run)


def layers(
    labels: Annotated[
        Path,
        typer.Argument(help="Table (csv, parquet) of what people say, or labels."),
    ],
    backbone: Annotated[
        str, typer.Option(help="As of finetune; an earlier fine-tuning is one too.")
    ],
    folds: Annotated[int, typer.Option(help="Folds of speakers.", min=2)] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the folds.", min=0)] = 0,
    audio_root: AudioRoot = None,
    json_file: JsonFile = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the layers (PNG).")] = None,
) -> None:
    """Show what each layer of a backbone knows of each dimension."""
    check_outputs(json_file, picture)
    import numpy as np

    with extra("train"):
        from ..finetune.backbones import load_backbone
        from ..finetune.probe import draw_layers, layer_features, probe_layers
        from ..finetune.table import read_clips, read_table, speaker_folds

    table = read_table(labels, audio_root)
    loaded, _ = load_backbone(backbone)
    with ProgressBar() as progress:
        signals, rows = read_clips(table, progress)
        features = layer_features(loaded, signals, progress=progress)
    parts = speaker_folds(
        table.speakers[rows], table.genders[rows], folds, np.random.default_rng(seed)
    )
    figures = probe_layers(features, table.truth[rows], parts)
    show(f"layer {'':<4}" + "".join(f"{name:<26}" for name in DIMENSIONS))
    for row in figures:
        shown = (
            f"{value:6.3f} [{low:6.3f}, {high:6.3f}]"
            for value, low, high in (row[name] for name in DIMENSIONS)
        )
        show(f"{row['layer']:>5} " + "  ".join(shown))
    if json_file:
        said = {"backbone": backbone, "clips": len(rows), "folds": folds}
        write(json_file, to_json({**said, "layers": figures}))
    if picture:
        with extra("report"):
            draw_layers(figures, picture)
        show(picture)


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
        text = _chosen(places, count, backbone, teacher, labelled, passes, seed)
        write(out, text)
    show(out)


def _chosen(
    places: list[Path],
    count: int,
    backbone: str,
    teacher: Path | None,
    labelled: Path | None,
    passes: int,
    seed: int,
) -> str:
    """Choose clips, and return them as a table."""
    import csv
    import io

    import numpy as np

    from .. import audio

    with extra("train"):
        from ..finetune.backbones import load_backbone
        from ..finetune.labelling.selection import choose, dropout_uncertainty
        from ..finetune.probe import layer_features
        from ..finetune.teacher import FinetunedTeacher

    known = {source.path for source in audio.find([labelled])[1]} if labelled else set()
    fresh = [s for s in audio.find(places)[1] if s.path not in known]
    network = (
        FinetunedTeacher.load(teacher, policy="research").network if teacher else None
    )
    compared = network.backbone if network else load_backbone(backbone)[0]
    kept, features, spread = [], [], []
    with ProgressBar() as progress:
        # some at a time: a pool may be larger than the memory
        for begin in range(0, len(fresh), _AT_ONCE):
            signals = []
            for done, source in enumerate(fresh[begin : begin + _AT_ONCE], begin + 1):
                try:
                    signals.append(audio.beginning(source, 10.0))
                    kept.append(source)
                except audio.AudioError as error:
                    say(f"warning: {error}")
                progress("read", done, len(fresh))
            if not signals:
                continue
            features.append(layer_features(compared, signals)[-1])
            if network:
                spread.append(
                    dropout_uncertainty(network, signals, passes=passes, seed=seed)
                )
    if not kept:
        raise InputError("audio must hold clips that are not labelled, got none")
    rng = np.random.default_rng(seed)
    chosen = choose(
        np.concatenate(features),
        count,
        rng,
        uncertainty=np.concatenate(spread) if spread else None,
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "start", "end", *audio.METADATA, *DIMENSIONS])
    for item in chosen:
        source = kept[item]
        about = [escape.csv_cell(source.metadata.get(key)) for key in audio.METADATA]
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

    from ..finetune.labelling.words import Program, annotate_by_words
    from ..teachers.base import TeacherInfo
    from ..teachers.licence import canonical

    sources, out = sources_and_output(paths, "LABELS folder")
    info = TeacherInfo(name, revision, canonical(licence), "unknown")
    with ProgressBar() as progress:
        store = annotate_by_words(
            sources,
            out,
            Program(shlex.split(program), timeout=timeout),
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
