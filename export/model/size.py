"""Where the bytes of an ONNX file go.

Every byte of the file is counted once:
a stored tensor with its name, type and shape,
the nodes in a few groups, each entry of the metadata,
and what the format itself takes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto

from ..base import escape
from ..base.errors import ExportError
from . import topology
from .roles import RoleGraph, stored_tensor
from .wire import fields

KINDS = (
    "weights",
    "biases",
    "scales",
    "constants",
    "formulas",
    "nodes",
    "metadata",
    "framing",
)
"""Kinds of parts.

``scales`` are scales and zero points,
``constants`` are axes, limits and other numbers that nodes read,
``formulas`` are numbers that other constants are generated or unpacked with,
``framing`` is the rest: inputs, outputs, versions and the file format.
"""


@dataclass(frozen=True)
class Part:
    """A part of a file."""

    name: str
    """What it is for, for instance ``weight of Conv 3``.
    Nodes are counted by operator, from 1, in the order of the graph;
    those that only compute constants are not counted."""

    kind: str
    """One of :data:`KINDS`."""

    bytes: int
    """Bytes in the file, header included."""

    share: float
    """Share of the file, 0..1."""

    detail: str = ""
    """Type, shape and name of a tensor, or how many of what."""


@dataclass(frozen=True)
class SizeCheck:
    """Whether a file keeps a limit."""

    bytes: int
    """Bytes of the file."""

    limit: int
    """Bytes that it may have."""

    @property
    def fits(self) -> bool:
        """Whether it has no more bytes than it may have."""
        return self.bytes <= self.limit


def check(model: ModelProto | bytes | str | Path, max_bytes: int) -> SizeCheck:
    """Compare the size of a model with a limit.

    Args:
        model: model, its bytes or its file
        max_bytes: largest size in bytes

    Returns:
        the figures; a model that does not fit is a result, not an error

    Raises:
        ExportError: if the model is not valid or has external data,
            which the size of its file would not count,
            or the limit is not positive

    """
    if max_bytes < 1:
        raise ExportError(
            f"max_bytes must be at least 1, got {max_bytes}: give a size in bytes"
        )
    _, data = _load(model)
    return SizeCheck(bytes=len(data), limit=max_bytes)


def byte_budget(model: ModelProto | bytes | str | Path) -> list[Part]:
    """Attribute every byte of a model to what it is for.

    A weight that is padded, scattered, unpacked or dequantised
    belongs to the node that reads it in the end.

    Args:
        model: model, its bytes or its file

    Returns:
        parts, the largest first, that sum to the size of the file

    Raises:
        ExportError: if the model is not valid or has external data

    """
    loaded, data = _load(model)
    graph = RoleGraph(loaded)
    sizes: Counter[tuple[str, str, str]] = Counter()  # by name, kind and detail
    groups: Counter[str] = Counter()  # bytes of nodes
    counts: Counter[str] = Counter()
    nodes = iter(range(len(graph.nodes)))

    def rest(name: str, start: int, end: int) -> None:
        sizes[name, "framing", ""] += end - start

    for field in fields(data, 0, len(data), ModelProto):
        if field.name == "metadata_props":
            entry = onnx.StringStringEntryProto.FromString(data[field.body : field.end])
            sizes[f"metadata '{entry.key}'", "metadata", ""] += field.end - field.start
        elif field.name != "graph":
            rest(field.name, field.start, field.end)
        else:
            rest("graph", field.start, field.body)
            for inner in fields(data, field.body, field.end, onnx.GraphProto):
                size = inner.end - inner.start
                if inner.name == "initializer":
                    tensor = TensorProto.FromString(data[inner.body : inner.end])
                    sizes[graph.describe(tensor.name, tensor)] += size
                elif inner.name == "node":
                    index = next(nodes)
                    stored = stored_tensor(graph.nodes[index])
                    if stored is None:
                        groups[graph.group(index)] += size
                        counts[graph.group(index)] += 1
                    else:
                        name = graph.nodes[index].output[0]
                        sizes[graph.describe(name, stored)] += size
                else:
                    rest(inner.name, inner.start, inner.end)
    for group, size in groups.items():
        sizes[f"nodes: {group}", "nodes", f"{counts[group]} nodes"] += size
    parts = [
        Part(name, kind, size, size / len(data), detail)
        for (name, kind, detail), size in sizes.items()
    ]
    return sorted(parts, key=_order)


def group_small(parts: Sequence[Part], smallest: int = 256) -> list[Part]:
    """Put the small parts of each kind together.

    Args:
        parts: parts of a file
        smallest: bytes from which a part stands alone

    Returns:
        parts of the same sum, the largest first;
        the only small one of its kind stays as it is

    """
    small: dict[str, list[Part]] = {}
    grouped = [part for part in parts if part.bytes >= smallest]
    for part in parts:
        if part.bytes < smallest:
            small.setdefault(part.kind, []).append(part)
    for kind, members in small.items():
        if len(members) == 1:
            grouped += members
        else:
            size = sum(part.bytes for part in members)
            share = sum(part.share for part in members)
            grouped.append(
                Part(f"small {kind}", kind, size, share, f"{len(members)} parts")
            )
    return sorted(grouped, key=_order)


def to_markdown(parts: Sequence[Part], smallest: int = 256) -> str:
    """Write parts as a table, the largest first, and their sum.

    Args:
        parts: parts of a file
        smallest: bytes from which a part has a row of its own

    """
    rows = [
        "| part | kind | stored as | bytes | share |",
        "|---|---|---|---:|---:|",
    ]
    for part in group_small(parts, smallest):
        texts = [_cell(text) for text in (part.name, part.kind, part.detail)]
        rows.append(
            f"| {' | '.join(texts)} | {part.bytes:,} | {100 * part.share:.1f} % |"
        )
    rows.append(f"| **total** | | | **{sum(p.bytes for p in parts):,}** | 100.0 % |")
    return "\n".join(rows) + "\n"


def _order(part: Part) -> tuple[int, list[str], str]:
    """Largest first, those of equal size in the order of the graph."""
    # texts and numbers take turns; 12 digits are more than any count has
    words = re.split(r"(\d+)", part.name)
    return (
        -part.bytes,
        [w.zfill(12) if w.isdecimal() else w for w in words],
        part.detail,
    )


def _cell(text: str) -> str:
    """Text that stays within its cell, whatever a file calls its things."""
    text = " ".join(text.split())
    return escape.markdown(text if len(text) <= 80 else text[:77] + "...")


def _load(model: ModelProto | bytes | str | Path) -> tuple[ModelProto, bytes]:
    loaded = topology.load(model, only_look=True)
    if isinstance(model, bytes):
        return loaded, model
    if isinstance(model, ModelProto):
        return loaded, model.SerializeToString(deterministic=True)
    return loaded, Path(model).read_bytes()
