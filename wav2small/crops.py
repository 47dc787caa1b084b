"""Crops of clips for each step of a distillation, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .adv import NEUTRAL, SAMPLING_RATE
from .augment import degrade, vary, without_speech
from .clips import Clips
from .config import DistillConfig
from .teachers.base import ClipMetadata, Teacher, predict_with_metadata
from .training_schedule import epoch_batch

FORGET_SECONDS = 2.0, 30.0
"""Shortest and longest time constant of forgetting."""


def step_rng(seed: int, step: int) -> np.random.Generator:
    """Return the generator of one training step.

    Each step has its own,
    so a resumed run needs no generator state.
    """
    return np.random.default_rng([seed, step])


class Crops:
    """The signals that the student gets in each step, and the scores it should give.

    The teacher scores a crop before noise and rooms are added to it,
    so that the student learns to ignore them.
    """

    def __init__(
        self,
        clips: Clips,
        scores: np.ndarray,
        items: np.ndarray,
        noises: list[np.ndarray],
        config: DistillConfig,
        teacher: Teacher | None,
        metadata: Sequence[ClipMetadata] | None = None,
    ) -> None:
        self.metadata = metadata or [{}] * len(clips)
        self.clips, self.scores, self.items = clips, scores, items
        self.noises, self.config, self.teacher = noises, config, teacher
        self.samples = round(config.crop_seconds * SAMPLING_RATE)
        self.steps_per_epoch = max(1, len(items) // config.batch_size)
        # scores of crops (clips, variations, 3), NaN where none was given yet
        self.crop_scores = np.empty((0, 0, 0), np.float32)
        self.content = config.augment
        if teacher is None:  # a score holds only for the clip as it was scored
            self.content = replace(config.augment, speed=0.0, mix_probability=0.0)

    def make_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return signals ``(batch, time)`` and scores ``(batch, 3)`` of a step."""
        config = self.config
        items = epoch_batch(self.items, config.batch_size, config.seed, step)
        turn = step // self.steps_per_epoch
        if self.teacher:
            turn %= config.variations
        signals = [
            # each crop has its own generator, so that it can be made again
            vary(
                self.clips,
                int(item),
                self.samples,
                np.random.default_rng([config.seed, int(item), turn]),
                self.content,
                self.noises,
            )
            for item in items
        ]
        if self.teacher:
            scores = self._scores_of(self.teacher, signals, items, turn)
        else:
            scores = self.scores[items].astype(np.float32)
        rng = step_rng(config.seed, step)
        silent = rng.random(len(items)) < config.non_speech
        scores[silent] = NEUTRAL
        signals = [
            without_speech(self.samples, rng, self.noises)
            if without
            else degrade(signal, rng, config.augment, self.noises)
            for signal, without in zip(signals, silent, strict=True)
        ]
        return torch.from_numpy(np.stack(signals)), torch.from_numpy(scores)

    def forgetting(self, step: int) -> Tensor:
        """Return how fast the student forgets each crop, ``(batch,)``, per second.

        A time constant is as likely in each octave; 0 forgets nothing.
        """
        # a stream of its own: signals are the same with and without forgetting
        rng = np.random.default_rng([self.config.seed, step, 1])
        shortest, longest = FORGET_SECONDS
        count = self.config.batch_size
        rates = (longest / shortest) ** rng.random(count) / longest
        rates[rng.random(count) >= self.config.forget_probability] = 0
        return torch.from_numpy(rates.astype(np.float32))

    def _scores_of(
        self, teacher: Teacher, signals: list[np.ndarray], items: np.ndarray, turn: int
    ) -> np.ndarray:
        missing = np.arange(len(items))
        if self.crop_scores.size:
            missing = np.flatnonzero(np.isnan(self.crop_scores[items, turn, 0]))
        if len(missing):
            scores = predict_with_metadata(
                teacher,
                [signals[row] for row in missing],
                [self.metadata[items[row]] for row in missing],
            )
            if not self.crop_scores.size:
                shape = (len(self.clips), self.config.variations, scores.shape[1])
                self.crop_scores = np.full(shape, np.nan, np.float32)
            self.crop_scores[items[missing], turn] = scores
        return self.crop_scores[items, turn]
