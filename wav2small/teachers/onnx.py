"""Any ONNX file that maps a signal to arousal, dominance and valence, as a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wav2small.export.base.files import sha256
from wav2small.export.base.reading import parse_json

from ..models import OnnxModel
from .base import TeacherInfo
from .licence import ANY, UNKNOWN, canonical, check


class OnnxTeacher:
    """A :class:`wav2small.models.OnnxModel` that annotates.

    So an exported student can teach,
    and so can the ONNX form of a large self-supervised model.
    What nothing says of licence and data is ``unknown``.

    Args:
        path: the file
        labels: the dimension of each output
        policy: see :data:`wav2small.teachers.licence.Policy`

    Raises:
        InputError: as of :class:`wav2small.models.OnnxModel`,
            or its licence is not within the policy

    """

    def __init__(
        self,
        path: Path,
        *,
        labels: Sequence[str] | None = None,
        policy: str = "permissive",
    ) -> None:
        self.model = OnnxModel(path, labels=labels)
        metadata, description = self.model.metadata, self.model.description
        try:
            provenance = parse_json(metadata.get("provenance", "{}"))
        except ValueError:
            provenance = {}
        if not isinstance(provenance, dict):
            provenance = {}
        name = description.name or str(provenance.get("student", self.model.name))
        licence = canonical(description.licence or metadata.get("licence"))
        # a description beside the file overrides the metadata in it
        mark = ANY if description.licence else metadata.get("use", ANY)
        check(name, licence, policy, str(description.path), mark=mark)
        self.info = TeacherInfo(
            name=name,
            revision=sha256(path)[:16],
            licence=licence,
            training_data=description.training_data
            or str(provenance.get("training_data", UNKNOWN)),
            order=self.model.outputs.order,
            range=self.model.outputs.range,
            use=mark,
        )

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals one by one, see :class:`wav2small.teachers.base.Teacher`."""
        return self.model.predict(signals)
