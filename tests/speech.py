"""Signals and students that several tests of the export share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from onnx import ModelProto

from wav2small.export.model.to_onnx import to_onnx
from wav2small.students import STUDENTS


def clips(count: int, seed: int) -> Iterator[np.ndarray]:
    """Noise of some colour under a tone of some pitch."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        time = np.arange(generator.integers(2000, 6000)) / 16000
        tone = np.sin(2 * np.pi * generator.uniform(80, 4000) * time)
        noise = np.convolve(generator.standard_normal(len(time)), [1, 0.9], "same")
        signal = tone + generator.uniform(0.01, 1) * noise
        yield (signal / np.abs(signal).max() / 2).astype(np.float32)


def module(name: str) -> torch.nn.Module:
    """Student with random weights whose batch normalisation has seen signals."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = STUDENTS[name].build().train()
        for part in built.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.momentum = None  # plain average over the batches
        with torch.no_grad():
            for seed in range(3):
                batch = [torch.from_numpy(clip[:2000]) for clip in clips(6, seed)]
                built(torch.stack(batch))
    return built.eval()


def exported(name: str) -> ModelProto:
    """That student as a float ONNX of any length."""
    return to_onnx(module(name), window=None, example_samples=4000)
