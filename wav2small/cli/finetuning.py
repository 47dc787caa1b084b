"""Commands that train a teacher of one's own, and that look into a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wav2small.export.base.escape import to_json

from ..adv import DIMENSIONS
from ..finetune.config import (
    Choose,
    ExitHead,
    FinetuneConfig,
    Fusion,
    HiddenStates,
    NetworkConfig,
    Pooling,
    WarmUp,
)
from ..progress import ProgressBar
from .options import (
    AudioRoot,
    BatchSize,
    Crop,
    Device,
    JsonFile,
    Noise,
    Overwrite,
    Resume,
    Seed,
    is_first_process,
    own_device,
)
from .terminal import (
    check_outputs,
    say,
    say_averaged,
    say_unreadable,
    say_use,
    scores_line,
    show,
    write_text,
)

if TYPE_CHECKING:
    from ..finetune.table import Ratings

# typer takes no list of a Literal
FurtherTask = StrEnum("FurtherTask", ["category", "gender", "alike"])
EvidenceName = StrEnum("EvidenceName", ["prosody", "text"])

PeoplesLabels = Annotated[
    Path, typer.Argument(help="Table (csv, parquet) of what people say, or labels.")
]
TeacherRun = Annotated[Path, typer.Argument(help="Folder to write; it is the teacher.")]
BackboneOption = Annotated[
    str,
    typer.Option(
        help="mel: log-mel, from nothing; a folder or owner/name of wav2vec2, "
        "HuBERT or WavLM; an earlier fine-tuning."
    ),
]
Layers = Annotated[
    int | None, typer.Option(help="Layers that are kept; all if not given.", min=1)
]
ChooseOption = Annotated[Choose, typer.Option(help="Which are kept.")]
States = Annotated[HiddenStates, typer.Option(help="Which layers the head reads.")]
PoolingOption = Annotated[Pooling, typer.Option(help="Over time.")]
Exits = Annotated[
    str | None, typer.Option(help="Layers with a head of their own, e.g. 4,8.")
]
ExitHeads = Annotated[
    ExitHead,
    typer.Option(help="recurrent reads each frame; light their mean and deviation."),
]
TaughtBy = Annotated[
    list[EvidenceName] | None,
    typer.Option(
        help="Teachers of one kind of evidence, which a network of audio alone learns "
        "from: prosody, text (which needs --text-encoder)."
    ),
]
Gender = Annotated[
    bool, typer.Option("--gender", help="Use the speaker's gender where it is known.")
]
TextEncoder = Annotated[
    str | None,
    typer.Option(help="Use the text, through words or an encoder of transformers."),
]
FusionOption = Annotated[Fusion, typer.Option(help="How gender and text join.")]
Tasks = Annotated[list[FurtherTask] | None, typer.Option(help="What else is learned.")]
Adapters = Annotated[
    int, typer.Option(help="Width of adapters in a frozen backbone.", min=0)
]
Lora = Annotated[int, typer.Option(help="Rank of updates of a frozen backbone.", min=0)]
Frozen = Annotated[bool, typer.Option("--frozen", help="Train the heads alone.")]
WarmUpOption = Annotated[
    WarmUp,
    typer.Option(
        help="taught: all layers teach those that are kept; "
        "contrast: views of a clip find each other; adapt: what is hidden is guessed."
    ),
]
WarmUpSteps = Annotated[int, typer.Option(help="Of the warm-up.", min=1)]
Steps = Annotated[int, typer.Option(help="Steps at most.", min=1)]
Evaluations = Annotated[
    int, typer.Option(help="How often it is evaluated and saved.", min=1)
]
Patience = Annotated[
    int, typer.Option(help="Evaluations without a better one to the end.", min=1)
]
NewRate = Annotated[float, typer.Option(help="Peak rate of what is new.", min=0)]
BackboneRate = Annotated[
    float, typer.Option(help="Peak rate of the last layer of others.", min=0)
]
TeacherName = Annotated[
    str | None, typer.Option(help="Name that labels carry; the folder's.")
]
Licence = Annotated[
    str | None,
    typer.Option(help="SPDX identifier of the weights'; that of the backbone."),
]
TrainingData = Annotated[
    str | None, typer.Option(help="The data sets, with their licences.")
]
Bfloat16 = Annotated[bool, typer.Option("--bfloat16", help="Multiply in bfloat16.")]


def finetune(
    labels: PeoplesLabels,
    run: TeacherRun,
    backbone: BackboneOption = FinetuneConfig.backbone,
    layers: Layers = FinetuneConfig.layers,
    choose: ChooseOption = FinetuneConfig.choose,
    states: States = NetworkConfig.states,
    pooling: PoolingOption = NetworkConfig.pooling,
    exits: Exits = None,
    exit_head: ExitHeads = NetworkConfig.exit_head,
    gender: Gender = NetworkConfig.gender,
    text_encoder: TextEncoder = None,
    fusion: FusionOption = NetworkConfig.fusion,
    taught_by: TaughtBy = None,
    task: Tasks = None,
    adapters: Adapters = NetworkConfig.adapters,
    lora: Lora = FinetuneConfig.lora,
    frozen: Frozen = FinetuneConfig.frozen,
    warm_up: WarmUpOption = FinetuneConfig.warm_up,
    warm_up_steps: WarmUpSteps = FinetuneConfig.warm_up_steps,
    steps: Steps = FinetuneConfig.steps,
    evaluations: Evaluations = FinetuneConfig.evaluations,
    patience: Patience = FinetuneConfig.patience,
    batch_size: BatchSize = FinetuneConfig.batch_size,
    crop: Crop = FinetuneConfig.crop_seconds,
    learning_rate: NewRate = FinetuneConfig.learning_rate,
    backbone_learning_rate: BackboneRate = FinetuneConfig.backbone_learning_rate,
    seed: Seed = FinetuneConfig.seed,
    noise: Noise = None,
    audio_root: AudioRoot = None,
    name: TeacherName = None,
    licence: Licence = None,
    training_data: TrainingData = None,
    device: Device = "cpu",
    bfloat16: Bfloat16 = FinetuneConfig.bfloat16,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a teacher of one's own on what people say."""
    check_outputs(folders=[run])
    config = _configuration(locals())
    rest: dict[str, Any] = {"name": name, "licence": licence, "noise": noise}
    rest |= {"resume": resume, "overwrite": overwrite, "training_data": training_data}
    from ..finetune.parts.text import load_encoder
    from ..finetune.table import read_table
    from ..finetune.train import finetune as train

    table = read_table(labels, audio_root)
    if is_first_process():
        _say_of(table)
    with ProgressBar() as progress:
        text = load_encoder(text_encoder) if text_encoder else None
        best = train(
            table, run, config, text=text, device=own_device(device),
            progress=progress, **rest,
        )  # fmt: skip
    if is_first_process():
        _report(best)
        show(run)


def _say_of(table: Ratings) -> None:
    """Say so where the truth is not what people said of each recording."""
    if table.origin == "norms":
        say("labels have no scores by humans: the norms of their categories are used")
    say_averaged(table.averaged)


def _configuration(options: Mapping[str, Any]) -> FinetuneConfig:
    """Make a configuration of the options that are named as its fields."""

    def named(kind: type[Any]) -> dict[str, Any]:
        names = (field.name for field in fields(kind))
        return {name: options[name] for name in names if name in options}

    places = options["exits"]
    try:
        exits = tuple(int(place) for place in places.split(",")) if places else ()
    except ValueError as error:
        raise typer.BadParameter(
            f"--exits must be numbers of layers, got {places}"
        ) from error
    tasks = tuple(dict.fromkeys(map(str, options["task"] or ())))
    taught_by = tuple(dict.fromkeys(map(str, options["taught_by"] or ())))
    lists = {"tasks": tasks, "exits": exits, "taught_by": taught_by}
    network = NetworkConfig(**named(NetworkConfig) | lists)
    others = {"network": network, "crop_seconds": options["crop"]}
    return FinetuneConfig(**named(FinetuneConfig) | others)


def _report(best: dict[str, Any]) -> None:
    """Say how good the best checkpoint is, and what it may be used for."""
    say_unreadable(best["unreadable"])
    say(
        f"best at step {best['metrics']['step']}: dev CCC to people "
        f"{scores_line(best['metrics'])}, {best['trainable']:,} of "
        f"{best['parameters']:,} parameters trained"
    )
    say_use(best["info"], "teacher")


def layers(
    labels: PeoplesLabels,
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
        settings = {"backbone": backbone, "clips": len(rows), "folds": folds}
        write_text(json_file, to_json({**settings, "layers": figures}))
    if picture:
        draw_layers(figures, picture)
        show(picture)
