"""One row for each integer operator that a student can be given.

A new operator needs its file, its fragment of C, its section of
``docs/arithmetic.md`` and a row here; several tests run over the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from wav2small.export.integer.operators.base import Operator
from wav2small.export.integer.operators.hard_swish import HardSwish
from wav2small.export.integer.operators.max_pool import MaxPool
from wav2small.export.integer.operators.prelu import Prelu
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


_FLOATS = (
    np.linspace(-2, 2, 24, dtype=np.float32).reshape(1, 3, 2, 4),
    np.array([-0.5, 0.25, 2], np.float32).reshape(3, 1, 1),
)


def _prelu(operator, sources, target, x):
    y = np.empty(x.shape, object)
    for place in np.ndindex(x.shape):
        value = x[place] - sources[0].zero_point
        slope = place[1] if len(operator.signs) > 1 else 0
        rescale, output = operator.above, 0
        if value < 0:
            value *= int(operator.signs[slope])
            rescale, output = operator.below, slope
        # the same from the page: multiplier and shift, halves up
        multiplier = int(np.reshape(rescale.multiplier, -1)[output])
        shift = int(np.reshape(rescale.shift, -1)[output])
        half = (1 << rescale.before) >> 1
        value = (value + half) >> rescale.before
        value = (value * multiplier + (1 << (shift - 1))) >> shift
        if target.dtype == "int8":
            value = min(max(value + target.zero_point, -128), 127)
        y[place] = value
    return y


def _slopes(channels: int) -> nn.Module:
    module = nn.PReLU(channels)
    slopes = np.linspace(-0.5, 1.5, channels, dtype=np.float32)
    slopes[1] = 0
    module.weight = nn.Parameter(torch.from_numpy(slopes))
    return module


ROWS = {
    "hard_swish": Row(HardSwish, lambda channels: nn.Hardswish(), wide=True),
    "leaky_relu": Row(Table, lambda channels: nn.LeakyReLU(0.1)),
    "max_pool": Row(MaxPool, lambda channels: nn.MaxPool2d((2, 1), (1, 1))),
    "prelu": Row(
        Prelu,
        _slopes,
        cases={
            "PRelu": [
                ({}, [_FLOATS[0], _FLOATS[1]]),
                ({}, [_FLOATS[0], _FLOATS[1][:1]]),
            ]
        },
        oracle=_prelu,
    ),
    "prelu of one slope, wide": Row(Prelu, lambda channels: nn.PReLU(), wide=True),
    "relu": Row(Relu, lambda channels: nn.ReLU(), wide=True),
}
