"""Any ONNX file that maps a signal to arousal, dominance and valence, as a teacher."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files import sha256
from ..models import OnnxModel
from . import TeacherInfo


class OnnxTeacher:
    """A model in onnxruntime that annotates.

    Its input is ``signal`` ``(1, time)``, float32 at 16 kHz,
    its scores are the output ``logits`` (the first output if none is named so),
    ``(1, 3)`` in our order and range.
    So an exported student can teach,
    and so can the ONNX form of a large self-supervised model.
    What its metadata does not say of licence and data is ``unknown``.

    Args:
        path: the file

    Raises:
        InputError: as of :class:`wav2small.models.OnnxModel`

    """

    def __init__(self, path: Path) -> None:
        self.model = OnnxModel(path)
        metadata = self.model.metadata
        try:
            provenance = json.loads(metadata.get("provenance", "{}"))
        except ValueError:
            provenance = {}
        named = path.parent.name if path.name == "model.onnx" else path.stem
        self.info = TeacherInfo(
            name=provenance.get("student", named),
            revision=sha256(path)[:16],
            licence=metadata.get("licence", "unknown"),
            training_data=provenance.get("training_data", "unknown"),
        )

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals one by one, see :class:`wav2small.teachers.Teacher`."""
        return self.model.predict(signals)
