"""What a teacher that the library can load comes to, on the clips of the study.

    python examples/studies/hearing_baseline.py DATA WORK TEACHER [--every N]

The clips are every N-th of CREMA-D's training actors, and the clips of both corpora
that ``hearing_data.py`` sends through changes of the suite.
For the bundled teacher EMO-DB's training speakers are no unseen speakers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from hearing_data import TESTED, Speech, change

from wav2small.clips import Clips, read_noises
from wav2small.metrics import concordance_cc, pearson_cc
from wav2small.suite.robustness import UNCHANGED, all_changes
from wav2small.suite.sounds import Sounds
from wav2small.teachers.loading import load_teacher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("teacher")
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--derivation", default="felt by word")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    speech, teacher = Speech.open(arguments.work), load_teacher(arguments.teacher)
    clips = Clips(arguments.work / "clips")
    noises = read_noises(arguments.data / "esc10", seconds=5)
    noises += read_noises(arguments.data / "ambience", seconds=60)
    voices = read_noises(arguments.data / "librispeech_subset", seconds=10)
    here = np.flatnonzero((speech.corpus == "crema_d") & speech.training)
    items = here[:: arguments.every]
    truth = speech.truth[arguments.derivation][items]

    def heard(version: int) -> np.ndarray:
        signals = [clips[item] for item in items]
        if version:
            signals = [
                change(
                    clips[item],
                    version,
                    np.random.default_rng([version, item]),
                    noises,
                    voices,
                )
                for item in items
            ]
        return np.concatenate([teacher.predict([signal]) for signal in signals])

    for version, title in enumerate(("as it is", "to a microphone", "to the ear")):
        got = heard(version)
        print(title, len(items), flush=True)
        for metric in (concordance_cc, pearson_cc):
            figures = [metric(truth[:, i], got[:, i]) for i in range(3)]
            print(metric.__name__, " ".join(f"{v:.2f}" for v in figures), flush=True)
    tested = np.load(arguments.work / "tests.npz")["items"]
    before = np.concatenate([teacher.predict([clips[i]]) for i in tested])
    sounds = Sounds({"environment": noises}, voices)
    changes = {entry.name: entry for entry in all_changes()}
    for name in TESTED:
        after = np.concatenate(
            [
                teacher.predict(
                    [
                        changes[name].apply(
                            clips[item], np.random.default_rng([7, item]), sounds
                        )
                    ]
                )
                for item in tested
            ]
        )
        same = np.abs(after - before) < UNCHANGED
        for corpus in ("crema_d", "emodb"):
            share = same[speech.corpus[tested] == corpus].mean(0)
            print(name, corpus, " ".join(f"{v:.2f}" for v in share), flush=True)


if __name__ == "__main__":
    main()
