"""The main job in Python: what the command line does, step by step.

Each function does what the command of its name does, with the same checks,
and leaves the same files with the same licence and provenance.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .adv import DIMENSIONS, SAMPLING_RATE
from .bundled import DEMO
from .errors import InputError, LeftOutWarning

if TYPE_CHECKING:
    import numpy as np

    from wav2small.export.pipeline import Export, ExportConfig, Progress

    from .annotation.store import LabelStore
    from .config import AnnotateConfig, DistillConfig
    from .prediction import Prediction

Paths = str | Path | Sequence[str | Path]
"""A file, a folder or a manifest, or several of them."""


def annotate(
    sources: Paths,
    labels: str | Path,
    *,
    teacher: str = "bundled",
    config: AnnotateConfig | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> LabelStore:
    """Score audio with a teacher, into a folder of labels.

    Args:
        sources: audio files, folders or manifests
        labels: folder to write
        teacher: see :func:`wav2small.teachers.loading.load_teacher`
        config: how audio is cut and batched
        resume: go on where a run stopped
        overwrite: replace what is there

    Returns:
        the labels; files that gave none are in its ``errors()``

    Raises:
        InputError: if there is no audio, the teacher cannot be used,
            or no file gave a label

    """
    from .annotation.run import annotate as run
    from .annotation.store import LabelStore
    from .teachers.loading import load_teacher

    report = run(
        _paths(sources),
        Path(labels),
        load_teacher(teacher),
        config=config,
        resume=resume,
        overwrite=overwrite,
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
) -> dict[str, float]:
    """Train a student on a teacher's scores.

    Args:
        labels: folder that :func:`annotate` wrote
        run: folder to write; ``export_model`` takes it
        config: student, length and seed of the training
        noise: folder of recordings of noise to train with
        resume: go on where a run stopped
        overwrite: replace what is there

    Returns:
        concordance with the teacher on the development rows, by dimension,
        their ``mean`` and the ``step`` of the best checkpoint

    Raises:
        InputError: if the labels cannot be used or the training diverges

    """
    from .config import DistillConfig
    from .distillation import distill as train

    best = train(
        Path(labels),
        Path(run),
        config or DistillConfig(),
        noise=Path(noise) if noise else None,
        resume=resume,
        overwrite=overwrite,
    )
    metrics: dict[str, float] = best["metrics"]
    return metrics


def describe_model(source: str | Path, window: int | None) -> dict[str, str]:
    """Return what the file of a student says of itself.

    Args:
        source: run, checkpoint or bundled name
        window: length of the signal in samples, None for any

    Returns:
        metadata of the ONNX file:
        sampling rate, range, licence, use, and where its weights come from

    """
    import onnx
    import torch

    from . import __version__, checkpoint
    from .models import find_checkpoint, load_student
    from .teachers.licence import mark

    folder = find_checkpoint(source)
    module, config = load_student(folder)
    teacher = config["teacher"]
    provenance = {
        "student": config["student"],
        "teacher": teacher["name"],
        "revision": teacher["revision"],
        "training_data": teacher["training_data"],
        "checkpoint": checkpoint.digest(folder),
        "wav2small": __version__,
        "torch": torch.__version__,
        "onnx": onnx.__version__,
    }
    if members := teacher.get("members"):
        provenance["members"] = [
            {key: member[key] for key in ("name", "revision", "licence")}
            for member in members
        ]
    return {
        "sampling_rate": str(SAMPLING_RATE),
        "range": "about 0..1",
        "window": str(window / SAMPLING_RATE) if window else "any",
        "normalisation": getattr(module, "normalisation", "per signal, inside"),
        "licence": config["licence"],
        "use": mark(config),
        "provenance": json.dumps(provenance, separators=(",", ":")),
    }


def read_calibration(
    sources: Paths | None, window: int | None = None, progress: Progress | None = None
) -> list[np.ndarray]:
    """Read the clips that ranges are measured on and a file is tested with.

    Args:
        sources: audio files, folders or manifests; bundled synthetic speech if None
        window: length that each clip is cut to in samples, None for none
        progress: called with clips read and in all

    Returns:
        at most 128 signals, float32 at 16 kHz, 3 s of each recording

    Raises:
        InputError: if they are fewer than 4

    """
    from wav2small.export.quantise.calibrate import cut

    from . import audio

    _, found = audio.find(_paths(sources or DEMO))
    # evenly over the corpus: neighbours tend to be one speaker
    found = found[:: -(-len(found) // 128)]
    signals: list[np.ndarray] = []
    for number, source in enumerate(found, 1):
        try:
            signals.append(audio.beginning(source, 3.0))
        except audio.AudioError as error:
            warnings.warn(str(error), LeftOutWarning, stacklevel=2)
        if progress:
            progress("read", number, len(found))
    if window:
        signals = list(cut(signals, window))
    if len(signals) < 4:
        raise InputError(
            f"calibration must be at least 4 clips, got {len(signals)}: name more audio"
        )
    return signals


@dataclass(frozen=True)
class Exported:
    """What :func:`export_model` found out, and where the model is."""

    result: Export
    """The file's bytes and all figures."""

    clips: int
    """Clips that it was made and tested with."""

    metadata: dict[str, str]
    """What the file says of itself."""

    path: Path | None
    """The ONNX file; None if it failed a check and was not written."""


def export_model(
    source: str | Path,
    out: str | Path,
    *,
    config: ExportConfig | None = None,
    calibration: Paths | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Make a checked ONNX file of a student.

    Args:
        source: run, checkpoint or bundled name
        out: folder to write
        config: arithmetic, window and limit of the file;
            int8 of any length within the student's own limit if None
        calibration: speech to measure ranges on and to test with;
            bundled synthetic speech if None
        overwrite: replace a model that is there
        progress: called as it goes on

    Returns:
        all figures; a model that fails a check is a result and is not written

    Raises:
        InputError: if the student, the audio or the folder cannot be used

    """
    from wav2small.export import package
    from wav2small.export.base.files import claim
    from wav2small.export.pipeline import ExportConfig, export

    from .models import find_checkpoint, load_student
    from .students import student

    out = Path(out)
    module, described = load_student(find_checkpoint(source))
    config = config or ExportConfig(max_bytes=student(described["student"]).max_bytes)
    shortest = int(module.min_samples)  # type: ignore[arg-type]
    if config.window is not None and config.window < shortest:
        raise InputError(
            f"window must be at least {shortest / SAMPLING_RATE} s, "
            f"got {config.window / SAMPLING_RATE}"
        )
    with claim(out, "c99"):
        if (out / package.MODEL_FILE).exists() and not overwrite:
            raise InputError(
                f"'{out}' must not hold a model, got {package.MODEL_FILE}: "
                "choose another folder or --overwrite"
            )
        signals = read_calibration(calibration, config.window, progress)
        metadata = describe_model(source, config.window)
        result = export(
            module,
            signals,
            config,
            metadata=metadata,
            labels=DIMENSIONS,
            progress=progress,
        )
        path = None
        if not result.failures:
            path = package.write(
                result.data, out, labels=DIMENSIONS, overwrite=overwrite
            )
    return Exported(result, len(signals), metadata, path)


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
        from wav2small.firmware_bench.report import to_text

        return to_text(self.figures)

    def _repr_markdown_(self) -> str:
        from wav2small.firmware_bench.report import to_markdown

        return to_markdown(self.figures)


def bench(
    model: str | Path,
    *,
    targets: Sequence[str | Path] = (),
    ram: int | None = None,
    flash: int | None = None,
    realtime_factor: float | None = None,
    emulate: bool = False,
) -> Report:
    """Check what a model takes on a chip against budgets.

    Args:
        model: ONNX file, its folder or a bundled name
        targets: names or JSON files of chips; the generic ones
            if neither they nor a limit are given
        ram: limit in bytes
        flash: limit in bytes
        realtime_factor: limit of seconds of work per second of audio
        emulate: whether the model's C is built and run on emulated cores,
            which needs the extra ``firmware``

    Returns:
        a report; that a model does not fit is a result

    Raises:
        InputError: if model or target cannot be used

    """
    from wav2small.firmware_bench.bench import bench as run
    from wav2small.firmware_bench.target import DEFAULT_TARGETS

    from .models import find_onnx

    limits = ram or flash or realtime_factor
    return Report(
        run(
            find_onnx(model),
            targets=targets or (() if limits or emulate else DEFAULT_TARGETS),
            ram=ram,
            flash=flash,
            realtime_factor=realtime_factor,
            emulate=emulate,
        )
    )


def predict(
    sources: Paths,
    *,
    model: str | Path = "",
    window_seconds: float = 10.0,
    hop_seconds: float | None = None,
) -> Iterator[Prediction]:
    """Score recordings window by window; silence and other sounds get no scores.

    Args:
        sources: audio files, folders or manifests
        model: bundled name, run or ONNX; the bundled default if empty
        window_seconds: length of what is scored at a time, in seconds
        hop_seconds: seconds from one window to the next, those of a window if None

    Yields:
        file, start, end, kind and scores of each window

    Raises:
        AudioError: if a recording cannot be read

    """
    from . import audio
    from .gate import SpeechGate
    from .models import DEFAULT, load_model
    from .prediction import predict as run

    loaded, gate = load_model(model or DEFAULT), SpeechGate()
    _, found = audio.find(_paths(sources))
    for source in found:
        yield from run(
            loaded, gate, source, window_seconds=window_seconds, hop_seconds=hop_seconds
        )


def _paths(sources: Paths) -> list[Path]:
    several = [sources] if isinstance(sources, str | Path) else sources
    return [Path(source) for source in several]
