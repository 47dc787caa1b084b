"""Train the bundled teacher on EMO-DB.

    python examples/train_teacher.py DATA [--out FOLDER] [--steps N] [--seed N]

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
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import nn

from wav2small import audio
from wav2small.adv import DIMENSIONS, SAMPLING_RATE
from wav2small.data import AugmentConfig, augment, read_noises
from wav2small.losses import concordance_loss
from wav2small.metrics import bootstrap_interval, concordance_cc
from wav2small.teachers.bundled import (
    ASSET,
    BundledTeacher,
    TeacherConfig,
    TeacherNetwork,
)

NORMS = {
    "anger": (0.59, 0.25, -0.51),
    "boredom": (-0.62, -0.33, -0.65),
    "disgust": (0.35, 0.11, -0.60),
    "fear": (0.60, -0.43, -0.64),
    "happiness": (0.51, 0.46, 0.81),
    "neutral": (0.0, 0.0, 0.0),
    "sadness": (-0.27, -0.33, -0.63),
}
"""Arousal, dominance, valence in -1..1.

Russell & Mehrabian 1977, "Evidence for a three-factor theory of emotions",
Journal of Research in Personality 11(3), 273-294;
neutral is the middle of their scales.
"""

CATEGORIES = sorted(NORMS)


def target(emotion: str, recognised: float) -> np.ndarray:
    """Target in 0..1 from a category and the share of listeners who heard it."""
    return (0.5 + 0.5 * recognised * np.array(NORMS[emotion])).astype(np.float32)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=ASSET)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    with (arguments.data / "emodb" / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    clips = [
        audio.load(arguments.data / "emodb" / row["file"])
        for row in track(rows, "decode")
    ]
    truth = np.stack(
        [target(row["emotion"], float(row["recognised_pct"]) / 100) for row in rows]
    )
    category = np.array([CATEGORIES.index(row["emotion"]) for row in rows])
    training = np.array([row["split"] == "train" for row in rows])
    noises = read_noises(arguments.data / "esc10")

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
    # human labels bear a little change of speed, but not a second speaker
    varied = AugmentConfig(mix_probability=0.0, noise_probability=0.6)
    items = np.flatnonzero(training)
    for step in track(range(arguments.steps), "train"):
        rng = np.random.default_rng([arguments.seed, step])
        batch = rng.choice(items, arguments.batch_size, replace=False)
        samples = int(rng.uniform(2, 4) * SAMPLING_RATE)
        signals = np.stack(
            [
                augment(clips, int(item), samples, rng, varied, noises=noises)
                for item in batch
            ]
        )
        features = mask_features(network.features(torch.from_numpy(signals)), rng)
        output = network.classify(features)
        wanted = torch.from_numpy(truth[batch])
        loss = (
            concordance_loss(output[:, :3], wanted).sum()
            + 0.5 * (output[:, :3] - wanted).abs().mean()
            + 0.5
            * nn.functional.cross_entropy(
                output[:, 3:], torch.from_numpy(category[batch]), label_smoothing=0.1
            )
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()
        decay = min(0.995, (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, fresh in zip(
                average.state_dict().values(),
                network.state_dict().values(),
                strict=True,
            ):
                if kept.dtype.is_floating_point:
                    kept.lerp_(fresh, 1 - decay)
                else:
                    kept.copy_(fresh)

    average.eval()
    metrics = {}
    for split, chosen in (("train", training), ("test", ~training)):
        chosen = np.flatnonzero(chosen)
        with torch.inference_mode():
            scores = torch.cat(
                [average(torch.from_numpy(clips[i])[None])[:, :3] for i in chosen]
            ).numpy()
        for axis, name in enumerate(DIMENSIONS):
            pair = truth[chosen, axis], scores[:, axis]
            low, high = bootstrap_interval(
                concordance_cc, *pair, rng=np.random.default_rng(0)
            )
            metrics[f"{split}/{name}"] = [
                round(value, 3) for value in (concordance_cc(*pair), low, high)
            ]
    BundledTeacher.save(
        arguments.out,
        average,
        {
            "name": "bundled",
            "licence": "Apache-2.0",
            "training_data": "EMO-DB (CC0-1.0); noise: ESC-10 (CC BY 3.0)",
        },
        categories=CATEGORIES,
        metrics=metrics,
        training={
            key: value
            for key, value in vars(arguments).items()
            if key not in ("data", "out")
        },
    )
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
