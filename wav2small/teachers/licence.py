"""Which licences of weights allow any use, and what the others are refused with.

A student inherits what its teacher may be used for.
So a teacher for research only is let in by a word of the user,
and what it makes says so from then on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from ..errors import InputError

Policy = Literal["permissive", "research"]
"""``permissive``: only teachers whose licence allows any use;
``research``: all, and what others than those make is marked."""

POLICIES: tuple[str, ...] = get_args(Policy)

RESEARCH = "research-only"
"""Mark of what a teacher for research made, in labels, checkpoint and ONNX."""

ANY = "any"
"""Mark of what may be used for anything, within its licence."""

UNKNOWN = "unknown"
"""Licence of what states none."""

PERMISSIVE = (
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC-BY-3.0",
    "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0", "Unlicense", "Zlib",
)  # fmt: skip
"""SPDX identifiers of licences that allow commercial use."""

_SPDX = {name.lower(): name for name in PERMISSIVE}
_RESTRICTED = re.compile(
    r"(^|[-_. ])nc([-_. ]|$)|non-?commercial|rail|research|academic", re.IGNORECASE
)


def canonical(licence: object) -> str:
    """Write an identifier as SPDX does, e.g. ``mit`` as ``MIT``.

    Args:
        licence: what a model card or a file states, None if nothing

    Returns:
        identifier, ``unknown`` for what names no licence

    """
    text = " ".join(str(licence or "").split())
    if text.lower() in ("", "other", "none", UNKNOWN):
        return UNKNOWN
    if text.lower() in _SPDX:
        return _SPDX[text.lower()]
    return text.upper() if re.fullmatch(r"cc-by-[a-z0-9.-]+", text, re.I) else text


def use(licence: str) -> str:
    """Tell what weights of a licence may be used for.

    Args:
        licence: identifier, or several joined by ``AND``

    Returns:
        :data:`ANY` if each is of :data:`PERMISSIVE`, else :data:`RESEARCH`

    """
    parts = re.split(r"\s+AND\s+", licence)
    return ANY if all(part.lower() in _SPDX for part in parts) else RESEARCH


def mark(stated: Mapping[str, Any]) -> str:
    """Tell what may be done with what carries a licence and perhaps a mark.

    Args:
        stated: ``licence`` and, if it is not of an older version, ``use``:
            a teacher in labels, a checkpoint's configuration
            or an ONNX file's metadata

    Returns:
        :data:`ANY` or :data:`RESEARCH`

    """
    licence = canonical(stated.get("licence"))
    return RESEARCH if stated.get("use") == RESEARCH else use(licence)


def most_restrictive(licences: Sequence[str]) -> str:
    """Return the licence that what is made of several has to keep.

    An unknown one is taken for more than a non-commercial one,
    that for more than one that allows any use;
    several of one kind are joined by ``AND``.
    """

    def rank(licence: str) -> int:
        if use(licence) == ANY:
            return 0
        return 1 if _RESTRICTED.search(licence) else 2

    worst = max(map(rank, licences))
    strictest = dict.fromkeys(licence for licence in licences if rank(licence) == worst)
    return " AND ".join(strictest)


def check(name: str, licence: str, policy: str, where: str, *, mark: str = ANY) -> None:
    """Refuse a teacher that a policy does not let in.

    Args:
        name: the teacher
        licence: its licence
        policy: one of :data:`POLICIES`
        where: the file in which its licence can be stated
        mark: what it says of itself that it may be used for

    Raises:
        InputError: if it is for research only and the policy is not,
            or there is no such policy

    """
    if policy not in POLICIES:
        raise InputError(
            f"licence policy must be one of {', '.join(POLICIES)}, got '{policy}'"
        )
    if policy == "research" or (use(licence) == ANY and mark != RESEARCH):
        return
    allow = (
        "--licence-policy research, and all that is made with it "
        f"will be marked {RESEARCH}"
    )
    if _RESTRICTED.search(licence) or mark == RESEARCH:
        raise InputError(
            f"teacher '{name}' must be free for any use, got licence {licence}, "
            f"{RESEARCH}: pass {allow}"
        )
    raise InputError(
        f"teacher '{name}' must have a licence that allows any use, got {licence}: "
        f'state it as "licence" in {where} or pass {allow}'
    )
