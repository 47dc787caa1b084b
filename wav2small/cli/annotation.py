"""The command that scores audio with a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ..config import AnnotateConfig, Gate
from ..errors import InputError
from ..progress import ProgressBar
from ..teachers.licence import Policy
from .options import (
    AudioAndLabels,
    Device,
    Overwrite,
    Resume,
    TeacherLabels,
    sources_and_output,
    split_order,
)
from .terminal import (
    check_outputs,
    ending,
    extra,
    say,
    say_averaged,
    say_use,
    show,
)


def annotate(
    paths: AudioAndLabels,
    teacher: Annotated[
        str,
        typer.Option(
            help="See 'wav2small list teachers'; or an ONNX file, a checkpoint's "
            "folder, owner/name on the hub or the JSON of an ensemble."
        ),
    ] = "bundled",
    teacher_labels: TeacherLabels = None,
    licence_policy: Annotated[
        Policy,
        typer.Option(
            help="research lets in teachers that may not be used for everything; "
            "what they make is marked research-only."
        ),
    ] = "permissive",
    resume: Resume = False,
    overwrite: Overwrite = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a file gave no label.")
    ] = False,
    batch_seconds: Annotated[
        float | None,
        typer.Option(
            help="Audio per batch, padding included, s; if not given 60 on a GPU, "
            "and on a CPU each clip alone.",
            min=1,
        ),
    ] = None,
    window: Annotated[
        float, typer.Option(help="Longest stretch that gets one label, s.", min=0.5)
    ] = AnnotateConfig.window_seconds,
    gate: Annotated[
        Gate,
        typer.Option(
            help="Who tells silence, noise and music, which are left out: the bundled "
            "network or silero-vad."
        ),
    ] = AnnotateConfig.gate,
    bfloat16: Annotated[
        bool,
        typer.Option("--bfloat16", help="A torch teacher multiplies in bfloat16."),
    ] = False,
    device: Device = "cpu",
    workers: Annotated[
        int,
        typer.Option(
            help="Processes that outlive a crash, each with a teacher; "
            "0 to annotate in this one.",
            min=0,
        ),
    ] = 1,
    timeout: Annotated[
        float, typer.Option(help="Longest time for a batch or a file's next part, s.")
    ] = 600.0,
    memory: Annotated[
        float | None, typer.Option(help="Most memory of a process, GiB.", min=0)
    ] = None,
    engine: Annotated[
        Literal["local", "dask"],
        typer.Option(help="local: this machine; dask: a cluster."),
    ] = "local",
    scheduler: Annotated[
        str | None, typer.Option(help="Of the cluster, e.g. tcp://login:8786.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write the labels as CSV as well.")
    ] = None,
    audformat: Annotated[
        Path | None, typer.Option(help="Write an audformat database as well.")
    ] = None,
) -> None:
    """Score audio with a teacher, into a folder of labels."""
    check_outputs(csv, folders=[audformat])
    sources, out = sources_and_output(paths, "LABELS folder")
    if (engine == "dask") != bool(scheduler):
        raise typer.BadParameter("--engine dask and --scheduler need each other")
    from functools import partial

    from ..annotation.engines import Engine, Processes, ThisProcess
    from ..annotation.run import annotate as run
    from ..annotation.store import LabelStore
    from ..annotation.worker import Limits, load_on
    from ..teachers.loading import load_teacher

    load = partial(
        load_on,
        device,
        partial(
            load_teacher,
            teacher,
            labels=split_order(teacher_labels),
            policy=licence_policy,
        ),
    )
    limits = Limits(timeout, round(memory * 2**30) if memory else None)
    place: Engine = Processes(workers, limits) if workers else ThisProcess()
    if scheduler:
        from ..annotation.cluster import Cluster

        place = Cluster(scheduler, limits)
    if device != "cpu" and batch_seconds is None:
        batch_seconds = 60.0
    config = AnnotateConfig(
        window_seconds=window,
        batch_seconds=batch_seconds,
        gate=gate,
        bfloat16=bfloat16,
    )
    with (
        ending("labels are whole as far as they go: go on with --resume"),
        ProgressBar() as progress,
        extra("train"),
    ):
        report = run(
            sources,
            out,
            load,
            config=config,
            engine=place,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )
    store = LabelStore.open(out)
    if csv:
        store.to_csv(csv)
    if audformat:
        store.to_audformat(audformat)
    made_by = f"{store.teacher['name']} ({store.teacher['licence']})"
    say(f"{report.labelled} labels by {made_by}")
    if report.changed:
        say(f"{report.changed} files had changed and were labelled again")
    say_averaged(report.averaged)
    say_use(store.teacher, "labels")
    if report.skipped:
        say(
            f"left out {report.skipped_share:.1%} of the audio: "
            + ", ".join(f"{s / 60:.1f} min of {k}" for k, s in report.skipped.items())
            + f", see {out / 'skipped.csv'}"
        )
    show(out)
    if report.errors:
        say(
            f"warning: {len(report.errors)} of {report.files} files gave no label, "
            f"see {out / 'errors.csv'}"
        )
        for file, error in report.errors[:5]:
            say(f"  {file}: {error}")
        if strict:
            raise typer.Exit(1)
    if not report.labelled:
        raise InputError(
            f"audio must give at least one label, got none of {report.files} files: "
            "see the lines above"
        )
