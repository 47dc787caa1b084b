"""Train the detectors of speech that stand beside the scores of the bundled models.

    python examples/train_speech_detector.py DATA [OUT]

DATA holds the folders emodb, crema_d, librispeech_subset and esc10, each with a
metadata.csv whose column ``file`` names the audio, and the recordings of ambience.
OUT is a folder of models, that of the bundled ones by default; those that stream get
the output ``speech``. The same data, versions and machine give the same files.
Prints the table of docs/listening.md: how well speakers and recordings that training
did not hear are told apart.

A student of your own gets its detector from ``wav2small export RUN OUT --noise FOLDER
--calibration SPEECH``, by the same functions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from speech_sides import read

from wav2small import ProgressBar
from wav2small.api.detection import fit_detector, measure_detector
from wav2small.config import DetectorConfig
from wav2small.detection.scenes import Scenes, Side
from wav2small.export.base import checksums
from wav2small.export.base.files import replace_file
from wav2small.models import ASSETS

MODELS = ("wav2small-rt", "wav2small-rt-mini")


def scenes_of(sides: dict[str, Side], config: DetectorConfig) -> list[Scenes]:
    """Scenes to train, to choose and to test with, from their beginning."""
    return [
        Scenes(
            sides[name],
            np.random.default_rng(config.seed + number),
            varied=name != "test",
        )
        for number, name in enumerate(("train", "development", "test"), 1)
    ]


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/train_speech_detector.py DATA [OUT]")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = Path(sys.argv[2]) if len(sys.argv) == 3 else ASSETS
    config = DetectorConfig()
    sides = read(Path(sys.argv[1]), config.seed)
    print("| model | speech to noise | AUC, seconds | AUC, rows | heard |")
    print("|---|---|---|---|---|", flush=True)
    for name in MODELS:
        path = out / name / "model.onnx"
        taught, kept, tested = scenes_of(sides, config)
        with ProgressBar() as progress:
            model = fit_detector(onnx.load(path), taught, kept, config, progress)
        replace_file(path, model.SerializeToString(deterministic=True))
        checksums.write(path.parent)
        told, wrong = measure_detector(model, tested)
        for snr, entry in told.items():
            print(
                f"| `{name}` | {snr} dB | {entry.seconds:.3f} | {entry.rows:.3f} | "
                f"{entry.heard:.0%} |"
            )
        print(f"| `{name}` | an hour of noise alone | | | {wrong:.2%} |", flush=True)


if __name__ == "__main__":
    main()
