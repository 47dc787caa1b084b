"""The command that trains a student on a teacher's scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config import DistillConfig, Teaching
from ..progress import ProgressBar
from .options import (
    AudioRoot,
    BatchSize,
    Crop,
    Device,
    Noise,
    Overwrite,
    Resume,
    Seed,
    split_order,
)
from .terminal import (
    check_outputs,
    extra,
    say,
    say_use,
    scores_line,
    show,
)


def distill(
    labels: Annotated[Path, typer.Argument(help="Folder of labels.")],
    run: Annotated[Path, typer.Argument(help="Folder of the run to write.")],
    student: Annotated[str, typer.Option(help="See 'wav2small list students'.")] = (
        DistillConfig.student
    ),
    teaching: Annotated[
        Teaching,
        typer.Option(help="online: the teacher hears each crop; cached: it does not."),
    ] = DistillConfig.teaching,
    teacher: Annotated[
        str | None,
        typer.Option(help="The teacher of the labels, if it is a file or a folder."),
    ] = None,
    epochs: Annotated[
        int, typer.Option(help="Crops of each clip.", min=1)
    ] = DistillConfig.epochs,
    batch_size: BatchSize = DistillConfig.batch_size,
    crop: Crop = DistillConfig.crop_seconds,
    learning_rate: Annotated[
        float, typer.Option(help="Peak rate.", min=0)
    ] = DistillConfig.learning_rate,
    seed: Seed = DistillConfig.seed,
    noise: Noise = None,
    non_speech: Annotated[
        float,
        typer.Option(help="Share of noise or silence alone.", min=0, max=1),
    ] = DistillConfig.non_speech,
    audio_root: AudioRoot = None,
    device: Device = "cpu",
    bfloat16: Annotated[
        bool, typer.Option("--bfloat16", help="Convolve in bfloat16: faster on GPUs.")
    ] = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write event files to RUN/logs.")
    ] = False,
) -> None:
    """Train a student on a teacher's scores."""
    check_outputs(folders=[run])
    with extra("train"):
        from ..annotation.store import LabelStore
        from ..distillation import distill as train
        from ..teachers.loading import load_teacher

    config = DistillConfig(
        student=student,
        teaching=teaching,
        epochs=epochs,
        batch_size=batch_size,
        crop_seconds=crop,
        learning_rate=learning_rate,
        seed=seed,
        non_speech=non_speech,
        bfloat16=bfloat16,
    )
    loaded = None
    if teacher:
        order = LabelStore.open(labels).teacher.get("order")
        loaded = load_teacher(teacher, labels=split_order(order), policy="research")
    with ProgressBar() as progress:
        best = train(
            labels,
            run,
            config,
            noise=noise,
            audio_root=audio_root,
            device=device,
            resume=resume,
            overwrite=overwrite,
            tensorboard=tensorboard,
            teacher=loaded,
            progress=progress,
        )
    if best["unreadable"]:
        say(f"warning: {best['unreadable']} clips could not be read and were left out")
    say(
        f"best at step {best['metrics']['step']}: "
        f"dev CCC to the teacher {scores_line(best['metrics'])}"
    )
    say_use(best, "student")
    show(run)
