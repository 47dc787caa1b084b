"""Find audio and decode it: mono, 16 kHz, float32.

Nothing is trusted:
lengths in headers are checked against the file,
samples are read in blocks of bounded size and must be finite.
"""

from ..adv import SAMPLING_RATE
from ..errors import LeftOutWarning
from .containers import (
    EXTENSIONS,
    HIGHEST_RATE,
    LOWEST_RATE,
    MAX_CHANNELS,
    AudioError,
    check,
    one_line,
)
from .decode import END_TOLERANCE, MAX_LEVEL, beginning, load, stream
from .folders import absolute
from .manifests import METADATA
from .sources import Source, find, order

__all__ = [
    "END_TOLERANCE",
    "EXTENSIONS",
    "HIGHEST_RATE",
    "LOWEST_RATE",
    "MAX_CHANNELS",
    "MAX_LEVEL",
    "METADATA",
    "SAMPLING_RATE",
    "AudioError",
    "LeftOutWarning",
    "Source",
    "absolute",
    "beginning",
    "check",
    "find",
    "load",
    "one_line",
    "order",
    "stream",
]
