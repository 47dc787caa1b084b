"""Load a teacher by its name, or from its files.

A new kind of teacher is a file of this folder and an entry of :data:`KINDS`;
one that comes with the package is an entry of :data:`TEACHERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    "hearing": Packaged("speech:SpeechTeacher", ASSETS / "hearing"),
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
    tolerance: float | None = None,
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
        tolerance: by how much two exits of a run of ``wav2small finetune`` may differ
            to leave early; None for what its ``teacher.json`` states

    Raises:
        InputError: if there is no such teacher, its files are not whole,
            it does not give all three dimensions,
            or its licence is not within the policy

    """
    teacher = load_member(name, policy, labels, tolerance=tolerance)
    if set(teacher.info.order.split(",")) != set(DIMENSIONS):
        raise InputError(
            f"teacher must give {', '.join(DIMENSIONS)}, got {teacher.info.order} from "
            f"'{name}': list it with others as members of an ensemble"
        )
    return teacher


def load_any(
    name: str,
    *,
    labels: Sequence[str] | None = None,
    tolerance: float | None = None,
) -> Model:
    """Load what scores signals: a bundled model, a student's run, or any teacher.

    Args:
        name: a bundled model, the run or checkpoint of a student,
            or as of :func:`load_teacher`; of any licence, since nothing is made of it
        labels: as of :func:`load_teacher`
        tolerance: as of :func:`load_teacher`

    Raises:
        InputError: if it is none of them

    """
    path = Path(name)
    if name in bundled() or (not (path / "model.onnx").exists() and is_student(path)):
        if tolerance is not None:
            raise _no_exits(name)
        return load_model(name)
    known = [*bundled(), *TEACHERS, *ENSEMBLES]
    if name not in known and "/" not in name and not path.exists():
        raise InputError(
            f"model must be a run, an ONNX file, a teacher or one of "
            f"{', '.join(known)}, got '{name}': no such file"
        )
    return load_teacher(name, labels=labels, policy="research", tolerance=tolerance)


def load_member(
    name: str,
    policy: str,
    labels: Sequence[str] | None = None,
    *,
    single: bool = False,
    tolerance: float | None = None,
) -> Teacher:
    """Load a teacher that may give less than three dimensions.

    Args:
        name: as of :func:`load_teacher`
        policy: as of :func:`load_teacher`
        labels: as of :func:`load_teacher`
        single: whether an ensemble is refused
        tolerance: as of :func:`load_teacher`

    Raises:
        InputError: as of :func:`load_teacher`

    """
    teacher = _open(Wish(name, policy, labels, single, tolerance))
    if labels is not None and ",".join(labels) != teacher.info.order:
        raise InputError(
            f"labels must be {teacher.info.order}, got {','.join(labels)}: "
            f"those of '{name}' are known"
        )
    return teacher


@dataclass(frozen=True)
class Wish:
    """What teacher is wanted."""

    name: str
    """As of :func:`load_teacher`."""

    policy: str
    """As of :func:`load_teacher`."""

    labels: Sequence[str] | None
    """As of :func:`load_teacher`."""

    single: bool
    """Whether an ensemble is refused."""

    tolerance: float | None = None
    """As of :func:`load_teacher`."""

    @property
    def path(self) -> Path:
        """File or folder that the name may stand for."""
        return ENSEMBLES.get(self.name, Path(self.name))


def _packaged(wish: Wish) -> Teacher | None:
    if wish.name not in TEACHERS:
        return None
    teacher = TEACHERS[wish.name].load()
    licences.check(wish.name, teacher.info.licence, wish.policy, "its config.json")
    return teacher


def _ensemble(wish: Wish) -> Teacher | None:
    from .description import Description

    path = wish.path
    described = path / "teacher.json" if path.is_dir() else path
    if described.suffix != ".json" or not described.is_file():
        return None
    if described != path and Description.read(described).members is None:
        return None
    if wish.single:
        raise InputError(
            f"member must be a single teacher, got ensemble '{wish.name}': "
            "list its members"
        )
    from .ensemble import EnsembleTeacher

    return EnsembleTeacher.load(
        described, lambda member: load_member(member, wish.policy, single=True)
    )


def _onnx_file(wish: Wish) -> Teacher | None:
    path = wish.path
    if path.suffix != ".onnx" and not (path / "model.onnx").is_file():
        return None
    from .onnx import OnnxTeacher

    file = path / "model.onnx" if path.is_dir() else path
    return OnnxTeacher(file, labels=wish.labels, policy=wish.policy)


def _finetuned(wish: Wish) -> Teacher | None:
    from ..finetune import find

    if not find(wish.path):
        return None
    from ..finetune.teacher import FinetunedTeacher

    return FinetunedTeacher.load(
        wish.path, policy=wish.policy, tolerance=wish.tolerance
    )


def _of_transformers(wish: Wish) -> Teacher | None:
    from .source import CheckpointFiles, read_json

    with from_extra():
        source = CheckpointFiles.open(wish.name)
        if source is None:
            return None
        from .transformers import FAMILIES, TransformersTeacher

        config = source.look_for("config.json")
        kind = read_json(config).get("model_type") if config else None
        if kind not in (*FAMILIES, "ser"):
            from .published import PublishedTeacher

            found = PublishedTeacher.load(source, policy=wish.policy)
            if found is not None:
                return found
        return TransformersTeacher.load(source, labels=wish.labels, policy=wish.policy)


KINDS: tuple[Callable[[Wish], Teacher | None], ...] = (
    _packaged,
    _ensemble,
    _onnx_file,
    _finetuned,
    _of_transformers,
)
"""What opens each kind of teacher; the first that knows the name or the files does."""


def _no_exits(name: str) -> InputError:
    return InputError(
        f"tolerance must be of a run of 'wav2small finetune' with exits, got '{name}', "
        "which has none: leave it out"
    )


def _open(wish: Wish) -> Teacher:
    if wish.name not in TEACHERS:
        path = wish.path
        checksums.verify(path.parent if wish.name in ENSEMBLES else path)
    for kind in KINDS:
        teacher = kind(wish)
        if teacher is not None:
            if wish.tolerance is not None and kind is not _finetuned:
                raise _no_exits(wish.name)
            return teacher
    known = ", ".join([*TEACHERS, *ENSEMBLES])
    raise InputError(
        f"teacher must be one of {known} or an ONNX file, a folder of a checkpoint "
        f"or owner/name on the hub, got '{wish.name}': see 'wav2small list teachers'"
    )
