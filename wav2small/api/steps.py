"""The main job in Python: what the command line does, step by step.

Each function does what the command of its name does, with the same checks,
and leaves the same files with the same licence and provenance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..bundled import DEFAULT
from ..errors import InputError
from .paths import Paths, to_paths
from .personal import load_calibration, personal

if TYPE_CHECKING:
    from wav2small.export.base.progress import Progress

    from ..annotation.store import LabelStore
    from ..config import AnnotateConfig, DistillConfig, VariationConfig
    from ..prediction import Prediction


def annotate(
    sources: Paths,
    labels: str | Path,
    *,
    teacher: str = "bundled",
    config: AnnotateConfig | None = None,
    variations: VariationConfig | None = None,
    noise: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> LabelStore:
    """Score audio with a teacher, into a folder of labels.

    Args:
        sources: audio files, folders or manifests
        labels: folder to write
        teacher: see :func:`wav2small.teachers.loading.load_teacher`
        config: how audio is cut and batched
        variations: which variations of each clip are scored as well, so that
            :func:`distill` needs no teacher
        noise: folder of recordings of noise for them
        resume: go on where a run stopped
        overwrite: replace what is there
        progress: called as it goes on, for instance a :class:`wav2small.ProgressBar`,
            which draws bars in a notebook or a terminal

    Returns:
        the labels; files that gave none are in its ``errors()``

    Raises:
        InputError: if there is no audio, the teacher cannot be used,
            or no file gave a label

    """
    from ..annotation.run import annotate as run
    from ..annotation.store import LabelStore
    from ..teachers.loading import load_teacher

    report = run(
        to_paths(sources),
        Path(labels),
        load_teacher(teacher),
        config=config,
        variations=variations,
        noise=Path(noise) if noise else None,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )
    if not report.labelled:
        raise InputError(
            f"audio must give at least one label, got none of {report.files} files: "
            f"see errors.csv in {labels}"
        )
    return LabelStore.open(Path(labels))


def distill(
    labels: str | Path,
    run: str | Path,
    *,
    config: DistillConfig | None = None,
    noise: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Train a student on a teacher's scores.

    Args:
        labels: folder that :func:`annotate` wrote
        run: folder to write; ``export_model`` takes it
        config: student, length and seed of the training
        noise: folder of recordings of noise to train with
        resume: go on where a run stopped
        overwrite: replace what is there
        progress: called after each step, as of :func:`annotate`

    Returns:
        concordance with the teacher on the development rows, by dimension,
        their ``mean`` and the ``step`` of the best checkpoint

    Raises:
        InputError: if the labels cannot be used or the training diverges

    """
    from ..config import DistillConfig
    from ..distillation import distill as train

    best = train(
        Path(labels),
        Path(run),
        config or DistillConfig(),
        noise=Path(noise) if noise else None,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )
    metrics: dict[str, float] = best["metrics"]
    return metrics


@dataclass(frozen=True)
class Report:
    """What :func:`bench` found out; printed, it is the table of the command line."""

    figures: dict[str, Any]
    """The report as JSON holds it."""

    @property
    def verdict(self) -> str:
        """``fits``, ``does not fit`` or ``not checked``."""
        verdicts = {True: "fits", False: "does not fit", None: "not checked"}
        return verdicts[self.figures["fits"]]

    def __str__(self) -> str:
        from wav2small.firmware_bench.report.text import to_text

        return to_text(self.figures)

    def _repr_markdown_(self) -> str:
        from wav2small.firmware_bench.report.markdown import to_markdown

        return to_markdown(self.figures)


def bench(
    model: str | Path,
    *,
    targets: Sequence[str | Path] = (),
    ram: int | None = None,
    flash: int | None = None,
    realtime_factor: float | None = None,
    emulate: bool = False,
    calls: Sequence[str] = (),
) -> Report:
    """Check what a model, or any program, takes on a chip against budgets.

    Args:
        model: ONNX file, its folder or a bundled name;
            or an ELF file for a Cortex-M, whatever built it
        targets: names or JSON files of chips; the generic ones
            if neither they nor a limit are given
        ram: limit in bytes
        flash: limit in bytes
        realtime_factor: limit of seconds of work per second of audio
        emulate: whether the model's C is built and run on emulated cores,
            which needs the extra ``firmware``
        calls: functions of an ELF file that take no arguments,
            which are called on the emulated core in this order

    Returns:
        a report; that a model does not fit is a result

    Raises:
        InputError: if model or target cannot be used

    """
    from wav2small.firmware_bench.bench import bench as run
    from wav2small.firmware_bench.limits import Limits
    from wav2small.firmware_bench.programs import bench_program, is_program
    from wav2small.firmware_bench.target import DEFAULT_TARGETS

    from ..models import find_onnx

    limits = Limits(ram=ram, flash=flash, realtime_factor=realtime_factor)
    program = is_program(model)
    if (program and (emulate or realtime_factor)) or (calls and not program):
        raise InputError(
            f"an ELF file must come with calls, and a model with emulate and "
            f"realtime_factor, got {Path(model).name} with the other's"
        )
    if program:
        return Report(bench_program(model, calls=calls, targets=targets, limits=limits))
    if not (targets or emulate or limits.of_memory_or_time):
        targets = DEFAULT_TARGETS
    return Report(
        run(find_onnx(model), targets=targets, limits=limits, emulate=emulate)
    )


def predict(
    sources: Paths,
    *,
    model: str | Path = DEFAULT,
    window_seconds: float = 10.0,
    hop_seconds: float | None = None,
    calibration: str | Path | None = None,
) -> Iterator[Prediction]:
    """Score recordings window by window; silence and other sounds get no scores.

    Args:
        sources: audio files, folders or manifests
        model: bundled name, run or ONNX; the bundled default if none is named
        window_seconds: length of what is scored at a time, in seconds
        hop_seconds: seconds from one window to the next, those of a window if None
        calibration: file of one wearer, see :func:`wav2small.calibrate`

    Yields:
        file, start, end, kind and scores of each window

    Raises:
        AudioError: if a recording cannot be read
        InputError: if the calibration is damaged or of another model

    """
    from .. import audio
    from ..gate import SpeechGate
    from ..models import load_model
    from ..prediction import predict as run

    loaded, gate = load_model(model), SpeechGate()
    table = load_calibration(calibration, model=model) if calibration else None
    _, found = audio.find(to_paths(sources))
    for _, items in run(loaded, gate, found, window_seconds, hop_seconds):
        for item in items:
            yield personal(item, table)
