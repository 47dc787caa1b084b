"""Everything at once: from an ONNX file to a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from export.errors import ExportError

from . import arena, cost, liveness, operations, streaming
from . import host as host_module
from .budget import BudgetReport, check_budget, estimate_realtime_factor
from .graph import Graph, TensorType, load_graph
from .target import CORES, Target, load_target

SCHEMA_VERSION = 1
"""Version of the report's schema, ``report.schema.json``."""

NOT_COUNTED = (
    "stack and scratch inside kernels",
    "code and state of a runtime",
    "cycles of anything but multiply-accumulates",
)
"""What the figures leave out, said in every report."""


def bench(
    model: str | Path,
    *,
    window_seconds: float | None = None,
    targets: Sequence[str | Path | Target] = (),
    ram: int | None = None,
    flash: int | None = None,
    realtime_factor: float | None = None,
    host: bool = True,
) -> dict[str, Any]:
    """Plan a model, count its cost, run it here and check budgets.

    The whole window is in memory at once, one operation after the other;
    what the model costs frame by frame is said beside it
    and enters no budget.

    Args:
        model: ONNX file
        window_seconds: seconds of audio in one execution,
            see :func:`firmware_bench.graph.load_graph`
        targets: names, files or targets; each is checked alone.
            If there is none, the given limits are checked
        ram: limit in bytes, takes the place of each target's
        flash: limit in bytes, takes the place of each target's
        realtime_factor: limit of seconds of work per second of audio
        host: whether to run the model in onnxruntime on this machine

    Returns:
        the report, as ``report.schema.json`` describes it;
        ``fits`` says whether no check failed

    Raises:
        BenchError: if the model cannot be planned or run,
            a target is not known or a limit is not above 0

    """
    chosen: list[Target | None] = [
        entry if isinstance(entry, Target) else load_target(entry) for entry in targets
    ]
    graph = load_graph(model, window_seconds)
    program = operations.lower(graph)
    ranges = liveness.live_ranges(program)
    plan = arena.plan_arena(ranges)
    costs = cost.count(graph, program)

    def budgets(measured: host_module.HostMeasurement | None) -> list[BudgetReport]:
        return [
            check_budget(
                plan,
                costs,
                graph.window_seconds,
                host=measured,
                target=target,
                ram=ram,
                flash=flash,
                realtime_factor=realtime_factor,
            )
            for target in chosen or [None]
        ]

    budgets(None)  # wrong limits shall be found before the model is run
    measured = host_module.measure(graph) if host else None
    verdicts = budgets(measured)
    seconds = graph.window_seconds
    return {
        "schema_version": SCHEMA_VERSION,
        "model": _model(graph, Path(model)),
        "window": {
            "seconds": seconds,
            "sampling_rate": graph.sampling_rate,
        },
        "ram": {
            "schedule": "whole window",
            "arena_bytes": plan.size,
            "lower_bound_bytes": plan.lower_bound,
            "gap_bytes": plan.gap,
            "alignment": plan.alignment,
            "verified": True,
            "blocks": [_block(block, program) for block in plan.blocks],
        },
        "flash": {
            "stored_bytes": costs.flash.stored_bytes,
            "generated_bytes": costs.flash.generated_bytes,
            "structure_bytes": costs.flash.structure_bytes,
            "total_bytes": costs.flash.total,
        },
        "compute": {
            "macs": costs.macs,
            "integer_macs": costs.integer_macs,
            "float_macs": costs.float_macs,
            "macs_per_second": costs.macs / seconds,
            "uncounted": list(costs.uncounted),
            "transforms": list(costs.transforms),
        },
        "streaming": _streaming(Path(model), graph.sampling_rate),
        "steps": _steps(program, costs, liveness.live_bytes(ranges)),
        "host": None if measured is None else _host(measured, seconds),
        "budgets": [_budget(budget, costs, seconds) for budget in verdicts],
        "fits": all(budget.fits for budget in verdicts),
        "not_counted": list(NOT_COUNTED),
    }


def _tensor(name: str, kind: TensorType) -> dict[str, Any]:
    return {
        "name": name,
        "shape": list(kind.shape),
        "dtype": kind.dtype,
        "bytes": kind.bytes,
    }


def _model(graph: Graph, path: Path) -> dict[str, Any]:
    return {
        "file": path.name,
        "sha256": graph.sha256,
        "file_bytes": graph.file_bytes,
        "input": _tensor(graph.input, graph.tensors[graph.input]),
        "outputs": [_tensor(name, graph.tensors[name]) for name in graph.outputs],
        "metadata": graph.metadata,
        "onnx": onnx.__version__,
    }


def _block(block: arena.Block, program: operations.Program) -> dict[str, Any]:
    makers = {
        name: operation.name
        for operation in program.operations
        for name in operation.outputs
    }
    return {
        "name": makers.get(block.live.name, block.live.name),
        "offset": block.offset,
        "bytes": block.live.bytes,
        "first_step": block.live.first,
        "last_step": block.live.last,
        "dtype": program.buffers[block.live.name].dtype,
        "shape": list(program.buffers[block.live.name].shape),
    }


def _steps(
    program: operations.Program, costs: cost.Cost, live: list[int]
) -> list[dict[str, Any]]:
    return [
        {
            "index": index,
            "name": operation.name,
            "operators": list(operation.operators),
            "arithmetic": "integer" if operation.integer else "float",
            "outputs": [
                _tensor(name, program.buffers[name]) for name in operation.outputs
            ],
            "macs": step.macs,
            "weight_bytes": step.weight_bytes,
            "live_bytes": live[index],
        }
        for index, (operation, step) in enumerate(
            zip(program.operations, costs.steps, strict=True)
        )
    ]


def _streaming(path: Path, sampling_rate: int) -> dict[str, Any]:
    try:
        plan = streaming.plan(path, sampling_rate)
    except ExportError as error:
        return {"obstacle": str(error), "plan": None}
    figures = dataclasses.asdict(plan)
    obstacle = figures.pop("obstacle")
    figures["state_bytes"] = plan.state_bytes
    figures["macs_per_second"] = plan.macs_per_second
    figures["stages"] = list(figures["stages"])
    return {"obstacle": obstacle, "plan": figures}


def _host(measured: host_module.HostMeasurement, seconds: float) -> dict[str, Any]:
    return {
        **dataclasses.asdict(measured),
        "threads": 1,
        "realtime_factor": measured.median_seconds / seconds,
    }


def _budget(budget: BudgetReport, costs: cost.Cost, seconds: float) -> dict[str, Any]:
    target: dict[str, Any] | None = None
    if budget.target is not None:
        interval = estimate_realtime_factor(costs, budget.target, seconds)
        core = CORES.get(budget.target.core)
        target = dataclasses.asdict(budget.target)
        for key in ("clock_hz", "ram_bytes", "flash_bytes"):
            figure = getattr(budget.target, key)
            target[key] = None if figure is None else figure._asdict()
        target["realtime_factor_estimate"] = None if interval is None else [*interval]
        target["estimate_source"] = core.source if core and interval else None
    return {
        "target": target,
        "fits": budget.fits,
        "checks": [dataclasses.asdict(check) for check in budget.checks],
    }
