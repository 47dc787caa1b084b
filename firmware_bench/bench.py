"""Everything at once: from an ONNX file to a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wav2small.export.base.errors import BenchError

from .budget import NO_LIMITS, BudgetReport, check_budget
from .emulated import EmulatedCores
from .limits import Limits
from .plan.model_plan import ModelPlan, plan_model
from .report.contents import make_report
from .report.schema import to_json
from .run.host import HostMeasurement, measure_host
from .run.measurement import why_not_emulated
from .run.toolchain import ZIG
from .target import DEFAULT_TARGETS, Target, load_target


def bench(
    model: str | Path,
    *,
    window_seconds: float | None = None,
    targets: Sequence[str | Path | Target] = (),
    limits: Limits = NO_LIMITS,
    host: bool = True,
    emulate: bool = False,
    compiler: str = ZIG,
    audio: Mapping[str, np.ndarray] | None = None,
    cache: str | Path | None = None,
) -> dict[str, Any]:
    """Plan a model, count its cost, run it here and check budgets.

    The plan says what the model's C99, which runs frame by frame, will take.
    With ``emulate``, the C99 is built and run on the core of each target,
    and the same is measured; targets whose core cannot be emulated keep the plan.
    A model without C99 is planned as an arena for the whole window.

    Args:
        model: ONNX file
        window_seconds: seconds of audio in one execution, by default the model's own
        targets: names, files or targets, each checked alone;
            if there is none, the limits are checked,
            with ``emulate`` on the generic targets that have an emulator
        limits: limits beside those of the targets
        host: whether to run the model in onnxruntime on this machine
        emulate: whether to build the model's C99 and run it on emulated cores
        compiler: see :func:`wav2small.firmware_bench.run.toolchain.build`
        audio: signals by name, int16 at the sampling rate,
            on which a core's results are compared with the reference's as well
        cache: folder for what is built, by default one of the user's

    Returns:
        the report, as ``report/report.schema.json`` describes it

    Raises:
        BenchError: if the model cannot be planned or run,
            a target is not known or there is no compiler or emulator
        ExportError: if the model has to be emulated and has no C99

    """
    _require_emulator(emulate, limits, audio)
    chosen = _choose_targets(targets, emulate)
    plan = plan_model(model, window_seconds)
    measured = measure_host(plan.graph) if host else None
    budgets = [_check_plan(plan, measured, target, limits) for target in chosen]
    emulated = None
    if emulate:
        window = plan.window_seconds
        emulated = EmulatedCores(
            model, window, limits, compiler=compiler, audio=audio, cache=cache
        )
        budgets = [emulated.check(planned) for planned in budgets]
    return to_json(make_report(Path(model), plan, measured, emulated, budgets))


def _require_emulator(
    emulate: bool, limits: Limits, audio: Mapping[str, np.ndarray] | None
) -> None:
    if not emulate and (limits.need_emulation or audio):
        raise BenchError(
            "limits of instructions, baseline and audio must be used with emulate, "
            "got no emulate: add it"
        )


def _check_plan(
    plan: ModelPlan,
    host: HostMeasurement | None,
    target: Target | None,
    limits: Limits,
) -> BudgetReport:
    return check_budget(
        plan.arena,
        plan.cost,
        plan.window_seconds,
        host=host,
        firmware=plan.firmware,
        target=target,
        limits=limits,
    )


def _choose_targets(
    targets: Sequence[str | Path | Target], emulate: bool
) -> Sequence[Target | None]:
    """Targets to check, None for limits alone."""
    if targets:
        return [
            entry if isinstance(entry, Target) else load_target(entry)
            for entry in targets
        ]
    if not emulate:
        return [None]
    generic = map(load_target, DEFAULT_TARGETS)
    return [target for target in generic if not why_not_emulated(target.core)]
