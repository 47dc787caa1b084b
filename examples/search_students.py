"""Search for the students that hear most for what they cost on a Cortex-M4.

    python examples/search_students.py LABELS OUT \
      --instructions 2e6 --ram 4KiB --flash 32KiB --count 24
    python examples/search_students.py LABELS OUT --student wav2small-rt-nano

Each candidate is a setting of the streaming network. The bench builds its C with
random weights, runs it on the emulated core and counts: instructions, RAM and flash,
not multiply-accumulates. One that keeps within the budget learns shortly from LABELS,
a label store; its concordance with the teacher on development speakers is what it is
worth. Half of the candidates are drawn at random, and half are the best so far with
one or two settings changed. One whose plan is far out of the budget is not built.
OUT/candidates.jsonl keeps each of them: a search that is broken off goes on where it
was, and the same seed gives the same search.
OUT/front.png shows those that nothing beats. With ``--student`` one of the list is
measured and learns in the same way instead, as long as ``--steps`` says.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wav2small.adv import SAMPLING_RATE
from wav2small.annotation.store import LabelStore
from wav2small.cli.untrained import write_untrained
from wav2small.clips import decode_labels
from wav2small.distillation import predict_clips
from wav2small.firmware_bench.bench import bench
from wav2small.firmware_bench.size import parse_size
from wav2small.losses import score_losses
from wav2small.metrics import concordance_cc
from wav2small.splits import split_dev
from wav2small.students import STUDENTS

WINDOW = 256
"""Samples of a window: buffers and tables of 512 alone would fill the budget."""

SPACE: dict[str, Sequence[Any]] = {
    "hop_length": (160, 192, 224, 256),
    "past_seconds": (0.25, 0.5, 1.0),
    "n_mels": (12, 16, 20, 24, 32),
    "filters": ((4, 4), (4, 8), (6, 8), (8, 8), (8, 12), (8, 16)),
    "channels": (16, 20, 24, 28, 32, 36, 40),
    "dilations": ((1, 2), (1, 3), (1, 2, 4), (1, 3, 9), (1, 2, 4, 8)),
    "kernel": (3, 5),
}
"""What a candidate may be, each list from little to much."""

COSTS = {"instructions": 1e6, "ram": 1024, "flash": 1024}
"""What the bench counts, and the unit of the picture."""

TARGET = "generic-m4-64k"
BATCH, CROP, RATE = 32, 2 * SAMPLING_RATE, 6e-3
DEV_CLIPS = 200
PLAN_IS_OFF = 1.15
"""No plan is further from what is measured, as a factor."""


def settings(genes: dict[str, Any]) -> dict[str, Any]:
    """Settings of the network."""
    made = {name: value for name, value in genes.items() if name != "past_seconds"}
    rows = genes["past_seconds"] * SAMPLING_RATE / genes["hop_length"]
    return made | {"window_length": WINDOW, "past_frames": round(rows)}


def draw(generator: np.random.Generator) -> dict[str, Any]:
    """Draw a candidate."""
    return {n: c[generator.integers(len(c))] for n, c in SPACE.items()}


def change(genes: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
    """Move one or two settings of a candidate to the next value in their list."""
    changed = dict(genes)
    for name in generator.choice([*SPACE], generator.integers(1, 3), replace=False):
        choices = SPACE[name]
        at = choices.index(changed[name])
        steps = [i for i in (at - 1, at + 1) if 0 <= i < len(choices)]
        changed[name] = choices[generator.choice(steps)]
    return changed


def front(candidates: list[dict[str, Any]], cost: str) -> list[dict[str, Any]]:
    """Candidates that hear more than all that cost no more, the cheapest first."""
    best, kept = -np.inf, []
    heard = [entry for entry in candidates if entry["ccc"] is not None]
    for entry in sorted(heard, key=lambda entry: (entry[cost], -entry["ccc"])):
        if entry["ccc"] > best:
            best = entry["ccc"]
            kept.append(entry)
    return kept


def propose(candidates: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Next candidate that was not there yet; the same for the same candidates."""
    generator = np.random.default_rng((seed, len(candidates)))
    known = [entry["genes"] for entry in candidates]
    parents = front(candidates, "instructions")
    while True:
        if parents and generator.random() < 0.5:
            genes = change(_tuples(generator.choice(parents)["genes"]), generator)
        else:
            genes = draw(generator)
        if _lists(genes) not in known:
            return genes


def _lists(genes: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(genes))
    return found


def _tuples(genes: dict[str, Any]) -> dict[str, Any]:
    return {n: tuple(v) if isinstance(v, list) else v for n, v in genes.items()}


def measure(config: dict[str, Any], budget: dict[str, float]) -> dict[str, float]:
    """Count what a student with random weights takes.

    What is planned if that is so far out of the budget that no count can mend it.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "student.json"
        path.write_text(json.dumps({"student": "wav2small-rt", "config": config}))
        model = write_untrained(str(path), folder)
        planned = bench(model, targets=[TARGET], host=False)
        plan = planned["c99"]["plan"]["cores"][0]
        costs = {
            "instructions": plan["instructions_per_second"],
            "ram": plan["ram_bytes"],
            "flash": plan["flash_bytes"],
        }
        if any(costs[n] > PLAN_IS_OFF * limit for n, limit in budget.items()):
            return costs
        report = bench(model, targets=[TARGET], host=False, emulate=True)
    core = report["firmware"]["cores"][0]
    if core["differing_bits"]:
        raise SystemExit(f"bits must be the reference's, got others of {config}")
    return {name: core["figures"][name] for name in COSTS}


class Lesson:
    """Clips of a label store, from which every candidate learns the same way."""

    def __init__(self, labels_folder: Path, folder: Path) -> None:
        store = LabelStore.open(labels_folder)
        labels = store.read()
        self.clips, unread = decode_labels(labels, store.root, folder)
        readable = (
            np.array([i for i in part if i not in unread])
            for part in split_dev(labels, 0.1, 0)
        )
        self.train, dev = readable
        self.dev = np.random.default_rng(0).permutation(dev)[:DEV_CLIPS]
        self.scores = np.asarray(labels.scores, np.float32)

    def crops(self, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Two seconds of some clips, and their scores."""
        items = generator.choice(self.train, BATCH, replace=False)
        signals = np.zeros((BATCH, CROP), np.float32)
        for signal, item in zip(signals, items, strict=True):
            clip = self.clips[int(item)]
            start = generator.integers(max(1, len(clip) - CROP))
            part = clip[start : start + CROP]
            signal[: len(part)] = part
        return torch.from_numpy(signals), torch.from_numpy(self.scores[items])

    def learn(self, config: dict[str, Any], steps: int) -> float:
        """Train a student shortly; its mean concordance on development speakers."""
        generator = np.random.default_rng(0)
        torch.manual_seed(0)
        base = STUDENTS["wav2small-rt"]
        module = dataclasses.replace(base, settings=config).build().train()
        optimiser = torch.optim.AdamW(
            [p for p in module.parameters() if p.requires_grad], RATE
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, RATE, total_steps=steps
        )
        for _ in range(steps):
            signals, truth = self.crops(generator)
            optimiser.zero_grad()
            sum(score_losses(module(signals), truth).values()).backward()
            optimiser.step()
            schedule.step()
        found = predict_clips(module, self.clips, self.dev)
        truth = self.scores[self.dev]
        columns = zip(truth.T, found.T, strict=True)
        return float(np.mean([concordance_cc(*column) for column in columns]))


def within(entry: dict[str, Any], budget: dict[str, float]) -> bool:
    """Whether a candidate costs no more than the budget."""
    return all(entry[name] <= limit for name, limit in budget.items())


def draw_front(
    candidates: list[dict[str, Any]], budget: dict[str, float], path: Path
) -> None:
    """Draw concordance against each cost."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), layout="constrained")
    units = {"instructions": "M instructions per second of audio", "ram": "RAM, KiB"}
    heard = [entry for entry in candidates if entry["ccc"] is not None]
    for panel, (cost, unit) in zip(
        figure.subplots(1, 3, sharey=True), COSTS.items(), strict=True
    ):
        panel.scatter(
            [entry[cost] / unit for entry in heard],
            [entry["ccc"] for entry in heard],
            s=14,
            color="#1f5f8b",
            alpha=0.6,
        )
        best = front(candidates, cost)
        panel.step(
            [entry[cost] / unit for entry in best],
            [entry["ccc"] for entry in best],
            where="post",
            color="#b3261e",
        )
        panel.axvline(budget[cost] / unit, color="0.5", linestyle=":")
        panel.set(xlabel=units.get(cost, "flash, KiB"))
        panel.grid(color="0.9", linewidth=0.6)
    figure.axes[0].set_ylabel("CCC with the teacher, short training")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("labels", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--instructions", type=float, default=2e6)
    parser.add_argument("--ram", default="4KiB")
    parser.add_argument("--flash", default="32KiB")
    parser.add_argument("--count", type=int, default=24, help="candidates in budget")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--student", choices=STUDENTS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    budget = {
        "instructions": arguments.instructions,
        "ram": float(parse_size(arguments.ram)),
        "flash": float(parse_size(arguments.flash)),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "candidates.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    candidates = [json.loads(line) for line in lines]
    lesson = Lesson(arguments.labels, arguments.out / "clips")
    if arguments.student:
        config = dict(STUDENTS[arguments.student].settings)
        costs = measure(config, {})
        ccc = lesson.learn(config, arguments.steps)
        print(json.dumps({"student": arguments.student, "ccc": ccc, **costs}))
        return
    while sum(entry["ccc"] is not None for entry in candidates) < arguments.count:
        genes = propose(candidates, arguments.seed)
        config = settings(genes)
        entry: dict[str, Any] = {"genes": genes, "ccc": None}
        entry |= measure(config, budget)
        if within(entry, budget):
            entry["ccc"] = lesson.learn(config, arguments.steps)
        candidates.append(_lists(entry))
        with path.open("a") as file:
            file.write(json.dumps(candidates[-1]) + "\n")
        print(json.dumps(entry), flush=True)
    draw_front(candidates, budget, arguments.out / "front.png")
    inside = [entry for entry in candidates if within(entry, budget)]
    for entry in front(inside, "instructions"):
        print(json.dumps(entry))


if __name__ == "__main__":
    main()
