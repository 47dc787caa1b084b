"""Teachers: what turns a signal into arousal, dominance and valence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import InputError


@dataclass(frozen=True)
class TeacherInfo:
    """Where a teacher's scores come from and what may be done with them."""

    name: str
    """Short name, as it appears in labels."""

    revision: str
    """Identifier of the exact weights, e.g. their SHA-256."""

    licence: str
    """SPDX identifier of the weights' licence."""

    training_data: str
    """The data sets it was trained on, with their licences."""

    def to_dict(self) -> dict[str, str]:
        """Return the fields as a plain dictionary."""
        return asdict(self)


class Teacher(Protocol):
    """Anything that scores signals.

    Shape:
        signals: a sequence of arrays ``(time,)``,
            float32 in [-1, 1] at 16 kHz, lengths may differ
        scores: ``(len(signals), 3)``, float32,
            arousal, dominance, valence, each in about 0..1

    A signal's scores do not depend on the other signals of the call
    (to 1e-5).
    """

    info: TeacherInfo

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals."""
        ...


def _bundled() -> Teacher:
    from .bundled import BundledTeacher

    return BundledTeacher.load()


TEACHERS: dict[str, Callable[[], Teacher]] = {"bundled": _bundled}
"""The teachers that can be named, each with the function that loads it."""


def load_teacher(name: str) -> Teacher:
    """Load a teacher by its name, or from an ONNX file.

    Args:
        name: a key of :data:`TEACHERS`, an ONNX file
            or a folder that holds ``model.onnx``

    Raises:
        InputError: if there is no such teacher

    """
    if name in TEACHERS:
        return TEACHERS[name]()
    path = Path(name)
    if path.suffix == ".onnx" or (path / "model.onnx").is_file():
        from .onnx import OnnxTeacher

        return OnnxTeacher(path / "model.onnx" if path.is_dir() else path)
    raise InputError(
        f"teacher must be one of {', '.join(TEACHERS)} or an ONNX file, got '{name}': "
        "see 'wav2small list teachers'"
    )
