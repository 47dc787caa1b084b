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
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
from wav2small.teachers.loading import load_teacher

TEACHER = "hearing"

LESSON: dict[str, Any] = {"variations": 4, "evaluations": 4}
"""What the students' trainings share."""

RECIPES: dict[str, dict[str, Any]] = {
    "wav2small-rt": {"epochs": 12, "forget_probability": 0.25},
    "wav2small-rt-mini": {"epochs": 12, "forget_probability": 0.25},
    "wav2small": {"epochs": 6, "bfloat16": True},
}
"""What differs in the students' trainings."""

AUGMENT = AugmentConfig(room_probability=0.4)
"""Rooms in more of the crops than the default: they are where scores move most."""

COPIES = 5
"""How often each clip of EMO-DB is in the lesson: both corpora matter together."""

DEV = ("emodb_10", "1016", "1036", "1043", "1078")
"""Training speakers on whom checkpoints are chosen."""


def write_manifest(data: Path, path: Path) -> None:
    """List all clips, with scores derived from what listeners heard where they did."""
    votes = vote_targets.read_votes(data / "crema_d")
    felt = dict(zip(votes.files, vote_targets.felt_by_word(votes), strict=True))
    rows: list[dict[str, Any]] = []
    for folder in ("emodb", "crema_d", "librispeech_subset"):
        with (data / folder / "metadata.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                kept: dict[str, Any] = {
                    "file": str((data / folder / row["file"]).resolve()),
                    "speaker": row["speaker"],
                    "gender": row.get("gender") or row.get("sex", ""),
                    "language": row.get("language") or "en",
                    "emotion": row["emotion"],
                    "split": row.get("split") or "train",
                }
                if folder == "emodb":
                    scores = target(row["emotion"], float(row["recognised_pct"]) / 100)
                    kept |= dict(zip(DIMENSIONS, map(float, scores), strict=True))
                elif folder == "crema_d":
                    # a few are felt a little beyond the norm of their word
                    scores = np.clip(felt[row["file"]], 0, 1)
                    kept |= dict(zip(DIMENSIONS, map(float, scores), strict=True))
                rows.append(kept)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


class Remembering:
    """A teacher that remembers what it heard, so that students share its scores.

    It hears in bfloat16, which moves its scores by .005 at most.
    """

    def __init__(self, folder: Path) -> None:
        self.teacher = load_teacher(TEACHER)
        self.info = self.teacher.info
        self.path = folder / f"heard-{self.info.revision}"
        self.known: dict[bytes, np.ndarray] = {}
        self.path.touch()
        self.end = 0

    def _read_on(self) -> None:
        """Read what was added to the file, by whomever."""
        with self.path.open("rb") as file:
            file.seek(self.end)
            text = file.read()
        for at in range(0, len(text) - ENTRY + 1, ENTRY):
            score = np.frombuffer(text, "<f4", 3, at + KEY)
            self.known[text[at : at + KEY]] = score
        self.end += len(text) // ENTRY * ENTRY

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals, as any teacher."""
        keys = [hashlib.sha256(signal.tobytes()).digest()[:KEY] for signal in signals]
        if not self.known.keys() >= {*keys}:
            self._read_on()
        unheard = [row for row, key in enumerate(keys) if key not in self.known]
        if unheard:
            with torch.autocast("cpu", torch.bfloat16):
                scores = self.teacher.predict([signals[row] for row in unheard])
            entries = b"".join(
                keys[row] + score.astype("<f4").tobytes()
                for row, score in zip(unheard, scores, strict=True)
            )
            with self.path.open("ab", buffering=0) as file:
                file.write(entries)
            self._read_on()
        return np.stack([self.known[key] for key in keys])


KEY, ENTRY = 16, 28
"""Bytes of what stands for a signal, and with its three scores."""


def write_lesson(labels: Path, out: Path, *, people: bool) -> None:
    """Write the labels that students learn from: those of training speakers.

    EMO-DB, a sixteenth of the clips with half of the spread, comes several times.
    ``people`` takes the scores derived from people's in place of the teacher's,
    where there are any.
    """
    if out.exists():
        return
    store = LabelStore.open(labels)
    read = store.read()
    info = store.teacher
    if people:
        info = info | {
            "name": "people",
            "revision": "votes",
            "training_data": "CREMA-D (ODbL-1.0/DbCL-1.0); EMO-DB (CC0-1.0)",
        }
    scores = np.asarray(read.human if people else read.scores)
    rows = []
    for item, split in enumerate(read.metadata["split"]):
        if split == "test" or np.isnan(scores[item, 0]):
            continue
        known = {name: column[item] for name, column in read.metadata.items()}
        dev = known["speaker"] in DEV
        row = {
            "file": read.names[item],
            "start": float(read.starts[item]),
            "end": float(read.ends[item]),
            "teacher": info["name"],
            "licence": info["licence"],
            "sha256": read.sha256[item],
        }
        row |= dict(zip(DIMENSIONS, map(float, scores[item]), strict=True))
        row |= known | {"split": "dev" if dev else "train"}
        rows += [row] * (1 if dev or known["language"] != "de" else COPIES)
    # written beside it and moved, so that what is there is whole
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    LabelStore.create(part, {"root": str(store.root), "teacher": info}).append(rows, [])
    part.rename(out)


def make(
    student: str, data: Path, labels: Path, out: Path, teacher: Remembering | None
) -> None:
    """Train a student and export it, as far as that is not done."""
    config = DistillConfig(
        student=student,
        teaching="online" if teacher else "cached",
        augment=AUGMENT,
        **(LESSON | RECIPES[student]),
    )
    with ProgressBar() as progress:
        distill(
            labels,
            out / "run",
            config,
            noise=data / "esc10",
            resume=True,
            teacher=teacher,
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
    learned = out / ("people" if arguments.votes else "lesson")
    write_lesson(labels, learned, people=arguments.votes)
    teacher = None if arguments.votes else Remembering(out)
    for student in arguments.student:
        folder = out / (f"{student}-votes" if arguments.votes else student)
        make(student, data, learned, folder, teacher)
        found = measure(load_model(folder / "int8"), labels)
        (folder / "figures.json").write_text(json.dumps(found, indent=2) + "\n")
        show(folder.name, found)
        if arguments.bundle:
            bundle(student, folder)


if __name__ == "__main__":
    main()
