"""Fine-tuning: it learns, it repeats, and a kill costs nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune_corpus import (
    SMALL_SSL,
    STILL,
    clip,
    corpus,
    fast,
    write_corpus,
    write_mel,
)

from wav2small import checkpoint
from wav2small.annotation.run import annotate
from wav2small.annotation.store import LabelStore
from wav2small.errors import InputError
from wav2small.finetune import find
from wav2small.finetune.backbones import Origin, build_backbone, save_backbone
from wav2small.finetune.config import FinetuneConfig, NetworkConfig
from wav2small.finetune.network import FinetuneNetwork
from wav2small.finetune.objective import exit_parts, score_parts, task_part
from wav2small.finetune.recipe import parameter_groups
from wav2small.finetune.table import Ratings
from wav2small.finetune.teacher import FinetunedTeacher, score
from wav2small.finetune.train import finetune
from wav2small.teachers.loading import load_any, load_teacher

SIGNALS = [
    clip(np.random.default_rng(i), 1, 3)[:n] for i, n in enumerate([8000, 5000, 700])
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Ratings:
    return corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def mel(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_mel(tmp_path_factory.mktemp("backbone") / "mel")


@pytest.fixture(scope="module")
def wavlm(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("backbone") / "wavlm"
    torch.manual_seed(3)
    built = build_backbone({"model_type": "wavlm", **SMALL_SSL})
    save_backbone(folder, built, Origin("owner/w", "CC-BY-NC-4.0", "speech"))
    return str(folder)


# Losses ----------------------------------------------------------------------


def test_the_four_terms() -> None:
    rng = np.random.default_rng(0)
    truth, deep = rng.random((6, 3)), rng.random((6, 3))
    early, feature = rng.random((6, 2, 3)), rng.random((6, 2, 8))
    last = rng.random((6, 8))

    def task(x: np.ndarray) -> float:
        a, b = x - x.mean(0), truth - truth.mean(0)
        ccc = 2 * (a * b).mean(0) / (
            (a**2).mean(0) + (b**2).mean(0) + (x.mean(0) - truth.mean(0)) ** 2
        )  # fmt: skip
        return float((1 - ccc).sum() + 0.5 * np.abs(x - truth).mean())

    outputs = {
        key: torch.tensor(value, requires_grad=True)
        for key, value in {
            "scores": deep,
            "exit_scores": early,
            "exit_features": feature,
            "feature": last,
        }.items()
    }
    wanted = torch.tensor(truth)
    parts = score_parts(outputs["scores"], wanted, 0.5)
    assert torch.stack(list(parts.values())).sum().item() == pytest.approx(task(deep))
    parts = exit_parts(outputs, wanted, 0.5)
    assert parts["exit_task"].item() == pytest.approx(
        (task(early[:, 0]) + task(early[:, 1])) / 2
    )
    assert parts["exit_scores"].item() == pytest.approx(
        ((early - deep[:, None]) ** 2).mean()
    )
    assert parts["exit_feature"].item() == pytest.approx(
        ((feature - last[:, None]) ** 2).mean()
    )
    torch.stack(list(parts.values())).sum().backward()
    # the deepest ones learn nothing from their followers
    assert outputs["scores"].grad is None
    assert outputs["feature"].grad is None
    assert outputs["exit_scores"].grad is not None
    assert outputs["exit_features"].grad is not None


def test_unknown_classes_do_not_count() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]], requires_grad=True)
    wanted = float(np.log(1 + np.exp(-2)) + np.log(1 + np.exp(-1))) / 2
    loss = task_part(logits, torch.tensor([0, 1, -1]), 0.5)
    assert loss.item() == pytest.approx(0.5 * wanted)
    nothing = task_part(logits, torch.tensor([-1, -1, -1]), 0.5)
    nothing.backward()
    assert nothing.item() == 0
    assert logits.grad is not None and (logits.grad == 0).all()


# What is trained -------------------------------------------------------------


def grouped(network: FinetuneNetwork, **fields: object) -> dict[str, float]:
    config = FinetuneConfig(network=network.config, **fields)  # type: ignore[arg-type]
    return {
        name: group["peak"]
        for group in parameter_groups(network, config, pretrained=True)
        for name in group["names"]
    }


def test_rates_fall_from_layer_to_layer() -> None:
    built = build_backbone(
        {
            "model_type": "wav2vec2",
            **SMALL_SSL,
            "feat_extract_norm": "layer",
            "do_stable_layer_norm": True,
        }
    )
    rates = grouped(FinetuneNetwork(NetworkConfig(), built), layer_decay=0.5)
    model = "backbone.network.model"
    layers = f"{model}.encoder.layers"
    assert rates["scores.weight"] == 1e-3
    assert rates[f"{model}.encoder.layer_norm.weight"] == 1e-5
    assert rates[f"{layers}.1.feed_forward.output_dense.weight"] == 1e-5
    assert rates[f"{layers}.0.feed_forward.output_dense.weight"] == 0.5e-5
    assert rates[f"{model}.feature_projection.projection.weight"] == 0.25e-5
    assert not any("feature_extractor" in name for name in rates)


@pytest.mark.parametrize(
    ("fields", "network", "trained"),
    [
        ({"frozen": True}, NetworkConfig(), ()),
        ({}, NetworkConfig(adapters=2), ("backbone.adapters.",)),
        ({"freeze_convolutions": False}, NetworkConfig(), ("backbone.",)),
    ],
)
def test_what_is_frozen(fields, network, trained) -> None:
    built = build_backbone({"model_type": "wavlm", **SMALL_SSL})
    whole = FinetuneNetwork(network, built)
    names = set(grouped(whole, **fields))
    heads = ("dense.", "scores.")
    assert all(name.startswith((*heads, *trained)) for name in names)
    for prefix in (*heads, *trained):
        assert any(name.startswith(prefix) for name in names)
    assert names == {k for k, p in whole.named_parameters() if p.requires_grad}
    convolutions = any("feature_extractor" in name for name in names)
    assert convolutions == (fields.get("freeze_convolutions") is False)


# Runs ------------------------------------------------------------------------


class Killed(Exception):
    pass


def run_with_a_kill(table, run, config, **options) -> dict:
    """Train, be killed at the second evaluation before it is saved, resume."""

    def kill(stage, done, total, figures) -> None:
        if stage == "train" and done == 5:
            raise Killed

    with pytest.raises(Killed):
        finetune(table, run, config, progress=kill, **options)
    return finetune(table, run, config, resume=True, **options)


CASES = {
    "plain": {},
    "everything": {
        "network": NetworkConfig(
            states="weighted",
            pooling="attentive",
            hidden=16,
            gender=True,
            fusion="gated",
            tasks=("category", "gender"),
            exits=(1,),
        ),
        "layers": 2,
    },
    "merged": {"network": NetworkConfig(states="merged", pooling="deviation")},
    "lora": {"lora": 2, "layers": 2, "choose": "uniform"},
    "adapters": {"network": NetworkConfig(adapters=2)},
    "taught": {"warm_up": "taught", "layers": 2, "warm_up_steps": 2},
    "contrast": {"warm_up": "contrast", "warm_up_steps": 2},
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_killed_run_ends_with_the_same_weights(tmp_path, table, mel, case) -> None:
    config = fast(mel, **CASES[case])
    said = {"licence": "CC0-1.0", "training_data": "noise"}
    text = None
    if case == "everything":

        def text(texts):  # type: ignore[no-redef]
            return np.array([[len(t), t.count("1")] for t in texts], np.float32) / 9

    whole = finetune(table, tmp_path / "a", config, text=text, name="x", **said)
    again = run_with_a_kill(table, tmp_path / "b", config, text=text, name="x", **said)
    for name in ("best", "last"):
        ours, _ = checkpoint.load(tmp_path / "a" / name)
        theirs, _ = checkpoint.load(tmp_path / "b" / name)
        assert set(ours) == set(theirs)
        for key, value in ours.items():
            np.testing.assert_array_equal(value, theirs[key], err_msg=key)
    assert whole["history"] == again["history"]
    assert whole["curve"] == again["curve"][: len(whole["curve"])]
    assert not (tmp_path / "a" / "clips").exists()
    # what was saved is a teacher, whose scores do not depend on the batch
    teacher = FinetunedTeacher.load(tmp_path / "a")
    scores = teacher.predict(SIGNALS)
    assert scores.shape == (3, 3)
    assert scores.dtype == np.float32
    alone = np.concatenate([teacher.predict([signal]) for signal in SIGNALS])
    np.testing.assert_allclose(scores, alone, atol=1e-5)
    assert teacher.info.name == "x"
    assert teacher.info.use == "any"
    assert not any("lora" in key for key in teacher.network.state_dict())


def test_it_learns(tmp_path, table, mel) -> None:
    config = fast(
        mel, steps=60, evaluations=4, batch_size=8, augment=STILL, crop_seconds=0.5
    )
    figures = finetune(table, tmp_path / "run", config)
    assert figures["curve"][-1] < 0.6 * figures["curve"][0]
    assert figures["metrics"]["mean"] > 0.3
    assert figures["trainable"] < figures["parameters"]  # the log-mel is frozen


def test_it_stops_early(tmp_path, table, mel) -> None:
    # nothing is learned at a rate of 0, so the first evaluation is the best
    config = fast(mel, steps=9, evaluations=9, patience=2, learning_rate=0.0)
    finetune(table, tmp_path / "run", config)
    _, last = checkpoint.load(tmp_path / "run" / "last")
    assert last["step"] == 3
    assert checkpoint.load(tmp_path / "run" / "best")[1]["step"] == 1
    # and a stopped run that is resumed stays as it is
    finetune(table, tmp_path / "run", config, resume=True)
    assert checkpoint.load(tmp_path / "run" / "last")[1] == last


def test_a_backbone_of_others_binds_the_teacher(tmp_path, table, wavlm) -> None:
    config = fast(wavlm, steps=2, evaluations=1, bfloat16=True)
    finetune(table, tmp_path / "run", config, licence="MIT", training_data="mine")
    with pytest.raises(InputError, match="licence"):
        FinetunedTeacher.load(tmp_path / "run")
    teacher = FinetunedTeacher.load(tmp_path / "run", policy="research")
    assert teacher.info.use == "research-only"
    assert teacher.info.training_data == "speech; mine"
    assert teacher.predict(SIGNALS).shape == (3, 3)
    with pytest.raises(InputError, match="signal must have at least 400 samples"):
        teacher.predict([SIGNALS[0][:399]])


def test_what_is_known_is_heard(tmp_path, table, mel) -> None:
    network = NetworkConfig(hidden=16, gender=True)
    text = np.random.default_rng(0).random((len(table.truth), 4)).astype(np.float32)
    config = fast(mel, steps=2, evaluations=1, network=network)
    finetune(table, tmp_path / "run", config, text=text, licence="MIT")
    teacher = FinetunedTeacher.load(tmp_path / "run")
    unknown = teacher.predict(SIGNALS)
    told = teacher.predict(SIGNALS, gender=np.array([1, 2, 0]))
    assert (told[:2] != unknown[:2]).any(1).all()
    np.testing.assert_allclose(told[2], unknown[2], atol=1e-6)
    said = teacher.predict(SIGNALS, text=text[:3])
    assert (said != unknown).any(1).all()
    teacher.to("cpu")


def test_a_teacher_is_let_in_by_its_licence(tmp_path, table, mel) -> None:
    config = fast(mel, steps=2, evaluations=1)
    run = tmp_path / "run"
    finetune(table, run, config)
    with pytest.raises(InputError, match=r"licence that allows any use.*teacher.json"):
        FinetunedTeacher.load(run)
    (run / "teacher.json").write_text('{"licence": "mit", "name": "mine"}')
    assert FinetunedTeacher.load(run).info.licence == "MIT"
    assert FinetunedTeacher.load(run).info.name == "mine"
    assert find(run) == run / "best"
    assert find(run / "best") == run / "best"
    assert find(tmp_path) is None
    with pytest.raises(InputError, match="folder of 'wav2small finetune'"):
        FinetunedTeacher.load(tmp_path)


def test_annotate_takes_it(tmp_path, table, mel) -> None:
    config = fast(mel, steps=2, evaluations=1)
    finetune(table, tmp_path / "run", config, licence="CC0-1.0")
    write_corpus(tmp_path / "speech", rows=4)
    teacher = load_teacher(str(tmp_path / "run"))
    assert isinstance(teacher, FinetunedTeacher)
    annotate([tmp_path / "speech"], tmp_path / "labels", teacher)
    store = LabelStore.open(tmp_path / "labels")
    assert len(store.read().names) == 4
    assert store.teacher["licence"] == "CC0-1.0"


def test_annotate_leaves_early(tmp_path, table, mel) -> None:
    network = NetworkConfig(hidden=16, exits=(1, 2))
    config = fast(mel, network=network, steps=2, evaluations=1)
    run = tmp_path / "run"
    finetune(table, run, config, licence="CC0-1.0")
    whole = FinetunedTeacher.load(run)
    asked = load_any(str(run), tolerance=1.0)
    (run / "teacher.json").write_text('{"tolerance": 1}')
    early = load_teacher(str(run))
    np.testing.assert_array_equal(asked.predict(SIGNALS), early.predict(SIGNALS))
    assert asked.info == early.info
    # what is asked for goes before what is stated
    never = load_teacher(str(run), tolerance=0.0)
    np.testing.assert_allclose(
        never.predict(SIGNALS), whole.predict(SIGNALS), atol=1e-5
    )
    assert isinstance(early, FinetunedTeacher)
    exits = score(early.network, SIGNALS, output="exit_scores")
    np.testing.assert_allclose(early.predict(SIGNALS), exits[:, 1], atol=1e-5)
    assert (whole.predict(SIGNALS) != early.predict(SIGNALS)).any(1).all()
    # other scores are of another revision; without early exits there are none
    assert early.info.revision != whole.info.revision
    finetune(table, run, fast(mel, steps=2, evaluations=1), overwrite=True)
    with pytest.raises(InputError, match="exits must be at least two to agree"):
        FinetunedTeacher.load(run, policy="research")
    (run / "teacher.json").write_text('{"tolerance": 2}')
    with pytest.raises(InputError, match=r'"tolerance" must be a number in 0..1'):
        FinetunedTeacher.load(run, policy="research")


# What is refused -------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2, got 1"),
        ({"lora": 2, "network": NetworkConfig(adapters=1)}, "lora and adapters"),
        ({"warm_up": "taught"}, "layers must be given for the warm-up taught"),
    ],
)
def test_configurations_that_are_none(fields, message) -> None:
    with pytest.raises(InputError, match=message):
        FinetuneConfig(**fields)


def test_runs_that_cannot_be(tmp_path, table, mel) -> None:
    config = fast(mel, steps=2, evaluations=1)
    run = tmp_path / "run"
    finetune(table, run, config)
    with pytest.raises(InputError, match=r"run exists.*--resume or --overwrite"):
        finetune(table, run, config)
    with pytest.raises(InputError, match="resumed with its own options"):
        finetune(table, run, replace(config, seed=1), resume=True)
    other = table.with_truth(table.truth[::-1])
    with pytest.raises(InputError, match="resumed with its own labels"):
        finetune(other, run, config, resume=True)
    finetune(table, run, replace(config, seed=1), overwrite=True)
    moved = replace(table, root=tmp_path)
    with pytest.raises(InputError, match="audio of the labels cannot be read below"):
        finetune(moved, tmp_path / "other", config)
    with pytest.raises(InputError, match=r"text must be embeddings \(24 rows, width\)"):
        finetune(table, tmp_path / "c", config, text=np.zeros((3, 4)))
    wide = replace(config, network=NetworkConfig(text_width=4))
    with pytest.raises(InputError, match="text must be given, got none for 4 columns"):
        finetune(table, tmp_path / "d", wide)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="device must be cpu, got cuda"):
            finetune(table, tmp_path / "e", config, device="cuda")


def test_unlabelled_and_tested_rows_are_not_learned(tmp_path, table, mel) -> None:
    split = ["test" if s in ("s0", "s1") else "" for s in table.speakers]
    split = ["dev" if s in ("s2", "s3") else p
             for s, p in zip(table.speakers, split, strict=True)]  # fmt: skip
    config = fast(mel, steps=2, evaluations=1)
    base = table.with_split(split)
    finetune(base, tmp_path / "a", config)
    truth = table.truth.copy()
    truth[[part == "test" for part in split]] = 0.123
    finetune(base.with_truth(truth), tmp_path / "b", config)
    ours, told = checkpoint.load(tmp_path / "a" / "best")
    theirs, _ = checkpoint.load(tmp_path / "b" / "best")
    assert told["labels"]["train"] == 8
    assert told["labels"]["dev"] == 8
    for key, value in ours.items():
        np.testing.assert_array_equal(value, theirs[key])


def test_a_training_that_diverges_is_no_success(
    table: Ratings, mel: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="training must stay finite, got nan"):
        finetune(table, tmp_path / "run", fast(mel, learning_rate=1e30))
    assert not (tmp_path / "run" / "best").exists()
