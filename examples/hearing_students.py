"""The bundled students, distilled from the teacher ``hearing``.

    python examples/hearing_students.py DATA OUT [--student NAME] [--votes] [--bundle]

DATA holds ``emodb``, ``crema_d``, ``librispeech_subset`` and ``esc10``.
The teacher annotates EMO-DB and CREMA-D. Each student learns from their training
speakers through rooms, lost bands, noise and colours, is exported to int8,
and is compared with the teacher and with what listeners heard
on speakers that neither teacher nor student has heard.
``--votes`` trains on the derived scores of people in place of the teacher's.
What is done already is not done again.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import vote_targets
from real_speech import bundle
from train_teacher import target

from wav2small import audio, cli
from wav2small.adv import DIMENSIONS
from wav2small.annotation.store import LabelStore
from wav2small.config import AugmentConfig, DistillConfig
from wav2small.distillation import distill
from wav2small.evaluation import agreement
from wav2small.models import load_model
from wav2small.progress import ProgressBar

TEACHER = "hearing"

RECIPES: dict[str, dict[str, Any]] = {
    "wav2small-rt": {"epochs": 6},
    "wav2small-rt-mini": {"epochs": 6},
    "wav2small": {"epochs": 6, "batch_size": 32, "non_speech": 0.1, "bfloat16": True},
}
"""What differs in the students' training."""

AUGMENT = AugmentConfig(room_probability=0.4)
"""Rooms in more of the crops than the default: they are where scores move most."""


def write_manifest(data: Path, path: Path) -> None:
    """List all clips with the scores that are derived from what listeners heard."""
    votes = vote_targets.read_votes(data / "crema_d")
    felt = dict(zip(votes.files, vote_targets.felt_by_word(votes), strict=True))
    rows: list[dict[str, Any]] = []
    for folder in ("emodb", "crema_d"):
        with (data / folder / "metadata.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                kept: dict[str, Any] = {
                    "file": str((data / folder / row["file"]).resolve()),
                    "speaker": row["speaker"],
                    "gender": row.get("gender") or row.get("sex", ""),
                    "language": row.get("language") or "en",
                    "emotion": row["emotion"],
                    "split": row["split"],
                }
                if folder == "emodb":
                    scores = target(row["emotion"], float(row["recognised_pct"]) / 100)
                else:
                    # a few are felt a little beyond the norm of their word
                    scores = np.clip(felt[row["file"]], 0, 1)
                rows.append(
                    kept | dict(zip(DIMENSIONS, map(float, scores), strict=True))
                )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def people_instead(labels: Path, out: Path) -> None:
    """Write labels whose scores are those derived from people's."""
    if (out / "manifest.json").exists() or out.exists():
        return
    store = LabelStore.open(labels)
    read = store.read()
    info = store.teacher | {
        "name": "people",
        "revision": "votes",
        "training_data": "CREMA-D (ODbL-1.0/DbCL-1.0); EMO-DB (CC0-1.0)",
    }
    fresh = LabelStore.create(out, {"root": str(store.root), "teacher": info})
    rows = []
    for item in np.flatnonzero(~np.isnan(read.human[:, 0])):
        row = {
            "file": read.names[item],
            "start": float(read.starts[item]),
            "end": float(read.ends[item]),
            "teacher": "people",
            "licence": store.teacher["licence"],
            "sha256": read.sha256[item],
        }
        row |= dict(zip(DIMENSIONS, map(float, read.human[item]), strict=True))
        row |= {name: column[item] for name, column in read.metadata.items()}
        rows.append(row)
    fresh.append(rows, [])


def make(student: str, data: Path, labels: Path, out: Path) -> None:
    """Train a student and export it, as far as that is not done."""
    config = DistillConfig(
        student=student,
        teaching="cached",
        evaluations=3,
        augment=AUGMENT,
        **RECIPES[student],
    )
    with ProgressBar() as progress:
        distill(
            labels,
            out / "run",
            config,
            noise=data / "esc10",
            resume=True,
            progress=progress,
        )
    if not (out / "int8" / "model.onnx").exists():
        cli.export(
            str(out / "run"),
            out / "int8",
            calibration=[data / "librispeech_subset"],
            max_bytes="60KiB",
            tune=300,
            overwrite=True,
        )


def measure(model: Any, labels: Path) -> dict[str, Any]:
    """Compare a model with teacher and people on the test speakers of each corpus."""
    store = LabelStore.open(labels)
    read = store.read()
    split, language = (np.array(read.metadata[n]) for n in ("split", "language"))
    found: dict[str, Any] = {}
    scores = np.full((len(read.names), 3), np.nan, np.float32)
    for item in np.flatnonzero(split == "test"):
        signal = audio.load(store.root / read.names[item], end=float(read.ends[item]))
        scores[item] = model.predict([signal])[0]
    tested = split == "test"
    for title, here in (
        ("EMO-DB", tested & (language == "de")),
        ("CREMA-D", tested & (language == "en")),
        ("both", tested),
    ):
        truth = np.asarray(read.human)[here]
        found[title] = {
            "clips": int(here.sum()),
            "to the teacher": agreement(read.scores[here], scores[here]),
            "to people": agreement(truth, scores[here]),
            "teacher to people": agreement(truth, read.scores[here]),
        }
    return found


def show(title: str, found: dict[str, Any]) -> None:
    """Print rows of a table: concordance with its interval."""
    for corpus, entry in found.items():
        for kind in ("to the teacher", "to people", "teacher to people"):
            cells = [
                "{ccc:.3f} [{ccc_interval[0]:.3f}, {ccc_interval[1]:.3f}]".format(
                    **entry[kind][name]
                )
                for name in DIMENSIONS
            ]
            cells.append(f"{entry[kind]['mean']:.3f}")
            print(f"| {title} | {corpus} | {kind} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--student", nargs="+", default=["wav2small-rt"], choices=RECIPES
    )
    parser.add_argument("--votes", action="store_true", help="learn from people alone")
    parser.add_argument("--bundle", action="store_true", help="put into the package")
    parser.add_argument("--label", action="store_true", help="label and stop")
    arguments = parser.parse_args()
    data, out = arguments.data, arguments.out
    labels = out / "labels"
    if not (out / "manifest.csv").exists():
        write_manifest(data, out / "manifest.csv")
    cli.annotate([out / "manifest.csv", labels], teacher=TEACHER, resume=True)
    if arguments.label:
        return
    learned = labels
    if arguments.votes:
        learned = out / "people"
        people_instead(labels, learned)
    for student in arguments.student:
        folder = out / (f"{student}-votes" if arguments.votes else student)
        make(student, data, learned, folder)
        found = measure(load_model(folder / "int8"), labels)
        (folder / "figures.json").write_text(json.dumps(found, indent=2) + "\n")
        show(folder.name, found)
        if arguments.bundle:
            bundle(student, folder)


if __name__ == "__main__":
    main()
