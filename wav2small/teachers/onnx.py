"""Any ONNX file that maps a signal to arousal, dominance and valence, as a teacher."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wav2small.export.base.errors import one_line
from wav2small.export.base.files import sha256
from wav2small.export.base.reading import parse_yaml, read_text

from ..errors import InputError
from ..models import OnnxModel
from .base import TeacherInfo
from .description import FILE, Description
from .licence import ANY, UNKNOWN, canonical, check


class OnnxTeacher:
    """A model in onnxruntime that annotates.

    Its input is ``signal`` ``(1, time)``, float32 at 16 kHz,
    its scores are the output ``logits`` (the first output if none is named so),
    ``(1, 3)``.
    So an exported student can teach,
    and so can the ONNX form of a large self-supervised model.

    What its outputs are is said by ``labels``,
    else by the file's description (``teacher.json`` beside ``model.onnx``,
    ``x.json`` beside ``x.onnx``), else by the entry ``labels`` of its metadata,
    else by audonnx's ``model.yaml`` beside it.
    What nothing says of licence and data is ``unknown``.

    Args:
        path: the file
        labels: the dimension of each output
        policy: see :data:`wav2small.teachers.licence.Policy`

    Raises:
        InputError: as of :class:`wav2small.models.OnnxModel`,
            or nothing says what its outputs are,
            or its licence is not within the policy

    """

    def __init__(
        self,
        path: Path,
        *,
        labels: Sequence[str] | None = None,
        policy: str = "permissive",
    ) -> None:
        self.model = OnnxModel(path)
        metadata = self.model.metadata
        whole = path.name == "model.onnx"
        description = Description.read(
            path.with_name(FILE) if whole else path.with_suffix(".json")
        )
        try:
            provenance = json.loads(metadata.get("provenance", "{}"))
        except ValueError:
            provenance = {}
        if not isinstance(provenance, dict):
            provenance = {}
        named = path.resolve().parent.name if whole else path.stem
        name = description.name or str(provenance.get("student", named))
        licence = canonical(description.licence or metadata.get("licence"))
        # a statement beside the file takes the place of what the file says
        mark = ANY if description.licence else metadata.get("use", ANY)
        check(name, licence, policy, str(description.path), mark=mark)
        own = _labels(metadata, path)
        self.outputs = description.outputs(labels, own, name)
        if len(self.outputs.labels) != 3:
            raise InputError(
                f"labels of an ONNX teacher must be 3, got {self.outputs.order}: {path}"
            )
        self.info = TeacherInfo(
            name=name,
            revision=sha256(path)[:16],
            licence=licence,
            training_data=description.training_data
            or str(provenance.get("training_data", UNKNOWN)),
            order=self.outputs.order,
            range=self.outputs.range,
            use=mark,
        )

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals one by one, see :class:`wav2small.teachers.base.Teacher`."""
        return self.outputs.to_scores(self.model.predict(signals))


def _labels(metadata: dict[str, str], path: Path) -> list[Any] | None:
    """Return the output names that a file or audonnx's YAML beside it states."""
    if metadata.get("labels"):
        return metadata["labels"].split(",")
    beside = path.with_name("model.yaml")
    if path.name != "model.onnx" or not beside.is_file():
        return None
    try:
        content = parse_yaml(read_text(beside))
        (settings,) = content.values()
        transform, labels = settings.get("transform"), settings.get("labels")
    except ModuleNotFoundError:  # without PyYAML nothing is known
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"model.yaml must be audonnx's: {beside}: {one_line(error)}"
        ) from error
    if transform is not None:
        raise InputError(
            f"transform must be null, got {transform}: {beside}: "
            "a teacher's ONNX takes the signal itself"
        )
    if isinstance(labels, dict):
        labels = labels.get("logits", next(iter(labels.values()), None))
    return labels if isinstance(labels, list) else None
