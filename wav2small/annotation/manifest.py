"""``manifest.json`` of a label store: what its labels are, with its own checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wav2small.export.base.reading import parse_json, read_text

from ..errors import InputError

FORMAT = 1
"""Version of the store's format."""

_TEACHER = ("name", "revision", "licence")
"""What a store says of its teacher at least."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a store.

    Raises:
        InputError: if the folder is none, or of a newer format

    """
    path = folder / "manifest.json"
    try:
        text = read_text(path)
        manifest: dict[str, Any] = parse_json(text)
        version = _check_manifest(manifest)
        if version == FORMAT and text != manifest_text(manifest):
            raise ValueError("its checksum is another")
    except OSError as error:
        raise InputError(
            f"labels must be a folder made by 'wav2small annotate': {folder}: "
            f"{path.name}: {error.strerror}"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"label manifest is damaged, or of an earlier version: {path}: "
            "copy the labels again, or delete the folder and annotate anew"
        ) from error
    if version != FORMAT:
        raise InputError(
            f"labels must be of format {FORMAT}, got {version}: {folder}: "
            "update wav2small"
        )
    return manifest


def _check_manifest(manifest: Any) -> int:
    """Return the version of a manifest that holds what every command relies on.

    Raises:
        ValueError, KeyError, TypeError: if it does not

    """
    version = manifest["format"]
    if isinstance(version, int) and version != FORMAT:
        return version  # what else it holds is not known
    teacher, config = manifest["teacher"], manifest.get("config", {})
    texts = [manifest["root"], *(teacher[name] for name in _TEACHER)]
    numbers = [version, manifest.get("shards", 0)]
    size = config.get("shard_files", 1)
    if not (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) and number >= 0 for number in numbers)
        and isinstance(size, int)
        and size > 0
    ):
        raise ValueError("what it states is of another type")
    return FORMAT


def manifest_text(manifest: Mapping[str, Any]) -> str:
    """Write a manifest with its own checksum; each byte follows from the content."""
    stated = {key: manifest[key] for key in manifest if key != "sha256"}
    text = json.dumps(stated, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    whole = {**stated, "sha256": digest}
    return json.dumps(whole, indent=2, sort_keys=True) + "\n"
