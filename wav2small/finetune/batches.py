"""Crops of clips, varied, with what is known of them, batch by batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..adv import SAMPLING_RATE
from ..augment import degrade, vary
from ..errors import InputError
from ..features import normalize
from ..training_schedule import epoch_batch
from .config import FinetuneConfig, NetworkConfig
from .labelling.prosody import prosody
from .material import Material
from .parallel import Group
from .parts.knowers import Taught, learn


class Batches:
    """The signals that the network gets in each step, and their scores by people.

    Each process prepares the signals of its own share of a batch.
    The configuration is completed by what the material says of the network.
    """

    def __init__(
        self, material: Material, config: FinetuneConfig, group: Group
    ) -> None:
        network = _complete_network(config.network, material)
        self.config = config = replace(config, network=network)
        self.material, self.group = material, group
        self.samples = round(config.crop_seconds * SAMPLING_RATE)
        self.gender = material.table.genders
        self.classes = {
            # a gender of 0 is unknown
            "gender": self.gender - 1,
            "category": (categories := material.table.categories(network.categories)),
            "alike": categories,
        }
        self.known = _known(network, material, config.seed)

    def crop(self, item: int, rng: np.random.Generator) -> np.ndarray:
        """Vary a crop of a clip."""
        config = self.config.augment
        clips, noises = self.material.clips, self.material.noises
        signal = vary(clips, item, self.samples, rng, config)
        return degrade(signal, rng, config, noises)

    def make(self, step: int) -> dict[str, Tensor]:
        """Return the batch of a step.

        ``signal``, ``gender`` and ``text`` are of this process's share,
        ``truth`` and the classes of the tasks of the whole batch.
        """
        config, material = self.config, self.material
        items = epoch_batch(material.learned, config.batch_size, config.seed, step)
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
            "truth": torch.from_numpy(material.table.truth[items]),
        }
        for task in config.network.tasks:
            batch[f"{task} class"] = torch.from_numpy(self.classes[task][items])
        for name, known in self.known.items():
            batch[f"{name} scores"] = torch.from_numpy(known.scores[items])
            batch[f"{name} embedding"] = torch.from_numpy(known.embedding[items])
        if material.text is not None and config.network.text_width:
            text = np.where(np.array(hidden)[:, None], np.nan, material.text[own])
            batch["text"] = torch.from_numpy(text.astype(np.float32))
        return batch


def _known(network: NetworkConfig, material: Material, seed: int) -> dict[str, Taught]:
    """Let those who teach learn, each from its own evidence."""
    evidence: dict[str, np.ndarray] = {}
    if "prosody" in network.taught_by:
        clips = material.clips
        evidence["prosody"] = np.stack([prosody(clips[n]) for n in range(len(clips))])
    if "text" in network.taught_by and material.text is not None:
        evidence["text"] = material.text
    truth, rows = material.table.truth, material.learned
    return {
        name: learn(seen, truth, rows, seed=seed) for name, seen in evidence.items()
    }


def _complete_network(config: NetworkConfig, material: Material) -> NetworkConfig:
    """Fill in what the material says of the parts: width of text, categories."""
    if "text" in config.taught_by:
        # what knows the text teaches what does not
        if material.text is None:
            raise InputError(
                "text must be given to be taught by it, got none: pass --text-encoder"
            )
    elif material.text is not None:
        config = replace(config, text_width=material.text.shape[1])
    elif config.text_width:
        raise InputError(
            f"text must be given, got none for {config.text_width} columns: "
            "pass embeddings or an encoder"
        )
    if {"category", "alike"} & set(config.tasks) and not config.categories:
        emotions = material.table.labels.metadata["emotion"]
        names = {emotions[item] or "" for item in material.learned} - {""}
        config = replace(config, categories=tuple(sorted(names)))
    return config
