"""One training loop: schedule, average, batches ahead, checkpoints, resume.

A :class:`Recipe` states what is trained, on what data and with which losses.
A step depends only on its number and on what a checkpoint holds.
So a run that is killed and resumed ends with the weights of an unbroken one.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from wav2small.export.base.files import claim, recover_folder, remove_folder
from wav2small.export.base.progress import Progress

from . import checkpoint
from .errors import InputError
from .finetune.parallel import Group
from .losses import check_finite
from .training_schedule import TrainingSchedule, move_average, quality
from .weights import load_weights, to_arrays

Batch = dict[str, Tensor]
"""Tensors that a step needs, by name."""

LAST, BEST = "last", "best"
"""Checkpoints of a run: the one to resume from, and its result."""


class Recipe:
    """What is trained, on what data and with which losses."""

    module: nn.Module
    """What is trained."""

    groups: list[dict[str, Any]]
    """Of its parameters: ``names``, ``params`` and ``peak`` rate of each group."""

    weights: Mapping[str, float] = MappingProxyType({})
    """Weights of the losses, by name; 1 where there is none."""

    def make_batch(self, step: int) -> Batch:
        """Return the batch of a step; called in a thread of its own."""
        raise NotImplementedError

    def forward(self, batch: Batch, step: int) -> Any:
        """Return what the module makes of a batch, in the precision of the run."""
        raise NotImplementedError

    def losses(self, outputs: Any, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of what the module made, by name."""
        raise NotImplementedError

    def evaluate(self, average: nn.Module, step: int) -> dict[str, float]:
        """Return figures of the averaged weights, with their ``mean``."""
        raise NotImplementedError

    def save(self, folder: Path, average: nn.Module, described: dict[str, Any]) -> None:
        """Write the best checkpoint."""
        raise NotImplementedError

    def stepped(
        self, step: int, share: float, loss: float, figures: Mapping[str, float]
    ) -> None:
        """Called after each step, e.g. to log its figures."""

    def evaluated(self, step: int, row: Mapping[str, float]) -> None:
        """Called after each evaluation, e.g. to log its figures."""

    def describe(self) -> dict[str, Any]:
        """Return further entries of the checkpoint's configuration."""
        return {}

    def state(self) -> dict[str, np.ndarray]:
        """Return what a resumed run needs besides weights and optimiser."""
        return {}

    def restore(self, state: Mapping[str, np.ndarray], saved: dict[str, Any]) -> None:
        """Take what :meth:`state` and :meth:`describe` gave."""


def begin(
    run: Path, *, resume: bool, overwrite: bool, parts: Sequence[str] = ()
) -> None:
    """Check what is in a run's folder, and remove what will be replaced.

    Args:
        run: folder of the run, which nobody else writes to
        resume: go on with the run that is there
        overwrite: delete the run that is there
        parts: further folders that a run makes

    Raises:
        InputError: if there is a run, and neither is asked for

    """
    for name in (LAST, BEST, *parts):
        recover_folder(run / name)
    if overwrite:
        # only what a run makes, since the folder may hold files of the user;
        # LAST goes first, so that nobody resumes from what is half removed
        for name in (LAST, BEST, "clips", *parts):
            remove_folder(run / name)
    elif (run / LAST).exists() and not resume:
        raise InputError(f"run exists: {run}: pass --resume or --overwrite")


@contextmanager
def joined(
    run: Path,
    device: str,
    *,
    resume: bool,
    overwrite: bool,
    parts: Sequence[str] = (),
) -> Iterator[Group]:
    """Join the processes that train, of which the first alone writes the run.

    Args:
        run: folder of the run
        device: torch device of this process
        resume: go on with the run that is there
        overwrite: delete the run that is there
        parts: further folders that a run makes

    Raises:
        InputError: if there is no such device, or :func:`begin` refuses

    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("device must be cpu, got cuda: no CUDA device is here")
    group = Group.join(device)
    with claim(run, "clips") if group.rank == 0 else nullcontext():
        if group.rank == 0:
            begin(run, resume=resume, overwrite=overwrite, parts=parts)
        group.wait()
        yield group


def train(
    run: Path,
    recipe: Recipe,
    schedule: TrainingSchedule,
    described: dict[str, Any],
    *,
    same: Mapping[str, str],
    weight_decay: float,
    bfloat16: bool = False,
    device: str = "cpu",
    group: Group | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> None:
    """Train, and write the checkpoints ``best`` and ``last`` of a run.

    Args:
        run: folder of the run
        recipe: what is trained, on what and towards what
        schedule: how long and how fast
        described: what the checkpoints' configuration says
        same: which of it a resumed run must share, and what to call each
        weight_decay: decoupled weight decay of AdamW
        bfloat16: whether matrices are multiplied in bfloat16
        device: torch device
        group: the processes that train together
        resume: go on from ``last`` if it is there
        progress: called after each step and evaluation

    Raises:
        InputError: if the run is of something else, or the training diverges

    """
    group = group or Group()
    optimiser = _Optimiser(recipe, weight_decay, device, group, bfloat16=bfloat16)
    average = copy.deepcopy(recipe.module)
    start, history = 0, list[dict[str, float]]()
    if resume and (run / LAST).exists():
        saved = _resume(run / LAST, recipe, optimiser, average, described, same)
        history, start = saved["history"], saved["step"]
    stop = start if schedule.done(history) else schedule.steps
    for step, batch in enumerate(ahead(recipe.make_batch, start, stop), start):
        loss, figures = optimiser.step(batch, step, schedule.rate(step))
        move_average(average, recipe.module, schedule.decay(step))
        recipe.stepped(step, schedule.rate(step), loss, figures)
        if progress:
            progress("train", step + 1, schedule.steps, figures)
        if step + 1 not in schedule.marks:
            continue
        figures = recipe.evaluate(average, step)
        history.append(figures | {"step": step + 1})
        if group.rank == 0:
            so_far = {"step": step + 1, "history": history, "metrics": history[-1]}
            described |= so_far | recipe.describe()
            _save(run, recipe, optimiser, average, described)
        recipe.evaluated(step, history[-1])
        if progress:
            progress("dev", step + 1, schedule.steps, figures)
        if schedule.done(history):
            break


class _Optimiser:
    """AdamW over a recipe's parameters, each group with its own peak rate."""

    def __init__(
        self,
        recipe: Recipe,
        weight_decay: float,
        device: str,
        group: Group,
        *,
        bfloat16: bool,
    ) -> None:
        self.recipe, self.device, self.group = recipe, device, group
        self.bfloat16 = bfloat16
        self.parameters: dict[str, nn.Parameter] = {
            name: parameter
            for part in recipe.groups
            for name, parameter in zip(part["names"], part["params"], strict=True)
        }
        self.adam = torch.optim.AdamW(
            [
                {"params": part["params"], "peak": part["peak"]}
                for part in recipe.groups
            ],
            weight_decay=weight_decay,
        )

    def step(
        self, batch: Batch, step: int, share: float
    ) -> tuple[float, dict[str, float]]:
        """Change the parameters once.

        Args:
            batch: what the recipe has prepared
            step: number of the step
            share: rate relative to the peak

        Returns:
            weighted sum of the losses, and each loss by name

        """
        for rates in self.adam.param_groups:
            rates["lr"] = rates["peak"] * share
        batch = {key: value.to(self.device) for key, value in batch.items()}
        with torch.autocast(
            torch.device(self.device).type, torch.bfloat16, enabled=self.bfloat16
        ):
            outputs = self.recipe.forward(batch, step)
        losses = self.recipe.losses(outputs, batch)
        weights = self.recipe.weights
        loss = torch.stack(
            [value * weights.get(name, 1) for name, value in losses.items()]
        ).sum()
        check_finite(loss.item(), step)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.group.sum_gradients(self.parameters.values())
        nn.utils.clip_grad_norm_(self.parameters.values(), 5.0)
        self.adam.step()
        return loss.item(), {name: value.item() for name, value in losses.items()}

    def state(self) -> dict[str, np.ndarray]:
        """Return what the optimiser remembers of each parameter."""
        return {
            f"{kind}/{name}": value.cpu().numpy()
            for name, parameter in self.parameters.items()
            for kind, value in self.adam.state[parameter].items()
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take what :meth:`state` gave."""
        for name, parameter in self.parameters.items():
            if f"step/{name}" in state:
                self.adam.state[parameter] = {
                    kind: torch.from_numpy(state[f"{kind}/{name}"].copy()).to(
                        self.device if kind != "step" else "cpu"
                    )
                    for kind in ("step", "exp_avg", "exp_avg_sq")
                }


def _save(
    run: Path,
    recipe: Recipe,
    optimiser: _Optimiser,
    average: nn.Module,
    described: dict[str, Any],
) -> None:
    """Write what a resumed run needs, and the weights if they are the best so far."""
    *before, latest = map(quality, described["history"])
    if latest > max(before, default=-math.inf):
        recipe.save(run / BEST, average, described)
    state = {f"module/{k}": v for k, v in to_arrays(recipe.module).items()}
    state |= recipe.state() | optimiser.state()
    checkpoint.save(
        run / LAST, to_arrays(average), described, extra={"training": state}
    )


def _resume(
    last: Path,
    recipe: Recipe,
    optimiser: _Optimiser,
    average: nn.Module,
    described: Mapping[str, Any],
    same: Mapping[str, str],
) -> dict[str, Any]:
    """Take weights and state of a checkpoint, and return its configuration."""
    weights, saved = checkpoint.load(last)
    _check_same(saved, described, same, last)
    state, _ = checkpoint.load(last, extra="training")
    load_weights(average, weights, last)
    inner = {k[7:]: v for k, v in state.items() if k.startswith("module/")}
    load_weights(recipe.module, inner, last)
    optimiser.restore(state)
    recipe.restore(state, saved)
    return saved


Item = TypeVar("Item")


def ahead(make: Callable[[int], Item], start: int, stop: int) -> Iterator[Item]:
    """Make what each step needs in another thread, one step ahead.

    Args:
        make: returns what the step of a number needs
        start: first step
        stop: step after the last one

    """
    if start >= stop:
        return
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(make, start)
        for step in range(start, stop):
            ready = coming.result()
            if step + 1 < stop:
                coming = pool.submit(make, step + 1)
            yield ready


def _check_same(
    saved: Mapping[str, Any],
    described: Mapping[str, Any],
    same: Mapping[str, str],
    last: Path,
) -> None:
    for key, name in same.items():
        # compared in the form that JSON gives back
        wanted = json.loads(json.dumps(described[key]))
        if saved.get(key, wanted) != wanted:
            raise InputError(
                f"run must be resumed with its own {name}: {last}: "
                f"pass the same {name} or --overwrite"
            )
