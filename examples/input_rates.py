"""Do scores stay what they are if the C resamples what a device hears?

    python examples/input_rates.py DATA [--clips 100] [--model wav2small-rt]

Real clips are brought to each sampling rate by soxr, and from there to 16 kHz by the
integers of the C and by soxr. For each rate: the concordance of the scores of both, for
arousal, dominance and valence, and the largest difference of a score.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soxr

from wav2small import audio
from wav2small.export.base.metrics import concordance_cc
from wav2small.export.integer.resampling import RATES, Resampler
from wav2small.models import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of recordings")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--model", default="wav2small-rt")
    options = parser.parse_args()
    model = load_model(options.model)
    _, sources = audio.find([options.data])
    sources = sources[:: max(1, len(sources) // options.clips)][: options.clips]
    clips = [audio.beginning(source, 3.0) for source in sources]
    print(f"{len(clips)} clips, {options.model}")
    for rate in RATES[1:]:
        scores: list[list[np.ndarray]] = [[], []]
        for clip in clips:
            given = soxr.resample(clip, RATES[0], rate)
            integers = np.clip(np.rint(given * 2**15), -(2**15), 2**15 - 1)
            ours = Resampler(rate).push(integers.astype(np.int16)) / 2**15
            theirs = soxr.resample(given, rate, RATES[0])
            for kept, signal in zip(scores, (ours, theirs), strict=True):
                kept.append(model.predict([signal.astype(np.float32)])[0])
        one, other = (np.array(kept) for kept in scores)
        ccc = " ".join(
            f"{concordance_cc(one[:, i], other[:, i]):.4f}" for i in range(one.shape[1])
        )
        print(f"{rate:6} Hz: CCC {ccc}, largest {np.abs(one - other).max():.4f}")


if __name__ == "__main__":
    main()
