"""What early exits save, with recurrent and with light heads.

    python examples/studies/exits_study.py DATA OUT [--steps 200]

trains a network of six narrow layers from random weights on the clips of EMO-DB in DATA
(``split`` is speaker-disjoint), once for each kind of exit behind layers 2 and 4,
and writes concordance on the speakers of the test split against what was computed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from wav2small.config import AugmentConfig
from wav2small.finetune.backbones import Origin, build_backbone, save_backbone
from wav2small.finetune.config import ExitHead, FinetuneConfig, NetworkConfig
from wav2small.finetune.parts.exits import exit_costs, exit_curve, predict_early
from wav2small.finetune.table import read_clips, read_table
from wav2small.finetune.teacher import FinetunedTeacher
from wav2small.finetune.train import finetune
from wav2small.metrics import bootstrap_interval, concordance_cc

STILL = AugmentConfig(
    speed=0.0, mix_probability=0.0, filter_probability=0.0, band_probability=0.0,
    room_probability=0.0, noise_probability=0.0, silence_probability=0.0,
)  # fmt: skip
"""Crops as they are: this is about exits, and processors have other work to do."""

TOLERANCES = (-1.0, 0.01, 0.02, 0.05, 0.1, 10.0)
HEADS: tuple[ExitHead, ...] = ("recurrent", "light")


def main() -> None:
    """Train both, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    torch.manual_seed(0)
    start = args.out / "backbone"
    if not start.exists():
        settings = {
            "model_type": "mel", "num_hidden_layers": 6, "n_mels": 40,
            "hidden_size": 48, "intermediate_size": 96,
        }  # fmt: skip
        save_backbone(start, build_backbone(settings), Origin("mel", "", ""))
    table = read_table(args.data / "emodb" / "metadata.csv")
    signals, rows = read_clips(table)
    split = table.labels.metadata["split"]
    tested = [n for n, row in enumerate(rows) if split[row] == "test"]
    clips, truth = [signals[n] for n in tested], table.truth[rows[tested]]
    print(
        "| head | tolerance | layers | computation | mean CCC |\n|---|---|---|---|---|"
    )
    for head in HEADS:
        run = args.out / head
        if not (run / "best").exists():
            network = NetworkConfig(exits=(2, 4), exit_head=head)
            config = FinetuneConfig(
                str(start), network=network, steps=args.steps, evaluations=1,
                crop_seconds=1.5, average=0.95, augment=STILL,
            )  # fmt: skip
            finetune(table, run, config)
        trained = FinetunedTeacher.load(run, policy="research").network
        for row in exit_curve(trained, clips, truth, TOLERANCES):
            scores = predict_early(trained, clips, row["tolerance"]).scores
            low, high = mean_interval(truth, scores)
            print(
                f"| {head} | {row['tolerance']:g} | {row['share']:.0%} | "
                f"{row['compute']:.0%} | {row['mean']:.3f} [{low:.2f}, {high:.2f}] |",
                flush=True,
            )
        print(f"<!-- {head}: {exit_costs(trained, 40000)} -->")


def mean_interval(truth: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Interval of the mean concordance of the dimensions, over clips."""
    items = np.arange(len(truth))

    def mean(chosen: np.ndarray, _: np.ndarray) -> float:
        rows = chosen.astype(int)
        pairs = zip(truth[rows].T, scores[rows].T, strict=True)
        return float(np.mean([concordance_cc(*pair) for pair in pairs]))

    return bootstrap_interval(mean, items, items, rng=np.random.default_rng(0))


if __name__ == "__main__":
    main()
