"""The bundled students, distilled from the teacher ``hearing``.

    python examples/hearing_students.py DATA OUT [--student NAME] [--votes] [--bundle]

DATA holds ``emodb``, ``crema_d``, ``librispeech_subset`` and ``esc10``.
The teacher annotates EMO-DB and CREMA-D. Each student learns from their training
speakers through rooms, lost bands, noise and colours, and as much again from what
they sound like on a way through a hearing aid. It is exported to int8
and compared with the teacher and with what listeners heard
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
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import vote_targets
from real_speech import bundle
from train_teacher import target

from wav2small import audio, cli
from wav2small.acoustics.way import to_the_ear
from wav2small.adv import DIMENSIONS, SAMPLING_RATE
from wav2small.annotation.store import LabelStore
from wav2small.clips import read_noises
from wav2small.config import AugmentConfig, DistillConfig
from wav2small.distillation import distill
from wav2small.evaluation import agreement
from wav2small.models import StudentModel, load_model
from wav2small.progress import ProgressBar
from wav2small.students import STUDENTS
from wav2small.students.streaming import Streaming

TEACHER = "hearing"

LESSON: dict[str, Any] = {"teaching": "cached", "crop_seconds": 3.0, "evaluations": 4}
"""What the students' trainings share."""

RECIPES: dict[str, dict[str, Any]] = {
    "wav2small-rt": {"epochs": 16, "forget_probability": 0.25},
    "wav2small-rt-mini": {"epochs": 16, "forget_probability": 0.25},
    "wav2small": {"epochs": 7, "bfloat16": True},
}
"""What differs in the students' trainings."""

AUGMENT = AugmentConfig(room_probability=0.4)
"""Rooms in more of the crops than the default: they are where scores move most."""

COPIES = 5
"""How often each clip of EMO-DB is in the lesson: both corpora matter together."""

SECONDS = 4
"""Time constant of the forgetting that is measured."""

DEV = ("emodb_10", "1016", "1036", "1043", "1078")
"""Training speakers on whom checkpoints are chosen."""


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


class Ear:
    """Writes clips as they sound at the output of a hearing aid.

    Args:
        data: folder with recordings of places and of voices
        out: folder that the clips are written to

    """

    def __init__(self, data: Path, out: Path) -> None:
        self.data, self.out = data, out
        self._noises: list[np.ndarray] = []
        self._voices: list[np.ndarray] = []

    def __call__(self, job: tuple[Path, float, int, int]) -> tuple[str, str]:
        """Write one way of a clip; return the file's path and SHA-256."""
        source, end, item, turn = job
        path = self.out / f"{item:05d}-{turn}.flac"
        if not path.exists():
            if not self._noises:  # read once in each process
                self._noises = read_noises(self.data / "esc10")
                voices = sorted((self.data / "librispeech_subset").rglob("*.flac"))
                self._voices = [audio.load(file) for file in voices[::4]]
            changed = to_the_ear(
                audio.load(source, end=end),
                np.random.default_rng([item, turn]),
                noises=self._noises,
                voices=self._voices,
            )
            changed *= min(1.0, 0.99 / max(float(np.abs(changed).max()), 1e-6))
            part = path.with_suffix(".part")
            soundfile.write(part, changed, SAMPLING_RATE, format="FLAC")
            part.rename(path)
        return str(path), hashlib.sha256(path.read_bytes()).hexdigest()


def write_lesson(labels: Path, out: Path, data: Path, *, people: bool) -> None:
    """Write the labels that students learn from: those of training speakers.

    EMO-DB, a sixteenth of the clips with half of the spread, comes several times.
    As often as a clip comes as it is, it comes on a way through a hearing aid,
    each time another one, with the score of the clip as it is.
    ``people`` takes the scores derived from people's in place of the teacher's.
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
    rows: list[dict[str, Any]] = []
    jobs: list[tuple[Path, float, int, int]] = []
    learned: list[dict[str, Any]] = []
    for item, split in enumerate(read.metadata["split"]):
        if split == "test":
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
        copies = 1 if dev or known["language"] != "de" else COPIES
        rows += [row] * copies
        if not dev:
            learned += [row] * copies
            source, end = store.root / read.names[item], float(read.ends[item])
            jobs += [(source, end, item, turn) for turn in range(copies)]
    ear = Ear(data.resolve(), out.parent.resolve() / "ear")
    ear.out.mkdir(exist_ok=True)
    with ProcessPoolExecutor() as pool, ProgressBar() as progress:
        for done, (path, digest) in enumerate(pool.map(ear, jobs, chunksize=256)):
            rows.append(learned[done] | {"file": path, "start": 0.0, "sha256": digest})
            progress("ways to the ear", done + 1, len(jobs), {})
    # written beside it and moved, so that what is there is whole
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    LabelStore.create(part, {"root": str(store.root), "teacher": info}).append(rows, [])
    part.rename(out)


def make(student: str, data: Path, labels: Path, out: Path, **changes: Any) -> None:
    """Train a student and export it, as far as that is not done."""
    options = LESSON | RECIPES.get(student, {}) | changes
    config = DistillConfig(student=student, augment=AUGMENT, **options)
    with ProgressBar() as progress:
        distill(
            labels,
            out / "run",
            config,
            noise=data / "esc10",
            resume=True,
            progress=progress,
        )
    # the MobileNets are beside them for comparison: they are no model of 60 KB
    if student in RECIPES and not (out / "int8" / "model.onnx").exists():
        cli.export(
            str(out / "run"),
            out / "int8",
            calibration=[data / "librispeech_subset"],
            max_bytes="60KiB",
            tune=300,
            overwrite=True,
        )


def measure(folder: Path, labels: Path) -> dict[str, Any]:
    """Compare a student with teacher and people on the test speakers of each corpus."""
    store = LabelStore.open(labels)
    read = store.read()
    split, language = (np.array(read.metadata[n]) for n in ("split", "language"))
    rows = np.flatnonzero(split == "test")
    signals = [
        audio.load(store.root / read.names[row], end=float(read.ends[row]))
        for row in rows
    ]
    exact = StudentModel(folder / "run")
    teacher, people = read.scores[rows], np.asarray(read.human)[rows]
    fp32 = exact.predict(signals)
    pairs = {"fp32 to the teacher": (teacher, fp32), "fp32 to people": (people, fp32)}
    if (folder / "int8").exists():
        int8 = load_model(folder / "int8").predict(signals)
        pairs |= {
            "to the teacher": (teacher, int8),
            "to people": (people, int8),
            "teacher to people": (people, teacher),
            "int8 to fp32": (fp32, int8),
        }
    if isinstance(exact.module, Streaming):
        forgetful = forget(exact.module, signals)
        pairs[f"fp32 that forgets in {SECONDS} s, to the teacher"] = teacher, forgetful
    corpora = language[rows]
    return {
        title: {"clips": int(here.sum())}
        | {kind: agreement(a[here], b[here]) for kind, (a, b) in pairs.items()}
        for title, here in (
            ("EMO-DB", corpora == "de"),
            ("CREMA-D", corpora == "en"),
            ("both", corpora != ""),
        )
    }


def forget(module: Streaming, signals: list[np.ndarray]) -> np.ndarray:
    """Score signals by a student that forgets, ``(signals, 3)``."""
    rate = torch.tensor([1 / SECONDS])
    with torch.inference_mode():
        heard = [
            module(torch.from_numpy(signal)[None], forgetting=rate)
            for signal in signals
        ]
    return torch.cat(heard).numpy()


def show(title: str, found: dict[str, Any]) -> None:
    """Print rows of a table: concordance with its interval."""
    for corpus, entry in found.items():
        for kind in [*entry][1:]:
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
        "--student", nargs="+", default=["wav2small-rt"], choices=STUDENTS
    )
    parser.add_argument("--votes", action="store_true", help="learn from people alone")
    parser.add_argument("--epochs", type=int, help="of each; else as in RECIPES")
    parser.add_argument("--seed", type=int, default=0)
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
    write_lesson(labels, learned, data, people=arguments.votes)
    changes = {"seed": arguments.seed}
    if arguments.epochs:
        changes["epochs"] = arguments.epochs
    for student in arguments.student:
        name = f"{student}-votes" if arguments.votes else student
        if arguments.epochs or arguments.seed:
            name += f"-{arguments.epochs or 'all'}-epochs-seed-{arguments.seed}"
        folder = out / name
        make(student, data, learned, folder, **changes)
        found = measure(folder, labels)
        (folder / "figures.json").write_text(json.dumps(found, indent=2) + "\n")
        show(folder.name, found)
        if arguments.bundle:
            bundle(student, folder)


if __name__ == "__main__":
    main()
