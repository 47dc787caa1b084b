"""The published 17K weights of Wav2Small, as a teacher.

They lie on the hub as ``audeering/wav2small`` and ``dkounadis/wav2small``
under CC-BY-NC-SA-4.0, so they are for research.
The student ``wav2small-17k`` is this network, its parts have these names.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from wav2small.export.base.files import sha256

from ..adv import DIMENSIONS
from ..errors import InputError
from ..students import student
from .base import TeacherInfo, check_lengths
from .description import FILE, Description
from .licence import canonical, check
from .source import CheckpointFiles
from .weights import find_weights, read_weights

MARK = "vgg7.l1.conv.weight"
"""A name that only these weights have."""


class PublishedTeacher:
    """Wav2Small of 15,888 parameters.

    Scores are those of each signal alone, whatever the batch; they are not clipped.

    Args:
        network: with the published weights
        info: provenance

    """

    def __init__(self, network: torch.nn.Module, info: TeacherInfo) -> None:
        self.network, self.info = network.eval(), info

    @classmethod
    def load(cls, source: CheckpointFiles, *, policy: str) -> PublishedTeacher | None:
        """Load a state dict of the published names and shapes.

        Args:
            source: its files; ``README.md`` or ``teacher.json`` states the licence
            policy: see :data:`wav2small.teachers.licence.Policy`

        Returns:
            None if the files are of another network

        Raises:
            InputError: if a tensor is missing, unexpected or of another shape,
                or the licence is not within the policy

        """
        description, card = Description.read(source.folder / FILE), source.card()
        name = description.name or source.name
        licence = canonical(description.licence or card["licence"])
        if source.commit:
            if not source.name.lower().endswith("/wav2small"):
                return None
            # checked before the weights are fetched
            check(name, licence, policy, str(description.path))
        files = find_weights(source)
        weights = read_weights(files)
        if MARK not in weights:
            return None
        check(name, licence, policy, str(description.path))
        network = student("wav2small-17k").build()
        _load(network, weights, str(files[0]))
        info = TeacherInfo(
            name=name,
            revision=sha256(files[-1])[:16],
            licence=licence,
            training_data=description.training_data or card["training_data"],
        )
        return cls(network, info)

    def to(self, device: str) -> PublishedTeacher:
        """Move the network to a device."""
        self.network.to(device)
        return self

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals, see :class:`wav2small.teachers.base.Teacher`."""
        check_lengths(signals, self.network.min_samples)  # type: ignore[arg-type]
        device = next(self.network.parameters()).device
        scores = np.empty((len(signals), len(DIMENSIONS)), np.float32)
        with torch.inference_mode():
            for row, signal in enumerate(signals):
                batch = torch.from_numpy(np.asarray(signal, np.float32))[None]
                scores[row] = self.network(batch.to(device))[0].float().cpu().numpy()
        return scores


def _load(network: torch.nn.Module, given: dict[str, Tensor], where: str) -> None:
    """Put each tensor into its place, in the shape that it has there.

    Raises:
        InputError: if one is missing, unexpected or of another shape

    """
    wanted = network.state_dict()
    # the counter of batch normalisation is of no use once it is trained
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    differing = sorted((wanted.keys() - optional) ^ (given.keys() - optional)) + sorted(
        f"{name} {tuple(given[name].shape)} for {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    )
    if differing:
        raise InputError(
            f"weights must have the names and shapes of Wav2Small 17K, got others: "
            f"{', '.join(differing[:6])}: {where}: it is another model, or not whole"
        )
    network.load_state_dict(
        {
            name: given[name].to(value.dtype) if name in given else value
            for name, value in wanted.items()
        }
    )
    network.requires_grad_(False)
