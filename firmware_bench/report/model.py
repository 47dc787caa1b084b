"""The report as data: what ``report.json`` holds.

``report.schema.json`` is generated from these classes,
see :mod:`wav2small.firmware_bench.report.schema`.
Sizes are bytes, times are seconds, counts are instructions; no number is below 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from wav2small.export.c99 import Memory

from ..checks import Check
from ..energy import Energy
from ..plan.firmware import StageWork
from ..run.duty import DutyCycle
from ..run.emulation import Slice
from ..run.host import HostMeasurement
from ..target import Target

Positive: TypeAlias = Annotated[int, ("minimum", 1)]
Seconds: TypeAlias = Annotated[float, ("exclusiveMinimum", 0)]
Digest: TypeAlias = Annotated[str, ("pattern", "^[0-9a-f]{64}$")]
Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class ReportedTensor:
    """Name, shape and size of a tensor."""

    name: str
    shape: Sequence[int]
    dtype: str
    bytes: int


@dataclass(frozen=True)
class ReportedModel:
    """The file that was checked."""

    file: str
    sha256: Digest
    file_bytes: int
    input: ReportedTensor
    outputs: Sequence[ReportedTensor]
    metadata: Mapping[str, str]
    onnx: str


@dataclass(frozen=True)
class ReportedWindow:
    """Audio of one execution."""

    seconds: Seconds
    sampling_rate: Positive


@dataclass(frozen=True)
class PlannedCore:
    """What the C99 will take on a core that has prices."""

    core: str
    ram_bytes: int
    stack_bytes: int
    flash_bytes: int
    instructions_per_second: float
    cycles_per_second: Interval
    energy: Sequence[Energy]


@dataclass(frozen=True)
class PlannedCode:
    """What the C99 will take."""

    state_bytes: int
    state: Memory
    held_bytes: int
    held_bytes_per_second: int
    constant_bytes: int
    macs_per_second: float
    look_ahead_seconds: float
    stages: Sequence[StageWork]
    cores: Sequence[PlannedCore]


@dataclass(frozen=True)
class ReportedCode:
    """Plan of the C99, or the reason why there is none."""

    reason: str | None
    plan: PlannedCode | None


@dataclass(frozen=True)
class PlacedBlock:
    """A tensor in the arena, from the first step that needs it to the last."""

    name: str
    offset: int
    bytes: int
    first_step: int
    last_step: int
    dtype: str
    shape: Sequence[Positive]


@dataclass(frozen=True)
class ReportedArena:
    """Memory of an execution of the whole window, one operation after the other."""

    schedule: Literal["whole window"]
    bytes: int
    lower_bound_bytes: int
    gap_bytes: int
    alignment: Positive
    verified: Literal[True]
    blocks: Sequence[PlacedBlock]


@dataclass(frozen=True)
class StoredBytes:
    """Flash memory of constants and graph, without code."""

    stored_bytes: int
    generated_bytes: int
    structure_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class ReportedCompute:
    """Multiply-accumulates of one window."""

    macs: int
    integer_macs: int
    float_macs: int
    macs_per_second: float
    uncounted: Sequence[str]
    transforms: Sequence[str]


@dataclass(frozen=True)
class ExecutedStep:
    """One operation of the whole window."""

    index: int
    name: str
    operators: Annotated[Sequence[str], ("minItems", 1)]
    arithmetic: Literal["integer", "float"]
    outputs: Sequence[ReportedTensor]
    macs: int | None
    weight_bytes: int
    live_bytes: int


@dataclass(frozen=True)
class ReportedHost(HostMeasurement):
    """Speed and memory on this machine."""

    threads: Literal[1]
    realtime_factor: float


@dataclass(frozen=True)
class CountedSignal:
    """Signal on which instructions are counted."""

    name: str
    samples: Positive
    sha256: Digest


@dataclass(frozen=True)
class ComparedSignal:
    """Signal whose result is compared with the reference's."""

    name: str
    samples: Positive
    push_samples: Positive
    differing_bits: int


@dataclass(frozen=True)
class ReportedFigures:
    """What a later report is compared with."""

    instructions: float
    push: int
    slice: int
    result: int
    latest: int
    ram: int
    flash: int


@dataclass(frozen=True)
class ReportedLayer:
    """Instructions of a layer."""

    name: str
    instructions_per_second: float


@dataclass(frozen=True)
class EmulatedCore:
    """What was measured on an emulated core."""

    core: str
    compiler: str
    flags: Sequence[str]
    differing_bits: int
    golden_vectors: Literal["agree", "differ"]
    signals: Sequence[ComparedSignal]
    state_bytes: int
    stack_bytes: int
    held_bytes: int
    text_bytes: int
    constant_bytes: int
    data_bytes: int
    bss_bytes: int
    figures: ReportedFigures
    mean_push: float
    slices: Sequence[Slice]
    duty: DutyCycle | None
    begin: int
    classes: Mapping[str, int]
    layers: Sequence[ReportedLayer]
    functions: Mapping[str, int]
    cycles_per_second: Interval
    worst_push_cycles: Interval
    result_cycles: Interval
    cycles_source: str
    energy: Sequence[Energy]


@dataclass(frozen=True)
class PlannedTarget:
    """A target whose core was not emulated, and why."""

    target: str
    reason: str


@dataclass(frozen=True)
class ReportedFirmware:
    """What was measured on emulated cores."""

    counted_signal: CountedSignal
    signals_left_out: Sequence[str]
    hop_seconds: Seconds
    cores: Sequence[EmulatedCore]
    planned: Sequence[PlannedTarget]
    not_measured: Sequence[str]


@dataclass(frozen=True)
class CheckedTarget(Target):
    """A target with the estimate of its speed."""

    realtime_factor_estimate: Interval | None = None
    estimate_source: str | None = None


@dataclass(frozen=True)
class ReportedFlash:
    """Cycles per second of audio from a target's flash memory, waits included."""

    cycles_with_caches: Interval
    cycles_without_caches: Interval
    source: str
    verified: bool


@dataclass(frozen=True)
class ReportedBudget:
    """All checks for one target, or for limits alone."""

    target: CheckedTarget | None
    basis: Literal["emulated", "planned", "arena"]
    realtime_factor_derived: Interval | None
    flash: ReportedFlash | None
    fits: bool | None
    checks: Sequence[Check]


@dataclass(frozen=True)
class FirmwareReport:
    """Report of a firmware bench.

    ``fits`` is false if a check failed,
    and null if none failed and one that was asked for could not be made.
    """

    schema_version: Literal[4]
    model: ReportedModel
    window: ReportedWindow
    c99: ReportedCode
    arena: ReportedArena
    flash: StoredBytes
    compute: ReportedCompute
    steps: Sequence[ExecutedStep]
    host: ReportedHost | None
    firmware: ReportedFirmware | None
    budgets: Sequence[ReportedBudget]
    fits: bool | None
    not_counted: Sequence[str]
