"""What helps a tiny student: one change at a time to the recipe of ``distill``.

    python examples/studies/recipe_study.py DATA OUT
        [--steps N] [--seeds N] [--only NAME ...]

DATA holds ``emodb``, ``librispeech_subset`` and ``esc10``,
as for examples/real_speech.py.
Every row of the table is trained for the same number of steps, with each seed.
Two of EMO-DB's training speakers and a tenth of LibriSpeech's are kept for the
figures; its test speakers take no part.
What the library does not do, because it did not help, is tried by code in this file.
A run that was cut short goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn

from wav2small import cli, distillation
from wav2small.adv import DIMENSIONS, NEUTRAL
from wav2small.annotation.labels import Labels
from wav2small.annotation.store import LabelStore
from wav2small.augment import degrade, vary
from wav2small.bundled import DEMO
from wav2small.clips import Clips, read_noises
from wav2small.config import AugmentConfig, DistillConfig
from wav2small.distillation import predict_clips
from wav2small.export.pipeline import ExportConfig, export
from wav2small.losses import score_losses
from wav2small.metrics import concordance_cc
from wav2small.models import OnnxModel
from wav2small.splits import split_dev
from wav2small.students import STUDENTS, Student, student
from wav2small.teachers.bundled import BundledTeacher
from wav2small.teachers.loading import load_teacher

# the scripts that this study builds on lie a folder above
sys.path.append(str(Path(__file__).parent.parent))

from real_speech import save, write_manifest

STUDENT = Student("streaming:Streaming", 0, "10 ms hop: trains fast")
"""The student of the study if no other is named."""

DEV = ("emodb_08", "emodb_11")
"""A woman and a man whom no student of the study hears."""

UNCHANGED = 0.05
"""Largest change of a score that counts as none, see the suite."""

Losses = Callable[[Tensor, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Row:
    """One row of the table: what differs from the recipe."""

    group: str
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    augment: dict[str, Any] = field(default_factory=dict)
    losses: Losses = score_losses
    features: bool = False
    teacher_hears_channel: bool = False
    rounded: bool = False
    """Whether weights and inputs of layers are rounded from the first step on."""
    tune: int | None = None
    """If given, the figures are of the int8 file, tuned for so many steps."""
    sources: tuple[str, ...] = ("emodb", "ls")
    share: float = 1.0
    """Share of the sources' speakers."""
    steps: float = 1.0
    """Share of the steps."""

    @property
    def key(self) -> str:
        """Name of the row's files."""
        return f"{self.group}_{self.name}".replace(" ", "_").replace("/", "-")


def ccc_alone(prediction: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """The concordance losses without the mean absolute error."""
    losses = score_losses(prediction, truth)
    return {name: value for name, value in losses.items() if name != "l1"}


def with_quadrant(prediction: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """And how far each score lies on the wrong side of neutral."""
    wrong = -(prediction - NEUTRAL) * torch.sign(truth - NEUTRAL)
    return score_losses(prediction, truth) | {"quadrant": wrong.relu().mean() * 10}


def with_ranking(prediction: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """And each pair in the wrong order, as much as it should be apart."""
    apart = truth[:, None] - truth[None]
    got = prediction[:, None] - prediction[None]
    lost = nn.functional.softplus(-got * torch.sign(apart) / 0.05) * apart.abs()
    return score_losses(prediction, truth) | {"ranking": lost.sum() / apart.abs().sum()}


def with_features(prediction: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """And the distance to the teacher's last hidden layer."""
    scores = score_losses(prediction[:, :3], truth[:, :3])
    lost = (prediction[:, 3:] - truth[:, 3:]).square().mean()
    return scores | {"features": 0.5 * lost / truth[:, 3:].var()}


ROWS = [
    Row("recipe", "as it is"),
    Row("teaching", "cached", {"teaching": "cached"}),
    Row("teaching", "1 variation", {"variations": 1}),
    Row("teaching", "no variation twice", {"variations": 1000}),
    Row("teaching", "teacher hears noise and rooms too", teacher_hears_channel=True),
    Row("loss", "CCC alone", losses=ccc_alone),
    Row("loss", "and quadrant", losses=with_quadrant),
    Row("loss", "and ranking", losses=with_ranking),
    Row("loss", "and the teacher's hidden layer", losses=with_features, features=True),
    Row("augmentation", "nothing beside the voice", augment={"mix_probability": 0.0}),
    Row("augmentation", "no change of speed", augment={"speed": 0.0}),
    Row("augmentation", "no noise in the channel", augment={"noise_probability": 0.0}),
    Row("augmentation", "no filter", augment={"filter_probability": 0.0}),
    Row("augmentation", "no lost bands", augment={"band_probability": 0.0}),
    Row("augmentation", "no rooms", augment={"room_probability": 0.0}),
    Row("augmentation", "no silence", {"non_speech": 0.0}, {"silence_probability": 0}),
    Row(
        "augmentation",
        "none at all",
        {"non_speech": 0.0},
        {
            "speed": 0.0,
            "mix_probability": 0.0,
            "noise_probability": 0.0,
            "filter_probability": 0.0,
            "band_probability": 0.0,
            "room_probability": 0.0,
            "silence_probability": 0.0,
            "gain": 0.0,
        },
    ),
    Row("crop", "1 s", {"crop_seconds": 1.0}),
    Row("crop", "4 s", {"crop_seconds": 4.0}),
    Row("batch", "8", {"batch_size": 8}),
    Row("batch", "32", {"batch_size": 32}),
    Row("batch", "64", {"batch_size": 64}),
    Row("batch", "32, half the steps", {"batch_size": 32}, steps=0.5),
    Row("batch", "64, a quarter of the steps", {"batch_size": 64}, steps=0.25),
    Row("average", "none", {"average": 0.0}),
    Row("average", "decay 0.98", {"average": 0.98}),
    Row("average", "decay 0.998", {"average": 0.998}),
    Row("rate", "1e-3", {"learning_rate": 1e-3}),
    Row("rate", "6e-3", {"learning_rate": 6e-3}),
    Row("int8", "rounded after training", tune=0),
    Row("int8", "rounded and tuned for 300 steps", tune=300),
    Row("int8", "rounded from the start", rounded=True, tune=0),
    Row("hours", "EMO-DB alone", sources=("emodb",)),
    Row("hours", "LibriSpeech alone", sources=("ls",)),
    Row("hours", "synthetic voices alone", sources=("synthetic",)),
    Row("hours", "an eighth of both", share=0.125),
    Row("hours", "a quarter of both", share=0.25),
    Row("hours", "half of both", share=0.5),
    Row(
        "hours",
        "both and synthetic voices",
        sources=("emodb", "ls", "synthetic"),
    ),
]


class RememberingTeacher:
    """The bundled teacher, which hears equal crops of different rows once."""

    def __init__(self, features: bool = False) -> None:
        loaded = load_teacher("bundled")
        assert isinstance(loaded, BundledTeacher)
        self.teacher, self.info = loaded, loaded.info
        self.features = features
        self.known: dict[bytes, np.ndarray] = {}
        self.hidden: list[Tensor] = []
        if features:
            loaded.network.hidden.register_forward_hook(
                lambda _module, _input, output: self.hidden.append(output)
            )

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals; with features the hidden layer follows the scores."""
        keys = [hashlib.blake2b(s.tobytes(), digest_size=16).digest() for s in signals]
        fresh = [row for row, key in enumerate(keys) if key not in self.known]
        if fresh:
            self.hidden.clear()
            scores = self.teacher.predict([signals[row] for row in fresh])
            if self.features:
                hidden = self.hidden.pop().relu().numpy()
                scores = np.concatenate([scores, hidden], axis=1)
            self.known |= {keys[row]: s for row, s in zip(fresh, scores, strict=True)}
        return np.stack([self.known[key] for key in keys])


def build_with_features(entry: Student, hidden: int, config: Any) -> nn.Module:
    """Build a student whose last layer gives the teacher's hidden layer too."""
    module = entry.module(config)
    last = module.adv
    assert isinstance(last, nn.Linear)
    module.adv = nn.Linear(last.in_features, 3 + hidden)
    return module


def round_through(values: Tensor, step: Tensor) -> Tensor:
    """Round to multiples of a step; the gradient passes as if nothing were done."""
    step = step.clamp_min(1e-8)
    return values + ((values / step).round() * step - values).detach()


def round_weight(weight: Tensor) -> Tensor:
    """Round to 7 bits for each output, as the export does."""
    largest = weight.detach().abs().flatten(1).amax(1)
    return round_through(weight, largest.view(-1, *[1] * (weight.dim() - 1)) / 63)


def round_input(values: Tensor) -> Tensor:
    """Round to 8 bits over the range of the batch."""
    return round_through(values, (values.max() - values.min()).detach() / 255)


class RoundedConv2d(nn.Conv2d):
    """A convolution of rounded values."""

    def forward(self, input: Tensor) -> Tensor:
        weight = round_weight(self.weight)
        return self._conv_forward(round_input(input), weight, self.bias)


class RoundedLinear(nn.Linear):
    """A linear layer of rounded values."""

    def forward(self, input: Tensor) -> Tensor:
        weight = round_weight(self.weight)
        return nn.functional.linear(round_input(input), weight, self.bias)


def build_rounded(entry: Student, config: Any) -> nn.Module:
    """Build a student that rounds as it will be rounded."""
    module = entry.module(config)
    for layer in module.modules():
        if type(layer) is nn.Conv2d:
            layer.__class__ = RoundedConv2d
        elif type(layer) is nn.Linear:
            layer.__class__ = RoundedLinear
    return module


TEACHERS: dict[bool, RememberingTeacher] = {}
"""The teachers of this process, with and without features."""


def choose(row: Row, labels: Labels, items: np.ndarray) -> np.ndarray:
    """Return those of the clips that a row trains with: whole speakers."""
    speakers = np.array([name or "" for name in labels.metadata["speaker"]])[items]
    kind = np.array(
        ["synthetic" if "synthetic" in s else s.partition("_")[0] for s in speakers]
    )
    kept = np.zeros(len(items), bool)
    for source in row.sources:
        names = np.unique(speakers[kind == source])
        # the first ones by turns, so that a small share has each sex of EMO-DB
        some = names[: max(1, round(row.share * len(names)))]
        kept |= np.isin(speakers, some)
    return items[kept]


def run(
    row: Row, seed: int, labels: Path, out: Path, entry: Student, steps: int
) -> None:
    """Train one row with one seed and write its figures, if they are not there."""
    result = out / "results" / f"{row.key}_{seed}.json"
    if result.exists():
        return
    torch.set_num_threads(1)
    folder = out / "runs" / f"{row.key}_{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(out / "clips", folder / "clips", copy_function=os.link)
    read = LabelStore.open(labels).read()
    config = DistillConfig(
        student=entry.description,
        seed=seed,
        evaluations=1,
        augment=AugmentConfig(**row.augment),
    )
    config = replace(config, **row.config)
    train, dev = split_dev(read, config.dev_share, seed)
    train = choose(row, read, train)
    per_epoch = max(1, len(train) // config.batch_size)
    config = replace(config, epochs=math.ceil(row.steps * steps / per_epoch))
    teacher = TEACHERS.setdefault(row.features, RememberingTeacher(row.features))
    patches: dict[str, Any] = {
        "split_dev": lambda *_: (train, dev),
        "student": lambda _: entry,
    }
    if row.teacher_hears_channel:

        def vary_and_degrade(
            clips: Sequence[np.ndarray],
            item: int,
            samples: int,
            rng: np.random.Generator,
            augment: AugmentConfig,
            noises: Sequence[np.ndarray],
        ) -> np.ndarray:
            signal = vary(clips, item, samples, rng, augment, noises)
            return degrade(signal, rng, augment, noises)

        patches |= {"vary": vary_and_degrade, "degrade": lambda signal, *_: signal}
    if row.features:
        hidden = teacher.teacher.network.hidden.out_features
        build = partial(build_with_features, entry, hidden)
        patches["student"] = lambda _: replace(entry, module=build)
    if row.rounded:
        rounding = partial(build_rounded, entry)
        patches["student"] = lambda _: replace(entry, module=rounding)
    started = time.monotonic()
    with mock.patch.multiple(distillation, **patches):
        distillation.distill(
            labels,
            folder,
            config,
            noise=Path(os.environ["NOISE"]),
            teacher=None if config.teaching == "cached" else teacher,
            losses=row.losses,
        )
    seconds = time.monotonic() - started
    figures = measure(row, folder, labels, dev, entry, Path(os.environ["NOISE"]))
    figures["hours"] = float((read.ends - read.starts)[train].sum() / 3600)
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(figures | {"seconds": seconds}))
    shutil.rmtree(folder)


def measure(
    row: Row, folder: Path, labels: Path, dev: np.ndarray, entry: Student, noise: Path
) -> dict[str, float]:
    """Figures of a run on the speakers that were kept."""
    from wav2small import checkpoint

    read = LabelStore.open(labels).read()
    weights, _ = checkpoint.load(folder / "best")
    if row.features:
        weights = {k: v[:3] if k.startswith("adv.") else v for k, v in weights.items()}
    module = entry.build()
    module.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    clips = Clips(folder.parents[1] / "clips")
    noises = read_noises(noise)
    hard = AugmentConfig()
    channel = [
        degrade(clips[int(item)], np.random.default_rng([1, int(item)]), hard, noises)
        for item in dev
    ]
    truth = read.scores[dev]
    if row.tune is None:
        scores = predict_clips(module, clips, dev)
        through = predict_clips(module, channel, np.arange(len(dev)))  # type: ignore[arg-type]
    else:
        config = ExportConfig(tune_steps=row.tune)
        speech = [clips[item][:48000] for item in range(0, len(clips), 10)]
        made = export(module.eval(), speech, config, metadata={}, labels=DIMENSIONS)
        (folder / "model.onnx").write_bytes(made.data)
        model = OnnxModel(folder / "model.onnx")
        scores = model.predict([clips[int(item)] for item in dev])
        through = model.predict(channel)
    figures = {
        axis: concordance_cc(truth[:, i], scores[:, i])
        for i, axis in enumerate(DIMENSIONS)
    }
    figures["mean"] = float(np.mean([figures[axis] for axis in DIMENSIONS]))
    figures["channel"] = float(
        np.mean([concordance_cc(truth[:, i], through[:, i]) for i in range(3)])
    )
    figures["unchanged"] = float(np.mean(np.abs(scores - through) < UNCHANGED))
    return figures


def prepare(data_folder: Path, out: Path) -> Path:
    """Annotate all speech, with the development speakers of the study."""
    labels, manifest = out / "labels", out / "manifest.csv"
    if not (out / "clips" / "clips.json").exists():
        write_manifest(data_folder, manifest)
        with manifest.open(newline="") as file:
            rows = list(csv.DictReader(file))
        rows += [
            dict.fromkeys(rows[0], "")
            | {"file": str(path), "speaker": f"synthetic_{path.stem}", "split": "train"}
            for path in sorted(DEMO.parent.glob("*.opus"))
        ]
        readers = sorted({r["speaker"] for r in rows if "librispeech" in r["file"]})
        kept = {*DEV, *readers[::10]}
        for row in rows:
            if row["speaker"] in kept:
                row["split"] = "dev"
        with manifest.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0]], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        cli.annotate([manifest, labels], resume=True)
        store = LabelStore.open(labels)
        read = store.read()
        places = zip(read.names, read.starts, read.ends, strict=True)
        sources = [(store.root / n, float(a), float(b)) for n, a, b in places]
        Clips.decode(sources, out / "clips")
    return labels


def table(out: Path, rows: list[Row], seeds: int) -> list[str]:
    """Rows of the table: mean over the seeds, and the change against the recipe.

    The intervals are Student's t of the differences to the recipe, seed by seed,
    whose variance is taken to be that of all rows together: few seeds tell
    little of one row's.
    """
    from scipy.stats import t as student_t

    results = {
        row.key: [
            json.loads((out / "results" / f"{row.key}_{seed}.json").read_text())
            for seed in range(seeds)
        ]
        for row in rows
    }
    base = results[ROWS[0].key]
    changed = {
        (row.key, key): [
            run[key] - same[key]
            for run, same in zip(results[row.key], base, strict=True)
        ]
        for row in rows[1:]
        for key in ("mean", "channel")
    }
    quantile = student_t.ppf(0.975, (len(rows) - 1) * (seeds - 1))
    half = {
        key: quantile
        * math.sqrt(
            np.mean([np.var(changed[row.key, key], ddof=1) for row in rows[1:]]) / seeds
        )
        for key in ("mean", "channel")
    }
    lines = [
        "| what | | A | D | V | mean | change of mean | through the channel "
        "| its change | unchanged | hours | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        runs = results[row.key]
        keys = (*DIMENSIONS, "mean", "channel", "unchanged", "seconds")
        mean = {key: np.mean([r[key] for r in runs]) for key in keys}
        changes = [
            f"{np.mean(changed[row.key, key]):+.3f} ± {half[key]:.3f}"
            if row is not rows[0]
            else ""
            for key in half
        ]
        cells = [
            row.group,
            row.name,
            *(f"{mean[key]:.3f}" for key in (*DIMENSIONS, "mean")),
            changes[0],
            f"{mean['channel']:.3f}",
            changes[1],
            f"{mean['unchanged']:.2f}",
            f"{runs[0]['hours']:.2f}",
            f"{mean['seconds']:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def draw_hours(out: Path, rows: list[Row], seeds: int, path: Path) -> None:
    """Draw concordance against the hours of speech, with the spread of the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    curve = []
    for row in rows:
        runs = [
            json.loads((out / "results" / f"{row.key}_{seed}.json").read_text())
            for seed in range(seeds)
        ]
        hours = runs[0]["hours"]
        means = [run["mean"] for run in runs]
        both = row.sources == ("emodb", "ls")
        if both:
            curve.append((hours, float(np.mean(means))))
        color = "tab:blue" if both else "tab:orange"
        axes.plot([hours] * seeds, means, ".", color=color, alpha=0.5)
        axes.plot(hours, np.mean(means), "o", color=color)
        name = "all of both" if row is ROWS[0] else row.name
        axes.annotate(
            name,
            (hours, float(np.mean(means))),
            xytext=(6, -10),
            textcoords="offset points",
            fontsize=8,
        )
    axes.plot(*zip(*sorted(curve), strict=True), color="tab:blue", linewidth=0.8)
    axes.set_xscale("log")
    ticks = [0.1, 0.2, 0.3, 0.5, 1, 2]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(0.09, 4)
    axes.set_xlabel("hours of speech that the student trains with, before variation")
    axes.set_ylabel("mean CCC to the teacher, kept speakers")
    axes.grid(alpha=0.3)
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--student", choices=STUDENTS, help="else one of 10 ms hop")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3, choices=(2, 3, 4, 5))
    parser.add_argument("--only", nargs="*", help="groups of rows; all if not given")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["NOISE"] = str(arguments.data / "esc10")
    # one thread for each worker: small students do not share well
    os.environ["OMP_NUM_THREADS"] = "1"
    rows = [
        row
        for row in ROWS
        if row is ROWS[0] or not arguments.only or row.group in arguments.only
    ]
    labels = prepare(arguments.data, arguments.out)
    with ProcessPoolExecutor(arguments.workers) as pool:
        jobs = [
            pool.submit(
                run,
                row,
                seed,
                labels,
                arguments.out,
                student(arguments.student) if arguments.student else STUDENT,
                arguments.steps,
            )
            for seed in range(arguments.seeds)
            for row in rows
        ]
        for job in track(jobs, "train"):
            job.result()
    lines = table(arguments.out, rows, arguments.seeds)
    (arguments.out / "recipe.md").write_text("\n".join(lines) + "\n")
    hours = [row for row in rows if row is ROWS[0] or row.group == "hours"]
    if len(hours) > 1:
        draw_hours(arguments.out, hours, arguments.seeds, arguments.out / "hours.png")
    print("\n".join(lines))
    print(f"{sys.argv[0]}: written to {arguments.out / 'recipe.md'}", file=sys.stderr)


if __name__ == "__main__":
    main()
