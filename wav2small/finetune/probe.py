"""What each layer of a backbone knows of each dimension."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wav2small.export.base.files import atomic_write
from wav2small.export.base.progress import Progress

from ..adv import DIMENSIONS
from ..metrics import bootstrap_interval, concordance_cc
from ..teachers.base import check_lengths
from .backbones import Backbone, batches, pad
from .parts.pooling import MeanDeviation


def layer_features(
    backbone: Backbone,
    signals: Sequence[np.ndarray],
    *,
    progress: Progress | None = None,
) -> np.ndarray:
    """Mean and deviation over time of each layer.

    Args:
        backbone: is in evaluation mode meanwhile
        signals: ``(time,)`` each
        progress: called after each batch of signals

    Returns:
        shape ``(depth + 1, signals, 2 * width)``, float32;
        the first is what the first layer gets

    Raises:
        InputError: if a signal is too short for a frame

    """
    check_lengths(signals, backbone.min_samples)
    pool = MeanDeviation()
    device = next(backbone.parameters()).device
    was_training = backbone.training
    backbone.eval()
    features = np.empty(
        (backbone.depth + 1, len(signals), 2 * backbone.width), np.float32
    )
    done = 0
    with torch.inference_mode():
        for items in batches(signals, alone=not backbone.padding):
            signal, lengths = pad([signals[item] for item in items])
            layers, valid = backbone(
                signal.to(device), None if lengths is None else lengths.to(device)
            )
            for number, layer in enumerate(layers):
                features[number, items] = pool(layer, valid).cpu().numpy()
            done += len(items)
            if progress:
                progress("features", done, len(signals), {})
    backbone.train(was_training)
    return features


def ridge(
    features: np.ndarray, truth: np.ndarray, others: np.ndarray, strength: float
) -> np.ndarray:
    """Linear regression with a penalty, fitted on some rows and asked for others.

    Features are standardised by the rows that it is fitted on.

    Args:
        features: shape ``(rows, width)``
        truth: shape ``(rows, columns)``
        others: shape ``(others, width)``
        strength: penalty of the squared weights per row

    Returns:
        shape ``(others, columns)``

    """
    mean, deviation = features.mean(0), features.std(0) + 1e-6
    a = ((features - mean) / deviation).astype(np.float64)
    b = ((others - mean) / deviation).astype(np.float64)
    middle = truth.mean(0)
    # both forms give the same solution; this one solves the smaller system
    if a.shape[0] < a.shape[1]:
        gram = a @ a.T + strength * len(a) * np.eye(len(a))
        return b @ (a.T @ np.linalg.solve(gram, truth - middle)) + middle
    gram = a.T @ a + strength * len(a) * np.eye(a.shape[1])
    return b @ np.linalg.solve(gram, a.T @ (truth - middle)) + middle


def probe_layers(
    features: np.ndarray,
    truth: np.ndarray,
    folds: np.ndarray,
    *,
    strength: float = 0.1,
) -> list[dict[str, Any]]:
    """Concordance of a linear probe on each layer, speakers apart.

    Args:
        features: of :func:`layer_features`
        truth: shape ``(signals, 3)``
        folds: fold of each signal; each is scored by the probe of the others
        strength: of :func:`ridge`

    Returns:
        for each layer its number, and by dimension
        concordance and the ends of its interval over the clips

    References:
        after de Oliveira et al. 2023, arXiv 2305.19184.

    """
    rows = []
    for number, layer in enumerate(features):
        scores = np.empty_like(truth, np.float64)
        for fold in np.unique(folds):
            held = folds == fold
            scores[held] = ridge(layer[~held], truth[~held], layer[held], strength)
        row: dict[str, Any] = {"layer": number}
        for axis, name in enumerate(DIMENSIONS):
            pair = truth[:, axis], scores[:, axis]
            low, high = bootstrap_interval(
                concordance_cc, *pair, rng=np.random.default_rng(0), resamples=200
            )
            row[name] = [concordance_cc(*pair), low, high]
        rows.append(row)
    return rows


def draw_layers(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw concordance over layers, a line for each dimension.

    Args:
        rows: of :func:`probe_layers`
        path: PNG file to write

    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.4), layout="constrained")
    panel = figure.subplots()
    layers = [row["layer"] for row in rows]
    for name, colour in zip(DIMENSIONS, ("#c1441e", "#1f5f8b", "#3d7a3d"), strict=True):
        value, low, high = np.array([row[name] for row in rows]).T
        panel.plot(layers, value, color=colour, marker="o", label=name)
        panel.fill_between(layers, low, high, color=colour, alpha=0.12, linewidth=0)
    panel.set(xlabel="layer (0: before the first)", ylabel="CCC of a linear probe")
    panel.set_xticks(layers)
    panel.grid(color="0.9", linewidth=0.6)
    panel.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)
