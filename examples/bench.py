"""Side-by-side timings: int8 against fp32, training with data against ready tensors.

    python examples/bench.py

Every figure is a ratio of medians taken in turn in one run;
absolute times are those of the machine that is named.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from wav2small import audio
from wav2small.bundled import DEMO
from wav2small.clips import Clips
from wav2small.config import DistillConfig
from wav2small.crops import Crops
from wav2small.export.model.to_onnx import to_onnx
from wav2small.export.quantise.config import QuantConfig
from wav2small.export.quantise.steps import quantize
from wav2small.losses import score_losses
from wav2small.models import load_student
from wav2small.students import STUDENTS
from wav2small.teachers.base import Teacher
from wav2small.teachers.loading import load_teacher
from wav2small.training import ahead

RUNS = 31

STEPS = 8
"""Steps of the training loop that are timed as one."""


def medians(*calls: Callable[[], object], runs: int = RUNS) -> list[float]:
    """Median milliseconds of each call, the calls taken in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for run in range(runs + 3):
        for kept, call in zip(times, calls, strict=True):
            begun = time.perf_counter()
            call()
            if run >= 3:  # the first runs allocate
                kept.append(1000 * (time.perf_counter() - begun))
    return [statistics.median(kept) for kept in times]


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"]
    )


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def show_loop(name: str, clips: Clips, teacher: Teacher) -> None:
    """Time training on ready batches, and with the preparation of each."""
    module = STUDENTS[name].build().train()
    optimizer = torch.optim.AdamW(p for p in module.parameters() if p.requires_grad)
    items = np.arange(len(clips))
    config = DistillConfig(variations=1)
    crops = Crops(clips, np.zeros((len(clips), 3)), items, [], config, teacher)
    begun = time.perf_counter()
    ready = [crops.make_batch(step) for step in range(crops.steps_per_epoch)]
    heard = (time.perf_counter() - begun) / len(ready)
    # the teacher has heard its variation: what is timed is all else
    fresh = ahead(crops.make_batch, 0, 10**6)

    def step(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        losses = score_losses(module(batch[0]), batch[1])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()

    # several steps on end: what is prepared during a ready step would cost nothing
    alone, with_data = (
        each / STEPS
        for each in medians(
            lambda: [step(ready[0]) for _ in range(STEPS)],
            lambda: [step(next(fresh)) for _ in range(STEPS)],
            runs=5,
        )
    )
    fresh.close()
    print(
        f"{name:<30} {alone:10.1f} {with_data:14.1f} {with_data / alone:7.2f} "
        f"{1000 * heard:6.0f} ms for a first hearing"
    )


def main() -> None:
    torch.set_num_threads(1)
    print(f"{processor()}, {platform.system()}, onnxruntime {onnxruntime.__version__},")
    print(f"torch {torch.__version__}, one thread, median of {RUNS} runs in turn\n")
    _, sources = audio.find([DEMO])
    clips = [audio.load(source.path) for source in sources[:48]]

    print("onnxruntime           fp32 ms  int8 ms  int8/fp32")
    trained, _ = load_student("wav2small")
    for name in ("wav2small", "wav2small-17k"):
        module = trained if name == "wav2small" else STUDENTS[name].build()
        model = to_onnx(module, window=None, example_samples=32000)
        # the bundled layout: 4 bits for the two pooling matrices
        four_bit_layers = 2 if name == "wav2small" else 0
        small = quantize(
            model, clips[:16], QuantConfig(four_bit_layers=four_bit_layers)
        )
        runs = [session(m.SerializeToString()) for m in (model, small)]
        for seconds in (1, 4):
            signal = np.resize(clips[0], seconds * 16000)[None]
            fp32, int8 = medians(
                *[lambda s=s, x=signal: s.run(None, {"signal": x}) for s in runs]
            )
            print(
                f"{name:<14} {seconds} s {fp32:10.2f} {int8:8.2f} {int8 / fp32:10.2f}"
            )

    teacher = load_teacher("bundled")
    print(
        "\ntraining loop, 16 crops of 2 s   ready ms   with data ms   ratio   teacher"
    )
    with tempfile.TemporaryDirectory() as folder:
        places: list[tuple[Path, float, float | None]] = [
            (source.path, 0.0, None) for source in sources[:48]
        ]
        decoded, _ = Clips.decode(places, Path(folder))
        for name in ("wav2small", "wav2small-rt", "wav2small-rt-mini"):
            show_loop(name, decoded, teacher)


if __name__ == "__main__":
    main()
