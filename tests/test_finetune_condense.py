"""Made-up maps that train one network as the real ones do."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from finetune_corpus import clip, write_corpus
from torch.nn.functional import mse_loss

from wav2small import checkpoint
from wav2small.errors import InputError
from wav2small.finetune.condense import (
    CondenseConfig,
    condense,
    gradient_distance,
    path_distance,
)
from wav2small.finetune.condensed import (
    Condensed,
    gradients_of,
    load_condensed,
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


def test_the_distance_of_paths_is_that_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    ours, begun, reached = (
        [rng.normal(size=(3, 2)), rng.normal(size=4)] for _ in range(3)
    )
    flat = [np.concatenate([w.ravel() for w in x]) for x in (ours, begun, reached)]
    expected = np.sum((flat[0] - flat[2]) ** 2) / np.sum((flat[1] - flat[2]) ** 2)
    tensors = [[torch.tensor(w) for w in x] for x in (ours, begun, reached)]
    assert path_distance(*tensors).item() == pytest.approx(expected)
    assert path_distance(tensors[2], *tensors[1:]).item() == 0
    assert path_distance(tensors[1], *tensors[1:]).item() == 1


def test_maps_of_signals() -> None:
    signals = [clip(np.random.default_rng(i), i, 2)[: 8000 - 5000 * i] for i in (0, 1)]
    maps = log_mel_maps(signals, seconds=0.4, n_mels=12)
    assert maps.shape == (2, 24, 12)
    # a map does not depend on the others
    alone = log_mel_maps(signals[1:], seconds=0.4, n_mels=12)
    np.testing.assert_allclose(maps[1:], alone, atol=1e-5)
    # 20 dB are one: ten times the noise beside a tone, which holds the level
    tone = np.sin(np.arange(8000) * 0.2)
    hiss = np.random.default_rng(0).normal(size=8000)
    quiet, loud = log_mel_maps(
        [(tone + x * hiss).astype(np.float32) for x in (1e-3, 1e-2)], seconds=0.5
    )[:, :, -4:]
    assert (loud - quiet).mean() == pytest.approx(1, abs=0.02)


def task(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps whose three bands say the three scores."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0.1, 0.9, (count, 3)).astype(np.float32)
    maps = rng.normal(size=(count, 12, 6)).astype(np.float32)
    maps[:, :, :3] += 4 * (truth - 0.5)[:, None]
    return maps, truth


def quality(network: torch.nn.Module) -> float:
    maps, truth = task(60, 1)
    with torch.inference_mode():
        heard = network(torch.from_numpy(maps)).numpy()
    return float(np.mean([concordance_cc(truth[:, i], heard[:, i]) for i in range(3)]))


SMALL = CondenseConfig(count=6, rounds=25, steps=6, batch_size=60)


@pytest.fixture(scope="module")
def made() -> tuple[Condensed, list[float]]:
    return condense(*task(120, 0), SMALL)


def test_a_few_made_up_maps_teach_what_all_would(made) -> None:
    small, distances = made
    assert small.maps.shape == (6, 12, 6)
    assert small.truth.shape == (6, 3)
    assert np.mean(distances[-5:]) < 0.5 * np.mean(distances[:5])
    maps, truth = task(120, 0)
    assert quality(train_tiny(maps, truth, steps=100, seed=0)) > 0.8
    assert quality(small.train()) > 0.6
    # as many real ones learn less in these steps
    real = replace(small, maps=maps[:6], truth=truth[:6])
    assert quality(small.train()) > quality(real.train()) + 0.1
    # with the weights of the seed that it was made for, and no others
    assert quality(replace(small, seed=5).train()) < quality(small.train()) - 0.1


@pytest.mark.parametrize(
    ("way", "share"), [("result", 0.8), ("path", 0.9), ("gradients", 0.95)]
)
def test_each_way_comes_nearer(way, share) -> None:
    reports: list[tuple[object, ...]] = []
    small, distances = condense(
        *task(120, 0),
        replace(SMALL, way=way, clips=True),
        progress=lambda *x: reports.append(x),
    )
    assert np.mean(distances[-5:]) < share * np.mean(distances[:5])
    assert small.steps == (6 if way == "result" else 120)
    assert [report[1] for report in reports] == list(range(1, 26))
    assert reports[-1] == ("condense", 25, 25, {"distance": distances[-1]})


def test_training_is_plain_descent(made) -> None:
    """Against torch's own optimizer."""
    small, _ = made
    network = tiny_network(6, small.seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=small.rate)
    maps, truth = torch.from_numpy(small.maps), torch.from_numpy(small.truth)
    for _ in range(small.steps):
        optimizer.zero_grad()
        mse_loss(network(maps), truth).backward()
        optimizer.step()
    ours = small.train().state_dict()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_torch_and_can_be_differentiated() -> None:
    network = tiny_network(6, 0)
    maps, truth = (torch.from_numpy(x) for x in task(5, 0))
    loss = mse_loss(network(maps), truth)
    expected = torch.autograd.grad(loss, list(network.parameters()))
    weights = [p.detach() for p in network.parameters()]
    for ours, theirs in zip(
        gradients_of(network, weights, maps, truth), expected, strict=True
    ):
        torch.testing.assert_close(ours, theirs)
        assert not ours.requires_grad
    maps.requires_grad_()
    found = gradients_of(network, weights, maps, truth, keep=True)
    found[0].square().sum().backward()
    assert maps.grad is not None
    assert maps.grad.abs().max() > 0


def test_the_same_seed_makes_the_same_set(made) -> None:
    again, _ = condense(*task(120, 0), SMALL)
    np.testing.assert_array_equal(made[0].maps, again.maps)
    assert made[0].rate == again.rate


def test_networks_of_a_seed_are_the_same() -> None:
    state = torch.random.get_rng_state()
    first, second = tiny_network(6, 3), tiny_network(6, 3)
    assert torch.equal(first.scores.weight, second.scores.weight)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(first.scores.weight, tiny_network(6, 4).scores.weight)


def test_a_set_is_read_as_it_was_written(tmp_path, made) -> None:
    small, _ = made
    small.save(tmp_path / "set")
    read = load_condensed(tmp_path / "set")
    np.testing.assert_array_equal(read.maps, small.maps)
    assert replace(read, maps=small.maps, truth=small.truth) == small
    assert quality(read.train()) == quality(small.train())


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "other"},
        {"steps": 0},
        {"steps": "six"},
        {"rate": float("inf")},
        {"more": 1},
        {"truth": np.zeros((6, 2), np.float32)},
        {"maps": np.zeros((6, 12, 6))},
    ],
    ids=str,
)
def test_another_set_is_refused(tmp_path, made, wrong) -> None:
    small, _ = made
    small.save(tmp_path / "set")
    arrays, config = checkpoint.load(tmp_path / "set")
    for name, value in wrong.items():
        (arrays if name in arrays else config)[name] = value
    checkpoint.save(tmp_path / "set", arrays, config)
    with pytest.raises(InputError, match="set must be what wav2small condense wrote"):
        load_condensed(tmp_path / "set")


@pytest.mark.parametrize("count", [1, 11])
def test_sets_that_cannot_be_made(count) -> None:
    maps, truth = task(10, 0)
    with pytest.raises(InputError, match=f"count must be 2 to 10, got {count}"):
        condense(maps, truth, CondenseConfig(count=count))


def test_the_command(tmp_path, run) -> None:
    table = write_corpus(tmp_path)
    text = table.read_text().splitlines()
    rows = [f"{line},{'test' if n % 3 else 'train'}" for n, line in enumerate(text)]
    table.write_text("\n".join([f"{text[0]},split", *rows[1:]]) + "\n")
    out = tmp_path / "set"
    words = ("condense", table, out, "--count", 3, "--rounds", 2)
    code, shown, said = run(*words)
    assert code == 0, said
    assert shown.strip() == str(out)
    for what in ("the 3 that were made", "3 real ones", "all "):
        assert f"trained on {what}" in said
    assert len(load_condensed(out).maps) == 3
    assert json.loads((out / "config.json").read_text())["seed"] == 0
    code, _, said = run(*words)
    assert code == 2
    assert "is there" in said
