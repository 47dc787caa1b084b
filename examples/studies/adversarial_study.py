"""How changes that are made to move scores carry over, and what training on them costs.

    python examples/studies/adversarial_study.py DATA OUT [--epochs 12]

first lets three attacks that know the float32 weights of a bundled student change
clips of EMO-DB's test speakers, and asks the same student in int8 and another one.
Then it trains a small student on the bundled teacher's labels of the other speakers,
with and without crops that are moved where it errs, and compares both, clean and
attacked.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from wav2small import annotate
from wav2small.adv import DIMENSIONS
from wav2small.audio import beginning, find
from wav2small.clips import load_clips
from wav2small.config import DistillConfig
from wav2small.distillation import distill
from wav2small.labels import LabelStore
from wav2small.metrics import bootstrap_interval, concordance_cc
from wav2small.models import StudentModel, load_model
from wav2small.suite.adversarial import attacks_of
from wav2small.suite.robustness import UNCHANGED

STUDENTS = ("wav2small-rt", "wav2small-rt-mini")
SECONDS = 2.0


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--clips", type=int, default=24)
    args = parser.parse_args()
    sources = find([args.data / "emodb" / "metadata.csv"])[1]
    tested = [s for s in sources if s.metadata.get("split") == "test"]
    tested = tested[:: len(tested) // args.clips][: args.clips]
    heard = [beginning(source, SECONDS) for source in tested]
    others = [s for s in sources if s.metadata.get("split") == "train"][::10]
    known = [beginning(source, SECONDS) for source in others]
    print("| attack knows | asked | attack | mean rise | share unchanged |")
    print("|---|---|---|---|---|", flush=True)
    models = {f"{name} (int8)": load_model(name) for name in STUDENTS}
    models |= {f"{name} (float32)": StudentModel(name) for name in STUDENTS}
    transfer(models, heard, known, STUDENTS[0])
    labels = args.out / "labels"
    if not (labels / "manifest.json").exists():
        annotate(args.data / "emodb" / "metadata.csv", labels, teacher="bundled")
    rows = LabelStore.open(labels).read()
    chosen = [n for n, part in enumerate(rows.metadata["split"]) if part == "test"]
    root = LabelStore.open(labels).root
    signals, readable = load_clips(rows, chosen, root)
    truth = rows.scores[readable]
    print("\n| trained on moved crops | clean CCC to the teacher |\n|---|---|")
    trained = {}
    for share in (0.0, 0.5):
        run = args.out / f"share {share}"
        if not (run / "best").exists():
            distill(
                labels,
                run,
                DistillConfig(
                    student="wav2small-rt-mini", teaching="cached", epochs=args.epochs,
                    adversarial=share, evaluations=2, average=0.98, crop_seconds=1.5,
                ),
            )  # fmt: skip
        trained[f"{share:.0%} moved"] = model = StudentModel(str(run))
        scores = model.predict(signals)
        print(f"| {share:.0%} | {mean_ccc(truth, scores)} |", flush=True)
    for share in (0.0, 0.5):
        transfer(trained, heard, known, str(args.out / f"share {share}"))


def transfer(
    models: dict[str, object], heard: list[np.ndarray], known: list[np.ndarray], by: str
) -> None:
    """Print how far each attack by one student raises each model's scores."""
    for title, attack in attacks_of(by, known).items():
        changed = [[attack(signal, axis) for axis in range(3)] for signal in heard]
        for name, model in models.items():
            before = model.predict(heard)  # type: ignore[attr-defined]
            rises = np.array(
                [
                    [
                        model.predict([signal])[0][axis] - row[axis]  # type: ignore[attr-defined]
                        for axis, signal in enumerate(versions)
                    ]
                    for row, versions in zip(before, changed, strict=True)
                ]
            )
            low, high = bootstrap_interval(
                lambda rows, _, r=rises: float(r[rows.astype(int)].mean()),
                np.arange(len(rises)), np.arange(len(rises)),
                rng=np.random.default_rng(0),
            )  # fmt: skip
            same = np.mean(np.abs(rises) < UNCHANGED)
            how = title.split(" at ")[0]
            print(
                f"| {Path(by).name} | {name} | {how} | {rises.mean():+.3f} "
                f"[{low:+.3f}, {high:+.3f}] | {same:.0%} |",
                flush=True,
            )


def mean_ccc(truth: np.ndarray, scores: np.ndarray) -> str:
    """Return the mean concordance of the dimensions and its interval over clips."""
    items = np.arange(len(truth))

    def mean(chosen: np.ndarray, _: np.ndarray) -> float:
        rows = chosen.astype(int)
        pairs = zip(truth[rows].T, scores[rows].T, strict=True)
        return float(np.mean([concordance_cc(*pair) for pair in pairs]))

    low, high = bootstrap_interval(mean, items, items, rng=np.random.default_rng(0))
    assert len(DIMENSIONS) == truth.shape[1]
    return f"{mean(items, items):.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
