"""How equally a model scores the groups of speakers that CREMA-D names.

    python examples/studies/hearing_fairness.py DATA MODEL [MODEL ...]

DATA holds ``crema_d``; a model is whatever ``evaluate`` takes.
The test actors' clips, against the scores derived from votes:
the suite's figures by sex, pitch, age, race and ethnicity. Prints Markdown.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

from wav2small import audio
from wav2small.suite.fairness import add_groups
from wav2small.suite.rows import SuiteRows
from wav2small.suite.speech import Speech, Tested
from wav2small.teachers.loading import load_any

sys.path.append(str(Path(__file__).parent.parent))

import vote_targets


def read(folder: Path) -> Speech:
    """Read the test actors' clips and what is known of them."""
    votes = vote_targets.read_votes(folder)
    with (folder / "metadata.csv").open(newline="") as file:
        people = list(csv.DictReader(file))
    items = np.flatnonzero(~votes.training)
    columns = {"gender": "sex", "age": "age", "race": "race", "ethnicity": "ethnicity"}
    return Speech(
        [audio.load(folder / votes.files[item]) for item in items],
        {"people": vote_targets.felt_by_word(votes)[items].astype(np.float64)},
        {ours: [people[i][theirs] for i in items] for ours, theirs in columns.items()},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("models", nargs="+")
    arguments = parser.parse_args()
    speech = read(arguments.data / "crema_d")
    titles = ("model", "groups", "figure", "A", "D", "V", "at most")
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for name in arguments.models:
        model = load_any(name)
        scores = np.concatenate([model.predict([s]) for s in speech.signals])
        rows = SuiteRows(seed=0, resamples=100)
        add_groups(rows, Tested(model, speech, dict(speech.references), scores))
        judged = [test for test in rows.tests if test["threshold"] is not None]
        for row in judged:
            if row["dimension"] != "arousal":
                continue
            same = [
                f"{other['value']:.3f}"
                for other in judged
                if (other["name"], other["figure"]) == (row["name"], row["figure"])
            ]
            cells = [name, row["name"], row["figure"], *same, str(row["threshold"])]
            print(f"| {' | '.join(cells)} |")
        passed = sum(bool(test["passed"]) for test in judged)
        print(f"\n{name}: {passed} of {len(judged)} tests passed\n")


if __name__ == "__main__":
    main()
