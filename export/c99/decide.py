"""Write the C that turns scores into events, which no model needs."""

from __future__ import annotations

from string import Template

from ..integer.decisions import score_to_parts
from ..integer.graph import IntegerGraph
from .header import template


def decision_files(graph: IntegerGraph, scores: int) -> dict[str, str]:
    """Texts of ``wav2small_decide.h`` and ``wav2small_decide.c``, by name."""
    rescale = score_to_parts(graph)
    numbers = {
        "multiplier": rescale.multiplier.item(),
        "shift": rescale.shift.item(),
        # numbers and no products, which casts would have to widen
        "events": 2 * scores,
        "personal_bytes": 2 + 4 * scores + 4,
    }
    names = ("wav2small_decide.h", "wav2small_decide.c")
    return {name: Template(template(name)).substitute(numbers) for name in names}
