"""An ensemble whose weights are fitted, none below 0 and all together 1."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from wav2small.errors import InputError
from wav2small.export.base.files import atomic_write
from wav2small.losses import concordance_loss
from wav2small.teachers.description import FILE


def fit_weights(
    scores: np.ndarray, truth: np.ndarray, *, steps: int = 500
) -> np.ndarray:
    """Weights of an ensemble's members that agree best with the truth.

    The sum of the concordance losses is made small by exponentiated gradients,
    which never leave the simplex,
    from the middle and from near each corner;
    the best end counts, and a corner itself if none is better.

    Args:
        scores: what each member says, shape ``(members, clips, 3)``
        truth: shape ``(clips, 3)``
        steps: of each descent

    Returns:
        weights, shape ``(members,)``, not below 0, of sum 1

    Raises:
        InputError: if the shapes do not fit

    References:
        after Diatlova et al. 2024, arXiv 2405.04485;
        Kivinen & Warmuth 1997, Information and Computation 132(1), 1-63.

    """
    if scores.ndim != 3 or scores.shape[1:] != truth.shape or not len(scores):
        raise InputError(
            f"scores must be (members, clips, 3) for truth {truth.shape}, "
            f"got {scores.shape}"
        )
    members = len(scores)
    told = torch.from_numpy(np.asarray(scores, np.float64))
    wanted = torch.from_numpy(np.asarray(truth, np.float64))

    def loss_of(weights: torch.Tensor) -> torch.Tensor:
        mean = torch.einsum("m,mcd->cd", weights, told)
        return concordance_loss(mean, wanted).sum()

    corners = torch.eye(members, dtype=torch.float64)
    middle = torch.full((members,), 1 / members, dtype=torch.float64)
    ends = list(corners)
    for start in (middle, *(0.8 * corner + 0.2 * middle for corner in corners)):
        logits = start.log()
        for _ in range(steps):
            weights = torch.softmax(logits, 0).requires_grad_()
            (slope,) = torch.autograd.grad(loss_of(weights), weights)
            logits = torch.log_softmax(logits - 0.3 * slope, 0)
        ends.append(torch.softmax(logits, 0))
    losses = [loss_of(weights).item() for weights in ends]
    best = ends[int(np.argmin(losses))].detach().numpy().copy()
    best[best < 1e-3] = 0.0
    return best / best.sum()


def write_ensemble(folder: Path, name: str, members: Mapping[str, float]) -> Path:
    """Write an ensemble that ``annotate --teacher`` takes; weights of 0 are left out.

    Args:
        folder: made if it is not there
        name: name that labels carry
        members: weight of each teacher by its path or name

    Returns:
        the file

    """
    entries = []
    for teacher, weight in members.items():
        if weight > 0:
            path = Path(teacher)
            where = os.path.relpath(path, folder) if path.exists() else teacher
            entries.append({"teacher": where, "weight": round(float(weight), 6)})
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"name": name, "members": entries}, indent=2) + "\n"
    with atomic_write(folder / FILE) as file:
        file.write(text.encode())
    return folder / FILE
