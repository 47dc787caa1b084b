"""Figures of the suite that are no plain agreement of two series.

Shape:
    truth, prediction: ``(clips,)``, scores in about 0..1
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist

import numpy as np

from ..metrics import concordance_cc, pearson_cc

EXPECTED: Mapping[str, Mapping[str, Sequence[str]]] = {
    "arousal": {"high": ("anger", "fear", "surprise"), "low": ("boredom", "sadness")},
    "dominance": {"high": ("anger",), "low": ("fear", "sadness")},
    "valence": {
        "high": ("happiness",),
        "low": ("anger", "disgust", "fear", "frustration", "sadness"),
    },
}
"""Categories that are high or low in a dimension; ``neutral`` is neutral in all."""

RANGES = {"high": (0.55, np.inf), "low": (-np.inf, 0.45), "neutral": (0.3, 0.6)}
"""Scores that are high, low, neutral; both ends included."""

_NAMES = {
    "angry": "anger",
    "bored": "boredom",
    "disgusted": "disgust",
    "fearful": "fear",
    "frustrated": "frustration",
    "happy": "happiness",
    "joy": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}

BIN_EDGES = np.array([0.25, 0.5, 0.75])
"""Borders of the bins that fairness looks at."""

MIN_GROUP = 10
"""Least clips of a group, and of a bin of it, that are compared."""


def jensen_shannon_distance(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Distance of two distributions of scores, in ten bins of 0..1.

    Scores outside count in the outer bins.

    Returns:
        root of the Jensen-Shannon divergence to base 2, in 0..1,
        NaN for empty series

    References:
        Endres & Schindelin 2003, A new metric for probability distributions,
        IEEE Transactions on Information Theory 49(7), 1858-1860.

    """
    if not len(truth) or not len(prediction):
        return float("nan")
    edges = np.linspace(0, 1, 11)
    p, q = (
        np.histogram(np.clip(scores, 0, 1), edges)[0] / len(scores)
        for scores in (truth, prediction)
    )
    middle = (p + q) / 2
    divergence = sum(
        (part[part > 0] * np.log2(part[part > 0] / middle[part > 0])).sum() / 2
        for part in (p, q)
    )
    return float(np.sqrt(max(divergence, 0.0)))


def rank_cc(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Spearman's correlation: Pearson's of the ranks, equal values share theirs.

    Returns:
        coefficient in [-1, 1],
        NaN for fewer than two samples or a constant series

    """
    return pearson_cc(_ranks(truth), _ranks(prediction))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def category_name(emotion: str | None) -> str:
    """Return the name of a category as it is spelled here, empty for none."""
    name = (emotion or "").strip().lower()
    return _NAMES.get(name, name)


def expected_range(emotion: str | None, dimension: str) -> str | None:
    """Say whether a category is high, low or neutral in a dimension.

    Returns:
        a key of :data:`RANGES`, None if nothing is expected

    """
    name = category_name(emotion)
    if name == "neutral":
        return "neutral"
    for level, categories in EXPECTED[dimension].items():
        if name in categories:
            return level
    return None


def of_means(
    figure: Callable[[np.ndarray, np.ndarray], float],
    truth: np.ndarray,
    prediction: np.ndarray,
    groups: np.ndarray,
) -> float:
    """Figure of the mean truths and predictions of groups of clips.

    Groups of fewer than :data:`MIN_GROUP` clips are left out.

    Args:
        figure: function of truth and prediction
        truth: reference scores
        prediction: the model's scores
        groups: name of each clip's group, empty where unknown

    """
    members = list(_members(groups).values())
    return figure(
        np.array([truth[rows].mean() for rows in members]),
        np.array([prediction[rows].mean() for rows in members]),
    )


def loss_of_ccc(truth: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """Change of the concordance when a prediction changes; negative is worse."""
    return concordance_cc(truth, after) - concordance_cc(truth, before)


def ccc_of(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Concordance, as one figure for :func:`gap`."""
    return np.array([concordance_cc(truth, prediction)])


def shift_of(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Mean error, as one figure for :func:`gap`."""
    return np.array([np.mean(prediction - truth)])


def bins_of(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Share of each bin in the prediction above that in the truth."""
    return np.array([np.mean(p) - np.mean(t) for t, p in _bins(truth, prediction)])


def precision_of(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Share of what is predicted in each bin that is in it, NaN for few clips."""
    return np.array([_share(t, p) for t, p in _bins(truth, prediction)])


def recall_of(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Share of what is in each bin that is predicted in it, NaN for few clips."""
    return np.array([_share(p, t) for t, p in _bins(truth, prediction)])


def _bins(
    truth: np.ndarray, prediction: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    t, p = np.digitize(truth, BIN_EDGES), np.digitize(prediction, BIN_EDGES)
    return [(t == number, p == number) for number in range(len(BIN_EDGES) + 1)]


def _share(hit: np.ndarray, of: np.ndarray) -> float:
    return float(hit[of].mean()) if of.sum() >= MIN_GROUP else float("nan")


def gap(
    figure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    truth: np.ndarray,
    prediction: np.ndarray,
    groups: np.ndarray,
) -> float:
    """Largest difference of a figure between groups of clips.

    Two groups are compared with each other,
    more groups each with all of them together.
    Groups of fewer than :data:`MIN_GROUP` clips are left out.

    Args:
        figure: function of truth and prediction that gives figures,
            NaN for those that are not known
        truth: reference scores
        prediction: the model's scores
        groups: name of each clip's group, empty where unknown

    Returns:
        difference, 0 or above; NaN if no figure is known of two groups

    """
    members = list(_members(groups).values())
    if len(members) < 2:
        return float("nan")
    values = [figure(truth[rows], prediction[rows]) for rows in members]
    if len(values) == 2:
        differences = values[0] - values[1]
    else:
        every = np.concatenate(members)
        differences = np.stack(values) - figure(truth[every], prediction[every])
    known = differences[~np.isnan(differences)]
    return float(np.abs(known).max()) if len(known) else float("nan")


FAIR_DEVIATION = 1 / 6
"""Standard deviation of the scores of a model that draws them, around 0.5."""

FAIR_SHARE = 0.99
"""Share of such models that keep within :func:`fair_limit`."""


def fair_limit(
    figure: Callable[[np.ndarray, np.ndarray], np.ndarray],
    groups: np.ndarray,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> float:
    """Largest :func:`gap` that chance alone gives a model that is fair.

    Such a model draws its scores, whoever speaks.
    What groups of these sizes differ by then is simulated.

    Args:
        figure: :func:`shift_of` or :func:`bins_of`
        groups: name of each clip's group, empty where unknown
        draws: number of models
        seed: of the draws

    Returns:
        what a share of :data:`FAIR_SHARE` of these models keep within

    References:
        after Derington et al. 2023, arXiv 2312.06270, whose thresholds for
        languages, accents and sentiment come of simulations.

    """
    sizes = np.array([len(rows) for rows in _members(groups).values()])
    rng = np.random.default_rng(seed)
    # means and counts of a group are drawn, not its clips one by one
    if figure is shift_of:
        deviations = FAIR_DEVIATION / np.sqrt(sizes)
        values = rng.normal(size=(draws, len(sizes), 1)) * deviations[:, None]
    elif figure is bins_of:
        ends = NormalDist(0.5, FAIR_DEVIATION)
        shares = np.diff([0, *(ends.cdf(edge) for edge in BIN_EDGES), 1])
        counts = rng.multinomial(sizes, shares, size=(draws, len(sizes)))
        values = counts / sizes[:, None]
    else:
        raise ValueError(f"figure must be shift_of or bins_of, got {figure}")
    if len(sizes) == 2:
        differences = values[:, :1] - values[:, 1:]
    else:
        weights = (sizes / sizes.sum())[:, None]
        differences = values - (values * weights).sum(1, keepdims=True)
    return float(np.quantile(np.abs(differences).max((1, 2)), FAIR_SHARE))


def _members(groups: np.ndarray) -> dict[str, np.ndarray]:
    found = {name: np.flatnonzero(groups == name) for name in np.unique(groups) if name}
    return {name: rows for name, rows in found.items() if len(rows) >= MIN_GROUP}


def count_groups(groups: np.ndarray) -> int:
    """Return how many groups have at least :data:`MIN_GROUP` clips."""
    return len(_members(groups))
