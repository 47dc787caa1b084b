"""Everything that is known of a model without running it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wav2small.export.base.errors import ExportError

from .arena import ArenaPlan, plan_arena
from .cost import Cost, count_cost
from .firmware import FirmwarePlan, plan_firmware
from .liveness import live_bytes, live_ranges
from .onnx_graph import Graph, load_graph
from .operations import WindowProgram, lower_window


@dataclass(frozen=True)
class ModelPlan:
    """Memory, work and flash that a model will take."""

    graph: Graph
    """The model, with the length of its window."""

    program: WindowProgram
    """Operations of one execution of the whole window."""

    arena: ArenaPlan
    """Where each tensor of this execution lies."""

    live_bytes: list[int]
    """Bytes that are needed in each of its operations."""

    cost: Cost
    """Multiply-accumulates and constants of this execution."""

    firmware: FirmwarePlan | None
    """Plan of the C99, which runs frame by frame; None if there can be none."""

    no_firmware: str | None
    """Why there can be no C99."""

    @property
    def window_seconds(self) -> float:
        """Seconds of audio in one execution."""
        return self.graph.window_seconds


def plan_model(path: str | Path, window_seconds: float | None = None) -> ModelPlan:
    """Plan a model.

    Args:
        path: ONNX file
        window_seconds: seconds of audio in one execution,
            see :func:`wav2small.firmware_bench.plan.onnx_graph.load_graph`

    Raises:
        BenchError: if the model cannot be planned

    """
    graph = load_graph(path, window_seconds)
    program = lower_window(graph)
    ranges = live_ranges(program)
    firmware, reason = None, None
    try:
        firmware = plan_firmware(path, graph.sampling_rate)
    except ExportError as error:
        reason = str(error)
    return ModelPlan(
        graph=graph,
        program=program,
        arena=plan_arena(ranges),
        live_bytes=live_bytes(ranges),
        cost=count_cost(graph, program),
        firmware=firmware,
        no_firmware=reason,
    )
