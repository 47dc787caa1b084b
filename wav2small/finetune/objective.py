"""What a fine-tuning makes small: named parts, each with its weight on it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..adv import DIMENSIONS
from ..losses import concordance_loss


def score_parts(scores: Tensor, truth: Tensor, l1_weight: float) -> dict[str, Tensor]:
    """Concordance loss of each dimension, and the mean absolute error.

    Shape:
        scores: ``(batch, 3)``
        truth: ``(batch, 3)``

    """
    losses = concordance_loss(scores, truth)
    names = [f"ccc_{name}" for name in DIMENSIONS]
    parts = dict(zip(names, losses, strict=True))
    parts["l1"] = l1_weight * (scores - truth).abs().mean()
    return parts


def task_part(logits: Tensor, classes: Tensor, weight: float) -> Tensor:
    """Cross entropy over the rows whose class is known (not negative)."""
    if not bool((classes >= 0).any()):
        return 0.0 * logits.sum()
    return weight * nn.functional.cross_entropy(logits, classes, ignore_index=-1)


def alike_part(
    embedding: Tensor, classes: Tensor, weight: float, temperature: float = 0.1
) -> Tensor:
    """Contrast of each row with those of its class and with all others.

    Minus the mean log share that rows of the same class have
    in the likeness of a row to all others; rows without a class,
    and classes of one row, are left out.

    Shape:
        embedding: ``(batch, width)``, of any length
        classes: ``(batch,)``, negative where unknown

    References:
        Khosla et al. 2020, "Supervised Contrastive Learning", arXiv 2004.11362.

    """
    known = classes >= 0
    unit = nn.functional.normalize(embedding[known], dim=1)
    same = classes[known][:, None] == classes[known]
    own = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    likeness = (unit @ unit.T / temperature).masked_fill(own, -torch.inf)
    share = likeness - likeness.logsumexp(1, keepdim=True)
    partners = same & ~own
    rows = partners.any(1)
    if not bool(rows.any()):
        return 0.0 * embedding.sum()
    mean = share.masked_fill(~partners, 0.0).sum(1)[rows] / partners.sum(1)[rows]
    return -weight * mean.mean()


def exit_parts(
    outputs: Mapping[str, Tensor], truth: Tensor, l1_weight: float
) -> dict[str, Tensor]:
    """Three terms that early exits add to that of the last layer.

    The task at each exit, its distance from the deepest scores,
    and that of its feature from the deepest feature;
    the deepest ones learn nothing from their followers.
    Each term is the mean over the exits.

    References:
        after Ren et al. 2022, arXiv 2210.14636,
        with the squared distance of scores in place of a divergence of classes.

    """
    scores = outputs["exit_scores"]
    tasks = [
        torch.stack(list(score_parts(early, truth, l1_weight).values())).sum()
        for early in scores.unbind(1)
    ]
    deep = outputs["scores"].detach()[:, None]
    feature = outputs["feature"].detach()[:, None]
    return {
        "exit_task": torch.stack(tasks).mean(),
        "exit_scores": (scores - deep).square().mean(),
        "exit_feature": (outputs["exit_features"] - feature).square().mean(),
    }
