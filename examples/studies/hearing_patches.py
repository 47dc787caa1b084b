"""Teachers that are fitted in seconds: pooled patches of log-mel maps, a small head.

    python examples/studies/hearing_patches.py features WORK
    python examples/studies/hearing_patches.py train WORK [--only ROW ...] [--seeds N]
    python examples/studies/hearing_patches.py table WORK

WORK is what ``hearing_data.py`` wrote.
The filters of one layer of convolution are learned without labels, as centres of
whitened patches (Coates, Ng & Lee 2011, An analysis of single-layer networks in
unsupervised feature learning, AISTATS); what they find is pooled over time
in a few zones of the mel scale.
Only the head is trained, on versions of each clip that were pooled once,
so a row of the table takes seconds where a network takes minutes.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
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

from wav2small.losses import concordance_loss
from wav2small.metrics import concordance_cc, pearson_cc
from wav2small.suite.robustness import UNCHANGED

FILTERS = 256
HEIGHT, WIDTH = 8, 9
"""Size of a patch: bands and frames."""
STRIDE = (2, 3)
"""Frames and bands from one patch to the next."""
ZONES = 4
"""Zones of the mel scale that are pooled apart."""
CORPORA = ("emodb", "crema_d")
SHOWN = (
    "room: living room, 2 m",
    "compression 2:1 in 5 bands",
    "spectral tilt of +3 dB per octave",
    "phone, low-rate codec",
    "wind of 5 m/s",
)
"""Changes whose share of unchanged scores the table shows; all are in the files."""
COPIES = 2
"""Versions that are warped, coloured and mixed with noise, beside those on disk,
and as many that are only coloured and mixed with noise (``tint``)."""


def learn_filters(speech: Speech, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Learn filters and biases from patches of training clips, without labels.

    Returns:
        weights ``(FILTERS, 1, WIDTH, HEIGHT)``, each of zero sum, so that neither
        the level nor a smooth filter matters, and biases ``(FILTERS,)``

    """
    items = np.flatnonzero(speech.training)
    patches = []
    for item in rng.choice(items, 2500):
        first, length = speech.places[item]
        maps = speech.maps[int(rng.integers(len(speech.maps)))]
        frames = clean(maps[first : first + length])
        for _ in range(12):
            time_at = int(rng.integers(max(1, length - WIDTH)))
            band = int(rng.integers(frames.shape[1] - HEIGHT))
            part = frames[time_at : time_at + WIDTH, band : band + HEIGHT]
            if part.shape == (WIDTH, HEIGHT):
                patches.append(part.ravel())
    x = np.stack(patches)
    x -= x.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    whiten = vectors / np.sqrt(np.maximum(values, 0) + 4.0)
    z = x @ whiten
    z /= np.linalg.norm(z, axis=1, keepdims=True) + 1e-6
    centres = z[rng.choice(len(z), FILTERS, replace=False)]
    for _ in range(8):  # spherical k-means
        nearest = (z @ centres.T).argmax(1)
        for number in range(FILTERS):
            chosen = z[nearest == number]
            if len(chosen):
                centres[number] = chosen.sum(0)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True) + 1e-9
    weights = centres @ whiten.T
    weights -= weights.mean(1, keepdims=True)
    response = x[:4000] @ weights.T
    bias = -np.quantile(response, 0.7, axis=0)
    shape = FILTERS, 1, WIDTH, HEIGHT
    return (
        torch.from_numpy(weights.reshape(shape)).float(),
        torch.from_numpy(bias).float(),
    )


def clean(frames: np.ndarray) -> np.ndarray:
    """Float maps of unit power, with a floor 70 dB below the loudest."""
    frames = frames.astype(np.float32)
    return np.maximum(frames, frames.max() - 70)


def pool(frames: np.ndarray, weights: Tensor, bias: Tensor) -> np.ndarray:
    """Mean and deviation over time of each filter in each zone, and of each band."""
    x = torch.from_numpy(clean(frames))
    short = WIDTH + STRIDE[0] - len(x)
    if short > 0:
        x = torch.cat([x, x[-1:].expand(short, -1)])
    with torch.inference_mode():
        found = nn.functional.conv2d(x[None, None], weights, bias, STRIDE)[0].relu()
        zones = [part.mean(2) for part in found.chunk(ZONES, dim=2)]
        stacked = torch.stack(zones)  # zones, filters, time
        parts = [stacked.mean(2).ravel(), stacked.std(2, correction=0).ravel()]
        step = (x[1:] - x[:-1]).abs().mean(0)
        parts += [x.mean(0), x.std(0, correction=0), step]
    return torch.cat(parts).half().numpy()


def copy_of(
    frames: np.ndarray, speech: Speech, rng: np.random.Generator, *, warped: bool
) -> np.ndarray:
    """Colour a whole map and add noise; warp it by 15 % and shift its bands before."""
    frames = frames.astype(np.float32)
    if warped:
        frames = warp_all(frames, rng)
    if rng.random() < 0.6:
        frames = frames[: CROP + CROP // 3]
        frames = add_noise(frames[None], speech.noises, rng)[0]
    gains = rng.normal(0, 4.0, 9)
    frames = frames + np.interp(np.linspace(0, 8, NETWORK.n_mels), np.arange(9), gains)
    power = (to_power(frames.astype(np.float32)) @ WIDTHS).mean()
    return (frames + UNIT_POWER - 10 * np.log10(power)).astype(np.float32)


def warp_all(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Warp a whole map along time, and shift its bands."""
    speed, shift = rng.uniform(0.85, 1.15), rng.normal(0, 1.0)
    time_at = np.arange(0, len(frames) - 1, speed)
    low = time_at.astype(int)
    part = (time_at - low)[:, None].astype(np.float32)
    frames = frames[low] * (1 - part) + part * frames[low + 1]
    band = np.clip(np.arange(frames.shape[1]) + shift, 0, frames.shape[1] - 1.001)
    low = band.astype(int)
    part = (band - low).astype(np.float32)
    warped: np.ndarray = frames[:, low] * (1 - part) + frames[:, low + 1] * part
    return warped


def compute(work: Path) -> None:
    """Pool all versions of all training clips, and the suite's changes."""
    torch.set_num_threads(1)
    speech = Speech.open(work)
    target = work / "patches"
    target.mkdir(exist_ok=True)
    if not (target / "filters.npz").exists():
        weights, bias = learn_filters(speech, np.random.default_rng(0))
        np.savez(target / "filters.npz", weights=weights.numpy(), bias=bias.numpy())
    saved = np.load(target / "filters.npz")
    filters = torch.from_numpy(saved["weights"]), torch.from_numpy(saved["bias"])
    items = np.flatnonzero(speech.training)
    kinds = [(f"disk_{n}", n, False) for n in range(len(speech.maps))]
    kinds += [(f"copy_{n}", n % len(speech.maps), True) for n in range(COPIES)]
    kinds += [(f"tint_{n}", n + 1, True) for n in range(COPIES)]
    for name, version, varied in kinds:
        path = target / f"{name}.npy"
        if path.exists():
            continue
        rows = []
        for item in items:
            first, length = speech.places[item]
            frames = speech.maps[version][first : first + length]
            if varied:
                rng = np.random.default_rng([99, int(item), int(name[-1])])
                frames = copy_of(frames, speech, rng, warped=name.startswith("copy"))
            rows.append(pool(frames, *filters))
        np.save(path, np.stack(rows))
        print(name, time.process_time(), flush=True)
    if (work / "tests.npz").exists() and not (target / "tests.npz").exists():
        tests = np.load(work / "tests.npz")
        count = len(tests["items"])
        pooled = {
            name: np.stack([pool(tests[f"{name}/{n}"], *filters) for n in range(count)])
            for name in TESTED
        }
        np.savez(target / "tests.npz", items=tests["items"], **pooled)


@dataclass(frozen=True)
class Row:
    """How one head is trained."""

    name: str
    corpora: tuple[str, ...] = ("emodb", "crema_d")
    versions: tuple[str, ...] = ("disk", "copy")
    emodb: float = 0.3
    derivation: str = "felt by word"
    apart: bool = True
    """Whether concordance is taken of each corpus alone."""
    consistency: float = 0.0
    votes: float = 0.5
    confidence: float = 0.0
    hidden: int = 128
    dropout: float = 0.5
    steps: int = 600
    batch: int = 96
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    fold: int = 0
    inputs: str = "all"
    """``all``, ``patches`` or ``bands``."""


CREMA, EMODB = ("crema_d",), ("emodb",)
ROWS = [
    Row("C, as it is", CREMA, ("disk_0",)),
    Row("C", CREMA),
    Row("C, ways alone", CREMA, ("disk",)),
    Row("C, copies alone", CREMA, ("disk_0", "copy")),
    Row("C, longer", CREMA, steps=1500),
    Row("C, consistent", CREMA, consistency=5.0),
    Row("C, votes off", CREMA, votes=0.0),
    Row("C, bands alone", CREMA, inputs="bands"),
    Row("C, patches alone", CREMA, inputs="patches"),
    Row("C, mean vote", CREMA, derivation="mean vote"),
    Row("C, felt", CREMA, derivation="felt"),
    Row("C, majority", CREMA, derivation="majority"),
    Row("C, smoothed", CREMA, derivation="smoothed"),
    Row("C, confidence", CREMA, confidence=0.8),
    Row("E, as it is", EMODB, ("disk_0",)),
    Row("E", EMODB),
    Row("E, consistent", EMODB, consistency=5.0),
    Row("both, as it is", versions=("disk_0",)),
    Row("both, together", apart=False),
    Row("both"),
    Row("both, consistent", consistency=5.0),
    Row("both, longer", steps=1500),
    Row("both, ways longer", versions=("disk",), steps=1500),
    Row("C, tints", CREMA, ("disk", "tint"), steps=1500),
    Row("C, ways, patches", CREMA, ("disk",), inputs="patches"),
    Row("C, ways, consistent", CREMA, ("disk",), consistency=5.0),
    Row("both, tints", versions=("disk", "tint"), steps=1500),
    Row(
        "both, tints, patches", versions=("disk", "tint"), steps=1500, inputs="patches"
    ),
    Row("both, ways, consistent", versions=("disk",), steps=1000, consistency=5.0),
    Row(
        "both, tints, consistent",
        versions=("disk", "tint"),
        steps=1000,
        consistency=5.0,
    ),
    Row(
        "C, as the teacher",
        CREMA,
        ("disk", "tint"),
        steps=1000,
        consistency=2.0,
    ),
    Row("E, as the teacher", EMODB, ("disk", "tint"), steps=500, consistency=2.0),
    Row("both, wide", steps=1500, hidden=256, dropout=0.6),
]


class Head(nn.Module):
    """Two layers on standardised features: three scores and seven categories."""

    def __init__(self, row: Row, features: np.ndarray) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.from_numpy(features.mean(0)), False)
        deviation = features.std(0) + 0.05 * features.std(0).mean() + 1e-6
        self.scale = nn.Parameter(torch.from_numpy(1 / deviation), False)
        self.layers = nn.Sequential(
            nn.Dropout(row.dropout / 2),
            nn.Linear(features.shape[1], row.hidden),
            nn.ReLU(),
            nn.Dropout(row.dropout),
            nn.Linear(row.hidden, 10),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Score features, ``(batch, 10)``."""
        x = ((features - self.mean) * self.scale).clamp(-4, 4)
        offset = torch.tensor([0.5] * 3 + [0.0] * 7)
        return self.layers(x) + offset


class Pooled:
    """All pooled versions of the training clips."""

    def __init__(self, work: Path, speech: Speech, inputs: str) -> None:
        self.items = np.flatnonzero(speech.training)
        self.inputs = inputs
        self.place = np.full(len(speech.corpus), -1)
        self.place[self.items] = np.arange(len(self.items))
        self.versions = {
            path.stem: self.part(np.load(path))
            for path in sorted((work / "patches").glob("*_*.npy"))
        }
        tests = work / "patches" / "tests.npz"
        self.tests = np.load(tests) if tests.exists() else None

    def part(self, features: np.ndarray) -> np.ndarray:
        """Take what the row's inputs are of all features."""
        split = 2 * ZONES * FILTERS
        if self.inputs == "patches":
            features = features[:, :split]
        elif self.inputs == "bands":
            features = features[:, split:]
        return features.astype(np.float32)

    def of(self, version: str, items: np.ndarray) -> np.ndarray:
        """Features of clips in a version."""
        return self.versions[version][self.place[items]]


def losses(output: Tensor, items: np.ndarray, speech: Speech, row: Row) -> Tensor:
    """Loss of a batch's outputs."""
    truth = torch.from_numpy(speech.truth[row.derivation][items])
    names = row.corpora if row.apart else ("",)
    total = torch.zeros(())
    for name in names:
        part = speech.corpus[items] == name if name else np.ones(len(items), bool)
        chosen = torch.from_numpy(part)
        ccc = concordance_loss(output[chosen, :3], truth[chosen]).sum()
        total = total + float(part.mean()) * ccc
    weight = 1 - row.confidence * speech.entropy[items].astype(np.float32)
    error = (output[:, :3] - truth).abs() * torch.from_numpy(weight)[:, None]
    wanted = torch.from_numpy(speech.votes[items])
    entropy = -(wanted * torch.log_softmax(output[:, 3:], 1)).sum(1).mean()
    return total + error.mean() + row.votes * entropy


def train(
    pooled: Pooled, speech: Speech, row: Row, items: np.ndarray, seed: int
) -> Head:
    """Train a head on clips."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    names = [v for v in pooled.versions if v.startswith(row.versions)]
    head = Head(row, pooled.of(names[0], items))
    optimizer = torch.optim.AdamW(
        head.layers.parameters(), lr=row.learning_rate, weight_decay=row.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, row.learning_rate, row.steps, pct_start=0.1
    )
    own = speech.corpus[items] == "emodb"
    count = round(row.batch * row.emodb) if 0 < own.sum() < len(own) else 0
    for _ in range(row.steps):
        if count:
            batch = np.concatenate(
                [
                    rng.choice(items[own], count),
                    rng.choice(items[~own], row.batch - count),
                ]
            )
        else:
            batch = rng.choice(items, row.batch)
        twins = []
        for _ in range(2 if row.consistency else 1):
            chosen = rng.integers(len(names), size=len(batch))
            x = np.empty((len(batch), len(head.mean)), np.float32)
            for number, name in enumerate(names):
                x[chosen == number] = pooled.of(name, batch[chosen == number])
            twins.append(head(torch.from_numpy(x)))
        loss = sum((losses(t, batch, speech, row) for t in twins), torch.zeros(()))
        loss = loss / len(twins)
        if row.consistency:
            apart = (twins[0] - twins[1])[:, :3].abs().mean()
            loss = loss + row.consistency * apart
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    head.loss = loss.item()
    return head.eval()


def score(head: Head, features: np.ndarray) -> np.ndarray:
    """Scores of features, ``(clips, 3)``."""
    with torch.inference_mode():
        return head(torch.from_numpy(features))[:, :3].numpy()


def run(work: Path, only: list[str], seeds: int) -> None:
    """Train all rows that are not done; seed and fold go together."""
    torch.set_num_threads(1)
    speech = Speech.open(work)
    pools: dict[str, Pooled] = {}
    for row in ROWS:
        if only and row.name not in only:
            continue
        for seed in range(seeds):
            path = work / "heads" / f"{row.name.replace(' ', '_')}_{seed}.json"
            if path.exists():
                continue
            path.parent.mkdir(exist_ok=True)
            if row.inputs not in pools:
                pools = {row.inputs: Pooled(work, speech, row.inputs)}
            pooled = pools[row.inputs]
            started = time.process_time()
            items, held = speech.split(row.corpora, seed)
            head = train(pooled, speech, row, items, seed)
            result = {
                "row": asdict(row),
                "seed": seed,
                "loss": head.loss,
                "versions": list(pooled.versions),
                "figures": examine(head, pooled, speech, row, held),
            }
            result["seconds"] = time.process_time() - started
            path.write_text(json.dumps(result, indent=1))
            print(line([result]), flush=True)


def examine(
    head: Head, pooled: Pooled, speech: Speech, row: Row, held: np.ndarray
) -> dict[str, Any]:
    """Score held clips, as they are and changed."""
    figures: dict[str, Any] = {}
    for name in CORPORA:
        items = held[speech.corpus[held] == name]
        truth = speech.truth[row.derivation][items]
        for version in (
            "disk_0",
            sorted(v for v in pooled.versions if "disk" in v)[-1],
        ):
            got = score(head, pooled.of(version, items))
            figures[f"{name} {version}"] = {
                metric.__name__: [metric(truth[:, i], got[:, i]) for i in range(3)]
                for metric in (concordance_cc, pearson_cc)
            } | {
                "deviation": got.std(0).tolist(),
                "mean": got.mean(0).tolist(),
                "mean of truth": truth.mean(0).tolist(),
            }
    if pooled.tests is not None:
        numbers = np.flatnonzero(np.isin(pooled.tests["items"], held))
        before = score(head, pooled.of("disk_0", pooled.tests["items"][numbers]))
        for name in TESTED:
            after = score(head, pooled.part(pooled.tests[name][numbers]))
            same = (np.abs(after - before) < UNCHANGED).mean(0)
            figures[name] = {"unchanged": same.tolist()}
    return figures


def line(results: list[dict[str, Any]]) -> str:
    """One line of the table: the mean of a row's seeds."""
    row = results[0]["row"]

    def mean(name: str, key: str) -> str:
        values = [r["figures"][name][key] for r in results if name in r["figures"]]
        if not values:
            return "-"
        return " / ".join(f"{v:.2f}" for v in np.mean(values, axis=0))

    cells = [row["name"], " ".join(f"{r['loss']:.2f}" for r in results)]
    for corpus in ("emodb", "crema_d"):
        for key in ("concordance_cc", "pearson_cc"):
            cells.append(mean(f"{corpus} disk_0", key))
    cells += [mean(f"{corpus} disk_2", "concordance_cc") for corpus in CORPORA]
    cells += [mean(name, "unchanged") for name in SHOWN]
    return f"| {' | '.join(cells)} |"


def table(work: Path) -> None:
    """Print all results, rows in the order of :data:`ROWS`."""
    heads = ["row", "loss of each seed", "EMO-DB", "r", "CREMA-D", "r"]
    heads += ["EMO-DB to the ear", "CREMA-D to the ear", *SHOWN]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in ROWS:
        stem = row.name.replace(" ", "_")
        paths = sorted((work / "heads").glob(f"{stem}_[0-9].json"))
        if paths:
            print(line([json.loads(path.read_text()) for path in paths]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("features", "train", "table"))
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.task == "features":
        compute(arguments.work)
    elif arguments.task == "train":
        run(arguments.work, arguments.only, arguments.seeds)
    else:
        table(arguments.work)


if __name__ == "__main__":
    main()
