"""Do words count, and can audio alone learn what a reader of them knew?

    python examples/studies/crossed_set.py SET
    python examples/studies/crossed_study.py SET OUT [--steps 250] [--seeds 0 1]

trains a small network on the crossed set: on audio alone, on audio and text, on audio
and texts of other clips, and on audio taught by a reader and by a hearer of prosody
(EmoDistill). Voices and sentences of the test are heard for the first time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from exits_study import STILL

from wav2small.adv import DIMENSIONS
from wav2small.finetune.backbones import Origin, build_backbone, save_backbone
from wav2small.finetune.config import FinetuneConfig, NetworkConfig
from wav2small.finetune.labelling.prosody import prosody
from wav2small.finetune.parts.knowers import learn
from wav2small.finetune.parts.text import WordHashes
from wav2small.finetune.table import Ratings, read_clips, read_table
from wav2small.finetune.teacher import FinetunedTeacher, score
from wav2small.finetune.train import finetune
from wav2small.metrics import bootstrap_interval, concordance_cc

WAYS = ("audio", "audio and text", "audio and wrong text", "taught by both")


def main() -> None:
    """Train each way with each seed, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("set", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    args = parser.parse_args()
    start = args.out / "backbone"
    if not start.exists():
        torch.manual_seed(0)
        settings = {
            "model_type": "mel", "num_hidden_layers": 2, "n_mels": 40,
            "hidden_size": 48, "intermediate_size": 96,
        }  # fmt: skip
        save_backbone(start, build_backbone(settings), Origin("mel", "", ""))
    table = read_table(args.set / "metadata.csv")
    signals, rows = read_clips(table)
    tested = np.array([table.labels.metadata["split"][row] == "test" for row in rows])
    heard = [signals[n] for n in np.flatnonzero(tested)]
    truth = table.truth[rows[tested]]
    print("| trained on | asked with | arousal | dominance | valence |", flush=True)
    print("|---|---|---|---|---|")
    learned = np.flatnonzero([s == "train" for s in table.labels.metadata["split"]])
    texts = WordHashes()([text or "" for text in table.labels.metadata["text"]])
    for name, evidence in (
        ("words alone", texts),
        ("prosody alone", np.stack([prosody(signal) for signal in signals])),
    ):
        known = [
            learn(evidence, table.truth, learned, seed=seed) for seed in args.seeds
        ]
        show(name, "itself", truth, [k.scores[tested] for k in known])
    for way in WAYS:
        answers: dict[str, list[np.ndarray]] = {}
        for seed in args.seeds:
            run = args.out / f"{way} {seed}"
            train(way, table, texts, run, str(start), args.steps, seed)
            network = FinetunedTeacher.load(run, policy="research").network
            for asked, text in asked_with(way, texts[rows[tested]]).items():
                answers.setdefault(asked, []).append(score(network, heard, text=text))
        for asked, scores in answers.items():
            show(way, asked, truth, scores)


def train(
    way: str,
    table: Ratings,
    texts: np.ndarray,
    run: Path,
    backbone: str,
    steps: int,
    seed: int,
) -> None:
    """Train one network, unless it is there."""
    if (run / "best").exists():
        return
    taught = way.startswith("taught")
    config = FinetuneConfig(
        backbone, steps=steps, evaluations=2, crop_seconds=1.8, average=0.95,
        augment=STILL, masked=0.0, seed=seed,
        network=NetworkConfig(
            pooling="deviation", taught_by=("prosody", "text") if taught else ()
        ),
    )  # fmt: skip
    if "wrong" in way:
        texts = np.random.default_rng(0).permutation(texts)
    finetune(table, run, config, text=None if way == "audio" else texts)


def asked_with(way: str, texts: np.ndarray) -> dict[str, np.ndarray | None]:
    """Return the texts that a network is asked with."""
    if "text" not in way:
        return {"audio": None}
    others = np.random.default_rng(1).permutation(texts)
    return {"right text": texts, "wrong text": others, "no text": None}


def show(way: str, asked: str, truth: np.ndarray, runs: list[np.ndarray]) -> None:
    """Print a row: mean over the seeds of each concordance, interval over clips."""
    cells, items = [], np.arange(len(truth))
    for axis in range(len(DIMENSIONS)):

        def mean(chosen: np.ndarray, _: np.ndarray, axis: int = axis) -> float:
            some = chosen.astype(int)
            values = [concordance_cc(truth[some, axis], r[some, axis]) for r in runs]
            return float(np.mean(values))

        low, high = bootstrap_interval(mean, items, items, rng=np.random.default_rng(0))
        cells.append(f"{mean(items, items):.2f} [{low:.2f}, {high:.2f}]")
    print(f"| {way} | {asked} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
