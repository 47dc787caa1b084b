"""An earlier report, whose figures may not grow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from wav2small.export.base.errors import BenchError, one_line
from wav2small.export.base.reading import read_json

from ..run.measurement import FIGURES


def load_baseline(path: str | Path, signal: str) -> dict[str, dict[str, float]]:
    """Read the figures of an earlier report of emulated cores.

    Args:
        path: report as JSON
        signal: digest of the signal on which instructions are counted now

    Returns:
        figures by core, see :data:`wav2small.firmware_bench.run.measurement.FIGURES`

    Raises:
        BenchError: if it is no such report, a figure is no finite number above 0
            or its instructions were counted on another signal

    """
    name = Path(path).name
    report = _read(path)
    firmware = report.get("firmware") if isinstance(report, dict) else None
    try:
        assert isinstance(firmware, dict)
        counted_on = firmware["counted_signal"]["sha256"]
        figures = {
            core["core"]: _figures(core["figures"]) for core in firmware["cores"]
        }
    except ValueError as error:
        raise BenchError(
            f"baseline '{name}' must hold finite figures above 0, got {error}: "
            "make it with --emulate --json"
        ) from error
    except (AssertionError, KeyError, TypeError) as error:
        raise BenchError(
            f"baseline '{name}' must hold figures of emulated cores, got none: "
            "make it with --emulate --json"
        ) from error
    if counted_on != signal:
        raise BenchError(
            f"baseline '{name}' must be counted on the same signal, got another one: "
            "make it again"
        )
    return figures


def load_program_baseline(path: str | Path) -> dict[str, dict[str, float]]:
    """Read the figures of an earlier report of a program.

    Args:
        path: report as JSON

    Returns:
        figures by core and name

    Raises:
        BenchError: if it is no such report or a figure is no finite number from 0

    """
    report = _read(path)
    try:
        return {
            core["core"]: {
                str(name): _finite(value) for name, value in core["figures"].items()
            }
            for core in report["cores"]
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BenchError(
            f"baseline '{Path(path).name}' must hold finite figures of a program's "
            "cores, got none: make it with --json of the same program"
        ) from error


def _finite(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError
    return float(value)


def _read(path: str | Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise BenchError(
            f"baseline '{Path(path).name}' must be a report as JSON, got "
            f"{one_line(error)}: make one with --json"
        ) from error


def _figures(entry: Any) -> dict[str, float]:
    values = {name: entry[name] for name in FIGURES}
    for name, value in values.items():
        if type(value) not in (int, float):
            raise TypeError
        if not 0 < value < math.inf:
            raise ValueError(f"{name} of {value}")
    return values
