"""Is it worth choosing what people label, and getting used to the clips before?

    python examples/studies/after_study.py DATA [--steps 150] [--draws 10]

pre-trains a small backbone on LibriSpeech without labels, then adapts a copy of it to
the clips of EMO-DB's training speakers. Of these some are labelled: drawn at random, by
diversity, or half by diversity and half by the disagreement of a committee. A linear
probe that learns from them is asked about the test speakers. Ten draws of each way;
the interval is that of the paired difference to chance, by Student's t over the draws.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from wav2small.acoustics.signals import crop_or_repeat
from wav2small.audio import beginning, find
from wav2small.finetune.backbones import Backbone, build_backbone
from wav2small.finetune.labelling.selection import choose
from wav2small.finetune.probe import layer_features, ridge
from wav2small.finetune.table import read_clips, read_table
from wav2small.finetune.warm_up.taught import adapt
from wav2small.metrics import concordance_cc

COUNTS = (20, 40, 80)
"""Numbers of labels."""


def main() -> None:
    """Pre-train, adapt, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--draws", type=int, default=10)
    args = parser.parse_args()
    table = read_table(args.data / "emodb" / "metadata.csv")
    signals, rows = read_clips(table)
    split = np.array(table.labels.metadata["split"])[rows]
    pool = [n for n in range(len(rows)) if split[n] == "train"]
    test = [n for n in range(len(rows)) if split[n] == "test"]
    torch.manual_seed(0)
    settings = {
        "model_type": "mel", "num_hidden_layers": 3, "n_mels": 40,
        "hidden_size": 64, "intermediate_size": 128,
    }  # fmt: skip
    plain = build_backbone(settings)
    read = find([args.data / "librispeech_subset" / "metadata.csv"])[1]
    learn(plain, [beginning(source, 6.0) for source in read[::2]], args.steps)
    used = copy.deepcopy(plain)
    learn(used, [signals[n] for n in pool], args.steps)
    print("| labels | backbone | chosen | mean CCC | against chance, plain |")
    print("|---|---|---|---|---|", flush=True)
    features = {
        "plain": layer_features(plain, signals).mean(0),
        "adapted": layer_features(used, signals).mean(0),
    }
    truth = table.truth[rows]
    for count in COUNTS:
        chance: list[float] = []
        for name, known in features.items():
            for way in ("at random", "diverse", "diverse, then uncertain"):
                found = []
                for draw in range(args.draws):
                    items = chosen(way, known[pool], truth[pool], count, draw)
                    own = [pool[item] for item in items]
                    scores = ridge(known[own], truth[own], known[test], 0.1)
                    pairs = zip(truth[test].T, scores.T, strict=True)
                    found.append(float(np.mean([concordance_cc(*p) for p in pairs])))
                chance = chance or found
                print(
                    f"| {count} | {name} | {way} | {shown(found, chance)} |", flush=True
                )


def learn(backbone: Backbone, signals: list[np.ndarray], steps: int) -> None:
    """Let a backbone guess what is hidden of signals."""

    def draw(step: int) -> np.ndarray:
        rng = np.random.default_rng([1, step])
        items = rng.choice(len(signals), 8)
        return np.stack([crop_or_repeat(signals[n], 24000, rng) for n in items])

    adapt(backbone, draw, steps=steps, seed=0)


def chosen(
    way: str, features: np.ndarray, truth: np.ndarray, count: int, draw: int
) -> np.ndarray:
    """Return the clips that are labelled."""
    rng = np.random.default_rng([draw, count])
    if way == "at random":
        return rng.choice(len(features), count, replace=False)
    if way == "diverse":
        return choose(features, count, rng)
    first = choose(features, count // 2, rng)
    rest = np.setdiff1d(np.arange(len(features)), first)
    answers = []
    for _ in range(8):
        members = rng.choice(first, len(first))
        answers.append(ridge(features[members], truth[members], features[rest], 0.1))
    apart = np.stack(answers).std(0).mean(1)
    second = choose(features[rest], count - len(first), rng, uncertainty=apart)
    return np.concatenate([first, rest[second]])


def shown(found: list[float], chance: list[float]) -> str:
    """Return the mean over draws, and the difference to chance with its interval."""
    apart = np.array(found) - chance
    half = stats.t.ppf(0.975, len(apart) - 1) * apart.std(ddof=1) / np.sqrt(len(apart))
    if not apart.any():
        return f"{np.mean(found):.3f} | "
    return f"{np.mean(found):.3f} | {apart.mean():+.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
