"""What a teacher is: something that scores signals, and where that comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from ..adv import DIMENSIONS
from ..errors import InputError
from . import licence as licences

ClipMetadata = Mapping[str, str | None]
"""What is known of a clip beside its signal, by name."""


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

    order: str = ",".join(DIMENSIONS)
    """What the model's own outputs are, in their order; its scores are in ours."""

    range: str = "about 0..1"
    """Range of its scores."""

    members: tuple[TeacherInfo, ...] = ()
    """Of whom an ensemble consists."""

    use: str = ""
    """``any`` or ``research-only``: what may be made with it, by its licence,
    its members' and its own word; see :mod:`wav2small.teachers.licence`."""

    def __post_init__(self) -> None:
        marks = [self.use, licences.use(self.licence), *(m.use for m in self.members)]
        mark = licences.RESEARCH if licences.RESEARCH in marks else licences.ANY
        object.__setattr__(self, "use", mark)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON holds them, without those that are empty."""
        fields = asdict(self) | {"members": [m.to_dict() for m in self.members]}
        return {key: value for key, value in fields.items() if value}


class Model(Protocol):
    """Anything that scores signals."""

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals ``(time,)``, float32 at 16 kHz, as ``(signals, 3)``."""
        ...


class TeacherError(InputError):
    """A teacher cannot score anything; no file is to blame."""


class Teacher(Protocol):
    """Anything that scores signals.

    One that uses what is known beside a signal has an attribute ``uses_metadata``,
    names of :data:`wav2small.audio.METADATA`,
    and its ``predict`` takes ``metadata``: for each signal what is known of them.
    One with a function ``transcribe`` of a signal is asked for the words
    of what no table gives the text of.

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


def predict_with_metadata(
    model: Model, signals: Sequence[np.ndarray], metadata: Sequence[ClipMetadata]
) -> np.ndarray:
    """Score signals, and tell a teacher that uses it what is known of them.

    Args:
        model: a teacher, or anything else that scores signals
        signals: ``(time,)`` each
        metadata: what is known of each signal by name, None or missing where unknown

    """
    uses_metadata = getattr(model, "uses_metadata", ())
    if not uses_metadata:
        return model.predict(signals)
    known = [{name: row.get(name) for name in uses_metadata} for row in metadata]
    return model.predict(signals, metadata=known)  # type: ignore[call-arg]


def move(model: Model, device: str) -> bool:
    """Move a teacher to a device.

    Args:
        model: a teacher, or anything else that scores signals
        device: ``cpu``, ``cuda`` or ``cuda:1``

    Returns:
        whether it can be moved

    Raises:
        InputError: if there is no such device

    """
    if device == "cpu":
        return True
    go = getattr(model, "to", None)
    if go is None:
        return False
    try:
        go(device)
    except (RuntimeError, AssertionError) as error:  # as torch says it
        reason = " ".join(str(error).split())
        raise InputError(
            f"device must be there, got {device}: {reason}: pass another --device"
        ) from error
    return True


def check_lengths(signals: Sequence[np.ndarray], least: int) -> None:
    """Refuse signals that are too short for a frame.

    Raises:
        InputError: if one is

    """
    for signal in signals:
        if len(signal) < least:
            raise InputError(
                f"signal must have at least {least} samples at 16 kHz, "
                f"got {len(signal)}: leave it out"
            )
