"""Train a teacher of one's own: one trainer, one configuration, parts that compose.

What a fine-tuning writes is a folder that ``annotate --teacher`` takes.
"""

from __future__ import annotations

from pathlib import Path

from wav2small.export.base.files import whole_folder
from wav2small.export.base.reading import read_json

FORMAT = "wav2small-finetuned"
"""What the configuration of a fine-tuned teacher says it is."""


def find(folder: Path) -> Path | None:
    """Return the checkpoint of a fine-tuned teacher.

    Args:
        folder: the checkpoint, or the run that it is in

    Returns:
        None if there is none

    """
    for place in (folder, folder / "best"):
        try:
            config = read_json(whole_folder(place) / "config.json")
        except (OSError, ValueError):
            continue
        if isinstance(config, dict) and config.get("format") == FORMAT:
            return place
    return None
