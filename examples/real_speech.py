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
import json
from pathlib import Path

from train_teacher import target

from wav2small import cli
from wav2small.adv import DIMENSIONS


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
    cli.export(str(run), int8, calibration=calibration, overwrite=True)
    for name, model in (("fp32", fp32), ("int8", int8)):
        cli.evaluate(
            str(model),
            labels,
            split="test",
            json_file=out / f"{name}.json",
            picture=out / f"{name}.png",
        )
    means = {
        name: round(
            json.loads((out / f"{name}.json").read_text())["teacher"]["mean"], 4
        )
        for name in ("fp32", "int8")
    }
    print(f"mean CCC to the teacher on unseen speakers: {means}")


if __name__ == "__main__":
    main()
