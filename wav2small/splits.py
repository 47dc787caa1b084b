"""Which rows of labels are for training, and which for development."""

from __future__ import annotations

import numpy as np

from .annotation.labels import Labels
from .audio.spellings import split_name
from .errors import InputError


def split_dev(labels: Labels, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into training and development, by speaker where it is known.

    Rows whose split is ``test`` are in neither.
    Those whose split is ``dev`` are the development rows, if there are any;
    else some speakers' are, as many as it takes to have two rows.

    Args:
        labels: the rows
        share: share of the groups that goes to development, in 0..1
        seed: seed of the choice

    Returns:
        row indices of training and of development, each sorted

    Raises:
        InputError: if either would be empty, or a split is not understood

    """
    names = labels.metadata["split"]
    split = np.array([split_name(name) if name else "" for name in names])
    usable = split != "test"
    dev = split == "dev"
    if not dev.any():
        speakers = labels.metadata["speaker"]
        groups = np.array(
            [who or name for who, name in zip(speakers, labels.names, strict=True)]
        )
        unique, rows = np.unique(groups[usable], return_counts=True)
        order = np.random.default_rng([seed, 2**61]).permutation(len(unique))
        # concordance needs two rows, but a group must be left to train on
        enough = int(np.searchsorted(rows[order].cumsum(), 2)) + 1
        count = min(max(round(share * len(unique)), enough), len(unique) - 1)
        dev = np.isin(groups, unique[order[: max(1, count)]]) & usable
    train = usable & ~dev
    if not train.any() or dev.sum() < 2:
        raise InputError(
            "labels must hold rows of at least 2 speakers or files that are not "
            f"test, got {train.sum()} for training and {dev.sum()} for development: "
            "annotate more audio"
        )
    return np.flatnonzero(train), np.flatnonzero(dev)
