"""A fine-tuned network as a teacher."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wav2small.export.base.errors import one_line

from .. import checkpoint
from ..errors import InputError
from ..teachers import licence as licences
from ..teachers.base import ClipMetadata, TeacherError, TeacherInfo, check_lengths
from ..teachers.description import FILE, Description
from ..weights import check_settings, load_weights, to_arrays
from . import FORMAT, find
from .backbones import batches, build_backbone, pad
from .network import FinetuneNetwork, network_config
from .parts.adapters import merge_lora
from .parts.exits import check_exits, predict_early
from .parts.text import SentenceEncoder, WordHashes, load_encoder
from .table import gender_number


class FinetunedTeacher:
    """A :class:`FinetuneNetwork` as a teacher.

    Args:
        network: the network
        info: provenance
        tolerance: by how much two early exits may differ to agree;
            None runs all layers
        encoder: makes vectors of texts; without it no text is used

    Raises:
        InputError: if there is a tolerance, and fewer than two exits to agree

    """

    def __init__(
        self,
        network: FinetuneNetwork,
        info: TeacherInfo,
        *,
        tolerance: float | None = None,
        encoder: Callable[[Sequence[str]], np.ndarray] | None = None,
    ) -> None:
        self.network = network.eval()
        self.uses_metadata: tuple[str, ...] = (
            ("gender",) if network.config.gender else ()
        )
        if encoder is not None and network.config.text_width:
            self.uses_metadata += ("text",)
            # texts are embedded one by one, so that none depends on the others;
            # windows of a recording share its text, so the vectors are cached
            self._vector = functools.lru_cache(4096)(lambda text: encoder([text])[0])
        self.info = info
        self.tolerance = tolerance
        if tolerance is not None:
            check_exits(network)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        policy: str = "permissive",
        tolerance: float | None = None,
    ) -> FinetunedTeacher:
        """Load a teacher that :func:`save_teacher` wrote.

        A ``teacher.json`` beside it may state name, licence, training data,
        the tolerance of early exits and the encoder of texts.

        Args:
            folder: the checkpoint, or the run that it is in
            policy: see :data:`wav2small.teachers.licence.Policy`
            tolerance: in place of what ``teacher.json`` states, if not None

        Raises:
            InputError: if it is none, its licence is not within the policy,
                or a tolerance is stated and there are not two exits to agree

        """
        place = find(folder)
        if place is None:
            raise InputError(
                f"teacher must be a folder of 'wav2small finetune', got none: {folder}"
            )
        try:
            return cls._load(place, folder / FILE, policy, tolerance)
        except InputError:
            raise
        except Exception as error:  # settings that are none fail in any way
            raise InputError(
                f"teacher must have settings it can be built from, got "
                f"{type(error).__name__}: {one_line(error)}: {place}"
            ) from error

    @classmethod
    def _load(
        cls, place: Path, file: Path, policy: str, tolerance: float | None
    ) -> FinetunedTeacher:
        weights, config = checkpoint.load(place)
        stated = Description.read(file)
        saved = config["info"]
        revision = checkpoint.digest(place)
        if tolerance is None:
            tolerance = stated.tolerance
        if tolerance is not None:
            # with another tolerance the same weights give other scores
            stem = f"{revision} {tolerance:g}"
            revision = hashlib.sha256(stem.encode()).hexdigest()
        info = TeacherInfo(
            name=stated.name or saved["name"],
            revision=revision[:16],
            licence=licences.canonical(stated.licence or saved["licence"]),
            training_data=stated.training_data or saved["training_data"],
            use=saved["use"],
        )
        licences.check(info.name, info.licence, policy, str(file), mark=saved["use"])
        check_settings(config["network"])
        network = FinetuneNetwork(
            network_config(config["network"]), build_backbone(config["backbone"])
        )
        load_weights(network, weights, place)
        network.requires_grad_(False)
        encoder = None
        known = config.get("text_encoder") or {}
        if network.config.text_width and (known or stated.text_encoder):
            encoder = _Encoder(
                stated.text_encoder or known["name"],
                known.get("sha256"),
                str(file),
            )
        return cls(network, info, tolerance=tolerance, encoder=encoder)

    def to(self, device: str) -> FinetunedTeacher:
        """Move the network to a device."""
        self.network.to(device)
        return self

    def predict(
        self,
        signals: Sequence[np.ndarray],
        *,
        gender: np.ndarray | None = None,
        text: np.ndarray | None = None,
        metadata: Sequence[ClipMetadata] | None = None,
    ) -> np.ndarray:
        """Score signals, see :class:`wav2small.teachers.base.Teacher`.

        Where gender or text are known all layers are run, since exits do not use them.

        Args:
            signals: ``(time,)`` each
            gender: number of each speaker's gender, ``(signals,)``;
                None where unknown
            text: embedding of what is said, ``(signals, width)``,
                NaN in rows without; None where unknown
            metadata: gender and text in words, in place of both

        Raises:
            InputError: if a signal is too short for a frame,
                or the encoder of texts cannot be loaded

        """
        if metadata is not None:
            gender, text = self._read(metadata)
        if self.tolerance is not None and gender is None and text is None:
            return predict_early(self.network, signals, self.tolerance).scores
        return score(self.network, signals, gender=gender, text=text)

    def _read(
        self, metadata: Sequence[ClipMetadata]
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return numbers of genders and embeddings of texts, None if none is known."""
        genders = np.array([gender_number(row.get("gender")) for row in metadata])
        sentences = [row.get("text") for row in metadata]
        texts = np.full(
            (len(metadata), self.network.config.text_width), np.nan, np.float32
        )
        if "text" in self.uses_metadata:
            for vector, words in zip(texts, sentences, strict=True):
                if words:
                    vector[:] = self._vector(words)
        return (
            genders if genders.any() else None,
            None if np.isnan(texts).all() else texts,
        )


class _Encoder:
    """An encoder of sentences that is loaded when the first one comes."""

    def __init__(self, name: str, sha256: str | None, stated_in: str) -> None:
        self._name, self._sha256, self._stated_in = name, sha256, stated_in
        self._loaded: SentenceEncoder | WordHashes | None = None

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        if self._loaded is None:
            help_ = f'name it as "text_encoder" in {self._stated_in}'
            try:
                self._loaded = load_encoder(self._name)
            except InputError as error:
                raise TeacherError(f"{error}: {help_}") from error
            if self._sha256 not in (None, self._loaded.sha256):
                raise TeacherError(
                    "text encoder must be the one that the teacher learned with, got "
                    f"another: {self._name}: {help_}"
                )
        return self._loaded(texts)


def score(
    network: FinetuneNetwork,
    signals: Sequence[np.ndarray],
    *,
    gender: np.ndarray | None = None,
    text: np.ndarray | None = None,
    output: str = "scores",
    dropout: bool = False,
) -> np.ndarray:
    """Give one of a network's outputs for signals of any length, as evaluated.

    Args:
        network: is in evaluation mode meanwhile
        signals: ``(time,)`` each
        gender: as of :meth:`FinetunedTeacher.predict`
        text: as of :meth:`FinetunedTeacher.predict`
        output: which, see :meth:`FinetuneNetwork.forward`
        dropout: whether dropout stays on

    Raises:
        InputError: if a signal is too short for a frame

    """
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    for part in network.modules():
        if isinstance(part, torch.nn.Dropout):
            part.training = dropout
    rows: dict[int, np.ndarray] = {}
    check_lengths(signals, network.backbone.min_samples)
    with torch.inference_mode():
        for items in batches(signals, alone=not network.backbone.padding):
            signal, lengths = pad([signals[item] for item in items])
            outputs = network(
                signal.to(device),
                None if lengths is None else lengths.to(device),
                gender=None
                if gender is None
                else torch.from_numpy(gender[items]).to(device),
                text=None
                if text is None
                else torch.from_numpy(text[items]).float().to(device),
            )
            found = outputs[output].float().cpu().numpy()
            rows.update(zip(items, found, strict=True))
    network.train(was_training)
    return np.stack([rows[item] for item in range(len(signals))])


def save_teacher(
    folder: Path,
    network: FinetuneNetwork,
    info: Mapping[str, str],
    extra: Mapping[str, Any],
) -> None:
    """Write a teacher; low-rank updates are added to the weights.

    Args:
        folder: checkpoint to write
        network: is left as it is
        info: name, licence, training_data and use
        extra: what else its configuration says

    """
    merged = copy.deepcopy(network)
    if any("lora_" in name for name, _ in merged.named_parameters()):
        merge_lora(merged)
    checkpoint.save(
        folder,
        to_arrays(merged),
        {
            **extra,
            "format": FORMAT,
            "network": asdict(network.config),
            "backbone": network.backbone.settings,
            "info": dict(info),
        },
    )
