"""Fine-tuning: a network learns what people say of speech."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from wav2small.export.base.files import claim, remove_folder
from wav2small.export.base.progress import Progress

from .. import __version__, checkpoint
from ..adv import DIMENSIONS, SAMPLING_RATE
from ..data import Clips, degrade, identity, read_noises, vary
from ..distillation import split_dev
from ..errors import InputError
from ..features import normalize
from ..losses import check_finite
from ..teachers import licence as licences
from ..training import (
    BEST,
    Batch,
    Recipe,
    Schedule,
    begin,
    concordance_row,
    epoch_batch,
    train,
)
from .backbones import (
    Backbone,
    Origin,
    first_layers,
    load_backbone,
    save_backbone,
    uniform_layers,
)
from .config import FinetuneConfig, NetworkConfig
from .network import FinetuneNetwork
from .objective import exit_parts, score_parts, task_part
from .parallel import Group
from .parts.adapters import add_lora
from .parts.text import SentenceEncoder
from .table import Table
from .teacher import save_teacher, score
from .warm_up.contrast import learn_views
from .warm_up.taught import teach_layers

Text = np.ndarray | Callable[[list[str]], np.ndarray]
"""Embeddings ``(rows, width)``, NaN in rows without a text;
or what makes them of texts, an empty text being none."""


class Batches:
    """What the network hears in each step, and what people say of it.

    Each process prepares the signals of its own share.
    """

    def __init__(
        self,
        clips: Clips,
        table: Table,
        items: np.ndarray,
        text: np.ndarray | None,
        noises: list[np.ndarray],
        config: FinetuneConfig,
        group: Group,
    ) -> None:
        self.clips, self.table, self.items = clips, table, items
        self.noises, self.config, self.group = noises, config, group
        self.samples = round(config.crop_seconds * SAMPLING_RATE)
        self.gender = table.genders
        self.text = text
        self.classes = {
            # a gender of 0 is unknown
            "gender": self.gender - 1,
            "category": table.categories(config.network.categories),
        }

    def crop(self, item: int, rng: np.random.Generator) -> np.ndarray:
        """Vary a crop of a clip."""
        config = self.config.augment
        heard = vary(self.clips, item, self.samples, rng, config)
        return degrade(heard, rng, config, self.noises)

    def prepare(self, step: int) -> dict[str, Tensor]:
        """Return the batch of a step.

        ``signal``, ``gender`` and ``text`` are of this process's share,
        ``truth`` and the classes of the tasks of the whole batch.
        """
        config = self.config
        items = epoch_batch(self.items, config.batch_size, config.seed, step)
        share = self.group.share(len(items))
        signals, hidden = [], []
        for place in range(share.start, share.stop):
            rng = np.random.default_rng([config.seed, step, place])
            hidden.append(rng.random() < config.conditions_dropped)
            signals.append(self.crop(int(items[place]), rng))
        own = items[share]
        batch = {
            "signal": normalize(torch.from_numpy(np.stack(signals))),
            "gender": torch.from_numpy(np.where(hidden, 0, self.gender[own])),
            "truth": torch.from_numpy(self.table.truth[items]),
        }
        for task in config.network.tasks:
            batch[f"{task} class"] = torch.from_numpy(self.classes[task][items])
        if self.text is not None:
            text = np.where(np.array(hidden)[:, None], np.nan, self.text[own])
            batch["text"] = torch.from_numpy(text.astype(np.float32))
        return batch


def parameter_groups(
    network: FinetuneNetwork, config: FinetuneConfig, pretrained: bool
) -> list[dict[str, Any]]:
    """Share out what is trained among rates, and freeze what is not.

    Args:
        network: its parameters are frozen or not
        config: rates, and what stays as it is
        pretrained: whether the backbone has weights to keep near

    Returns:
        names, parameters and peak rate of each group

    """
    backbone = network.backbone
    depth = backbone.depth
    level: dict[int, int] = {}
    for number, layer in enumerate(backbone.layers, 1):
        level.update((id(parameter), number) for parameter in layer.parameters())
    fixed = set()
    if backbone.convolutions is not None and config.freeze_convolutions:
        fixed = {id(parameter) for parameter in backbone.convolutions.parameters()}
        # those of transformers would else be followed back without need
        freeze = getattr(backbone.convolutions, "_freeze_parameters", None)
        if freeze:
            freeze()
    groups: dict[float, dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        new = not name.startswith("backbone.") or (
            name.startswith("backbone.adapters.") or "lora_" in name
        )
        if not new and (config.freezes or id(parameter) in fixed):
            parameter.requires_grad_(False)
        if not parameter.requires_grad:
            continue
        rate = config.learning_rate
        if not new and pretrained:
            behind = depth - level.get(id(parameter), depth if _last(name) else 0)
            rate = config.backbone_learning_rate * config.layer_decay**behind
        group = groups.setdefault(rate, {"names": [], "params": [], "peak": rate})
        group["names"].append(name)
        group["params"].append(parameter)
    return list(groups.values())


def _last(name: str) -> bool:
    """Tell whether a parameter that is of no layer comes behind the last one."""
    return name.endswith(
        ("encoder.layer_norm.weight", "encoder.layer_norm.bias")
    ) or name.startswith("backbone.norm.")


def finetune(
    table: Table,
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
        licence: SPDX identifier of the weights' licence;
            that of the backbone if None
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
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("device must be cpu, got cuda: no CUDA device is here")
    group = Group.join(device)
    if group.rank:
        progress = None
    # of several processes one writes
    with claim(run, "clips") if group.rank == 0 else nullcontext():
        if group.rank == 0:
            begin(run, resume=resume, overwrite=overwrite, parts=("warm",))
            if not resume:
                remove_folder(run / "warm")
        group.wait()
        group.share(config.batch_size)
        clips, unreadable = _decode(table, run, group, progress)
        readable = np.ones(len(clips), bool)
        readable[sorted(unreadable)] = False
        learnt, dev, heard = _rows(table, readable, config)
        encoder, text = text, _embed(text, table)
        config = replace(config, network=_settled(config.network, table, learnt, text))
        noises = read_noises(noise)
        batches = Batches(clips, table, learnt, text, noises, config, group)
        torch.manual_seed(config.seed)
        backbone, origin = load_backbone(config.backbone)
        backbone = _warm_up(
            backbone, origin, config, batches, heard, run, group, device, progress
        )
        info = _info(name or run.resolve().name, origin, licence, training_data)
        recipe = _Finetuning(batches, dev, backbone, origin, info, device)
        described = {
            "dimensions": DIMENSIONS,
            "sampling_rate": SAMPLING_RATE,
            "finetune": asdict(config),
            "parameters": sum(p.numel() for p in recipe.module.parameters()),
            "trainable": recipe.trainable,
            "labels": {
                "train": len(learnt),
                "dev": len(dev),
                "truth": table.origin,
                "sha256": _identity(table, text),
                "noise": identity(noises),
            },
            "versions": {"wav2small": __version__, "torch": torch.__version__},
        }
        if isinstance(encoder, SentenceEncoder):
            # whoever annotates hears texts through it
            described["text_encoder"] = {
                "name": encoder.name,
                "sha256": encoder.sha256,
            }
        train(
            run,
            recipe,
            Schedule(
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
        group.wait()
        group.leave()
        return checkpoint.load(run / BEST)[1] | {"unreadable": len(unreadable)}


def _decode(
    table: Table, run: Path, group: Group, progress: Progress | None
) -> tuple[Clips, set[int]]:
    """Decode the rows' audio; the numbers of those that cannot be read beside it."""
    labels = table.labels
    sources = [
        (table.root / file, float(start), None if math.isinf(end) else float(end))
        for file, start, end in zip(
            labels.names, labels.starts, labels.ends, strict=True
        )
    ]

    def decode() -> tuple[Clips, list[tuple[int, str]]]:
        return Clips.decode(
            sources,
            run / "clips",
            progress=progress,
        )

    # one process decodes, and the others find it done
    if group.rank == 0:
        clips, errors = decode()
    group.wait()
    if group.rank:
        clips, errors = decode()
    if len(errors) == len(clips):
        raise InputError(
            f"audio of the labels cannot be read below {table.root}: {errors[0][1]}: "
            "pass --audio-root"
        )
    clips.check_same(labels.names, labels.sha256)
    return clips, {item for item, _ in errors}


def _rows(
    table: Table, readable: np.ndarray, config: FinetuneConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of training and development, and those that may be heard."""
    split = table.labels.metadata["split"]
    rated = table.rated & readable
    # rows without a truth are in neither part
    told = [part if known else "test" for part, known in zip(split, rated, strict=True)]
    learnt, dev = split_dev(
        table.with_split([part or "" for part in told]).labels,
        config.dev_share,
        config.seed,
    )
    test = np.array([part == "test" for part in split])
    heard = np.setdiff1d(np.flatnonzero(readable & ~test), dev)
    return learnt, dev, heard


def _settled(
    config: NetworkConfig, table: Table, learnt: np.ndarray, text: np.ndarray | None
) -> NetworkConfig:
    """Fill in what the table says of the parts: width of text, categories."""
    if text is not None:
        config = replace(config, text_width=text.shape[1])
    elif config.text_width:
        raise InputError(
            f"text must be given, got none for {config.text_width} columns: "
            "pass embeddings or an encoder"
        )
    if "category" in config.tasks and not config.categories:
        names = {table.labels.metadata["emotion"][item] or "" for item in learnt} - {""}
        config = replace(config, categories=tuple(sorted(names)))
    return config


class _Finetuning(Recipe):
    """A network that shall say what people say."""

    def __init__(
        self,
        batches: Batches,
        dev: np.ndarray,
        backbone: Backbone,
        origin: Origin,
        info: dict[str, str],
        device: str,
    ) -> None:
        config = batches.config
        self.batches, self.dev, self.info = batches, dev, info
        self.curve: list[float] = []
        self.begun = time.monotonic()
        backbone.masked = config.masked
        if config.lora:
            add_lora(backbone, config.lora)
        self.network = FinetuneNetwork(config.network, backbone).to(device)
        self.groups = parameter_groups(
            self.network, config, pretrained=bool(origin.licence)
        )
        self.network.train()
        if config.freezes:
            self.network.backbone.eval()
        self.module = self.network

    @property
    def trainable(self) -> int:
        """Number of parameters that are trained."""
        return sum(p.numel() for part in self.groups for p in part["params"])

    def prepare(self, step: int) -> Batch:
        return self.batches.prepare(step)

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        seed, rank = self.batches.config.seed, self.batches.group.rank
        # dropout and masks of each step and process: a resumed run needs no state
        torch.manual_seed((seed * 2**31 + step) * 64 + rank)
        return self.network(
            batch["signal"], gender=batch["gender"], text=batch.get("text")
        )

    def losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        config = self.batches.config
        outputs = self.batches.group.gather(
            {key: value.float() for key, value in outputs.items()}
        )
        parts = score_parts(outputs["scores"], batch["truth"], config.l1_weight)
        for task in config.network.tasks:
            parts[task] = task_part(
                outputs[task], batch[f"{task} class"], config.task_weight
            )
        if config.network.exits:
            parts |= exit_parts(outputs, batch["truth"], config.l1_weight)
        return parts

    def evaluate(self, average: nn.Module, step: int) -> dict[str, float]:
        told = _evaluate(cast(FinetuneNetwork, average), self.batches, self.dev)
        check_finite(float(told.sum()), step)
        return concordance_row(self.batches.table.truth[self.dev], told)

    def save(self, folder: Path, average: nn.Module, described: dict[str, Any]) -> None:
        described["seconds"] = round(time.monotonic() - self.begun, 1)
        save_teacher(folder, cast(FinetuneNetwork, average), self.info, described)

    def stepped(
        self, step: int, share: float, loss: float, figures: Mapping[str, float]
    ) -> None:
        self.curve.append(round(loss, 6))

    def describe(self) -> dict[str, Any]:
        return {"curve": self.curve}

    def restore(self, state: Mapping[str, np.ndarray], saved: dict[str, Any]) -> None:
        self.curve = saved["curve"]


def _evaluate(
    network: FinetuneNetwork, batches: Batches, items: np.ndarray
) -> np.ndarray:
    """Return scores of whole clips, shared out among the processes."""
    own = np.array(batches.group.mine(items.tolist()), np.int64)
    rows: dict[int, object] = {}
    if len(own):
        scores = score(
            network,
            [batches.clips[int(item)] for item in own],
            gender=batches.gender[own],
            text=None if batches.text is None else batches.text[own],
        )
        rows = dict(zip(own.tolist(), scores, strict=True))
    found = batches.group.collect(rows)
    return np.stack([np.asarray(found[int(item)]) for item in items])


def _warm_up(
    backbone: Backbone,
    origin: Origin,
    config: FinetuneConfig,
    batches: Batches,
    items: np.ndarray,
    run: Path,
    group: Group,
    device: str,
    progress: Progress | None,
) -> Backbone:
    """Keep some layers and warm them up, or take what an earlier run made."""
    whole = copy.deepcopy(backbone) if config.warm_up == "taught" else backbone
    numbers: list[int] | None = None
    if config.layers is not None:
        choose = uniform_layers if config.choose == "uniform" else first_layers
        numbers = choose(backbone.depth, config.layers)
        backbone.keep(numbers)
    if config.warm_up == "none":
        return backbone
    if group.rank == 0 and not (run / "warm").exists():

        def draw(step: int) -> np.ndarray:
            rng = np.random.default_rng([config.seed, 2**40 + step])
            chosen = rng.choice(items, config.batch_size)
            return np.stack([batches.crop(int(item), rng) for item in chosen])

        backbone.to(device)
        if numbers is not None and config.warm_up == "taught":
            teach_layers(
                whole.to(device),
                backbone,
                numbers,
                draw,
                steps=config.warm_up_steps,
                seed=config.seed,
                progress=progress,
            )
        else:
            learn_views(
                backbone,
                draw,
                steps=config.warm_up_steps,
                seed=config.seed,
                progress=progress,
            )
        save_backbone(run / "warm", backbone.cpu(), origin)
    group.wait()
    warm, _ = load_backbone(str(run / "warm"))
    # what came before has used random numbers, or has not
    torch.manual_seed(config.seed)
    return warm


def _embed(text: Text | None, table: Table) -> np.ndarray | None:
    """Return the embeddings of a table's rows, NaN where there is no text."""
    if text is None:
        return None
    count = len(table.truth)
    if callable(text):
        written = [said or "" for said in table.labels.metadata["text"]]
        embedded = np.array(text(written), np.float32)
        if embedded.ndim == 2 and len(embedded) == count:
            embedded[[not said for said in written]] = np.nan
    else:
        embedded = np.asarray(text, np.float32)
    if embedded.ndim != 2 or len(embedded) != count:
        raise InputError(
            f"text must be embeddings ({count} rows, width), got shape {embedded.shape}"
        )
    return embedded


def _info(
    name: str, origin: Origin, licence: str | None, training_data: str | None
) -> dict[str, str]:
    """Return what the teacher says of itself."""
    stated = licences.canonical(licence or origin.licence)
    # a licence that one gives one's own weights does not free those of others
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


def _identity(table: Table, text: np.ndarray | None) -> str:
    """Return the SHA-256 of what a run takes from its table."""
    labels = table.labels
    said = ("split", "speaker", "gender", "emotion")
    columns = [labels.names, *(labels.metadata[name] for name in said)]
    digest = hashlib.sha256(json.dumps(columns).encode())
    for part in (labels.starts, labels.ends, table.truth, text):
        if part is not None:
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
