"""How a chip's flash memory is read: wait states, and the caches before it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wav2small.export.base.errors import BenchError

CACHES = ("instruction_cache", "data_cache", "shared_cache")
"""Names of the caches that a chip may have; a shared one has no others beside it."""
_COUNTS = ("wait_states", "read_bytes")
_FIELDS = (*_COUNTS, *CACHES, "source", "verified")
_SIZES = ("bytes", "line_bytes", "ways")


@dataclass(frozen=True)
class Cache:
    """A cache that replaces what was used the longest time ago."""

    bytes: int
    """Bytes that it holds."""

    line_bytes: int
    """Bytes that have their place together."""

    ways: int
    """Lines that may hold the same address."""


@dataclass(frozen=True)
class FlashReads:
    """What reading a chip's flash memory costs at the clock of its target."""

    wait_states: int
    """Cycles that a read takes beside its own."""

    read_bytes: int
    """Bytes that a read brings, of which the core takes a word in each cycle."""

    source: str
    """Where it can be looked up."""

    verified: bool
    """Whether a primary source states all of it."""

    instruction_cache: Cache | None = None
    """Cache of instructions alone."""

    data_cache: Cache | None = None
    """Cache of constants alone."""

    shared_cache: Cache | None = None
    """Cache of both, on the one bus that brings both."""

    @property
    def has_cache(self) -> bool:
        """Whether there is a cache of any kind."""
        return any(getattr(self, name) is not None for name in CACHES)


def parse_flash_reads(entry: Any, where: str) -> FlashReads:
    """Read the entry ``flash_reads`` of a target.

    Args:
        entry: what the file says
        where: name of the file

    Raises:
        BenchError: if it does not say how flash memory is read

    """
    right = (
        isinstance(entry, dict)
        and {*_COUNTS, "source", "verified"} <= set(entry) <= set(_FIELDS)
        and all(_is_count(entry[name]) for name in _COUNTS)
        and entry["read_bytes"] in (4, 8, 16, 32, 64)
        and isinstance(entry["source"], str)
        and isinstance(entry["verified"], bool)
        and all(_is_cache(entry, name) for name in CACHES if name in entry)
        and ("shared_cache" not in entry or not set(CACHES[:2]) & set(entry))
    )
    if not right:
        text = " ".join(json.dumps(entry).split())
        raise BenchError(
            f"'flash_reads' in '{where}' must be an object with wait_states, "
            "read_bytes (a power of 2), source and verified, and caches with bytes, "
            f"line_bytes and ways that fit each other, got {text[:80]}: correct it"
        )
    caches = {name: Cache(**entry[name]) for name in CACHES if name in entry}
    return FlashReads(**{**entry, **caches})


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_cache(flash: dict[str, Any], name: str) -> bool:
    """Whether an entry describes a cache that can be built."""
    cache = flash[name]
    if not isinstance(cache, dict) or set(cache) != set(_SIZES):
        return False
    if not all(_is_count(cache[size]) for size in _SIZES):
        return False
    return (
        cache["line_bytes"] % flash["read_bytes"] == 0
        and cache["bytes"] % (cache["line_bytes"] * cache["ways"]) == 0
    )
