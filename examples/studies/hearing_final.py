"""Make the teacher of patches from five heads, and look at the test speakers once.

    python examples/studies/hearing_final.py fit WORK OUT
    python examples/studies/hearing_final.py test WORK OUT

WORK is what ``hearing_data.py`` and ``hearing_patches.py features`` wrote.
``fit`` trains a head without each fifth of the training actors
(and without a pair of EMO-DB's training speakers), scores each speaker by the head
that has not heard them, and writes the average of all heads to OUT.
``test`` scores the test speakers of both corpora, as they are and changed,
by OUT and by the bundled teacher, and adds the figures to OUT.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hearing_data import TESTED, Speech
from hearing_patches import Head, Pooled, Row, score, train

from wav2small import checkpoint
from wav2small.adv import DIMENSIONS
from wav2small.clips import Clips, read_noises
from wav2small.metrics import bootstrap_interval, concordance_cc, pearson_cc
from wav2small.suite.robustness import UNCHANGED, all_changes
from wav2small.suite.sounds import Sounds
from wav2small.teachers.base import Teacher
from wav2small.teachers.bundled import BundledTeacher
from wav2small.teachers.patches import PatchConfig, PatchNetwork, PatchTeacher

FOLDS = 5
ROW = Row("final", versions=("disk", "tint"), steps=1000, consistency=2.0)
"""Chosen by the tables of the study: docs/lab/hearing.md."""
INFO = {
    "name": "hearing",
    "licence": "Apache-2.0",
    "training_data": "CREMA-D (ODbL-1.0/DbCL-1.0); EMO-DB (CC0-1.0); noise: ESC-10 "
    "(CC BY 3.0), LibriSpeech (CC BY 4.0), ambience (CC0, public domain, CC BY)",
}


def figures(truth: np.ndarray, scores: np.ndarray) -> dict[str, list[float]]:
    """Concordance with its interval over clips, and Pearson, by dimension."""
    found = {}
    for axis, name in enumerate(DIMENSIONS):
        pair = truth[:, axis], scores[:, axis]
        ends = bootstrap_interval(concordance_cc, *pair, rng=np.random.default_rng(0))
        values = concordance_cc(*pair), *ends, pearson_cc(*pair)
        found[name] = [round(value, 3) for value in values]
    return found


def fit(work: Path, out: Path) -> None:
    """Train the heads and write their average."""
    speech = Speech.open(work)
    pooled = Pooled(work, speech, ROW.inputs)
    heads, losses = [], []
    shape = len(speech.corpus), 3
    total, times = np.zeros(shape), np.zeros(len(speech.corpus))
    for fold in range(FOLDS):
        items, held = speech.split(ROW.corpora, fold)
        saved = work / f"final_{fold}.pt"
        if saved.exists():
            head = torch.load(saved, weights_only=False)
        else:
            head = train(pooled, speech, ROW, items, seed=fold)
            torch.save(head, saved)
        total[held] += score(head, pooled.of("disk_0", held))
        times[held] += 1
        heads.append(head)
        losses.append(round(head.loss, 3))
        print(f"fold {fold}: loss {losses[-1]}", flush=True)
    unheard: dict[str, Any] = {}
    for name in ("emodb", "crema_d"):
        items = np.flatnonzero((speech.corpus == name) & speech.training)
        scores = total[items] / times[items, None]
        unheard[name] = figures(speech.truth[ROW.derivation][items], scores)
        unheard[name] |= unchanged(heads, pooled, speech, name)
    print(json.dumps(unheard, indent=1))
    network = join(heads, work)
    PatchTeacher.save(
        out, network, INFO, losses=losses, folds=unheard, derivation=ROW.derivation
    )


def unchanged(
    heads: list[Head], pooled: Pooled, speech: Speech, corpus: str
) -> dict[str, list[float]]:
    """Share of unchanged scores of speakers whom a head has not heard, by change."""
    assert pooled.tests is not None, "hearing_patches.py features comes first"
    found: dict[str, list[np.ndarray]] = {name: [] for name in TESTED}
    for fold, head in enumerate(heads):
        _, held = speech.split(ROW.corpora, fold)
        held = held[speech.corpus[held] == corpus]
        numbers = np.flatnonzero(np.isin(pooled.tests["items"], held))
        before = score(head, pooled.of("disk_0", pooled.tests["items"][numbers]))
        for name in TESTED:
            after = score(head, pooled.part(pooled.tests[name][numbers]))
            found[name].append(np.abs(after - before) < UNCHANGED)
    return {
        name: np.concatenate(same).mean(0).round(2).tolist()
        for name, same in found.items()
    }


def join(heads: list[Head], work: Path) -> PatchNetwork:
    """Average heads in one network."""
    saved = np.load(work / "patches" / "filters.npz")
    config = PatchConfig(heads=len(heads), hidden=ROW.hidden)
    network = PatchNetwork(config)
    with torch.no_grad():
        network.patches.weight.copy_(torch.from_numpy(saved["weights"]))
        network.patches.bias.copy_(torch.from_numpy(saved["bias"]))
        last = [head.layers[4] for head in heads]
        for place, head in enumerate(heads):
            network.mean[place] = head.mean
            network.scale[place] = head.scale
            network.hidden[place] = head.layers[1].weight
            network.hidden_bias[place] = head.layers[1].bias
        network.scores.weight.copy_(
            torch.cat([layer.weight[:3] for layer in last], dim=1) / len(heads)
        )
        network.scores.bias.copy_(
            0.5 + torch.stack([layer.bias[:3] for layer in last]).mean(0)
        )
    return network


def test(data: Path, work: Path, out: Path) -> None:
    """Score the test speakers and add the figures to the checkpoint."""
    speech = Speech.open(work)
    clips = Clips(work / "clips")
    teachers: dict[str, Teacher] = {
        "hearing": PatchTeacher.load(out),
        "bundled": BundledTeacher.load(),
    }
    noises = read_noises(data / "ambience", seconds=60)
    sounds = Sounds(
        {"environment": noises}, read_noises(data / "librispeech_subset", seconds=10)
    )
    changes = {entry.name: entry for entry in all_changes()}
    found: dict[str, Any] = {}
    for corpus, step in (("emodb", 4), ("crema_d", 20)):
        items = np.flatnonzero((speech.corpus == corpus) & ~speech.training)
        truth = speech.truth[ROW.derivation][items]
        for name, teacher in teachers.items():
            scores = np.concatenate([teacher.predict([clips[i]]) for i in items])
            entry: dict[str, Any] = {"clips": len(items)} | figures(truth, scores)
            for title in TESTED:
                apply = changes[title].apply
                rows = []
                for item in items[::step]:
                    rng = np.random.default_rng([7, item])
                    rows.append(teacher.predict([apply(clips[item], rng, sounds)]))
                after = np.concatenate(rows)
                same = np.abs(after - scores[::step]) < UNCHANGED
                entry[title] = [round(float(v), 2) for v in same.mean(0)]
            found[f"{corpus}, {name}"] = entry
            print(corpus, name, json.dumps(entry), flush=True)
    (work / "test.json").write_text(json.dumps(found, indent=1))
    weights, config = checkpoint.load(out)
    checkpoint.save(out, weights, config | {"test": found})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("fit", "test"))
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.task == "fit":
        fit(arguments.work, arguments.out)
    else:
        test(arguments.data, arguments.work, arguments.out)


if __name__ == "__main__":
    main()
