"""The main job on real speech, and how the bundled models are made.

    python examples/real_speech.py DATA OUT [--student NAME ...] [--epochs N] [--bundle]

DATA holds ``emodb``, ``librispeech_subset`` and ``esc10``,
each with ``metadata.csv`` (16 kHz audio, paths in the column ``file``).
The bundled teacher annotates all speech,
each student learns from LibriSpeech and the training speakers of EMO-DB,
is exported in fp32 and int8,
and is evaluated on EMO-DB's other speakers,
whom neither teacher nor student has heard.
At the end stand a table and a picture of all students in OUT:
concordance against operations, bytes and memory.
What is done already is not done again.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import typer
from train_teacher import target

from wav2small import audio, checkpoint, cli
from wav2small.adv import DIMENSIONS
from wav2small.annotation.store import LabelStore
from wav2small.evaluation import agreement
from wav2small.export.base import checksums
from wav2small.export.base.files import replace_file
from wav2small.export.model.speech import detector_of, with_speech
from wav2small.firmware_bench.bench import bench
from wav2small.models import ASSETS, load_model
from wav2small.students import STUDENTS

RECIPES: dict[str, dict[str, Any]] = {
    # what it says of silence it learns slowly; see docs/students.md
    "wav2small": {"epochs": 200, "batch_size": 32, "non_speech": 0.1},
    "wav2small-rt": {"epochs": 100},
    "wav2small-rt-mini": {"epochs": 200},
}
"""Options of ``distill`` for the students that are bundled."""

OTHERS: dict[str, Any] = {"epochs": 20}
"""Options of ``distill`` for all other students."""

WINDOW = 0.5
"""Seconds that a model which cannot stream takes at a time."""

TARGET = "generic-m4-64k"
"""Where RAM is planned for."""


def write_manifest(data: Path, path: Path) -> None:
    """List EMO-DB with the norms of its categories as human scores, and LibriSpeech."""
    rows = []
    for folder in ("emodb", "librispeech_subset"):
        with (data / folder / "metadata.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                kept = {
                    name: row.get(name, "")
                    for name in ("speaker", "gender", "language", "emotion")
                }
                kept["file"] = str((data / folder / row["file"]).resolve())
                kept["split"] = row.get("split", "train")
                if folder == "emodb":
                    scores = target(row["emotion"], float(row["recognised_pct"]) / 100)
                    kept |= dict(zip(DIMENSIONS, scores, strict=True))
                rows.append(kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def make(
    student: str, recipe: dict[str, Any], data: Path, labels: Path, out: Path
) -> None:
    """Train a student and export it, as far as that is not done."""
    run, fp32, int8 = out / "run", out / "fp32", out / "int8"
    cli.distill(
        labels,
        run,
        student=student,
        **recipe,
        noise=data / "esc10",
        # twice as fast where the processor has it; the others gain nothing
        bfloat16=student in ("wav2small", "wav2small-17k"),
        resume=True,
    )
    calibration = [data / "librispeech_subset"]
    if not (fp32 / "model.onnx").exists():
        cli.export(
            str(run),
            fp32,
            precision="fp32",
            calibration=calibration,
            overwrite=True,
        )
    if not (int8 / "model.onnx").exists():
        bundled = student in RECIPES
        try:
            cli.export(
                str(run),
                int8,
                calibration=calibration,
                max_bytes="60KiB" if bundled else None,
                tune=300 if bundled else None,
                overwrite=True,
            )
        except typer.Exit:
            # what fails its checks is not written: it takes part in fp32
            if bundled:
                raise


def measure(out: Path, labels: Path) -> dict[str, Any]:
    """Measure an exported student on speakers that nobody has heard."""
    store = LabelStore.open(labels)
    read = store.read()
    rows = [row for row, split in enumerate(read.metadata["split"]) if split == "test"]
    signals = [
        audio.load(store.root / read.names[row], end=float(read.ends[row]))
        for row in rows
    ]
    fp32 = load_model(out / "fp32").predict(signals)
    precision = "int8" if (out / "int8" / "model.onnx").exists() else "fp32"
    int8 = load_model(out / precision).predict(signals)
    teacher, norms = read.scores[rows], np.asarray(read.human)[rows]
    path = out / precision / "model.onnx"
    report = bench(path, window_seconds=WINDOW, targets=[TARGET], host=False)
    plan = report["c99"]["plan"]
    streams = plan is not None and not plan["held_bytes"]
    steps = checkpoint.load(out / "run" / "last")[1]["step"]
    return {
        "clips": len(rows),
        "steps": steps,
        "precision": precision,
        "int8 to the teacher": agreement(teacher, int8),
        "fp32 to the teacher": agreement(teacher, fp32),
        "int8 to the norms": agreement(norms, int8),
        "int8 to fp32": agreement(fp32, int8),
        "largest difference": float(abs(int8 - fp32).max()),
        "bytes": path.stat().st_size,
        "streams": streams,
        "macs_per_second": (plan or report["compute"])["macs_per_second"],
        "ram": report["budgets"][0]["checks"][0]["actual"],
    }


def table(results: dict[str, dict[str, Any]]) -> list[str]:
    """Rows of the table of students."""
    lines = [
        "| student | steps | A | D | V | mean | int8 to fp32 | bytes | MMAC/s | RAM "
        "| streams |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        to_teacher, to_fp32 = result["int8 to the teacher"], result["int8 to fp32"]
        cells = [
            name if result["precision"] == "int8" else f"{name} (fp32)",
            f"{result['steps']:,}",
            *(f"{to_teacher[axis]['ccc']:.3f}" for axis in DIMENSIONS),
            f"{to_teacher['mean']:.3f}",
            " ".join(f"{to_fp32[axis]['ccc']:.4f}" for axis in DIMENSIONS)
            if result["precision"] == "int8"
            else "fails its checks",
            f"{result['bytes']:,}",
            f"{result['macs_per_second'] / 1e6:.1f}",
            f"{result['ram']:,}",
            "yes" if result["streams"] else "no",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def front(points: list[tuple[float, float, str]]) -> list[tuple[float, float]]:
    """Return those of the points, in order of cost, that none before surpasses."""
    kept: list[tuple[float, float]] = []
    for cost, mean, _ in points:
        if not kept or mean > kept[-1][1]:
            kept.append((cost, mean))
    return kept


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw concordance against cost, with the students that none surpasses joined."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure, panels = plt.subplots(1, 3, figsize=(13, 5), sharey=True)
    costs = (
        ("macs_per_second", "operations, MMAC per second of audio", 1e6),
        ("bytes", "complete ONNX, kB", 1e3),
        ("ram", "activation memory, kB", 1e3),
    )
    for panel, (key, title, unit) in zip(panels, costs, strict=True):
        points = sorted(
            (result[key] / unit, result["int8 to the teacher"]["mean"], name)
            for name, result in results.items()
        )
        middle = np.sqrt(points[0][0] * points[-1][0])
        for cost, mean, name in points:
            streams = results[name]["streams"]
            label = name.replace("wav2small", "w2s").replace("mobilenet", "mn")
            if results[name]["precision"] == "fp32":
                label += " (fp32)"
            panel.plot(
                cost,
                mean,
                "o",
                color="tab:blue",
                fillstyle="full" if streams else "none",
            )
            panel.annotate(
                label,
                (cost, mean),
                xytext=(4 if cost < middle else -4, 4),
                ha="left" if cost < middle else "right",
                textcoords="offset points",
                fontsize=8,
            )
        panel.step(
            *zip(*front(points), strict=True), where="post", color="grey", linewidth=0.8
        )
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.margins(x=0.15)
        panel.set_xlabel(title)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("mean CCC to the teacher, unseen speakers")
    panels[2].set_title("filled: streams; else half a second at a time", fontsize=9)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a figure of pyplot as PNG, and close it."""
    import matplotlib.pyplot as plt

    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--student", nargs="+", default=["wav2small"], choices=STUDENTS)
    parser.add_argument("--epochs", type=int, help="of each; else as in RECIPES")
    parser.add_argument(
        "--bundle", action="store_true", help="put the models into the package"
    )
    arguments = parser.parse_args()
    data, out = arguments.data, arguments.out

    manifest, labels = out / "manifest.csv", out / "labels"
    write_manifest(data, manifest)
    cli.annotate([manifest, labels], resume=True)
    results = {}
    for student in arguments.student:
        recipe = dict(RECIPES.get(student, OTHERS))
        if arguments.epochs:
            recipe["epochs"] = arguments.epochs
        make(student, recipe, data, labels, out / student)
        results[student] = measure(out / student, labels)
        (out / student / "figures.json").write_text(
            json.dumps(results[student], indent=2) + "\n"
        )
        show(student, results[student])
        if arguments.bundle:
            bundle(student, out / student)
    lines = table(results)
    (out / "students.md").write_text("\n".join(lines) + "\n")
    draw(results, out / "students.png")
    print("\n".join(lines))


def bundle(student: str, out: Path) -> None:
    """Put a student's checkpoint and int8 model into the package.

    The detector of speech of the model that is there stays: it reads the log-mel map,
    which does not depend on what a student has learned.
    """
    folder = ASSETS / student
    detector = detector_of(onnx.load(folder / "model.onnx"))
    shutil.copytree(out / "run" / "best", folder / "checkpoint", dirs_exist_ok=True)
    for name in ("model.onnx", "model.yaml"):
        shutil.copy(out / "int8" / name, folder)
    if detector:
        model = with_speech(onnx.load(folder / "model.onnx"), detector)
        replace_file(folder / "model.onnx", model.SerializeToString(deterministic=True))
    checksums.write(folder)


def show(student: str, result: dict[str, Any]) -> None:
    """Print what a student comes to, with intervals."""
    print(f"\n{student}: {result['clips']} clips of unseen speakers, ", end="")
    print(f"{result['precision']} of {result['bytes']:,} bytes")
    for title in (
        "int8 to the teacher",
        "fp32 to the teacher",
        "int8 to the norms",
        "int8 to fp32",
    ):
        cells = " ".join(
            "{ccc:.4f} [{ccc_interval[0]:.3f}, {ccc_interval[1]:.3f}]".format(
                **result[title][name]
            )
            for name in DIMENSIONS
        )
        print(f"{title:<22} {cells}  mean {result[title]['mean']:.4f}")
    print(f"largest difference of int8 to fp32: {result['largest difference']:.4f}\n")


if __name__ == "__main__":
    main()
