"""The C of a model as a package of a build system, with what its users expect of one.

Each kind is a folder beside this file: its files are those of the package,
with ``wav2small`` for the prefix and a few values between ``@``.
The C itself, the licence, the notice and the self-test are the same in all kinds;
:data:`KINDS` says where they lie.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...base import escape
from ...base.errors import ExportError
from ..text import renamed

_HERE = Path(__file__).parent
_PROJECT = "wav2small"
_URL = "https://arxiv.org/abs/2408.13920"
_PLAIN = ("main.c", "Makefile", "CMakeLists.txt")
"""Files of the folder without a package, in whose place a package has its own."""


@dataclass(frozen=True)
class Kind:
    """Where a kind of package has what all of them have."""

    headers: str
    """Folder of the headers that users include; sources and tables lie in ``src``."""

    example: str
    """Folder of the self-test and its golden vectors."""

    prints: bool = False
    """Whether the self-test is said on standard output, by the ``main.c`` of all."""


KINDS: Mapping[str, Kind] = {
    "cmake": Kind("include", "examples/selftest", prints=True),
    "zephyr": Kind("include", "samples/selftest/src"),
    "esp-idf": Kind("include", "examples/selftest/main"),
    "arduino": Kind("src", "examples/Selftest"),
    "platformio": Kind("include", "examples/selftest/src", prints=True),
    "cmsis-pack": Kind("include", "examples/selftest", prints=True),
}
"""Kinds of packages by name."""


def arranged(
    kind: str,
    files: Mapping[str, bytes],
    prefix: str,
    version: str,
    about: Mapping[str, str],
) -> dict[str, bytes]:
    """Return the files of a package.

    Args:
        kind: one of :data:`KINDS`
        files: what is written without a package, content by name
        prefix: what their names begin with
        version: of the project that wrote them
        about: what the model says of itself, and its ``sha256``

    Returns:
        content by path within the package

    Raises:
        ExportError: if there is no such kind

    """
    if kind not in KINDS:
        raise ExportError(
            f"package must be one of {', '.join(KINDS)}, got '{kind}': choose one"
        )
    layout = KINDS[kind]
    found = {
        _place(layout, name, prefix): _without_main(name, data)
        for name, data in files.items()
        if name not in _PLAIN
    }
    if layout.prints:
        text = (_HERE / "main.c").read_text()
        found[f"{layout.example}/main.c"] = renamed(text, prefix).encode()
    found["LICENSE"] = (_HERE / "LICENSE").read_bytes()
    found["NOTICE"] = _notice(version, about).encode()
    values = {
        "project": _PROJECT,
        "version": _numbers(version),
        "licence": _expression(about.get("licence", "")),
        "url": _URL,
        "library": _pdsc(found, ("src/", "include/")),
        "example": _pdsc(found, ("examples/",), _PLAIN),
    }
    folder = _HERE / kind
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        text = _filled(renamed(path.read_text(), prefix), values)
        found[_filled(renamed(name, prefix), values)] = text.encode()
    return found


def _place(layout: Kind, name: str, prefix: str) -> str:
    rest = name.removeprefix(prefix)
    if rest in ("_selftest.c", "_golden.h"):
        return f"{layout.example}/{name}"
    if rest in ("_config.h", "_model.h") or name.endswith(".c"):
        return f"src/{name}"
    return f"{layout.headers if name.endswith('.h') else 'extras'}/{name}"


def _without_main(name: str, data: bytes) -> bytes:
    """Self-test without a program of its own: each package has another one."""
    if not name.endswith("_selftest.c"):
        return data
    guard = name.removesuffix("_selftest.c").upper() + "_NO_MAIN"
    head = f"/* The program that calls it stands beside it. */\n#define {guard}\n\n"
    return head.encode() + data


def _filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub("@([a-z]+)@", lambda match: values.get(match[1], match[0]), text)


def _pdsc(
    files: Mapping[str, bytes], folders: tuple[str, ...], without: tuple[str, ...] = ()
) -> str:
    """Elements of a CMSIS pack for files in some folders."""
    kinds = {".c": "source", ".h": "header"}
    return "\n".join(
        f'        <file category="{kinds[path.suffix]}" name="{path}"/>'
        for path in map(PurePosixPath, files)
        if str(path).startswith(folders) and path.name not in without
    )


def _numbers(version: str) -> str:
    """Three numbers, which all kinds take for a version."""
    found = re.match(r"\d+\.\d+\.\d+", version)
    return found[0] if found else "0.0.0"


def _expression(licence: str) -> str:
    """Licence of code and weights in SPDX's words."""
    if licence == "Apache-2.0":
        return licence
    known = re.fullmatch(r"[A-Za-z0-9.+-]+( AND [A-Za-z0-9.+-]+)*", licence)
    return f"Apache-2.0 AND {licence if known else 'LicenseRef-see-NOTICE'}"


def _notice(version: str, about: Mapping[str, str]) -> str:
    """What has to be known of the weights, beside the licence of the code."""
    try:
        stated = json.loads(about.get("provenance", ""))
        sources = [(key.replace("_", " "), stated[key]) for key in stated]
    except (ValueError, TypeError):
        sources = [("provenance", about.get("provenance", "not stated"))]
    lines = [
        f"C of a speech-emotion model, written by {_PROJECT} {version}.",
        "",
        "The code is licensed under the Apache License, Version 2.0; see LICENSE.",
        "",
        "The weights, in the tables of the C and in the blob in extras, have a licence",
        "of their own and come from what is listed here.",
        "",
        f"licence: {escape.line(about.get('licence', 'unknown'))}",
        f"use: {escape.line(about.get('use', 'as the licence says'))}",
        f"SHA-256 of the ONNX file: {escape.line(about.get('sha256', 'unknown'))}",
        *(f"{escape.line(key)}: {escape.line(value)}" for key, value in sources),
    ]
    return "\n".join(lines) + "\n"
