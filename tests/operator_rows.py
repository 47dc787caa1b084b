"""One row for each integer operator that a student can be given.

A new operator needs its file, its fragment of C, its section of
``docs/arithmetic.md`` and a row here; several tests run over the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import nn

from wav2small.export.integer.operators.base import Operator
from wav2small.export.integer.operators.hard_swish import HardSwish
from wav2small.export.integer.operators.max_pool import MaxPool
from wav2small.export.integer.operators.relu import Relu
from wav2small.export.integer.operators.table import Table


@dataclass(frozen=True)
class Row:
    """An operator, a module that becomes it, and what it shall compute."""

    kind: type[Operator]
    """What the module is read as."""

    module: Callable[[int], nn.Module]
    """Makes the module for maps of so many channels."""

    wide: bool = False
    """Whether it reads int32, behind the last convolution."""

    cases: dict[str, list[tuple[dict[str, Any], list[np.ndarray]]]] = field(
        default_factory=dict
    )
    """Attributes and inputs by ONNX operator;
    those of the older ones stand in ``test_export_torch_operators.py``."""

    oracle: Callable[..., np.ndarray] | None = None
    """The integers from the page alone, in Python's own;
    those of the older ones stand in ``integers.py``."""


ROWS = {
    "hard_swish": Row(HardSwish, lambda channels: nn.Hardswish(), wide=True),
    "leaky_relu": Row(Table, lambda channels: nn.LeakyReLU(0.1)),
    "max_pool": Row(MaxPool, lambda channels: nn.MaxPool2d((2, 1), (1, 1))),
    "relu": Row(Relu, lambda channels: nn.ReLU(), wide=True),
}
