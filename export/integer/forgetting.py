"""Give a model another time constant of forgetting."""

from __future__ import annotations

import dataclasses

from .graph import IntegerGraph
from .operators.softmax_pool import SoftmaxPool
from .pooling import decay_of
from .streaming.schedule import schedule


def forgetting(model: IntegerGraph, seconds: float | None) -> IntegerGraph:
    """Same model with pooling in which rows weigh less with their age.

    Args:
        model: model with softmax pooling
        seconds: time in which a weight falls to 1 / e, in whole milliseconds;
            None to forget nothing

    Raises:
        ExportError: if the time has less than 1 ms or more than 2 ** 32 - 1 ms,
            or the model has no pooling over time

    """
    rows = {pool.operator: pool.row_samples for pool in schedule(model).pools}
    operators = tuple(
        dataclasses.replace(
            operator, decay=decay_of(seconds, rows[operator], model.sampling_rate)
        )
        if isinstance(operator, SoftmaxPool) and operator in rows
        else operator
        for operator in model.operators
    )
    return dataclasses.replace(model, operators=operators)
