"""Three ways to condense a set, against as many real clips drawn at random.

    python examples/studies/condense_study.py DATA [--count 20]

EMO-DB's training speakers are condensed, its test speakers are asked: the mean
concordance of the three dimensions with the norms of the clips' categories. What is
drawn at random is trained by Adam for 200 steps and by the rate and the steps of the
first condensed set, both from the same initial weights.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from exits_study import mean_interval

from wav2small.finetune.condense import CondenseConfig, condense
from wav2small.finetune.condensed import (
    Condensed,
    TinyNetwork,
    log_mel_maps,
    train_tiny,
)
from wav2small.finetune.table import read_clips, read_table
from wav2small.metrics import concordance_cc

WAYS = {
    "result of the training, from noise": CondenseConfig(),
    "result of the training, from real clips": CondenseConfig(clips=True),
    "path of the weights, from real clips": CondenseConfig(
        way="path", steps=10, clips=True
    ),
    "gradients of a step, from real clips": CondenseConfig(way="gradients", clips=True),
}

DRAWS = 10


def main() -> None:
    """Condense, train, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    table = read_table(args.data / "emodb" / "metadata.csv")
    signals, rows = read_clips(table)
    maps, truth = log_mel_maps(signals), table.truth[rows].astype(np.float32)
    train = np.array(table.labels.metadata["split"])[rows] == "train"
    own = maps[train], truth[train]

    def scores(network: TinyNetwork) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(maps[~train])).numpy()

    def row(name: str, count: int, network: TinyNetwork) -> None:
        told, held = scores(network), truth[~train]
        low, high = mean_interval(held, told)
        said = f"{mean_ccc(held, told):.3f} [{low:.2f}, {high:.2f}]"
        print(f"| {name} | {count} | {said} |", flush=True)

    print("| trained on | maps | mean CCC |\n|---|--:|---|")
    row("all", train.sum(), train_tiny(*own, steps=200, seed=0))
    first: Condensed | None = None
    for name, config in WAYS.items():
        made, _ = condense(*own, replace(config, count=args.count))
        row(f"condensed: {name}", args.count, made.train())
        if first is None:
            first = made
            with_other = replace(made, seed=made.seed + 1)
            row("the same, other initial weights", args.count, with_other.train())
    assert first is not None
    for how in ("200 steps of Adam", "as the first condensed set"):
        found = []
        for draw in range(DRAWS):
            rng = np.random.default_rng(draw)
            some = rng.choice(len(own[0]), args.count, replace=False)
            pair = own[0][some], own[1][some]
            if how == "200 steps of Adam":
                network = train_tiny(*pair, steps=200, seed=0)
            else:
                network = replace(first, maps=pair[0], truth=pair[1]).train()
            found.append(mean_ccc(truth[~train], scores(network)))
        print(
            f"| drawn at random, {how} | {args.count} | {np.mean(found):.3f}, draws "
            f"{min(found):.2f} to {max(found):.2f} |"
        )


def mean_ccc(truth: np.ndarray, told: np.ndarray) -> float:
    """Mean concordance of the dimensions."""
    pairs = zip(truth.T, told.T, strict=True)
    return float(np.mean([concordance_cc(*pair) for pair in pairs]))


if __name__ == "__main__":
    main()
