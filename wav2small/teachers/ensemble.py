"""Several teachers whose weighted mean is one teacher."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wav2small.export.base.escape import short

from ..adv import DIMENSIONS
from ..errors import InputError
from .base import ClipMetadata, TeacherInfo, predict_with_metadata
from .description import Description, check_keys
from .licence import most_restrictive

if TYPE_CHECKING:
    from .base import Teacher


@dataclass(frozen=True)
class Member:
    """One of an ensemble."""

    teacher: Teacher
    """The teacher; one dimension is enough."""

    weight: float = 1.0
    """Its part of the mean, above 0, relative to that of the others."""

    clip: bool = False
    """Whether its scores are clipped to 0..1 before the mean."""


class EnsembleTeacher:
    """Weighted mean of teachers, for each dimension of those that give it.

    Args:
        name: name that labels carry
        members: at least one
        licence: licence of the mean; the most restrictive of theirs if None
        clip: whether the mean is clipped to 0..1

    Raises:
        InputError: if a weight is not above 0, or nobody gives a dimension

    """

    def __init__(
        self,
        name: str,
        members: Sequence[Member],
        *,
        licence: str | None = None,
        clip: bool = False,
    ) -> None:
        for member in members:
            if not (math.isfinite(member.weight) and member.weight > 0):
                raise InputError(
                    f"weight must be above 0, got {member.weight:g}: "
                    f"member {member.teacher.info.name} of {name}"
                )
        self.members = tuple(members)
        self.clip = clip
        infos = [member.teacher.info for member in members]
        given = np.array(
            [[label in info.order.split(",") for label in DIMENSIONS] for info in infos]
        )
        if not len(members) or not given.any(0).all():
            raise InputError(
                f"members of ensemble '{name}' must give {', '.join(DIMENSIONS)}, got "
                f"{'; '.join(info.order for info in infos) or 'none'}: add a member"
            )
        weights = given * np.array([[member.weight] for member in members])
        self.weights = (weights / weights.sum(0)).astype(np.float32)
        self.given = given
        identity = [
            [info.revision, info.order, info.range, member.weight, member.clip]
            for info, member in zip(infos, members, strict=True)
        ]
        text = json.dumps([identity, clip])
        self.info = TeacherInfo(
            name=name,
            revision=hashlib.sha256(text.encode()).hexdigest()[:16],
            licence=licence or most_restrictive([info.licence for info in infos]),
            training_data="; ".join(dict.fromkeys(i.training_data for i in infos)),
            range="0..1" if clip else "about 0..1",
            members=tuple(infos),
        )

    @classmethod
    def load(cls, path: Path, load_member: Callable[[str], Teacher]) -> EnsembleTeacher:
        """Load the ensemble that a file describes.

        Args:
            path: a file with ``members``; each has ``teacher``
                (as :func:`wav2small.teachers.loading.load_teacher` takes it,
                or a path from the file's folder)
                and may have ``weight`` and ``clip``
            load_member: loads a teacher by its name or path

        Raises:
            InputError: if a member cannot be loaded

        """
        description = Description.read(path)
        members = []
        for entry in description.members or []:
            check_keys(entry, {"teacher", "weight", "clip"}, path)
            name, weight = entry.get("teacher"), entry.get("weight", 1.0)
            clip = entry.get("clip", False)
            if not isinstance(name, str) or not isinstance(weight, int | float):
                raise InputError(
                    "member must have a teacher and a weight, got "
                    f"{short(entry, 80)}: {path}"
                )
            if not isinstance(clip, bool):
                raise InputError(f'"clip" must be true or false, got {clip}: {path}')
            beside = path.parent / name
            known = str(beside) if beside.exists() else name
            teacher = load_member(known)
            members.append(Member(teacher, float(weight), clip))
        return cls(
            description.name or _name(path),
            members,
            licence=description.licence,
            clip=description.clip,
        )

    def to(self, device: str) -> EnsembleTeacher:
        """Move the members that can be moved to a device."""
        for member in self.members:
            move = getattr(member.teacher, "to", None)
            if move:
                move(device)
        return self

    @property
    def uses_metadata(self) -> tuple[str, ...]:
        """What members use beside the signal, see ``Teacher``."""
        names = (
            getattr(member.teacher, "uses_metadata", ()) for member in self.members
        )
        return tuple(sorted({name for group in names for name in group}))

    def predict(
        self,
        signals: Sequence[np.ndarray],
        *,
        metadata: Sequence[ClipMetadata] | None = None,
    ) -> np.ndarray:
        """Score signals, see :class:`wav2small.teachers.base.Teacher`."""
        metadata = metadata or [{}] * len(signals)
        total = np.zeros((len(signals), len(DIMENSIONS)), np.float32)
        for member, weight, given in zip(
            self.members, self.weights, self.given, strict=True
        ):
            scores = predict_with_metadata(member.teacher, signals, metadata)
            if member.clip:
                scores = scores.clip(0, 1)
            total[:, given] += weight[given] * scores[:, given]
        return total.clip(0, 1) if self.clip else total


def _name(path: Path) -> str:
    return path.resolve().parent.name if path.name == "teacher.json" else path.stem
