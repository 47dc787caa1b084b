"""From the schedule of a model to the stages of its C code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..base.errors import ExportError
from ..base.outputs import CATEGORIES
from ..integer.further import to_octaves
from ..integer.rescale import Rescale
from ..integer.streaming.pace import Pace
from ..integer.streaming.schedule import Schedule
from ..integer.streaming.stages import PoolStage, RowStage, WindowStage
from ..model.further import category_names
from .lowering import Lowering, Rows, Step, View

FRONT = "front"
"""Kernel of the front end."""

KEEP = "keep"
"""Kernel that keeps a row for those that come."""


@dataclass(frozen=True, eq=False)
class Further:
    """An optional output beside the scores."""

    rows: Rows
    """Its numbers."""

    octaves: Rescale
    """From them to logarithms to base 2, in steps of ``2 ** -16``."""

    names: tuple[str, ...]
    """What each of them is of, empty for the scores."""


@dataclass(frozen=True, eq=False)
class Program:
    """Stages of a model."""

    steps: tuple[Step, ...]
    """Front end, rows to rows, pools."""

    voice: tuple[Step, ...]
    """Detector of speech, rows to rows; the last one makes the log-odds."""

    head: tuple[Step, ...]
    """What is computed once for each result."""

    output: Rows
    """The scores."""

    further: Mapping[str, Further]
    """Further outputs by name, see :mod:`wav2small.export.model.further`."""

    views: Mapping[str, View]
    """Where each tensor of the model lies."""


def lower(schedule: Schedule) -> Program:
    """Turn a schedule into stages of C code.

    Raises:
        ExportError: if an operator has no C code

    """
    graph = schedule.reference.graph
    detector = schedule.detector
    tensors = graph.tensors | (detector.graph.tensors if detector else {})
    lowering = Lowering(tensors)
    front = schedule.front
    lowering.begin(front.name, front.pace)
    rows = lowering.make(front.operator.output, front.output.shape)
    lowering.append(FRONT, (), rows, {}, work=front.work_bytes)
    begun, lowering.steps = lowering.steps, []
    for stage in detector.stages if detector else ():
        _lower_stage(lowering, stage)
    voice, lowering.steps = tuple(lowering.steps), begun
    for stage in schedule.stages:
        _lower_stage(lowering, stage)
    for pool in schedule.pools:
        _lower_stage(lowering, pool)
    steps, lowering.steps = tuple(lowering.steps), []
    for operator in schedule.head:
        lowering.begin(graph.label(operator), Pace(1, 0, 0))
        views = [lowering.views[name] for name in operator.inputs]
        operator.lower(lowering, views)
    scores = lowering.plain(lowering.views[graph.output])
    if graph.further and not any(step.kernel == "softmax_pool" for step in steps):
        raise ExportError(
            "model with further outputs must pool by softmax for C code, got another "
            "pooling: choose wav2small-rt"
        )
    further = {
        name: Further(
            lowering.plain(lowering.views[tensor]).rows,
            to_octaves(graph.tensors[tensor]),
            category_names(graph.model) if name == CATEGORIES else (),
        )
        for name, tensor in graph.further.items()
    }
    return Program(
        steps, voice, tuple(lowering.steps), scores.rows, further, lowering.views
    )


def _lower_stage(lowering: Lowering, stage: WindowStage | RowStage | PoolStage) -> None:
    operator = stage.operator
    window = stage.window if isinstance(stage, WindowStage) else None
    pooling = isinstance(stage, PoolStage)
    shape = stage.shape if isinstance(stage, PoolStage) else stage.output.shape
    lowering.begin(stage.name, stage.pace, shape, window, pooling, stage.macs)
    operator.lower(lowering, [lowering.views[name] for name in operator.inputs])
    for name, back in zip(operator.inputs, stage.back, strict=True):
        if back:
            lowering.keep(name, back)
