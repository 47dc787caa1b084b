"""Give a model another time constant of forgetting."""

from __future__ import annotations

import dataclasses

from .graph import IntegerGraph
from .pooling import decay_of
from .streaming.schedule import schedule


def forgetting(model: IntegerGraph, seconds: float | None) -> IntegerGraph:
    """Same model with pooling in which rows weigh less with their age.

    Args:
        model: model that pools over time by a softmax
        seconds: time in which a weight falls to 1 / e, in whole milliseconds;
            None to forget nothing

    Raises:
        ExportError: if the time has less than 1 ms or more than 2 ** 32 - 1 ms,
            or the model has a pooling that cannot forget

    """
    changed = {
        pool.operator: pool.operator.forgetting(
            decay_of(seconds, pool.row_samples, model.sampling_rate)
        )
        for pool in schedule(model).pools
    }
    operators = tuple(changed.get(entry, entry) for entry in model.operators)
    return dataclasses.replace(model, operators=operators)
