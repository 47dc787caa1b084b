"""What the paper's model loses where the level of the past is all that it knows.

    python examples/studies/level_of_the_past.py DATA

DATA holds the folder emodb with its metadata.csv. The weights of the bundled
``wav2small`` hear the clips of the split test, nothing trained again, but each frame is
taken relative to the mean level of the past second and gets the mean level of clips of
the training back. Prints concordance and mean absolute difference to the scores of
``wav2small`` itself, which hears each clip relative to its own level.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wav2small import audio
from wav2small.adv import DIMENSIONS
from wav2small.export.base.metrics import concordance_cc
from wav2small.features import normalize, relative_to_past
from wav2small.models import find_checkpoint, load_student

PAST = 500
"""Frames of a second."""
CLIPS = 40
"""Clips of the training whose mean level is taken."""


def clips(data: Path, split: str) -> Iterator[Tensor]:
    """Signals of a split, ``(1, time)``."""
    with (data / "emodb" / "metadata.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == split:
                signal = audio.load(data / "emodb" / row["file"])
                yield torch.from_numpy(signal)[None]


def log_mel(module: torch.nn.Module, signal: Tensor) -> Tensor:
    """Log-mel of a signal as it is, ``(1, frames, bands)``."""
    trunk = module.vgg7
    return trunk.logmel_extractor(trunk.spectrogram_extractor(signal)).transpose(1, 2)


@torch.inference_mode()
def untrained(module: torch.nn.Module, data: Path) -> Callable[[Tensor], Tensor]:
    """Scorer with the weights of a model that hears each clip relative to its level."""
    levels = [
        log_mel(module, normalize(signal)).mean().item()
        for _, signal in zip(range(CLIPS), clips(data, "train"), strict=False)
    ]
    level = float(np.mean(levels))

    def score(signal: Tensor) -> Tensor:
        relative = relative_to_past(log_mel(module, signal), PAST) + level
        extract = module.vgg7.logmel_extractor.forward
        spectrogram = module.vgg7.spectrogram_extractor.forward
        try:
            # the rest of the model hears this map in place of its own
            module.vgg7.spectrogram_extractor.forward = lambda signal: signal
            module.vgg7.logmel_extractor.forward = lambda _: relative.transpose(1, 2)
            return module(signal)
        finally:
            module.vgg7.logmel_extractor.forward = extract
            module.vgg7.spectrogram_extractor.forward = spectrogram

    return score


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    options = parser.parse_args(arguments)
    original = load_student(find_checkpoint("wav2small"))[0].eval()
    score = untrained(original, options.data)
    heard = list(clips(options.data, "test"))
    with torch.inference_mode():
        wanted = torch.cat([original(signal) for signal in heard]).numpy()
        found = torch.cat([score(signal) for signal in heard]).numpy()
    for i, name in enumerate(DIMENSIONS):
        print(f"{name}: CCC {concordance_cc(wanted[:, i], found[:, i]):.3f}")
    print(f"mean difference {np.abs(found - wanted).mean():.3f}")


if __name__ == "__main__":
    main()
