"""The report's dataclasses from what was planned and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import onnx

from ..budget import (
    BudgetReport,
    combine,
    derive_realtime_factor,
    estimate_realtime_factor,
)
from ..cores import CORES
from ..emulated import EmulatedCores
from ..energy import Energy, currents, energy
from ..plan.firmware import FirmwarePlan
from ..plan.model_plan import ModelPlan
from ..plan.onnx_graph import TensorType
from ..run.host import HostMeasurement
from ..run.measurement import Measurement
from . import model

NOT_COUNTED = (
    "stack and scratch inside kernels",
    "code and state of a runtime",
    "cycles of anything but multiply-accumulates",
)
"""What the plan of a model without C99 leaves out."""

NOT_MEASURED = (
    "stack of interrupts and of what calls the model",
    "waits for memory and caches, but for flash memory of chips that is known",
)
"""What the figures of C99 leave out, measured or planned."""


def make_report(
    path: Path,
    plan: ModelPlan,
    host: HostMeasurement | None,
    emulated: EmulatedCores | None,
    budgets: Sequence[BudgetReport],
) -> model.FirmwareReport:
    """Put a report together.

    Args:
        path: file of the model
        plan: what was planned
        host: what was measured on this machine, if anything was
        emulated: what was measured on emulated cores, if anything was
        budgets: checks of each target

    """
    seconds = plan.window_seconds
    return model.FirmwareReport(
        schema_version=4,
        model=_model(plan, path),
        window=model.ReportedWindow(seconds, plan.graph.sampling_rate),
        c99=_code(plan, budgets),
        arena=_arena(plan),
        flash=model.StoredBytes(
            stored_bytes=plan.cost.flash.stored_bytes,
            generated_bytes=plan.cost.flash.generated_bytes,
            structure_bytes=plan.cost.flash.structure_bytes,
            total_bytes=plan.cost.flash.total,
        ),
        compute=model.ReportedCompute(
            macs=plan.cost.macs,
            integer_macs=plan.cost.integer_macs,
            float_macs=plan.cost.float_macs,
            macs_per_second=plan.cost.macs / seconds,
            uncounted=plan.cost.uncounted,
            transforms=plan.cost.transforms,
        ),
        steps=_steps(plan),
        host=_host(host, seconds) if host else None,
        firmware=_firmware(emulated) if emulated else None,
        budgets=[_budget(budget, plan, emulated) for budget in budgets],
        fits=combine(budget.fits for budget in budgets),
        not_counted=NOT_COUNTED if plan.firmware is None else NOT_MEASURED,
    )


def _host(measured: HostMeasurement, window_seconds: float) -> model.ReportedHost:
    factor = measured.median_seconds / window_seconds
    return model.ReportedHost(**asdict(measured), threads=1, realtime_factor=factor)


def _model(plan: ModelPlan, path: Path) -> model.ReportedModel:
    graph = plan.graph
    # exported models all have the same name: their folders tell them apart
    folder = path.resolve().parent.name
    return model.ReportedModel(
        file=f"{folder}/{path.name}" if path.name == "model.onnx" else path.name,
        sha256=graph.sha256,
        file_bytes=graph.file_bytes,
        input=_tensor(graph.input, graph.tensors[graph.input]),
        outputs=[_tensor(name, graph.tensors[name]) for name in graph.outputs],
        metadata=graph.metadata,
        onnx=onnx.__version__,
    )


def _tensor(name: str, kind: TensorType) -> model.ReportedTensor:
    return model.ReportedTensor(name, kind.shape, kind.dtype, kind.bytes)


def _code(plan: ModelPlan, budgets: Sequence[BudgetReport]) -> model.ReportedCode:
    """Plan of the C99, on the core of each target that has prices."""
    firmware = plan.firmware
    if firmware is None:
        return model.ReportedCode(plan.no_firmware, None)
    held = firmware.held_bytes(plan.window_seconds)
    cores = dict.fromkeys(entry.target.core for entry in budgets if entry.target)
    return model.ReportedCode(
        None,
        model.PlannedCode(
            state_bytes=firmware.memory.state,
            state=firmware.memory,
            held_bytes=held,
            held_bytes_per_second=firmware.held_bytes_per_second,
            constant_bytes=firmware.constant_bytes,
            macs_per_second=firmware.macs_per_second,
            look_ahead_seconds=firmware.look_ahead_seconds,
            stages=firmware.stages,
            cores=[
                core
                for core in (_planned_core(name, firmware, held) for name in cores)
                if core is not None
            ],
        ),
    )


def _planned_core(
    name: str, firmware: FirmwarePlan, held: int
) -> model.PlannedCore | None:
    planned = firmware.on(name)
    if planned is None:
        return None
    ram = firmware.memory.state + planned.stack_bytes + held
    return model.PlannedCore(
        core=name,
        ram_bytes=ram,
        energy=_energy(name, planned.cycles_per_second),
        **asdict(planned),
    )


def _energy(core: str, cycles_per_second: tuple[float, float]) -> list[Energy]:
    """What each chip with a core takes whose current is known."""
    return [energy(chip, cycles_per_second) for chip in currents(core)]


def _arena(plan: ModelPlan) -> model.ReportedArena:
    arena, buffers = plan.arena, plan.program.buffers
    makers = {
        name: operation.name
        for operation in plan.program.operations
        for name in operation.outputs
    }
    return model.ReportedArena(
        schedule="whole window",
        bytes=arena.size,
        lower_bound_bytes=arena.lower_bound,
        gap_bytes=arena.gap,
        alignment=arena.alignment,
        verified=True,
        blocks=[
            model.PlacedBlock(
                name=makers.get(block.live.name, block.live.name),
                offset=block.offset,
                bytes=block.live.bytes,
                first_step=block.live.first,
                last_step=block.live.last,
                dtype=buffers[block.live.name].dtype,
                shape=buffers[block.live.name].shape,
            )
            for block in arena.blocks
        ],
    )


def _steps(plan: ModelPlan) -> list[model.ExecutedStep]:
    buffers = plan.program.buffers
    pairs = zip(plan.program.operations, plan.cost.steps, strict=True)
    return [
        model.ExecutedStep(
            index=index,
            name=operation.name,
            operators=operation.operators,
            arithmetic="integer" if operation.integer else "float",
            outputs=[_tensor(name, buffers[name]) for name in operation.outputs],
            macs=step.macs,
            weight_bytes=step.weight_bytes,
            live_bytes=plan.live_bytes[index],
        )
        for index, (operation, step) in enumerate(pairs)
    ]


def _firmware(emulated: EmulatedCores) -> model.ReportedFirmware:
    code = emulated.code
    return model.ReportedFirmware(
        counted_signal=model.CountedSignal(
            code.counted.name, len(code.counted.samples), emulated.counted_digest
        ),
        signals_left_out=code.left_out,
        hop_seconds=code.hop_seconds,
        cores=[_core(measured) for measured in emulated.measured.values()],
        planned=[
            model.PlannedTarget(target, reason)
            for target, reason in emulated.not_emulated.items()
        ],
        not_measured=NOT_MEASURED,
    )


def _core(measured: Measurement) -> model.EmulatedCore:
    emulation = measured.emulation
    low, high = zip(*emulation.cycles, strict=True)
    return model.EmulatedCore(
        core=measured.core,
        compiler=measured.compiler,
        flags=measured.flags,
        differing_bits=measured.differing_bits,
        golden_vectors="agree" if not measured.golden else "differ",
        signals=[
            model.ComparedSignal(
                name=run.signal.name,
                samples=len(run.signal.samples),
                push_samples=run.signal.push_samples or emulation.push_samples,
                differing_bits=run.differing_bits,
            )
            for run in measured.runs
        ],
        state_bytes=emulation.state_bytes,
        stack_bytes=measured.stack_bytes,
        held_bytes=measured.held_bytes,
        text_bytes=emulation.text_bytes,
        constant_bytes=emulation.constant_bytes,
        data_bytes=emulation.data_bytes,
        bss_bytes=emulation.bss_bytes,
        figures=model.ReportedFigures(
            instructions=emulation.instructions_per_second,
            push=emulation.worst_push,
            slice=measured.slices[0].worst,
            result=emulation.result,
            latest=emulation.latest or 0,
            ram=measured.ram_bytes,
            flash=measured.flash_bytes,
        ),
        mean_push=sum(emulation.pushes) / len(emulation.pushes),
        slices=measured.slices,
        duty=measured.duty,
        begin=emulation.begin,
        classes=emulation.classes,
        layers=[
            model.ReportedLayer(name, instructions)
            for name, instructions in measured.layers.items()
        ],
        functions=emulation.functions,
        cycles_per_second=emulation.cycles_per_second,
        worst_push_cycles=(max(low), max(high)),
        result_cycles=emulation.result_cycles,
        cycles_source=CORES[measured.core].timing.source,
        energy=_energy(measured.core, emulation.cycles_per_second),
    )


def _budget(
    budget: BudgetReport, plan: ModelPlan, emulated: EmulatedCores | None
) -> model.ReportedBudget:
    target, derived, measured, flash = None, None, None, None
    if budget.target is not None:
        target = _target(budget, plan)
        if emulated:
            measured = emulated.measured.get(budget.target.core)
        if measured:
            waits = budget.flash_waits
            derived = derive_realtime_factor(measured, budget.target, waits)
            flash = _flash(budget, measured)
    return model.ReportedBudget(
        target=target,
        basis="emulated" if measured else "planned" if plan.firmware else "arena",
        realtime_factor_derived=derived,
        flash=flash,
        fits=budget.fits,
        checks=budget.checks,
    )


def _flash(budget: BudgetReport, measured: Measurement) -> model.ReportedFlash | None:
    """Cycles with waits for the target's flash memory, None if not known."""
    waits = budget.flash_waits
    if waits is None or budget.target is None or budget.target.flash_reads is None:
        return None
    low, high = measured.emulation.cycles_per_second
    with_caches, without = (
        (low + fewest, high + most)
        for fewest, most in (waits.with_caches, waits.without_caches)
    )
    reads = budget.target.flash_reads
    return model.ReportedFlash(with_caches, without, reads.source, reads.verified)


def _target(budget: BudgetReport, plan: ModelPlan) -> model.CheckedTarget:
    target = budget.target
    assert target is not None
    estimate = estimate_realtime_factor(
        plan.cost, target, plan.window_seconds, plan.firmware
    )
    source = "prices of the C99's stages, fitted to measurements"
    if plan.firmware is None:
        core = CORES.get(target.core)
        source = core.estimate.source if core and core.estimate else ""
    return model.CheckedTarget(
        **vars(target),
        realtime_factor_estimate=estimate,
        estimate_source=source if estimate else None,
    )
