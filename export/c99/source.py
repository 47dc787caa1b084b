"""Put ``wav2small.c`` together from fragments of C.

A kernel is a fragment with the name that :class:`Step` gives it:
its struct ``<kernel>_t`` and its function ``<kernel>_row``,
or ``<kernel>_add`` and ``<kernel>_result`` of a pool.
What a fragment calls stands in fragments of their own, see :data:`HELPERS`.

A fragment may have conditions on what is known of the model.
They are decided here, so that the file has none of them;
those on what the compiler alone knows stay.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ..base.errors import ExportError
from .lowering import Step
from .program import FRONT
from .text import table

FRAGMENTS = Path(__file__).parent / "fragments"
"""Folder of the fragments."""

HELPERS = (
    "round_shift",
    "rescale",
    "divide",
    "saturate",
    "saturate_short",
    "plus_upper",
    "upper_rounded",
    "plus_upper_rounded",
    "copy",
    "fetch",
    "store",
    "put_output",
)
"""Fragments that are there where something calls what they are named after."""

_CONDITION = re.compile(r"#\s*(if|elif|else|endif)\b\s*(.*)")
_COMPARISONS = {"<": operator.lt, ">": operator.gt, ">=": operator.ge}
_INCLUDE = re.compile(r'#include "(\w+\.c)"\n')


def write_source(steps: Sequence[Step], known: Mapping[str, int]) -> str:
    """C of a model, without its numbers and tables.

    Args:
        steps: stages of the model
        known: what conditions of fragments may ask for, by name;
            names that begin with ``USES_`` are 0 if they are not there

    Raises:
        ExportError: if a kernel has no fragment

    """
    used = {step.kernel: step for step in steps if step.kernel != FRONT}
    pools = sorted(name for name, step in used.items() if step.pools)
    rows = sorted(set(used) - set(pools) - {"keep"})
    works = {step.kernel for step in steps if step.work}

    def fragment(name: str) -> str:
        return resolved(fragment_text(name), known)

    kernels = []
    for name in (*rows, *pools):
        shared = used[name].shared.items()
        kernels += ["\n".join(table(*entry)) for entry in shared]
        kernels.append(fragment(name))
    rest = [
        fragment("weights"),
        fragment("front_end"),
        _compute(rows, works),
        _add_row(pools),
        _make_result(pools),
        fragment("schedule"),
        fragment("api"),
        fragment("further"),
    ]
    parts = [
        fragment("top"),
        fragment("types"),
        "/* -- arithmetic ----------------------------------------------------- */",
        *_helpers([*kernels, *rest], fragment),
        "/* -- layers and pools ------------------------------------------------ */",
        *kernels,
        _kinds(rows, pools),
        '#include "wav2small_model.h"',
        *rest,
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def fragment_text(name: str) -> str:
    """Fragment, with those that it includes."""
    path = FRAGMENTS / f"{name}.c"
    try:
        text = path.read_text()
    except FileNotFoundError as error:
        raise ExportError(
            f"operator must have C code, got no fragment '{path.name}': write it"
        ) from error
    return _INCLUDE.sub(lambda match: fragment_text(match[1].removesuffix(".c")), text)


def _helpers(parts: Sequence[str], fragment: Callable[[str], str]) -> Iterator[str]:
    """Fragments that others call, in an order in which each is known before."""
    wanted: dict[str, str] = {}
    for name in reversed(HELPERS):
        called = re.compile(rf"\b{name}\(")
        if any(called.search(text) for text in (*parts, *wanted.values())):
            wanted[name] = fragment(name)
    yield from reversed(wanted.values())


def _kinds(rows: Sequence[str], pools: Sequence[str]) -> str:
    names = ["FRONT", "KEEP", *(name.upper() for name in (*rows, *pools))]
    listed = ", ".join(names)
    return (
        "/* The kinds of stages; pools are the last. */\n"
        f"enum {{ {listed} }};\n"
        f"enum {{ POOLS = {pools[0].upper()} }};"
    )


def _switch(head: str, cases: Sequence[str], unused: Sequence[str]) -> str:
    lines = [head, "{", "    switch (kind) {"]
    lines += cases
    lines += [
        "    default:",
        "        /* a table of this model names no other kind */",
        "        break;",
        "    }",
        *(f"    (void){name};" for name in unused),
        "}",
    ]
    return "\n".join(lines)


def _compute(rows: Sequence[str], works: set[str]) -> str:
    cases = []
    for name in rows:
        work = ", work" if name in works else ""
        cases += [
            f"    case {name.upper()}: {{",
            f"        USE_LAYER({name});",
            f"        {name}_row(one, from, values{work});",
            "        break;",
            "    }",
        ]
    return _switch(
        "/* Computes what has no memory of its own. */\n"
        "static void compute(WITH_WEIGHTS uint32_t kind, uint32_t layer,\n"
        "                    const void *const from[], void *values, int16_t *work)",
        cases,
        ("layer", "from", "values", "work"),
    )


def _add_row(pools: Sequence[str]) -> str:
    cases = []
    for name in pools:
        cases += [
            f"    case {name.upper()}: {{",
            f"        USE_LAYER({name});",
            f"        {name}_add(one, sums, references, from, decay);",
            "        break;",
            "    }",
        ]
    return _switch(
        "/* Adds a row to the sums of a pool. */\n"
        "static void add_row(WITH_WEIGHTS uint32_t kind, uint32_t layer,\n"
        "                    int64_t *sums, int32_t *references,\n"
        "                    const void *const from[], uint32_t decay)",
        cases,
        (),
    )


def _make_result(pools: Sequence[str]) -> str:
    cases = []
    for name in pools:
        cases += [
            f"    case {name.upper()}: {{",
            f"        USE_LAYER({name});",
            f"        {name}_result(one, sums, rows, values);",
            "        break;",
            "    }",
        ]
    return _switch(
        "/* Makes numbers of the sums of a pool, to which so many rows were added. */\n"
        "static void make_result(WITH_WEIGHTS uint32_t kind, uint32_t layer,\n"
        "                        const int64_t *sums, uint32_t rows, void *values)",
        cases,
        (),
    )


# -- conditions --------------------------------------------------------------


def resolved(text: str, known: Mapping[str, int]) -> str:
    """Text without the conditions whose names are all known.

    Conditions are C's ``#if``, ``#else`` and ``#endif``.
    """
    lines: list[str] = []
    taken: list[bool | None] = []  # of each condition; None is left to the compiler
    for line in text.splitlines():
        found = _CONDITION.match(line)
        if found is None:
            if False not in taken:
                lines.append(line)
            continue
        word, condition = found.groups()
        if word == "if":
            taken.append(_value(condition, known))
            visible = taken[-1] is None and False not in taken
        else:
            visible = taken[-1] is None and False not in taken[:-1]
        if visible:
            lines.append(line)
        elif word == "else" and taken[-1] is not None:
            taken[-1] = not taken[-1]
        if word == "endif":
            taken.pop()
    return "\n".join(lines) + "\n"


def _value(condition: str, known: Mapping[str, int]) -> bool | None:
    """Value of terms joined by ``&&``, None if one has a name that is not known."""
    values = [_term(term.split(), known) for term in condition.split("&&")]
    return None if None in values else all(values)


def _term(words: Sequence[str], known: Mapping[str, int]) -> bool | None:
    left = _number(words[0], known)
    if len(words) == 1 or left is None:
        return None if left is None else bool(left)
    right = _number(words[2], known)
    return None if right is None else bool(_COMPARISONS[words[1]](left, right))


def _number(word: str, known: Mapping[str, int]) -> int | None:
    if word.isdecimal():
        return int(word)
    return known.get(word, 0 if word.startswith("USES_") else None)
