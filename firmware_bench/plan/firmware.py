"""What the C99 of a model will take on a core, without a compiler.

The state is known to the byte, and so are the tables in flash memory.
The rest is a table of prices, ``prices.json``:
the code of each kind of stage, the stack,
and the instructions and cycles that a row of each kind of stage takes,
by what it has to do (outputs, products, numbers to gather).
``examples/fit_prices.py`` measures students of many shapes on emulated cores
and fits the prices to what they take.

Prices are those of clang at ``-O2``, of the signal that the bench counts on.

Multiply-accumulates are counted as in :mod:`wav2small.firmware_bench.plan.cost`;
those of the front end are the multiplications of its Fourier transform and mel sums,
see :func:`wav2small.export.integer.front_end.constants.count_multiplications`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from onnx import ModelProto

from wav2small.export.c99 import Memory, outline
from wav2small.export.c99.lowering import Step
from wav2small.export.integer.front_end.constants import FrontEnd
from wav2small.export.integer.graph import IntegerGraph

SAMPLE_BYTES = 2
"""Bytes of a sample that is handed to the C99."""


@dataclass(frozen=True)
class StageWork:
    """Work of one stage of the stream."""

    name: str
    """Kind of the operator, and its number among those of this kind."""

    kind: Annotated[str, ("enum", ("front end", "window", "row", "pool"))]
    """``front end``, ``window``, ``row`` or ``pool``."""

    rows_per_second: float
    """Rows that it makes, or adds up, per second of audio."""

    macs_per_second: float
    """Multiply-accumulates per second of audio."""


@dataclass(frozen=True)
class CorePlan:
    """What the C99 of a model will take on one core."""

    stack_bytes: int
    """Stack of the model's functions."""

    flash_bytes: int
    """Code, tables and structs."""

    instructions_per_second: float
    """Instructions per second of audio."""

    cycles_per_second: tuple[float, float]
    """Cycles per second of audio, from and to."""


@dataclass(frozen=True)
class FirmwarePlan:
    """What the C99 of a model will take."""

    memory: Memory
    """State of the C99, to the byte."""

    tables_bytes: int
    """Tables of numbers in flash memory."""

    structs: Mapping[str, int]
    """Structs in flash memory, how many of each type."""

    parts: frozenset[str]
    """Kinds of stages and of kernels that the code holds."""

    work: Mapping[str, float]
    """Amount per second of audio of each kind of work that has a price."""

    held_bytes_per_second: int
    """Bytes per second of window of the samples that the caller holds, 0 for a stream.
    A model that normalises each signal reads it twice: first for its level."""

    stages: tuple[StageWork, ...]
    """Stages in the order of execution."""

    look_ahead_seconds: float
    """From the middle of a frame to the last sample that its row in the pooling needs;
    a result does not wait for it."""

    @property
    def macs_per_second(self) -> float:
        """Multiply-accumulates of all stages per second of audio."""
        return sum(stage.macs_per_second for stage in self.stages)

    def held_bytes(self, window_seconds: float) -> int:
        """Bytes of samples that the caller holds for a window."""
        return math.ceil(self.held_bytes_per_second * window_seconds)

    def on(self, core: str) -> CorePlan | None:
        """What the C99 will take on a core, None if the core has no prices."""
        prices = PRICES["cores"].get(core)
        if prices is None:
            return None
        instructions, low, high = (
            sum(
                amount * prices["work"].get(name, (0, 0, 0))[i]
                for name, amount in self.work.items()
            )
            for i in range(3)
        )
        code = sum(prices["code"].get(part, 0) for part in ("always", *self.parts))
        return CorePlan(
            stack_bytes=prices["stack_bytes"],
            flash_bytes=round(code) + self.constant_bytes,
            instructions_per_second=instructions,
            cycles_per_second=(low, high),
        )

    @property
    def constant_bytes(self) -> int:
        """Tables and structs in flash memory.

        A struct that exists only once has no size: compilers turn it into code.
        """
        sizes = PRICES["structs"]
        return self.tables_bytes + sum(
            sizes.get(name, 0) * count for name, count in self.structs.items()
        )

    @property
    def max_flash_bytes(self) -> int:
        """Flash memory on the core that takes the most of it."""
        planned = (self.on(core) for core in PRICES["cores"])
        return max((entry.flash_bytes for entry in planned if entry), default=0)

    @property
    def max_stack_bytes(self) -> int:
        """Stack on the core that takes the most of it, for cores without prices."""
        return max(prices["stack_bytes"] for prices in PRICES["cores"].values())


def plan_firmware(
    model: IntegerGraph | ModelProto | bytes | str | Path, sampling_rate: int = 16000
) -> FirmwarePlan:
    """Plan the C99 of a model.

    Args:
        model: exported int8 model
        sampling_rate: of the audio, in Hz

    Raises:
        ExportError: if there can be no C99 of the model

    """
    code = outline(model)
    front = code.plan.front.constants
    frames = sampling_rate / front.hop_length
    work: dict[str, float] = {"push": frames}
    for step in code.steps:
        if step in code.voice:
            continue
        for name, amount in amounts(step, front).items():
            work[name] = work.get(name, 0) + amount * frames / step.pace.period
    delay = max(pool.pace.delay for pool in code.plan.pools)
    return FirmwarePlan(
        memory=code.memory,
        tables_bytes=code.tables_bytes,
        structs=dict(code.structs),
        parts=frozenset(
            part for step in (*code.steps, *code.head) for part in _parts(step, front)
        ),
        work=work,
        held_bytes_per_second=(
            0 if front.power_floor is None else SAMPLE_BYTES * sampling_rate
        ),
        stages=tuple(
            StageWork(
                name=stage.name,
                kind=stage.kind,
                rows_per_second=frames / stage.pace.period,
                macs_per_second=stage.macs * frames / stage.pace.period,
            )
            for stage in (code.plan.front, *code.plan.stages, *code.plan.pools)
        ),
        look_ahead_seconds=(delay * front.hop_length + front.window_length / 2)
        / sampling_rate,
    )


def amounts(step: Step, front: FrontEnd) -> dict[str, float]:
    """Amount of each kind of work with a price that one row of a stage takes.

    Args:
        step: stage of the C99
        front: front end of the model

    """
    kind = step.kernel
    if kind == "front":
        length = front.length
        return {
            "front": 1,
            "front window": front.window_length,
            "front transform": length * math.log2(length),
            "front bands": len(front.mel),
            "front mel weights": int((front.mel != 0).sum()),
            "front past": int(front.past_frames is not None),
            "front normalised": front.window_length * (front.power_floor is not None),
        }
    if kind == "keep":
        return {"keep": 1, "keep bytes": step.output.bytes}
    numbers: Mapping[str, Any] = step.numbers
    if kind == "dense":
        return _dense(numbers, "nibbles" in step.tables)
    made = {kind: 1, f"{kind} numbers": numbers.get("numbers", step.output.count)}
    if kind == "filter":
        made["filter products"] = step.output.count * step.taps * numbers["width"]
    if kind == "max_pool":
        made["max_pool taps"] = step.output.count * step.taps * numbers["width"]
    if kind == "mean":
        return made
    if kind == "sum":
        short = "short" if numbers.get("last") else "long"
        return {kind: 1, f"sum {short} numbers": step.output.count}
    return made


def _dense(numbers: Mapping[str, Any], narrow: bool) -> dict[str, float]:
    """Amounts of a row of a convolution or of a product with a matrix."""
    groups, outputs = numbers["groups"], numbers["outputs"]
    columns, length = numbers["columns_out"], numbers["length"]
    way = "column" if numbers["flat"] else "columns"
    weights = "half bytes" if narrow else "bytes"
    products = groups * outputs * columns * length
    single = groups * (outputs % 4) * columns * length
    made = {
        "dense": 1,
        "dense groups": groups,
        "dense gathered": groups * numbers["units"] * numbers["pitch"],
        "dense pieces": groups * numbers["units"] * numbers["taps"],
        f"dense {way} outputs {numbers['end.kind']}": groups * outputs * columns,
        f"dense {way} {weights} products": products,
        f"dense {way} products of single outputs": single,
    }
    if not numbers["flat"]:
        made[f"dense unpacked {weights}"] = groups * outputs * length
        if not numbers["twice"] and not numbers["twelves"]:
            made["dense columns products in odd lengths"] = products
    return made


def _parts(step: Step, front: FrontEnd) -> Iterator[str]:
    """Names of the parts of the code that a stage needs."""
    yield step.kernel
    if step.kernel == "front":
        if front.power_floor is not None:
            yield "front normalised"
        if front.past_frames is not None:
            yield "front past"
    if step.kernel == "dense":
        way = "column" if step.numbers["flat"] else "columns"
        weights = "half bytes" if "nibbles" in step.tables else "bytes"
        yield f"dense {way} {weights}"


def _read_prices() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("prices.json").read_text("utf-8")
    prices: dict[str, Any] = json.loads(text)
    return prices


PRICES = _read_prices()
"""Prices by core, and bytes of structs, as ``examples/fit_prices.py`` found them."""
