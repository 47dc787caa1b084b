"""A few rules in place of a language model, to try ``wav2small ask`` with.

    wav2small ask AUDIO LABELS --program "python examples/rules_stand_in.py" \
        --name "rules, no language model" --licence Apache-2.0
    python examples/rules_stand_in.py --agreement CREMA_D

It understands nothing: it reads the numbers that the prompt says of the voice, and
counts a handful of good and bad words. The rules were written down once, not fitted.
The second form tells how well it agrees with what CREMA-D's listeners voted for.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

GOOD = ("lovely", "wonderful", "happy", "great", "good", "thank")
BAD = ("awful", "terrible", "hate", "sad", "bad", "angry", "afraid")


def main() -> None:
    """Answer a prompt, or measure the agreement."""
    if sys.argv[1:2] == ["--agreement"]:
        agreement(Path(sys.argv[2]))
        return
    told = re.split(r"\nUtterance \d+\n", sys.stdin.read())
    # of a prompt about one utterance, the last paragraph is about it
    several = told[1:] or [told[0].split("\n\n")[-1]]
    answers = [answer(part) for part in several]
    print(json.dumps(answers if told[1:] else answers[0]))


def answer(described: str) -> dict[str, float]:
    """Score an utterance by rules; numbers that are not there are usual ones."""

    def number(pattern: str, usual: float) -> float:
        found = re.search(pattern, described)
        return float(found[1]) if found else usual

    level = number(r"\((-?\d+) dB of full", -28) + 28
    pitch = number(r"pitch \((\d+) Hz", 170) - 170
    span = number(r"range of ([\d.]+) semitones", 6) - 6
    words = described.partition("Words:")[2].partition("\n")[0].lower()
    mood = sum(word in words for word in GOOD) - sum(word in words for word in BAD)
    scores = {
        "arousal": 0.5 + 0.012 * level + 0.012 * span + 0.0012 * pitch,
        "dominance": 0.5 + 0.010 * level - 0.0008 * pitch,
        "valence": 0.5 + 0.25 * mood,
    }
    return {name: round(min(max(x, 0.0), 1.0), 3) for name, x in scores.items()}


def agreement(folder: Path, every: int = 8) -> None:
    """Print the concordance with listeners' votes, for test actors."""
    import numpy as np
    from vote_targets import felt_by_word, read_votes

    from wav2small.adv import DIMENSIONS
    from wav2small.audio import load
    from wav2small.finetune.labelling.words import describe
    from wav2small.metrics import bootstrap_interval, concordance_cc, pearson_cc

    votes = read_votes(folder)
    chosen = np.flatnonzero(~votes.training)[::every]
    truth = felt_by_word(votes)[chosen]
    found = []
    for item in chosen:
        told = describe(load(folder / votes.files[item]), None, None)
        found.append([answer(told)[name] for name in DIMENSIONS])
    scores = np.array(found)
    print(f"{len(chosen)} clips of CREMA-D's test actors, rules against votes")
    for axis, name in enumerate(DIMENSIONS):
        pair = truth[:, axis], scores[:, axis]
        rng = np.random.default_rng(0)
        low, high = bootstrap_interval(concordance_cc, *pair, rng=rng)
        print(
            f"{name:<10} CCC {concordance_cc(*pair):.3f} [{low:.3f}, {high:.3f}], "
            f"PCC {pearson_cc(*pair):.3f}"
        )


if __name__ == "__main__":
    main()
