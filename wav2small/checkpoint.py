"""Checkpoints: weights and configuration, checked byte by byte on load.

A checkpoint is a directory of ``model.safetensors``, ``config.json``,
whatever else its maker adds,
and ``manifest.sha256`` in the format of ``sha256sum``.
Nothing in it can execute.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from wav2small.export.base import checksums
from wav2small.export.base.checksums import MANIFEST
from wav2small.export.base.files import atomic_folder, whole_folder
from wav2small.export.base.reading import parse_json, read_bytes

from .errors import InputError

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def save(
    folder: Path,
    weights: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    *,
    extra: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> None:
    """Write a checkpoint so that a kill leaves the old one or the new one.

    Args:
        folder: directory to write, replaced if it is there
        weights: the model's tensors
        config: what JSON can hold
        extra: further tensors by file stem, e.g. an optimiser's

    """
    files = {
        WEIGHTS: _pack(weights),
        CONFIG: (json.dumps(config, indent=2, sort_keys=True) + "\n").encode(),
    }
    for stem, tensors in (extra or {}).items():
        files[f"{stem}.safetensors"] = _pack(tensors)
    manifest = checksums.manifest(
        {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    )
    with atomic_folder(folder) as fresh:
        for name, data in [*files.items(), (MANIFEST, manifest)]:
            (fresh / name).write_bytes(data)


def load(
    folder: Path, *, extra: str | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a checkpoint and check each byte of it.

    Args:
        folder: a checkpoint
        extra: stem of a further tensor file to read instead of the weights

    Returns:
        tensors and configuration

    Raises:
        InputError: if the folder is no checkpoint,
            or a file of it is missing, unlisted or changed

    """
    folder = whole_folder(folder)
    listed = _listed(folder)
    data = {name: _read(folder / name) for name in listed}
    checksums.verify(folder, data)
    name = f"{extra}.safetensors" if extra else WEIGHTS
    if name not in data:
        raise InputError(
            f"checkpoint must hold {name}: {folder}: it cannot be resumed from"
        )
    try:
        return safetensors.numpy.load(data[name]), parse_json(data[CONFIG])
    # a type of tensors that NumPy does not have is a KeyError
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"checkpoint must hold safetensors and JSON: {folder}: {error}"
        ) from error


def digest(folder: Path) -> str:
    """Return the SHA-256 of a checkpoint's weights, as its manifest has it.

    Raises:
        InputError: if the folder is no checkpoint

    """
    folder = whole_folder(folder)
    return _listed(folder)[WEIGHTS]


def _listed(folder: Path) -> dict[str, str]:
    listed = checksums.read(folder)
    if WEIGHTS not in listed or CONFIG not in listed:
        raise InputError(
            f"checkpoint manifest is damaged: {folder / MANIFEST}: "
            "copy the checkpoint again"
        )
    return listed


def _pack(tensors: Mapping[str, np.ndarray]) -> bytes:
    return safetensors.numpy.save(
        {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    )


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise InputError(
            f"checkpoint file cannot be read: {path}: {error.strerror}"
        ) from error
