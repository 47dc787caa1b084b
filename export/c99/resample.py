"""Write the C that takes samples of another rate, which no model needs."""

from __future__ import annotations

import math
from string import Template

import numpy as np

from ..integer.resampling import make_filters
from .header import template

_BLOCK = 32


def resample_files(input_rate: int, output_rate: int) -> dict[str, str]:
    """Texts of ``wav2small_resample.h`` and ``wav2small_resample.c``, by name.

    Raises:
        InputError: if there is no filter for the rate

    """
    filters = make_filters(input_rate, output_rate)
    if input_rate == output_rate:
        return {}
    common = math.gcd(input_rate, output_rate)
    up, down, taps = output_rate // common, input_rate // common, filters.shape[1]
    values = {
        "rate": input_rate,
        "up": up,
        "down": down,
        "taps": taps,
        "kept": taps + _BLOCK,
        "delay": f"{taps // 2} samples",
        "filters": _table(filters[: up // 2 + 1]),
    }
    values |= {f"{name}u": f"{values[name]}u" for name in ("up", "down", "taps")}
    return {
        name: Template(template(name)).substitute(values)
        for name in ("wav2small_resample.h", "wav2small_resample.c")
    }


def _table(filters: np.ndarray) -> str:
    lines = [f"static const int16_t filters[{len(filters)}][TAPS] = {{"]
    for row in filters.tolist():
        lines.append("    {" + ", ".join(map(str, row)) + "},")
    return "\n".join([*lines, "};"])
