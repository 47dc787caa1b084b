"""The command line: parse, call, print."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wav2small.export.base.reading import read_json

from .adv import DIMENSIONS, SAMPLING_RATE
from .errors import InputError
from .finetune import commands
from .terminal import (
    Overwrite,
    Resume,
    bar,
    bars,
    ending,
    extra,
    fail,
    hours,
    say,
    say_use,
    scores_line,
    to_json,
    write,
)

if TYPE_CHECKING:
    import numpy as np

    from wav2small.export.checks.layers import Layered

    from .evaluate import Model

app = typer.Typer(
    name="wav2small",
    help="Tiny speech-emotion models for hearing aids.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_FORMS = (
    "ONNX, its folder, a run, a checkpoint or a bundled name; "
    "checkpoint:NAME for the weights of a bundled model, exact:NAME for an ONNX "
    "without optimisations, reference:NAME for its integers."
)


class Teaching(StrEnum):
    """Where a crop's target comes from."""

    online = "online"
    cached = "cached"


class Against(StrEnum):
    """Whose scores a model is compared with."""

    teacher = "teacher"
    human = "human"


class Precision(StrEnum):
    """Arithmetic of an exported model."""

    fp32 = "fp32"
    int8 = "int8"


class LicencePolicy(StrEnum):
    """Which teachers are let in."""

    permissive = "permissive"
    research = "research"


class EngineName(StrEnum):
    """Where audio is annotated."""

    local = "local"
    dask = "dask"


class Gate(StrEnum):
    """Who tells speech from other sounds."""

    none = "none"
    bundled = "bundled"
    silero = "silero"


class Table(StrEnum):
    """What can be listed."""

    students = "students"
    teachers = "teachers"
    models = "models"
    targets = "targets"


@app.command()
def annotate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="AUDIO... LABELS",
            help="Audio files, folders or manifests; last, the label folder to write.",
        ),
    ],
    teacher: Annotated[
        str,
        typer.Option(
            help="See 'wav2small list teachers'; or an ONNX file, a checkpoint's "
            "folder, owner/name on the hub or the JSON of an ensemble."
        ),
    ] = "bundled",
    teacher_labels: Annotated[
        str | None,
        typer.Option(
            help="Its outputs in its order, e.g. arousal,valence,dominance, "
            "if its files do not say it."
        ),
    ] = None,
    licence_policy: Annotated[
        LicencePolicy,
        typer.Option(
            help="research lets in teachers that may not be used for everything; "
            "what they make is marked research-only."
        ),
    ] = LicencePolicy.permissive,
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
    ] = 10.0,
    gate: Annotated[
        Gate,
        typer.Option(
            help="Who tells silence, noise and music, which are left out: the bundled "
            "network or silero-vad."
        ),
    ] = Gate.none,
    bfloat16: Annotated[
        bool,
        typer.Option("--bfloat16", help="A torch teacher multiplies in bfloat16."),
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
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
        EngineName, typer.Option(help="local: this machine; dask: a cluster.")
    ] = EngineName.local,
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
    if len(paths) < 2:
        raise typer.BadParameter("at least one AUDIO and the LABELS folder are needed")
    *sources, out = paths
    if (engine is EngineName.dask) != bool(scheduler):
        raise typer.BadParameter("--engine dask and --scheduler need each other")
    from functools import partial

    from .annotate import AnnotateConfig
    from .annotate import annotate as run
    from .engines import Engine, Processes, ThisProcess
    from .labels import LabelStore
    from .teachers import load_teacher
    from .workers import Limits, load_on

    load = partial(
        load_on,
        device,
        partial(
            load_teacher,
            teacher,
            labels=teacher_labels.split(",") if teacher_labels else None,
            policy=licence_policy.value,
        ),
    )
    limits = Limits(timeout, round(memory * 2**30) if memory else None)
    place: Engine = Processes(workers, limits) if workers else ThisProcess()
    if scheduler:
        from .cluster import Cluster

        place = Cluster(scheduler, limits)
    if device != "cpu" and batch_seconds is None:
        batch_seconds = 60.0
    config = AnnotateConfig(
        window_seconds=window,
        batch_seconds=batch_seconds,
        gate=gate.value,
        bfloat16=bfloat16,
    )
    with (
        ending("labels are whole as far as they go: go on with --resume"),
        bar("annotate") as advance,
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
            progress=hours(advance),
        )
    store = LabelStore.open(out)
    if csv:
        store.to_csv(csv)
    if audformat:
        store.to_audformat(audformat)
    made_by = f"{store.teacher['name']} ({store.teacher['licence']})"
    say(f"{report.labelled} labels by {made_by}")
    say_use(store.teacher, "labels")
    if report.skipped:
        say(
            f"left out {report.skipped_share:.1%} of the audio: "
            + ", ".join(f"{s / 60:.1f} min of {k}" for k, s in report.skipped.items())
            + f", see {out / 'skipped.csv'}"
        )
    print(out)
    if report.errors:
        say(
            f"warning: {len(report.errors)} of {report.files} files gave no label, "
            f"see {out / 'errors.csv'}"
        )
        for file, error in report.errors[:5]:
            say(f"  {file}: {error}")
        if strict:
            raise typer.Exit(1)


@app.command()
def distill(
    labels: Annotated[Path, typer.Argument(help="Folder of labels.")],
    run: Annotated[Path, typer.Argument(help="Folder of the run to write.")],
    student: Annotated[str, typer.Option(help="See 'wav2small list students'.")] = (
        "wav2small"
    ),
    teaching: Annotated[
        Teaching,
        typer.Option(help="online: the teacher hears each crop; cached: it does not."),
    ] = Teaching.online,
    teacher: Annotated[
        str | None,
        typer.Option(help="The teacher of the labels, if it is a file or a folder."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Crops of each clip.", min=1)] = 100,
    batch_size: Annotated[int, typer.Option(help="Crops per step.", min=2)] = 16,
    crop: Annotated[float, typer.Option(help="Length of a crop, s.", min=0.1)] = 2.0,
    learning_rate: Annotated[float, typer.Option(help="Peak rate.", min=0)] = 3e-3,
    seed: Annotated[int, typer.Option(help="Seed of everything.", min=0)] = 0,
    noise: Annotated[
        Path | None, typer.Option(help="Recordings of noise to train with.")
    ] = None,
    non_speech: Annotated[
        float,
        typer.Option(help="Share of noise or silence alone.", min=0, max=1),
    ] = 0.05,
    audio_root: Annotated[
        Path | None, typer.Option(help="Where the audio is, if it was moved.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
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
    with extra("train"):
        from .distill import DistillConfig
        from .distill import distill as train
        from .labels import LabelStore
        from .teachers import load_teacher

    config = DistillConfig(
        student=student,
        teaching=teaching.value,
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
        loaded = load_teacher(
            teacher, labels=order.split(",") if order else None, policy="research"
        )
    with bar("distil") as advance:
        latest = ""

        def progress(
            stage: str, done: int, total: int, figures: dict[str, float]
        ) -> None:
            nonlocal latest
            if stage == "dev":
                latest = scores_line(figures)
            text = "decode" if stage == "decode" else f"dev CCC {latest or '...'}"
            advance(done, total, text)

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
    print(run)


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(help="Bundled name, run, ONNX or name of a teacher.")
    ],
    labels: Annotated[Path, typer.Argument(help="Folder of labels.")],
    against: Annotated[
        list[Against] | None,
        typer.Option(help="Whose scores; all that the labels have if not given."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Only rows of this split, e.g. test.")
    ] = None,
    audio_root: Annotated[
        Path | None, typer.Option(help="Where the audio is, if it was moved.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures as JSON.")
    ] = None,
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
    if not suite and (noise or speech or html or clips):
        raise typer.BadParameter("--noise, --speech, --html, --clips need --suite")
    if suite and picture:
        raise typer.BadParameter("--picture excludes --suite, whose --html has it")
    import numpy as np

    from .evaluate import evaluate as compare
    from .labels import LabelStore
    from .models import load_model
    from .teachers import TEACHERS, load_teacher

    store = LabelStore.open(labels)
    read = store.read()
    references = {"teacher": read.scores}
    known = not np.isnan(read.human).all()
    if known:
        references["human"] = read.human
    if against:
        if Against.human in against and not known:
            raise InputError(
                f"labels have no scores by humans: {labels}: give them as columns "
                f"{', '.join(DIMENSIONS)} of the manifest that is annotated"
            )
        references = {name.value: references[name.value] for name in against}
    if model in TEACHERS:
        with extra("train"):
            loaded: Model = load_teacher(model)
    else:
        loaded = load_model(model)
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
    with bar("evaluate") as advance:
        result, scores = compare(loaded, signals, references, progress=advance)
    for name, figures in result.items():
        print(f"{model} against {name}")
        print(f"{'':<10} {'CCC':>6} {'95 % interval':>16} {'PCC':>6} {'MAE':>6} clips")
        for dimension in DIMENSIONS:
            row = figures[dimension]
            low, high = row["ccc_interval"]
            print(
                f"{dimension:<10} {row['ccc']:6.3f} [{low:6.3f}, {high:6.3f}] "
                f"{row['pcc']:6.3f} {row['mae']:6.3f} {row['clips']:5}"
            )
        print(f"{'mean':<10} {figures['mean']:6.3f}")
    if json_file:
        write(json_file, to_json({"model": model, **result}))
    if picture:
        with extra("report"):
            from .pictures import draw_agreement

            draw_agreement(read.scores[kept], scores, picture)
        print(picture)


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
    from .suite import Speech, read_sounds, run_suite
    from .suite.report import to_html, to_text

    with bar("sounds") as advance:
        sounds = read_sounds(noise, speech, progress=advance)
    with bars() as advance_named:
        outcome = run_suite(
            model,
            Speech(signals, references, metadata),
            sounds,
            clips=clips,
            about=about,
            progress=advance_named,
        )
    print(to_text(outcome.report))
    if json_file:
        write(json_file, to_json(outcome.report))
    if html:
        with extra("report"):
            page = to_html(outcome)
        write(html, page)
        print(html)


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="Run, checkpoint or bundled name.")],
    out: Annotated[Path, typer.Argument(help="Folder to write model.onnx into.")],
    precision: Annotated[Precision, typer.Option(help="Arithmetic.")] = Precision.int8,
    window: Annotated[
        float | None,
        typer.Option(help="Fixed length of the signal, s; any length if not given."),
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            help="Speech that the int8 ranges are measured on; "
            "bundled synthetic speech if not given."
        ),
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            help="Limit of the file, e.g. 60KiB; large layers get 4 bits to keep it."
        ),
    ] = None,
    tune: Annotated[
        int | None,
        typer.Option(
            help="Steps of quantisation-aware tuning; if not given, "
            "300 where rounding alone loses too much.",
            min=0,
        ),
    ] = None,
    opset: Annotated[
        int, typer.Option(help="ONNX operators: 17, or 21 with a 4-bit type.")
    ] = 17,
    tflite: Annotated[
        bool,
        typer.Option(
            "--tflite",
            help="Write model.tflite as well: int8 log-mel in, for the window or 1 s.",
        ),
    ] = False,
    c99: Annotated[
        bool,
        typer.Option(
            "--c99", help="Write c99/ as well: C that runs the model piece by piece."
        ),
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Draw what the bytes are for (PNG).")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a checked ONNX file of a student, and audonnx's model.yaml."""
    if (tflite or c99) and precision is not Precision.int8:
        raise typer.BadParameter("--tflite and --c99 need --precision int8")
    with extra("train"):
        import torch

        from wav2small.export.pipeline import ExportConfig
        from wav2small.export.pipeline import export as make
    import onnx
    import onnxruntime

    from wav2small.export import package
    from wav2small.export.quantise.calibrate import cut
    from wav2small.export.quantise.quantize import QuantConfig
    from wav2small.firmware_bench.budget import parse_size

    from . import __version__, audio, checkpoint
    from .models import find_checkpoint, load_student
    from .teachers.licence import mark

    folder = find_checkpoint(run)
    module, config = load_student(folder)
    samples = round(window * SAMPLING_RATE) if window else None
    shortest = getattr(module, "min_samples")  # noqa: B009
    if samples is not None and samples < shortest:
        raise InputError(
            f"window must be at least {shortest / SAMPLING_RATE} s, got {window}"
        )
    if (out / package.MODEL_FILE).exists() and not overwrite:
        raise InputError(
            f"'{out}' must not hold a model, got {package.MODEL_FILE}: "
            "choose another folder or --overwrite"
        )
    _, sources = audio.find(calibration or [DEMO])
    # evenly over the corpus: neighbours tend to be one speaker
    sources = sources[:: -(-len(sources) // 128)]
    signals: list[np.ndarray] = []
    with bar("read") as advance:
        for number, source in enumerate(sources):
            try:
                signals.append(audio.beginning(source, 3.0))
            except audio.AudioError as error:
                say(f"warning: {error}")
            advance(number + 1, len(sources))
    if samples:
        signals = list(cut(signals, samples))
    if len(signals) < 4:
        raise InputError(
            f"calibration must be at least 4 clips, got {len(signals)}: name more audio"
        )
    provenance = {
        "student": config["student"],
        "teacher": config["teacher"]["name"],
        "revision": config["teacher"]["revision"],
        "training_data": config["teacher"]["training_data"],
        "checkpoint": checkpoint.digest(folder),
        "wav2small": __version__,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
    }
    if members := config["teacher"].get("members"):
        provenance["members"] = [
            {key: member[key] for key in ("name", "revision", "licence")}
            for member in members
        ]
    metadata = {
        "sampling_rate": str(SAMPLING_RATE),
        "range": "0..1",
        "window": str(window) if window else "any",
        "normalisation": getattr(module, "normalisation", "per signal, inside"),
        "licence": config["licence"],
        "use": mark(config),
        "provenance": json.dumps(provenance, separators=(",", ":")),
    }
    say("exporting")
    with bars() as advance_named:
        made = make(
            module,
            signals,
            ExportConfig(
                int8=precision is Precision.int8,
                window=samples,
                max_bytes=parse_size(max_bytes) if max_bytes else None,
                tune_steps=tune,
                quantisation=QuantConfig(opset=opset),  # type: ignore[arg-type]
            ),
            metadata=metadata,
            labels=DIMENSIONS,
            progress=advance_named,
        )
    out.mkdir(parents=True, exist_ok=True)
    versions = {"onnxruntime": onnxruntime.__version__, "torch": torch.__version__}
    result = {
        "precision": precision.value,
        "clips": len(signals),
        "licence": metadata["licence"],
        "use": metadata["use"],
        **made.to_dict(),
        "versions": versions,
    }
    write(out / "export.json", to_json(result))
    write(out / "export.md", made.to_markdown())
    if picture:
        with extra("report"):
            from wav2small.export.pictures import draw_budget

            draw_budget(made.parts, picture, made.size.limit if made.size else None)
        print(picture)
    say(f"{len(made.data):,} bytes")
    for name, entry in made.parity.executions.items():
        ccc = " ".join(f"{value:.4f}" for value in entry.concordance_cc)
        say(
            f"{name} execution against torch, {made.parity.signals} clips: "
            f"max error {entry.max_error:.4f}, CCC {ccc}"
        )
    if made.agreement:
        say(
            "onnxruntime against the integer graph: largest difference of a score "
            f"{max(made.agreement.score_error.values()):.5f}"
        )
    if made.failures:
        fail(
            f"model must pass every check, failed {'; '.join(made.failures)}: "
            f"nothing was written but {out / 'export.md'}"
        )
    say_use(metadata, "model")
    print(package.write(made.data, out, labels=DIMENSIONS, overwrite=overwrite))
    if tflite:
        with extra("tflite"):
            from wav2small.export.tflite import count_frames, write_tflite
        from wav2small.export.base.files import atomic_write
        from wav2small.export.integer.reader import read

        graph = read(made.data)
        content = write_tflite(
            graph, count_frames(graph, samples or SAMPLING_RATE), metadata
        )
        with atomic_write(out / "model.tflite") as file:
            file.write(content)
        print(out / "model.tflite")
    if c99:
        from wav2small.export.c99 import generate

        memory = generate(out / "model.onnx", out / "c99")
        total = sum(dataclasses.astuple(memory))
        say(f"C99 with about {total:,} bytes of state and scratch")
        print(out / "c99")


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help=_FORMS)],
    second: Annotated[str, typer.Argument(metavar="B", help="As A.")],
    sources: Annotated[
        list[Path] | None,
        typer.Option("--audio", help="Speech; bundled synthetic speech if not given."),
    ] = None,
    clips: Annotated[int, typer.Option(help="Most clips, spread evenly.", min=1)] = 32,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures as JSON.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the layers (PNG).")] = None,
) -> None:
    """Show where two forms of a model part, layer by layer."""
    from wav2small.export.checks.layers import compare_layers, to_markdown

    from . import audio

    models = [_layers(name) for name in (first, second)]
    _, found = audio.find(sources or [DEMO])
    signals = []
    for source in found[:: max(1, len(found) // clips)][:clips]:
        try:
            signals.append(audio.beginning(source, 5.0))
        except audio.AudioError as error:
            say(f"warning: {error}")
    with bar("compare") as advance:
        comparison = compare_layers(models[0], models[1], signals, advance)
    print(to_markdown(comparison, DIMENSIONS))
    if json_file:
        write(
            json_file,
            to_json({"a": first, "b": second, **comparison.to_dict()}),
        )
    if picture:
        with extra("report"):
            from wav2small.export.pictures import draw_comparison

            draw_comparison(comparison, picture)
        print(picture)


def _layers(name: str) -> Layered:
    """Model whose layers can be looked at."""
    from wav2small.export.checks.layers import OnnxLayers, ReferenceLayers
    from wav2small.export.model import topology

    from .models import find_checkpoint, find_onnx, load_student

    form, _, rest = name.partition(":")
    if form == "reference":
        return ReferenceLayers(topology.load(find_onnx(rest)))
    if form == "exact":
        return OnnxLayers(topology.load(find_onnx(rest)), "exact")
    if form != "checkpoint":
        try:
            return OnnxLayers(topology.load(find_onnx(name)))
        except InputError:
            rest = name
    folder = find_checkpoint(rest)
    with extra("train"):
        from wav2small.export.model.to_onnx import to_onnx
    module, _ = load_student(folder)
    return OnnxLayers(to_onnx(module, window=None, example_samples=2 * SAMPLING_RATE))


@app.command()
def bench(
    model: Annotated[
        str | None, typer.Argument(help="ONNX, its folder or a bundled name.")
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            help="Instead of MODEL: a student that is not trained yet, by name or by a "
            "JSON file with 'student' and 'config'; its weights are random."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or JSON file, see 'wav2small list targets'; "
            "the generic ones if neither target nor budget is given."
        ),
    ] = None,
    window: Annotated[
        float | None, typer.Option(help="Length of the signal, s.", min=0.01)
    ] = None,
    ram: Annotated[str | None, typer.Option(help="Budget, e.g. 24KiB.")] = None,
    flash: Annotated[str | None, typer.Option(help="Budget, e.g. 128KiB.")] = None,
    realtime_factor: Annotated[
        float | None, typer.Option(help="Budget: compute time over audio time.", min=0)
    ] = None,
    emulate: Annotated[
        bool,
        typer.Option(
            "--emulate",
            help="Build the model's C99 for each target's core, run it in an emulator "
            "and check what is measured.",
        ),
    ] = False,
    compiler: Annotated[
        str, typer.Option(help="zig, or arm-none-eabi-gcc where it is installed.")
    ] = "zig",
    max_push_instructions: Annotated[
        int | None,
        typer.Option(help="Budget of the most expensive push of one hop.", min=1),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Earlier report as JSON, whose figures may not grow."),
    ] = None,
    growth: Annotated[
        float, typer.Option(help="Share by which they may.", min=0)
    ] = 0.01,
    sources: Annotated[
        list[Path] | None,
        typer.Option(
            "--audio",
            help="Clips on which the core's results are compared with the "
            "reference's as well, at most 200, the first 5 s of each.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the report as JSON.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the report as Markdown.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(help="Write the checks as JUnit XML.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the plan's memory over time (PNG).")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Folder for memory.png, fit.png and, of emulated cores, layers.png."
        ),
    ] = None,
) -> None:
    """Check a model's memory and work against budgets; exit 1 if one breaks."""
    if (model is None) == (student is None):
        raise typer.BadParameter("either MODEL or --student is needed")
    if not emulate and (max_push_instructions or baseline or sources):
        raise typer.BadParameter(
            "--max-push-instructions, --baseline and --audio need --emulate"
        )
    import tempfile

    from wav2small.firmware_bench import report as formats
    from wav2small.firmware_bench.bench import bench as run
    from wav2small.firmware_bench.budget import parse_size
    from wav2small.firmware_bench.target import DEFAULT_TARGETS

    from .models import find_onnx

    limits = ram or flash or realtime_factor
    with tempfile.TemporaryDirectory() as folder:
        path = _untrained(student, Path(folder)) if student else find_onnx(model or "")
        report = run(
            path,
            window_seconds=window,
            targets=target or (() if limits or emulate else DEFAULT_TARGETS),
            ram=parse_size(ram) if ram else None,
            flash=parse_size(flash) if flash else None,
            realtime_factor=realtime_factor,
            emulate=emulate,
            compiler=compiler,
            audio=_clips(sources) if sources else None,
            max_push_instructions=max_push_instructions,
            baseline=baseline,
            growth=growth,
        )
    print(formats.to_text(report))
    say_use(report["model"]["metadata"], "model")
    if json_file:
        write(json_file, to_json(report))
    if markdown:
        write(markdown, formats.to_markdown(report))
    if junit:
        write(junit, formats.to_junit(report))
    if picture or pictures:
        with extra("report"):
            from wav2small.firmware_bench import pictures as drawing

            if picture:
                drawing.draw_memory(report, picture)
                print(picture)
            if pictures:
                pictures.mkdir(parents=True, exist_ok=True)
                drawing.draw_memory(report, pictures / "memory.png")
                drawing.draw_fit(report, pictures / "fit.png")
                if report["firmware"] and report["firmware"]["cores"]:
                    drawing.draw_layers(report, pictures / "layers.png")
                print(pictures)
    if not report["fits"]:
        raise typer.Exit(1)


def _clips(sources: list[Path]) -> dict[str, np.ndarray]:
    """First seconds of clips as a microphone gives them, by name."""
    import numpy as np

    from . import audio

    _, found = audio.find(sources)
    clips = {}
    for number, source in enumerate(found[:: max(1, -(-len(found) // 200))]):
        try:
            signal = audio.beginning(source, 5.0)
        except audio.AudioError as error:
            say(f"warning: {error}")
            continue
        whole = np.clip(np.round(signal * 32768), -32768, 32767).astype(np.int16)
        clips[f"clip {number}"] = whole
    return clips


def _untrained(student: str, folder: Path) -> Path:
    """Export a student with random weights, to be planned before it is trained."""
    with extra("train"):
        import torch

        from wav2small.export.model.to_onnx import to_onnx
        from wav2small.export.quantise.quantize import quantize

        from .students import student as find
    import numpy as np

    from wav2small.export import package
    from wav2small.firmware_bench.signals import voice

    name, settings = student, {}
    if student.endswith(".json"):
        try:
            entry = read_json(student)
            name, settings = entry["student"], dict(entry.get("config", {}))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"student must be a name or a JSON file with 'student' and 'config', "
                f"got '{student}': {error}"
            ) from error
    chosen = find(name)
    try:
        config = dataclasses.replace(chosen.config, **settings)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = chosen.module(config).eval()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"config of '{name}' must be settings that it has, got '{student}': {error}"
        ) from error
    say(f"{name} with random weights: what it costs, not what it can")
    signal = voice(4 * SAMPLING_RATE).astype(np.float32) / 32768
    floats = to_onnx(module, window=None, example_samples=2 * SAMPLING_RATE)
    model = quantize(floats, list(signal.reshape(4, -1)))
    path = folder / f"{name}-untrained.onnx"
    metadata = {"sampling_rate": str(SAMPLING_RATE), "window": "any"}
    path.write_bytes(package.pack(model, metadata=metadata, labels=DIMENSIONS))
    return path


@app.command()
def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="AUDIO...", help="Files, folders, manifests."),
    ],
    model: Annotated[str, typer.Option(help="Bundled name, run or ONNX.")] = (
        "wav2small"
    ),
    window: Annotated[
        float, typer.Option(help="Length of what is scored at a time, s.", min=0.1)
    ] = 10.0,
    hop: Annotated[
        float | None,
        typer.Option(help="From one window to the next, s; a window if not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Score files; silence and other sounds are marked, not scored."""
    if hop is not None and not 0 < hop <= window:
        raise typer.BadParameter(f"--hop must be above 0 and at most {window:g}")
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    import csv

    from . import audio
    from .gate import SpeechGate
    from .models import load_model
    from .predict import predict as run

    _, sources = audio.find(paths)
    loaded, gate = load_model(model), SpeechGate()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    columns = ["file", "start", "end", "kind", *DIMENSIONS]
    rows: list[dict[str, Any]] = []
    if as_csv:
        writer.writerow(columns)
    elif not as_json:
        print(
            f"{'start':>8} {'end':>8}  {'kind':<10} "
            + " ".join(f"{name:>9}" for name in DIMENSIONS)
            + "  file"
        )
    failed = 0
    for source in sources:
        try:
            for item in run(
                loaded, gate, source, window_seconds=window, hop_seconds=hop
            ):
                scores = item.scores or (None,) * 3
                cells = [item.file, round(item.start, 3), round(item.end, 3), item.kind]
                cells += [None if s is None else round(s, 4) for s in scores]
                if as_json:
                    rows.append(dict(zip(columns, cells, strict=True)))
                elif as_csv:
                    writer.writerow(cells)
                else:
                    shown = " ".join(
                        f"{'-':>9}" if s is None else f"{s:9.3f}" for s in scores
                    )
                    print(
                        f"{item.start:8.2f} {item.end:8.2f}  {item.kind:<10} {shown}"
                        f"  {item.file}"
                    )
        except audio.AudioError as error:
            failed += 1
            say(f"error: {error}")
    if as_json:
        print(to_json(rows))
    if failed == len(sources):
        raise typer.Exit(1)


for _command in (commands.finetune, commands.layers, commands.select, commands.ask):
    app.command()(_command)


@app.command("list")
def list_(what: Annotated[Table, typer.Argument(help="What to list.")]) -> None:
    """List students, teachers, bundled models or targets."""
    if what is Table.students:
        with extra("train"):
            from .students import STUDENTS

        for name, entry in STUDENTS.items():
            count = sum(p.numel() for p in entry.build().parameters())
            print(f"{name:<20} {count:>9,} parameters  {entry.description}")
    elif what is Table.teachers:
        with extra("train"):
            from .teachers import ENSEMBLES, TEACHERS, load_teacher

        for name in TEACHERS:
            info = load_teacher(name).info
            print(f"{name:<20} {info.licence:<12} {info.training_data}")
        for name, path in ENSEMBLES.items():
            members = json.loads(path.read_text())["members"]
            print(f"{name:<20} {' + '.join(member['teacher'] for member in members)}")
    elif what is Table.models:
        from .models import OnnxModel, bundled, find_onnx

        for name in bundled():
            path = find_onnx(name)
            metadata = OnnxModel(path).metadata
            print(
                f"{name:<20} {path.stat().st_size:>9,} bytes  "
                f"{metadata['licence']:<12} window: {metadata['window']}"
            )
    else:
        from wav2small.firmware_bench.measure import obstacle
        from wav2small.firmware_bench.target import TARGETS

        print(
            f"{'name':<18}{'core':<12}{'MHz':>7}{'RAM, KiB':>11}{'flash, KiB':>12}  "
            "bench     verified  source"
        )
        for name, place in TARGETS.items():
            print(
                f"{name:<18}{place.core:<12}{place.amount('clock_hz', 10**6):>7}"
                f"{place.amount('ram_bytes', 1024):>11}"
                f"{place.amount('flash_bytes', 1024):>12}  "
                f"{'planned' if obstacle(place.core) else 'emulated':<8}  "
                f"{'yes' if place.verified else 'no':<8}  {place.source}"
            )
        print("A figure with ? is not verified: it is shown and never decides.")


@app.command()
def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for everything that the demo makes.")
    ] = Path("runs/demo"),
) -> None:
    """Run the whole chain on bundled audio with the bundled teacher."""
    with extra("train"):
        from .demo import demo as run

    run(out)


DEMO = Path(__file__).parent / "assets" / "demo" / "manifest.csv"


def _read_clips(
    labels: Any, rows: list[int], root: Path
) -> tuple[list[np.ndarray], list[int]]:
    """Read the clips of rows; those that cannot be read are said and left out."""
    from . import audio

    signals, kept = [], []
    with bar("read") as advance:
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
            advance(done + 1, len(rows))
    if not kept:
        raise InputError(f"no clip of the labels is below {root}: pass --audio-root")
    return signals, kept


def main() -> None:
    """Run the command line; what a user can mend is one line, exit code 1."""
    try:
        app()
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # the reader went away, as with 'head'; nothing more can be said to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except ValueError as error:
        from wav2small.export.base.errors import BenchError, ExportError

        if not isinstance(error, InputError | ExportError | BenchError):
            raise
        say("error: " + " ".join(str(error).split()))
        sys.exit(1)
