"""From a student to a folder that can be shipped."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wav2small.export.base.files import claim

from ..adv import DIMENSIONS, SAMPLING_RATE
from ..bundled import DEMO
from ..errors import InputError, LeftOutWarning
from ..models import find_checkpoint, load_student
from .paths import Paths, to_paths

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from wav2small.export.base.progress import Progress
    from wav2small.export.pipeline import Export, ExportConfig

    from ..config import DetectorConfig

_CORE = "cortex-m4"
"""Core that a card plans for."""


def describe_model(source: str | Path, window: int | None) -> dict[str, str]:
    """Return what the file of a student says of itself.

    Args:
        source: run, checkpoint or bundled name
        window: length of the signal in samples, None for any

    Returns:
        metadata of the ONNX file:
        sampling rate, licence, use, and where its weights come from

    """
    import onnx
    import torch

    from .. import __version__, checkpoint
    from ..teachers.licence import mark

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
        "window": str(window / SAMPLING_RATE) if window else "any",
        "normalisation": getattr(module, "normalisation", "per signal, inside"),
        "licence": config["licence"],
        "use": mark(config),
        "provenance": json.dumps(provenance, separators=(",", ":")),
    }


def read_calibration(
    sources: Paths | None,
    window: int | None = None,
    progress: Progress | None = None,
    *,
    most: int = 128,
) -> list[np.ndarray]:
    """Read the clips that ranges are measured on and a file is tested with.

    Args:
        sources: audio files, folders or manifests; bundled synthetic speech if None
        window: length that each clip is cut to in samples, None for none
        progress: called after each clip
        most: largest number of recordings

    Returns:
        signals, float32 at 16 kHz, 3 s of each recording,
        none of the split test of a manifest

    Raises:
        InputError: if they are fewer than 4

    """
    from wav2small.export.quantise.calibrate import cut

    from .. import audio

    _, found = audio.find(to_paths(sources or DEMO))
    tested = [source for source in found if source.metadata.get("split") == "test"]
    if tested and sources:
        warnings.warn(
            f"{len(tested)} of {len(found)} clips are of the split test: "
            "nothing is measured on them",
            LeftOutWarning,
            stacklevel=2,
        )
    found = [source for source in found if source.metadata.get("split") != "test"]
    # evenly over the corpus: neighbours tend to be one speaker
    found = found[:: max(1, -(-len(found) // most))]
    signals: list[np.ndarray] = []
    for number, source in enumerate(found, 1):
        try:
            signals.append(audio.beginning(source, 3.0))
        except audio.AudioError as error:
            warnings.warn(str(error), LeftOutWarning, stacklevel=2)
        if progress:
            progress("read", number, len(found), {})
    if window:
        signals = list(cut(signals, window))
    if len(signals) < 4:
        raise InputError(
            f"calibration must be at least 4 clips that are not of the split test, got "
            f"{len(signals)}: name more audio"
        )
    return signals


@dataclass(frozen=True)
class Exported:
    """What :func:`export_model` found out, and where it is."""

    result: Export
    """The file's bytes and all figures."""

    metadata: dict[str, str]
    """What the file says of itself."""

    c99_bytes: int | None
    """State of the C99 in bytes; None if it was not asked for."""

    paths: tuple[Path, ...]
    """What was written, the ONNX file first;
    nothing but the report if it failed a check."""


def export_model(
    source: str | Path,
    out: str | Path,
    *,
    config: ExportConfig | None = None,
    calibration: Paths | None = None,
    noise: str | Path | None = None,
    detector: DetectorConfig | None = None,
    tflite: bool = False,
    c99: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Make a checked ONNX file of a student, and what belongs to it.

    Args:
        source: run, checkpoint or bundled name
        out: folder to write: ONNX, ``model.yaml``, card, report, checksums
        config: arithmetic, window and limit of the file;
            if None int8 of any length, within the student's own limit
        calibration: speech to measure ranges and to test with; bundled if None
        noise: recordings without speech, with which and with the calibration a
            detector of speech is trained: the model gets the output ``speech``.
            It must stream, and the speech should be of many speakers
        detector: how it is trained
        tflite: whether ``model.tflite`` is written as well
        c99: whether ``c99/`` is written as well
        overwrite: replace a model that is there
        progress: called as it goes on

    Returns:
        all figures; a model that fails a check is a result and is not written

    Raises:
        InputError: if the student, the audio or the folder cannot be used

    """
    from wav2small.export.pipeline import export

    out = Path(out)
    module, described = load_student(find_checkpoint(source))
    config = config or default_config(described["student"])
    _check_window(module, config.window)
    if noise:
        from .detection import check_detector

        check_detector(config, heard=calibration is not None)
    with claim(out, "c99"):
        _check_free(out, overwrite)
        signals = read_calibration(calibration, config.window, progress)
        result = export(
            module, signals, _with_room(config) if noise else config, labels=DIMENSIONS,
            progress=progress, metadata=describe_model(source, config.window),
        )  # fmt: skip
        if noise and not result.failures:
            result = _detecting(result, calibration, noise, detector, config, progress)
        reports = _write_report(result, out, config, len(signals), result.metadata)
        if result.failures:
            return Exported(result, result.metadata, None, (out / "export.md",))
        reports += _write_card(out, result, described, overwrite)
        wanted = {"tflite": tflite, "c99": c99, "overwrite": overwrite}
        return _write_model(result, out, config, reports, **wanted)


def _write_model(
    result: Export,
    out: Path,
    config: ExportConfig,
    reports: list[str],
    *,
    tflite: bool,
    c99: bool,
    overwrite: bool,
) -> Exported:
    """Write a model that passed its checks, and what was asked for beside it."""
    from wav2small.export import package
    from wav2small.export.c99 import generate

    beside, state = [], generate(result.data, out / "c99").state if c99 else None
    if tflite:
        beside.append(_write_tflite(result, out, config.window, result.metadata))
    reports = [*reports, *(path.name for path in beside)]
    # the model comes last: where it is, all that belongs to it is there
    model = package.write(
        result.data, out, labels=DIMENSIONS, overwrite=overwrite, beside=reports
    )
    paths = (model, *beside, *[out / "c99"] * c99)
    return Exported(result, result.metadata, state, paths)


def default_config(name: str) -> ExportConfig:
    """Return how a student is exported where nothing else is asked for."""
    from wav2small.export.pipeline import ExportConfig

    from ..students import student

    return ExportConfig(max_bytes=student(name).max_bytes)


def _with_room(config: ExportConfig) -> ExportConfig:
    """Leave room in the file for a detector."""
    from .detection import ROOM

    return replace(config, max_bytes=config.max_bytes and config.max_bytes - ROOM)


def _detecting(
    result: Export,
    calibration: Paths | None,
    noise: str | Path,
    config: DetectorConfig | None,
    exported: ExportConfig,
    progress: Progress | None,
) -> Export:
    """Give an exported model a detector of speech."""
    from wav2small.export.pipeline import with_data

    from ..clips import read_noises
    from ..config import DetectorConfig
    from .detection import add_detector

    speech = read_calibration(calibration, progress=progress, most=1000)
    noises = read_noises(Path(noise))
    found = add_detector(
        result.data, speech, noises, config or DetectorConfig(), progress
    )
    return with_data(result, found[0], exported.max_bytes, found[1])


def _check_free(out: Path, overwrite: bool) -> None:
    from wav2small.export.package import MODEL_FILE

    if (out / MODEL_FILE).exists() and not overwrite:
        raise InputError(
            f"'{out}' must not hold a model, got {MODEL_FILE}: "
            "choose another folder or --overwrite"
        )


def _check_window(module: nn.Module, window: int | None) -> None:
    shortest = int(module.min_samples)  # type: ignore[arg-type]
    if window is not None and window < shortest:
        raise InputError(
            f"window must be at least {shortest / SAMPLING_RATE} s, "
            f"got {window / SAMPLING_RATE}"
        )


def _write_report(
    result: Export,
    out: Path,
    config: ExportConfig,
    clips: int,
    metadata: dict[str, str],
) -> list[str]:
    """Write all figures as JSON and as a page; return the names of the files."""
    import onnxruntime
    import torch

    from wav2small.export.base.checksums import MANIFEST
    from wav2small.export.base.escape import to_json
    from wav2small.export.base.files import replace_file

    figures = {
        "precision": "int8" if config.int8 else "fp32",
        "clips": clips,
        "licence": metadata["licence"],
        "use": metadata["use"],
        "range": metadata["range"],
        **result.to_dict(),
        "versions": {
            "onnxruntime": onnxruntime.__version__,
            "torch": torch.__version__,
        },
    }
    # a report that takes another's place is not what its manifest lists
    (out / MANIFEST).unlink(missing_ok=True)
    texts = {"export.json": to_json(figures), "export.md": result.to_markdown()}
    for name, text in texts.items():
        replace_file(out / name, (text.rstrip("\n") + "\n").encode())
    return list(texts)


def _write_card(
    out: Path, result: Export, described: Mapping[str, Any], overwrite: bool
) -> list[str]:
    """Write what is known of the model, unless its maker wrote a README."""
    from wav2small.export.base.files import replace_file
    from wav2small.export.base.reading import read_text

    from ..card import MARK, OWN, Known, write_card

    path, text = out / "README.md", ""
    if path.is_file():
        found = read_text(path)
        if not overwrite or MARK not in found:
            return []
        text = found.partition(f"## {OWN}\n")[2]
    known = Known(
        name=out.resolve().name,
        bytes=len(result.data),
        metadata=result.metadata,
        selection=described.get("metrics"),
        checks=result.to_dict(),
        costs=chip_costs(result.data),
        text=text,
    )
    replace_file(path, write_card(known).encode())
    return [path.name]


def chip_costs(data: bytes) -> list[tuple[str, str]]:
    """Say what the C of a model takes; nothing if there can be none."""
    from wav2small.export.base.errors import ExportError
    from wav2small.firmware_bench.plan.firmware import plan_firmware

    try:
        plan = plan_firmware(data)
    except ExportError:
        return []
    rows = [("RAM of the C99's state, bytes", f"{plan.memory.state:,}")]
    cost = plan.on(_CORE)
    if cost:
        million = cost.instructions_per_second / 1e6
        rows += [
            (f"flash planned on a {_CORE}, bytes", f"{cost.flash_bytes:,}"),
            (
                f"M instructions per second of audio planned on a {_CORE}",
                f"{million:.2f}",
            ),
        ]
    return rows


def _write_tflite(
    result: Export, out: Path, window: int | None, metadata: dict[str, str]
) -> Path:
    from wav2small.export.base.files import replace_file
    from wav2small.export.integer.reader import read
    from wav2small.export.tflite import count_frames, write_tflite

    graph = read(result.data)
    frames = count_frames(graph, window or SAMPLING_RATE)
    replace_file(out / "model.tflite", write_tflite(graph, frames, metadata))
    return out / "model.tflite"
