"""The main job in ten lines: from recordings to a model that fits a chip.

    python examples/quickstart.py [SPEECH] [OUT]
"""

from __future__ import annotations

import sys
from pathlib import Path

import wav2small
from wav2small.bundled import DEMO


def main(speech: Path, out: Path, config: wav2small.DistillConfig) -> str:
    """Teach a student, export it, and say whether it fits a Cortex-M4 with 64 KB."""
    wav2small.annotate(speech, out / "labels")
    wav2small.distill(out / "labels", out / "run", config=config)
    made = wav2small.export_model(out / "run", out / "model", calibration=speech)
    report = wav2small.bench(made.paths[0], targets=["generic-m4-64k"])
    for result in wav2small.predict(speech, model=out / "model"):
        print(result.file, result.kind, result.scores)
    print(report)
    return report.verdict


if __name__ == "__main__":
    given = [Path(word) for word in sys.argv[1:]]
    speech, out = [*given, *[DEMO, Path("runs/quickstart")][len(given) :]]
    print(main(speech, out, wav2small.DistillConfig(student="wav2small-rt", epochs=45)))
