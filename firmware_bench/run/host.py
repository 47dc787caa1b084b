"""How fast and how large a model is in onnxruntime on this machine."""

from __future__ import annotations

import platform
import statistics
from dataclasses import dataclass
from pathlib import Path

from wav2small.export.base import isolated
from wav2small.export.base.errors import BenchError

from ..plan.onnx_graph import Graph

RUNS = 30
"""Timed runs of which the median is taken."""


@dataclass(frozen=True)
class HostMeasurement:
    """A measurement on one thread, in a process of its own."""

    machine: str
    """Processor and system."""

    onnxruntime: str
    """Version of onnxruntime."""

    runs: int
    """Timed runs."""

    median_seconds: float
    """Median time of a run."""

    min_seconds: float
    """Time of the fastest run."""

    memory_bytes: int | None
    """Growth of the peak resident memory
    by opening the model and running it, weights included;
    None on a system that does not tell."""


def measure_host(graph: Graph, runs: int = RUNS) -> HostMeasurement:
    """Run a model on this machine.

    Args:
        graph: model with its window
        runs: timed runs

    Raises:
        BenchError: if onnxruntime refuses the model

    """
    result = isolated.run(
        graph.model.SerializeToString(),
        graph.tensors[graph.input].shape,
        runs=runs,
        error=BenchError,
    )
    return HostMeasurement(
        machine=describe_machine(),
        onnxruntime=result["onnxruntime"],
        runs=len(result["seconds"]),
        median_seconds=statistics.median(result["seconds"]),
        min_seconds=min(result["seconds"]),
        memory_bytes=result["memory_bytes"],
    )


def describe_machine() -> str:
    """Name this machine: processor and system."""
    processor = platform.processor()
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return f"{processor or platform.machine()}, {platform.system()}"
