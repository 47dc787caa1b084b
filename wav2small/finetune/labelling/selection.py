"""Choose what people shall label: what is diverse, then what is uncertain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from ...errors import InputError
from ..network import FinetuneNetwork
from ..teacher import score


def k_means(
    points: np.ndarray, count: int, rng: np.random.Generator, *, rounds: int = 50
) -> np.ndarray:
    """Centres of clusters, by Lloyd's rounds from spread-out starts.

    Args:
        points: shape ``(points, width)``
        count: of clusters
        rng: source of the starts
        rounds: at most; it ends where no point changes its cluster

    Returns:
        shape ``(count, width)``

    References:
        Arthur & Vassilvitskii 2007, "k-means++", SODA, 1027-1035.

    """
    centres = [points[rng.integers(len(points))]]
    nearest = ((points - centres[0]) ** 2).sum(1)
    while len(centres) < count:
        total = nearest.sum()
        share = nearest / total if total > 0 else np.full(len(points), 1 / len(points))
        centres.append(points[rng.choice(len(points), p=share)])
        nearest = np.minimum(nearest, ((points - centres[-1]) ** 2).sum(1))
    found = np.stack(centres).astype(np.float64)
    cluster = np.full(len(points), -1)
    for _ in range(rounds):
        now = _distances(points, found).argmin(1)
        if (now == cluster).all():
            break
        cluster = now
        for number in range(count):
            if (cluster == number).any():
                found[number] = points[cluster == number].mean(0)
    return found


def _distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances, ``(points, centres)``."""
    squares = (points**2).sum(1)[:, None] + (centres**2).sum(1)
    return squares - 2 * points @ centres.T


def choose(
    features: np.ndarray,
    count: int,
    rng: np.random.Generator,
    *,
    uncertainty: np.ndarray | None = None,
    pool: int = 3,
) -> np.ndarray:
    """Choose clips to label.

    Without an uncertainty: the clip nearest to each centre of k-means.
    With one: the same among the ``pool * count`` clips of the largest,
    so that near copies of one hard clip are not all chosen.

    Args:
        features: what is known of each clip, shape ``(clips, width)``
        count: how many to choose
        rng: source of the starts of k-means
        uncertainty: of each clip, shape ``(clips,)``
        pool: how many times ``count`` of uncertain clips are looked at

    Returns:
        numbers of the chosen clips, rising, each once

    Raises:
        InputError: if there are fewer clips than shall be chosen

    References:
        after Li et al. 2023, "After: Active Learning Based Fine-Tuning Framework
        for Speech Emotion Recognition", arXiv 2310.00283.

    """
    if not 1 <= count <= len(features):
        raise InputError(
            f"count must be 1 to {len(features)}, the clips there are, got {count}"
        )
    items = np.arange(len(features))
    if uncertainty is not None:
        items = np.argsort(-uncertainty, kind="stable")[: pool * count]
    points = features[items].astype(np.float64)
    points = (points - points.mean(0)) / (points.std(0) + 1e-6)
    distances = _distances(points, k_means(points, count, rng))
    chosen: list[int] = []
    # the centres nearest to a clip choose first, and no clip is chosen twice
    for centre in distances.min(0).argsort(kind="stable"):
        order = distances[:, centre].argsort(kind="stable")
        chosen.append(next(int(item) for item in order if item not in chosen))
    return np.sort(items[chosen])


def dropout_uncertainty(
    network: FinetuneNetwork, signals: Sequence[np.ndarray], *, passes: int, seed: int
) -> np.ndarray:
    """How far a network's answers spread where its dropout stays on.

    Args:
        network: with a dropout above 0
        signals: ``(time,)`` each
        passes: answers for each signal, at least 2
        seed: of the dropout

    Returns:
        standard deviation over the passes, mean over the dimensions,
        shape ``(signals,)``

    Raises:
        InputError: if there are fewer than two passes, or no dropout

    References:
        Gal & Ghahramani 2016, "Dropout as a Bayesian Approximation", ICML.

    """
    shares = [part.p for part in network.modules() if isinstance(part, nn.Dropout)]
    if passes < 2 or not any(shares):
        raise InputError(
            f"passes must be at least 2 of a network with dropout, got {passes} and "
            f"{len(list(filter(None, shares)))} layers of it"
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        answers = [score(network, signals, dropout=True) for _ in range(passes)]
    return np.stack(answers).std(0).mean(1)
