"""Find the files of a checkpoint, in a folder or on the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wav2small.export.base.reading import parse_json, parse_yaml, read_text

from .. import hub
from ..errors import InputError
from .licence import UNKNOWN, canonical

_FRONT_MATTER = re.compile(r"\s*---[\r\n]+([\S\s]*?)[\r\n]+---(\r\n|\n|$)")

SMALL = ("config.json", "preprocessor_config.json", "README.md")
"""Files that are read before the weights."""

INDEX = "model.safetensors.index.json"
"""Name of the list of a checkpoint's files of weights, where there are several."""

WEIGHTS = ("model.safetensors", INDEX, "pytorch_model.bin")
"""Names of a checkpoint's weights; the first that is there is read."""

TRAINING_DATA = {
    "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim": "MSP-Podcast v1.7",
    "3loi/SER-Odyssey-Baseline-": "MSP-Podcast",
}
"""Training data of names on the hub that begin so, where the cards say it in words."""

_HELP = (
    "put config.json, model.safetensors (or pytorch_model.bin), README.md and "
    "preprocessor_config.json (wav2vec2, HuBERT, WavLM) into a folder and pass it"
)


@dataclass(frozen=True)
class CheckpointFiles:
    """A checkpoint's files; those of the hub are fetched when they are asked for."""

    name: str
    """The folder's name, or owner and name on the hub."""

    folder: Path
    """Where the files are."""

    commit: str | None = None
    """Revision on the hub; None if the files are the user's own."""

    @classmethod
    def open(cls, text: str) -> CheckpointFiles | None:
        """Open the folder or ``owner/name[@revision]`` that a text stands for.

        Returns:
            None if the text can be neither

        Raises:
            InputError: if the hub does not give its small files

        """
        path = Path(text)
        if path.is_dir():
            return cls(path.resolve().name, path)
        match = hub.NAME.fullmatch(text)
        if match is None or path.exists():
            return None
        from huggingface_hub import snapshot_download

        name = match["name"]
        try:
            folder = snapshot_download(
                name, revision=match["revision"], allow_patterns=list(SMALL)
            )
        except (OSError, ValueError) as error:  # all of the hub's are of these
            raise _unreachable(name, error) from error
        return cls(name, Path(folder), Path(folder).name)

    def find(self, *names: str) -> Path:
        """Return the first of some files that is there.

        Raises:
            InputError: if none is, or the hub does not give it

        """
        for name in names:
            if (self.folder / name).is_file():
                return self.folder / name
        if self.commit:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import RemoteEntryNotFoundError

            for name in (name for name in names if name not in SMALL):
                try:
                    return Path(hf_hub_download(self.name, name, revision=self.commit))
                except RemoteEntryNotFoundError:
                    continue
                except (OSError, ValueError) as error:
                    raise _unreachable(self.name, error) from error
        place = self.name if self.commit else self.folder
        raise InputError(
            f"teacher '{place}' must have {' or '.join(names)}, got no such file: "
            f"{_HELP}"
        )

    def find_weights(self) -> Path:
        """Return the file of the weights, or the index of several.

        Raises:
            InputError: as of :meth:`find`

        """
        return self.find(*WEIGHTS)

    def look_for(self, name: str) -> Path | None:
        """Return a file that need not be there, one of :data:`SMALL`."""
        path = self.folder / name
        return path if path.is_file() else None

    def card(self) -> dict[str, str]:
        """Return licence and training data of the model card, or ``unknown``.

        Raises:
            InputError: if the card does not begin with YAML

        """
        path = self.look_for("README.md")
        try:
            text = read_text(path) if path else ""
            found = _FRONT_MATTER.match(text)
            card = (parse_yaml(found[1]) if found else None) or {}
            if not isinstance(card, dict):
                raise ValueError("it is no mapping")
        except (OSError, ValueError) as error:
            raise InputError(
                f"model card must begin with YAML: {path}: "
                f"{' '.join(str(error).split())[:120]}"
            ) from error
        licence = card.get("license")
        if isinstance(licence, list):
            licence = " AND ".join(canonical(entry) for entry in licence)
        if canonical(licence) == UNKNOWN:
            licence = card.get("license_name")
        data = card.get("datasets")
        stated = ", ".join(map(str, data)) if isinstance(data, list) else data
        for begin, known in TRAINING_DATA.items():
            if self.commit and self.name.startswith(begin):
                stated = known
        return {"licence": str(licence or ""), "training_data": str(stated or UNKNOWN)}


def read_json(path: Path) -> dict[str, Any]:
    """Read an object.

    Raises:
        InputError: if a file holds none

    """
    try:
        content = parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise InputError(f"file must be JSON: {path}: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"file must be an object of JSON: {path}")
    return content


def _unreachable(name: str, error: Exception) -> InputError:
    line = " ".join(str(error).split())
    return InputError(
        f"teacher '{name}' must be in reach of the hub or in its cache, "
        f"got {type(error).__name__}: without a network, {_HELP} ({line[:160]})"
    )
