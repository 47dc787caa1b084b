"""Everything at once: from an ONNX file to a report."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from wav2small.export.base.errors import BenchError, ExportError

from .budget import (
    FIGURES,
    BudgetReport,
    Check,
    check_budget,
    check_firmware,
    combine,
    derive_realtime_factor,
    estimate_realtime_factor,
    figures,
)
from .plan import arena, cost, liveness, operations
from .plan import firmware as planning
from .plan.firmware import FirmwarePlan
from .plan.onnx_graph import Graph, TensorType, load_graph
from .report.baseline import load_baseline
from .run import host as host_module
from .run.measurement import Code, Measurement, link, measure, obstacle, prepare
from .run.timing import SOURCES
from .run.toolchain import ZIG
from .target import CORES, DEFAULT_TARGETS, Target, load_target

SCHEMA_VERSION = 3
"""Version of the report's schema, ``report.schema.json``."""

NOT_COUNTED = (
    "stack and scratch inside kernels",
    "code and state of a runtime",
    "cycles of anything but multiply-accumulates",
)
"""What the plan of a model without C99 leaves out."""

NOT_MEASURED = (
    "stack of interrupts and of what calls the model",
    "waits for memory and caches",
)
"""What the figures of C99 leave out, measured or planned."""


def bench(
    model: str | Path,
    *,
    window_seconds: float | None = None,
    targets: Sequence[str | Path | Target] = (),
    ram: int | None = None,
    flash: int | None = None,
    realtime_factor: float | None = None,
    host: bool = True,
    emulate: bool = False,
    compiler: str = ZIG,
    audio: Mapping[str, np.ndarray] | None = None,
    max_push_instructions: int | None = None,
    max_result_instructions: int | None = None,
    baseline: str | Path | None = None,
    growth: float = 0.01,
    cache: str | Path | None = None,
) -> dict[str, Any]:
    """Plan a model, count its cost, run it here and check budgets.

    The plan says what the C99 of the model takes, which runs frame by frame:
    state to the byte, stack, samples that the caller holds, flash, cycles.
    With ``emulate`` that C99 is built and run on the core of each target,
    and the same figures are measured.
    Targets whose core cannot be emulated keep the plan.
    Of a model without C99 (in floats, or a MobileNet)
    the arena of the whole window counts, one operation after the other.

    Args:
        model: ONNX file
        window_seconds: seconds of audio in one execution,
            see :func:`wav2small.firmware_bench.plan.onnx_graph.load_graph`
        targets: names, files or targets; each is checked alone.
            If there is none, the given limits are checked,
            with ``emulate`` on the generic targets that have an emulator
        ram: limit in bytes, takes the place of each target's
        flash: limit in bytes, takes the place of each target's
        realtime_factor: limit of seconds of work per second of audio
        host: whether to run the model in onnxruntime on this machine
        emulate: whether to build the model's C code and run it on emulated cores
        compiler: see :func:`wav2small.firmware_bench.run.toolchain.build`
        audio: signals on which the results of cores are compared with the
            reference's beside the bench's own: by name, int16 at the sampling rate
        max_push_instructions: limit for the most expensive push of one hop
        max_result_instructions: limit for one result
        baseline: an earlier report as JSON, whose figures may not grow
        growth: share by which they may
        cache: folder for what was built before, by default one of the user's

    Returns:
        the report, as ``report.schema.json`` describes it;
        ``fits`` is False if a check failed,
        None if none failed and one that was asked for could not be made

    Raises:
        BenchError: if the model cannot be planned or run,
            a target is not known, a limit is not above 0
            or there is no compiler or emulator
        ExportError: if it shall be emulated and has no C code

    """
    most = {"push": max_push_instructions, "result": max_result_instructions}
    if not emulate and (any(most.values()) or baseline or audio):
        raise BenchError(
            "max_push_instructions, max_result_instructions, baseline and audio must "
            "be used with emulate, got no emulate: add it"
        )
    chosen: list[Target | None] = [
        entry if isinstance(entry, Target) else load_target(entry) for entry in targets
    ]
    if emulate and not chosen:
        generic = map(load_target, DEFAULT_TARGETS)
        chosen = [target for target in generic if not obstacle(target.core)]
    graph = load_graph(model, window_seconds)
    program = operations.lower(graph)
    ranges = liveness.live_ranges(program)
    plan = arena.plan_arena(ranges)
    costs = cost.count(graph, program)
    code, reason = _plan_code(model, graph.sampling_rate)

    def budgets(measured: host_module.HostMeasurement | None) -> list[BudgetReport]:
        return [
            check_budget(
                plan,
                costs,
                graph.window_seconds,
                host=measured,
                firmware=code,
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
    firmware = None
    if emulate:
        firmware = _Firmware(
            Path(model), audio, graph.window_seconds, compiler, baseline, cache, most
        )
        limits = {"ram": ram, "flash": flash, "realtime_factor": realtime_factor}
        verdicts = [firmware.check(planned, limits, growth) for planned in verdicts]
    seconds = graph.window_seconds
    return {
        "schema_version": SCHEMA_VERSION,
        "model": _model(graph, Path(model)),
        "window": {
            "seconds": seconds,
            "sampling_rate": graph.sampling_rate,
        },
        "c99": _code(code, reason, graph.window_seconds, verdicts),
        "arena": {
            "schedule": "whole window",
            "bytes": plan.size,
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
        "steps": _steps(program, costs, liveness.live_bytes(ranges)),
        "host": None if measured is None else _host(measured, seconds),
        "firmware": None if firmware is None else firmware.report(),
        "budgets": [
            _budget(
                budget,
                estimate_realtime_factor(costs, budget.target, seconds, code)
                if budget.target
                else None,
                firmware,
                code,
            )
            for budget in verdicts
        ],
        "fits": combine(budget.fits for budget in verdicts),
        "not_counted": list(NOT_COUNTED if code is None else NOT_MEASURED),
    }


def _tensor(name: str, kind: TensorType) -> dict[str, Any]:
    return {
        "name": name,
        "shape": list(kind.shape),
        "dtype": kind.dtype,
        "bytes": kind.bytes,
    }


def _model(graph: Graph, path: Path) -> dict[str, Any]:
    # every exported model has the same name: its folder tells them apart
    place = path.resolve().parent.name
    return {
        "file": f"{place}/{path.name}" if path.name == "model.onnx" else path.name,
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


def _plan_code(
    model: str | Path, sampling_rate: int
) -> tuple[FirmwarePlan | None, str | None]:
    """Plan of the C99 of a model, or why there is none."""
    try:
        return planning.plan(model, sampling_rate), None
    except ExportError as error:
        return None, str(error)


def _code(
    code: FirmwarePlan | None,
    reason: str | None,
    window_seconds: float,
    budgets: Sequence[BudgetReport],
) -> dict[str, Any]:
    """Plan of the C99, on the core of each target that has prices."""
    if code is None:
        return {"reason": reason, "plan": None}
    held = code.held_bytes(window_seconds)
    cores = []
    for core in dict.fromkeys(entry.target.core for entry in budgets if entry.target):
        planned = code.on(core)
        if planned is not None:
            ram = code.memory.state + planned.stack_bytes + held
            cores.append(
                {"core": core, "ram_bytes": ram, **dataclasses.asdict(planned)}
            )
            cores[-1]["cycles_per_second"] = list(planned.cycles_per_second)
    return {
        "reason": None,
        "plan": {
            "state_bytes": code.memory.state,
            "state": dataclasses.asdict(code.memory),
            "held_bytes": held,
            "held_bytes_per_second": code.held_bytes_per_second,
            "constant_bytes": code.constant_bytes,
            "macs_per_second": code.macs_per_second,
            "look_ahead_seconds": code.look_ahead_seconds,
            "stages": [dataclasses.asdict(stage) for stage in code.stages],
            "cores": cores,
        },
    }


def _host(measured: host_module.HostMeasurement, seconds: float) -> dict[str, Any]:
    return {
        **dataclasses.asdict(measured),
        "threads": 1,
        "realtime_factor": measured.median_seconds / seconds,
    }


def _budget(
    budget: BudgetReport,
    estimate: tuple[float, float] | None,
    firmware: _Firmware | None,
    code: FirmwarePlan | None,
) -> dict[str, Any]:
    target: dict[str, Any] | None = None
    derived = None
    measured = None
    if budget.target is not None:
        target = dataclasses.asdict(budget.target)
        for key in ("clock_hz", "ram_bytes", "flash_bytes"):
            figure = getattr(budget.target, key)
            target[key] = None if figure is None else figure._asdict()
        target["realtime_factor_estimate"] = None if estimate is None else [*estimate]
        source = "prices of the C99's stages, fitted to measurements"
        if code is None:
            core = CORES.get(budget.target.core)
            source = core.source if core else ""
        target["estimate_source"] = source if estimate else None
        if firmware:
            measured = firmware.measured.get(budget.target.core)
        if measured:
            derived = derive_realtime_factor(measured, budget.target)
    return {
        "target": target,
        "basis": "emulated" if measured else "planned" if code else "arena",
        "realtime_factor_derived": None if derived is None else [*derived],
        "fits": budget.fits,
        "checks": [dataclasses.asdict(check) for check in budget.checks],
    }


class _Firmware:
    """What the C code of a model takes on the cores that are asked for."""

    def __init__(
        self,
        model: Path,
        audio: Mapping[str, np.ndarray] | None,
        window_seconds: float,
        compiler: str,
        baseline: str | Path | None,
        cache: str | Path | None,
        most: Mapping[str, int | None],
    ) -> None:
        self.compiler, self.cache, self.most = compiler, cache, most
        self.folder = tempfile.TemporaryDirectory()  # goes when this goes
        self.code: Code = prepare(model, self.folder.name, audio, window_seconds)
        heard = self.code.counted.samples.astype("<i2").tobytes()
        self.digest = hashlib.sha256(heard).hexdigest()
        self.before = load_baseline(baseline, self.digest) if baseline else None
        self.measured: dict[str, Measurement] = {}
        self.planned: dict[str, str] = {}

    def check(
        self, planned: BudgetReport, limits: dict[str, Any], growth: float
    ) -> BudgetReport:
        """Measure what can be, and hold it against the limits."""
        target = planned.target
        assert target is not None
        problem = obstacle(target.core)
        if problem:
            self.planned[target.name] = problem
            return dataclasses.replace(
                planned, checks=(*planned.checks, *self._unchecked(problem))
            )
        if target.core not in self.measured:
            self.measured[target.core] = measure(
                self.code, target.core, compiler=self.compiler, cache=self.cache
            )
        measured = self.measured[target.core]
        regions = {
            name: limits[name] or (figure.value if figure else None)
            for name, figure in (
                ("ram", target.ram_bytes),
                ("flash", target.flash_bytes),
            )
        }
        over = link(self.code, measured, self.compiler, **regions, cache=self.cache)
        return check_firmware(
            measured,
            over,
            target,
            **limits,
            max_push_instructions=self.most["push"],
            max_result_instructions=self.most["result"],
            baseline=None if self.before is None else self.before.get(target.core, {}),
            growth=growth,
        )

    def _unchecked(self, problem: str) -> list[Check]:
        names = [name for name, limit in self.most.items() if limit]
        if self.before is not None:
            names += [f"growth of {name}" for name in FIGURES]
        return [
            Check(
                name,
                "bytes" if name.endswith(("ram", "flash")) else "instructions",
                None,
                None,
                None,
                f"not checked ({problem})",
                "nothing",
            )
            for name in names
        ]

    def report(self) -> dict[str, Any]:
        """All figures in types of JSON."""
        return {
            "counted_signal": {
                "name": self.code.counted.name,
                "samples": len(self.code.counted.samples),
                "sha256": self.digest,
            },
            "signals_left_out": list(self.code.left_out),
            "hop_seconds": self.code.hop_seconds,
            "cores": [_core(entry) for entry in self.measured.values()],
            "planned": [
                {"target": name, "reason": reason}
                for name, reason in self.planned.items()
            ],
            "not_measured": list(NOT_MEASURED),
        }


def _core(measured: Measurement) -> dict[str, Any]:
    emulation = measured.emulation
    return {
        "core": measured.core,
        "compiler": measured.compiler,
        "flags": list(measured.flags),
        "differing_bits": measured.differing_bits,
        "golden_vectors": "agree" if not measured.golden else "differ",
        "signals": [
            {
                "name": run.signal.name,
                "samples": len(run.signal.samples),
                "push_samples": run.signal.push_samples or emulation.push_samples,
                "differing_bits": run.differing_bits,
            }
            for run in measured.runs
        ],
        "state_bytes": emulation.state_bytes,
        "stack_bytes": measured.stack_bytes,
        "held_bytes": measured.held_bytes,
        "text_bytes": emulation.text_bytes,
        "constant_bytes": emulation.constant_bytes,
        "data_bytes": emulation.data_bytes,
        "bss_bytes": emulation.bss_bytes,
        "figures": figures(measured),
        "mean_push": sum(emulation.pushes) / len(emulation.pushes),
        "begin": emulation.begin,
        "classes": dict(emulation.classes),
        "layers": [
            {"name": name, "instructions_per_second": count}
            for name, count in measured.layers.items()
        ],
        "functions": dict(emulation.functions),
        "cycles_per_second": list(emulation.cycles_per_second),
        "worst_push_cycles": [
            max(ends) for ends in zip(*emulation.cycles, strict=True)
        ],
        "result_cycles": list(emulation.result_cycles),
        "cycles_source": SOURCES[measured.core],
    }
