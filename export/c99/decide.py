"""Write the C that turns scores into events, which no model needs."""

from __future__ import annotations

from string import Template

from ..integer.decisions import score_to_parts
from ..integer.graph import IntegerGraph
from .header import template


def decision_files(graph: IntegerGraph) -> dict[str, str]:
    """Texts of ``wav2small_decide.h`` and ``wav2small_decide.c``, by name."""
    rescale = score_to_parts(graph)
    numbers = {"multiplier": rescale.multiplier.item(), "shift": rescale.shift.item()}
    code = Template(template("wav2small_decide.c")).substitute(numbers)
    return {
        "wav2small_decide.h": template("wav2small_decide.h"),
        "wav2small_decide.c": code,
    }
