"""Integers of 64 bits in an ONNX graph, with the operators of Python.

What is computed is what NumPy computes of int64,
so that the graph gives the bits of the integer reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

_POWERS = 2 ** np.arange(63, dtype=np.int64)


class Nodes:
    """Nodes and constants of a graph so far."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[tuple[str, tuple[int, ...], bytes], TensorProto] = {}

    def constant(self, array: np.ndarray | int | Sequence[int]) -> Integers:
        """Enter a constant; what is no float is int64."""
        found = np.asarray(array)
        if found.dtype != np.float32 and found.dtype != np.float64:
            found = found.astype(np.int64)
        key = (found.dtype.name, found.shape, found.tobytes())
        if key not in self.constants:
            name = f"c{len(self.constants)}"
            self.constants[key] = numpy_helper.from_array(found, name)
        return Integers(self, self.constants[key].name)

    def value(self, operand: Any) -> Integers:
        """Return a value as it is, and anything else as a constant."""
        return operand if isinstance(operand, Integers) else self.constant(operand)

    def outputs(
        self, kind: str, count: int, *operands: Any, **given: Any
    ) -> list[Integers]:
        """Enter a node of several outputs."""
        inputs = [self.value(operand).name for operand in operands]
        names = [f"v{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node(kind, inputs, names, **given))
        return [Integers(self, name) for name in names]

    def node(self, kind: str, *operands: Any, **given: Any) -> Integers:
        """Enter a node."""
        return self.outputs(kind, 1, *operands, **given)[0]

    def concat(self, values: Sequence[Any], axis: int) -> Integers:
        """Values side by side."""
        return self.node("Concat", *values, axis=axis)

    def where(self, condition: Integers, yes: Any, no: Any) -> Integers:
        """Numbers of one or the other."""
        return self.node("Where", condition, yes, no)

    def look_up(self, table: np.ndarray, places: Integers) -> Integers:
        """Entries of a table."""
        return self.node("Gather", table, places, axis=0)

    def power_of_two(self, exponent: Integers) -> Integers:
        """``2 ** exponent``, for exponents in 0..62."""
        return self.look_up(_POWERS, exponent)

    def bit_length(self, value: Integers) -> Integers:
        """Bits of numbers that are not negative."""
        wide = self.node("Unsqueeze", value, [-1])
        reached = (wide >= _POWERS).cast(TensorProto.INT64)
        return self.node("ReduceSum", reached, [-1], keepdims=0)


class Integers:
    """A tensor of the graph."""

    def __init__(self, builder: Nodes, name: str) -> None:
        self.builder, self.name = builder, name

    def __add__(self, other: Any) -> Integers:
        return self.builder.node("Add", self, other)

    def __sub__(self, other: Any) -> Integers:
        return self.builder.node("Sub", self, other)

    def __mul__(self, other: Any) -> Integers:
        return self.builder.node("Mul", self, other)

    def __neg__(self) -> Integers:
        return self.builder.node("Neg", self)

    def __mod__(self, other: Any) -> Integers:
        return self.builder.node("Mod", self, other)

    def __floordiv__(self, other: Any) -> Integers:
        # the division of ONNX rounds to zero, and there is none to round here
        return self.builder.node("Div", self - self % other, other)

    def __rshift__(self, bits: int | np.ndarray) -> Integers:
        return self // (np.int64(1) << np.asarray(bits, np.int64))

    def __ge__(self, other: Any) -> Integers:
        return self.builder.node("GreaterOrEqual", self, other)

    def equals(self, other: Any) -> Integers:
        """Where numbers are the same."""
        return self.builder.node("Equal", self, other)

    def both(self, other: Integers) -> Integers:
        """Where two conditions hold."""
        return self.builder.node("And", self, other)

    def at_least(self, other: Any) -> Integers:
        """The larger numbers."""
        return self.builder.node("Max", self, other)

    def at_most(self, other: Any) -> Integers:
        """The smaller numbers."""
        return self.builder.node("Min", self, other)

    def cast(self, kind: int) -> Integers:
        """Numbers of another type."""
        return self.builder.node("Cast", self, to=kind)

    def reshape(self, shape: Sequence[int]) -> Integers:
        """Numbers in another shape."""
        return self.builder.node("Reshape", self, list(shape))

    def take(self, places: Sequence[int] | np.ndarray, axis: int = 0) -> Integers:
        """Some of the numbers, in an order."""
        return self.builder.node("Gather", self, np.asarray(places), axis=axis)

    def rounded_shift(self, bits: int | np.ndarray) -> Integers:
        """Divide by a power of two that is known, halves up."""
        one = np.int64(1) << np.asarray(bits, np.int64)
        return (self + (one >> 1)) // one

    def rounded_shift_by(self, bits: Integers) -> Integers:
        """Divide by a power of two that is computed, halves up."""
        one = self.builder.power_of_two(bits)
        return (self + one // 2) // one
