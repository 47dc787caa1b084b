"""Chips: their memory, clock and core, each with the source of the figure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from wav2small.export.base.errors import BenchError, one_line
from wav2small.export.base.reading import read_json

from .flash import FlashReads, parse_flash_reads
from .size import parse_size

DEFAULT_TARGETS = ("generic-m4-64k", "generic-m33-128k", "generic-m55-256k")
"""Targets with round numbers, for users who have not chosen a chip yet."""


_LIMITS = ("clock_hz", "ram_bytes", "flash_bytes")
_FIGURES = (*_LIMITS, "nanoamperes_per_megahertz", "supply_millivolts")
_TEXTS = ("name", "core", "description")


class Figure(NamedTuple):
    """A number and where it is from."""

    value: int
    """The number, in the unit of its field."""

    source: str
    """Where it can be looked up."""

    verified: bool
    """Whether a primary source states it;
    if not, the figure decides all the same, and is marked."""


@dataclass(frozen=True)
class Target:
    """A chip, or what a firmware leaves of it."""

    name: str
    """Name in tables and on the command line."""

    core: str
    """Name of the core that runs the model,
    see :data:`wav2small.firmware_bench.cores.CORES`."""

    description: str = ""
    """Further remarks, one line."""

    clock_hz: Figure | None = None
    """Clock of the core in Hz, None if not known."""

    ram_bytes: Figure | None = None
    """RAM in bytes, None if not known."""

    flash_bytes: Figure | None = None
    """Flash or other memory for constants in bytes, None if not known."""

    nanoamperes_per_megahertz: Figure | None = None
    """Current while the core runs, for each MHz of its clock, None if not known."""

    supply_millivolts: Figure | None = None
    """Supply at which that current flows, known if the current is."""

    flash_reads: FlashReads | None = None
    """What reading flash memory costs at this clock, None if not known."""

    @property
    def verified(self) -> bool:
        """Whether every figure that decides is verified, those that are known."""
        return all(figure.verified for figure in self._figures)

    @property
    def source(self) -> str:
        """Where the figures that decide are from."""
        return "; ".join(dict.fromkeys(figure.source for figure in self._figures))

    @property
    def _figures(self) -> list[Figure]:
        figures = (getattr(self, name) for name in _LIMITS)
        return [figure for figure in figures if figure is not None]

    def amount(self, name: str, unit: int) -> str:
        """A figure in a unit; ``?`` marks what is unverified, ``-`` what is unknown."""
        figure: Figure | None = getattr(self, name)
        if figure is None:
            return "-"
        return f"{figure.value / unit:,.6g}{_question_mark(figure)}"

    @property
    def summary(self) -> str:
        """Core, clock, RAM and flash in one line; ``?`` marks what is unverified."""
        clock = "clock unknown"
        if self.clock_hz:
            clock = f"{self.clock_hz.value / 1e6:g} MHz{_question_mark(self.clock_hz)}"
        memory = [
            f"{figure.value / 1024:,.0f} KiB{_question_mark(figure)} {kind}"
            if figure
            else f"{kind} unknown"
            for kind, figure in (("RAM", self.ram_bytes), ("flash", self.flash_bytes))
        ]
        return ", ".join((f"{self.core} {clock}", *memory, self.description))


def _question_mark(figure: Figure) -> str:
    return "" if figure.verified else "?"


def load_target(name_or_path: str | Path) -> Target:
    """Look up a target by its name or read one from a JSON file.

    The file holds one object with ``name``, ``core``
    and any of ``description``, ``clock_hz``, ``ram_bytes``, ``flash_bytes``,
    ``nanoamperes_per_megahertz``, ``supply_millivolts`` and ``flash_reads``
    (see :func:`wav2small.firmware_bench.flash.parse_flash_reads`).
    A figure is a number, a size such as ``"96KiB"``,
    or an object with ``value``, ``source`` and ``verified``.
    A plain number or size counts as verified by the author of the file.

    Args:
        name_or_path: name of :data:`TARGETS`, or path of the file

    Raises:
        BenchError: if there is no such target,
            or the file does not describe one

    """
    if str(name_or_path) in TARGETS:
        return TARGETS[str(name_or_path)]
    path = Path(name_or_path)
    if path.suffix != ".json":
        raise BenchError(
            f"target must be one of {', '.join(TARGETS)} or a JSON file, got "
            f"'{name_or_path}': see the list or write a file"
        )
    try:
        entry = read_json(path)
    except (OSError, ValueError) as error:
        raise BenchError(
            f"target '{path.name}' must be a JSON file, got {one_line(error)}: "
            "check the path and the file"
        ) from error
    return _parse_target(entry, path.name)


def _parse_target(entry: Any, where: str) -> Target:
    if not isinstance(entry, dict) or not {"name", "core"} <= set(entry):
        raise BenchError(
            f"target in '{where}' must be an object with 'name' and 'core', got "
            f"{_shortened(entry)}: add them"
        )
    fields = (*_TEXTS, *_FIGURES, "flash_reads")
    unknown = sorted(set(entry) - set(fields))
    if unknown:
        raise BenchError(
            f"target in '{where}' must have the fields "
            f"{', '.join(fields)}, got '{unknown[0]}': "
            "remove or rename it"
        )
    for key in _TEXTS:
        value = entry.get(key, "")
        if (
            not isinstance(value, str)
            or "\n" in value
            or (key in ("name", "core") and not value)
        ):
            raise BenchError(
                f"'{key}' in '{where}' must be one line of text, got "
                f"{_shortened(value)}: correct it"
            )
    known = {
        key: _parse_figure(entry[key], key, where) for key in _FIGURES if key in entry
    }
    charge, supply = _FIGURES[-2:]
    if (charge in known) != (supply in known):
        raise BenchError(
            f"target in '{where}' must have both '{charge}' and '{supply}' or none, "
            "got one: add the other"
        )
    reads = entry.get("flash_reads")
    return Target(
        entry["name"],
        entry["core"],
        entry.get("description", ""),
        flash_reads=None if reads is None else parse_flash_reads(reads, where),
        **known,
    )


def _parse_figure(entry: Any, key: str, where: str) -> Figure:
    fields = {"value", "source", "verified"}
    if not isinstance(entry, dict):
        entry = {"value": entry, "source": where, "verified": True}
    value = entry.get("value")
    if isinstance(value, str) and key.endswith("_bytes"):
        value = parse_size(value)
    if (
        set(entry) != fields
        or type(value) is not int
        or value < 1
        or not isinstance(entry["source"], str)
        or not isinstance(entry["verified"], bool)
    ):
        raise BenchError(
            f"'{key}' in '{where}' must be a whole number above 0, or an object with "
            f"value, source and verified, got {_shortened(entry)}: correct it"
        )
    return Figure(value, entry["source"], entry["verified"])


def _shortened(value: Any) -> str:
    text = " ".join(json.dumps(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def _read_targets() -> dict[str, Target]:
    text = resources.files(__package__).joinpath("targets.json").read_text("utf-8")
    return {
        name: _parse_target({"name": name, **entry}, "targets.json")
        for name, entry in json.loads(text).items()
    }


TARGETS = _read_targets()
"""The targets that come with the bench, by name."""
