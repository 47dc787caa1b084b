"""How much nearer do scores come to one wearer with 1, 5 or 20 of their clips?

    python examples/studies/calibration_study.py DATA [--model wav2small-rt]

DATA holds ``crema_d`` and ``emodb``.
Wearers are every second training actor of CREMA-D
(the others chose the constants of :mod:`wav2small.personal`,
no test actor is looked at) and the four test speakers of EMO-DB;
students from the teacher ``bundled`` have heard none of them. The present bundled ones,
from ``hearing``, have heard CREMA-D's training actors.
Of each wearer so many clips are drawn, twenty times, and the others are scored.
What is right is derived: of CREMA-D from listeners' votes
(``felt by word`` of ``vote_targets.py``), of EMO-DB from the norm of the category.

* **calm**: only neutral clips are drawn, and nothing is said of them;
* **labels**: any clips are drawn, with what is right;
* **last layer**: labels, and then a change of the last layer's weights,
  ridge regression on the pooled vector of what is left.

Printed is the mean absolute error of arousal, dominance and valence before and after,
on the same clips, the mean over draws and wearers.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track

from wav2small import audio
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.finetune.norms import norm_score
from wav2small.models import find_onnx
from wav2small.personal import from_calm, from_labels

sys.path.append(str(Path(__file__).parent.parent))

import vote_targets

CLIPS = (1, 5, 20)
DRAWS = 20
RIDGE = 10.0
"""What is added to the squares of the pooled vectors: the best of 1, 10, 100, 1000."""


@dataclass(frozen=True)
class Corpus:
    """Clips of several wearers."""

    files: list[Path]
    speakers: np.ndarray
    calm: np.ndarray
    """Which clips are meant to be neutral."""
    truth: np.ndarray
    """Arousal, dominance, valence, ``(clips, 3)``."""


def read_corpora(data: Path) -> dict[str, Corpus]:
    """Read what both corpora say of their clips."""

    def rows(name: str) -> list[dict[str, str]]:
        with (data / name / "metadata.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    votes = vote_targets.read_votes(data / "crema_d")
    felt = vote_targets.DERIVATIONS["felt by word"](votes)
    actors = sorted(set(votes.speakers[votes.training]))[1::2]
    crema = [
        (data / "crema_d" / row["file"], row["speaker"], row["emotion"], truth)
        for row, truth in zip(rows("crema_d"), felt, strict=True)
        if row["speaker"] in actors
    ]
    emodb = [
        (
            data / "emodb" / row["file"],
            row["speaker"],
            row["emotion"],
            norm_score(row["emotion"], float(row["recognised_pct"]) / 100),
        )
        for row in rows("emodb")
        if row["split"] == "test"
    ]
    found = {}
    for name, clips in (("CREMA-D", crema), ("EMO-DB", emodb)):
        files, speakers, emotions, truth = zip(*clips, strict=True)
        calm = np.array(emotions) == "neutral"
        found[name] = Corpus(list(files), np.array(speakers), calm, np.array(truth))
    return found


def hear(model: str, files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Scores and pooled vectors of clips, by the integer reference."""
    graph = read(find_onnx(model))
    reference = ReferenceModel(graph)
    (last,) = (o for o in graph.operators if o.output == graph.output)
    found: dict[str, list[np.ndarray]] = {graph.output: [], last.inputs[0]: []}
    for path in track(files, "hearing"):
        tensors = reference.run(audio.load(path))
        for name, rows in found.items():
            rows.append(tensors[name].ravel() * graph.tensors[name].scale)
    scores, pooled = (np.array(rows) for rows in found.values())
    return scores, pooled


def last_layer(pooled: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Weights ``(pooled, 3)`` that explain what is left of few clips."""
    few = pooled @ pooled.T + RIDGE * np.eye(len(pooled))
    return pooled.T @ np.linalg.solve(few, rest)


def errors(
    corpus: Corpus, scores: np.ndarray, pooled: np.ndarray, way: str, clips: int
) -> np.ndarray:
    """Mean absolute error of the wearers' other clips, before and after, ``(2, 3)``."""
    rng = np.random.default_rng(0)
    found = []
    for speaker in np.unique(corpus.speakers):
        own = np.flatnonzero(corpus.speakers == speaker)
        pool = own[corpus.calm[own]] if way == "calm" else own
        for _ in range(DRAWS):
            taken = rng.permutation(pool)[:clips]
            others = np.setdiff1d(own, taken)
            if way == "calm":
                gains, offsets = from_calm(scores[taken])
            else:
                gains, offsets = from_labels(scores[taken], corpus.truth[taken])
            said = scores * gains + offsets
            if way == "last layer":
                middle = pooled[taken].mean(0)
                rest = (corpus.truth - said)[taken]
                change = last_layer(pooled[taken] - middle, rest - rest.mean(0))
                said = said + (pooled - middle) @ change
            both = np.stack([scores, said]) - corpus.truth
            found.append(np.abs(both)[:, others].mean(1))
    return np.mean(found, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="wav2small-rt")
    arguments = parser.parse_args()
    for name, corpus in read_corpora(arguments.data).items():
        scores, pooled = hear(arguments.model, corpus.files)
        speakers = len(np.unique(corpus.speakers))
        print(f"\n| {name}, {speakers} wearers | arousal | dominance | valence |")
        print("|---|---|---|---|")
        for way in ("calm", "labels", "last layer"):
            for clips in CLIPS:
                pairs = errors(corpus, scores, pooled, way, clips).T
                cells = " | ".join(f"{old:.3f} to {new:.3f}" for old, new in pairs)
                print(f"| {way}, {clips} clip{'s' * (clips > 1)} | {cells} |")


if __name__ == "__main__":
    main()
