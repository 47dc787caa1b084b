"""How far one model's scores are from another's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from onnx import ModelProto

from ..base.errors import ExportError
from ..base.metrics import concordance_cc
from ..model import topology
from ..quantise.calibrate import checked_signals, run_over

EXECUTIONS: tuple[Literal["default", "exact"], ...] = ("default", "exact")
"""``default`` is what a user of onnxruntime gets,
``exact`` runs each operator as it is written."""

Reference = Callable[[np.ndarray], Any] | ModelProto | bytes | str | Path
"""Callable from ``(samples,)`` to ``(3,)``, or an ONNX model."""


@dataclass(frozen=True)
class ExecutionParity:
    """Agreement of the candidate under one way of execution."""

    max_error: float
    """Largest absolute difference of a score."""

    mean_error: float
    """Mean absolute difference of the scores."""

    concordance_cc: tuple[float, ...]
    """Concordance correlation per score, over the signals;
    NaN if it is not defined (one signal, or constant scores)."""


@dataclass(frozen=True)
class ParityReport:
    """Agreement of a candidate with a reference."""

    signals: int
    """Number of signals."""

    executions: dict[str, ExecutionParity]
    """Agreement under each of :data:`EXECUTIONS`."""

    parting: float
    """Largest absolute difference of a score between the executions.
    A large one means that the processor changes the scores."""

    max_error: float
    """Largest ``max_error`` and ``parting`` that passes."""

    min_concordance_cc: float | None
    """Smallest concordance that passes, None if any does."""

    @property
    def passed(self) -> bool:
        """Whether every figure keeps its limit; a NaN keeps none."""
        return self.parting <= self.max_error and all(
            entry.max_error <= self.max_error
            and (
                self.min_concordance_cc is None
                or all(cc >= self.min_concordance_cc for cc in entry.concordance_cc)
            )
            for entry in self.executions.values()
        )

    @property
    def least_concordance_cc(self) -> float:
        """Smallest concordance of all; NaN if one is not defined."""
        return float(
            np.min([entry.concordance_cc for entry in self.executions.values()])
        )

    def to_dict(self) -> dict[str, Any]:
        """All figures in JSON types; NaN and Inf become None."""

        def plain(value: float) -> float | None:
            return float(value) if math.isfinite(value) else None

        return {
            "signals": self.signals,
            "executions": {
                name: {
                    "max_error": plain(entry.max_error),
                    "mean_error": plain(entry.mean_error),
                    "concordance_cc": [plain(cc) for cc in entry.concordance_cc],
                }
                for name, entry in self.executions.items()
            },
            "parting": plain(self.parting),
            "limits": {
                "max_error": self.max_error,
                "concordance_cc": self.min_concordance_cc,
            },
            "passed": self.passed,
        }


def scores(
    model: ModelProto | bytes | str | Path,
    signals: Iterable[np.ndarray],
    execution: Literal["default", "exact"] = "default",
) -> np.ndarray:
    """Run a model over signals, one at a time and on one thread.

    Args:
        model: ONNX model with input ``(1, time)`` and first output ``(1, scores)``
        signals: signals, each of shape ``(samples,)``
        execution: one of :data:`EXECUTIONS`

    Returns:
        scores of shape ``(signals, scores)``, float32

    Raises:
        ExportError: if the model has external data or does not run,
            or a signal cannot be used

    """
    runs = run_over(topology.load(model), signals, execution)
    return np.stack([np.asarray(rows[0]).reshape(-1) for _, rows in runs])


def compare(
    reference: Reference,
    candidate: ModelProto | bytes | str | Path,
    signals: Sequence[np.ndarray],
    *,
    max_error: float = 0.05,
    min_concordance_cc: float | None = 0.99,
) -> ParityReport:
    """Compare a model with what it was made from, on signals.

    Args:
        reference: callable from a signal ``(samples,)`` to its scores,
            or an ONNX model, which runs under default execution
        candidate: ONNX model, which runs under each of :data:`EXECUTIONS`
        signals: signals, each of shape ``(samples,)``
        max_error: limit of the absolute difference
        min_concordance_cc: limit of the concordance of each score,
            None for no limit

    Returns:
        report; a disagreement is a result, not an error

    Raises:
        ExportError: if a model or signal cannot be used
            or the numbers of scores differ

    """
    truth = _truth(reference, signals)
    runs = {name: scores(candidate, signals, name) for name in EXECUTIONS}
    executions: dict[str, ExecutionParity] = {}
    for name, prediction in runs.items():
        if prediction.shape != truth.shape:
            raise ExportError(
                f"candidate must give {truth.shape[1]} scores per signal, got "
                f"{prediction.shape[1]}: compare models of the same scores"
            )
        error = np.abs(prediction.astype(np.float64) - truth)
        executions[name] = ExecutionParity(
            max_error=float(error.max()),
            mean_error=float(error.mean()),
            concordance_cc=tuple(
                concordance_cc(*series)
                for series in zip(truth.T, prediction.T, strict=True)
            ),
        )
    parting = np.abs(runs["default"].astype(np.float64) - runs["exact"]).max()
    return ParityReport(
        signals=len(truth),
        executions=executions,
        parting=float(parting),
        max_error=max_error,
        min_concordance_cc=min_concordance_cc,
    )


def _truth(reference: Reference, signals: Sequence[np.ndarray]) -> np.ndarray:
    """Scores that are compared with, ``(signals, scores)``."""
    if isinstance(reference, ModelProto | bytes | str | Path):
        return scores(reference, signals)
    heard = checked_signals(signals)
    return np.stack([np.asarray(reference(entry)).reshape(-1) for entry in heard])
