"""Which targets and which inputs carry over to another corpus, told in seconds.

    python examples/studies/hearing_ridge.py WORK

WORK is what ``hearing_data.py`` wrote.
A ridge regression on statistics of log-mel maps is a poor teacher, but the same
for every way to derive targets from votes (:data:`vote_targets.DERIVATIONS`)
and every way to normalise the input, and it has no seed.
It is fitted on the training actors of one corpus and scored on unseen actors of it
(five folds), and on the training speakers of the other. Prints Markdown.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hearing_data import Speech

from wav2small.metrics import concordance_cc, pearson_cc

STRENGTHS = (30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Penalties to choose from, by folds of the actors that are fitted on."""


@dataclass(frozen=True)
class Inputs:
    """Statistics of all clips' maps, ``(clips, features)``, by version."""

    versions: list[np.ndarray]

    @classmethod
    def compute(cls, speech: Speech, levelled: bool) -> Inputs:
        """Summarise each band over time, with or without its own mean."""
        return cls(
            [
                np.stack(
                    [
                        summary(maps[a : a + n].astype(np.float32), levelled)
                        for a, n in speech.places
                    ]
                )
                for maps in speech.maps
            ]
        )


def summary(maps: np.ndarray, levelled: bool) -> np.ndarray:
    """Mean, deviation, quantiles and mean step of each band over time."""
    maps = np.maximum(maps, maps.max() - 80)
    mean = maps.mean(0)
    low, high = np.quantile(maps, [0.1, 0.9], axis=0) - mean
    parts = [maps.std(0), low, high, np.abs(np.diff(maps, axis=0)).mean(0)]
    # the frame's level over time: rhythm and range
    level = maps.mean(1)
    parts.append(np.array([level.std(), np.abs(np.diff(level)).mean(), len(maps) / 80]))
    return np.concatenate(parts if levelled else [mean, *parts])


def fit(x: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """Fit weights of a ridge regression with an intercept, which comes last."""
    mean, middle = x.mean(0), y.mean(0)
    a = x - mean
    weights = np.linalg.solve(
        a.T @ a + strength * np.eye(x.shape[1]), a.T @ (y - middle)
    )
    return np.vstack([weights, middle - mean @ weights])


def predict(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Scores of the fit, ``(clips, 3)``."""
    return x @ weights[:-1] + weights[-1]


def groups(speakers: np.ndarray, count: int) -> list[np.ndarray]:
    """Masks of folds of speakers."""
    names = np.unique(speakers)
    return [np.isin(speakers, names[fold::count]) for fold in range(count)]


@dataclass(frozen=True)
class Task:
    """What is fitted on what."""

    inputs: Inputs
    speech: Speech
    derivation: str
    changed: bool
    """Whether the changed versions are learned from as well."""

    def standard(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the features of clips."""
        x = self.inputs.versions[0][items]
        return x.mean(0), x.std(0) + 1e-3

    def best(self, items: np.ndarray) -> tuple[float, np.ndarray]:
        """Choose the penalty by folds; return it and the folds' scores."""
        truth = self.speech.truth[self.derivation][items]
        count = 5 if len(np.unique(self.speech.speaker[items])) >= 10 else 3
        folds = groups(self.speech.speaker[items], count)
        found = []
        for strength in STRENGTHS:
            got = np.empty_like(truth)
            for fold in folds:
                got[fold] = self.carry(items[~fold], items[fold], strength)
            found.append((np.mean((got - truth) ** 2), strength, got))
        _, strength, got = min(found, key=lambda entry: entry[0])
        return strength, got

    def carry(
        self, items: np.ndarray, others: np.ndarray, strength: float
    ) -> np.ndarray:
        """Fit on clips and score others."""
        mean, deviation = self.standard(items)
        versions = self.inputs.versions if self.changed else self.inputs.versions[:1]
        x = np.concatenate([(v[items] - mean) / deviation for v in versions])
        y = np.tile(self.speech.truth[self.derivation][items], (len(versions), 1))
        weights = fit(x, y, strength * len(versions))
        return predict((self.inputs.versions[0][others] - mean) / deviation, weights)


def cells(truth: np.ndarray, got: np.ndarray) -> str:
    """Concordance and Pearson's correlation of the three dimensions."""
    return " | ".join(
        " ".join(f"{metric(truth[:, i], got[:, i]):.2f}" for i in range(3))
        for metric in (concordance_cc, pearson_cc)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    speech = Speech.open(parser.parse_args().work)
    own = {
        name: np.flatnonzero((speech.corpus == name) & speech.training)
        for name in ("emodb", "crema_d")
    }
    print(
        "| targets | input | heard changed | CREMA-D, unseen actors | Pearson "
        "| CREMA-D to EMO-DB | Pearson | EMO-DB to CREMA-D | Pearson |\n"
        f"|{'---|' * 9}"
    )
    for levelled in (False, True):
        inputs = Inputs.compute(speech, levelled)
        for derivation in speech.truth:
            for changed in (False, True):
                task = Task(inputs, speech, derivation, changed)
                truth = speech.truth[derivation]
                strength, got = task.best(own["crema_d"])
                row = [cells(truth[own["crema_d"]], got)]
                away = task.carry(own["crema_d"], own["emodb"], strength)
                row.append(cells(truth[own["emodb"]], away))
                strength, _ = task.best(own["emodb"])
                back = task.carry(own["emodb"], own["crema_d"], strength)
                row.append(cells(truth[own["crema_d"]], back))
                kind = "levelled bands" if levelled else "log-mel"
                heard = "yes" if changed else "no"
                print(f"| {derivation} | {kind} | {heard} | {' | '.join(row)} |")


if __name__ == "__main__":
    main()
