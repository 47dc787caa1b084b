"""Networks that learn to hear people of another corpus, through rooms and aids.

    python examples/studies/hearing_networks.py train WORK [--only ROW ...] [--seeds N]
    python examples/studies/hearing_networks.py table WORK

WORK is what ``hearing_data.py`` wrote.
``train`` trains the rows of :data:`ROWS`, one after the other,
and goes on where it was cut short; ``table`` prints what they came to as Markdown.
The test splits take no part. A row of 800 steps takes a minute of a free core.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hearing_data import (
    CROP,
    NETWORK,
    TESTED,
    UNIT_POWER,
    WIDTHS,
    Speech,
    add_noise,
    to_power,
)
from torch import Tensor, nn

from wav2small.finetune.norms import CATEGORIES
from wav2small.losses import concordance_loss
from wav2small.metrics import concordance_cc, pearson_cc
from wav2small.suite.robustness import UNCHANGED
from wav2small.teachers.bundled import TeacherNetwork
from wav2small.training_schedule import move_average

BATCH = 32


@dataclass(frozen=True)
class Row:
    """How one teacher is trained."""

    name: str
    corpora: tuple[str, ...] = ("emodb", "crema_d")
    emodb: float = 0.3
    """Share of EMO-DB in a batch, if there are both."""
    derivation: str = "felt by word"
    changed: float = 0.6
    """Share of crops that come from a changed version."""
    consistency: float = 0.0
    """Weight of the distance between a crop's scores and its twin's."""
    colour: float = 4.0
    """Deviation of a random smooth filter in dB, in half of the crops."""
    level: float = 0.0
    """Share of each band's own mean that is taken off the log-mel map."""
    apart: bool = False
    """Whether concordance is taken of each corpus alone."""
    votes: float = 0.5
    """Weight of the distribution of votes or categories."""
    confidence: float = 0.0
    """How much less a clip counts whose listeners do not agree, in 0..1."""
    steps: int = 800
    learning_rate: float = 2e-3
    network: dict[str, Any] = field(default_factory=dict)
    fold: int = 0


BASE = Row("both")
ROWS = [
    Row("crema, as it is", corpora=("crema_d",), changed=0.0, colour=0.0),
    Row("crema", corpora=("crema_d",)),
    Row("emodb", corpora=("emodb",), steps=500),
    Row("crema, consistent", corpora=("crema_d",), consistency=4.0),
    Row("crema, bands levelled", corpora=("crema_d",), level=1.0),
    BASE,
]


class Crops:
    """Random crops of maps, varied as far as a map can be."""

    def __init__(self, speech: Speech, row: Row) -> None:
        self.speech, self.row = speech, row

    def __call__(self, items: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Crop clips; with consistency, twins follow: ``(1 or 2 batches, ...)``."""
        twins = 2 if self.row.consistency else 1
        batch = np.empty((twins * len(items), CROP, NETWORK.n_mels), np.float32)
        for place, item in enumerate(items):
            first, length = self.speech.places[item]
            speed, start = rng.uniform(0.85, 1.15), rng.random()
            shift = rng.normal(0, 1.0)
            for twin in range(twins):
                changed = rng.random() < self.row.changed and (
                    len(self.speech.maps) > 1
                )
                version = int(rng.integers(1, len(self.speech.maps))) if changed else 0
                frames = self.speech.maps[version][first : first + length]
                batch[twin * len(items) + place] = warp(frames, speed, start, shift)
        self.vary(batch, rng)
        return torch.from_numpy(batch)

    def vary(self, batch: np.ndarray, rng: np.random.Generator) -> None:
        """Add noise and colour, keep the level, blank bands and a stretch."""
        if self.row.changed:
            noisy = np.flatnonzero(rng.random(len(batch)) < 0.5)
            batch[noisy] = add_noise(batch[noisy], self.speech.noises, rng)
        if self.row.colour:
            bands = np.linspace(0, 8, NETWORK.n_mels)
            gains = rng.normal(0, self.row.colour, (len(batch), 9))
            gains[rng.random(len(batch)) < 0.5] = 0
            batch += np.stack([np.interp(bands, np.arange(9), g) for g in gains])[
                :, None
            ]
        power = (to_power(batch) @ WIDTHS).mean(1)
        batch += (UNIT_POWER - 10 * np.log10(power))[:, None, None]
        if self.row.level:
            batch -= self.row.level * batch.mean(1, keepdims=True)
        for item in batch:
            mean = item.mean()
            for _ in range(2):
                width = int(rng.integers(8))
                low = int(rng.integers(item.shape[1] - width))
                item[:, low : low + width] = mean
            width = int(rng.integers(len(item) // 6))
            low = int(rng.integers(len(item) - width))
            item[low : low + width] = mean


def warp(frames: np.ndarray, speed: float, start: float, shift: float) -> np.ndarray:
    """Take a crop at another speed, shifted by some bands; short clips repeat."""
    length = len(frames)
    wanted = CROP * speed
    first = start * max(0.0, length - wanted)
    time = (first + np.arange(CROP) * speed) % length
    low = time.astype(int)
    part = (time - low)[:, None].astype(np.float32)
    high = np.minimum(low + 1, length - 1)
    crop = frames[low].astype(np.float32) * (1 - part) + part * frames[high]
    band = np.clip(np.arange(crop.shape[1]) + shift, 0, crop.shape[1] - 1)
    low = band.astype(int)
    part = (band - low).astype(np.float32)
    high = np.minimum(low + 1, crop.shape[1] - 1)
    return crop[:, low] * (1 - part) + crop[:, high] * part


def losses(output: Tensor, items: np.ndarray, speech: Speech, row: Row) -> Tensor:
    """Loss of a batch's outputs."""
    truth = torch.from_numpy(speech.truth[row.derivation][items])
    total = torch.zeros(())
    parts = [np.ones(len(items), bool)]
    if row.apart and len(row.corpora) > 1:
        parts = [speech.corpus[items] == name for name in row.corpora]
    for part in parts:
        chosen = torch.from_numpy(part)
        share = part.mean()
        total = (
            total + share * concordance_loss(output[chosen, :3], truth[chosen]).sum()
        )
    weight = torch.from_numpy(
        (1 - row.confidence * speech.entropy[items]).astype(np.float32)
    )[:, None]
    total = total + 0.5 * (weight * (output[:, :3] - truth).abs()).mean()
    wanted = torch.from_numpy(speech.votes[items])
    entropy = -(wanted * torch.log_softmax(output[:, 3:], 1)).sum(1)
    return total + row.votes * entropy.mean()


def train(speech: Speech, row: Row, seed: int, path: Path) -> TeacherNetwork:
    """Train a network, or go on with it."""
    torch.manual_seed(seed)
    config = replace(NETWORK, categories=len(CATEGORIES), **row.network)
    network = TeacherNetwork(config).to(memory_format=torch.channels_last)
    average = copy.deepcopy(network)
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=row.learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, row.learning_rate, row.steps, pct_start=0.15
    )
    parts = {"network": network, "average": average, "optimizer": optimizer}
    states = parts | {"schedule": schedule}
    first = 0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        first = saved["step"]
        for name, part in states.items():
            part.load_state_dict(saved[name])
    items, _ = speech.split(row.corpora, row.fold)
    crops, started = Crops(speech, row), time.process_time()
    for step in range(first, row.steps):
        rng = np.random.default_rng([seed, step])
        batch = draw(speech, items, row, rng)
        maps = crops(batch, rng)
        with torch.autocast("cpu", torch.bfloat16):  # costs half
            x = network.norm(maps.transpose(1, 2)).transpose(1, 2)
            output = network.classify(x).float()
        loss = losses(output[: len(batch)], batch, speech, row)
        if row.consistency:
            loss = 0.5 * (loss + losses(output[len(batch) :], batch, speech, row))
            apart = output[: len(batch), :3] - output[len(batch) :, :3]
            loss = loss + row.consistency * apart.abs().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()
        move_average(average, network, min(0.995, (1 + step) / (10 + step)))
        if step % 100 == 99:
            took = (time.process_time() - started) / (step + 1 - first)
            print(f"{row.name} {step + 1} {loss.item():.3f} {took:.3f} s", flush=True)
            content = {name: part.state_dict() for name, part in states.items()}
            torch.save({"step": step + 1, "loss": loss.item()} | content, path)
    return average.eval()


def draw(
    speech: Speech, items: np.ndarray, row: Row, rng: np.random.Generator
) -> np.ndarray:
    """Draw a batch: of each corpus its share."""
    if len(row.corpora) == 1:
        return rng.choice(items, BATCH, replace=False)
    own = speech.corpus[items] == "emodb"
    count = round(BATCH * row.emodb)
    return np.concatenate(
        [
            rng.choice(items[own], count, replace=False),
            rng.choice(items[~own], BATCH - count, replace=False),
        ]
    )


def score(network: TeacherNetwork, maps: list[np.ndarray], row: Row) -> np.ndarray:
    """Score whole maps, ``(maps, 3 + categories)``."""
    order = sorted(range(len(maps)), key=lambda i: len(maps[i]))
    scores = np.empty((len(maps), 3 + len(CATEGORIES)), np.float32)
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        frames = torch.tensor([len(maps[i]) for i in chosen])
        batch = torch.zeros(len(chosen), int(frames.max()), NETWORK.n_mels)
        for line, item in zip(batch, chosen, strict=True):
            one = maps[item].astype(np.float32)
            if row.level:
                one = one - row.level * one.mean(0)
            line[: len(one)] = torch.from_numpy(one)
        with torch.inference_mode():
            x = network.norm(batch.transpose(1, 2)).transpose(1, 2)
            scores[chosen] = network.classify(x, frames).numpy()
    return scores


def examine(
    network: TeacherNetwork, speech: Speech, row: Row, work: Path
) -> dict[str, Any]:
    """Score the held clips, as they are and changed."""
    _, held = speech.split(row.corpora, row.fold)
    figures: dict[str, Any] = {}
    for name in ("emodb", "crema_d"):
        items = held[speech.corpus[held] == name]
        for kind, version in (("", 0), (" changed", 1)):
            maps = [speech.maps[version][a : a + n] for a, n in speech.places[items]]
            got, truth = score(network, maps, row), speech.truth[row.derivation][items]
            figures[name + kind] = {
                "ccc": [concordance_cc(truth[:, i], got[:, i]) for i in range(3)],
                "pcc": [pearson_cc(truth[:, i], got[:, i]) for i in range(3)],
                "deviation": got[:, :3].std(0).tolist(),
                "mean": got[:, :3].mean(0).tolist(),
                "clips": len(items),
            }
    tests = np.load(work / "tests.npz")
    numbers = np.flatnonzero(np.isin(tests["items"], held))
    chosen = tests["items"][numbers]
    places = speech.places[chosen]
    before = score(network, [speech.maps[0][a : a + n] for a, n in places], row)
    for name in TESTED:
        after = score(network, [tests[f"{name}/{i}"] for i in numbers], row)
        same = np.abs(after - before)[:, :3] < UNCHANGED
        figures[name] = {"unchanged": same.mean(0).tolist(), "clips": len(numbers)}
    return figures


def run(work: Path, only: list[str], seeds: int) -> None:
    """Train and examine all rows that are not done."""
    torch.set_num_threads(1)
    speech = Speech.open(work)
    for seed in range(seeds):
        for row in ROWS:
            path = work / "rows" / f"{row.name.replace(' ', '_')}_{seed}.json"
            if path.exists() or (only and row.name not in only):
                continue
            path.parent.mkdir(exist_ok=True)
            started = time.process_time()
            network = train(speech, row, seed, path.with_suffix(".pt"))
            result = {
                "row": asdict(row),
                "seed": seed,
                "loss": torch.load(path.with_suffix(".pt"), weights_only=True)["loss"],
                "versions": len(speech.maps),
                "seconds": time.process_time() - started,
                "figures": examine(network, speech, row, work),
            }
            path.write_text(json.dumps(result, indent=1))
            print(line(result), flush=True)


def line(result: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [result["row"]["name"], str(result["seed"]), f"{result['loss']:.2f}"]
    figures = result["figures"]
    for name in ("emodb", "emodb changed", "crema_d", "crema_d changed"):
        for kind in ("ccc", "pcc"):
            cells.append(" ".join(f"{v:.2f}" for v in figures[name][kind]))
    for name in TESTED:
        cells.append(" ".join(f"{v:.2f}" for v in figures[name]["unchanged"]))
    return f"| {' | '.join(cells)} |"


def table(work: Path) -> None:
    """Print all results."""
    results = [
        json.loads(p.read_text()) for p in sorted((work / "rows").glob("*.json"))
    ]
    heads = ["row", "seed", "loss"]
    for name in ("EMO-DB", "EMO-DB changed", "CREMA-D", "CREMA-D changed"):
        heads += [name, "Pearson"]
    heads += list(TESTED)
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for result in results:
        print(line(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("train", "table"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.task == "train":
        run(arguments.work, arguments.only, arguments.seeds)
    else:
        table(arguments.work)


if __name__ == "__main__":
    main()
