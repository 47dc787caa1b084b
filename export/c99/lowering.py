"""Stages and tables of C code, which the operators enter.

Rows of a map lie with the channels of a band side by side,
so that what a convolution multiplies lies together.
An order says which number of the tensor lies where:
changes of layout then cost nothing, the weights behind them change places instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..base.errors import ExportError
from ..integer.rescale import Rescale
from ..integer.streaming.pace import Pace
from ..integer.tensor import BYTES, Tensor

if TYPE_CHECKING:
    from ..integer.operators.base import Window

Number = int | str | Sequence[int]
"""Member of a struct: a number, a name in C, or several numbers."""


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
        return self.count * BYTES["int32" if self.wide else "int8"]


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
class Step:
    """A stage of the C code."""

    kernel: str
    """What makes its rows: a fragment of C, its struct and its function."""

    label: str
    """Name of the operator that it is part of."""

    inputs: tuple[Rows, ...]
    """Rows that it reads."""

    output: Rows
    """Rows that it makes; the result of a pool."""

    pace: Pace
    """When its rows come, or those that a pool adds."""

    numbers: Mapping[str, Number] = field(default_factory=dict)
    """Members of its struct that are numbers."""

    tables: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Members of its struct that point to tables."""

    shared: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Constants that all stages of the kernel share, by their name in C."""

    packed: Mapping[str, Sequence[tuple[str, int, int]]] = field(default_factory=dict)
    """Tables whose bytes stand in macros of C that put them in the order of the core:
    name of each macro, how many bytes it takes, and how often it comes."""

    uses: tuple[str, ...] = ()
    """Parts of the kernel's fragment that it needs, the others are left out."""

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

    sums: int = 0
    """Sums of 64 bits that a pool keeps."""

    references: int = 0
    """Numbers of 32 bits that a pool keeps beside them, if it can forget."""

    macs: int = 0
    """Multiply-accumulates of a row, as far as they are counted."""

    decay: int = 0
    """How far weights in a pool fall from row to row, in ``2 ** -24`` octaves."""

    @property
    def pools(self) -> bool:
        """Whether it adds up rows and makes none."""
        return self.sums > 0


GATHER = "gather"
"""Kernel that puts numbers into another order."""


class Lowering:
    """Stages of a model so far, to which operators add theirs."""

    LAST = range(1, 23)
    """Shifts that may follow upper words, the zero point added before."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors
        self.views: dict[str, View] = {}
        """Where each tensor lies."""
        self.steps: list[Step] = []
        """Stages so far."""
        self.begin("", Pace(1, 0, 0))

    def begin(
        self,
        label: str,
        pace: Pace,
        shape: tuple[int, ...] | None = None,
        window: Window | None = None,
        pooling: bool = False,
        macs: int = 0,
    ) -> None:
        """Begin an operator.

        Args:
            label: its name
            pace: when its rows come
            shape: of a row that it makes, or of the result of a pool;
                None behind the pooling
            window: rows of the input that it needs, None if those of the same place
            pooling: whether it pools over time
            macs: multiply-accumulates of a row

        """
        self.label, self.pace, self.macs = label, pace, macs
        self.shape, self.window, self.pooling = shape, window, pooling

    def fail(self, reason: str) -> NoReturn:
        """Refuse the operator."""
        raise ExportError(
            f"operator must have C code, got {self.label}, {reason}: "
            "choose a student that streams, like wav2small-rt"
        )

    def make(
        self, name: str, shape: tuple[int, ...], order: np.ndarray | None = None
    ) -> Rows:
        """Enter a tensor; its numbers lie in their own order if none is given."""
        count = math.prod(shape)
        rows = Rows(name, count, self.tensors[name].wide, self.pace)
        order = np.arange(count) if order is None else order
        self.views[name] = View(rows, shape, order)
        return rows

    def make_map(self, name: str, source: View) -> tuple[View, Rows, Window]:
        """Enter a map whose rows are made of several rows of another one.

        Args:
            name: of the tensor
            source: the other map

        Returns:
            the other map, channels side by side as here, the rows that are made,
            and which rows each of them is made of

        """
        if self.window is None or self.shape is None:
            self.fail("which stands where none is expected")
        source = self.map(source)
        return (
            source,
            self.make(name, self.shape, self.by_band(self.shape)),
            self.window,
        )

    def append(
        self,
        kernel: str,
        inputs: Sequence[View],
        output: Rows,
        numbers: Mapping[str, Number],
        tables: Mapping[str, np.ndarray] | None = None,
        **more: Any,
    ) -> None:
        """Enter a stage; further arguments are members of :class:`Step`."""
        rows = tuple(view.rows for view in inputs)
        self.steps.append(
            Step(
                kernel,
                self.label,
                rows,
                output,
                self.pace,
                numbers,
                tables or {},
                macs=self.macs,
                **more,
            )
        )

    def same(
        self,
        kernel: str,
        name: str,
        views: Sequence[View],
        numbers: Mapping[str, Number],
        tables: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Enter a stage that makes a tensor of the numbers at the same place."""
        first, *others = views
        if any(view.shape != first.shape for view in others):
            self.fail("whose inputs differ in shape")
        views = [first, *(self.reordered(view, first.order) for view in others)]
        rows = self.make(name, first.shape, first.order)
        self.append(kernel, views, rows, {**numbers, "count": rows.count}, tables)

    def reordered(self, view: View, order: np.ndarray) -> View:
        """View whose numbers lie in another order."""
        if np.array_equal(view.order, order):
            return view
        place = np.empty(len(order), np.int64)
        place[view.order] = np.arange(len(order))
        name = f"{view.rows.name} {len(self.steps)} {self.label}"
        rows = replace(view.rows, name=name, keep=0)
        self.steps.append(
            Step(
                GATHER,
                self.label,
                (view.rows,),
                rows,
                rows.pace,
                {"count": rows.count, "wide": int(rows.wide)},
                {"order": place[order].astype(np.uint16)},
            )
        )
        return View(rows, view.shape, order)

    def plain(self, view: View) -> View:
        """View whose numbers lie in their own order."""
        return self.reordered(view, np.arange(len(view.order)))

    def map(self, view: View) -> View:
        """View of a map ``(1, channels, 1, bands)`` with channels side by side."""
        return self.reordered(view, self.by_band(view.shape))

    def keep(self, name: str, back: int) -> None:
        """Keep rows of a tensor, in the order in which the last stage reads it."""
        rows = self.views[name].rows
        for step in reversed(self.steps):
            if step.kernel == GATHER and step.inputs[0] is rows:
                rows = step.output
                break
            if rows in step.inputs:
                break
        rows.keep = max(rows.keep, back)

    # -- members of structs ----------------------------------------------

    def output(self, name: str) -> dict[str, Number]:
        """Zero point and width of what is made."""
        tensor = self.tensors[name]
        return {"zero_out": tensor.zero_point, "wide": int(tensor.wide)}

    def sources(self, names: Sequence[str]) -> dict[str, Number]:
        """Zero points and widths of what is read."""
        tensors = [self.tensors[name] for name in names]
        return {
            "zero_in": [tensor.zero_point for tensor in tensors],
            "wide_in": [int(tensor.wide) for tensor in tensors],
        }

    @staticmethod
    def single(rescale: Rescale) -> dict[str, int]:
        """Members of a rescaling by one factor."""
        return {
            "multiplier": int(rescale.multiplier),
            "shift": int(rescale.shift),
            "before": rescale.before,
        }

    @staticmethod
    def by_band(shape: tuple[int, ...]) -> np.ndarray:
        """Order of a map ``(1, channels, 1, bands)`` with channels side by side."""
        channels, bands = shape[1], shape[3]
        return np.arange(channels * bands).reshape(channels, bands).T.reshape(-1)
