"""From the schedule of a model to the stages and tables of its C code.

Rows of a map lie with the channels of a band side by side,
so that what a convolution multiplies lies together.
An order says which number of the tensor lies where:
changes of layout then cost nothing, the weights behind them change places instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np

from ..base.errors import ExportError
from ..integer import graph
from ..integer.graph import Operator, Tensor
from ..integer.rescale import Rescale
from ..integer.streaming import Pace, PoolStage, Schedule, Stage, WindowStage

Number = int | str | Sequence[int]
"""Member of a struct: a number, a name in C, or several numbers."""

_FEW = 2
"""Columns up to which weights are not unpacked beforehand."""

_LAST = range(1, 23)
"""Shifts that may follow upper words, the zero point added before."""

_MOST_SCORE = 11000.0
"""Largest score whose distance to another one, as a logarithm, has 32 bits."""

_NIBBLES = range(-8, 8)
"""Weights that fit 4 bits."""


@dataclass(eq=False)
class Rows:
    """Numbers of a tensor that lie together: a row, or all of it behind the pooling."""

    name: str
    """Name of the tensor."""

    count: int
    """Numbers."""

    wide: bool
    """Whether they are int32."""

    pace: Pace = field(default_factory=lambda: Pace(1, 0, 0))
    """When rows come."""

    keep: int = 0
    """Rows that are kept."""

    @property
    def bytes(self) -> int:
        """Bytes of a row."""
        return self.count * (4 if self.wide else 1)


@dataclass(frozen=True, eq=False)
class View:
    """A tensor in its rows."""

    rows: Rows
    """Where it lies."""

    shape: tuple[int, ...]
    """Shape of the tensor, of one row."""

    order: np.ndarray
    """Index in the tensor, flat, of each number that lies there."""


@dataclass(frozen=True, eq=False)
class Layer:
    """Constants of a stage: a struct of the C code."""

    struct: str
    """Its type, without ``_t``."""

    numbers: dict[str, Number]
    """Members that are numbers."""

    tables: dict[str, np.ndarray]
    """Members that point to tables."""


@dataclass(frozen=True, eq=False)
class Step:
    """A stage of the C code."""

    kind: str
    """Its kind there."""

    label: str
    """Name of the operator that it is part of."""

    inputs: tuple[Rows, ...]
    """Rows that it reads."""

    output: Rows
    """Rows that it makes; the result of a pool."""

    pace: Pace
    """When its rows come, or those that a pool adds."""

    layer: Layer | None = None
    """Its constants."""

    taps: int = 1
    """Rows of the first input."""

    dilation: int = 1
    """Rows from tap to tap."""

    stride: int = 1
    """Rows of the first input from row to row."""

    top: int = 0
    """Rows of border before the first one."""

    work: int = 0
    """Bytes that it needs while it works; of a pool for a result."""


@dataclass(frozen=True, eq=False)
class Program:
    """Stages of a model."""

    steps: tuple[Step, ...]
    """Front end, rows to rows, pools."""

    head: tuple[Step, ...]
    """What is computed once for each result."""

    output: Rows
    """The scores."""

    views: dict[str, View]
    """Where each tensor of the model lies."""


def lower(schedule: Schedule) -> Program:
    """Turn a schedule into stages of C code.

    Raises:
        ExportError: if an operator has no C code

    """
    return _Lowering(schedule).run()


class _Lowering:
    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.graph = schedule.reference.graph
        self.views: dict[str, View] = {}
        self.steps: list[Step] = []
        self.label = ""
        self.pace = Pace(1, 0, 0)

    def run(self) -> Program:
        front = self.schedule.front
        self.label = front.name
        rows = self._make(front.operator.output, front.output.shape, front.pace)
        self.steps.append(
            Step("FRONT", front.name, (), rows, front.pace, work=front.work_bytes)
        )
        for stage in (*self.schedule.stages, *self.schedule.pools):
            self.label, self.pace = stage.name, stage.pace
            self._stage(stage)
        steps, self.steps = tuple(self.steps), []
        for operator in self.schedule.head:
            self.label, self.pace = self.graph.label(operator), Pace(1, 0, 0)
            self._operator(operator)
        scores = self._plain(self.views[self.graph.output])
        return Program(steps, tuple(self.steps), scores.rows, self.views)

    # -- helpers ---------------------------------------------------------

    def _fail(self, reason: str) -> NoReturn:
        raise ExportError(
            f"operator must have C code, got {self.label}, {reason}: "
            "choose a student that streams, like wav2small-rt"
        )

    def _tensor(self, name: str) -> Tensor:
        return self.graph.tensors[name]

    def _make(
        self,
        name: str,
        shape: tuple[int, ...],
        pace: Pace,
        order: np.ndarray | None = None,
    ) -> Rows:
        """Enter a tensor; its numbers lie in their own order if none is given."""
        count = math.prod(shape)
        rows = Rows(name, count, self._tensor(name).dtype == "int32", pace)
        order = np.arange(count) if order is None else order
        self.views[name] = View(rows, shape, order)
        return rows

    def _append(
        self, kind: str, inputs: Sequence[View], output: Rows, layer: Layer, **more: Any
    ) -> None:
        rows = tuple(view.rows for view in inputs)
        self.steps.append(
            Step(kind, self.label, rows, output, self.pace, layer, **more)
        )

    def _reordered(self, view: View, order: np.ndarray) -> View:
        """View whose numbers lie in another order."""
        if np.array_equal(view.order, order):
            return view
        place = np.empty(len(order), np.int64)
        place[view.order] = np.arange(len(order))
        name = f"{view.rows.name} {len(self.steps)} {self.label}"
        rows = replace(view.rows, name=name, keep=0)
        layer = Layer(
            "gather",
            {"count": rows.count, "wide": int(rows.wide)},
            {"order": place[order].astype(np.uint16)},
        )
        self.steps.append(
            Step("GATHER", self.label, (view.rows,), rows, rows.pace, layer)
        )
        return View(rows, view.shape, order)

    def _plain(self, view: View) -> View:
        """View whose numbers lie in their own order."""
        return self._reordered(view, np.arange(len(view.order)))

    def _map(self, view: View) -> View:
        """View of a map ``(1, channels, 1, bands)`` with channels side by side."""
        return self._reordered(view, _by_band(view.shape))

    # -- rows ------------------------------------------------------------

    def _stage(self, stage: Stage) -> None:
        operator = stage.operator
        if isinstance(stage, WindowStage):
            self._window(stage)
        elif isinstance(stage, PoolStage):
            self._pool(stage)
        else:
            self._operator(operator)
        for name, back in zip(operator.inputs, stage.back, strict=True):
            if back:
                self._keep(name, back)

    def _keep(self, name: str, back: int) -> None:
        """Keep rows of a tensor, in the order in which the last stage reads it."""
        rows = self.views[name].rows
        for step in reversed(self.steps):
            if step.kind == "GATHER" and step.inputs[0] is rows:
                rows = step.output
                break
            if rows in step.inputs:
                break
        rows.keep = max(rows.keep, back)

    def _window(self, stage: WindowStage) -> None:
        operator = stage.operator
        view = self._map(self.views[operator.inputs[0]])
        *_, channels, _, columns = view.shape
        shape = stage.output.shape
        rows = self._make(operator.output, shape, stage.pace, _by_band(shape))
        window = {"stride": stage.stride, "top": stage.top}
        if isinstance(operator, graph.MaxPool):
            layer = Layer(
                "maximum",
                {
                    "channels": channels,
                    "taps": operator.kernel[0],
                    "width": operator.kernel[1],
                    "stride": operator.strides[1],
                    "left": operator.pads[1],
                    "columns_in": columns,
                    "columns_out": shape[3],
                },
                {},
            )
            self._append(
                "MAXIMUM", [view], rows, layer, taps=operator.kernel[0], **window
            )
            return
        assert isinstance(operator, graph.Convolution)
        outputs, _, taps, width = operator.weight.shape
        window["dilation"] = operator.dilations[0]
        numbers: dict[str, Number] = {
            "channels": channels // operator.groups,
            "taps": taps,
            "dilation": operator.dilations[1],
            "left": operator.pads[1],
            "columns_in": columns,
            "columns_out": shape[3],
        }
        if operator.groups == channels == outputs:
            numbers |= {"channels": channels, "width": width}
            numbers["stride"] = operator.strides[1]
            end, tables = self._finish(operator)
            weight = operator.weight[:, 0].transpose(1, 2, 0).reshape(-1)
            layer = Layer("filter", numbers | end, {"weight": weight, **tables})
            self._append("FILTER", [view], rows, layer, taps=taps, **window)
            return
        weight = operator.weight.transpose(0, 3, 2, 1)
        self._dense(
            operator,
            [view],
            rows,
            weight,
            numbers,
            operator.groups,
            operator.strides[1],
            **window,
        )

    def _dense(
        self,
        operator: graph.Convolution | graph.Linear,
        inputs: list[View],
        rows: Rows,
        weight: np.ndarray,
        numbers: dict[str, Number],
        groups: int = 1,
        across: int = 1,
        **window: int,
    ) -> None:
        """Weights ``(outputs, width, taps, channels)`` times columns of rows.

        What a column is multiplied with lies together.
        Columns that overlap share it if their taps are neighbours.
        """
        outputs, width, taps, _ = weight.shape
        columns = numbers["columns_out"]
        assert isinstance(columns, int)
        solid = numbers["dilation"] == 1
        narrow = _is_narrow(weight)
        unit = weight.reshape(outputs, width if solid else 1, -1)
        # a core loads and multiplies four at a time, of half bytes eight
        pad = -unit.shape[2] % (8 if narrow else 4)
        unit = np.pad(unit, ((0, 0), (0, 0), (0, pad)))
        flat = columns <= _FEW
        packed = packed_weight(unit.reshape(outputs, -1), outputs // groups)
        units = (columns - 1) * across + width if solid else columns
        pitch = unit.shape[2]
        length = pitch * unit.shape[1]
        end, tables = self._finish(operator)
        layer = {
            **numbers,
            "groups": groups,
            "outputs": outputs // groups,
            "units": units,
            "across": 1 if solid else width,
            "hop": 1 if solid else across,
            "pitch": pitch,
            "step": pitch * (across if solid else 1),
            "length": length,
            "flat": int(flat),
            "twice": int(length % 8 == 0),
            "thrice": int(length % 12 == 0),
            **end,
        }
        tables = {"nibbles" if narrow else "weight": packed.reshape(-1), **tables}
        self._append(
            "DENSE",
            inputs,
            rows,
            Layer("dense", layer, tables),
            # numbers of all columns, and weights of four outputs
            work=2 * pitch * units + (0 if flat else 8 * length),
            taps=taps,
            **window,
        )

    def _finish(
        self, operator: graph.Convolution | graph.Linear
    ) -> tuple[dict[str, Number], dict[str, np.ndarray]]:
        """What makes outputs of sums."""
        source, target = (
            self._tensor(name) for name in (operator.inputs[0], operator.output)
        )
        wide = target.dtype == "int32"
        outputs = len(operator.weight)
        weight = operator.weight.reshape(outputs, -1).astype(np.int64)
        # numbers are multiplied as they are, with the zero point in them
        start = -source.zero_point * weight.sum(axis=1)
        multiplier = np.broadcast_to(operator.rescale.multiplier, outputs)
        shift = np.broadcast_to(operator.rescale.shift, outputs)
        tables = {"multiplier": multiplier.astype(np.int32)}
        numbers: dict[str, Number] = {"zero_in": source.zero_point}
        numbers["end.kind"] = 0
        if wide:
            tables["bias"] = operator.bias.astype(np.int32)
            numbers["end.kind"] = "WIDE_SHORT" if shift.max() < 32 else "WIDE"
        else:
            start = start + operator.bias
            numbers["end.kind"] = "NARROW"
            numbers["end.round"] = target.zero_point
            same = max(32 + _LAST[0], int(shift.max()))
            higher = multiplier << (same - shift)
            last = same - 32
            if higher.max() < 2**31 and last in _LAST:
                numbers["end.kind"] = "NARROW_SHORT"
                numbers["end.last"] = last
                # what rounds, and the zero point, which is added with it
                numbers["end.round"] = (target.zero_point << last) + (1 << last >> 1)
                tables["multiplier"] = higher.astype(np.int32)
        if numbers["end.kind"] != "NARROW_SHORT":
            tables["shift"] = shift.astype(np.uint8)
        tables["start"] = start.astype(np.int32)
        tables = {f"end.{name}": table for name, table in tables.items()}
        return numbers, tables

    # -- rows and head ---------------------------------------------------

    def _operator(self, operator: Operator) -> None:
        views = [self.views[name] for name in operator.inputs]
        tensors = [self._tensor(name) for name in operator.inputs]
        target = self._tensor(operator.output)
        match operator:
            case graph.Transpose(axes=axes):
                shape = views[0].shape
                index = np.arange(math.prod(shape)).reshape(shape).transpose(axes)
                place = np.empty(index.size, np.int64)
                place[index.reshape(-1)] = np.arange(index.size)
                self.views[operator.output] = View(
                    views[0].rows, index.shape, place[views[0].order]
                )
            case graph.Reshape(shape=wanted):
                sizes = [
                    size or views[0].shape[axis] for axis, size in enumerate(wanted)
                ]
                shape = np.empty(views[0].shape, np.int8).reshape(sizes).shape
                self.views[operator.output] = replace(views[0], shape=shape)
            case graph.Linear():
                self._linear(operator, views[0])
            case graph.Table(table=table):
                wide = target.dtype == "int32"
                values = table.astype(np.int32 if wide else np.int8)
                self._same(
                    "TABLE",
                    "table",
                    operator,
                    views,
                    {},
                    {"wide" if wide else "narrow": values},
                )
            case graph.Relu():
                self._same("RELU", "single", operator, views, {})
            case graph.HardSwish(rescale=rescale):
                numbers = {"three": round(3 / tensors[0].scale), **_single(rescale)}
                numbers |= _output(target)
                self._same("HARD_SWISH", "single", operator, views, numbers)
            case graph.Sum(multipliers=multipliers, shift=shift):
                zeros = [tensor.zero_point for tensor in tensors]
                offset = 2 ** (shift - 1) - sum(
                    zero * factor
                    for zero, factor in zip(zeros, multipliers, strict=True)
                )
                numbers = {"multiplier": multipliers, "shift": shift, "offset": offset}
                numbers |= {"wide_in": _wide(tensors), **_output(target)}
                numbers |= {"zero_in": zeros}
                if shift - 24 in _LAST and "int32" not in (
                    target.dtype,
                    *(tensor.dtype for tensor in tensors),
                ):
                    numbers["last"] = shift - 24
                self._same("SUM", "pair", operator, views, numbers)
            case graph.Product(shifts=shifts, rescale=rescale):
                single = _single(rescale)
                single["multiplier"] = (single["multiplier"], 0)
                numbers = {"shifts": shifts, "wide_in": _wide(tensors), **single}
                numbers |= {"zero_in": [t.zero_point for t in tensors]}
                self._same(
                    "PRODUCT", "pair", operator, views, numbers | _output(target)
                )
            case graph.MatrixProduct(shifts=shifts, rescale=rescale):
                self._matrix_product(operator, views)
            case graph.Concat():
                self._concat(operator, views)
            case _:
                self._fail("which stands where none is expected")

    def _same(
        self,
        kind: str,
        struct: str,
        operator: Operator,
        views: list[View],
        numbers: dict[str, Any],
        tables: dict[str, np.ndarray] | None = None,
    ) -> None:
        """Operator on the numbers at the same place."""
        first, *others = views
        if any(view.shape != first.shape for view in others):
            self._fail("whose inputs differ in shape")
        views = [first, *(self._reordered(view, first.order) for view in others)]
        rows = self._make(operator.output, first.shape, self.pace, first.order)
        numbers = {**numbers, "count": rows.count}
        self._append(kind, views, rows, Layer(struct, numbers, tables or {}))

    def _linear(self, operator: graph.Linear, view: View) -> None:
        outputs, inputs = operator.weight.shape
        count = view.rows.count // inputs
        shape = (*view.shape[:-1], outputs)
        weight = operator.weight
        if count == 1:
            weight = weight[:, view.order]
        else:
            view = self._plain(view)
        rows = self._make(operator.output, shape, self.pace)
        if not view.rows.wide:
            numbers: dict[str, Number] = {
                "channels": inputs,
                "taps": 1,
                "dilation": 1,
                "left": 0,
                "columns_in": count,
                "columns_out": count,
            }
            self._dense(operator, [view], rows, weight[:, None, None], numbers)
            return
        rescale = operator.rescale
        tables = {
            "weight": weight.reshape(-1),
            "bias": operator.bias.astype(np.int64),
            "multiplier": np.broadcast_to(rescale.multiplier, outputs).astype(np.int32),
            "shift": np.broadcast_to(rescale.shift, outputs).astype(np.uint8),
        }
        numbers = {"inputs": inputs, "outputs": outputs, "rows": count}
        numbers |= {"before": operator.rescale.before}
        numbers |= _output(self._tensor(operator.output))
        self._append("LINEAR", [view], rows, Layer("linear", numbers, tables))

    def _matrix_product(self, operator: graph.MatrixProduct, views: list[View]) -> None:
        a, b = (self._plain(view) for view in views)
        outer = {*a.shape[:-2], *b.shape[:-2]}
        if outer - {1}:
            self._fail("of more than two matrices")
        shape = (*a.shape[:-1], b.shape[-1])
        rows = self._make(operator.output, shape, self.pace)
        tensors = [self._tensor(name) for name in operator.inputs]
        numbers: dict[str, Any] = {
            "rows": a.shape[-2],
            "terms": a.shape[-1],
            "columns": b.shape[-1],
            "zero_in": [tensor.zero_point for tensor in tensors],
            "shifts": operator.shifts,
            "wide_in": _wide(tensors),
            **_single(operator.rescale),
            **_output(self._tensor(operator.output)),
        }
        self._append("MATRIX_PRODUCT", [a, b], rows, Layer("product", numbers, {}))

    def _concat(self, operator: graph.Concat, views: list[View]) -> None:
        views = [self._plain(view) for view in views]
        axis = operator.axis
        shape = list(views[0].shape)
        shape[axis] = sum(view.shape[axis] for view in views)
        rows = self._make(operator.output, tuple(shape), self.pace)
        inner = [math.prod(view.shape[axis:]) for view in views]
        self._append(
            "CONCAT",
            views,
            rows,
            Layer(
                "concat",
                {"inputs": len(views), "outer": math.prod(shape[:axis])},
                {
                    "inner": np.array(inner, np.uint16),
                    "shifts": np.array(operator.shifts, np.uint8),
                },
            ),
        )

    # -- pools -----------------------------------------------------------

    def _pool(self, stage: PoolStage) -> None:
        operator = stage.operator
        views = [self.views[name] for name in operator.inputs]
        first = views[0]
        if isinstance(operator, graph.SoftmaxPool):
            views = [first, self._reordered(views[1], first.order)]
            # time has length 1, so that the order stays without it
            rows = self._make(operator.output, stage.shape, stage.pace, first.order)
            numbers: dict[str, Any] = {"count": rows.count, "numbers": rows.count}
            numbers |= _single(operator.logarithm)
            # int32 suffices for its result
            higher = max(0, 33 - numbers["shift"])
            shift = numbers["shift"] + higher - 32
            largest = self._tensor(operator.inputs[1]).bound
            if (
                shift in _LAST
                and not numbers["before"]
                and numbers["multiplier"] << higher < 2**31
                and largest <= _MOST_SCORE
            ):
                numbers["multiplier"] <<= higher
                numbers["last"] = shift
            layer = Layer("pool", numbers, {})
            work = 20 * rows.count
            self._append("SOFTMAX_POOL", views, rows, layer, work=work)
            return
        assert isinstance(operator, graph.Mean)
        rows = self._make(operator.output, stage.shape, stage.pace)
        kept = np.arange(rows.count).reshape(
            [1 if a in operator.axes else size for a, size in enumerate(first.shape)]
        )
        target = np.broadcast_to(kept, first.shape).reshape(-1)[first.order]
        source = self._tensor(operator.inputs[0])
        numbers = {
            "count": rows.count,
            "numbers": first.rows.count,
            "zero_in": source.zero_point,
            "fraction": operator.fraction,
            "wide_in": int(source.dtype == "int32"),
            **_single(operator.rescale),
            **_output(self._tensor(operator.output)),
        }
        layer = Layer("pool", numbers, {"target": target.astype(np.uint16)})
        self._append("MEAN_POOL", views, rows, layer, work=8 * rows.count)


def _by_band(shape: tuple[int, ...]) -> np.ndarray:
    """Order of a map ``(1, channels, 1, bands)`` with channels side by side."""
    channels, bands = shape[1], shape[3]
    return np.arange(channels * bands).reshape(channels, bands).T.reshape(-1)


def _is_narrow(weight: np.ndarray) -> bool:
    return bool(weight.min() >= _NIBBLES[0] and weight.max() <= _NIBBLES[-1])


def _single(rescale: Rescale) -> dict[str, Any]:
    return {
        "multiplier": int(rescale.multiplier),
        "shift": int(rescale.shift),
        "before": rescale.before,
    }


def _output(tensor: Tensor) -> dict[str, int]:
    return {"zero_out": tensor.zero_point, "wide": int(tensor.dtype == "int32")}


def _wide(tensors: Sequence[Tensor]) -> list[int]:
    return [int(tensor.dtype == "int32") for tensor in tensors]


def packed_weight(weight: np.ndarray, together: int) -> np.ndarray:
    """Weights as they lie in flash.

    Weights that all fit 4 bits take half a byte.
    The order lets a core with 16-bit lanes unpack two at a time.

    Args:
        weight: int8, ``(outputs, length)``,
            the length a multiple of 4, or of 8 if all fit 4 bits
        together: outputs of a group, of which each four take turns
            with four weights each; those that are left lie behind them

    Returns:
        int8, ``(outputs, length)``:
        the second and the third of each four have changed places;
        or uint8, ``(outputs, length / 2)``:
        weights plus 8, those at 0, 2; 4, 6; 1, 3; 5, 7 of each eight in a byte

    """
    outputs, length = weight.shape
    groups = weight.reshape(-1, together, length)
    whole = together // 4 * 4
    fours = groups[:, :whole].reshape(len(groups), whole // 4, 4, length // 4, 4)
    turned = fours.swapaxes(2, 3).reshape(len(groups), whole, length)
    order = np.concatenate([turned, groups[:, whole:]], 1).reshape(outputs, length)
    if not _is_narrow(weight):
        swapped = order.reshape(outputs, -1, 4)[:, :, [0, 2, 1, 3]]
        return swapped.reshape(outputs, length).astype(np.int8)
    eights = order.reshape(outputs, -1, 8).astype(np.int64) + 8
    lanes = eights[:, :, [0, 2, 4, 6, 1, 3, 5, 7]]
    both = lanes[:, :, 0::2] | lanes[:, :, 1::2] << 4
    return both.reshape(outputs, length // 2).astype(np.uint8)
