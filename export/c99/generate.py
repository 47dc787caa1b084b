"""Write the C99 package of a model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from ..base.errors import ExportError
from ..base.files import replace_file
from ..integer.graph import IntegerGraph
from ..integer.reader import read
from ..integer.streaming.schedule import Schedule, schedule
from .arrangement import Arrangement, Memory
from .dead import without_dead_channels
from .decide import decision_files
from .golden import golden_vectors
from .header import project_version, template, write_header
from .lowering import Step
from .packages import arranged
from .program import lower
from .resample import resample_files
from .source import write_source
from .tables import definitions, front_tables, known_conditions, model_tables
from .text import renamed
from .weights import blob


def generate(
    model: IntegerGraph | ModelProto | bytes | str | Path,
    folder: str | Path,
    prefix: str = "wav2small",
    input_rate: int | None = None,
    package: str | None = None,
) -> Memory:
    """Write C99 that computes a model piece by piece in constant memory.

    It gives the integers of :class:`wav2small.export.integer.reference.ReferenceModel`
    however the signal is cut into pieces.
    A model that normalises each signal is initialised with the level of all of it,
    which has to be measured before.

    Args:
        model: exported int8 model
        folder: folder to write to; files of the same names are replaced
        prefix: what names of files, functions and types begin with,
            so that several models fit one firmware
        input_rate: sampling rate of what the device hears, in Hz, for which a
            resampler is written beside the model; None for the model's own
        package: build system whose package the folder becomes, one of
            :data:`wav2small.export.c99.packages.KINDS`; None for C side by side

    Returns:
        memory that the model needs

    Raises:
        ExportError: if the model does not stream, an operator has no C code,
            the prefix is no name in C, or there is no such package
        InputError: if there is no resampler for the rate
        OSError: if the folder cannot be written to

    """
    if not re.fullmatch("[a-z][a-z0-9_]*", prefix):
        raise ExportError(
            f"prefix must be lower-case letters, digits and '_', got '{prefix}': "
            "give another one"
        )
    graph, plan, placed = _prepare(model)
    files = _texts(graph, plan, placed, input_rate)
    contents = {
        renamed(name, prefix): renamed(text, prefix).encode()
        for name, text in files.items()
    }
    contents[f"{prefix}_model.bin"] = blob(graph, placed)
    if package:
        about = {entry.key: entry.value for entry in graph.model.metadata_props}
        about["sha256"] = graph.digest
        contents = arranged(package, contents, prefix, project_version(), about)
    for name, data in contents.items():
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data)
    return placed.memory


def _texts(
    graph: IntegerGraph, plan: Schedule, placed: Arrangement, input_rate: int | None
) -> dict[str, str]:
    """Text of each file by its name, both with the usual prefix."""
    steps = (*(stage.step for stage in placed.stages), *placed.program.head)
    return {
        "wav2small.h": write_header(graph, plan, placed),
        "wav2small.c": write_source(steps, known_conditions(placed)),
        "wav2small_config.h": _joined(definitions(placed)),
        "wav2small_model.h": _joined(model_tables(placed, graph.sampling_rate)),
        "wav2small_golden.h": _joined(golden_vectors(graph, plan)),
        "wav2small_selftest.c": template("wav2small_selftest.c"),
        "main.c": template("main_level.c" if placed.normalised else "main.c"),
        "Makefile": template("Makefile"),
        "CMakeLists.txt": template("CMakeLists.txt"),
        **decision_files(graph, placed.program.output.count),
        **(resample_files(input_rate, graph.sampling_rate) if input_rate else {}),
    }


@dataclass(frozen=True, eq=False)
class Outline:
    """What the C code of a model will hold, without writing it."""

    memory: Memory
    """Memory that it needs."""

    plan: Schedule
    """Stages of the model, of which those of the C code are made."""

    steps: tuple[Step, ...]
    """Stages of the C code in the order of execution, kept rows included."""

    voice: tuple[Step, ...]
    """Those of them that run only where a stream listens to speech alone."""

    head: tuple[Step, ...]
    """What is computed once for each result."""

    tables_bytes: int
    """Tables of numbers in flash memory: weights and what the front end needs."""

    structs: Mapping[str, int]
    """Structs in flash memory beside the tables, how many of each type."""


def outline(model: IntegerGraph | ModelProto | bytes | str | Path) -> Outline:
    """Say what :func:`generate` would write, and write nothing.

    Raises:
        ExportError: if the model does not stream or an operator has no C code

    """
    _, plan, placed = _prepare(model)
    steps = tuple(stage.step for stage in placed.stages)
    head = placed.program.head
    layers = (*placed.program.steps, *placed.program.voice, *head)
    shared = {name: array for step in layers for name, array in step.shared.items()}
    tables = [*front_tables(placed.front).values(), *shared.values()]
    tables += [table for step in layers for table in step.tables.values()]
    return Outline(
        memory=placed.memory,
        plan=plan,
        steps=steps,
        voice=tuple(stage.step for stage in placed.voice),
        head=head,
        tables_bytes=sum(table.nbytes for table in tables),
        structs=Counter(
            [
                *(step.kernel for step in layers if step.numbers),
                *(["line"] * len(placed.rows)),
                *(["stage"] * (len(steps) + len(head))),
            ]
        ),
    )


def _prepare(
    model: IntegerGraph | ModelProto | bytes | str | Path,
) -> tuple[IntegerGraph, Schedule, Arrangement]:
    """Model, its schedule without dead channels, and where all of it lies."""
    graph = model if isinstance(model, IntegerGraph) else read(model)
    plan = schedule(without_dead_channels(graph))
    front = plan.front.constants
    if front.power_floor is not None and (
        any(front.padding) or front.power_floor >= 2**32
    ):
        raise ExportError(
            "model that normalises each signal must have no border of zeros and a "
            f"floor below 2 ** -6 for C code, got {front.padding} zeros and "
            f"{front.power_floor / 2**38:.3g}: choose a student that streams, like "
            "wav2small-rt"
        )
    return graph, plan, Arrangement(lower(plan), plan)


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
