"""Teachers of one kind of evidence each: how it is said, and what is said.

A network that hears audio alone learns from both of them, by their scores at a
temperature and by what they see in a clip.

References:
    after Shome & Etemad 2023, "Speech emotion recognition with distilled prosodic and
    linguistic affect representations" (EmoDistill).

"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...adv import DIMENSIONS, NEUTRAL
from ..objective import score_parts

EMBEDDING = 64
"""Width of what such a teacher sees in a clip."""

LOGIT_SCALE = 8.0
"""Logit by which a score of 1 lies above one of 0."""


class Knower(nn.Module):
    """Scores by evidence that is no audio.

    Shape:
        evidence: ``(batch, width)``, standardised
        output: scores ``(batch, 3)``, embedding ``(batch, EMBEDDING)``

    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, EMBEDDING)
        self.scores = nn.Linear(EMBEDDING, len(DIMENSIONS))

    def forward(self, evidence: Tensor) -> tuple[Tensor, Tensor]:
        """Score evidence, and tell what was seen in it."""
        embedding = torch.tanh(self.dense(evidence))
        return self.scores(embedding) + NEUTRAL, embedding


@dataclass(frozen=True)
class Taught:
    """What a teacher of one kind of evidence says of each row of a table."""

    scores: np.ndarray
    """``(rows, 3)``, float32."""

    embedding: np.ndarray
    """``(rows, EMBEDDING)``, float32."""


def learn(
    evidence: np.ndarray,
    truth: np.ndarray,
    rows: np.ndarray,
    *,
    seed: int,
    steps: int = 300,
    batch_size: int = 64,
) -> Taught:
    """Train a teacher of one kind of evidence, and ask it about all rows.

    Args:
        evidence: of each row, ``(rows, width)``; NaN where there is none
        truth: ``(rows, 3)``, known where it is trained
        rows: numbers of the rows that it is trained on
        seed: of its weights and batches
        steps: of training
        batch_size: rows per step

    """
    usual, spread = np.nanmean(evidence[rows], 0), np.nanstd(evidence[rows], 0)
    standard = np.nan_to_num((evidence - usual) / np.maximum(spread, 1e-2))
    given = torch.from_numpy(standard.clip(-5, 5).astype(np.float32))
    wanted = torch.from_numpy(truth.astype(np.float32))
    rng = np.random.default_rng([seed, 2**42])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        knower = Knower(evidence.shape[1])
    optimizer = torch.optim.AdamW(knower.parameters(), lr=3e-3, weight_decay=0.1)
    for _ in range(steps):
        items = torch.from_numpy(rng.choice(rows, min(batch_size, len(rows)), False))
        scores, _ = knower(given[items])
        optimizer.zero_grad()
        torch.stack(
            list(score_parts(scores, wanted[items], 0.5).values())
        ).sum().backward()
        optimizer.step()
    with torch.inference_mode():
        scores, embedding = knower(given)
    return Taught(scores.numpy(), embedding.numpy())


def divergence(scores: Tensor, known: Tensor, temperature: float) -> Tensor:
    """How far scores are from a teacher's, at a temperature.

    A score is the odds of high against low.
    The Kullback-Leibler divergence of the softened odds, times the squared temperature,
    mean over rows and dimensions; at a high temperature it is a squared distance.

    Shape:
        scores: ``(batch, 3)``
        known: same

    References:
        Hinton et al. 2015, "Distilling the Knowledge in a Neural Network",
        arXiv 1503.02531.

    """
    ours, theirs = (
        (part - NEUTRAL) * LOGIT_SCALE / temperature for part in (scores, known)
    )
    p = torch.sigmoid(theirs)
    log = nn.functional.logsigmoid
    high = p * (log(theirs) - log(ours))
    low = (1 - p) * (log(-theirs) - log(-ours))
    return temperature**2 * (high + low).mean()


def taught_parts(
    outputs: Mapping[str, Tensor],
    batch: Mapping[str, Tensor],
    names: tuple[str, ...],
    temperature: float,
    weights: tuple[float, float],
) -> dict[str, Tensor]:
    """Two terms that teachers of one kind of evidence add, means over the teachers.

    Args:
        outputs: ``scores`` and, by teacher, ``toward NAME`` ``(batch, EMBEDDING)``
        batch: by teacher ``NAME scores`` and ``NAME embedding``
        names: of the teachers
        temperature: of :func:`divergence`
        weights: of the scores' term and of the embeddings'

    """
    scores = [
        divergence(outputs["scores"], batch[f"{name} scores"], temperature)
        for name in names
    ]
    seen = [
        1
        - nn.functional.cosine_similarity(
            outputs[f"toward {name}"], batch[f"{name} embedding"], dim=1
        ).mean()
        for name in names
    ]
    return {
        "taught_scores": weights[0] * torch.stack(scores).mean(),
        "taught_embedding": weights[1] * torch.stack(seen).mean(),
    }
