"""What training decides of a model's C, apart from its code.

Tables and numbers that another training of the same network would change
lie in one blob that a device can replace, little-endian:

* a header: magic number, version of the layout, length, CRC-32 of all else,
  SHA-256 of the network's structure and of the model, and steps of its scores,
  see ``wav2small_model`` in the C's header
* the members of ``weights_t``, largest numbers first, so that nothing lies between them
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..base import escape
from ..integer.decisions import score_to_parts
from ..integer.graph import IntegerGraph
from .arrangement import Arrangement
from .lowering import Number, Step
from .program import FRONT
from .source import fragment_text
from .text import TYPES, initial, integer, table, words

LAYOUT = 1
"""Version of the state, the tables, the blob and what functions are called with."""

MAGIC = b"w2sm"

_STRUCTURE = frozenset({"order", "target", "inner", "shifts"})
"""Tables that say where numbers lie: part of the code."""

_TRAINED = frozenset(
    {
        "before",
        "below_before",
        "end.last",
        "end.round",
        "fraction",
        "last",
        "multiplier",
        "offset",
        "shift",
        "three",
        "zero_in",
        "zero_out",
    }
)
"""Numbers of layers that follow from ranges; all others say how layers are built."""


@dataclass(frozen=True, eq=False)
class Weight:
    """A table or a number of ``weights_t``."""

    name: str
    """Name in C."""

    values: np.ndarray
    """What it holds; of shape ``()`` a number."""

    packed: Sequence[tuple[str, int, int]] = ()
    """Macros of bytes that are read four at a time, as :class:`Step` has them."""

    def to_bytes(self) -> bytes:
        """Little-endian, in the order of lanes of 16 bits."""
        values = self.values.copy()
        start = 0
        for macro, size, count in self.packed:
            if macro.startswith("FLAT"):
                pairs = values[start : start + size * count].reshape(-1, 2)
                # see BOTH in dense.c
                pairs[:, 1] -= pairs[:, 0] < 0
            start += size * count
        return values.astype(values.dtype.newbyteorder("<")).tobytes()


@dataclass(frozen=True, eq=False)
class LayerCode:
    """What a struct of a layer is made of."""

    step: Step
    """The stage."""

    kernel: str
    """Its kind."""

    number: int
    """Its place among its kind."""

    label: str
    """Name of the operator."""

    fields: tuple[str, ...]
    """Members of the struct as C initialises them."""

    tables: tuple[Weight, ...]
    """Tables of the code."""

    members: tuple[Weight, ...]
    """Its members of ``weights_t``."""


def make_layers(steps: Sequence[Step]) -> list[LayerCode]:
    """Split what layers are made of into code and weights."""
    counts: dict[str, int] = {}
    made = []
    for step in steps:
        if step.kernel == FRONT:
            continue
        number = counts.setdefault(step.kernel, 0)
        counts[step.kernel] += 1
        made.append(_make_layer(step, number))
    return made


def _make_layer(step: Step, number: int) -> LayerCode:
    name = f"{step.kernel}_{number}"
    types = member_types(step.kernel)
    fields, tables, members = [], [], []
    for key, values in step.tables.items():
        title = f"{name}_{key.removeprefix('end.')}"
        packed = step.packed.get(key, ())
        if key in _STRUCTURE:
            tables.append(Weight(title, values))
            fields.append(f".{key} = {title}")
        else:
            members.append(Weight(title, values, packed))
            fields.append(f".{key} = TABLE({title}{'.bytes' * bool(packed)})")
    for key, value in step.numbers.items():
        if key in _TRAINED:
            title = f"{name}_{key.removeprefix('end.')}"
            own = _numbers(title, value, types[key])
            members += own
            texts = [f"NUMBER({one.name}, {integer(int(one.values))})" for one in own]
            listed = ", ".join(texts)
            text = f"{{{listed}}}" if isinstance(value, Sequence) else listed
        else:
            text = initial(value)
        fields.append(f".{key} = {text}")
    return LayerCode(
        step,
        step.kernel,
        number,
        step.label,
        tuple(fields),
        tuple(tables),
        tuple(members),
    )


def _numbers(name: str, value: Number, dtype: str) -> list[Weight]:
    assert not isinstance(value, str)
    if isinstance(value, int):
        return [Weight(name, np.array(value, dtype))]
    return [Weight(f"{name}_{i}", np.array(one, dtype)) for i, one in enumerate(value)]


def member_types(kernel: str) -> dict[str, str]:
    """Type of each number of a kernel's struct, by name as steps have it."""
    made: dict[str, str] = {}
    for name, prefix in ((kernel, ""), ("end", "end.")):
        source = kernel if not prefix else "put_output"
        body = re.search(
            rf"typedef struct {{([^}}]*)}} {name}_t;", fragment_text(source), re.DOTALL
        )
        if body:
            found = re.findall(r"^\s*(u?int\d+)_t (\w+)(?:\[\w+\])?;", body[1], re.M)
            made |= {prefix + member: kind for kind, member in found}
    return made


def level_members(arrangement: Arrangement) -> list[Weight]:
    """Numbers of the front end that follow from ranges."""
    front = arrangement.front
    offset = front.offset + (1 << (front.shift - 1))
    return [
        Weight("level_multiplier", np.array(front.multiplier, np.int64)),
        Weight("level_offset", np.array(offset, np.int64)),
        Weight("level_shift", np.array(front.shift, np.uint8)),
    ]


def arranged(members: Sequence[Weight]) -> list[Weight]:
    """Members in their order in ``weights_t``: no bytes lie between them."""

    def key(member: Weight) -> tuple[int, bool]:
        # what is read four bytes at a time lies at a multiple of four
        packed = bool(member.packed)
        return (-4 if packed else -member.values.itemsize, packed)

    return sorted(members, key=key)


def weights_struct(members: Sequence[Weight]) -> Iterator[str]:
    """Lines of the struct of weights."""
    yield "/* What training decides, as it lies behind the header of a model. */"
    yield "typedef struct {"
    size = 0
    for member in members:
        kind = TYPES[str(member.values.dtype)]
        size += member.values.nbytes
        if member.packed:
            yield f"    struct {{ {kind} bytes[{member.values.size}]; }} {member.name};"
        else:
            length = f"[{member.values.size}]" if member.values.ndim else ""
            yield f"    {kind} {member.name}{length};"
    yield f"    uint8_t end[{-size % 8 or 8}];"
    yield "} weights_t;"
    yield ""
    whole = size + (-size % 8 or 8)
    yield "typedef char wav2small_weights_lie_side_by_side"
    yield f"    [sizeof(weights_t) == {whole}u ? 1 : -1];"


def code_tables(layers: Sequence[LayerCode]) -> Iterator[str]:
    """Lines of tables that are part of the code, and of those that are weights."""
    for layer in layers:
        for member in layer.tables:
            yield from table(member.name, member.values)
    yield ""
    yield "#if !defined(WAV2SMALL_BLOB)"
    for layer in layers:
        tables = [member for member in layer.members if member.values.ndim]
        if tables:
            yield ""
            yield f"/* {escape.c_comment(layer.label)} */"
        for member in tables:
            if member.packed:
                yield from words(member.name, member.values, member.packed)
            else:
                yield from table(member.name, member.values)
    yield "#endif"


def layer_steps(arrangement: Arrangement) -> list[Step]:
    """All stages that may have a struct."""
    program = arrangement.program
    return [*program.steps, *program.voice, *program.head]


def weight_members(arrangement: Arrangement) -> list[Weight]:
    """All members of ``weights_t``, in their order there."""
    layers = make_layers(layer_steps(arrangement))
    members = [member for layer in layers for member in layer.members]
    return arranged([*members, *level_members(arrangement)])


def structure_digest(arrangement: Arrangement) -> str:
    """SHA-256 of all that code and weights must agree on."""
    program, front = arrangement.program, arrangement.front
    digest = hashlib.sha256(f"layout {LAYOUT}\n".encode())
    front_end = (
        (front.hop_length, front.padding, front.past_frames, front.power_floor),
        (front.log_floor, front.length, arrangement.detector is None),
    )
    digest.update(f"{front_end}\n".encode())
    for values in (front.window, front.mel, front.log_offset):
        digest.update(values.astype("<i8").tobytes())
    for step in [stage.step for stage in arrangement.stages] + list(program.head):
        inputs = [arrangement.of(rows) for rows in step.inputs]
        output = (arrangement.of(step.output), step.output.count, step.output.wide)
        window = (step.taps, step.dilation, step.stride, step.top, step.decay)
        numbers = sorted(
            (key, str(value))
            for key, value in step.numbers.items()
            if key not in _TRAINED
        )
        layer = (step.kernel, inputs, output, window, step.pace, numbers)
        digest.update(f"{layer}\n".encode())
        for key, values in sorted(step.tables.items()):
            digest.update(f"{key} {values.dtype} {values.shape}\n".encode())
            if key in _STRUCTURE:
                digest.update(values.astype("<i8").tobytes())
    for name, entry in program.further.items():
        # numbers of the code, not of the blob: another scale is another network
        octaves = entry.octaves.multiplier.item(), entry.octaves.shift.item()
        place = arrangement.of(entry.rows)
        digest.update(f"{(name, place, octaves, entry.names)}\n".encode())
    return digest.hexdigest()


def blob(graph: IntegerGraph, arrangement: Arrangement) -> bytes:
    """Weights of a model with their header, as a device takes them."""
    body = b"".join(member.to_bytes() for member in weight_members(arrangement))
    body += bytes(-len(body) % 8 or 8)
    detector = arrangement.detector
    output, parts = graph.tensors[graph.output], score_to_parts(graph)
    rest = bytes.fromhex(structure_digest(arrangement))
    rest += bytes.fromhex(graph.digest) if graph.digest else bytes(32)
    rest += struct.pack(
        "<ffiiII",
        output.scale,
        detector.tensor.scale if detector else 0.0,
        output.zero_point,
        parts.multiplier.item(),
        parts.shift.item(),
        0,
    )
    rest += body
    begin = MAGIC + struct.pack("<II", LAYOUT, 16 + len(rest))
    return begin + struct.pack("<I", zlib.crc32(begin + rest)) + rest
