"""Models on the Hugging Face hub, by ``owner/name`` or ``owner/name@revision``.

Only named files are fetched, nothing of them is executed, and where the model has a
manifest each of them has to have the SHA-256 that it states.
What was fetched once is there without a network.
"""

from __future__ import annotations

import re
from pathlib import Path

from wav2small.export.base import checksums
from wav2small.export.base.errors import from_extra

from .errors import InputError

NAME = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?")
"""What a name on the hub looks like."""

_NEEDED = ("model.onnx", checksums.MANIFEST)
_ALSO = ("model.yaml", "teacher.json", "README.md")


def names_model(text: str) -> bool:
    """Tell whether a text names a model on the hub, and no path that is here."""
    path = Path(text)
    return bool(NAME.fullmatch(text)) and not (path.exists() or path.parent.is_dir())


def find_model(text: str) -> Path | None:
    """Fetch the model that a name stands for, and return its folder.

    Args:
        text: ``owner/name``, with ``@revision`` for one of its versions

    Returns:
        folder in the hub's cache; None if the text is no name on the hub,
        or begins with a folder that is here, and so is a path

    Raises:
        ToolError: if the package huggingface_hub is not installed
        InputError: if neither the hub nor its cache has the model,
            or its manifest is damaged

    """
    match = NAME.fullmatch(text)
    if match is None or not names_model(text):
        return None
    folder = _fetch(match, [*_NEEDED, *_ALSO])
    if (folder / checksums.MANIFEST).exists():
        listed = list(checksums.read(folder))
        if any(re.search(r"[*?\[\]]", name) for name in listed):
            raise InputError(
                f"manifest must list names of files, got patterns: '{text}': publish "
                "the model again"
            )
        folder = _fetch(match, [*_NEEDED, *_ALSO, *listed], folder.name)
    return folder


def _fetch(match: re.Match[str], names: list[str], revision: str | None = None) -> Path:
    with from_extra():
        from huggingface_hub import snapshot_download
    try:
        return Path(
            snapshot_download(
                match["name"],
                revision=revision or match["revision"],
                allow_patterns=names,
            )
        )
    except (OSError, ValueError) as error:  # all of the hub's are of these
        what = " ".join(str(error).split())[:160]
        raise InputError(
            f"model must be a file, a folder or a name on the hub, got "
            f"'{match[0]}': there is no such path, and the hub says "
            f"{type(error).__name__}: {what}"
        ) from error


def upload(folder: Path, name: str) -> str:
    """Upload a folder as a model; it is private if it is new, until it is opened there.

    Args:
        folder: what is uploaded
        name: ``owner/name``

    Returns:
        where it is

    Raises:
        ToolError: if the package huggingface_hub is not installed
        InputError: if the name is none, or the hub does not take it

    """
    with from_extra():
        from huggingface_hub import HfApi
    if NAME.fullmatch(name) is None or "@" in name:
        raise InputError(f"name on the hub must be owner/name, got '{name}'")
    try:
        HfApi().create_repo(name, private=True, exist_ok=True)
        return str(HfApi().upload_folder(repo_id=name, folder_path=folder))
    except (OSError, ValueError) as error:
        what = " ".join(str(error).split())[:200]
        raise InputError(
            f"model must be taken by the hub as '{name}', got {type(error).__name__}: "
            f"{what}: log in with 'hf auth login'"
        ) from error
