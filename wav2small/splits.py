"""Which rows of labels are for training, and which for development."""

from __future__ import annotations

import hashlib

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


def chance_split(
    labels: Labels, share: float, seed: int, *, stated: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Split the rows of a chapter, looking at no other.

    As :func:`split_dev`, but whether a speaker is for development is drawn for each
    from a hash of its name, so that no list of all speakers is needed.

    Args:
        labels: rows of the chapter
        share: share of the speakers or files that goes to development, in 0..1
        seed: seed of the choice
        stated: whether the rows whose split is ``dev`` are the development rows

    Returns:
        which rows are for training and which for development, ``(rows,)`` each

    """
    names = labels.metadata["split"]
    split = np.array([split_name(name) if name else "" for name in names])
    dev = split == "dev"
    if not stated:
        speakers = labels.metadata["speaker"]
        groups = [who or name for who, name in zip(speakers, labels.names, strict=True)]
        drawn = {group: _chance(group, seed) < share for group in set(groups)}
        dev = np.array([drawn[group] for group in groups]) & (split != "test")
    return (split != "test") & ~dev, dev


def _chance(group: str, seed: int) -> float:
    """Return a number in 0..1 that follows from a name and a seed."""
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
