"""``teacher.json``: what a teacher's own files do not say.

Beside a checkpoint or an ONNX file it may state name, licence, training data,
the order and the range of the outputs and whether they are clipped.
One with ``members`` describes an ensemble.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wav2small.export.base.escape import short
from wav2small.export.base.reading import read_json

from ..adv import DIMENSIONS
from ..errors import InputError

FILE = "teacher.json"


@dataclass(frozen=True)
class Outputs:
    """What a model's outputs are, in the model's own order."""

    labels: tuple[str, ...]
    """Name of each output, of :data:`wav2small.adv.DIMENSIONS`;
    a model may give one dimension only."""

    low: float = 0.0
    """Output that stands for a score of 0."""

    high: float = 1.0
    """Output that stands for a score of 1."""

    clip: bool = False
    """Whether scores are clipped to 0..1."""

    def to_scores(self, outputs: np.ndarray) -> np.ndarray:
        """Return arousal, dominance, valence.

        Args:
            outputs: shape ``(clips, len(labels))``

        Returns:
            scores, shape ``(clips, 3)``, float32,
            NaN for a dimension that the model does not give

        """
        scores = np.full((len(outputs), len(DIMENSIONS)), np.nan, np.float32)
        for column, label in enumerate(self.labels):
            scores[:, DIMENSIONS.index(label)] = outputs[:, column]
        if (self.low, self.high) != (0, 1):
            scores = (scores - np.float32(self.low)) / np.float32(self.high - self.low)
        return scores.clip(0, 1) if self.clip else scores

    @property
    def order(self) -> str:
        """The labels as text."""
        return ",".join(self.labels)

    @property
    def range(self) -> str:
        """The range of the scores as text, and that of the outputs if another."""
        text = "0..1" if self.clip else "about 0..1"
        if (self.low, self.high) == (0, 1):
            return text
        return f"{text}, from {self.low:g}..{self.high:g}"


def check_labels(labels: object, name: str, where: str | Path) -> tuple[str, ...]:
    """Return the dimension of each output.

    Args:
        labels: what a file or the user says, None if nothing
        name: the teacher
        where: the file in which they can be stated

    Raises:
        InputError: if they are not dimensions, or one comes twice

    """
    given = labels if isinstance(labels, list | tuple) else []
    found = tuple(str(label).strip().lower() for label in given)
    if not found or len(set(found)) < len(found) or set(found) - set(DIMENSIONS):
        raise InputError(
            f"outputs of teacher '{name}' must be named {', '.join(DIMENSIONS)} in the "
            f"model's own order, got {short(labels, 80)}: "
            "pass --teacher-labels or state them as "
            f'"labels" in {where}'
        )
    return found


@dataclass(frozen=True)
class Description:
    """The content of a ``teacher.json``, None where it says nothing."""

    path: Path
    """The file, there or not."""

    name: str | None = None
    """Name that labels carry."""

    licence: str | None = None
    """SPDX identifier of the weights' licence."""

    training_data: str | None = None
    """The data sets it was trained on, with their licences."""

    labels: list[str] | None = None
    """The dimension of each output, in the model's order."""

    range: tuple[float, float] = (0.0, 1.0)
    """Outputs that stand for scores of 0 and 1, e.g. 1 and 7."""

    clip: bool = False
    """Whether scores are clipped to 0..1."""

    tolerance: float | None = None
    """By how much two early exits of a fine-tuned network may differ to agree,
    see :func:`wav2small.finetune.parts.exits.predict_early`."""

    text_encoder: str | None = None
    """The encoder of sentences that a fine-tuned network hears texts through,
    where its own files do not name it, or it has moved."""

    members: list[dict[str, Any]] | None = None
    """The members of an ensemble."""

    @classmethod
    def read(cls, path: Path) -> Description:
        """Read a file; without it nothing is said.

        Raises:
            InputError: if it is not what this class describes

        """
        try:
            content = read_json(path)
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError) as error:
            raise InputError(f"description must be JSON: {path}: {error}") from error
        check_keys(content, set(cls.__dataclass_fields__) - {"path"}, path)
        for key in ("name", "licence", "training_data", "text_encoder"):
            if not isinstance(content.get(key, ""), str):
                raise _wrong(path, key, "text", content[key])
        for key in ("labels", "members"):
            if not isinstance(content.get(key, []), list):
                raise _wrong(path, key, "a list", content[key])
        bounds = content.get("range", [0.0, 1.0])
        if not (
            isinstance(bounds, list)
            and len(bounds) == 2
            and all(isinstance(bound, int | float) for bound in bounds)
            and -1e6 < bounds[0] < bounds[1] < 1e6
        ):
            raise _wrong(path, "range", "two rising numbers", bounds)
        if not isinstance(content.get("clip", False), bool):
            raise _wrong(path, "clip", "true or false", content["clip"])
        tolerance = content.get("tolerance")
        if tolerance is not None and (
            isinstance(tolerance, bool)
            or not isinstance(tolerance, int | float)
            or not 0 <= tolerance <= 1
        ):
            raise _wrong(path, "tolerance", "a number in 0..1", tolerance)
        return cls(path, **{**content, "range": (float(bounds[0]), float(bounds[1]))})

    def outputs(self, labels: Sequence[str] | None, own: object, name: str) -> Outputs:
        """Return what the outputs are.

        Args:
            labels: what the user says, which counts most; None if nothing
            own: what the model's files say, which counts least; None if nothing
            name: the teacher

        Raises:
            InputError: if nobody says it,
                or what only a fine-tuned network has is stated

        """
        for key in ("tolerance", "text_encoder"):
            if getattr(self, key) is not None:
                raise InputError(
                    f'"{key}" must be stated of a fine-tuned network alone, '
                    f"got it for {name}: {self.path}"
                )
        found = labels if labels is not None else self.labels or own
        low, high = self.range
        return Outputs(check_labels(found, name, self.path), low, high, self.clip)


def check_keys(content: object, known: set[str], path: Path) -> None:
    """Refuse what is no object of JSON, or has a key that nobody reads.

    Raises:
        InputError: if it does

    """
    if not isinstance(content, Mapping):
        raise InputError(f"description must be an object of JSON: {path}")
    unknown = sorted(set(content) - known)
    if unknown:
        raise InputError(
            f"description must have keys of {', '.join(sorted(known))}, "
            f"got {short(', '.join(unknown), 80)}: {path}"
        )


def _wrong(path: Path, key: str, expected: str, value: object) -> InputError:
    shown = short(repr(value), 80)
    return InputError(f'"{key}" must be {expected}, got {shown}: {path}')
