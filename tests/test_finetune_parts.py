"""The parts of the network: formulas, masks, and what gradients reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from finetune_corpus import SMALL_MEL, SMALL_SSL, write_mel

from wav2small import checkpoint
from wav2small.errors import InputError
from wav2small.finetune import backbones
from wav2small.finetune.backbones import build_backbone, load_backbone
from wav2small.finetune.config import NetworkConfig
from wav2small.finetune.network import FinetuneNetwork, network_config
from wav2small.finetune.parts import adapters, conditions, pooling, states

GENERATOR = torch.Generator().manual_seed(0)
HIDDEN = torch.randn(3, 7, 8, generator=GENERATOR)
COUNTS = [7, 4, 1]
VALID = torch.arange(7) < torch.tensor(COUNTS)[:, None]

SETTINGS = {
    "mel": SMALL_MEL,
    "wav2vec2": {"model_type": "wav2vec2", **SMALL_SSL},
    "hubert": {
        "model_type": "hubert",
        **SMALL_SSL,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
    },
    "wavlm": {"model_type": "wavlm", **SMALL_SSL},
}


def backbone(kind: str) -> backbones.Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        built = build_backbone(SETTINGS[kind])
        for parameter in built.parameters():
            if parameter.requires_grad and parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return built.eval()


def signals(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [(0.2 * rng.normal(size=n)).astype(np.float32) for n in lengths]


# Pooling and layers ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["mean", "deviation", "attentive"])
def test_pooling_is_its_formula_on_each_signal_alone(kind) -> None:
    torch.manual_seed(3)
    pool, width = pooling.build_pooling(kind, 8)
    found = pool(HIDDEN, VALID).detach().numpy()
    assert found.shape == (3, width)
    for row, count in enumerate(COUNTS):
        x = HIDDEN[row, :count].double().numpy()
        weight = np.full(count, 1 / count)
        if kind == "attentive":
            linear = pool.sap_linear
            told = np.tanh(x @ linear.weight.detach().double().numpy().T
                           + linear.bias.detach().double().numpy())  # fmt: skip
            score = np.exp(told @ pool.attention.detach().double().numpy()[:, 0])
            weight = score / score.sum()
        mean = weight @ x
        variance = weight @ (x - mean) ** 2
        wanted = mean
        if kind == "deviation":
            wanted = np.concatenate([mean, np.sqrt(variance + 1e-6)])
        if kind == "attentive":
            wanted = np.concatenate([mean, np.sqrt(np.maximum(variance, 1e-5))])
        np.testing.assert_allclose(found[row], wanted, atol=2e-5)


def test_gradients_of_a_signal_of_one_frame_are_finite() -> None:
    hidden = torch.randn(2, 1, 4, requires_grad=True)
    pooling.MeanDeviation()(hidden, None).sum().backward()
    assert hidden.grad is not None and hidden.grad.isfinite().all()


def test_padding_gets_no_gradient() -> None:
    for kind in ("mean", "deviation", "attentive"):
        hidden = HIDDEN.clone().requires_grad_()
        pooling.build_pooling(kind, 8)[0](hidden, VALID).sum().backward()
        assert hidden.grad is not None
        assert (hidden.grad[~VALID] == 0).all()
        assert (hidden.grad[VALID] != 0).any()


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pooling must be mean.*got 'max'"):
        pooling.build_pooling("max", 8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"states must be last.*got 'all'"):
        states.build_states("all", 3, 8)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"fusion must be joined.*got 'sum'"):
        conditions.Conditions(4, gender=True, text_width=0, fusion="sum")  # type: ignore[arg-type]


LAYERS = [torch.randn(3, 7, 8, generator=GENERATOR) for _ in range(4)]


def test_layer_weights_are_a_mean_for_each_dimension() -> None:
    mix = states.LayerWeights(4)
    found = mix(LAYERS, VALID)
    assert found.shape == (3, 3, 7, 8)
    np.testing.assert_allclose(
        found[:, 1].detach(), torch.stack(LAYERS).mean(0), atol=1e-6
    )
    with torch.no_grad():
        mix.logits[2] = torch.tensor([-90.0, 90.0, -90.0, -90.0])
    found = mix(LAYERS, VALID)
    np.testing.assert_allclose(found[:, 2].detach(), LAYERS[1], atol=1e-6)
    np.testing.assert_allclose(
        found[:, 0].detach(), torch.stack(LAYERS).mean(0), atol=1e-6
    )
    # a dimension's scores teach its own weights alone
    found[:, 0].square().sum().backward()
    assert mix.logits.grad is not None
    assert (mix.logits.grad[0] != 0).all()
    assert (mix.logits.grad[1:] == 0).all()


def test_merging_does_not_see_the_padding() -> None:
    torch.manual_seed(0)
    merge, views, width = states.build_states("merged", 4, 8)
    assert (views, width) == (1, 8)
    whole = merge(LAYERS, VALID)
    for row, count in enumerate(COUNTS):
        alone = merge([layer[row : row + 1, :count] for layer in LAYERS], None)
        np.testing.assert_allclose(
            whole[row, 0, :count].detach(), alone[0, 0].detach(), atol=1e-5
        )
    gates = merge.gates(LAYERS, VALID)
    assert ((gates > 0) & (gates < 1)).all()
    # a shut gate leaves nothing of its layer
    with torch.no_grad():
        merge.widen.bias[2] = -1e4
    other = [*LAYERS[:2], LAYERS[2] + 5, LAYERS[3]]
    with torch.no_grad():
        merge.squeeze.weight.zero_()
    torch.testing.assert_close(merge(other, VALID), merge(LAYERS, VALID))


# Backbones -------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_padding_changes_nothing(kind) -> None:
    built = backbone(kind)
    heard = signals(8000, 3001, 1700)
    batch, lengths = backbones.pad(heard)
    with torch.inference_mode():
        layers, valid = built(batch, lengths)
        assert len(layers) == built.depth + 1
        for row, signal in enumerate(heard):
            alone, whole = built(backbones.pad([signal])[0])
            assert whole is None
            frames = alone[0].shape[1]
            assert valid[row].sum() == frames
            for mine, together in zip(alone, layers, strict=True):
                np.testing.assert_allclose(together[row, :frames], mine[0], atol=3e-4)


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_layers_are_those_that_transformers_tells(kind) -> None:
    built = backbone(kind)
    assert isinstance(built, backbones.SelfSupervised)
    signal = backbones.pad(signals(4000))[0]
    with torch.inference_mode():
        told = built.model(signal, output_hidden_states=True)
        layers = built(signal).layers
    np.testing.assert_allclose(layers[-1], told.last_hidden_state, atol=1e-6)
    for mine, theirs in zip(layers[:-1], told.hidden_states, strict=False):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("kind", ["mel", "wavlm"])
def test_the_first_layers_are_heard_as_before(kind) -> None:
    built = backbone(kind)
    signal = backbones.pad(signals(4000))[0]
    with torch.inference_mode():
        whole = built(signal).layers
        built.keep([0])
        kept = built(signal).layers
    assert built.depth == 1
    assert len(kept) == 2
    torch.testing.assert_close(kept[0], whole[0])
    again = build_backbone(built.settings)
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in built.state_dict().items()
    }


def test_masks_are_stretches_of_the_share_that_is_asked_for() -> None:
    torch.manual_seed(0)
    hidden = backbones.mask_features(torch.ones(4000, 50, 40), 0.1) == 0
    frames, bands = hidden.all(2), hidden.all(1)
    assert torch.equal(hidden, frames[:, :, None] | bands[:, None])

    def runs(blank: torch.Tensor) -> int:
        return int(
            (blank.int().diff(dim=1, prepend=torch.zeros(4000, 1)) > 0).sum(1).max()
        )

    assert runs(frames) == 1
    assert runs(bands) == 2
    # every place is hidden; two stretches of bands may meet
    assert frames.any(0).all()
    assert bands.any(0).all()
    assert frames.float().mean() == pytest.approx(0.1, abs=0.005)
    assert bands.float().mean() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(backbones.mask_features(HIDDEN, 0.0), HIDDEN)


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_features_are_hidden_in_training_alone(kind) -> None:
    built, told = backbone(kind), []
    built.features.register_forward_hook(lambda _, __, output: told.append(output))
    signal = torch.from_numpy(signals(8000)[0])[None]
    built.masked = 0.3
    plain = built(signal).layers[-1]
    torch.manual_seed(0)
    built.train()(signal)
    built.masked = 0.0
    built(signal)
    given = [out[0] if isinstance(out, tuple) else out for out in told]
    zeros = [float((features == 0).float().mean()) for features in given]
    assert zeros[0] == zeros[2] == 0
    assert zeros[1] > 0.1
    # what is not hidden is as it was
    kept = given[1] != 0
    torch.testing.assert_close(given[1][kept], given[0][kept])
    assert plain.shape[2] == built.width


def test_uniform_layers() -> None:
    assert backbones.uniform_layers(12, 4) == [0, 4, 7, 11]
    assert backbones.uniform_layers(12, 1) == [0]
    assert backbones.first_layers(12, 3) == [0, 1, 2]
    for choose in (backbones.uniform_layers, backbones.first_layers):
        assert choose(5, 5) == [0, 1, 2, 3, 4]
        with pytest.raises(InputError, match=r"layers must be 1 to 5.*got 6"):
            choose(5, 6)


@pytest.mark.parametrize("numbers", [[], [1, 2], [0, 2, 1], [0, 3]])
def test_layers_that_cannot_be_kept(numbers) -> None:
    with pytest.raises(InputError, match="layers must be rising numbers from 0 to 2"):
        backbone("mel").keep(numbers)


@pytest.mark.parametrize("kind", ["mel", "wavlm"])
def test_a_backbone_comes_back(tmp_path: Path, kind) -> None:
    built = backbone(kind)
    origin = backbones.Origin("b", "MIT", "speech")
    backbones.save_backbone(tmp_path / "b", built, origin)
    again, told = load_backbone(str(tmp_path / "b"))
    assert told == origin
    signal = backbones.pad(signals(4000))[0]
    with torch.inference_mode():
        torch.testing.assert_close(
            again.eval()(signal).layers, built(signal).layers, rtol=0, atol=0
        )


def test_a_folder_of_transformers_is_read(tmp_path: Path) -> None:
    built = backbone("wav2vec2")
    assert isinstance(built, backbones.SelfSupervised)
    built.model.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: mit\ndatasets: [x, y]\n---\n")
    again, origin = load_backbone(str(tmp_path))
    assert origin == backbones.Origin(tmp_path.name, "MIT", "x, y")
    signal = backbones.pad(signals(4000))[0]
    with torch.inference_mode():
        torch.testing.assert_close(again.eval()(signal).layers, built(signal).layers)
    (tmp_path / "README.md").write_text(
        "---\nlicense: other\nlicense_name: own-1.0\n---\n"
    )
    assert load_backbone(str(tmp_path))[1] == backbones.Origin(
        tmp_path.name, "own-1.0", ""
    )
    # a description beside it counts more
    (tmp_path / "teacher.json").write_text('{"licence": "cc-by-nc-4.0"}')
    assert load_backbone(str(tmp_path))[1].licence == "CC-BY-NC-4.0"
    (tmp_path / "README.md").write_text("---\n: [\n---\n")
    with pytest.raises(InputError, match="model card must begin with YAML"):
        load_backbone(str(tmp_path))


def test_a_folder_without_all_weights_is_refused(tmp_path: Path) -> None:
    import safetensors.torch

    built = backbone("wav2vec2")
    assert isinstance(built, backbones.SelfSupervised)
    built.model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    del weights["encoder.layer_norm.weight"]
    safetensors.torch.save_file(weights, path, {"format": "pt"})
    with pytest.raises(InputError, match=r"all its weights.*encoder.layer_norm.weight"):
        load_backbone(str(tmp_path))
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="weights that can be read"):
        load_backbone(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"backbone must be of model_type .*'None'"):
        load_backbone(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "mel"}')
    with pytest.raises(InputError, match=r"mel must be one that was saved .* alone"):
        load_backbone(str(tmp_path))


def test_backbones_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"backbone must be of model_type mel.*'bert'"):
        build_backbone({"model_type": "bert"})
    with pytest.raises(InputError, match=r"settings it can be built from.*TypeError"):
        build_backbone({"model_type": "mel", "colour": 1})
    with pytest.raises(InputError, match=r"backbone must be mel, a folder.*'nothing'"):
        load_backbone("nothing")
    checkpoint.save(tmp_path / "c", {}, {"format": "else"})
    with pytest.raises(InputError, match="backbone must be saved as one, got a else"):
        load_backbone(str(tmp_path / "c"))
    write_mel(tmp_path / "mel")
    weights, config = checkpoint.load(tmp_path / "mel")
    del weights["norm.weight"]
    checkpoint.save(tmp_path / "mel", weights, config)
    with pytest.raises(InputError, match=r"keys that config.json describes.*norm"):
        load_backbone(str(tmp_path / "mel"))
    built, origin = load_backbone("mel")
    assert built.settings["model_type"] == "mel"
    assert origin.licence == ""


def test_batches_hold_every_signal_once() -> None:
    heard = signals(*[16000] * 5, 1000, 300)
    found = backbones.batches(heard, seconds=2)
    assert sorted(item for batch in found for item in batch) == list(range(7))
    for batch in found:
        longest = max(len(heard[item]) for item in batch)
        assert len(batch) == 1 or len(batch) * longest <= 2 * 16000
    assert len(backbones.batches(heard, alone=True)) == 7


# Adapters and low-rank updates -----------------------------------------------


@pytest.mark.parametrize("kind", ["mel", "wav2vec2", "wavlm"])
@pytest.mark.parametrize("part", ["adapters", "lora"])
def test_few_weights_begin_as_nothing_and_learn(kind, part) -> None:
    built = backbone(kind)
    signal = backbones.pad(signals(4000, 4000))[0]
    before = built(signal).layers[-1].detach()
    frozen = {key: value.clone() for key, value in built.state_dict().items()}
    for parameter in built.parameters():
        parameter.requires_grad_(False)
    width, depth = 32, built.depth
    inner = 32 if kind == "mel" else 48
    if part == "adapters":
        adapters.add_adapters(built, 4)
        wanted = depth * (2 * width + width * 4 + 4 + 4 * width + width)
    else:
        adapters.add_lora(built, 4)
        wanted = depth * 2 * 4 * (width + inner)
    torch.testing.assert_close(built(signal).layers[-1], before)
    trained = {k: p for k, p in built.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in trained.values()) == wanted
    optimizer = torch.optim.SGD(trained.values(), lr=0.01)
    wish = torch.randn(before.shape, generator=torch.Generator().manual_seed(2))
    for _ in range(2):  # what begins as 0 lets gradients through after a step
        optimizer.zero_grad()
        (built(signal).layers[-1] * wish).sum().backward()
        # WavLM's attention would leave some without
        assert all(p.grad is not None for p in trained.values())
        optimizer.step()
    assert not [k for k, p in trained.items() if not (p.grad != 0).any()]
    after = built(signal).layers[-1].detach()
    assert (after - before).abs().max() > 1e-4
    if part == "lora":
        adapters.merge_lora(built)
        assert set(built.state_dict()) == set(frozen)
        torch.testing.assert_close(built(signal).layers[-1], after, atol=1e-4, rtol=0)
    for key, value in built.state_dict().items():
        if key in frozen and (part == "adapters" or "dense" not in key):
            torch.testing.assert_close(value, frozen[key], rtol=0, atol=0)


# Conditions ------------------------------------------------------------------


@pytest.mark.parametrize("fusion", ["joined", "gated"])
def test_what_is_unknown_is_one_state(fusion) -> None:
    torch.manual_seed(0)
    known = conditions.Conditions(6, gender=True, text_width=5, fusion=fusion)
    torch.nn.init.normal_(known.no_text)
    pooled = torch.randn(3, 2, 6)
    text = torch.randn(3, 5)
    text[1] = torch.nan
    gender = torch.tensor([1, 0, 2])
    found = known(pooled, gender, text)
    assert found.shape == (3, 2, known.width)
    assert found.isfinite().all()
    torch.testing.assert_close(found[1:2], known(pooled[1:2], None, None))
    assert (found[0] - known(pooled[:1], None, text[:1])[0]).abs().max() > 1e-3
    found.sum().backward()
    for parameter in known.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()
    if fusion == "joined":
        torch.testing.assert_close(found[:, :, :6], pooled)
    else:
        assert known.width == 6


def test_an_open_gate_hears_the_signal_alone() -> None:
    known = conditions.Conditions(6, gender=True, text_width=0, fusion="gated")
    with torch.no_grad():
        known.gate.bias.fill_(1e4)
    pooled = torch.randn(2, 1, 6)
    torch.testing.assert_close(known(pooled, torch.tensor([1, 2]), None), pooled)
    with torch.no_grad():
        known.gate.bias.fill_(-1e4)
    told = known(pooled, torch.tensor([1, 2]), None)
    torch.testing.assert_close(told, known(pooled + 1, torch.tensor([1, 2]), None))


# The network -----------------------------------------------------------------


EVERYTHING = NetworkConfig(
    states="weighted",
    pooling="attentive",
    hidden=16,
    adapters=2,
    gender=True,
    text_width=5,
    fusion="gated",
    tasks=("category", "gender"),
    categories=("anger", "sadness", "neutral"),
    exits=(1, 2),
)


@pytest.mark.parametrize(
    "config",
    [
        EVERYTHING,
        NetworkConfig(states="merged", pooling="deviation"),
        NetworkConfig(exits=(2,)),
    ],
)
def test_a_network_does_not_see_the_padding(config) -> None:
    torch.manual_seed(0)
    network = FinetuneNetwork(config, backbone("mel")).eval()
    heard = signals(5000, 2345)
    batch, lengths = backbones.pad(heard)
    gender = torch.tensor([1, 2])
    text = torch.randn(2, 5)
    with torch.inference_mode():
        together = network(batch, lengths, gender=gender, text=text)
        for row, signal in enumerate(heard):
            alone = network(
                backbones.pad([signal])[0],
                gender=gender[row : row + 1],
                text=text[row : row + 1],
            )
            assert set(alone) == set(together)
            for name, value in alone.items():
                torch.testing.assert_close(
                    value[0], together[name][row], atol=1e-4, rtol=0
                )
    assert together["scores"].shape == (2, 3)
    if config is EVERYTHING:
        assert together["category"].shape == (2, 3)
        assert together["gender"].shape == (2, 2)
        assert together["exit_scores"].shape == (2, 2, 3)
        assert together["exit_features"].shape == (2, 2, 32)
        assert together["feature"].shape == (2, 32)


def test_tasks_are_not_told_what_they_are_asked_for() -> None:
    network = FinetuneNetwork(
        NetworkConfig(gender=True, tasks=("gender",)), backbone("mel")
    ).eval()
    signal = backbones.pad(signals(3000))[0]
    with torch.inference_mode():
        woman = network(signal, gender=torch.tensor([1]))
        man = network(signal, gender=torch.tensor([2]))
    torch.testing.assert_close(woman["gender"], man["gender"], rtol=0, atol=0)
    assert (woman["scores"] != man["scores"]).any()


def test_a_configuration_comes_back_from_json() -> None:
    import json
    from dataclasses import asdict

    assert network_config(json.loads(json.dumps(asdict(EVERYTHING)))) == EVERYTHING


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NetworkConfig(exits=(3,)), r"exits must be layers 1 to 2, got \[3\]"),
        (NetworkConfig(exits=(2, 1)), r"exits must be rising, got \[2, 1\]"),
        (
            NetworkConfig(tasks=("age",)),
            "tasks must be of category, gender, alike, got 'age'",
        ),
        (NetworkConfig(tasks=("category",)), "categories must be at least two"),
    ],
)
def test_parts_that_do_not_fit(config, message) -> None:
    with pytest.raises(InputError, match=message):
        FinetuneNetwork(config, backbone("mel"))
