"""The main job on real speech, and how the bundled models are made.

    python examples/real_speech.py DATA OUT [--student NAME] [--epochs N]

DATA holds ``emodb``, ``librispeech_subset`` and ``esc10``,
each with ``metadata.csv`` (16 kHz audio, paths in the column ``file``).
The bundled teacher annotates all speech,
the student learns from LibriSpeech and the training speakers of EMO-DB,
and is evaluated on EMO-DB's other speakers,
whom neither teacher nor student has heard.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from train_teacher import target

from wav2small import audio, cli
from wav2small.adv import DIMENSIONS
from wav2small.evaluate import agreement
from wav2small.labels import LabelStore
from wav2small.models import load_model


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--student", default="wav2small")
    parser.add_argument("--epochs", type=int, default=120)
    arguments = parser.parse_args()
    data, out = arguments.data, arguments.out

    manifest, labels, run = out / "manifest.csv", out / "labels", out / "run"
    write_manifest(data, manifest)
    cli.annotate([manifest, labels], resume=True)
    cli.distill(
        labels,
        run,
        student=arguments.student,
        epochs=arguments.epochs,
        noise=data / "esc10",
        resume=True,
    )
    fp32, int8 = out / "fp32", out / "int8"
    calibration = [data / "librispeech_subset"]
    cli.export(
        str(run),
        fp32,
        precision=cli.Precision.fp32,
        calibration=calibration,
        overwrite=True,
    )
    cli.export(
        str(run),
        int8,
        calibration=calibration,
        max_bytes="60KiB",
        tune=300,
        overwrite=True,
    )
    for name, model in (("fp32", fp32), ("int8", int8)):
        cli.evaluate(
            str(model),
            labels,
            split="test",
            json_file=out / f"{name}.json",
            picture=out / f"{name}.png",
        )
    show(out, labels)


def show(out: Path, labels: Path) -> None:
    """Print what the run comes to on speakers that nobody has heard."""
    store = LabelStore.open(labels)
    read = store.read()
    rows = [row for row, split in enumerate(read.metadata["split"]) if split == "test"]
    signals = [
        audio.load(store.root / read.names[row], end=float(read.ends[row]))
        for row in rows
    ]
    fp32, int8 = (load_model(out / name).predict(signals) for name in ("fp32", "int8"))
    size = (out / "int8" / "model.onnx").stat().st_size
    print(f"\n{len(rows)} clips of unseen speakers, int8 of {size:,} bytes")
    for title, pair in (
        ("teacher against norms", (read.human[rows], read.scores[rows])),
        ("fp32 against teacher", (read.scores[rows], fp32)),
        ("int8 against teacher", (read.scores[rows], int8)),
        ("int8 against norms", (read.human[rows], int8)),
        ("int8 against fp32", (fp32, int8)),
    ):
        figures = agreement(*pair)
        cells = " ".join(
            "{ccc:.4f} [{ccc_interval[0]:.3f}, {ccc_interval[1]:.3f}]".format(
                **figures[name]
            )
            for name in DIMENSIONS
        )
        print(f"{title:<22} {cells}  mean {figures['mean']:.4f}")
    print(f"largest difference of int8 to fp32: {abs(int8 - fp32).max():.4f}")


if __name__ == "__main__":
    main()
