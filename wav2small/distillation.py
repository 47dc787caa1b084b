"""Distillation: a student learns a teacher's scores, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wav2small.export.base.files import claim, remove_folder
from wav2small.export.base.progress import Progress

from . import __version__, checkpoint
from .adv import DIMENSIONS, SAMPLING_RATE
from .annotation.labels import Labels
from .annotation.store import LabelStore
from .clips import Clips, decode_labels, identity, read_noises
from .config import DistillConfig
from .crops import Crops
from .errors import InputError
from .losses import check_finite, score_losses
from .splits import split_dev
from .students import student
from .students.streaming import Streaming
from .teachers import licence
from .teachers.base import Teacher, move
from .teachers.loading import load_teacher
from .training import BEST, Batch, Recipe, begin, train
from .training_schedule import TrainingSchedule, concordance_row
from .weights import to_arrays


def predict_clips(module: nn.Module, clips: Clips, items: np.ndarray) -> np.ndarray:
    """Score whole clips one by one, ``(len(items), 3)``."""
    device = next(module.parameters()).device
    was_training = module.training
    module.eval()
    with torch.inference_mode():
        scores = [
            module(torch.from_numpy(clips[int(i)])[None].to(device))[0].float().cpu()
            for i in items
        ]
    module.train(was_training)
    return torch.stack(scores).numpy()


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
    with claim(run, "clips"):
        begin(run, resume=resume, overwrite=overwrite, parts=("logs",))
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError("device must be cpu, got cuda: no CUDA device is here")
        store = LabelStore.open(labels_folder)
        labels = store.read()
        teacher = _teacher(store, config, teacher)
        if teacher:
            move(teacher, device)  # a teacher that cannot be moved stays where it is
        crops, dev, unreadable = _read_crops(
            labels, audio_root or store.root, run, config, teacher, noise, progress
        )
        logs = run / "logs" if tensorboard else None
        recipe = _Distillation(crops, labels, dev, losses, device, logs)
        described = _describe(store, labels, crops)
        _train(run, recipe, described, device, progress, resume=resume)
        recipe.close()
        remove_folder(run / "clips")
        return checkpoint.load(run / BEST)[1] | {"unreadable": unreadable}


def _read_crops(
    labels: Labels,
    root: Path,
    run: Path,
    config: DistillConfig,
    teacher: Teacher | None,
    noise: Path | None,
    progress: Progress | None,
) -> tuple[Crops, np.ndarray, int]:
    """Return crops to train on, rows of development, and how many rows are unread."""
    clips, unreadable = decode_labels(labels, root, run / "clips", progress=progress)
    train, dev = _rows(labels, unreadable, root, config)
    noises, metadata = read_noises(noise), labels.metadata_rows
    crops = Crops(clips, labels.scores, train, noises, config, teacher, metadata)
    return crops, dev, len(unreadable)


def _train(
    run: Path,
    recipe: _Distillation,
    described: dict[str, Any],
    device: str,
    progress: Progress | None,
    *,
    resume: bool,
) -> None:
    """Train as the configuration of the crops says."""
    config = recipe.crops.config
    train(
        run,
        recipe,
        TrainingSchedule(
            steps=config.epochs * recipe.crops.steps_per_epoch,
            rise=config.warmup,
            average=config.average,
            evaluations=config.evaluations,
        ),
        described,
        same={
            "distill": "configuration",
            "teacher": "labels",
            "labels": "labels",
            "noise": "noise",
        },
        weight_decay=config.weight_decay,
        bfloat16=config.bfloat16,
        device=device,
        resume=resume,
        progress=progress,
    )


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


def _rows(
    labels: Labels, unreadable: set[int], root: Path, config: DistillConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of training and development that can be read."""
    train, dev = (
        np.array([item for item in part if item not in unreadable])
        for part in split_dev(labels, config.dev_share, config.seed)
    )
    if not len(train) or len(dev) < 2:
        raise InputError(
            "labels must have audio for training and for 2 development rows, got "
            f"{len(train)} and {len(dev)} that can be read below {root}: "
            "pass --audio-root"
        )
    return train, dev


def _describe(store: LabelStore, labels: Labels, crops: Crops) -> dict[str, Any]:
    """Return what a checkpoint says of itself before it is trained."""
    config, clips = crops.config, crops.clips
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
        "labels": {
            "clips": len(clips),
            "hours": round(clips.seconds / 3600, 3),
            "sha256": _identity(labels),
        },
        "versions": {"wav2small": __version__, "torch": torch.__version__},
        "noise": identity(crops.noises),
    }


class _Distillation(Recipe):
    """A student that learns to give the scores of a teacher."""

    def __init__(
        self,
        crops: Crops,
        labels: Labels,
        dev: np.ndarray,
        losses: Callable[[Tensor, Tensor], dict[str, Tensor]],
        device: str,
        logs: Path | None,
    ) -> None:
        config = crops.config
        self.crops, self.labels, self.dev = crops, labels, dev
        self.losses_of, self.logs = losses, logs
        self.weights = {"l1": config.l1_weight}
        self.writer: Any = None
        torch.manual_seed(config.seed)
        # with few channels convolutions are fastest in this memory layout
        self.module = student(config.student).build().to(device).train()
        self.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.forget_probability and not isinstance(self.module, Streaming):
            raise InputError(
                "forget_probability must be 0 for a student that does not stream, got "
                f"{config.forget_probability} for {config.student}"
            )
        trained = {k: p for k, p in self.module.named_parameters() if p.requires_grad}
        self.groups = [
            {
                "names": list(trained),
                "params": list(trained.values()),
                "peak": config.learning_rate,
            }
        ]

    def make_batch(self, step: int) -> Batch:
        signal, truth = self.crops.make_batch(step)
        batch = {"signal": signal, "truth": truth}
        if self.crops.config.forget_probability:
            batch["forgetting"] = self.crops.forgetting(step)
        return batch

    def forward(self, batch: Batch, step: int) -> Tensor:
        inputs = {name: value for name, value in batch.items() if name != "truth"}
        return self.module(**inputs)

    def losses(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return self.losses_of(outputs.float(), batch["truth"])

    def evaluate(self, average: nn.Module, step: int) -> dict[str, float]:
        scores = predict_clips(average, self.crops.clips, self.dev)
        check_finite(scores.sum(), step)
        return concordance_row(self.labels.scores[self.dev], scores)

    def save(self, folder: Path, average: nn.Module, described: dict[str, Any]) -> None:
        checkpoint.save(folder, to_arrays(average), described)

    def state(self) -> dict[str, np.ndarray]:
        return {"heard": self.crops.crop_scores.copy()}

    def restore(self, state: Mapping[str, np.ndarray], saved: dict[str, Any]) -> None:
        self.crops.crop_scores = state["heard"]

    def stepped(
        self, step: int, share: float, loss: float, figures: Mapping[str, float]
    ) -> None:
        if self.logs and not self.writer:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.logs), purge_step=step)
        if self.writer:
            for name, value in figures.items():
                self.writer.add_scalar(f"loss/{name}", value, step)
            rate = self.crops.config.learning_rate * share
            self.writer.add_scalar("learning_rate", rate, step)

    def evaluated(self, step: int, row: Mapping[str, float]) -> None:
        if self.writer:
            for name in DIMENSIONS:
                self.writer.add_scalar(f"dev/ccc_{name}", row[name], step)

    def close(self) -> None:
        """Write what is left of the event files."""
        if self.writer:
            self.writer.close()


def _identity(labels: Labels) -> str:
    """Return the SHA-256 of what a run takes from its labels."""
    split, speaker = labels.metadata["split"], labels.metadata["speaker"]
    rows = [labels.names, labels.sha256, split, speaker]
    digest = hashlib.sha256(json.dumps(rows).encode())
    for table in (labels.starts, labels.ends, labels.scores):
        digest.update(np.ascontiguousarray(table).tobytes())
    return digest.hexdigest()
