"""The command that scores audio with a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..config import AnnotateConfig, Gate, VariationConfig
from ..errors import InputError
from ..progress import ProgressBar
from ..teachers.licence import Policy
from .options import (
    AudioAndLabels,
    Crop,
    Device,
    Noise,
    Overwrite,
    Resume,
    Seed,
    TeacherLabels,
    Tolerance,
    TranscriberName,
    sources_and_output,
    split_order,
)
from .terminal import (
    check_outputs,
    ending,
    say,
    say_averaged,
    say_use,
    show,
)

if TYPE_CHECKING:
    from ..annotation.engines import Engine
    from ..annotation.run import AnnotateReport
    from ..annotation.store import LabelStore
    from ..annotation.worker import Load

TeacherName = Annotated[
    str,
    typer.Option(
        help="See 'wav2small list teachers'; or an ONNX file, a checkpoint's "
        "folder, owner/name on the hub or the JSON of an ensemble."
    ),
]
LicencePolicy = Annotated[
    Policy,
    typer.Option(
        help="research lets in teachers that may not be used for everything; "
        "what they make is marked research-only."
    ),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with 1 if a file gave no label.")
]
BatchSeconds = Annotated[
    float | None,
    typer.Option(
        help="Audio per batch, padding included, s; if not given 60 on a GPU, "
        "and on a CPU each clip alone.",
        min=1,
    ),
]
Window = Annotated[
    float, typer.Option(help="Longest stretch that gets one label, s.", min=0.5)
]
GateName = Annotated[
    Gate,
    typer.Option(
        help="What finds silence, noise and music, which are left out: the bundled "
        "network or silero-vad."
    ),
]
Bfloat16 = Annotated[
    bool, typer.Option("--bfloat16", help="A torch teacher multiplies in bfloat16.")
]
Workers = Annotated[
    int,
    typer.Option(
        help="Processes that outlive a crash, each with a teacher; "
        "0 to annotate in this one.",
        min=0,
    ),
]
Timeout = Annotated[
    float, typer.Option(help="Longest time for a batch or a file's next part, s.")
]
Memory = Annotated[
    float | None, typer.Option(help="Most memory of a process, GiB.", min=0)
]
EngineName = Annotated[
    Literal["local", "dask"], typer.Option(help="local: this machine; dask: a cluster.")
]
Scheduler = Annotated[
    str | None, typer.Option(help="Of the cluster, e.g. tcp://login:8786.")
]
Variations = Annotated[
    int,
    typer.Option(
        help="Variations of each clip that are scored as well, so that distill needs "
        "no teacher; --crop, --seed and --noise are then those of distill.",
        min=0,
    ),
]
Csv = Annotated[Path | None, typer.Option(help="Write the labels as CSV as well.")]
Audformat = Annotated[
    Path | None, typer.Option(help="Write an audformat database as well.")
]


def annotate(
    paths: AudioAndLabels,
    teacher: TeacherName = "bundled",
    teacher_labels: TeacherLabels = None,
    tolerance: Tolerance = None,
    licence_policy: LicencePolicy = "permissive",
    resume: Resume = False,
    overwrite: Overwrite = False,
    strict: Strict = False,
    batch_seconds: BatchSeconds = None,
    window: Window = AnnotateConfig.window_seconds,
    gate: GateName = AnnotateConfig.gate,
    transcriber: TranscriberName = AnnotateConfig.transcriber,
    bfloat16: Bfloat16 = False,
    device: Device = "cpu",
    workers: Workers = 1,
    timeout: Timeout = 600.0,
    memory: Memory = None,
    engine: EngineName = "local",
    scheduler: Scheduler = None,
    csv: Csv = None,
    audformat: Audformat = None,
    variations: Variations = 0,
    crop: Crop = VariationConfig.crop_seconds,
    seed: Seed = VariationConfig.seed,
    noise: Noise = None,
) -> None:
    """Score audio with a teacher, into a folder of labels."""
    check_outputs(csv, folders=[audformat])
    sources, out = sources_and_output(paths, "LABELS folder")
    if (engine == "dask") != bool(scheduler):
        raise typer.BadParameter("--engine dask and --scheduler need each other")
    from ..annotation.run import annotate as run
    from ..annotation.store import LabelStore

    with (
        ending("labels are whole as far as they go: go on with --resume"),
        ProgressBar() as progress,
    ):
        report = run(
            sources,
            out,
            _loader(teacher, teacher_labels, tolerance, licence_policy, device),
            config=AnnotateConfig(
                window_seconds=window,
                batch_seconds=batch_seconds or (None if device == "cpu" else 60.0),
                gate=gate,
                bfloat16=bfloat16,
                transcriber=transcriber,
            ),
            engine=_engine(workers, scheduler, timeout, memory),
            variations=VariationConfig(variations, seed, crop) if variations else None,
            noise=noise,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )
    store = _convert(LabelStore.open(out), csv, audformat)
    _say_report(report, store)
    _check(report, strict=strict)


def _convert(store: LabelStore, csv: Path | None, audformat: Path | None) -> LabelStore:
    """Write labels in the further formats that are asked for."""
    if csv:
        store.to_csv(csv)
    if audformat:
        store.to_audformat(audformat)
    return store


def _loader(
    teacher: str,
    teacher_labels: str | None,
    tolerance: float | None,
    policy: Policy,
    device: str,
) -> Load:
    """Return what loads the teacher, in this process or in another one."""
    from functools import partial

    from ..annotation.worker import load_on
    from ..teachers.loading import load_teacher

    order = split_order(teacher_labels)
    load = partial(
        load_teacher, teacher, labels=order, policy=policy, tolerance=tolerance
    )
    return partial(load_on, device, load)


def _engine(
    workers: int, scheduler: str | None, timeout: float, memory: float | None
) -> Engine:
    """Return where the work is done."""
    from ..annotation.engines import Processes, ThisProcess
    from ..annotation.worker import WorkerLimits

    limits = WorkerLimits(timeout, round(memory * 2**30) if memory else None)
    if scheduler:
        from ..annotation.cluster import Cluster

        return Cluster(scheduler, limits)
    return Processes(workers, limits) if workers else ThisProcess()


def _say_report(report: AnnotateReport, store: LabelStore) -> None:
    """Say what the labels are, what was left out and what failed."""
    made_by = f"{store.teacher['name']} ({store.teacher['licence']})"
    say(f"{report.labelled} labels by {made_by}")
    if report.variations:
        say(f"{report.variations} scores of variations, which distill reads")
    if report.changed:
        say(f"{report.changed} files had changed and were labelled again")
    say_averaged(report.averaged)
    say_use(store.teacher, "labels")
    if report.skipped:
        say(
            f"left out {report.skipped_share:.1%} of the audio: "
            + ", ".join(f"{s / 60:.1f} min of {k}" for k, s in report.skipped.items())
            + f", see {store.folder / 'skipped.csv'}"
        )
    show(store.folder)
    if report.errors:
        say(
            f"warning: {len(report.errors)} of {report.files} files gave no label, "
            f"see {store.folder / 'errors.csv'}"
        )
        for file, error in report.errors[:5]:
            say(f"  {file}: {error}")


def _check(report: AnnotateReport, *, strict: bool) -> None:
    """End with an error where there are too few labels."""
    if report.errors and strict:
        raise typer.Exit(1)
    if not report.labelled:
        raise InputError(
            f"audio must give at least one label, got none of {report.files} files: "
            "see the lines above"
        )
