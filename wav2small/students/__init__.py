"""Students: the networks that can be distilled and exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..errors import InputError
from .mobilenet_v3 import MobileNetV3, MobileNetV3Config
from .mobilenet_v4 import MobileNetV4, MobileNetV4Config
from .streaming import Streaming, StreamingConfig
from .wav2small import Wav2Small, Wav2SmallConfig

SMALL = 60 * 1024
"""Most bytes of the int8 file of a student for hearing aids."""


@dataclass(frozen=True)
class Student:
    """An entry of :data:`STUDENTS`."""

    config: Any
    """Frozen dataclass that the module is built from."""

    module: Callable[[Any], nn.Module]
    """Class that builds the module from a configuration of this type."""

    description: str
    """One line for ``wav2small list students``."""

    max_bytes: int | None = None
    """Most bytes of its int8 file unless another limit is asked for;
    None for any."""

    def build(self) -> nn.Module:
        """Build the module with random weights."""
        return self.module(self.config)


STUDENTS: dict[str, Student] = {
    "wav2small": Student(
        Wav2SmallConfig(),
        Wav2Small,
        "the paper's model: 2 ms hop, attention head",
        SMALL,
    ),
    "wav2small-17k": Student(
        Wav2SmallConfig(head="covariance"),
        Wav2Small,
        "the published small one: 2 ms hop, covariance head",
        SMALL,
    ),
    "wav2small-rt": Student(
        StreamingConfig(filters=(16, 24), channels=64),
        Streaming,
        "streams: 10 ms hop, relative to the past second",
        SMALL,
    ),
    "wav2small-rt-mini": Student(
        StreamingConfig(hop_length=256, past_frames=62, channels=56),
        Streaming,
        "the same with 16 ms hop and narrower layers",
        SMALL,
    ),
    "mobilenetv3-small": Student(
        MobileNetV3Config(size="small"), MobileNetV3, "MobileNetV3-Small on log-mel"
    ),
    "mobilenetv3-large": Student(
        MobileNetV3Config(size="large"), MobileNetV3, "MobileNetV3-Large on log-mel"
    ),
    "mobilenetv4-small": Student(
        MobileNetV4Config(size="small"),
        MobileNetV4,
        "MobileNetV4-Conv-Small on log-mel",
    ),
    "mobilenetv4-medium": Student(
        MobileNetV4Config(size="medium"),
        MobileNetV4,
        "MobileNetV4-Conv-Medium on log-mel",
    ),
}
"""The students by name."""


def student(name: str) -> Student:
    """Look a student up by its name.

    Raises:
        InputError: if there is no such student

    """
    if name not in STUDENTS:
        raise InputError(
            f"student must be one of {', '.join(STUDENTS)}, got '{name}': "
            "see 'wav2small list students'"
        )
    return STUDENTS[name]
