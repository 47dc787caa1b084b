"""The C99 of a model on the core of each target, held against limits."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .budget import BudgetReport, check_firmware
from .checks import Check, unchecked
from .limits import Limits
from .report.baseline import load_baseline
from .run.flash_waits import FlashWaits, measure_flash_waits
from .run.measurement import (
    FIGURES,
    Measurement,
    find_overflow,
    measure_firmware,
    prepare_code,
    why_not_emulated,
)
from .run.toolchain import build
from .target import Target


class EmulatedCores:
    """The C99 of a model, which runs on emulated cores.

    Its files lie in a folder that is removed with this object.
    """

    def __init__(
        self,
        model: str | Path,
        window_seconds: float,
        limits: Limits,
        *,
        compiler: str,
        audio: Mapping[str, np.ndarray] | None,
        cache: str | Path | None,
    ) -> None:
        """Write the C99 of a model.

        Args:
            model: ONNX file
            window_seconds: seconds of audio in one execution
            limits: given limits
            compiler: see :func:`wav2small.firmware_bench.run.toolchain.build`
            audio: further signals by name, int16 at the sampling rate
            cache: folder for programs, None for one of the user's

        Raises:
            ExportError: if the model has no C99
            BenchError: if the baseline cannot be compared with

        """
        self._limits, self._compiler, self._cache = limits, compiler, cache
        self._folder = tempfile.TemporaryDirectory()
        self.code = prepare_code(model, self._folder.name, audio, window_seconds)
        counted = self.code.counted.samples.astype("<i2").tobytes()
        self.counted_digest = hashlib.sha256(counted).hexdigest()
        self._baseline = (
            load_baseline(limits.baseline, self.counted_digest)
            if limits.baseline
            else None
        )
        self.measured: dict[str, Measurement] = {}
        """What was measured, by name of the core."""
        self.not_emulated: dict[str, str] = {}
        """Why a target's core was not emulated, by name of the target."""

    def check(self, planned: BudgetReport) -> BudgetReport:
        """Run the C99 on a target's core and hold it against the limits.

        Args:
            planned: checks of the plan for this target,
                which are kept if its core cannot be emulated

        Raises:
            BenchError: if the C99 cannot be built or run

        """
        target = planned.target
        assert target is not None
        problem = why_not_emulated(target.core)
        if problem:
            self.not_emulated[target.name] = problem
            checks = (*planned.checks, *self._unchecked(problem))
            return dataclasses.replace(planned, checks=checks)
        if target.core not in self.measured:
            self.measured[target.core] = measure_firmware(
                self.code, target.core, compiler=self._compiler, cache=self._cache
            )
        measured = self.measured[target.core]
        ram, flash = target.ram_bytes, target.flash_bytes
        overflow = find_overflow(
            self.code,
            measured,
            self._compiler,
            ram=self._limits.ram or (ram.value if ram else None),
            flash=self._limits.flash or (flash.value if flash else None),
            cache=self._cache,
        )
        baseline = self._baseline
        return check_firmware(
            measured,
            overflow,
            target,
            limits=self._limits,
            baseline=None if baseline is None else baseline.get(target.core, {}),
            flash_waits=self._flash_waits(target),
        )

    def _flash_waits(self, target: Target) -> FlashWaits | None:
        """Waits for a target's flash memory on the signal that was counted."""
        if target.flash_reads is None:
            return None
        code = self.code
        firmware = build(
            code.folder, target.core, compiler=self._compiler, cache=self._cache
        )
        counted = code.counted
        return measure_flash_waits(
            firmware, counted.samples, counted.push_samples, target.flash_reads
        )

    def _unchecked(self, problem: str) -> list[Check]:
        """Checks that were asked for and need an emulator."""
        names = [name for name, limit in self._limits.instructions.items() if limit]
        if self._baseline is not None:
            names += [f"growth of {name}" for name in FIGURES]
        return [unchecked(name, problem) for name in names]
