"""Weights of a checkpoint, in one file or in several; nothing of them is executed."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wav2small.export.base.errors import one_line
from wav2small.export.base.reading import open_file

from ..errors import InputError
from .source import INDEX, CheckpointFiles, read_json

if TYPE_CHECKING:
    from torch import Tensor

MOST_SHARDS = 1000
"""Files that weights may be in."""

_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}\.safetensors")


def find_weights(source: CheckpointFiles) -> list[Path]:
    """Find the files of a checkpoint's weights.

    Args:
        source: the checkpoint

    Returns:
        the one file, or an index and the shards that it names

    Raises:
        InputError: if one is missing, or the index does not name files beside it

    """
    path = source.find_weights()
    if path.name != INDEX:
        return [path]
    names = sorted(set(_weight_map(path).values()))
    if len(names) > MOST_SHARDS:
        raise InputError(
            f"weights must be in at most {MOST_SHARDS} files, got {len(names)}: {path}"
        )
    return [path, *(source.find(name) for name in names)]


def read_weights(files: Sequence[Path]) -> dict[str, Tensor]:
    """Read tensors by name.

    Args:
        files: as :func:`find_weights` gives them

    Raises:
        InputError: if a file is damaged or holds more than tensors,
            or shards do not hold what their index says

    """
    if files[0].name != INDEX:
        return _read(files[0])
    expected = _weight_map(files[0])
    weights: dict[str, Tensor] = {}
    for path in files[1:]:
        found = _read(path)
        listed = {key for key, name in expected.items() if name == path.name}
        if set(found) != listed:
            differing = sorted(set(found) ^ listed)
            raise InputError(
                f"shard must hold the tensors that {INDEX} names, got another "
                f"{differing[0][:80]!r}: {path}: copy the checkpoint again"
            )
        weights |= found
    return weights


def _weight_map(path: Path) -> dict[str, str]:
    names = read_json(path).get("weight_map")
    if (
        not isinstance(names, dict)
        or not names
        or not all(
            isinstance(name, str) and _SHARD.fullmatch(name) for name in names.values()
        )
    ):
        raise InputError(
            f"weight_map must name files of safetensors beside it, got "
            f"{str(names)[:80]!r}: {path}: copy the checkpoint again"
        )
    return names


def _read(path: Path) -> dict[str, Tensor]:
    import safetensors.torch
    import torch

    try:
        open_file(path).close()  # checks that it is neither a pipe nor a device
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        _refuse_compressed(path)
        weights: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (
        safetensors.SafetensorError,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        EOFError,
        KeyError,  # a type that torch does not have
        MemoryError,
        OSError,
        RecursionError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise InputError(
            f"weights must be a file of tensors: {path}: it is damaged, or holds more "
            f"than tensors ({one_line(error)[:120]})"
        ) from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor)
        for name, value in weights.items()
    ):
        raise InputError(f"weights must be tensors by name: {path}: save state_dict()")
    return weights


def _refuse_compressed(path: Path) -> None:
    """Refuse an archive whose content is larger than itself."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > path.stat().st_size:
            raise ValueError(f"its content of {size} bytes is compressed")
