"""Find out for which Pythons and systems every package of wav2small has a wheel.

    python examples/wheels.py

It asks the package index by uv (`pip install uv`), which resolves for a system that it
does not run on, downloads nothing and allows no package that would have to be compiled.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux aarch64": "aarch64-manylinux_2_28",
    "macOS arm64": "aarch64-apple-darwin",
    "macOS x86-64": "x86_64-apple-darwin",
    "Windows x86-64": "x86_64-pc-windows-msvc",
}
EXTRAS = ("", "firmware", "report", "train", "teachers", "scale", "tflite")


def missing(python: str, system: str, extra: str) -> str | None:
    """What has no wheel, None if everything has."""
    command = ["uv", "pip", "compile", "-q", "--only-binary", ":all:"]
    command += ["--python-version", python, "--python-platform", system]
    command += ["--extra", extra] if extra else []
    done = subprocess.run(
        [*command, "pyproject.toml"],
        cwd=Path(__file__).parent.parent,
        # a Mac of the year 2023
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"},
        capture_output=True,
        text=True,
    )
    if not done.returncode:
        return None
    text = " ".join(done.stderr.split())
    return text.partition("Because ")[2].partition(" has no")[0] or text[-120:]


def main() -> None:
    """Print a table, and end with 1 if the base cannot be installed somewhere."""
    print("| system | " + " | ".join(extra or "base" for extra in EXTRAS) + " |")
    print("|---" * (len(EXTRAS) + 1) + "|")
    whole = True
    for name, system in SYSTEMS.items():
        cells = []
        for extra in EXTRAS:
            without = {
                python: what
                for python in PYTHONS
                if (what := missing(python, system, extra)) is not None
            }
            whole = whole and (bool(extra) or not without)
            there = [python for python in PYTHONS if python not in without]
            reasons = sorted(set(without.values()))
            cells.append(", ".join([*there, *(f"no {what}" for what in reasons)]))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    sys.exit(not whole)


if __name__ == "__main__":
    main()
