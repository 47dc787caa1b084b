"""Train the bundled teacher on EMO-DB.

    python examples/train_teacher.py DATA [--out FOLDER] [--folds]

DATA holds ``emodb`` and ``esc10``,
each with ``metadata.csv`` (16 kHz audio, paths in the column ``file``).
EMO-DB has categories, not scores:
each clip's target is the published norm of its category,
drawn towards neutral by the share of listeners
who did not recognise the category.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import nn

from wav2small import audio
from wav2small.adv import DIMENSIONS, SAMPLING_RATE
from wav2small.augment import degrade, vary
from wav2small.clips import read_noises
from wav2small.finetune.config import VARIED
from wav2small.finetune.norms import CATEGORIES
from wav2small.finetune.norms import norm_score as target
from wav2small.losses import concordance_loss
from wav2small.metrics import bootstrap_interval, concordance_cc
from wav2small.teachers.bundled import (
    ASSET,
    BundledTeacher,
    TeacherConfig,
    TeacherNetwork,
)
from wav2small.training_schedule import move_average


def mask_features(features: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Blank two bands and one stretch of each log-mel map (after SpecAugment)."""
    mask = torch.ones_like(features)
    for item in mask.unbind():
        for _ in range(2):
            width = int(rng.integers(10))
            item.narrow(1, int(rng.integers(item.shape[1] - width)), width).zero_()
        width = int(rng.integers(item.shape[0] // 5))
        item.narrow(0, int(rng.integers(item.shape[0] - width)), width).zero_()
    return features * mask


@dataclass(frozen=True)
class Corpus:
    """EMO-DB in memory."""

    clips: list[np.ndarray]
    truth: np.ndarray
    """Targets, ``(clips, 3)``."""
    category: np.ndarray
    speaker: np.ndarray
    gender: np.ndarray
    training: np.ndarray
    """Which clips are of the training speakers."""
    noises: list[np.ndarray]

    @classmethod
    def read(cls, data: Path) -> Corpus:
        """Read it and the noises from the data folder."""
        with (data / "emodb" / "metadata.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        recognised = [float(row["recognised_pct"]) / 100 for row in rows]
        emotions = [row["emotion"] for row in rows]
        return cls(
            [audio.load(data / "emodb" / row["file"]) for row in track(rows, "decode")],
            np.stack(
                [target(*pair) for pair in zip(emotions, recognised, strict=True)]
            ),
            np.array([CATEGORIES.index(emotion) for emotion in emotions]),
            np.array([row["speaker"] for row in rows]),
            np.array([row["gender"] for row in rows]),
            np.array([row["split"] == "train" for row in rows]),
            read_noises(data / "esc10"),
        )


def train(
    corpus: Corpus, items: np.ndarray, arguments: argparse.Namespace, title: str
) -> TeacherNetwork:
    """Train a network on some of the clips."""
    torch.manual_seed(arguments.seed)
    network = TeacherNetwork(TeacherConfig(categories=len(CATEGORIES)))
    average = copy.deepcopy(network)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=arguments.learning_rate, weight_decay=0.02
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, arguments.learning_rate, arguments.steps, pct_start=0.1
    )
    for step in track(range(arguments.steps), title):
        rng = np.random.default_rng([arguments.seed, step])
        batch = rng.choice(items, arguments.batch_size, replace=False)
        samples = int(rng.uniform(2, 4) * SAMPLING_RATE)
        signals = np.stack(
            [
                degrade(
                    vary(corpus.clips, int(item), samples, rng, VARIED),
                    rng,
                    VARIED,
                    corpus.noises,
                )
                for item in batch
            ]
        )
        features = mask_features(network.features(torch.from_numpy(signals)), rng)
        output = network.classify(features)
        wanted = torch.from_numpy(corpus.truth[batch])
        category = torch.from_numpy(corpus.category[batch])
        loss = (
            concordance_loss(output[:, :3], wanted).sum()
            + 0.5 * (output[:, :3] - wanted).abs().mean()
            + 0.5
            * nn.functional.cross_entropy(output[:, 3:], category, label_smoothing=0.1)
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()
        move_average(average, network, min(0.995, (1 + step) / (10 + step)))
    return average.eval()


def score(network: TeacherNetwork, corpus: Corpus, items: np.ndarray) -> np.ndarray:
    """Score whole clips, ``(len(items), 3)``."""
    with torch.inference_mode():
        return torch.cat(
            [
                network(torch.from_numpy(corpus.clips[item])[None])[:, :3]
                for item in items
            ]
        ).numpy()


def concordance(truth: np.ndarray, scores: np.ndarray) -> dict[str, list[float]]:
    """Concordance with its interval over the clips, by dimension."""
    figures = {}
    for axis, name in enumerate(DIMENSIONS):
        pair = truth[:, axis], scores[:, axis]
        low, high = bootstrap_interval(
            concordance_cc, *pair, rng=np.random.default_rng(0)
        )
        figures[name] = [
            round(value, 3) for value in (concordance_cc(*pair), low, high)
        ]
    return figures


def validate(
    corpus: Corpus, arguments: argparse.Namespace
) -> dict[str, dict[str, list[float]]]:
    """Score each of the ten speakers by a network that has not heard them.

    Five folds of a woman and a man each.
    """
    pairs = [
        sorted(set(corpus.speaker[corpus.gender == gender]))
        for gender in ("female", "male")
    ]
    scores = np.empty_like(corpus.truth)
    figures = {}
    for fold, pair in enumerate(zip(*pairs, strict=True)):
        held = np.isin(corpus.speaker, pair)
        network = train(
            corpus, np.flatnonzero(~held), arguments, f"fold {fold + 1} of 5"
        )
        scores[held] = score(network, corpus, np.flatnonzero(held))
        figures[" and ".join(pair)] = concordance(corpus.truth[held], scores[held])
    return figures | {"all ten": concordance(corpus.truth, scores)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=ASSET)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folds",
        action="store_true",
        help="print what five folds over all ten speakers come to, and write nothing",
    )
    arguments = parser.parse_args()
    corpus = Corpus.read(arguments.data)
    if arguments.folds:
        print(json.dumps(validate(corpus, arguments), indent=2))
        return
    network = train(corpus, np.flatnonzero(corpus.training), arguments, "train")
    metrics = {}
    for split, chosen in (("train", corpus.training), ("test", ~corpus.training)):
        items = np.flatnonzero(chosen)
        figures = concordance(corpus.truth[items], score(network, corpus, items))
        metrics |= {f"{split}/{name}": value for name, value in figures.items()}
    BundledTeacher.save(
        arguments.out,
        network,
        {
            "name": "bundled",
            "licence": "Apache-2.0",
            "training_data": "EMO-DB (CC0-1.0); noise: ESC-10 (CC BY 3.0)",
        },
        categories=list(CATEGORIES),
        metrics=metrics,
        training={
            key: value
            for key, value in vars(arguments).items()
            if key not in ("data", "out", "folds")
        },
    )
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
