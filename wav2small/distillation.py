"""Distillation: a student learns a teacher's scores, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wav2small.export.base.files import remove_folder
from wav2small.export.base.progress import Progress

from . import __version__, checkpoint
from .adv import DIMENSIONS, SAMPLING_RATE
from .annotation.store import LabelStore
from .annotation.varied import VariationStore
from .attacks import attacked
from .clips import identity, read_noises
from .config import DistillConfig
from .course import Corpus, Course, open_course
from .errors import InputError
from .finetune.parallel import Group, share_statistics
from .losses import check_finite, score_losses
from .students import student
from .teachers import licence
from .teachers.base import Teacher, move
from .teachers.loading import load_teacher
from .training import BEST, Batch, Recipe, joined, train
from .training_schedule import TrainingSchedule, concordance_row
from .weights import to_arrays


def predict_clips(
    module: nn.Module, clips: Sequence[np.ndarray], items: np.ndarray
) -> np.ndarray:
    """Score whole clips one by one, ``(len(items), 3)``."""
    device = next(module.parameters()).device
    was_training = module.training
    module.eval()
    scores = np.empty((len(items), 3), np.float32)
    with torch.inference_mode():
        for row, item in enumerate(items):
            signal = torch.from_numpy(clips[int(item)])[None]
            scores[row] = module(signal.to(device))[0].float().cpu().numpy()
    module.train(was_training)
    return scores


def distill(
    labels_folder: Path,
    run: Path,
    config: DistillConfig,
    *,
    noise: Path | None = None,
    audio_root: Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    teacher: Teacher | None = None,
    losses: Callable[[Tensor, Tensor], dict[str, Tensor]] = score_losses,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a student on the scores of a label store.

    A run directory holds the checkpoints ``best`` and ``last``.
    A killed run that is resumed ends with the weights of an unbroken one.
    Several processes of ``torchrun`` train as one. Stored scores of variations make
    the teacher needless.

    Args:
        labels_folder: label store
        run: directory of the run
        config: what to do
        noise: folder, file or manifest of noise recordings
        audio_root: where the audio is now, if it was moved after annotation
        device: torch device
        resume: go on with the run that is there
        overwrite: delete the run that is there
        tensorboard: write event files to ``run/logs``
        teacher: the teacher of the labels, loaded by its name if None
        losses: returns, by name, losses of predictions and scores, ``(batch, 3)`` each
        progress: called with stage, steps done, steps in all and figures

    Returns:
        configuration of the best checkpoint, with its metrics

    Raises:
        InputError: if labels, run or configuration do not fit

    """
    options = {"resume": resume, "overwrite": overwrite}
    with joined(run, device, parts=("logs",), **options) as group:
        group.share(config.batch_size)
        progress = None if group.rank else progress
        store = LabelStore.open(labels_folder)
        corpus = _corpus(store, audio_root, run, config, noise, teacher, device, group)
        course = open_course(corpus, progress)
        logs = run / "logs" if tensorboard and not group.rank else None
        recipe = _Distillation(course, corpus, losses, device, logs)
        _train(run, recipe, device, progress, resume=resume)
        recipe.close()
        _leave(run, group)
        return checkpoint.load(run / BEST)[1] | {"unreadable": course.unreadable}


def _train(
    run: Path,
    recipe: _Distillation,
    device: str,
    progress: Progress | None,
    *,
    resume: bool,
) -> None:
    """Train as the configuration says."""
    config = recipe.course.config
    train(
        run,
        recipe,
        TrainingSchedule(
            steps=config.epochs * recipe.course.steps_per_epoch,
            rise=config.warmup,
            average=config.average,
            evaluations=config.evaluations,
        ),
        _describe(recipe.corpus.store, recipe.course, recipe.corpus.noises),
        same={
            "distill": "configuration",
            "teacher": "labels",
            "labels": "labels",
            "noise": "noise",
        },
        weight_decay=config.weight_decay,
        bfloat16=config.bfloat16,
        device=device,
        group=recipe.group,
        resume=resume,
        progress=progress,
    )


def _leave(run: Path, group: Group) -> None:
    """Remove what is decoded as soon as nobody needs it."""
    group.wait()
    if group.rank == 0:
        remove_folder(run / "clips")
    group.leave()


def _corpus(
    store: LabelStore,
    audio_root: Path | None,
    run: Path,
    config: DistillConfig,
    noise: Path | None,
    teacher: Teacher | None,
    device: str,
    group: Group,
) -> Corpus:
    """Gather what is learned from: labels, audio, noises, and what scores crops."""
    root, noises = audio_root or store.root, read_noises(noise)
    variations = _variations(store, config, noises)
    teacher = None if variations else _teacher(store, config, teacher)
    # a teacher that cannot be moved stays where it is
    moved = teacher is not None and move(teacher, device) and device != "cpu"
    return Corpus(
        store, root, run / "clips", config, noises, teacher, variations, not moved,
        group,
    )  # fmt: skip


def _variations(
    store: LabelStore, config: DistillConfig, noises: Sequence[np.ndarray]
) -> VariationStore | None:
    """Return the stored scores of crops; None if there are none, or none are used."""
    stored = VariationStore.of(store) if config.teaching == "online" else None
    if stored is None:
        return None
    stored.check(config.varied, identity(noises))
    wanted = min(config.variations, config.epochs)
    if stored.count < wanted:
        raise InputError(
            f"variations must be at most the {stored.count} of the labels, got "
            f"{wanted}: pass --variations {stored.count}"
        )
    return stored


def _teacher(
    store: LabelStore, config: DistillConfig, teacher: Teacher | None
) -> Teacher | None:
    """Return the teacher that scores crops; None if the labels are used instead."""
    if config.teaching == "cached":
        return None
    if teacher is None:
        # its licence was accepted when the labels were made, and their mark is kept
        teacher = load_teacher(store.teacher["name"], policy="research")
    if teacher.info.revision != store.teacher["revision"]:
        raise InputError(
            f"teacher must be the one of the labels, {store.teacher['name']} "
            f"{store.teacher['revision']}, got {teacher.info.revision}: "
            "annotate again or pass --teaching cached"
        )
    return teacher


def _describe(
    store: LabelStore, course: Course, noises: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Return what a checkpoint says of itself before it is trained."""
    config = course.config
    return {
        "format": 1,
        "student": config.student,
        "config": asdict(student(config.student).config),
        "dimensions": DIMENSIONS,
        "sampling_rate": SAMPLING_RATE,
        "distill": asdict(config),
        "teacher": store.teacher,
        "licence": store.teacher["licence"],
        "use": licence.mark(store.teacher),
        "labels": course.described,
        "versions": {"wav2small": __version__, "torch": torch.__version__},
        "noise": identity(noises),
    }


class _Distillation(Recipe):
    """A student that learns to give the scores of a teacher."""

    def __init__(
        self,
        course: Course,
        corpus: Corpus,
        losses: Callable[[Tensor, Tensor], dict[str, Tensor]],
        device: str,
        logs: Path | None,
    ) -> None:
        config = course.config
        self.course, self.corpus, self.group = course, corpus, corpus.group
        # what the teacher has said is kept where it is not stored and not too much
        self.keeps = corpus.variations is None and course.is_one_chapter
        self.losses_of, self.logs = losses, logs
        self.weights = {"l1": config.l1_weight}
        self.writer: Any = None
        torch.manual_seed(config.seed)
        # with few channels convolutions are fastest in this memory layout
        entry = student(config.student)
        self.module = entry.build().to(device).train()
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        streams = getattr(entry.config, "past_frames", None) is not None
        if config.forget_probability and not streams:
            raise InputError(
                "forget_probability must be 0 for a student that does not stream, got "
                f"{config.forget_probability} for {config.student}"
            )
        if self.group.size > 1:
            share_statistics(self.module)
        trained = {k: p for k, p in self.module.named_parameters() if p.requires_grad}
        self.groups = [
            {
                "names": list(trained),
                "params": list(trained.values()),
                "peak": config.learning_rate,
            }
        ]

    def make_batch(self, step: int) -> Batch:
        signal, truth = self.course.make_batch(step)
        batch = {"signal": signal, "truth": truth}
        if self.course.config.forget_probability:
            batch["forgetting"] = self.course.forgetting(step)
        return batch

    def forward(self, batch: Batch, step: int) -> Tensor:
        inputs = {name: value for name, value in batch.items() if name != "truth"}
        signal = inputs["signal"]
        count = round(self.course.config.adversarial * len(signal))
        if count:
            moved = attacked(self.module, signal[:count], batch["truth"][:count])
            inputs["signal"] = torch.cat([moved, signal[count:]])
        return self.module(**inputs)

    def losses(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        whole = self.group.gather({"scores": outputs.float(), "truth": batch["truth"]})
        return self.losses_of(whole["scores"], whole["truth"])

    def evaluate(self, average: nn.Module, step: int) -> dict[str, float]:
        dev = self.course.dev
        own = np.array(self.group.mine(range(len(dev.items))), np.int64)
        scores = predict_clips(average, dev.clips, dev.items[own])
        found = self.group.collect(dict(zip(own.tolist(), scores, strict=True)))
        whole = np.stack([np.asarray(found[row]) for row in range(len(dev.items))])
        check_finite(float(whole.sum()), step)
        return concordance_row(dev.truth, whole)

    def save(self, folder: Path, average: nn.Module, described: dict[str, Any]) -> None:
        checkpoint.save(folder, to_arrays(average), described)

    def state(self) -> dict[str, np.ndarray]:
        return (
            {"heard": self.course.chapter(0).crop_scores.copy()} if self.keeps else {}
        )

    def restore(self, state: Mapping[str, np.ndarray], saved: dict[str, Any]) -> None:
        if self.keeps:
            self.course.chapter(0).crop_scores = state["heard"]

    def stepped(
        self, step: int, share: float, loss: float, figures: Mapping[str, float]
    ) -> None:
        if self.logs and not self.writer:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.logs), purge_step=step)
        if self.writer:
            for name, value in figures.items():
                self.writer.add_scalar(f"loss/{name}", value, step)
            rate = self.course.config.learning_rate * share
            self.writer.add_scalar("learning_rate", rate, step)

    def evaluated(self, step: int, row: Mapping[str, float]) -> None:
        if self.writer:
            for name in DIMENSIONS:
                self.writer.add_scalar(f"dev/ccc_{name}", row[name], step)

    def close(self) -> None:
        """Decode no more, and write what is left of the event files."""
        self.course.close()
        if self.writer:
            self.writer.close()
