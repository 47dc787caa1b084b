"""The integer operators, one file each.

A file of this folder that has an operator is all that it takes:
its classes are found here.
See :class:`wav2small.export.integer.operators.base.Operator` for what it promises.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from .base import Operator, Traits


def _all_kinds() -> tuple[type[Operator], ...]:
    """Operators of all files of this folder, by the name of their file."""
    found: list[type[Operator]] = []
    names = sorted(entry.name for entry in iter_modules(__path__))
    for name in names:
        if name == "base" or name.startswith("_"):
            continue
        module = import_module(f"{__name__}.{name}")
        found += [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, Operator)
            and value.__module__ == module.__name__
            and value is not Operator
        ]
    return tuple(found)


KINDS = _all_kinds()
"""All integer operators."""

TRAITS: dict[str, Traits] = {
    name: traits for kind in KINDS for name, traits in kind.TRAITS.items()
}
"""What is to be known of each ONNX operator that is read."""

READERS: dict[str, tuple[type[Operator], ...]] = {
    name: tuple(kind for kind in KINDS if name in kind.ONNX)
    for name in sorted({name for kind in KINDS for name in kind.ONNX})
}
"""Operators that an ONNX operator may become; the first that takes a node has it."""
