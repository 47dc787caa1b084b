"""The command that trains a student on a teacher's scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import DistillConfig, Teaching
from ..progress import ProgressBar
from .options import (
    AudioRoot,
    BatchSize,
    Crop,
    Device,
    LabelsFolder,
    Noise,
    Overwrite,
    Resume,
    Seed,
    Tolerance,
    is_first_process,
    own_device,
    split_order,
)
from .terminal import (
    check_outputs,
    say,
    say_unreadable,
    say_use,
    scores_line,
    show,
)

if TYPE_CHECKING:
    from ..teachers.base import Teacher

RunFolder = Annotated[Path, typer.Argument(help="Folder of the run to write.")]
StudentName = Annotated[str, typer.Option(help="See 'wav2small list students'.")]
TeachingName = Annotated[
    Teaching,
    typer.Option(
        help="online: the teacher scores each crop; cached: the scores of the labels "
        "are used."
    ),
]
TeacherName = Annotated[
    str | None,
    typer.Option(help="The teacher of the labels, if it is a file or a folder."),
]
Epochs = Annotated[int, typer.Option(help="Crops of each clip.", min=1)]
Variations = Annotated[
    int, typer.Option(help="Crops of each clip that the teacher scores.", min=1)
]
LearningRate = Annotated[float, typer.Option(help="Peak rate.", min=0)]
NonSpeech = Annotated[
    float, typer.Option(help="Share of noise or silence alone.", min=0, max=1)
]
Adversarial = Annotated[
    float,
    typer.Option(
        help="Share of crops that are moved where the student errs more.", min=0, max=1
    ),
]
Bfloat16 = Annotated[
    bool, typer.Option("--bfloat16", help="Convolve in bfloat16: faster on GPUs.")
]
Tensorboard = Annotated[
    bool, typer.Option("--tensorboard", help="Write event files to RUN/logs.")
]


def distill(
    labels: LabelsFolder,
    run: RunFolder,
    student: StudentName = DistillConfig.student,
    teaching: TeachingName = DistillConfig.teaching,
    teacher: TeacherName = None,
    variations: Variations = DistillConfig.variations,
    tolerance: Tolerance = None,
    epochs: Epochs = DistillConfig.epochs,
    batch_size: BatchSize = DistillConfig.batch_size,
    crop: Crop = DistillConfig.crop_seconds,
    learning_rate: LearningRate = DistillConfig.learning_rate,
    seed: Seed = DistillConfig.seed,
    noise: Noise = None,
    non_speech: NonSpeech = DistillConfig.non_speech,
    adversarial: Adversarial = DistillConfig.adversarial,
    audio_root: AudioRoot = None,
    device: Device = "cpu",
    bfloat16: Bfloat16 = False,
    resume: Resume = False,
    overwrite: Overwrite = False,
    tensorboard: Tensorboard = False,
) -> None:
    """Train a student on a teacher's scores."""
    check_outputs(folders=[run])
    from ..distillation import distill as train

    config = DistillConfig(
        student=student,
        teaching=teaching,
        variations=variations,
        epochs=epochs,
        batch_size=batch_size,
        crop_seconds=crop,
        learning_rate=learning_rate,
        seed=seed,
        non_speech=non_speech,
        adversarial=adversarial,
        bfloat16=bfloat16,
    )
    with ProgressBar() as progress:
        best = train(
            labels,
            run,
            config,
            noise=noise,
            audio_root=audio_root,
            device=own_device(device),
            resume=resume,
            overwrite=overwrite,
            tensorboard=tensorboard,
            teacher=_load(teacher, labels, tolerance),
            progress=progress,
        )
    if is_first_process():
        _report(best)
        show(run)


def _report(best: dict[str, Any]) -> None:
    """Say how good the best checkpoint is, and what it may be used for."""
    say_unreadable(best["unreadable"])
    say(
        f"best at step {best['metrics']['step']}: "
        f"dev CCC to the teacher {scores_line(best['metrics'])}"
    )
    say_use(best, "student")


def _load(teacher: str | None, labels: Path, tolerance: float | None) -> Teacher | None:
    """Load the teacher of labels, if named; the store knows its outputs' order."""
    if not teacher:
        if tolerance is not None:
            raise typer.BadParameter("--tolerance needs --teacher")
        return None
    from ..annotation.store import LabelStore
    from ..teachers.loading import load_teacher

    order = split_order(LabelStore.open(labels).teacher.get("order"))
    return load_teacher(teacher, labels=order, policy="research", tolerance=tolerance)
