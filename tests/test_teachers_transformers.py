"""Published checkpoints: every key in its place, each score as the recipe gives it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import teacher_checkpoints as made
import torch
from teacher_checkpoints import ADV, BASE_FORM, LARGE_FORM, SIGNALS

from wav2small.errors import InputError
from wav2small.teachers.loading import load_member, load_teacher
from wav2small.teachers.transformers import BACKBONES, TransformersTeacher, _backbone

KINDS = [
    (family, form)
    for family in made.FAMILIES
    for form in (LARGE_FORM, BASE_FORM)
]  # fmt: skip


def alone(teacher: Any) -> np.ndarray:
    return np.concatenate([teacher.predict([signal]) for signal in SIGNALS])


@pytest.mark.parametrize("old_names", [True, False])
@pytest.mark.parametrize(("family", "form"), [*KINDS, ("wav2vec2", made.DAWN_FORM)])
def test_dawn_is_its_formula(
    family: str, form: dict[str, Any], old_names: bool, tmp_path: Path
) -> None:
    _, weights, model = made.dawn(family, form)
    folder = made.write_dawn(
        tmp_path / "dawn", family=family, form=form, old_names=old_names
    )
    teacher = load_teacher(str(folder))
    expected = [made.dawn_scores(weights, model, signal) for signal in SIGNALS]
    np.testing.assert_allclose(alone(teacher), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(teacher.predict(SIGNALS), expected, rtol=0, atol=1e-5)
    # what the comparison could miss if the scores hardly depended on the signal
    assert np.std(expected, axis=0).min() > 0.02


@pytest.mark.parametrize("old_names", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    ("family", "form"), [("wavlm", LARGE_FORM), ("hubert", BASE_FORM)]
)
def test_odyssey_is_its_formula(
    family: str, form: dict[str, Any], layers: int, old_names: bool, tmp_path: Path
) -> None:
    config, weights, model = made.odyssey(family=family, form=form, layers=layers)
    folder = made.write(
        tmp_path / "odyssey",
        config,
        weights,
        old_names=old_names,
        preprocessor_config=made.ODYSSEY_PREPROCESSOR,
        backbone=made.odyssey_backbone(family, form),
    )
    teacher = load_teacher(str(folder))
    expected = [
        made.odyssey_scores(weights, model, signal, layers) for signal in SIGNALS
    ]
    np.testing.assert_allclose(alone(teacher), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(teacher.predict(SIGNALS), expected, rtol=0, atol=1e-5)
    assert np.std(expected, axis=0).min() > 0.02


def test_files_have_the_published_keys(tmp_path: Path) -> None:
    folder = made.write_dawn(tmp_path / "dawn")
    keys = set(safetensors.torch.load_file(folder / "model.safetensors"))
    assert keys >= {
        "classifier.dense.bias",
        "classifier.dense.weight",
        "classifier.out_proj.bias",
        "classifier.out_proj.weight",
        "wav2vec2.encoder.layer_norm.weight",
        "wav2vec2.encoder.layers.1.attention.k_proj.weight",
        "wav2vec2.encoder.pos_conv_embed.conv.bias",
        "wav2vec2.encoder.pos_conv_embed.conv.weight_g",
        "wav2vec2.encoder.pos_conv_embed.conv.weight_v",
        "wav2vec2.feature_extractor.conv_layers.0.conv.weight",
        "wav2vec2.feature_projection.projection.weight",
        "wav2vec2.masked_spec_embed",
    }
    folder = made.write_odyssey(tmp_path / "odyssey")
    keys = set(safetensors.torch.load_file(folder / "model.safetensors"))
    assert keys >= {
        "pool_model.attention",
        "pool_model.sap_linear.weight",
        "ser_model.fc.0.0.weight",
        "ser_model.fc.0.1.weight",
        "ser_model.out.0.weight",
        "ssl_model.encoder.layers.0.attention.gru_rel_pos_const",
        "ssl_model.encoder.layers.0.attention.rel_attn_embed.weight",
        "ssl_model.encoder.pos_conv_embed.conv.weight_g",
        "ssl_model.masked_spec_embed",
    }


def test_padding_would_change_an_unmasked_model() -> None:
    """What the masks are for: without them the batch is in the score."""
    for form in (LARGE_FORM, BASE_FORM):
        model = made.backbone("wav2vec2", form)
        signal = torch.from_numpy(SIGNALS[3])[None]
        padded = torch.nn.functional.pad(signal, (0, 8000))
        with torch.inference_mode():
            plain = model(signal).last_hidden_state
            other = model(padded).last_hidden_state[:, : plain.shape[1]]
        assert (plain - other).abs().max() > 1e-2


def test_a_batch_norm_on_the_padding_is_run_by_length(tmp_path: Path) -> None:
    form = {**LARGE_FORM, "conv_pos_batch_norm": True}
    _, weights, model = made.dawn("hubert", form)
    teacher = load_teacher(
        str(made.write_dawn(tmp_path / "h", family="hubert", form=form))
    )
    assert not teacher.padding  # type: ignore[attr-defined]
    expected = [made.dawn_scores(weights, model, signal) for signal in SIGNALS]
    np.testing.assert_allclose(teacher.predict(SIGNALS), expected, rtol=0, atol=1e-5)


def test_normalisation_is_that_of_transformers(tmp_path: Path) -> None:
    import transformers

    folder = made.write_dawn(tmp_path / "dawn")
    teacher = load_teacher(str(folder))
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder)
    for signal in SIGNALS:
        wanted = extractor(signal, sampling_rate=16000).input_values[0]
        assert isinstance(teacher, TransformersTeacher)
        np.testing.assert_allclose(teacher._normalize(signal), wanted, atol=1e-5)


def test_no_normalisation_if_the_file_says_so(tmp_path: Path) -> None:
    _, weights, model = made.dawn()
    folder = made.write_dawn(
        tmp_path / "raw",
        preprocessor_config={**made.DAWN_PREPROCESSOR, "do_normalize": False},
    )
    # one whose own mean and variance are 0 and 1
    signal = np.sqrt(2) * np.sin(2 * np.pi * np.arange(4000) / 40)
    signal = signal.astype(np.float32)
    expected = made.dawn_scores(weights, model, signal)
    teacher = load_teacher(str(folder))
    np.testing.assert_allclose(teacher.predict([signal])[0], expected, atol=1e-5)
    assert np.abs(teacher.predict([signal + 1])[0] - expected).max() > 1e-2


def test_outputs_in_another_order(tmp_path: Path) -> None:
    avd = ("arousal", "valence", "dominance")
    for writer in (made.write_dawn, made.write_odyssey):
        there = load_teacher(str(writer(tmp_path / f"{writer.__name__}1", labels=avd)))
        plain = load_teacher(str(writer(tmp_path / f"{writer.__name__}2")))
        np.testing.assert_array_equal(
            there.predict(SIGNALS), plain.predict(SIGNALS)[:, [0, 2, 1]]
        )
        assert there.info.order == "arousal,valence,dominance"
        assert plain.info.order == "arousal,dominance,valence"
        assert there.info.revision != plain.info.revision


def test_unnamed_outputs_are_refused_until_they_are_named(tmp_path: Path) -> None:
    names = ("LABEL_0", "LABEL_1", "LABEL_2")
    folder = made.write_dawn(tmp_path / "dawn", labels=names)
    with pytest.raises(InputError, match=r"outputs of teacher 'dawn' must be named .*"
                       r"got \['LABEL_0'.*pass --teacher-labels"):  # fmt: skip
        load_teacher(str(folder))
    given = load_teacher(str(folder), labels=("valence", "arousal", "dominance"))
    (folder / "teacher.json").write_text(
        json.dumps({"labels": ["Valence", "Arousal", "Dominance"]})
    )
    stated = load_teacher(str(folder))
    assert given.info == stated.info
    known = load_teacher(str(made.write_dawn(tmp_path / "known")))
    np.testing.assert_array_equal(
        stated.predict(SIGNALS), known.predict(SIGNALS)[:, [1, 2, 0]]
    )


def test_another_range_is_brought_to_ours(tmp_path: Path) -> None:
    plain = load_teacher(str(made.write_dawn(tmp_path / "plain")))
    scores = plain.predict(SIGNALS)
    folder = made.write_dawn(tmp_path / "seven", teacher={"range": [1, 7]})
    seven = load_teacher(str(folder))
    np.testing.assert_allclose(seven.predict(SIGNALS), (scores - 1) / 6, atol=1e-6)
    assert seven.info.range == "about 0..1, from 1..7"
    folder = made.write_dawn(tmp_path / "clip", teacher={"clip": True})
    clipped = load_teacher(str(folder))
    assert scores.max() > 1 or scores.min() < 0
    np.testing.assert_array_equal(clipped.predict(SIGNALS), scores.clip(0, 1))


def damage(folder: Path, change: Any) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    change(weights)
    safetensors.torch.save_file(weights, folder / "model.safetensors")


def test_one_key_missing(tmp_path: Path) -> None:
    for key in (
        "classifier.out_proj.bias",
        "wav2vec2.encoder.pos_conv_embed.conv.weight_g",
        "wav2vec2.encoder.layers.1.attention.q_proj.weight",
    ):
        folder = made.write_dawn(tmp_path / key)
        damage(folder, lambda weights, key=key: weights.pop(key))
        name = key.replace("weight_g", "parametrizations.weight.original0")
        with pytest.raises(InputError, match=f"missing: {name}: .*not the whole one"):
            load_teacher(str(folder))
    folder = made.write_odyssey(tmp_path / "odyssey")
    damage(folder, lambda weights: weights.pop("pool_model.attention"))
    with pytest.raises(InputError, match=r"missing: pool_model.attention"):
        load_teacher(str(folder))


def test_the_mask_embedding_of_training_is_not_needed(tmp_path: Path) -> None:
    folder = made.write_dawn(tmp_path / "x")
    scores = load_teacher(str(folder)).predict(SIGNALS)
    damage(folder, lambda weights: weights.pop("wav2vec2.masked_spec_embed"))
    np.testing.assert_array_equal(load_teacher(str(folder)).predict(SIGNALS), scores)


def test_one_key_too_many(tmp_path: Path) -> None:
    folder = made.write_dawn(tmp_path / "dawn")
    damage(folder, lambda weights: weights.update({"lm_head.weight": torch.zeros(2)}))
    with pytest.raises(InputError, match=r"unexpected: lm_head.weight"):
        load_teacher(str(folder))


def test_another_head_is_refused(tmp_path: Path) -> None:
    """The head of transformers' own classifier, and that of the other recipe."""
    folder = made.write_dawn(tmp_path / "plain")

    def swap(weights: dict[str, torch.Tensor]) -> None:
        for key in list(weights):
            if key.startswith("classifier."):
                del weights[key]
        weights["projector.weight"] = torch.zeros(256, 32)
        weights["classifier.weight"] = torch.zeros(3, 256)

    damage(folder, swap)
    message = (
        r"missing: classifier\.dense\.bias, .*unexpected: classifier\.weight, proj"
    )
    with pytest.raises(InputError, match=message):
        load_teacher(str(folder))
    _, other, _ = made.odyssey()
    config, _, _ = made.dawn("wavlm")
    renamed = {k.replace("ssl_model.", "wavlm."): v for k, v in other.items()}
    folder = made.write(
        tmp_path / "swapped", config, renamed,
        preprocessor_config=made.DAWN_PREPROCESSOR,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"missing: classifier\.dense.*unexpected: "
                       r"pool_model\.attention.*and 3 more"):  # fmt: skip
        load_teacher(str(folder))


def test_another_shape_is_refused(tmp_path: Path) -> None:
    folder = made.write_dawn(tmp_path / "x")
    damage(folder, lambda w: w.update({"classifier.out_proj.bias": torch.zeros(2)}))
    with pytest.raises(InputError, match=r"of another shape: classifier.out_proj.bias "
                       r"\(2,\) for \(3,\)"):  # fmt: skip
        load_teacher(str(folder))


def test_a_pickle_of_tensors_is_read_and_no_other(tmp_path: Path) -> None:
    folder = made.write_dawn(tmp_path / "x")
    scores = load_teacher(str(folder)).predict(SIGNALS)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    # while there are safetensors nothing else is looked at
    assert load_teacher(str(folder)).info.revision
    (folder / "model.safetensors").unlink()
    np.testing.assert_array_equal(load_teacher(str(folder)).predict(SIGNALS), scores)

    ran = tmp_path / "ran"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Touch(ran)))
    with pytest.raises(InputError, match="weights must be a file of tensors"):
        load_teacher(str(folder))
    assert not ran.exists()
    torch.save([torch.zeros(1)], folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="weights must be tensors by name"):
        load_teacher(str(folder))


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_damaged_safetensors_are_refused(tmp_path: Path) -> None:
    folder = made.write_dawn(tmp_path / "x")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="weights must be a file of tensors"):
        load_teacher(str(folder))


def test_code_beside_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    folder = made.write_odyssey(tmp_path / "x")
    ran = tmp_path / "ran"
    (folder / "pipeline_utils.py").write_text(f"open({str(ran)!r}, 'w')\n")
    load_teacher(str(folder))
    assert not ran.exists()


def edit(folder: Path, **changes: Any) -> str:
    path = folder / "config.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "wav2vec2, hubert, wavlm or ser, got 'bert'"),
        ({"pooling_mode": "max"}, "can be built: .*pooling_mode is max"),
        ({"add_adapter": True}, "add_adapter is not supported"),
        ({"conv_dim": [16]}, "config.json must describe a model that can be built"),
        ({"hidden_size": "x"}, "config.json must describe a model that can be built"),
    ],
)  # fmt: skip
def test_settings_that_are_not_understood(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        load_teacher(edit(made.write_dawn(tmp_path / "x"), **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": None}, "mean must be a number that signals are normalised by"),
        ({"std": 0}, "std must be a number that signals are normalised by, got 0"),
        ({"sampling_rate": 8000}, "sampling_rate must be 16000, got 8000"),
        ({"classifier_hidden_layers": None}, "can be built: .*KeyError"),
    ],
)
def test_settings_of_odyssey(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        load_teacher(edit(made.write_odyssey(tmp_path / "x"), **changes))


def test_files_that_are_no_json(tmp_path: Path) -> None:
    folder = made.write_dawn(tmp_path / "x", preprocessor_config={"do_normalize": 1})
    with pytest.raises(InputError, match="do_normalize must be true or false, got 1"):
        load_teacher(str(folder))
    (folder / "config.json").write_text("[]")
    with pytest.raises(InputError, match=r"file must be an object of JSON: .*config"):
        load_teacher(str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"file must be JSON: .*config.json"):
        load_teacher(str(folder))
    folder = made.write_dawn(tmp_path / "y", card="license: [")
    with pytest.raises(InputError, match="model card must begin with YAML"):
        load_teacher(str(folder))


def test_too_short_a_signal(tmp_path: Path) -> None:
    teacher = load_teacher(str(made.write_dawn(tmp_path / "x")))
    with pytest.raises(InputError, match="at least 400 samples at 16 kHz, got 399"):
        teacher.predict([SIGNALS[0][:399]])


def test_one_dimension_is_not_a_teacher(tmp_path: Path) -> None:
    folder = made.write_odyssey(tmp_path / "valence", labels=("valence",))
    with pytest.raises(InputError, match=r"must give arousal, dominance, valence, got "
                       r"valence from .*members of an ensemble"):  # fmt: skip
        load_teacher(str(folder))
    scores = load_member(str(folder), "permissive").predict(SIGNALS)
    assert np.isnan(scores[:, :2]).all() and np.isfinite(scores[:, 2]).all()


def test_provenance(tmp_path: Path) -> None:
    card = "license: mit\ndatasets:\n- msp-podcast\n- x"
    folder = made.write_dawn(tmp_path / "mine", card=card)
    info = load_teacher(str(folder)).info
    assert info.to_dict() == {
        "name": "mine",
        "revision": info.revision,
        "licence": "MIT",
        "training_data": "msp-podcast, x",
        "order": ",".join(ADV),
        "range": "about 0..1",
        "use": "any",
    }
    said = {"name": "other", "licence": "Apache-2.0", "training_data": "our own"}
    (folder / "teacher.json").write_text(json.dumps(said))
    other = load_teacher(str(folder)).info
    assert (other.name, other.licence) == ("other", "Apache-2.0")
    assert other.training_data == "our own"
    assert other.revision == info.revision


def test_moving_keeps_the_scores(tmp_path: Path) -> None:
    teacher = load_teacher(str(made.write_dawn(tmp_path / "x")))
    assert isinstance(teacher, TransformersTeacher)
    scores = teacher.predict(SIGNALS)
    halved = teacher.to("cpu", torch.bfloat16).predict(SIGNALS)
    assert halved.dtype == np.float32
    assert 0 < np.abs(halved - scores).max() < 0.2


def test_the_backbone_of_odyssey_is_known_without_its_file() -> None:
    """Its size and keys are those of the published WavLM-large."""
    with torch.device("meta"):
        model, width = _backbone(BACKBONES["microsoft/wavlm-large"])
    assert width == 1024
    # 315,453,120 as published, less the embedding that masks for training
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == 315_453_120 - 1024
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert shapes["encoder.layers.0.attention.rel_attn_embed.weight"] == (320, 16)
    assert "feature_extractor.conv_layers.0.conv.bias" not in shapes
    assert shapes["feature_extractor.conv_layers.6.layer_norm.weight"] == (512,)
    assert type(model.encoder).__name__ == "WavLMEncoderStableLayerNorm"
