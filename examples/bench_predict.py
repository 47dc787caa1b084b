"""Time scoring a folder against reading it alone, in turn, in parts of 50 files.

    python examples/bench_predict.py FOLDER [--model wav2small-rt] [--files 1000]

``wav2small predict`` reads on while all cores score what was read.
Beside wall time stands processor time, which other programs on the machine change less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from wav2small import audio
from wav2small.gate import SpeechGate
from wav2small.models import load_model
from wav2small.prediction import predict

PART = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="wav2small-rt")
    parser.add_argument("--files", type=int, default=1000)
    options = parser.parse_args()
    _, sources = audio.find([options.folder])
    model, gate = load_model(options.model), SpeechGate()
    walls, works = [], []
    for start in range(0, min(len(sources), options.files), PART):
        part = sources[start : start + PART]
        wall, work = time.perf_counter(), time.process_time()
        for source in part:
            for _ in audio.stream(source.path):
                pass
        read = time.perf_counter() - wall, time.process_time() - work
        wall, work = time.perf_counter(), time.process_time()
        for _, found in predict(model, gate, part):
            for _ in found:
                pass
        walls.append(read[0] / (time.perf_counter() - wall))
        works.append(read[1] / (time.process_time() - work))
    print(
        f"{options.model}: of the speed of reading {statistics.median(walls):.2f} by "
        f"the clock, {statistics.median(works):.2f} by the processor's time; median of "
        f"{len(walls)} parts of {PART} files"
    )


if __name__ == "__main__":
    main()
