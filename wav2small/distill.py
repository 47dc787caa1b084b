"""Distillation: a student learns a teacher's scores, and nothing else."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from wav2small.export.base.files import recover_folder, remove_folder

from . import __version__, checkpoint
from .adv import DIMENSIONS, NEUTRAL, SAMPLING_RATE
from .audio.spellings import split_name
from .data import (
    AugmentConfig,
    Clips,
    degrade,
    identity,
    read_noises,
    vary,
    without_speech,
)
from .errors import InputError
from .labels import Labels, LabelStore
from .losses import check_finite, score_losses
from .metrics import concordance_cc
from .students import student
from .teachers import licence
from .teachers.base import Teacher
from .teachers.loading import load_teacher


@dataclass(frozen=True)
class DistillConfig:
    """What a distillation run does; with the labels it determines the weights."""

    student: str = "wav2small"
    """Name of the student, see ``wav2small list students``."""

    teaching: Literal["online", "cached"] = "online"
    """``online``: the teacher of the labels scores each crop
    after its speed and colour were changed and noise or a second speaker was added.
    ``cached``: the crop keeps the score of its clip."""

    variations: int = 64
    """Crops of each clip that the teacher scores, one per epoch;
    then their turn comes again, with other noise and rooms."""

    epochs: int = 100
    """Passes over the clips; each pass takes a crop of every clip,
    but for those that do not fill the last batch."""

    batch_size: int = 16
    """Crops per step."""

    crop_seconds: float = 2.0
    """Length of a crop in seconds."""

    learning_rate: float = 3e-3
    """Peak of the cosine schedule."""

    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW."""

    warmup: float = 0.05
    """Share of the steps in which the learning rate rises, in 0..1."""

    l1_weight: float = 0.5
    """Weight of the mean absolute error beside the concordance losses."""

    average: float = 0.995
    """Decay per step of the moving average of the weights,
    which is what is evaluated and saved."""

    dev_share: float = 0.1
    """Share of the speakers (of the files, where speakers are unknown)
    that is kept from training to choose the best checkpoint, in 0..1."""

    bfloat16: bool = False
    """Whether convolutions are computed in bfloat16; the log-mel never is.
    Halves the time of wav2small on processors with AVX512-BF16, and of all
    students on GPUs."""

    evaluations: int = 20
    """How often the run is evaluated and saved, evenly spread."""

    seed: int = 0
    """Seed of the weights and of every crop and augmentation."""

    non_speech: float = 0.05
    """Share of crops that are noise or silence, with a neutral score, in 0..1."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How crops are varied."""


def step_rng(seed: int, step: int) -> np.random.Generator:
    """Return the generator of one training step.

    Each step has its own,
    so a resumed run needs no generator state.
    """
    return np.random.default_rng([seed, step])


def epoch_batch(items: np.ndarray, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Return the clips of one step: each clip once per epoch, in random order."""
    steps = max(1, len(items) // batch_size)
    epoch, position = divmod(step, steps)
    # a stream of its own: step generators have non-negative second words below 2**62
    order = np.random.default_rng([seed, 2**62 + epoch]).permutation(items)
    return np.resize(order[position * batch_size :], batch_size)


class Crops:
    """What the student hears in each step, and the scores it shall give.

    The teacher hears a crop before noise and rooms are added to it:
    the student learns to hear through them.
    """

    def __init__(
        self,
        clips: Clips,
        scores: np.ndarray,
        items: np.ndarray,
        noises: list[np.ndarray],
        config: DistillConfig,
        teacher: Teacher | None,
    ) -> None:
        self.clips, self.scores, self.items = clips, scores, items
        self.noises, self.config, self.teacher = noises, config, teacher
        self.samples = round(config.crop_seconds * SAMPLING_RATE)
        self.steps_per_epoch = max(1, len(items) // config.batch_size)
        # scores of crops (clips, variations, 3), NaN where none was given yet
        self.heard = np.empty((0, 0, 0), np.float32)
        self.content = config.augment
        if teacher is None:  # the score of a clip holds for what it was given for
            self.content = replace(config.augment, speed=0.0, mix_probability=0.0)

    def prepare(self, step: int) -> tuple[Tensor, Tensor]:
        """Return signals ``(batch, time)`` and scores ``(batch, 3)`` of a step."""
        config = self.config
        items = epoch_batch(self.items, config.batch_size, config.seed, step)
        turn = step // self.steps_per_epoch
        if self.teacher:
            turn %= config.variations
        signals = [
            # a stream for each crop, so that it can be made again
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
            scores = self._hear(self.teacher, signals, items, turn)
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

    def batches(self, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Prepare the batches of steps in a thread of their own, one ahead."""
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self.prepare, start)
            for step in range(start, stop):
                ready = ahead.result()
                if step + 1 < stop:
                    ahead = pool.submit(self.prepare, step + 1)
                yield ready

    def _hear(
        self, teacher: Teacher, signals: list[np.ndarray], items: np.ndarray, turn: int
    ) -> np.ndarray:
        unheard = np.arange(len(items))
        if self.heard.size:
            unheard = np.flatnonzero(np.isnan(self.heard[items, turn, 0]))
        if len(unheard):
            scores = teacher.predict([signals[row] for row in unheard])
            if not self.heard.size:
                shape = (len(self.clips), self.config.variations, scores.shape[1])
                self.heard = np.full(shape, np.nan, np.float32)
            self.heard[items[unheard], turn] = scores
        return self.heard[items, turn]


def split_dev(labels: Labels, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into training and development, by speaker where it is known.

    Rows whose split is ``test`` are in neither.
    Those whose split is ``dev`` are the development rows, if there are any;
    else some speakers' are, as many as it takes to have two rows.

    Args:
        labels: the rows
        share: share of the groups that goes to development, in 0..1
        seed: seed of the choice

    Returns:
        row indices of training and of development, each sorted

    Raises:
        InputError: if either would be empty, or a split is not understood

    """
    said = labels.metadata["split"]
    split = np.array([split_name(name) if name else "" for name in said])
    usable = split != "test"
    dev = split == "dev"
    if not dev.any():
        speakers = labels.metadata["speaker"]
        groups = np.array(
            [who or name for who, name in zip(speakers, labels.names, strict=True)]
        )
        unique, rows = np.unique(groups[usable], return_counts=True)
        order = np.random.default_rng([seed, 2**61]).permutation(len(unique))
        # one row has no concordance, but a group must be left to learn from
        enough = int(np.searchsorted(rows[order].cumsum(), 2)) + 1
        count = min(max(round(share * len(unique)), enough), len(unique) - 1)
        dev = np.isin(groups, unique[order[: max(1, count)]]) & usable
    train = usable & ~dev
    if not train.any() or dev.sum() < 2:
        raise InputError(
            "labels must hold rows of at least 2 speakers or files that are not "
            f"test, got {train.sum()} for training and {dev.sum()} for development: "
            "annotate more audio"
        )
    return np.flatnonzero(train), np.flatnonzero(dev)


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
    progress: Callable[[str, int, int, dict[str, float]], None] | None = None,
) -> dict[str, Any]:
    """Train a student on the scores of a label store.

    A run directory holds the checkpoints ``best`` and ``last``.
    A killed run that is resumed
    ends with the weights of an unbroken one.

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
        losses: gives the losses of predictions and scores, ``(batch, 3)`` each,
            by name
        progress: called with stage, steps done, steps in all and figures

    Returns:
        configuration of the best checkpoint, with its metrics

    Raises:
        InputError: if labels, run or configuration do not fit

    """
    last = run / "last"
    recover_folder(last)
    recover_folder(run / "best")
    if overwrite:
        # only what a run makes: the folder may hold files of the user's own
        for name in ("last", "best", "clips", "logs"):
            remove_folder(run / name)
    elif last.exists() and not resume:
        raise InputError(f"run exists: {run}: pass --resume or --overwrite")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("device must be cpu, got cuda: no CUDA device is here")

    store = LabelStore.open(labels_folder)
    labels = store.read()
    if config.teaching == "cached":
        teacher = None
    elif teacher is None:
        # who made the labels was let in then, and their mark goes on
        teacher = load_teacher(store.teacher["name"], policy="research")
    if teacher and teacher.info.revision != store.teacher["revision"]:
        raise InputError(
            f"teacher must be the one of the labels, {store.teacher['name']} "
            f"{store.teacher['revision']}, got {teacher.info.revision}: "
            "annotate again or pass --teaching cached"
        )

    root = audio_root or store.root
    clips, errors = Clips.decode(
        [
            (root / name, float(start), float(end))
            for name, start, end in zip(
                labels.names, labels.starts, labels.ends, strict=True
            )
        ],
        run / "clips",
        progress=progress and (lambda done, total: progress("decode", done, total, {})),
    )
    if len(errors) == len(clips):
        raise InputError(
            f"audio of the labels cannot be read below {root}: {errors[0][1]}: "
            "pass --audio-root"
        )
    bad = {item for item, _ in errors}
    train, dev = split_dev(labels, config.dev_share, config.seed)
    train = np.array([item for item in train if item not in bad])
    dev = np.array([item for item in dev if item not in bad])
    if not len(train) or len(dev) < 2:
        raise InputError(
            "labels must have audio for training and for 2 development rows, got "
            f"{len(train)} and {len(dev)} that can be read below {root}: "
            "pass --audio-root"
        )
    noises = read_noises(noise)
    crops = Crops(clips, labels.scores, train, noises, config, teacher)

    torch.manual_seed(config.seed)
    entry = student(config.student)
    # few channels: mixing them is fastest where they lie side by side
    module = entry.build().to(device).train()
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(module)
    trainable = {k: p for k, p in module.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        trainable.values(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    total = config.epochs * crops.steps_per_epoch
    described = {
        "format": 1,
        "student": config.student,
        "config": asdict(entry.config),
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
        "noise": identity(noises),
        "versions": {"wav2small": __version__, "torch": torch.__version__},
    }
    history: list[dict[str, float]] = []
    best = -math.inf
    start = 0
    if resume and last.exists():
        weights, saved = checkpoint.load(last)
        if saved["distill"] != _plain(asdict(config)):
            raise InputError(
                f"run must be resumed with its own configuration: {last}: "
                "pass the same options or --overwrite"
            )
        if any(saved[key] != described[key] for key in ("teacher", "labels")):
            raise InputError(
                f"run must be resumed with its own labels: {last}: "
                "pass the same labels or --overwrite"
            )
        if saved.get("noise", described["noise"]) != described["noise"]:
            raise InputError(
                f"run must be resumed with its own noise: {last}: "
                "pass the same recordings or --overwrite"
            )
        state, _ = checkpoint.load(last, extra="training")
        _load(average, weights)
        _load(module, {k[7:]: v for k, v in state.items() if k.startswith("module/")})
        for name, parameter in trainable.items():
            optimizer.state[parameter] = {
                key: torch.from_numpy(state[f"{key}/{name}"].copy()).to(
                    device if key != "step" else "cpu"
                )
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
        crops.heard = state["heard"]
        history, start = saved["history"], saved["step"]
        best = max(map(_quality, history))
    writer = None
    if tensorboard:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(run / "logs"), purge_step=start)

    marks = {
        round(total * (i + 1) / config.evaluations) for i in range(config.evaluations)
    }
    batches = crops.batches(start, total) if start < total else iter(())
    for step, (signal, truth) in enumerate(batches, start):
        rate = config.learning_rate * _schedule(step, total, config.warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(
            torch.device(device).type, torch.bfloat16, enabled=config.bfloat16
        ):
            prediction = module(signal.to(device))
        parts = losses(prediction.float(), truth.to(device))
        loss = torch.stack(
            [
                value * (config.l1_weight if name == "l1" else 1)
                for name, value in parts.items()
            ]
        ).sum()
        check_finite(loss.item(), step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trainable.values(), 5.0)
        optimizer.step()
        # the average forgets its random start quickly, then slows down
        decay = min(config.average, (1 + step) / (10 + step))
        move_average(average, module, decay)
        figures = {name: value.item() for name, value in parts.items()}
        if writer:
            for name, value in figures.items():
                writer.add_scalar(f"loss/{name}", value, step)
            writer.add_scalar("learning_rate", rate, step)
        if progress:
            progress("train", step + 1, total, figures)
        if step + 1 in marks:
            scores = predict_clips(average, clips, dev)
            check_finite(scores.sum(), step)
            row = {
                name: concordance_cc(labels.scores[dev, axis], scores[:, axis])
                for axis, name in enumerate(DIMENSIONS)
            }
            defined = [value for value in row.values() if not math.isnan(value)]
            row["mean"] = float(np.mean(defined)) if defined else math.nan
            row["step"] = step + 1
            history.append(row)
            if writer:
                for name in DIMENSIONS:
                    writer.add_scalar(f"dev/ccc_{name}", row[name], step)
            described |= {"step": step + 1, "history": history, "metrics": row}
            weights = _arrays(average)
            if _quality(row) > best:
                best = _quality(row)
                checkpoint.save(run / "best", weights, described)
            state = {f"module/{k}": v for k, v in _arrays(module).items()}
            state["heard"] = crops.heard.copy()
            for name, parameter in trainable.items():
                for key, value in optimizer.state[parameter].items():
                    state[f"{key}/{name}"] = value.cpu().numpy()
            checkpoint.save(last, weights, described, extra={"training": state})
            if progress:
                progress("dev", step + 1, total, row)
    if writer:
        writer.close()
    shutil.rmtree(run / "clips", ignore_errors=True)
    return checkpoint.load(run / "best")[1] | {"unreadable": len(errors)}


def _quality(row: dict[str, float]) -> float:
    """Mean concordance; below every other where it is not defined."""
    return -1.0 if math.isnan(row["mean"]) else row["mean"]


def _schedule(step: int, total: int, warmup: float) -> float:
    """Cosine decay to zero after a linear rise, relative to the peak."""
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


@torch.no_grad()
def move_average(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Draw the average towards a module's weights and statistics, in place."""
    for kept, fresh in zip(
        average.state_dict().values(), module.state_dict().values(), strict=True
    ):
        if kept.dtype.is_floating_point:
            kept.lerp_(fresh, 1 - decay)
        else:
            kept.copy_(fresh)


def _arrays(module: nn.Module) -> dict[str, np.ndarray]:
    return {k: v.detach().cpu().numpy() for k, v in module.state_dict().items()}


def _load(module: nn.Module, weights: dict[str, np.ndarray]) -> None:
    module.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})


def _identity(labels: Labels) -> str:
    """Return the SHA-256 of what a run takes from its labels."""
    split, speaker = labels.metadata["split"], labels.metadata["speaker"]
    rows = [labels.names, labels.sha256, split, speaker]
    digest = hashlib.sha256(json.dumps(rows).encode())
    for table in (labels.starts, labels.ends, labels.scores):
        digest.update(np.ascontiguousarray(table).tobytes())
    return digest.hexdigest()


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration as it comes back from JSON."""
    return json.loads(json.dumps(config))
