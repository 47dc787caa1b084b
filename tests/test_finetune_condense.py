"""Made-up maps whose gradients point where those of the real ones do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from finetune_corpus import clip

from wav2small.errors import InputError
from wav2small.finetune.condense import (
    CondenseConfig,
    condense,
    gradient_distance,
    log_mel_maps,
    tiny_network,
    train_tiny,
)
from wav2small.metrics import concordance_cc


def test_the_distance_is_of_directions() -> None:
    rng = np.random.default_rng(0)
    a = [torch.tensor(rng.normal(size=(4, 3, 2))), torch.tensor(rng.normal(size=4))]
    assert gradient_distance(a, [3 * g for g in a]).item() == pytest.approx(0, abs=1e-6)
    # 4 rows of the matrix and the bias as one
    assert gradient_distance(a, [-g for g in a]).item() == pytest.approx(10)
    x, y = a[0].numpy().reshape(4, 6), rng.normal(size=(4, 6))
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    found = gradient_distance(a[:1], [torch.tensor(y.reshape(4, 3, 2))])
    assert found.item() == pytest.approx((1 - cosine).sum())


def test_maps_of_signals() -> None:
    signals = [clip(np.random.default_rng(i), i, 2)[: 8000 - 5000 * i] for i in (0, 1)]
    maps = log_mel_maps(signals, seconds=0.4, n_mels=12)
    assert maps.shape == (2, 24, 12)
    assert maps.mean() == pytest.approx(0, abs=1e-4)
    assert maps.std() == pytest.approx(1, abs=1e-4)


def task(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps whose three bands say the three scores."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.1, 0.9, (count, 3)).astype(np.float32)
    maps = rng.normal(size=(count, 12, 6)).astype(np.float32)
    maps[:, :, :3] += 4 * (truth - 0.5)[:, None]
    return maps, truth


def test_a_few_made_up_maps_teach_what_all_would() -> None:
    maps, truth = task(120, 0)
    other, wanted = task(60, 1)
    config = CondenseConfig(count=8, rounds=6, steps=5, batch_size=60)
    reports: list[tuple[object, ...]] = []
    made, scores, distances = condense(
        maps, truth, config, progress=lambda *x: reports.append(x)
    )
    assert made.shape == (8, 12, 6)
    assert scores.shape == (8, 3)
    assert (scores.min(0) >= truth.min(0)).all()
    assert distances[-1] < 0.8 * distances[0]
    assert [report[1] for report in reports] == list(range(1, 7))
    assert reports[-1] == ("condense", 6, 6, {"distance": distances[-1]})

    def quality(own: np.ndarray, own_truth: np.ndarray) -> float:
        network = train_tiny(own, own_truth, steps=100, seed=5)
        with torch.inference_mode():
            heard = network(torch.from_numpy(other)).numpy()
        return float(
            np.mean([concordance_cc(wanted[:, i], heard[:, i]) for i in (0, 1, 2)])
        )

    rng = np.random.default_rng(0)
    noise = rng.normal(size=made.shape).astype(np.float32)
    assert quality(made, scores) > 0.5
    assert quality(made, scores) > quality(noise, scores) + 0.2
    assert quality(maps, truth) > 0.8
    # the same seed makes the same maps
    again, _, _ = condense(maps, truth, config)
    np.testing.assert_array_equal(made, again)


def test_networks_of_a_seed_are_the_same() -> None:
    state = torch.random.get_rng_state()
    first, second = tiny_network(6, 3), tiny_network(6, 3)
    assert torch.equal(first.scores.weight, second.scores.weight)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(first.scores.weight, tiny_network(6, 4).scores.weight)


@pytest.mark.parametrize("count", [1, 11])
def test_sets_that_cannot_be_made(count) -> None:
    maps, truth = task(10, 0)
    with pytest.raises(InputError, match=f"count must be 2 to 10, got {count}"):
        condense(maps, truth, CondenseConfig(count=count))
