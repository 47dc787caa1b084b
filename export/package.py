"""Write a model folder: one ONNX file, and what audonnx needs to load it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from onnx import ModelProto

from .base import checksums
from .base.errors import ExportError, one_line
from .base.escape import line
from .base.files import replace_file
from .base.reading import read_bytes
from .model import speech, topology
from .model.compact import compact

MODEL_FILE = "model.onnx"
"""Name of the model in its folder."""

AUDONNX_FILE = "model.yaml"
"""Name of the description that ``audonnx.load`` reads."""


def pack(
    model: ModelProto, *, metadata: Mapping[str, str], labels: Sequence[str]
) -> bytes:
    """Serialise a model with what it says of itself.

    The same arguments give the same bytes.

    Args:
        model: ONNX model with one output, beside which there may be ``speech``
        metadata: what the file shall say of itself,
            for instance sampling rate, range, window, licence
        labels: names of the scores, in their order;
            added to the metadata as ``labels``

    Raises:
        ExportError: if the model has external data or is not valid,
            or labels or metadata cannot be stored

    """
    for label in labels:
        # They go into YAML, which must stay plain text.
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", label):
            raise ExportError(
                f"labels must be words of letters, digits, '_' and '-', got "
                f"'{label}': rename it"
            )
    outputs = speech.scores_alone(model).graph.output
    if len(outputs) != 1:
        raise ExportError(
            f"model must have one output, got {len(outputs)}: leave the scores alone"
        )
    (output,) = outputs
    shape = [dim.dim_value for dim in output.type.tensor_type.shape.dim]
    if not shape or shape[-1] != len(labels):
        raise ExportError(
            f"labels must be one for each score of an output of shape {shape}, got "
            f"{len(labels)}: name every score once"
        )
    for key, value in metadata.items():
        if not (isinstance(key, str) and key and isinstance(value, str)):
            raise ExportError(
                f"metadata must map text to text, got {value!r} for {key!r}: "
                "write it as text"
            )
    packed = compact(model)
    entries = {entry.key: entry.value for entry in packed.metadata_props}
    entries = {**metadata, **entries, "labels": ",".join(labels)}
    del packed.metadata_props[:]
    for key in sorted(entries):
        packed.metadata_props.add(key=key, value=entries[key])
    return topology.load(packed).SerializeToString(deterministic=True)


def write(
    data: bytes,
    folder: Path,
    *,
    labels: Sequence[str],
    overwrite: bool = False,
    beside: Sequence[str] = (),
) -> Path:
    """Write a packed model into a folder of its own, with checksums.

    A write that is killed leaves the old files or the new ones,
    never a part of one.

    Args:
        data: what :func:`pack` made
        folder: folder, made if it is not there
        labels: names of the scores, in their order
        overwrite: replace a model that is there
        beside: names of files in the folder that belong to the model,
            for the manifest

    Returns:
        path of the ONNX file

    Raises:
        ExportError: if there is a model already
            or the folder cannot be written

    """
    folder = Path(folder)
    model, about = folder / MODEL_FILE, folder / AUDONNX_FILE
    description = describe(data, labels)
    # a write that was killed has left the description alone
    left = about.is_file() and read_bytes(about) == description
    for path in (model, about):
        if path.exists() and not overwrite and not (path == about and left):
            raise ExportError(
                f"'{path}' must not exist, got a file: "
                "choose another folder or overwrite it"
            )
    manifest = folder / checksums.MANIFEST
    aside = folder / f".{checksums.MANIFEST}.old"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # without a manifest what a kill leaves is no damaged folder
        if manifest.exists():
            manifest.replace(aside)
        # the model comes last: where it is, its description is there
        replace_file(about, description)
        replace_file(model, data)
        checksums.write(folder, [MODEL_FILE, AUDONNX_FILE, *beside])
        aside.unlink(missing_ok=True)
    except OSError as error:
        if aside.exists():
            aside.replace(manifest)
        raise ExportError(
            f"'{folder}' must be a writable folder, got {one_line(error)}: "
            "choose another"
        ) from error
    return model


def describe(data: bytes, labels: Sequence[str]) -> bytes:
    """Write the description of a packed model that ``audonnx.load`` reads.

    Args:
        data: what :func:`pack` made
        labels: names of the scores, in their order

    """
    said = topology.load(data).metadata_props
    found = (entry.value for entry in said if entry.key == "range")
    measured = line(next(found, "not stated"))
    # 'y' or 'null' would be no text without quotes
    quoted = ", ".join(f"'{label}'" for label in labels)
    text = (
        "$audonnx.core.model.Model==1.0.1:\n"
        f"  path: {MODEL_FILE}\n"
        f"  labels: [{quoted}]\n"
        "  transform: null\n"
        f"# lowest and highest scores that were measured: {measured}\n"
    )
    return text.encode()
