"""Numbers and tables of a model, which its C is compiled with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..base import escape
from ..base.outputs import FURTHER
from ..integer.front_end.constants import FrontEnd
from ..integer.front_end.fourier import twiddles
from ..integer.front_end.log_mel import LOG_TABLE
from ..integer.pooling import decay_per_millisecond
from .arrangement import Arrangement, Placed
from .lowering import Rows, Step
from .program import FRONT
from .text import integer, table
from .weights import (
    LayerCode,
    code_tables,
    layer_steps,
    level_members,
    make_layers,
    structure_digest,
    weight_members,
    weights_struct,
)

_COST_UNIT = 64
"""Instructions, in whose numbers the C reckons what rows cost."""

_PUSH_SHARE = 1.8
"""What a push may cost, as a share of the mean work of its samples: more would not
spread the work, with less the last push before a frame would have to do too much."""


def known_conditions(arrangement: Arrangement) -> dict[str, int]:
    """What conditions of fragments may ask for."""
    front = arrangement.front
    program = arrangement.program
    steps = (*(stage.step for stage in arrangement.stages), *program.head)
    kept = any(step.kernel == "keep" for step in steps)
    return {
        **{f"USES_{name}": 1 for step in steps for name in step.uses},
        "USES_KEEP": int(kept),
        "HEAD_STAGES": len(program.head),
        "REFERENCES": arrangement.reference_count,
        "FORGETS": int(arrangement.forgets),
        "LAP": arrangement.lap,
        "SCORES_WIDE": int(program.output.wide),
        "WINDOW_LENGTH": front.window_length,
        "WINDOW_SYMMETRIC": int(_symmetric(front.window)),
        "WINDOW_IN_FOURS": int(
            _symmetric(front.window)
            and front.window_length % 8 == 0
            and not arrangement.normalised
        ),
        "HOP_LENGTH": front.hop_length,
        "FOURIER_LENGTH": front.length,
        "POWERS_IN_PLACE": _powers_in_place(front),
        "PAST_FRAMES": front.past_frames or 0,
        "NORMALISED": int(arrangement.normalised),
        **{f"HAS_{name.upper()}": int(name in program.further) for name in FURTHER},
        "HAS_FURTHER": len(program.further),
        "VOICE_STAGES": len(arrangement.voice),
    }


def definitions(arrangement: Arrangement) -> Iterator[str]:
    """Lines of the header of numbers."""
    front, program = arrangement.front, arrangement.program
    steps = [stage.step for stage in arrangement.stages] + list(program.head)
    scores = arrangement.result_places[f"row {arrangement.of(program.output)}"]
    past = front.past_frames or 0
    values: dict[str, object] = {
        "STAGES": len(arrangement.stages),
        "HEAD_STAGES": len(program.head),
        "MOST_WINDOW": max(step.taps * _across(step) for step in steps),
        "MOST_TAPS": max(step.taps + len(step.inputs) for step in steps),
        "MOST_INPUTS": max(1, *(len(step.inputs) for step in steps)),
        "SUMS": arrangement.sum_count,
        "REFERENCES": arrangement.reference_count,
        "POOL_COUNT": len(arrangement.pools),
        "LAP": arrangement.lap,
        "SCORES_PLACE": scores,
        "MIN_FRAMES": arrangement.min_frames,
        **_voice(arrangement),
        "WINDOW_LENGTH": front.window_length,
        "HOP_LENGTH": front.hop_length,
        "HOP_BUDGET": _hop_budget(arrangement),
        "PADDING_BEFORE": front.padding[0],
        "PADDING_AFTER": front.padding[1],
        "FOURIER_LENGTH": front.length,
        "FOURIER_TWO_ROOTS": f"({2 * round(2**31 * 0.5**0.5) - 2**32})",
        "FOURIER_UNUSED_BITS": 33 - front.length.bit_length(),
        "POWERS_IN_PLACE": _powers_in_place(front),
        "BANDS": len(front.mel),
        "LOG_FLOOR": f"({front.log_floor})",
    }
    if past:
        values["PAST_FRAMES"] = past
        values["ENDED_PLACE"] = arrangement.result_places.get("ended", 0)
    for name, entry in program.further.items():
        key = f"row {arrangement.of(entry.rows)}"
        values[f"{name.upper()}_PLACE"] = arrangement.result_places[key]
        values[f"{name.upper()}_MULTIPLIER"] = entry.octaves.multiplier.item()
        values[f"{name.upper()}_SHIFT"] = entry.octaves.shift.item()
    if arrangement.normalised:
        values["POWER_FLOOR"] = f"{front.power_floor}u"
    yield "/* Numbers of one model, for wav2small.c alone. */"
    for name, value in values.items():
        yield f"#define {name} {value}"
    if past:
        yield ""
        yield f"typedef int{8 * arrangement.past_bytes}_t past_t;"


def model_tables(arrangement: Arrangement, sampling_rate: int) -> Iterator[str]:
    """Lines of the header of tables."""
    program = arrangement.program
    yield "/* Tables of one model, for wav2small.c alone. */"
    for name, values in front_tables(arrangement.front).items():
        yield from table(name, values)
    layers = make_layers(layer_steps(arrangement))
    members = weight_members(arrangement)
    yield from code_tables(layers)
    yield ""
    yield "#if defined(WAV2SMALL_BLOB)"
    yield from weights_struct(members)
    yield ""
    yield "/* How the network of this code is built. */"
    digest = bytes.fromhex(structure_digest(arrangement))
    yield from table("structure", np.frombuffer(digest, np.uint8))
    yield "#define TABLE(name) weights->name"
    yield "#define NUMBER(name, value) weights->name"
    for member in level_members(arrangement):
        yield f"#define {member.name.upper()} (weights_of(state)->{member.name})"
    yield "#else"
    yield "#define TABLE(name) name"
    yield "#define NUMBER(name, value) value"
    for member in level_members(arrangement):
        yield f"#define {member.name.upper()} ({integer(int(member.values))})"
    yield "#endif"
    yield ""
    yield from _structs(layers)
    yield ""
    numbered = {id(layer.step): layer.number for layer in layers}
    yield from _pools(arrangement, numbered, sampling_rate)
    yield f"static const line_t lines[{len(arrangement.rows)}] = {{"
    for rows in arrangement.rows:
        yield f"    {_line(arrangement, rows)}, /* {escape.c_comment(rows.name)} */"
    yield "};"
    yield ""
    stages = [*arrangement.stages, *(Placed(step, 0) for step in program.head)]
    yield f"static const stage_t stages[{len(stages)}] = {{"
    for i, stage in enumerate(stages):
        text = escape.c_comment(f"{stage.step.kernel.upper()} of {stage.step.label}")
        yield f"    /* {text} */"
        yield f"    {_stage(arrangement, i, stage, numbered)},"
    yield "};"


def front_tables(front: FrontEnd) -> dict[str, np.ndarray]:
    """Tables of the front end, by name."""
    window = front.window
    if _symmetric(window):
        window = window[: len(window) // 2 + 1]
    made = {"window": window.astype(np.int32)}
    if front.length > 8:
        made["twiddles"] = twiddles(front.length).T.reshape(-1).astype(np.int32)
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
    return made | {
        "mel_first": np.array(first, np.uint16),
        "mel_count": np.array(count, np.uint16),
        "mel_weight": weight.astype(np.uint16),
        "log_offset": front.log_offset.astype(np.int32),
        "log_table": LOG_TABLE.astype(np.int32),
    }


def _voice(arrangement: Arrangement) -> dict[str, object]:
    """Numbers of the detector of speech."""
    detector = arrangement.detector
    if detector is None:
        return {}
    odds = arrangement.push_places[
        f"row {arrangement.of(arrangement.program.voice[-1].output)}"
    ]
    return {
        "VOICE_STAGES": len(arrangement.voice),
        "VOICE_PERIOD": detector.period,
        "VOICE_HOLD": detector.hold,
        "VOICE_ZERO": f"({detector.tensor.zero_point})",
        "VOICE_PLACE": odds,
    }


def _structs(layers: Sequence[LayerCode]) -> Iterator[str]:
    """What layers are made of, and how the structs of a kernel are had."""
    kernels: dict[str, list[LayerCode]] = {}
    for layer in layers:
        kernels.setdefault(layer.kernel, []).append(layer)
        name = f"{layer.kernel}_{layer.number}".upper()
        yield f"#define {name} {{{', '.join(layer.fields)}}}"
    for kernel, entries in kernels.items():
        names = [f"{kernel}_{layer.number}".upper() for layer in entries]
        yield ""
        yield "#if defined(WAV2SMALL_BLOB)"
        yield f"static {kernel}_t {kernel}_layer(const weights_t *weights,"
        yield "                                  uint32_t layer)"
        yield "{"
        for i, name in enumerate(names[:-1]):
            yield f"    if (layer == {i}u) {{"
            yield f"        const {kernel}_t made = {name};"
            yield "        return made;"
            yield "    }"
        yield "    {"
        yield f"        const {kernel}_t made = {names[-1]};"
        yield "        (void)layer;"
        yield "        (void)weights;"
        yield "        return made;"
        yield "    }"
        yield "}"
        yield "#else"
        yield f"static const {kernel}_t {kernel}_layers[{len(names)}] = {{"
        yield from (f"    {name}," for name in names)
        yield "};"
        yield "#endif"


def _pools(
    arrangement: Arrangement, layers: Mapping[int, int], sampling_rate: int
) -> Iterator[str]:
    yield f"static const pool_t pools[{len(arrangement.pools)}] = {{"
    sums = references = 0
    for step in arrangement.pools:
        numbers = [sums, step.sums, references, step.references, layers[id(step)]]
        per_millisecond = 0
        if step.references:
            row_samples = step.pace.period * arrangement.front.hop_length
            per_millisecond = decay_per_millisecond(row_samples, sampling_rate)
        numbers += [step.decay, per_millisecond]
        label = escape.c_comment(step.label)
        yield f"    {{{', '.join(map(str, numbers))}}}, /* {label} */"
        sums += step.sums
        references += step.references
    yield "};"
    yield ""


def _line(arrangement: Arrangement, rows: Rows) -> str:
    key = f"row {arrangement.of(rows)}"
    numbers = (
        rows.bytes,
        rows.keep,
        arrangement.rings.get(id(rows), 0),
        arrangement.push_places.get(key, 0),
        # the detector hears no border
        arrangement.result_places.get(key, 0),
        int(arrangement.is_whole(rows)),
        rows.pace.period,
        rows.pace.delay,
        rows.pace.extra,
    )
    return "{" + ", ".join(map(str, numbers)) + "}"


def _stage(
    arrangement: Arrangement, i: int, stage: Placed, layers: Mapping[int, int]
) -> str:
    step = stage.step
    inputs = [arrangement.of(rows) for rows in step.inputs] or [0]
    layer = layers.get(id(step), 0)
    if step.pools:
        layer = next(j for j, pool in enumerate(arrangement.pools) if pool is step)
    numbers: dict[str, object] = {
        "kind": step.kernel.upper(),
        "part": stage.part,
        "taps": 0 if step.kernel == FRONT else step.taps,
        "more": max(0, len(step.inputs) - 1),
        "dilation": step.dilation,
        "stride": step.stride,
        "top": step.top,
        "output": arrangement.of(step.output),
        "push_work": arrangement.push_places.get(f"work {i}", 0),
        "result_work": arrangement.result_places.get(f"work {i}", 0),
        "period": step.pace.period,
        "delay": step.pace.delay,
        "extra": step.pace.extra,
        "input": "{" + ", ".join(map(str, inputs)) + "}",
        "layer": layer,
        "cost": _cost(step, arrangement.front),
    }
    fields = ", ".join(f".{name} = {value}" for name, value in numbers.items())
    return f"{{{fields}}}"


def _cost(step: Step, front: FrontEnd) -> int:
    """What a row costs on a Cortex-M4, roughly: work is spread by it."""
    instructions = 4 * step.macs // 3 + 20 * step.output.count + 150
    if step.kernel == FRONT:
        instructions = 65 * front.length
    elif step.pools:
        instructions = 50 * step.output.count
    return min(-(-instructions // _COST_UNIT), 2**16 - 1)


def _hop_budget(arrangement: Arrangement) -> int:
    """What the pushes of a hop's samples may cost."""
    steps = [stage.step for stage in arrangement.stages]
    mean = sum(_cost(step, arrangement.front) / step.pace.period for step in steps)
    return min(round(_PUSH_SHARE * mean), 2**16 - 1)


def _across(step: Step) -> int:
    """Columns of a window whose places a kernel looks up at once."""
    width = step.numbers["width"] if step.kernel in ("filter", "max_pool") else 1
    assert isinstance(width, int)
    return width


def _powers_in_place(front: FrontEnd) -> int:
    """Whether powers can take the places of parts: no band needs the real bins."""
    return int(front.length > 8 and not front.mel[:, [0, -1]].any())


def _symmetric(window: np.ndarray) -> bool:
    return len(window) % 2 == 0 and np.array_equal(window[1:], window[:0:-1])
