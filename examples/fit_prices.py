"""Fit the prices of the bench's plans to what emulated cores take.

    python examples/fit_prices.py MEASURED.json [--core cortex-m4 ...]

Students of many shapes with random weights, and the bundled ones, are built for each
core and run there: the instructions of each stage, the code, the stack. What was
measured is kept in MEASURED.json; what stands there is not measured again.
Then the prices that come nearest are written to ``firmware_bench/plan/prices.json``,
beside the code that reads them, and for each model a line says how far the plan is off.

Prices are at least 0. Errors count by their square, relative to what the whole
model takes, so that a stage which takes nothing may be off and one which takes all
may not. ``tests/test_bench_firmware_plan.py`` compares plans with fresh measurements,
of models among these and of others.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from wav2small.cli.untrained import untrained
from wav2small.export.c99 import generate, outline
from wav2small.export.c99.golden import min_samples
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.reader import read
from wav2small.firmware_bench.cores import CORES
from wav2small.firmware_bench.plan import firmware as planning
from wav2small.firmware_bench.plan.firmware import amounts
from wav2small.firmware_bench.run.emulation import emulate, profile, result_and_stack
from wav2small.firmware_bench.run.signals import voice
from wav2small.firmware_bench.run.toolchain import build
from wav2small.models import bundled, find_onnx

PRICES = Path(planning.__file__).with_name("prices.json")
HOPS = 100
"""Hops that are counted, the first half of them left out."""
FEW_HOPS = 40
"""The same where each stop of the emulator takes long."""

MODELS: dict[str, tuple[str, dict[str, Any], int | None]] = {
    "rt, 7 bits": ("wav2small-rt", {}, None),
    "rt, 4 bits": ("wav2small-rt", {}, 45_000),
    "rt-mini, 4 bits": ("wav2small-rt-mini", {}, 40_000),
    "rt, 48 channels": ("wav2small-rt", {"channels": 48, "filters": (8, 16)}, None),
    "rt, 96 channels": ("wav2small-rt", {"channels": 96, "filters": (24, 32)}, None),
    "rt, 24 bands": ("wav2small-rt", {"n_mels": 24, "kernel": 5, "channels": 32}, None),
    "rt, 64 bands": ("wav2small-rt", {"n_mels": 64, "dilations": (1, 3, 9)}, 60_000),
    "rt, 16 ms window": (
        "wav2small-rt",
        {"window_length": 256, "hop_length": 128, "n_mels": 32, "channels": 40},
        None,
    ),
    "rt, 64 ms window": (
        "wav2small-rt",
        {"window_length": 1024, "hop_length": 320, "filters": (12, 20)},
        None,
    ),
    "rt, odd": ("wav2small-rt", {"channels": 54, "filters": (10, 13)}, None),
    "wav2small, 7 bits": ("wav2small", {}, None),
    "wav2small, 4 bits": ("wav2small", {}, 60_000),
    "wav2small, 8 channels": ("wav2small", {"channels": 8, "n_mels": 20}, None),
    "wav2small, 4 ms hop": (
        "wav2small",
        {"window_length": 128, "hop_length": 64, "n_mels": 32, "channels": 16},
        60_000,
    ),
    "wav2small-17k": ("wav2small-17k", {}, None),
    "wav2small-17k, 4 bits": ("wav2small-17k", {}, 22_000),
}
"""Students by what is other than usual: name, settings and limit of the file."""


def models() -> dict[str, IntegerGraph]:
    """The bundled models and those of :data:`MODELS`."""
    made = {name: read(find_onnx(name)) for name in bundled()}
    for title, (name, settings, limit) in MODELS.items():
        made[title] = read(untrained(name, settings, limit))
    return made


def measure(model: IntegerGraph, core: str) -> dict[str, Any]:
    """Counts of a model on a core, in JSON types."""
    made = outline(model)
    hop = made.plan.front.constants.hop_length
    fewest = min_samples(made.plan)
    hops = FEW_HOPS if CORES[core].board else HOPS
    samples = voice(max(hops * hop, 2 * fewest))
    with tempfile.TemporaryDirectory() as folder:
        generate(model, folder)
        plain = build(folder, core)
        traced = build(folder, core, trace=True)
    small = emulate(plain, samples[: fewest + 2 * hop])
    _, stack = result_and_stack(plain, voice(4 * fewest), 37)
    found = profile(traced, samples)
    return {
        "stages": {
            str(stage): [found.rows[stage], count, *found.cycles[stage]]
            for stage, count in found.stages.items()
        },
        "rest": [found.rest, *found.rest_cycles],
        "seconds": found.seconds,
        "flash": small.flash_bytes,
        "constants": small.constant_bytes,
        "stack": stack,
        "structs": structs(plain.elf),
    }


def structs(elf: bytes) -> dict[str, int]:
    """Bytes of the arrays of structs of a program, by the name of the struct."""
    import io

    from elftools.elf.elffile import ELFFile

    table = ELFFile(io.BytesIO(elf)).get_section_by_name(".symtab")
    names = {"lines": "line", "stages": "stage"}
    found = {}
    for symbol in table.iter_symbols():
        name = symbol.name.partition(".")[0]
        if name in names or name.endswith("_layers"):
            found[names.get(name, name.removesuffix("_layers"))] = symbol["st_size"]
    return found


def equations(
    model: IntegerGraph, found: dict[str, Any]
) -> list[tuple[dict[str, float], list[float]]]:
    """Amounts and what they took, per second of audio, of each mark of the trace."""
    made = outline(model)
    front = made.plan.front.constants
    rates = {int(i): row[0] / found["seconds"] for i, row in found["stages"].items()}
    groups: dict[int, dict[str, float]] = {i: {} for i in rates}
    rest: dict[str, float] = {"push": 16000 / front.hop_length}

    def add(to: dict[str, float], step: Any, rate: float) -> None:
        for name, amount in amounts(step, front).items():
            to[name] = to.get(name, 0) + amount * rate

    for i, rate in rates.items():
        add(groups[i], made.steps[i], rate)
    rows = [
        (groups[int(i)], [value / found["seconds"] for value in row[1:]])
        for i, row in found["stages"].items()
    ]
    return [*rows, (rest, [value / found["seconds"] for value in found["rest"]])]


def solve(
    rows: Sequence[tuple[dict[str, float], float, float]],
) -> dict[str, float]:
    """Prices of at least 0 whose sums come nearest, each row with its weight."""
    names = sorted({name for amounts, _, _ in rows for name in amounts})
    matrix = np.array(
        [
            [amounts.get(name, 0) * weight for name in names]
            for amounts, _, weight in rows
        ]
    )
    scale = np.abs(matrix).max(axis=0)
    scale[scale == 0] = 1
    wanted = np.array([took * weight for _, took, weight in rows])
    found, _ = nnls(matrix / scale, wanted, maxiter=100 * len(names))
    return {
        name: float(price)
        for name, price in zip(names, found / scale, strict=True)
        if price
    }


def fit(
    graphs: dict[str, IntegerGraph], measured: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Prices of one core, from what was measured there."""
    prices: list[dict[str, float]] = []
    for column in range(3):
        rows = []
        for title, found in measured.items():
            parts = equations(graphs[title], found)
            total = sum(took[column] for _, took in parts)
            rows += [
                (
                    amounts,
                    took[column],
                    1 / (total * max(took[column], total / 100)) ** 0.5,
                )
                for amounts, took in parts
            ]
            # the whole as well, as it is what counts
            whole: dict[str, float] = {}
            for needed, _ in parts:
                for name, amount in needed.items():
                    whole[name] = whole.get(name, 0) + amount
            rows.append((whole, total, 3 / total))
        prices.append(solve(rows))
    names = sorted(set().union(*prices))
    code = [
        (
            dict.fromkeys(
                ("always", *planning.plan_firmware(graphs[title]).parts), 1.0
            ),
            found["flash"] - found["constants"],
            1.0,
        )
        for title, found in measured.items()
    ]
    return {
        "stack_bytes": max(found["stack"] for found in measured.values()),
        "code": {name: round(size) for name, size in solve(code).items()},
        "work": {
            name: [float(f"{column.get(name, 0):.4g}") for column in prices]
            for name in names
        },
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measured", type=Path)
    parser.add_argument("--core", nargs="+", default=list(CORES))
    options = parser.parse_args(arguments)
    graphs = models()
    path: Path = options.measured
    kept = json.loads(path.read_text()) if path.exists() else {}
    for core in options.core:
        for title, graph in graphs.items():
            if title in kept.setdefault(core, {}):
                continue
            print(f"{core}: {title}", file=sys.stderr)
            kept[core][title] = measure(graph, core)
            path.write_text(json.dumps(kept))
    sizes: dict[str, int] = {}
    for title, found in kept[options.core[0]].items():
        counts = outline(graphs[title]).structs
        sizes |= {name: size // counts[name] for name, size in found["structs"].items()}
    # what is known of cores that were not measured now stays
    known = json.loads(PRICES.read_text()) if PRICES.exists() else {}
    fitted = {core: fit(graphs, kept[core]) for core in kept}
    prices = {
        "compiler": "clang of ziglang, -O2",
        "structs": known.get("structs", {}) | dict(sorted(sizes.items())),
        "cores": known.get("cores", {}) | fitted,
    }
    PRICES.write_text(json.dumps(prices, indent=1) + "\n")
    planning.PRICES |= prices
    print("| core | model | stack | flash | instructions | cycles, from | to |")
    print("|---|---|---|---|---|---|---|")
    for core in kept:
        for title, found in kept[core].items():
            made = planning.plan_firmware(graphs[title]).on(core)
            assert made is not None
            parts = [took for _, took in equations(graphs[title], found)]
            took = [sum(part[i] for part in parts) for i in range(3)]
            off = [
                made.stack_bytes - found["stack"],
                made.flash_bytes / found["flash"] - 1,
                made.instructions_per_second / took[0] - 1,
                made.cycles_per_second[0] / took[1] - 1,
                made.cycles_per_second[1] / took[2] - 1,
            ]
            shares = " | ".join(f"{100 * share:+.1f} %" for share in off[1:])
            print(f"| {core} | {title} | {off[0]:+} B | {shares} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
