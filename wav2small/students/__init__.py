"""Students: the networks that can be distilled and exported.

The table is here; a network, which needs torch, is imported when it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from torch import nn

SMALL = 60 * 1024
"""Most bytes of the int8 file of a student for hearing aids."""


@dataclass(frozen=True)
class Student:
    """An entry of :data:`STUDENTS`."""

    network: str
    """Module of this package and class in it, ``file:Class``;
    a frozen dataclass ``ClassConfig`` beside it configures the class."""

    parameters: int
    """How many numbers the network holds, those of the front end included."""

    description: str
    """One line for ``wav2small list students``."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the defaults of the configuration."""

    max_bytes: int | None = None
    """Most bytes of its int8 file unless another limit is asked for;
    None for any."""

    @cached_property
    def module(self) -> Callable[[Any], nn.Module]:
        """Class that builds the module from a configuration of this type."""
        file, name = self.network.split(":")
        found: Callable[[Any], nn.Module] = getattr(
            import_module(f"{__name__}.{file}"), name
        )
        return found

    @cached_property
    def config(self) -> Any:
        """Frozen dataclass that the module is built from."""
        file, name = self.network.split(":")
        kind = getattr(import_module(f"{__name__}.{file}"), f"{name}Config")
        return kind(**self.settings)

    def build(self) -> nn.Module:
        """Build the module with random weights."""
        return self.module(self.config)


STUDENTS: dict[str, Student] = {
    "wav2small": Student(
        "wav2small:Wav2Small",
        72_659,
        "the paper's model: 2 ms hop, attention head",
        max_bytes=SMALL,
    ),
    "wav2small-stream": Student(
        "wav2small:Wav2Small",
        77_587,
        "the paper's model relative to the past second: it streams",
        {"past_frames": 500, "n_fft": 128},
        max_bytes=SMALL,
    ),
    "wav2small-17k": Student(
        "wav2small:Wav2Small",
        15_888,
        "the published small one: 2 ms hop, covariance head",
        {"head": "covariance"},
        max_bytes=SMALL,
    ),
    "wav2small-rt": Student(
        "streaming:Streaming",
        319_307,
        "streams: 10 ms hop, relative to the past second",
        {"filters": (16, 24), "channels": 64},
        max_bytes=SMALL,
    ),
    "wav2small-rt-mini": Student(
        "streaming:Streaming",
        304_459,
        "the same with 16 ms hop and narrower layers",
        {"hop_length": 256, "past_frames": 62, "channels": 56},
        max_bytes=SMALL,
    ),
    "wav2small-rt-nano": Student(
        "streaming:Streaming",
        73_795,
        "the least: 2 M instructions, 4 KiB of RAM, 32 KiB of flash on a Cortex-M4",
        {
            "window_length": 256,
            "hop_length": 256,
            "past_frames": 31,
            "n_mels": 16,
            "filters": (8, 12),
            "channels": 24,
            "dilations": (1, 3, 9),
        },
        max_bytes=SMALL,
    ),
    "mobilenetv3-small": Student(
        "mobilenet_v3:MobileNetV3",
        1_800_259,
        "MobileNetV3-Small on log-mel",
        {"size": "small"},
    ),
    "mobilenetv3-large": Student(
        "mobilenet_v3:MobileNetV3",
        4_485_203,
        "MobileNetV3-Large on log-mel",
        {"size": "large"},
    ),
    "mobilenetv4-small": Student(
        "mobilenet_v4:MobileNetV4",
        2_774_627,
        "MobileNetV4-Conv-Small on log-mel",
        {"size": "small"},
    ),
    "mobilenetv4-medium": Student(
        "mobilenet_v4:MobileNetV4",
        8_716_115,
        "MobileNetV4-Conv-Medium on log-mel",
        {"size": "medium"},
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
