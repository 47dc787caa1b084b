"""Students with random weights: what they cost is known before they are trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import ModelProto

from wav2small.export import package
from wav2small.export.base.reading import read_json
from wav2small.export.model.to_onnx import to_onnx
from wav2small.export.quantise.scales import measure_scales
from wav2small.export.quantise.steps import fitting_config, prepare_to_quantise
from wav2small.export.quantise.write import write_quantised
from wav2small.firmware_bench.run.signals import voice

from ..adv import DIMENSIONS, SAMPLING_RATE
from ..errors import InputError
from ..students import student as find

METADATA_BYTES = 2048
"""Room that is left for the metadata of a trained model."""


def untrained(
    name: str, settings: dict[str, Any] | None = None, max_bytes: int | None = None
) -> ModelProto:
    """Quantise a student with random weights.

    Args:
        name: name of the student
        settings: what shall be other than in the student's own configuration
        max_bytes: largest size of the file, which large layers get 4 bits to keep

    Raises:
        InputError: if there is no such student or setting

    """
    chosen = find(name)
    try:
        config = dataclasses.replace(chosen.config, **(settings or {}))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            module = chosen.module(config).eval()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"config of '{name}' must be settings that it has, got {settings}: {error}"
        ) from error
    signal = voice(4 * SAMPLING_RATE).astype(np.float32) / 32768
    floats = to_onnx(module, window=None, example_samples=2 * SAMPLING_RATE)
    prepared, plan = prepare_to_quantise(floats)
    scales = measure_scales(prepared, plan, list(signal.reshape(4, -1)))
    bits = None
    if max_bytes:
        bits = fitting_config(prepared, plan, scales, max_bytes - METADATA_BYTES)
    return write_quantised(prepared, plan, scales, bits)


def write_untrained(student: str, folder: Path) -> Path:
    """Write a student with random weights as it would be exported.

    Args:
        student: its name, or a JSON file with ``student`` and ``config``
        folder: folder to write into

    Returns:
        path of the ONNX file

    Raises:
        InputError: if there is no such student, setting or file

    """
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
    model = untrained(name, settings, find(name).max_bytes)
    metadata = {"sampling_rate": str(SAMPLING_RATE), "window": "any"}
    path = folder / f"{name}-untrained.onnx"
    path.write_bytes(package.pack(model, metadata=metadata, labels=DIMENSIONS))
    return path
