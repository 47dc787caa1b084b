"""Write the C99 package of a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from onnx import ModelProto

from ..base import escape
from ..base.errors import ExportError
from ..base.files import replace_file
from ..integer.front_end import CENTRED, FRACTION, LOG_TABLE, FrontEnd, log2, twiddles
from ..integer.graph import IntegerGraph, SoftmaxPool
from ..integer.reader import read
from ..integer.reference import EXP_TABLE, MOST_FRAMES, ReferenceModel
from ..integer.streaming import Pace, Schedule, schedule
from .dead import without_dead_channels
from .lower import Number, Program, Rows, Step, lower
from .memory import Span, aligned, place

MOST_SAMPLES = 2**28
"""Samples that a signal may have where pooling does not allow fewer."""

_TEMPLATES = Path(__file__).parent / "templates"
_FOREVER = 2**30
_POOLS = ("SOFTMAX_POOL", "MEAN_POOL")
_TYPES = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "int64": "int64_t",
}
_KINDS = (
    "KEEP",
    "DENSE",
    "FILTER",
    "MAXIMUM",
    "TABLE",
    "SUM",
    "PRODUCT",
    "RELU",
    "HARD_SWISH",
    "LINEAR",
    "MATRIX_PRODUCT",
    "CONCAT",
    "GATHER",
    *_POOLS,
)
_LEVEL = """
/* Level of a signal, whose scores do not depend on it. */
typedef struct {
    int32_t mean; /* in steps of 2^-11 */
    int32_t gain; /* logarithm to base 2 of the power, in steps of 2^-20 */
} wav2small_level;

/* Measure the level of a whole signal. */
wav2small_status wav2small_measure(const int16_t *samples, size_t count,
                                   wav2small_level *level);
"""
_LEVEL_BYTES = 8
_GOLDEN = (0, 1, 777, 8000, 20000)
"""Samples of the golden vectors, beyond the fewest that give a result."""


@dataclass(frozen=True)
class Memory:
    """Memory of a generated model, in bytes."""

    lines: int
    """Rows that are kept."""

    pools: int
    """Sums of the pooling."""

    front_end: int
    """Samples of a window, levels of the past or the signal's level, counts."""

    scratch: int
    """What is needed only while a function runs; part of the state's struct."""

    @property
    def state(self) -> int:
        """Size of the state's struct, where 64-bit numbers lie at multiples of 8."""
        kept = self.lines + self.pools + self.front_end
        return -(-kept // 8) * 8 + self.scratch


def generate(
    model: IntegerGraph | ModelProto | bytes | str | Path,
    folder: str | Path,
    prefix: str = "wav2small",
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

    Returns:
        memory that the model needs

    Raises:
        ExportError: if the model does not stream, an operator has no C code,
            or the prefix is no name in C
        OSError: if the folder cannot be written to

    """
    if not re.fullmatch("[a-z][a-z0-9_]*", prefix):
        raise ExportError(
            f"prefix must be lower-case letters, digits and '_', got '{prefix}': "
            "give another one"
        )
    writer = _prepare(model)
    files = {
        "wav2small.h": writer.header(),
        "wav2small.c": _template("wav2small.c"),
        "wav2small_config.h": writer.config(),
        "wav2small_model.h": writer.model(),
        "wav2small_golden.h": writer.golden(),
        "wav2small_selftest.c": _template("wav2small_selftest.c"),
        "main.c": _template("main_level.c" if writer.normalised else "main.c"),
        "Makefile": _template("Makefile"),
        "CMakeLists.txt": _template("CMakeLists.txt"),
    }
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        text = _renamed(text, prefix)
        replace_file(target / _renamed(name, prefix), text.encode())
    return writer.memory


def count_memory(model: IntegerGraph | ModelProto | bytes | str | Path) -> Memory:
    """Return what :func:`generate` would, and write nothing.

    Raises:
        ExportError: if the model does not stream or an operator has no C code

    """
    return _prepare(model).memory


def _prepare(model: IntegerGraph | ModelProto | bytes | str | Path) -> _Writer:
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
    return _Writer(graph, plan, lower(plan))


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text()


def _renamed(text: str, prefix: str) -> str:
    return text.replace("wav2small", prefix).replace("WAV2SMALL", prefix.upper())


@dataclass(frozen=True, eq=False)
class Placed:
    """A stage in its part."""

    step: Step
    """The stage."""

    part: int
    """Stages of a part go row by row together in a result."""


class _Writer:
    def __init__(self, graph: IntegerGraph, plan: Schedule, program: Program) -> None:
        self.graph, self.plan, self.program = graph, plan, program
        self.front: FrontEnd = plan.front.constants
        self.normalised = self.front.power_floor is not None
        self.stages = tuple(arrange(program.steps))
        self.layers: dict[int, int] = {}
        self.rows = _unique(
            rows
            for step in (*program.steps, *program.head)
            for rows in (step.output, *step.inputs)
        )
        self.index = {id(rows): i for i, rows in enumerate(self.rows)}
        after = self.front.padding[1]
        self.last_frames = -(-after // self.front.hop_length)
        bands = len(self.front.mel)
        past = self.front.past_frames
        # no power lies as far above 1 as the floor lies below it
        self.past_bytes = 4 if bands * abs(self.front.log_floor) < 2**31 else 8
        self.rings, lines = self._ring_places()
        pools = [step for step in program.steps if step.kind in _POOLS]
        self.sums = {id(step): 0 for step in pools}
        self.references = {id(step): 0 for step in pools}
        self.sum_count = self.reference_count = 0
        for step in pools:
            self.sums[id(step)] = self.sum_count
            self.references[id(step)] = self.reference_count
            softmax = step.kind == "SOFTMAX_POOL"
            self.sum_count += step.output.count * (2 if softmax else 1)
            self.reference_count += step.output.count * softmax
        self.push_places, push = place(self._push_spans())
        self.result_places, result = place(self._result_spans())
        self.memory = Memory(
            lines=aligned(lines),
            pools=8 * self.sum_count + 4 * self.reference_count,
            front_end=2 * self.front.window_length
            + (self.past_bytes * past + 8 if past else 0)
            + (_LEVEL_BYTES if self.normalised else 0)
            + 16,
            scratch=max(push, result),
        )
        for name in ("lines", "scratch"):
            size = getattr(self.memory, name)
            if size >= 2**16:
                raise ExportError(
                    f"{name} must have less than 64 KiB in C code, got {size} bytes: "
                    "choose a smaller student"
                )

    # -- memory ----------------------------------------------------------

    def _ring_places(self) -> tuple[dict[int, int], int]:
        """Where the rows of lines are kept, those of int32 first."""
        places, size = {}, 0
        for rows in sorted(self.rows, key=lambda rows: not rows.wide):
            if rows.keep:
                places[id(rows)] = size
                size += rows.keep * rows.bytes
        return places, size

    def _last_reader(self, rows: Rows) -> int:
        return max(
            (i for i, stage in enumerate(self.stages) if rows in stage.step.inputs),
            default=-1,
        )

    def _push_spans(self) -> Iterator[Span]:
        for i, stage in enumerate(self.stages):
            step = stage.step
            if step.kind in ("KEEP", *_POOLS):
                continue
            last = max(i, self._last_reader(step.output))
            yield Span(f"row {self._of(step.output)}", step.output.bytes, i, last)
            if step.work:
                yield Span(f"work {i}", step.work, i, i)

    def _result_spans(self) -> Iterator[Span]:
        stages, head = self.stages, self.program.head
        begin = {s.part: i for i, s in reversed(list(enumerate(stages)))}
        end = {s.part: i for i, s in enumerate(stages)}
        head_reads = {
            id(rows): len(stages) + i
            for i, step in enumerate(head)
            for rows in step.inputs
        }
        head_reads[id(self.program.output)] = _FOREVER
        if self.front.past_frames and self.last_frames:
            size = self.past_bytes * self.last_frames
            yield Span("ended", size, begin[0], end[0])
        for i, stage in enumerate(stages):
            step, part = stage.step, stage.part
            if step.kind == "KEEP":
                continue
            rows = step.output
            name = f"row {self._of(rows)}"
            if step.kind in _POOLS:
                yield Span(f"work {i}", step.work, begin[part], end[part])
                yield Span(name, rows.bytes, end[part], head_reads[id(rows)])
                continue
            if step.work:
                yield Span(f"work {i}", step.work, i, i)
            last = self._last_reader(rows)
            if self._whole(rows):
                size = _last_rows(rows.pace, self.last_frames) * rows.bytes
                yield Span(name, size, begin[part], end[stages[last].part])
            else:
                yield Span(name, rows.bytes, i, max(i, last))
        for i, step in enumerate(head, len(stages)):
            name = f"row {self._of(step.output)}"
            last = head_reads.get(id(step.output), i)
            yield Span(name, step.output.bytes, i, last)
            if step.work:
                yield Span(f"work {i}", step.work, i, i)

    def _whole(self, rows: Rows) -> bool:
        """Whether all last rows of a tensor are there at once in a result."""
        parts = [s.part for s in self.stages if s.step.output is rows]
        readers = [
            s.part
            for s in self.stages
            if rows in s.step.inputs and s.step.kind != "KEEP"
        ]
        return bool(parts) and (
            rows.keep > 0 or max(readers, default=parts[0]) > parts[0]
        )

    def _of(self, rows: Rows) -> int:
        return self.index[id(rows)]

    # -- files -----------------------------------------------------------

    def header(self) -> str:
        front = self.front
        output = self.graph.tensors[self.graph.output]
        metadata = {entry.key: entry.value for entry in self.graph.model.metadata_props}
        state = "    wav2small_level level;\n" if self.normalised else ""
        if front.past_frames:
            state += "    int64_t past_total;\n"
        state += f"    int64_t sums[{max(1, self.sum_count)}];\n"
        if self.reference_count:
            state += f"    int32_t references[{self.reference_count}];\n"
        if front.past_frames:
            state += f"    int{8 * self.past_bytes}_t past[{front.past_frames}];\n"
        values = {
            "licence": escape.c_comment(metadata.get("licence", "unknown")),
            "use": escape.c_comment(metadata.get("use", "as it says")),
            "sampling_rate": _sampling_rate(metadata),
            "labels": escape.c_comment(
                metadata.get("labels", "arousal, dominance, valence")
            ),
            "scores": self.program.output.count,
            "hop_length": front.hop_length,
            "min_samples": min_samples(self.plan),
            "max_samples": max_samples(self.plan),
            "step": f"{np.float32(output.scale):.9e}f",
            "zero_point": output.zero_point,
            "state": state,
            "example_level": ", &level" if self.normalised else "",
            "level_type": _LEVEL if self.normalised else "",
            "level_argument": (
                ",\n                                const wav2small_level *level"
                if self.normalised
                else ""
            ),
            "level_note": " of the same level" if self.normalised else "",
            "window_length": front.window_length,
            "line_words": max(1, self.memory.lines // 4),
            "scratch_longs": self.memory.scratch // 8,
        }
        return Template(_template("wav2small.h")).substitute(values)

    def config(self) -> str:
        return "\n".join(self._definitions()) + "\n"

    def model(self) -> str:
        return "\n".join(self._model()) + "\n"

    def _model(self) -> Iterator[str]:
        yield "/* Tables of one model, for wav2small.c alone. */"
        yield from self._front_tables()
        yield from self._layers()
        yield ""
        yield f"static const line_t lines[{len(self.rows)}] = {{"
        for rows in self.rows:
            yield f"    {self._line(rows)}, /* {escape.c_comment(rows.name)} */"
        yield "};"
        yield ""
        head = [Placed(step, 0) for step in self.program.head]
        stages = [*self.stages, *head]
        yield f"static const stage_t stages[{len(stages)}] = {{"
        for i, stage in enumerate(stages):
            comment = escape.c_comment(f"{stage.step.kind} of {stage.step.label}")
            yield f"    /* {comment} */"
            yield f"    {self._stage(i, stage.step, stage.part)},"
        yield "};"

    def _definitions(self) -> Iterator[str]:
        front = self.front
        steps = [stage.step for stage in self.stages] + list(self.program.head)
        used = {step.kind for step in steps}
        structs = [step.layer for step in steps if step.layer]
        shapes = [
            (layer.numbers["flat"], next(iter(layer.tables)))
            for layer in structs
            if layer.struct == "dense"
        ]
        past = front.past_frames or 0
        values: dict[str, object] = {
            f"USES_{kind}": int(kind in used) for kind in _KINDS
        }
        layered = bool(used & {"DENSE", "FILTER"})
        others = {"PRODUCT", "HARD_SWISH", "LINEAR", "MATRIX_PRODUCT", *_POOLS}
        values |= {
            "USES_BYTES": int(any(kind == "weight" for _, kind in shapes)),
            "USES_NIBBLES": int(any(kind == "nibbles" for _, kind in shapes)),
            "USES_COLUMNS": int(any(not flat for flat, _ in shapes)),
            "USES_COLUMN": int(any(flat for flat, _ in shapes)),
            "USES_RESCALE": int(layered or bool(used & others)),
            "USES_DIVIDE": int(bool(past) or bool(used & set(_POOLS))),
            "USES_SATURATE_SHORT": int(layered),
            "USES_FETCH": int(
                bool(used & {"SUM", "PRODUCT", "MATRIX_PRODUCT", "MEAN_POOL"})
            ),
            "USES_STORE": int(
                bool(
                    used
                    & {
                        "SUM",
                        "PRODUCT",
                        "HARD_SWISH",
                        "LINEAR",
                        "MATRIX_PRODUCT",
                        "MEAN_POOL",
                    }
                )
            ),
            "STAGES": len(self.stages),
            "HEAD_STAGES": len(self.program.head),
            "MOST_WINDOW": max(step.taps * _across(step) for step in steps),
            "MOST_TAPS": max(step.taps + len(step.inputs) for step in steps),
            "MOST_INPUTS": max(1, *(len(step.inputs) for step in steps)),
            "SUMS": self.sum_count,
            "SCORES_WIDE": int(self.program.output.wide),
            "SCORES_PLACE": self.result_places[f"row {self._of(self.program.output)}"],
            "WINDOW_LENGTH": front.window_length,
            "WINDOW_SYMMETRIC": int(_symmetric(front.window)),
            "HOP_LENGTH": front.hop_length,
            "PADDING_BEFORE": front.padding[0],
            "PADDING": sum(front.padding),
            "FOURIER_LENGTH": front.length,
            "FOURIER_TWO_ROOTS": f"({2 * round(2**31 * 0.5**0.5) - 2**32})",
            "FOURIER_UNUSED_BITS": 33 - front.length.bit_length(),
            "BANDS": len(front.mel),
            "MEL_WITHOUT_ENDS": int(not front.mel[:, [0, -1]].any()),
            "PAST_FRAMES": past,
            "ENDED_PLACE": self.result_places.get("ended", 0),
            "LOG_FLOOR": f"({front.log_floor})",
            "LEVEL_MULTIPLIER": f"({_integer(front.multiplier)})",
            "LEVEL_OFFSET": f"({_integer(front.offset + (1 << (front.shift - 1)))})",
            "LEVEL_SHIFT": front.shift,
            "NORMALISED": int(self.normalised),
            "POWER_FLOOR": f"{front.power_floor or 0}u",
        }
        yield "/* Numbers of one model, for wav2small.c alone. */"
        for name, value in values.items():
            yield f"#define {name} {value}"
        if past:
            yield ""
            yield f"typedef int{8 * self.past_bytes}_t past_t;"

    def _front_tables(self) -> Iterator[str]:
        front = self.front
        window = front.window
        if _symmetric(window):
            window = window[: len(window) // 2 + 1]
        yield from _table("window", window.astype(np.int32))
        if front.length > 8:
            yield from _table(
                "twiddles", twiddles(front.length).T.reshape(-1).astype(np.int32)
            )
        heard = [np.flatnonzero(band) for band in front.mel]
        first = [int(band[0]) if len(band) else 0 for band in heard]
        count = [
            int(band[-1]) - low + 1 if len(band) else 0
            for band, low in zip(heard, first, strict=True)
        ]
        weights = [
            band[low : low + size]
            for band, low, size in zip(front.mel, first, count, strict=True)
        ]
        weight = np.concatenate([*weights, np.zeros(1, np.int64)])
        yield from _table("mel_first", np.array(first, np.uint16))
        yield from _table("mel_count", np.array(count, np.uint16))
        yield from _table("mel_weight", weight.astype(np.uint16))
        yield from _table("log_offset", front.log_offset.astype(np.int32))
        yield from _table("log_table", LOG_TABLE.astype(np.int32))
        if self.reference_count:
            yield from _table("exp_table", (2**16 - EXP_TABLE).astype(np.uint16))

    def _layers(self) -> Iterator[str]:
        """Tables of all layers, and an array of each kind of struct."""
        arrays: dict[str, list[str]] = {}
        for step in (*self.program.steps, *self.program.head):
            if step.layer is None:
                continue
            struct = step.layer.struct
            array = arrays.setdefault(struct, [])
            self.layers[id(step)] = len(array)
            name = f"{struct}_{len(array)}"
            numbers: dict[str, Any] = dict(step.layer.numbers)
            if step.kind in _POOLS:
                numbers["sums"] = self.sums[id(step)]
                numbers["references"] = self.references[id(step)]
            if step.layer.tables:
                yield ""
                yield f"/* {escape.c_comment(step.label)} */"
            fields = []
            for member, table in step.layer.tables.items():
                title = f"{name}_{member.removeprefix('end.')}"
                if member in ("weight", "nibbles") and struct == "dense":
                    yield from _words(title, table)
                    title += ".bytes"
                else:
                    yield from _table(title, table)
                fields.append(f".{member} = {title}")
            fields += [f".{key} = {_number(value)}" for key, value in numbers.items()]
            array.append(f"    {{{', '.join(fields)}}},")
        for struct, entries in arrays.items():
            yield ""
            yield f"static const {struct}_t {struct}_layers[{len(entries)}] = {{"
            yield from entries
            yield "};"

    def _line(self, rows: Rows) -> str:
        key = f"row {self._of(rows)}"
        numbers = (
            rows.bytes,
            rows.keep,
            self.rings.get(id(rows), 0),
            self.push_places.get(key, 0),
            self.result_places[key],
            int(self._whole(rows)),
            rows.pace.period,
            rows.pace.delay,
            rows.pace.extra,
        )
        return "{" + ", ".join(map(str, numbers)) + "}"

    def _stage(self, i: int, step: Step, part: int) -> str:
        taps = 0 if step.kind == "FRONT" else step.taps
        inputs = [self._of(rows) for rows in step.inputs] or [0]
        numbers: dict[str, object] = {
            "kind": step.kind,
            "part": part,
            "taps": taps,
            "more": max(0, len(step.inputs) - 1),
            "dilation": step.dilation,
            "stride": step.stride,
            "top": step.top,
            "output": self._of(step.output),
            "push_work": self.push_places.get(f"work {i}", 0),
            "result_work": self.result_places.get(f"work {i}", 0),
            "period": step.pace.period,
            "delay": step.pace.delay,
            "extra": step.pace.extra,
            "input": "{" + ", ".join(map(str, inputs)) + "}",
            "layer": self.layers.get(id(step), 0),
        }
        fields = ", ".join(f".{name} = {value}" for name, value in numbers.items())
        return f"{{{fields}}}"

    def golden(self) -> str:
        return "\n".join(self._golden()) + "\n"

    def _golden(self) -> Iterator[str]:
        reference = ReferenceModel(self.graph)
        fewest = min_samples(self.plan)
        signal = golden_signal(fewest + max(_GOLDEN))
        yield "/* What the reference computes of the signal of the self-test. */"
        yield f"#define GOLDEN_VECTORS {len(_GOLDEN)}"
        yield ""
        yield "typedef struct {"
        yield "    uint32_t samples;"
        yield "    int32_t integers[WAV2SMALL_SCORES];"
        if self.normalised:
            yield "    wav2small_level level;"
        yield "} golden_t;"
        yield ""
        level = ", &(vector)->level" if self.normalised else ""
        yield f"#define GOLDEN_INIT(state, vector) wav2small_init(state{level})"
        yield ""
        yield "static const golden_t golden[GOLDEN_VECTORS] = {"
        for more in _GOLDEN:
            heard = signal[: fewest + more]
            scores = reference.run(heard)[self.graph.output].ravel().tolist()
            entry = f"{len(heard)}, {{{', '.join(map(str, scores))}}}"
            if self.normalised:
                entry += ", {{{}, {}}}".format(*level_of(self.front, heard))
            yield f"    {{{entry}}},"
        yield "};"


def _sampling_rate(metadata: Mapping[str, str]) -> int:
    """Return the rate that a model states, in Hz."""
    stated = metadata.get("sampling_rate", "16000")
    if not re.fullmatch("[1-9][0-9]{2,5}", stated):
        raise ExportError(
            "metadata entry 'sampling_rate' must be a whole number of Hz, got "
            f"'{escape.line(stated)[:40]}': export the model again"
        )
    return int(stated)


def level_of(front: FrontEnd, samples: np.ndarray) -> tuple[int, int]:
    """Mean in steps of ``2 ** -11`` and gain in steps of ``2 ** -20`` of a signal.

    Args:
        front: front end that normalises
        samples: whole signal ``(time,)``, int16

    """
    assert front.power_floor is not None
    count, total = len(samples), int(samples.astype(np.int64).sum())
    squares = int((samples.astype(np.int64) ** 2).sum())
    energy = ((count * squares - total**2) << 8) + front.power_floor * count**2
    mean = ((total << CENTRED + 1) + count) // (2 * count)
    return mean, log2(energy) - 2 * log2(count) - (38 << FRACTION)


def golden_signal(length: int) -> np.ndarray:
    """Signal of the self-test, int16: noise of changing level and a tone."""
    samples, noise = [], 1
    for n in range(length):
        noise = (noise * 1664525 + 1013904223) % 2**32
        value = (noise >> 16) - 32768
        bits = 2 + ((n >> 11) & 7)
        # C rounds a quotient towards zero
        value = value >> bits if value >= 0 else -(-value >> bits)
        samples.append(value + (700 if n // 40 % 2 == 0 else -700))
    return np.array(samples, np.int16)


def min_samples(plan: Schedule) -> int:
    """Fewest samples that give a result."""
    front = plan.front.constants
    frames = 1
    while not all(line.pace.length(frames) > 0 for line in plan.lines.values()):
        frames += 1
    needed = front.window_length + (frames - 1) * front.hop_length
    return max(1, needed - sum(front.padding))


def max_samples(plan: Schedule) -> int:
    """Most samples that a signal may have."""
    front = plan.front.constants
    most = MOST_SAMPLES
    for pool in plan.pools:
        if not isinstance(pool.operator, SoftmaxPool):
            continue
        pace = pool.pace
        frames = MOST_FRAMES * pace.period + pace.period - 1 - pace.extra
        samples = frames * front.hop_length + front.window_length - 1
        most = min(most, samples - sum(front.padding))
    return most


def arrange(steps: Sequence[Step]) -> Iterator[Placed]:
    """Stages with their parts, and those that keep a row behind its last reader."""
    part = 0
    for i, step in enumerate(steps):
        yield Placed(step, part)
        for rows in step.inputs:
            last = max(j for j, other in enumerate(steps) if rows in other.inputs)
            if rows.keep and last == i:
                keep = Step("KEEP", step.label, (rows,), rows, rows.pace)
                yield Placed(keep, part)
        if step.kind in _POOLS or step.output.keep:
            part += 1


def _across(step: Step) -> int:
    """Taps across of a filter."""
    filters = step.layer is not None and step.layer.struct == "filter"
    width = step.layer.numbers["width"] if step.layer and filters else 1
    assert isinstance(width, int)
    return width


def _last_rows(pace: Pace, frames: int) -> int:
    """Most rows that a signal's end adds, with so many frames of border."""
    return max(
        pace.length(heard + frames) - pace.rows(heard)
        for heard in range(pace.delay + 1, pace.delay + 1 + pace.period)
    )


def _unique(entries: Iterable[Rows]) -> list[Rows]:
    return list({id(rows): rows for rows in entries}.values())


def _symmetric(window: np.ndarray) -> bool:
    return len(window) % 2 == 0 and np.array_equal(window[1:], window[:0:-1])


def _integer(value: int) -> str:
    """Number of C of the type that fits."""
    return str(value) if -(2**31) < value < 2**31 else f"INT64_C({value})"


def _number(value: Number) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return _integer(value)
    return "{" + ", ".join(map(_integer, value)) + "}"


def _words(name: str, values: np.ndarray) -> Iterator[str]:
    """Table of bytes that are read four at a time."""
    kind = _TYPES[str(values.dtype)]
    yield "static const union {"
    yield f"    {kind} bytes[{len(values)}];"
    yield "    uint32_t aligned;"
    yield f"}} {name} = {{{{"
    macro = "FOUR_WEIGHTS" if kind == "int8_t" else "EIGHT_WEIGHTS"
    for row in range(0, len(values), 12):
        fours = values[row : row + 12].reshape(-1, 4).tolist()
        yield "    " + " ".join(
            f"{macro}({', '.join(map(str, four))})," for four in fours
        )
    yield "}};"


def _table(name: str, values: np.ndarray) -> Iterator[str]:
    kind = _TYPES[str(values.dtype)]
    yield f"static const {kind} {name}[{len(values)}] = {{"
    yield from _entries(values)
    yield "};"


def _entries(values: np.ndarray) -> Iterator[str]:
    line = "   "
    for value in values.tolist():
        entry = f" {_integer(value)},"
        if len(line) + len(entry) > 88:
            yield line
            line = "   "
        line += entry
    yield line
