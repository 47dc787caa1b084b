"""Load a teacher by its name, or from its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from wav2small.export.base import checksums
from wav2small.export.base.errors import from_extra

from .. import checkpoint
from ..adv import DIMENSIONS
from ..errors import InputError
from ..models import bundled, is_student, load_model
from . import licence as licences
from .base import Model, Teacher, TeacherInfo

ASSETS = Path(__file__).parent.parent / "assets"


@dataclass(frozen=True)
class Packaged:
    """A teacher that is in the package."""

    network: str
    """Module of this package and class in it, ``file:Class``."""

    folder: Path
    """Its checkpoint."""

    def load(self) -> Teacher:
        """Load it, which needs torch."""
        file, name = self.network.split(":")
        teacher: Teacher = getattr(import_module(f"{__package__}.{file}"), name).load(
            self.folder
        )
        return teacher

    def info(self) -> TeacherInfo:
        """Say what it is, from its checkpoint alone."""
        _, config = checkpoint.load(self.folder)
        return TeacherInfo(
            revision=checkpoint.digest(self.folder)[:16], **config["info"]
        )


TEACHERS = {
    "bundled": Packaged("bundled:BundledTeacher", ASSETS / "teacher"),
    "hearing": Packaged("patches:PatchTeacher", ASSETS / "hearing"),
}
"""The teachers that are in the package."""

ENSEMBLES: dict[str, Path] = {
    "wav2small-teacher": ASSETS / "teachers" / "wav2small-teacher.json"
}
"""The ensembles that can be named; their members are fetched from the hub."""


def load_teacher(
    name: str,
    *,
    labels: Sequence[str] | None = None,
    policy: licences.Policy = "permissive",
) -> Teacher:
    """Load a teacher by its name, or from its files.

    Args:
        name: a key of :data:`TEACHERS` or :data:`ENSEMBLES`,
            an ONNX file or a folder that holds ``model.onnx``,
            a run of ``wav2small finetune``,
            a folder of a checkpoint of wav2vec2, HuBERT or WavLM,
            or its ``owner/name`` (or ``owner/name@revision``) on the hub,
            the JSON file of an ensemble or a folder with its ``teacher.json``
        labels: the dimension of each output, in the model's order,
            for what does not say it itself
        policy: ``permissive`` lets in what may be used for anything,
            ``research`` everything

    Raises:
        InputError: if there is no such teacher, its files are not whole,
            it does not give all three dimensions,
            or its licence is not within the policy

    """
    teacher = load_member(name, policy, labels)
    if set(teacher.info.order.split(",")) != set(DIMENSIONS):
        raise InputError(
            f"teacher must give {', '.join(DIMENSIONS)}, got {teacher.info.order} from "
            f"'{name}': list it with others as members of an ensemble"
        )
    return teacher


def load_any(name: str, *, labels: Sequence[str] | None = None) -> Model:
    """Load what scores signals: a bundled model, a student's run, or any teacher.

    Args:
        name: a bundled model, the run or checkpoint of a student,
            or as of :func:`load_teacher`; of any licence, since nothing is made of it
        labels: as of :func:`load_teacher`

    Raises:
        InputError: if it is none of them

    """
    path = Path(name)
    if name in bundled() or (not (path / "model.onnx").exists() and is_student(path)):
        return load_model(name)
    known = [*bundled(), *TEACHERS, *ENSEMBLES]
    if name not in known and "/" not in name and not path.exists():
        raise InputError(
            f"model must be a run, an ONNX file, a teacher or one of "
            f"{', '.join(known)}, got '{name}': no such file"
        )
    return load_teacher(name, labels=labels, policy="research")


def load_member(
    name: str,
    policy: str,
    labels: Sequence[str] | None = None,
    *,
    single: bool = False,
) -> Teacher:
    """Load a teacher that may give less than three dimensions.

    Args:
        name: as of :func:`load_teacher`
        policy: as of :func:`load_teacher`
        labels: as of :func:`load_teacher`
        single: whether an ensemble is refused

    Raises:
        InputError: as of :func:`load_teacher`

    """
    teacher = _load(name, policy, labels, single)
    if labels is not None and ",".join(labels) != teacher.info.order:
        raise InputError(
            f"labels must be {teacher.info.order}, got {','.join(labels)}: "
            f"those of '{name}' are known"
        )
    return teacher


def _load(
    name: str, policy: str, labels: Sequence[str] | None, single: bool
) -> Teacher:
    if name in TEACHERS:
        teacher = TEACHERS[name].load()
        licences.check(name, teacher.info.licence, policy, "its config.json")
        return teacher
    path = ENSEMBLES.get(name, Path(name))
    checksums.verify(path.parent if name in ENSEMBLES else path)
    described = path / "teacher.json" if path.is_dir() else path
    if described.suffix == ".json" and described.is_file():
        from .description import Description

        if described == path or Description.read(described).members is not None:
            from .ensemble import EnsembleTeacher

            if single:
                raise InputError(
                    f"member must be a single teacher, got ensemble '{name}': "
                    "list its members"
                )
            return EnsembleTeacher.load(
                described, lambda member: load_member(member, policy, single=True)
            )
    if path.suffix == ".onnx" or (path / "model.onnx").is_file():
        from .onnx import OnnxTeacher

        file = path / "model.onnx" if path.is_dir() else path
        return OnnxTeacher(file, labels=labels, policy=policy)
    from ..finetune import find

    if find(path):
        from ..finetune.teacher import FinetunedTeacher

        return FinetunedTeacher.load(path, policy=policy)
    from .source import Source

    with from_extra():
        source = Source.open(name)
        if source is None:
            raise _no_teacher(name)
        from .transformers import TransformersTeacher

        return TransformersTeacher.load(source, labels=labels, policy=policy)


def _no_teacher(name: str) -> InputError:
    known = ", ".join([*TEACHERS, *ENSEMBLES])
    return InputError(
        f"teacher must be one of {known} or an ONNX file, a folder of a checkpoint "
        f"or owner/name on the hub, got '{name}': see 'wav2small list teachers'"
    )
