"""What people shall label first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from finetune_corpus import SMALL_MEL, clip
from hypothesis import given, settings
from hypothesis import strategies as st

from wav2small.errors import InputError
from wav2small.finetune.backbones import build_backbone
from wav2small.finetune.config import NetworkConfig
from wav2small.finetune.labelling.selection import choose, dropout_uncertainty, k_means
from wav2small.finetune.network import FinetuneNetwork


def clusters(count: int, each: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = 20 * rng.normal(size=(count, 5))
    return np.concatenate([centre + rng.normal(size=(each, 5)) for centre in centres])


def test_k_means_finds_the_clusters() -> None:
    points = clusters(4, 20)
    found = k_means(points, 4, np.random.default_rng(1))
    means = points.reshape(4, 20, 5).mean(1)
    apart = ((found[:, None] - means) ** 2).sum(2)
    assert sorted(apart.argmin(1)) == [0, 1, 2, 3]
    assert apart.min(1).max() < 1e-9


def test_k_means_of_equal_points() -> None:
    found = k_means(np.ones((5, 2)), 3, np.random.default_rng(0))
    np.testing.assert_array_equal(found, np.ones((3, 2)))


def test_one_of_each_cluster_is_chosen() -> None:
    chosen = choose(clusters(6, 10), 6, np.random.default_rng(0))
    assert sorted(chosen // 10) == [0, 1, 2, 3, 4, 5]


def test_only_what_is_uncertain_is_chosen() -> None:
    uncertainty = np.zeros(60)
    uncertainty[[3, 4, 5, 13, 14, 15, 23, 24, 25]] = 1 + np.arange(9)
    chosen = choose(
        clusters(6, 10), 3, np.random.default_rng(0), uncertainty=uncertainty
    )
    assert sorted(chosen // 10) == [0, 1, 2]
    assert (uncertainty[chosen] > 0).all()


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(0, 50), st.booleans())
def test_each_clip_at_most_once(count, seed, uncertain) -> None:
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 3, (30, 2)).astype(float)
    uncertainty = rng.random(30) if uncertain else None
    chosen = choose(features, count, rng, uncertainty=uncertainty)
    assert len(set(chosen.tolist())) == count
    assert sorted(chosen) == chosen.tolist()
    again = np.random.default_rng(seed)
    again.integers(0, 3, (30, 2))
    if uncertain:
        again.random(30)
    np.testing.assert_array_equal(
        chosen, choose(features, count, again, uncertainty=uncertainty)
    )


def test_more_than_there_are() -> None:
    with pytest.raises(InputError, match=r"count must be 1 to 3.*got 4"):
        choose(np.zeros((3, 2)), 4, np.random.default_rng(0))


def test_dropout_tells_how_sure_a_network_is() -> None:
    torch.manual_seed(0)
    network = FinetuneNetwork(NetworkConfig(dropout=0.4), build_backbone(SMALL_MEL))
    signals = [clip(np.random.default_rng(i), i, 2) for i in range(3)]
    state = torch.random.get_rng_state()
    found = dropout_uncertainty(network, signals, passes=4, seed=1)
    assert found.shape == (3,)
    assert (found > 0).all()
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(part.training for part in network.modules())
    again = dropout_uncertainty(network, signals, passes=4, seed=1)
    np.testing.assert_array_equal(found, again)
    still = FinetuneNetwork(NetworkConfig(dropout=0.0), build_backbone(SMALL_MEL))
    for part, passes in ((still, 4), (network, 1)):
        with pytest.raises(InputError, match="passes must be at least 2 of a network"):
            dropout_uncertainty(part, signals, passes=passes, seed=0)
