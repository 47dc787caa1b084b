"""Compare the parts of a fine-tuning on acted speech, five folds of speakers.

    python examples/studies/finetune_study.py DATA OUT
        [--backbone mel|wav2vec2] [--steps N]

DATA holds ``emodb``, ``librispeech_subset`` and ``esc10``, each with ``metadata.csv``.
A small backbone is pre-trained on the first two, without labels
(wav2vec2's own task, or layers that guess what was hidden from a log-mel),
then fine-tuned once for each part and fold.
Each row is a file of OUT, so a study that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fusion import fit_weights
from rich.progress import track

from wav2small import audio
from wav2small.adv import DIMENSIONS
from wav2small.clips import read_noises
from wav2small.config import AugmentConfig
from wav2small.export.base.files import atomic_write
from wav2small.finetune.backbones import (
    Backbone,
    Origin,
    SelfSupervised,
    build_backbone,
    load_backbone,
    save_backbone,
)
from wav2small.finetune.condense import CondenseConfig, condense
from wav2small.finetune.condensed import log_mel_maps, train_tiny
from wav2small.finetune.config import VARIED, FinetuneConfig, NetworkConfig
from wav2small.finetune.labelling.selection import choose, dropout_uncertainty
from wav2small.finetune.norms import CATEGORIES, norm_score
from wav2small.finetune.parts.exits import exit_curve
from wav2small.finetune.probe import draw_layers, layer_features, probe_layers
from wav2small.finetune.table import Ratings, read_table, speaker_folds
from wav2small.finetune.teacher import FinetunedTeacher, score
from wav2small.finetune.train import finetune
from wav2small.finetune.warm_up.taught import teach_layers
from wav2small.metrics import bootstrap_interval, concordance_cc
from wav2small.progress import ProgressBar

# the scripts that this study builds on lie a folder above
sys.path.append(str(Path(__file__).parent.parent))

import train_teacher

FOLDS = 5
TOLERANCES = (-1.0, 0.01, 0.02, 0.05, 0.1, 0.2, 10.0)
SHARES = (0.05, 0.1, 0.25, 1.0)
DRAWS = 2
"""How often few labels are chosen, each time with weights of their own."""
UNVARIED = AugmentConfig(
    speed=0, mix_probability=0, filter_probability=0, band_probability=0,
    room_probability=0, noise_probability=0, silence_probability=0,
)  # fmt: skip
"""In few steps plain crops teach more."""

BACKBONES: dict[str, dict[str, Any]] = {
    "mel": {
        "model_type": "mel", "n_mels": 64, "hidden_size": 96, "num_hidden_layers": 6,
        "num_attention_heads": 4, "intermediate_size": 256, "hidden_dropout": 0.1,
    },
    "wav2vec2": {
        "model_type": "wav2vec2", "hidden_size": 128, "num_hidden_layers": 6,
        "num_attention_heads": 4, "intermediate_size": 384, "conv_dim": [64] * 7,
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2],
        "feat_extract_norm": "layer", "do_stable_layer_norm": True,
        "num_conv_pos_embeddings": 32, "num_conv_pos_embedding_groups": 8,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A part that is switched on."""

    name: str
    network: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    text: bool = False
    noise: bool = False
    longer: float = 1
    """How many times the steps of the others."""


BUNDLED = "the bundled teacher's network"
"""A row that shares nothing but clips and folds with the others."""

ROWS = (
    Row("plain"),
    Row("plain, second seed", training={"seed": 100}),
    Row("plain, third seed", training={"seed": 200}),
    Row("one speaker for development", training={"dev_share": 0.1}),
    Row("nothing hidden", training={"masked": 0.0}),
    Row("from random weights", training={"backbone": "random"}),
    Row("crops varied", training={"augment": VARIED}),
    Row("heads alone", training={"frozen": True}),
    Row("heads alone, all layers, mean and deviation", {
        "states": "weighted", "pooling": "deviation"}, {"frozen": True}),
    Row("mean and deviation", {"pooling": "deviation"}),
    Row("attentive statistics", {"pooling": "attentive"}),
    Row("layer weights", {"states": "weighted"}),
    Row("attentive merging", {"states": "merged"}),
    Row("first half of the layers", training={"layers": 3}),
    Row("half of the layers, taught", training={
        "layers": 3, "choose": "uniform", "warm_up": "taught"}),
    Row("gender", {"gender": True}),
    Row("gender, gated", {"gender": True, "fusion": "gated"}),
    Row("text, joined", text=True),
    Row("text, gated", {"fusion": "gated"}, text=True),
    Row("shallow, frozen, text", training={"layers": 3, "frozen": True}, text=True),
    Row("one layer, taught, text", training={
        "layers": 1, "warm_up": "taught"}, text=True),
    Row("adapters", {"adapters": 16}),
    Row("low-rank updates", training={"lora": 8}),
    Row("three tasks", {"tasks": ("category", "gender")}),
    Row("adapters, three tasks", {"adapters": 16, "tasks": ("category", "gender")}),
    Row("early exits", {"exits": (2, 4)}),
    Row("contrastive warm-up", training={"warm_up": "contrast"}),
    Row("by the bundled teacher's recipe", {"tasks": ("category",), "dropout": 0.3}, {
        "batch_size": 24, "crop_seconds": 3.0, "augment": VARIED, "average": 0.995,
        "dev_share": 0.1, "patience": 10}, noise=True, longer=4.5),
)  # fmt: skip


def read_emodb(data: Path) -> Ratings:
    """EMO-DB with the norms of its categories, as far as listeners heard them."""
    table = read_table(data / "emodb" / "metadata.csv")
    with (data / "emodb" / "metadata.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    truth = [
        norm_score(rows[name]["emotion"], float(rows[name]["recognised_pct"]) / 100)
        for name in table.labels.names
    ]
    metadata = dict(table.labels.metadata)
    # ten sentences, each said with each emotion: a text that says nothing of it
    metadata["text"] = [rows[name]["text_id"] for name in table.labels.names]
    labels = replace(table.labels, metadata=metadata)
    return replace(table, labels=labels).with_truth(np.stack(truth))


def one_hot(texts: list[str]) -> np.ndarray:
    """Name each sentence: the encoder of a study without a text model."""
    known = {f"{kind}{number:02d}" for kind in "ab" for number in range(1, 11)}
    order = {text: place for place, text in enumerate(sorted(known))}
    found = np.zeros((len(texts), len(order)), np.float32)
    for row, text in enumerate(texts):
        if text in order:
            found[row, order[text]] = 1
    return found


def pretrain(kind: str, data: Path, out: Path, steps: int) -> str:
    """Pre-train a backbone on all speech, without labels; return its folder."""
    folder = out / f"{kind}-{steps}"
    if (folder / "config.json").exists():
        return str(folder)
    speech = read_noises(data / "librispeech_subset" / "metadata.csv", seconds=15)
    speech += read_noises(data / "emodb" / "metadata.csv", seconds=15)
    torch.manual_seed(0)
    built = build_backbone(BACKBONES[kind])
    save_backbone(out / f"{kind}-random", built, Origin(kind, "", ""))

    def draw(step: int) -> np.ndarray:
        rng = np.random.default_rng([1, step])
        crops = []
        for item in rng.choice(len(speech), 12):
            start = rng.integers(max(1, len(speech[item]) - 32000))
            crops.append(np.resize(speech[item][start : start + 32000], 32000))
        return np.stack(crops).astype(np.float32)

    if isinstance(built, SelfSupervised):
        _guess_quantised(built, draw, steps)
    else:
        # the layers of a log-mel are taught by random ones of the whole signal:
        # to say what those hear one has to guess what was hidden
        whole, _ = load_backbone(str(out / f"{kind}-random"))
        with ProgressBar() as progress:
            teach_layers(
                whole, built, list(range(built.depth)), draw, steps=steps, seed=0,
                learning_rate=1e-3, progress=progress,
            )  # fmt: skip
    save_backbone(folder, built, Origin(kind, "Apache-2.0", "LibriSpeech; EMO-DB"))
    return str(folder)


def _guess_quantised(backbone: SelfSupervised, draw: Any, steps: int) -> None:
    """Train the task of wav2vec2 by the pre-training model of transformers."""
    import transformers
    from transformers.models.wav2vec2.modeling_wav2vec2 import (
        _compute_mask_indices,
        _sample_negative_indices,
    )

    config = transformers.Wav2Vec2Config.from_dict(
        {
            **backbone.model.config.to_dict(),
            "mask_time_prob": 0.4,
            "codevector_dim": 64,
            "proj_codevector_dim": 64,
            "num_codevectors_per_group": 64,
            "num_negatives": 20,
        }
    )
    model = transformers.Wav2Vec2ForPreTraining(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-4, steps + 1)
    for step in track(range(steps), "pre-train"):
        signals = torch.from_numpy(draw(step))
        signals = (signals - signals.mean(1, keepdim=True)) / (
            signals.std(1, keepdim=True) + 1e-4
        )
        frames = int(model._get_feat_extract_output_lengths(signals.shape[1]))
        np.random.seed(step)  # noqa: NPY002 - transformers draws its masks from it
        mask = _compute_mask_indices((len(signals), frames), 0.4, 10, min_masks=2)
        others = _sample_negative_indices((len(signals), frames), 20, mask)
        told = model(
            signals,
            mask_time_indices=torch.from_numpy(mask),
            sampled_negative_indices=torch.from_numpy(others),
        )
        loss = told.loss / mask.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        model.set_gumbel_temperature(max(2.0 * 0.999**step, 0.5))
    weights = {
        key: value
        for key, value in model.wav2vec2.state_dict().items()
        if key in backbone.model.state_dict()
    }
    backbone.model.load_state_dict(weights, strict=False)


@dataclass
class Study:
    """What all rows share."""

    table: Ratings
    clips: list[np.ndarray]
    folds: np.ndarray
    backbone: str
    out: Path
    steps: int

    def config(self, row: Row, fold: int) -> FinetuneConfig:
        """Configuration of a row."""
        training = dict(row.training)
        if training.get("backbone") == "random":
            training["backbone"] = f"{self.backbone.rpartition('-')[0]}-random"
        settings: dict[str, Any] = {
            "backbone": self.backbone,
            "steps": round(row.longer * self.steps),
            "batch_size": 16,
            "crop_seconds": 2.5,
            # a backbone of an hour of speech has little to lose
            "backbone_learning_rate": 1e-3,
            "freeze_convolutions": self.backbone.startswith("wav2vec2"),
            "warm_up_steps": max(2, self.steps // 2),
            "evaluations": 10 if self.steps >= 100 else 1,
            "dev_share": 0.25,
            "augment": UNVARIED,
            **training,
            "seed": training.get("seed", 0) + fold,
        }
        return FinetuneConfig(network=NetworkConfig(**row.network), **settings)

    def fold(
        self, row: Row, fold: int, keep: np.ndarray | None = None
    ) -> tuple[FinetunedTeacher, dict[str, Any]]:
        """Train a row on all folds but one; rows that are not kept lose their truth."""
        held = self.folds == fold
        split = np.where(held, "test", "train").astype(object)
        table = self.table
        if keep is not None:
            truth = table.truth.copy()
            truth[~keep] = np.nan
            table = table.with_truth(truth)
            # speakers for development until they have a quarter of the few labels
            rng, wanted = np.random.default_rng(fold), max(2, keep.sum() / 4)
            for speaker in rng.permutation(np.unique(table.speakers[keep])):
                split[keep & (table.speakers == speaker)] = "dev"
                if (split == "dev").sum() >= wanted:
                    break
        table = table.with_split(split.tolist())
        run = self.out / "runs" / str(os.getpid())
        told = finetune(
            table, run, self.config(row, fold), text=one_hot if row.text else None,
            noise=self.table.root.parent / "esc10" if row.noise else None,
            name=row.name, licence="Apache-2.0", training_data="EMO-DB (CC0-1.0)",
            overwrite=True,
        )  # fmt: skip
        return FinetunedTeacher.load(run, policy="research"), told

    def known(self, row: Row, items: np.ndarray) -> dict[str, np.ndarray]:
        """What a network of a row is told beside the signals."""
        texts = [self.table.labels.metadata["text"][item] or "" for item in items]
        return {
            **(
                {"gender": self.table.genders[items]} if "gender" in row.network else {}
            ),
            **({"text": one_hot(texts)} if row.text else {}),
        }

    def run_row(self, row: Row) -> dict[str, Any]:
        """Score each speaker by a network that has not heard them."""
        truth = self.table.truth
        scores, blind = np.empty_like(truth), np.empty_like(truth)
        curves, begun, told = [], time.monotonic(), {}
        for fold in range(FOLDS):
            teacher, told = self.fold(row, fold)
            items = np.flatnonzero(self.folds == fold)
            signals = [self.clips[item] for item in items]
            blind[items] = teacher.predict(signals)
            scores[items] = blind[items]
            if known := self.known(row, items):
                scores[items] = score(teacher.network, signals, **known)
            if len(row.network.get("exits", ())) > 1:
                curves.append(
                    exit_curve(teacher.network, signals, truth[items], TOLERANCES)
                )
        result = {
            "name": row.name,
            "trainable": told["trainable"],
            "parameters": told["parameters"],
            "seconds": round(time.monotonic() - begun, 1),
            "ccc": figures(truth, scores),
            "scores": np.round(scores, 4).tolist(),
        }
        if row.text or "gender" in row.network:
            result["ccc, not told"] = figures(truth, blind)
        if curves:
            result["exits"] = [
                {key: float(np.mean([c[place][key] for c in curves])) for key in entry}
                for place, entry in enumerate(curves[0])
            ]
        return result

    def run_bundled(self) -> dict[str, Any]:
        """Score each speaker by a network of the bundled teacher's kind."""
        corpus = train_teacher.Corpus(
            self.clips, self.table.truth, self.table.categories(CATEGORIES),
            self.table.speakers, self.table.genders, np.ones(len(self.clips), bool),
            read_noises(self.table.root.parent / "esc10"),
        )  # fmt: skip
        arguments = argparse.Namespace(
            steps=round(4.5 * self.steps), batch_size=24, learning_rate=2e-3, seed=0
        )
        scores = np.empty_like(self.table.truth)
        begun, count = time.monotonic(), 0
        for fold in range(FOLDS):
            held = self.folds == fold
            network = train_teacher.train(
                corpus, np.flatnonzero(~held), arguments, f"fold {fold + 1}"
            )
            scores[held] = train_teacher.score(network, corpus, np.flatnonzero(held))
            count = sum(p.numel() for p in network.parameters() if p.requires_grad)
        return {
            "name": BUNDLED,
            "trainable": count,
            "parameters": count,
            "seconds": round(time.monotonic() - begun, 1),
            "ccc": figures(self.table.truth, scores),
            "scores": np.round(scores, 4).tolist(),
        }

    def few_labels(self, share: float, way: str, draw: int) -> dict[str, Any]:
        """Train on a share of the labels, chosen in one of three ways."""
        truth = self.table.truth
        scores = np.empty_like(truth)
        warm_up = {"warm_up": "contrast"} if way == "contrast" else {}
        row = Row(way, training={"seed": 100 * draw, **warm_up})
        used = 0
        for fold in range(FOLDS):
            rng = np.random.default_rng(100 * draw + fold)
            pool = np.flatnonzero(self.folds != fold)
            count = max(12, round(share * len(pool)))
            keep = np.zeros(len(truth), bool)
            if way == "select" and share < 1:
                keep[self.selected(row, fold, pool, count, rng)] = True
            else:
                keep[rng.choice(pool, min(count, len(pool)), replace=False)] = True
            used = int(keep.sum())
            teacher, _ = self.fold(row, fold, keep)
            items = np.flatnonzero(self.folds == fold)
            scores[items] = teacher.predict([self.clips[item] for item in items])
        return {
            "share": share,
            "way": way,
            "labels": used,
            "ccc": figures(truth, scores),
        }

    def selected(
        self,
        row: Row,
        fold: int,
        pool: np.ndarray,
        count: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Half of the labels for diverse clips, half for uncertain ones."""
        signals = [self.clips[item] for item in pool]
        backbone, _ = load_backbone(self.backbone)
        first = choose(layer_features(backbone, signals)[-1], count // 2, rng)
        keep = np.zeros(len(self.table.truth), bool)
        keep[pool[first]] = True
        teacher, _ = self.fold(row, fold, keep)
        rest = np.setdiff1d(np.arange(len(pool)), first)
        left = [signals[item] for item in rest]
        second = choose(
            layer_features(teacher.network.backbone, left)[-1],
            count - len(first),
            rng,
            uncertainty=dropout_uncertainty(teacher.network, left, passes=5, seed=0),
        )
        return pool[np.concatenate([first, rest[second]])]

    def condensed(self) -> dict[str, Any]:
        """Train tiny networks on all maps, on made-up ones and on some real ones."""
        truth = self.table.truth
        maps = log_mel_maps(self.clips)
        config = CondenseConfig(rounds=max(2, self.steps // 2))
        scores: dict[str, np.ndarray] = {}
        counts: dict[str, int] = {}
        for fold in range(FOLDS):
            train = self.folds != fold
            made, _ = condense(maps[train], truth[train], config)
            rng = np.random.default_rng(fold)
            some = rng.choice(np.flatnonzero(train), config.count, replace=False)
            pairs = {
                "all": (maps[train], truth[train]),
                "some real": (maps[some], truth[some]),
            }
            networks = {
                name: (len(own), train_tiny(own, scored, steps=self.steps, seed=1))
                for name, (own, scored) in pairs.items()
            }
            networks["made up"] = config.count, made.train()
            for name, (count, network) in networks.items():
                with torch.inference_mode():
                    heard = network(torch.from_numpy(maps[~train])).numpy()
                scores.setdefault(name, np.empty_like(truth))[~train] = heard
                counts[name] = count
        return {
            name: {"maps": counts[name], "ccc": figures(truth, told)}
            for name, told in scores.items()
        }

    def ensemble(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Fit weights on all folds but one, score that one."""
        truth = self.table.truth
        told = np.array([row["scores"] for row in rows])
        scores = np.empty_like(truth)
        weights = []
        for fold in range(FOLDS):
            held = self.folds == fold
            weights.append(fit_weights(told[:, ~held], truth[~held], steps=200))
            scores[held] = np.einsum("m,mcd->cd", weights[-1], told[:, held])
        mean = np.mean(weights, axis=0).round(3).tolist()
        return {
            "ccc": figures(truth, scores),
            "scores": np.round(scores, 4).tolist(),
            "weights": {row["name"]: w for row, w in zip(rows, mean, strict=True)},
        }


_study: Study
"""That of a worker, which gets it once."""


def _begin(study: Study) -> None:
    global _study
    _study = study
    torch.set_num_threads(1)


def _kept_row(row: Row) -> dict[str, Any]:
    """Return what a row came to, or train it."""
    name = row.name.replace(" ", "-").replace(",", "")
    path = _study.out / "rows" / f"{name}.json"
    return keep(path, lambda: _study.run_row(row))


def _kept_bundled() -> dict[str, Any]:
    """Return what the bundled teacher's network came to, or train it."""
    return keep(_study.out / "rows" / "bundled.json", _study.run_bundled)


def _kept_few_labels(share: float, way: str, draw: int) -> dict[str, Any]:
    """Return what a share of the labels came to, or train with it."""
    path = _study.out / "few" / f"{share}-{way}{f'-{draw}' if draw else ''}.json"
    return keep(path, lambda: _study.few_labels(share, way, draw))


def over_draws(few: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join the draws of each share and way: concordance on average, means of each."""
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for entry in few:
        found.setdefault((entry["labels"], entry["way"]), []).append(entry["ccc"])
    return [
        {
            "labels": labels,
            "way": way,
            "ccc": {n: float(np.mean([c[n][0] for c in draws])) for n in DIMENSIONS},
            "means": [float(np.mean([v[0] for v in c.values()])) for c in draws],
        }
        for (labels, way), draws in found.items()
    ]


def figures(truth: np.ndarray, scores: np.ndarray) -> dict[str, list[float]]:
    """Concordance of each dimension with its interval over the clips."""
    result = {}
    for axis, name in enumerate(DIMENSIONS):
        pair = truth[:, axis], scores[:, axis]
        ends = bootstrap_interval(concordance_cc, *pair, rng=np.random.default_rng(0))
        result[name] = [round(float(v), 4) for v in (concordance_cc(*pair), *ends)]
    return result


def change(truth: np.ndarray, scores: np.ndarray, *before: np.ndarray) -> list[float]:
    """Return how much the mean concordance is higher, with its interval over clips.

    Of several trainings before, their average is what it is compared with.
    """
    rng = np.random.default_rng(0)

    def mean(rows: np.ndarray, told: np.ndarray) -> float:
        pairs = zip(truth[rows].T, told[rows].T, strict=True)
        return float(np.mean([concordance_cc(*pair) for pair in pairs]))

    def gain(rows: np.ndarray) -> float:
        return mean(rows, scores) - float(np.mean([mean(rows, b) for b in before]))

    count = len(truth)
    drawn = [gain(rng.integers(count, size=count)) for _ in range(1000)]
    ends = np.percentile(drawn, [2.5, 97.5])
    return [round(float(value), 4) for value in (gain(np.arange(count)), *ends)]


def draw(rows: list[dict[str, Any]], few: list[dict[str, Any]], path: Path) -> None:
    """Draw concordance over the computation, and over the labels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for row in rows:
        if "exits" in row:
            places = [
                (e["compute"] * 100, e["mean"], e["tolerance"]) for e in row["exits"]
            ]
            shares, means, _ = zip(*places, strict=True)
            left.plot(shares, means, marker="o", color="#1f5f8b")
            told: dict[tuple[float, float], list[str]] = {}
            for share, value, tolerance in places:
                text = {-1.0: "never", 10.0: "always"}.get(tolerance, f"{tolerance:g}")
                told.setdefault((share, value), []).append(text)
            for item, (place, texts) in enumerate(told.items()):
                left.annotate(
                    ", ".join(texts), place, xytext=(0, (8, -15)[item % 2]),
                    ha="center", textcoords="offset points", fontsize=8,
                )  # fmt: skip
            # what differs by less is noise and shall look like it
            middle = float(np.mean(means))
            left.set_ylim(middle - 0.1, middle + 0.1)
            left.margins(x=0.15)
    left.set(
        xlabel="computation, % of that without exits",
        ylabel="mean CCC, speakers unheard",
    )
    left.set_title("leaving where two exits agree within a tolerance", fontsize=10)
    for way, colour in zip(
        dict.fromkeys(entry["way"] for entry in few),
        ("#555555", "#c1441e", "#3d7a3d"),
        strict=False,
    ):
        line = [entry for entry in few if entry["way"] == way]
        counts = [entry["labels"] for entry in line]
        means = [np.mean(entry["means"]) for entry in line]
        right.plot(counts, means, color=colour, label=way)
        for entry in line:
            places = [entry["labels"]] * len(entry["means"])
            right.scatter(places, entry["means"], color=colour, s=18)
    right.set(xlabel="labelled clips", ylabel="mean CCC, speakers unheard")
    right.set_xscale("log")
    counts = sorted({entry["labels"] for entry in few})
    right.set_xticks(counts, [str(count) for count in counts])
    right.minorticks_off()
    right.legend(frameon=False)
    for panel in (left, right):
        panel.grid(color="0.9", linewidth=0.6)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)


def keep(path: Path, make: Any) -> Any:
    """Return what a file holds, or make it and write it."""
    if not path.exists():
        content = json.dumps(make(), indent=1)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(content.encode())
    return json.loads(path.read_text())


def shown(ccc: dict[str, list[float]]) -> str:
    """Write figures as cells of a table."""
    return " | ".join(
        f"{value:.3f} [{low:.2f}, {high:.2f}]" for value, low, high in ccc.values()
    )


def report(
    rows: list[dict[str, Any]],
    few: list[dict[str, Any]],
    condensed: dict[str, Any],
    ensemble: dict[str, Any],
) -> str:
    """Write the study as Markdown."""
    head = f"| {' | '.join(DIMENSIONS)} |"
    lines = [
        "CCC over all clips, speakers unheard, and the change of the mean against",
        "the average of plain's trainings and against the bundled teacher's network,",
        "each with its 95 % interval over the clips.",
        "",
        f"| part {head} against plain | against the bundled | trainable | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in [*rows, {"name": "all, weighted on the simplex", **ensemble}]:
        cells = [
            "" if not any(row[key]) else "{:+.3f} [{:+.2f}, {:+.2f}]".format(*row[key])
            for key in ("change", "beyond")
        ]
        if "trainable" in row:
            cells += [f"{row['trainable']:,}", f"{row['seconds']:.0f}"]
        else:
            cells += ["", ""]
        lines.append(f"| {row['name']} | {shown(row['ccc'])} | {' | '.join(cells)} |")
        if "ccc, not told" in row:
            told = shown(row["ccc, not told"])
            lines.append(f"| {row['name']}, not told in use | {told} | | | | |")
    for row in rows:
        if "exits" in row:
            lines += ["", "| tolerance | layers run | computation | mean CCC |"]
            lines += ["|---|---|---|---|"]
            lines += [
                f"| {e['tolerance']:g} | {e['share']:.0%} | {e['compute']:.0%} "
                f"| {e['mean']:.3f} |"
                for e in row["exits"]
            ]
    lines += ["", f"| labels | chosen {head} mean CCC of each draw |"]
    lines += ["|---|---|---|---|---|---|"]
    for entry in few:
        cells = [f"{value:.3f}" for value in entry["ccc"].values()]
        cells.append(", ".join(f"{value:.3f}" for value in entry["means"]))
        lines.append(f"| {entry['labels']} | {entry['way']} | {' | '.join(cells)} |")
    lines += ["", f"| trained on | maps {head}", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {entry['maps']} | {shown(entry['ccc'])} |"
        for name, entry in condensed.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", choices=sorted(BACKBONES), default="wav2vec2")
    parser.add_argument("--pretrain-steps", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--row", nargs="+", help="names of rows; all if not given")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clips", type=int, help="only so many clips, for a trial")
    arguments = parser.parse_args()
    out = arguments.out / f"{arguments.backbone}-{arguments.steps}"
    table = read_emodb(arguments.data)
    if arguments.clips:
        # of every speaker some
        every = range(0, len(table.truth), len(table.truth) // arguments.clips)
        truth = np.full_like(table.truth, np.nan)
        truth[list(every)] = table.truth[list(every)]
        table = _only(table.with_truth(truth), np.array(every))
    clips = [
        audio.load(table.root / name) for name in track(table.labels.names, "decode")
    ]
    folds = speaker_folds(
        table.speakers, table.genders, FOLDS, np.random.default_rng(0)
    )
    backbone = pretrain(
        arguments.backbone,
        arguments.data,
        arguments.out / "backbones",
        arguments.pretrain_steps,
    )
    study = Study(table, clips, folds, backbone, out, arguments.steps)
    loaded: Backbone = load_backbone(backbone)[0]
    layers = keep(
        out / "layers.json",
        lambda: probe_layers(layer_features(loaded, clips), table.truth, folds),
    )
    draw_layers(layers, out / "layers.png")
    named = {"plain", *(arguments.row or [row.name for row in ROWS])}
    wanted = [row for row in ROWS if row.name in named]
    shares = [
        (share, way, draw)
        for draw in range(DRAWS)
        for share in SHARES
        for way in ("random", "contrast", "select")
        if share < 1 or (way != "select" and not draw)
    ]
    with ProcessPoolExecutor(
        arguments.workers, get_context("spawn"), _begin, (study,)
    ) as pool:
        # the longest first
        made = [pool.submit(_kept_bundled)]
        made += [pool.submit(_kept_row, row) for row in wanted]
        made += [pool.submit(_kept_few_labels, *entry) for entry in shares]
        for job in made:
            result = job.result()
            name = result.get("name") or f"{result['labels']} labels, {result['way']}"
            print(f"{name:<28} {shown(result['ccc'])}", flush=True)
    results = [job.result() for job in made]
    rows, few = results[1 : 1 + len(wanted)], over_draws(results[1 + len(wanted) :])
    rows.append(results[0])
    condensed = keep(out / "condensed.json", study.condensed)
    # of whatever rows there are, so it is never taken from an earlier run
    ensemble = study.ensemble(rows)
    plain = [np.array(row["scores"]) for row in rows if row["name"].startswith("plain")]
    for row in track([*rows, ensemble], "compare"):
        told = np.array(row["scores"])
        row["change"] = change(table.truth, told, *plain)
        row["beyond"] = change(table.truth, told, np.array(rows[-1]["scores"]))
    draw(rows, few, out / "study.png")
    with atomic_write(out / "study.md") as file:
        file.write(report(rows, few, condensed, ensemble).encode())
    shutil.rmtree(out / "runs", ignore_errors=True)
    print(out / "study.md")


def _only(table: Ratings, items: np.ndarray) -> Ratings:
    labels = table.labels
    metadata = {k: [v[item] for item in items] for k, v in labels.metadata.items()}
    fewer = replace(
        labels,
        names=[labels.names[item] for item in items],
        starts=labels.starts[items],
        ends=labels.ends[items],
        scores=labels.scores[items],
        human=labels.human[items],
        sha256=[labels.sha256[item] for item in items],
        metadata=metadata,
    )
    return replace(table, labels=fewer, truth=table.truth[items])


if __name__ == "__main__":
    main()
