"""Crops of clips for each step of a distillation, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .adv import NEUTRAL, SAMPLING_RATE
from .augment import degrade, variation, without_speech
from .clips import Clips
from .config import DistillConfig
from .finetune.parallel import Group
from .teachers.base import ClipMetadata, Teacher, predict_with_metadata
from .training_schedule import batch_at, steps_in

FORGET_SECONDS = 2.0, 30.0
"""Shortest and longest time constant of forgetting."""


def step_rng(seed: int, step: int, group: Group | None = None) -> np.random.Generator:
    """Return the generator of one training step in one of the processes.

    Each step has its own,
    so a resumed run needs no generator state.
    """
    # words above those of the streams of one process
    own = [2 + group.rank] if group and group.size > 1 else []
    return np.random.default_rng([seed, step, *own])


class Crops:
    """The signals that the student gets in each step, and the scores it should give.

    The teacher scores a crop before noise and rooms are added to it,
    so that the student learns to ignore them.

    Args:
        clips: clips of a chapter
        scores: of each clip, ``(clips, 3)``
        items: the clips to learn from
        noises: recordings of noise
        config: what a run does
        teacher: scores crops; None if there is none, or none is needed
        metadata: what is known of each clip
        known: scores of crops ``(clips, variations, 3)`` where the teacher gave them
            before
        chapter: number of the chapter
        group: the processes that train together, each of which makes its share
        alone: whether the teacher scores one crop at a time, as annotation does on a
            CPU: in the company of others the last bits of its scores differ

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
        *,
        known: np.ndarray | None = None,
        chapter: int = 0,
        group: Group | None = None,
        alone: bool = True,
    ) -> None:
        self.metadata = metadata or [{}] * len(clips)
        self.clips, self.scores, self.items = clips, scores, items
        self.noises, self.config, self.teacher = noises, config, teacher
        self.samples = round(config.crop_seconds * SAMPLING_RATE)
        self.steps_per_epoch = steps_in(len(items), config.batch_size)
        self.chapter, self.group, self.alone = chapter, group or Group(), alone
        self.online = teacher is not None or known is not None
        # scores of crops (clips, variations, 3), NaN where none was given yet
        self.crop_scores = np.empty((0, 0, 0), np.float32) if known is None else known
        self.varied = config.varied
        if not self.online:  # a score holds only for the clip as it was scored
            content = replace(config.augment, speed=0.0, mix_probability=0.0)
            self.varied = replace(self.varied, augment=content)

    def make_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return signals ``(batch, time)`` and scores ``(batch, 3)`` of a step."""
        return self.make(*divmod(step, self.steps_per_epoch), step)

    def make(self, epoch: int, position: int, step: int) -> tuple[Tensor, Tensor]:
        """Return this process's signals and scores of a step.

        Args:
            epoch: number of the pass over the clips
            position: number of the batch in the chapter
            step: number of the step, on which noise and rooms depend

        """
        config = self.config
        items = batch_at(self.items, config.batch_size, config.seed, epoch, position)
        items = items[self.group.share(len(items))]
        turn = epoch % config.variations if self.online else epoch
        signals = [
            # each crop has its own generator, so that it can be made again
            variation(
                self.clips, int(item), turn, self.varied, self.noises, self.chapter
            )
            for item in items
        ]
        if self.online:
            scores = self._scores_of(signals, items, turn)
        else:
            scores = self.scores[items].astype(np.float32)
        rng = step_rng(config.seed, step, self.group)
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
        own = rates[self.group.share(count)]
        return torch.from_numpy(own.astype(np.float32))

    def _scores_of(
        self, signals: list[np.ndarray], items: np.ndarray, turn: int
    ) -> np.ndarray:
        missing = np.arange(len(items))
        if self.crop_scores.size:
            missing = np.flatnonzero(np.isnan(self.crop_scores[items, turn, 0]))
        if len(missing):
            assert self.teacher
            calls = [[row] for row in missing] if self.alone else [list(missing)]
            scores = np.concatenate(
                [
                    predict_with_metadata(
                        self.teacher,
                        [signals[row] for row in rows],
                        [self.metadata[items[row]] for row in rows],
                    )
                    for rows in calls
                ]
            )
            if not self.crop_scores.size:
                shape = (len(self.clips), self.config.variations, scores.shape[1])
                self.crop_scores = np.full(shape, np.nan, np.float32)
            self.crop_scores[items[missing], turn] = scores
        return self.crop_scores[items, turn]
