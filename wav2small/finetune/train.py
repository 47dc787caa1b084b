"""Fine-tuning: a network learns what people say of speech."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from wav2small.export.base.files import remove_folder
from wav2small.export.base.progress import Progress

from .. import __version__, checkpoint
from ..adv import DIMENSIONS, SAMPLING_RATE
from ..teachers import licence as licences
from ..training import BEST, joined, train
from ..training_schedule import TrainingSchedule
from .backbones import Origin, load_backbone
from .batches import Batches
from .config import FinetuneConfig
from .material import Text, read_material
from .parallel import Group
from .parts.text import SentenceEncoder, WordHashes
from .recipe import FinetuneRecipe
from .table import Ratings
from .warm_up.backbone import warm_backbone


def finetune(
    table: Ratings,
    run: Path,
    config: FinetuneConfig,
    *,
    text: Text | None = None,
    noise: Path | None = None,
    name: str | None = None,
    licence: str | None = None,
    training_data: str | None = None,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a teacher on what people say of speech.

    A run directory holds the checkpoints ``best``, which is the teacher, and ``last``.
    A killed run that is resumed ends with the weights of an unbroken one.
    Several processes of ``torchrun`` train as one.

    Args:
        table: clips and what people say of them;
            rows without a truth are heard in the warm-up alone,
            those whose split is ``test`` not at all
        run: directory of the run
        config: what to do
        text: embeddings of what is said, or what makes them
        noise: folder, file or manifest of noise recordings
        name: name that labels carry; that of the run if None
        licence: SPDX identifier of the weights', that of the backbone if None
        training_data: what it was trained on, with licences
        device: torch device
        resume: go on with the run that is there
        overwrite: delete the run that is there
        progress: called with stage, steps done, steps in all and figures

    Returns:
        configuration of the best checkpoint, with its metrics

    Raises:
        InputError: if table, run or configuration do not fit

    """
    again = {"resume": resume, "overwrite": overwrite}
    with joined(run, device, parts=("warm",), **again) as group:
        _forget_warm_up(run, group, resume=resume)
        group.share(config.batch_size)
        progress = None if group.rank else progress
        material = read_material(
            table, run / "clips", config, text, noise, group, progress
        )
        batches = Batches(material, config, group)
        about = name or run.resolve().name, licence, training_data
        recipe = _recipe(batches, run, about, device, progress)
        described = _describe(recipe, text)
        _train(run, recipe, described, device, resume=resume, progress=progress)
        group.wait()
        group.leave()
        return checkpoint.load(run / BEST)[1] | {"unreadable": material.unreadable}


def _forget_warm_up(run: Path, group: Group, *, resume: bool) -> None:
    """Remove the warm-up of another run; the others wait before they look for one."""
    if group.rank == 0 and not resume:
        remove_folder(run / "warm")


def _recipe(
    batches: Batches,
    run: Path,
    about: tuple[str, str | None, str | None],
    device: str,
    progress: Progress | None,
) -> FinetuneRecipe:
    """Load the backbone, warm it up, and put the parts on it."""
    config = batches.config
    torch.manual_seed(config.seed)
    backbone, origin = load_backbone(config.backbone)
    backbone = warm_backbone(backbone, origin, batches, run / "warm", device, progress)
    name, licence, training_data = about
    info = _info(name, origin, licence, training_data)
    return FinetuneRecipe(batches, backbone, origin, info, device)


def _train(
    run: Path,
    recipe: FinetuneRecipe,
    described: dict[str, Any],
    device: str,
    *,
    resume: bool,
    progress: Progress | None,
) -> None:
    """Train, and remove the decoded clips at the end."""
    config, group = recipe.batches.config, recipe.batches.group
    train(
        run,
        recipe,
        TrainingSchedule(
            steps=config.steps,
            rise=config.rise,
            average=config.average,
            evaluations=config.evaluations,
            patience=config.patience,
        ),
        described,
        same={"finetune": "options", "labels": "labels"},
        weight_decay=config.weight_decay,
        bfloat16=config.bfloat16,
        device=device,
        group=group,
        resume=resume,
        progress=progress,
    )
    if group.rank == 0:
        remove_folder(run / "clips")


def _describe(recipe: FinetuneRecipe, text: Text | None) -> dict[str, Any]:
    """Return what the checkpoints say of a run before it is trained."""
    batches = recipe.batches
    described = {
        "dimensions": DIMENSIONS,
        "sampling_rate": SAMPLING_RATE,
        "finetune": asdict(batches.config),
        "parameters": sum(p.numel() for p in recipe.module.parameters()),
        "trainable": recipe.trainable,
        "labels": batches.material.describe(),
        "versions": {"wav2small": __version__, "torch": torch.__version__},
    }
    if isinstance(text, SentenceEncoder | WordHashes):
        # annotation has to embed texts with the same encoder
        described["text_encoder"] = {"name": text.name, "sha256": text.sha256}
    return described


def _info(
    name: str, origin: Origin, licence: str | None, training_data: str | None
) -> dict[str, str]:
    """Return what the teacher says of itself."""
    stated = licences.canonical(licence or origin.licence)
    # the licence of new weights does not lift that of the backbone
    known = origin.licence not in ("", licences.UNKNOWN)
    data = [origin.training_data, training_data or ""]
    return {
        "name": name,
        "licence": stated,
        "training_data": "; ".join(part for part in data if part) or "unknown",
        "backbone": origin.name,
        "backbone_licence": origin.licence,
        "use": licences.use(origin.licence) if known else licences.ANY,
    }
