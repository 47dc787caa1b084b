"""Early exits: who agrees leaves, and what is left is not run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from finetune_corpus import SMALL_MEL, SMALL_SSL, clip

from wav2small.errors import InputError
from wav2small.finetune.backbones import build_backbone
from wav2small.finetune.config import ExitHead, NetworkConfig
from wav2small.finetune.network import FinetuneNetwork
from wav2small.finetune.parts.exits import exit_costs, exit_curve, predict_early
from wav2small.finetune.teacher import score

SIGNALS = [
    clip(np.random.default_rng(i), i % 3, 1 + i)[: 8000 - 300 * i] for i in range(6)
]


def network(kind: str = "mel", head: ExitHead = "recurrent") -> FinetuneNetwork:
    settings = {
        "mel": {**SMALL_MEL, "num_hidden_layers": 4},
        "wavlm": {"model_type": "wavlm", **SMALL_SSL, "num_hidden_layers": 4},
    }[kind]
    with torch.random.fork_rng():
        torch.manual_seed(2)
        built = FinetuneNetwork(
            NetworkConfig(exits=(1, 3), hidden=16, exit_head=head),
            build_backbone(settings),
        )
        for leave in built.exits:
            torch.nn.init.normal_(leave.scores.weight, std=0.5)
    return built


@pytest.mark.parametrize("kind", ["mel", "wavlm"])
def test_who_never_agrees_goes_to_the_end(kind) -> None:
    built = network(kind)
    early = predict_early(built, SIGNALS, -1.0)
    assert early.layers.tolist() == [4] * 6
    np.testing.assert_allclose(early.scores, score(built, SIGNALS), atol=1e-4)


@pytest.mark.parametrize("kind", ["mel", "wavlm"])
def test_who_agrees_leaves_and_no_further_layer_is_run(kind) -> None:
    built = network(kind)
    last = built.backbone.layers[3]
    runs = []
    last.register_forward_hook(lambda *_: runs.append(1))
    early = predict_early(built, SIGNALS, 10.0)
    assert not runs
    assert early.layers.tolist() == [3] * 6
    wanted = score(built, SIGNALS, output="exit_scores")[:, 1]
    np.testing.assert_allclose(early.scores, wanted, atol=1e-4)
    assert built.training
    assert built.backbone.watch is None


def test_each_signal_leaves_where_it_agrees() -> None:
    built = network()
    exits = score(built, SIGNALS, output="exit_scores")
    apart = np.abs(exits[:, 1] - exits[:, 0]).max(1)
    tolerance = float(np.median(apart))
    early = predict_early(built, SIGNALS, tolerance)
    np.testing.assert_array_equal(early.layers, np.where(apart <= tolerance, 3, 4))
    assert len(set(early.layers.tolist())) == 2


def test_the_curve_falls_with_the_tolerance() -> None:
    truth = np.random.default_rng(0).random((6, 3))
    rows = exit_curve(network(), SIGNALS, truth, [-1.0, 0.1, 10.0])
    shares = [row["share"] for row in rows]
    assert shares[0] == 1.0
    assert shares[2] == 0.75
    assert shares == sorted(shares, reverse=True)
    assert rows[0]["compute"] > rows[2]["compute"]
    assert rows[1]["tolerance"] == 0.1
    assert rows[0]["mean"] == pytest.approx(
        np.mean([rows[0][name] for name in ("arousal", "dominance", "valence")])
    )


def test_what_leaving_costs() -> None:
    built = network()
    costs = exit_costs(built, 16000)
    assert list(costs) == [1, 3, 4]
    assert costs[1] < costs[3] < costs[4]
    assert costs[4] > 1
    assert built.training
    assert built.backbone.watch is None
    # by hand, multiplications of what lies between two ways of leaving
    backbone = built.backbone
    frames, width = backbone(torch.zeros(1, 16000)).layers[0].shape[1:]
    head = 6 * frames * width * width + (width + 3) * 16
    dense = SMALL_MEL["intermediate_size"]
    block = frames * (4 * width * width + 2 * width * dense + 2 * frames * width)
    between = (costs[3] - costs[1]) / (costs[4] - 1)
    assert between == pytest.approx((2 * block + head) / (2 * head))


def test_a_layer_that_is_not_run_costs_nothing() -> None:
    costs = exit_costs(network("wavlm"), 16000)
    assert 0 < costs[1] < costs[3] < costs[4]


def test_one_exit_has_nobody_to_agree_with() -> None:
    built = FinetuneNetwork(NetworkConfig(exits=(1,)), build_backbone(SMALL_MEL))
    with pytest.raises(InputError, match="exits must be at least two to agree"):
        predict_early(built, SIGNALS, 0.1)


def test_a_failure_leaves_the_network_as_it_was() -> None:
    built = network()
    built.backbone.norm.weight.data = torch.ones(5)  # type: ignore[union-attr]
    with pytest.raises(RuntimeError):
        predict_early(built, SIGNALS[:1], -1.0)
    assert built.backbone.watch is None
    assert built.training


def test_a_light_exit_costs_two_dense_layers_whatever_the_length() -> None:
    built = network(head="light")
    width = built.backbone.width
    heads = []
    for samples in (8000, 32000):
        costs = exit_costs(built, samples)
        backbone = exit_costs(network(), samples)
        frames = built.backbone(torch.zeros(1, samples)).layers[0].shape[1]
        # both kinds leave the same backbone: what lies between is a head
        recurrent = 6 * frames * width * width + (width + 3) * 16
        light = 2 * width * width + (width + 3) * 16
        share = (costs[4] - 1) / (backbone[4] - 1)
        assert share == pytest.approx(light / recurrent)
        heads.append(costs[4] - 1)
    assert heads[1] < heads[0] < 0.02


def test_a_light_exit_is_its_formula_on_what_is_of_the_signal() -> None:
    leave = network(head="light").exits[0].eval()
    hidden = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(0))
    valid = torch.arange(9)[None] < torch.tensor([[9], [5]])
    scores, feature = leave(hidden, valid)
    for row, frames in enumerate((9, 5)):
        own = hidden[row, :frames].double()
        both = torch.cat([own.mean(0), (own.var(0, correction=0) + 1e-6).sqrt()])
        joined = leave.join.double()(both)
        centred = joined - joined.mean()
        normed = centred / (centred.square().mean() + 1e-5).sqrt()
        expected = torch.selu(normed * leave.norm.weight + leave.norm.bias)
        leave.float()
        torch.testing.assert_close(feature[row], expected.float(), atol=1e-5, rtol=1e-4)
        dense = torch.relu(leave.dense(feature[row]))
        torch.testing.assert_close(scores[row], leave.scores(dense) + 0.5)
