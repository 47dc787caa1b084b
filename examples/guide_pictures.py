"""Draw the pictures of the guides: pipeline, chips, instructions of each layer.

    python examples/guide_pictures.py

It benches the bundled models on an emulated Cortex-M4 (extras `firmware`, `report`)
and writes `docs/pipeline.png`, `docs/chips.png` and `docs/instructions.png`.
Letters are large enough to be read at half the size.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

import wav2small
from wav2small.firmware_bench.target import TARGETS
from wav2small.models import bundled

DOCS = Path(__file__).parent.parent / "docs"
COLOURS = ("#2e5c8a", "#e07b39", "#6a9a3b")
STEPS = (
    ("your speech", "any format"),
    ("annotate", "a teacher scores it"),
    ("distill", "a student learns"),
    ("export", "one int8 file"),
    ("bench", "fits, or not"),
    ("the chip", "C99, 8 to 12 KB"),
)
"""Stations of the pipeline, and what happens there."""


def draw_pipeline(path: Path) -> None:
    """Draw the way from speech to the chip."""
    figure, axes = plt.subplots(figsize=(12, 2.2), layout="constrained")
    for place, (name, what) in enumerate(STEPS):
        command = 0 < place < len(STEPS) - 1
        box = FancyBboxPatch(
            (place * 2, 0), 1.6, 1, boxstyle="round,pad=0.05", linewidth=2,
            edgecolor=COLOURS[0], facecolor="#dce8f4" if command else "white",
        )  # fmt: skip
        axes.add_patch(box)
        axes.text(
            place * 2 + 0.8, 0.5, name, ha="center", va="center", fontsize=18,
            fontweight="bold" if command else "normal",
        )  # fmt: skip
        axes.text(place * 2 + 0.8, -0.25, what, ha="center", va="top", fontsize=14)
        if place:
            axes.annotate(
                "", (place * 2 - 0.06, 0.5), (place * 2 - 0.34, 0.5),
                arrowprops={"arrowstyle": "-|>", "lw": 2.5, "color": COLOURS[0]},
            )  # fmt: skip
    axes.set(xlim=(-0.15, len(STEPS) * 2 - 0.25), ylim=(-0.55, 1.1))
    axes.axis("off")
    save(figure, path)


def draw_chips(reports: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw RAM and flash of the models beside those of chips."""
    figure, axes = plt.subplots(figsize=(12, 7), layout="constrained")
    models = []
    for name, report in reports.items():
        checks = {c["name"]: c["actual"] for c in report["budgets"][0]["checks"]}
        models.append((name, checks["ram"] / 1024, checks["flash"] / 1024))
    chips = [
        (name, target.ram_bytes.value / 1024, target.flash_bytes.value / 1024)
        for name, target in TARGETS.items()
        if target.ram_bytes and target.flash_bytes and target.verified
    ]
    for (name, ram, flash), colour in zip(models, COLOURS, strict=True):
        axes.scatter(ram, flash, s=200, color=colour, label=name, zorder=3)
    _, chip_ram, chip_flash = zip(*chips, strict=True)
    axes.scatter(
        chip_ram, chip_flash, s=90, color="#888888", marker="s",
        label="chips and profiles",
    )  # fmt: skip
    several: dict[tuple[float, float], list[str]] = {}
    for name, ram, flash in chips:
        several.setdefault((ram, flash), []).append(name)
    for place, names in several.items():
        axes.annotate(
            "\n".join(names), place, (14, -6), textcoords="offset points",
            fontsize=13, va="center",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlim=(5, 1600), ylim=(40, 4000))
    ticks = (8, 16, 32, 64, 128, 256, 512, 1024)
    axes.set_xticks(ticks, map(str, ticks), fontsize=15)
    ticks = (64, 128, 256, 512, 1024, 2048)
    axes.set_yticks(ticks, map(str, ticks), fontsize=15)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.set_xlabel("RAM, KiB: state, stack, samples held", fontsize=16)
    axes.set_ylabel("flash, KiB: code and tables", fontsize=16)
    axes.legend(fontsize=15, loc="lower right")
    save(figure, path)


def draw_instructions(reports: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw the layers that take the most instructions of each model that streams."""
    shown = {name: report for name, report in reports.items() if report["firmware"]}
    figure, several = plt.subplots(
        1, len(shown), figsize=(14, 7), layout="constrained", squeeze=False
    )
    for axes, (name, report) in zip(several[0], shown.items(), strict=True):
        layers = report["firmware"]["cores"][0]["layers"]
        found = {e["name"]: e["instructions_per_second"] / 1e6 for e in layers}
        most = sorted(found, key=found.__getitem__, reverse=True)[:10]
        rest = [layer for layer in found if layer not in most]
        values = [found[layer] for layer in most] + [sum(found[x] for x in rest)]
        names = [*most, f"{len(rest)} others"]
        axes.barh(names[::-1], values[::-1], color=COLOURS[0])
        for row, value in enumerate(values[::-1]):
            axes.text(value, row, f" {value:.2f}", va="center", fontsize=14)
        axes.set_xlim(0, 1.25 * max(values))
        axes.tick_params(labelsize=14)
        axes.set_title(f"{name}: {sum(found.values()):.1f} M", fontsize=17)
        axes.set_xlabel("M instructions per second of audio", fontsize=15)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a picture 1200 pixels wide or a little more."""
    figure.savefig(path, dpi=100)
    plt.close(figure)
    print(path)


def main() -> None:
    """Bench the bundled models and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the pictures")
    folder = parser.parse_args().out
    draw_pipeline(folder / "pipeline.png")
    reports = {
        name: wav2small.bench(
            name, targets=["generic-m4-64k"], emulate=name.startswith("wav2small-rt")
        ).figures
        for name in ("wav2small-rt", "wav2small-rt-mini", "wav2small")
        if name in bundled()
    }
    draw_chips(reports, folder / "chips.png")
    draw_instructions(reports, folder / "instructions.png")


if __name__ == "__main__":
    main()
