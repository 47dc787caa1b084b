"""What a table says of a clip reaches a teacher that uses it, wherever it scores."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ears import Ear, Reader, read
from finetune_corpus import clip, corpus, fast, write_encoder, write_mel

from wav2small.annotation.engines import Engine, Processes, ThisProcess
from wav2small.annotation.run import annotate
from wav2small.annotation.store import LabelStore
from wav2small.clips import Clips
from wav2small.crops import Crops
from wav2small.distillation import DistillConfig
from wav2small.errors import InputError
from wav2small.finetune.network import NetworkConfig
from wav2small.finetune.parts.text import SentenceEncoder
from wav2small.finetune.train import finetune
from wav2small.suite import Speech
from wav2small.teachers.base import move, predict_with_metadata
from wav2small.teachers.ensemble import EnsembleTeacher, Member
from wav2small.teachers.loading import load_teacher

SIGNALS = [clip(np.random.default_rng(seed), 1, 3) for seed in range(3)]
SAID = [
    {"gender": "female", "text": "a good day"},
    {"gender": "male", "text": "bad"},
    {"gender": None, "text": None},
]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of whom something is known."""
    folder = tmp_path_factory.mktemp("metadata")
    for number, signal in enumerate(SIGNALS):
        soundfile.write(folder / f"{number}.wav", signal, 16000, subtype="FLOAT")
    return write_table(folder / "m.csv", SAID)


def write_table(path: Path, said: list[dict[str, str | None]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "gender", "text"])
        writer.writeheader()
        for number, row in enumerate(said):
            writer.writerow({"file": f"{number}.wav", **row})
    return path


@pytest.mark.parametrize("engine", [ThisProcess(), Processes(1)])
def test_every_engine_tells(engine: Engine, table: Path, tmp_path: Path) -> None:
    annotate([table], tmp_path / "l", Reader, engine=engine)
    scores = LabelStore.open(tmp_path / "l").read().scores
    wanted = [read(row["gender"], row["text"]) for row in SAID]
    np.testing.assert_allclose(scores[:, 1:], wanted, rtol=1e-6)


def test_an_ensemble_tells_those_who_listen() -> None:
    both = EnsembleTeacher("both", [Member(Reader()), Member(Ear())])
    assert both.uses_metadata == ("gender", "text")
    found = predict_with_metadata(both, SIGNALS, SAID)
    parts = [Reader().predict(SIGNALS, metadata=SAID), Ear().predict(SIGNALS)]
    np.testing.assert_allclose(found, np.mean(parts, axis=0), rtol=1e-6)


def test_the_suite_tells() -> None:
    columns = {name: [row[name] for row in SAID] for name in ("gender", "text")}
    speech = Speech(SIGNALS, {}, columns | {"speaker": ["a", "b", "c"]})
    found = [speech.score(Reader(), item, SIGNALS[0]) for item in range(3)]
    wanted = [read(row["gender"], row["text"]) for row in SAID]
    np.testing.assert_allclose(np.array(found)[:, 1:], wanted, rtol=1e-6)


def test_crops_are_scored_with_what_is_known(table: Path, tmp_path: Path) -> None:
    sources = [(table.parent / f"{n}.wav", 0.0, None) for n in range(3)]
    clips, _ = Clips.decode(sources, tmp_path)
    config = DistillConfig(batch_size=3, crop_seconds=0.2, non_speech=0.0)
    crops = Crops(
        clips, np.zeros((3, 3)), np.arange(3), [], config, Reader(), metadata=SAID
    )
    crops.make_batch(0)
    wanted = [read(row["gender"], row["text"]) for row in SAID]
    np.testing.assert_allclose(crops.crop_scores[:, 0, 1:], wanted, rtol=1e-6)


def test_a_teacher_is_moved_if_it_can_be() -> None:
    bundled = load_teacher("bundled")
    before = bundled.predict(SIGNALS)
    assert move(bundled, "cpu:0")
    np.testing.assert_array_equal(bundled.predict(SIGNALS), before)
    assert not move(Ear(), "cuda")
    with pytest.raises(InputError, match="device must be there, got cuda:99"):
        move(bundled, "cuda:99")


# A fine-tuned teacher ---------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="module")
def teacher(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    config = fast(
        write_mel(folder / "mel"),
        network=NetworkConfig(hidden=16, gender=True),
        conditions_dropped=0.0,
        learning_rate=0.03,
    )
    text = SentenceEncoder(str(encoder))
    finetune(corpus(folder / "c"), folder / "run", config, text=text, licence="MIT")
    return folder / "run"


def test_it_hears_words_as_it_did_in_training(teacher: Path, encoder: Path) -> None:
    loaded = load_teacher(str(teacher))
    assert loaded.uses_metadata == ("gender", "text")
    texts = np.full((3, 16), np.nan, np.float32)
    texts[:2] = SentenceEncoder(str(encoder))(["a good day", "bad"])
    found = predict_with_metadata(loaded, SIGNALS, SAID)
    wanted = loaded.predict(SIGNALS, gender=np.array([1, 2, 0]), text=texts)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    unknown = predict_with_metadata(loaded, SIGNALS, [{}] * 3)
    np.testing.assert_array_equal(unknown, loaded.predict(SIGNALS))


@pytest.mark.parametrize("column", ["gender", "text"])
def test_other_words_are_other_labels(
    column: str, teacher: Path, table: Path, tmp_path: Path
) -> None:
    swapped = [dict(row) for row in SAID]
    swapped[0][column], swapped[1][column] = SAID[1][column], SAID[0][column]
    scores = []
    for name, said in (("a", SAID), ("b", swapped)):
        manifest = write_table(table.parent / f"{name}.csv", said)
        annotate([manifest], tmp_path / name, load_teacher(str(teacher)))
        scores.append(LabelStore.open(tmp_path / name).read().scores)
    assert np.abs(scores[0] - scores[1])[:2].max() > 1e-3
    np.testing.assert_array_equal(scores[0][2], scores[1][2])


def test_evaluate_tells(
    teacher: Path, table: Path, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    annotate([table], tmp_path / "l", load_teacher(str(teacher)))
    figures = tmp_path / "e.json"
    code, _, error = run("evaluate", teacher, tmp_path / "l", "--json", figures)
    assert code == 0, error
    for name in ("arousal", "dominance", "valence"):
        assert json.loads(figures.read_text())["teacher"][name]["mae"] < 1e-6


def test_the_encoder_must_be_that_of_the_training(
    teacher: Path, encoder: Path, tmp_path: Path
) -> None:
    stated = teacher / "teacher.json"
    try:
        for name, match in (
            (str(tmp_path / "none"), "text encoder must be a folder.*teacher.json"),
            (
                str(write_encoder(tmp_path / "other", 1)),
                "must be the one that .* learn",
            ),
        ):
            stated.write_text(json.dumps({"text_encoder": name}))
            loaded = load_teacher(str(teacher))
            with pytest.raises(InputError, match=match):
                predict_with_metadata(loaded, SIGNALS, SAID)
            # nothing is said: nobody is asked
            assert predict_with_metadata(loaded, SIGNALS, [{}] * 3).shape == (3, 3)
        moved = write_encoder(tmp_path / "moved")
        stated.write_text(json.dumps({"text_encoder": str(moved)}))
        found = predict_with_metadata(load_teacher(str(teacher)), SIGNALS, SAID)
    finally:
        stated.unlink(missing_ok=True)
    wanted = predict_with_metadata(load_teacher(str(teacher)), SIGNALS, SAID)
    np.testing.assert_array_equal(found, wanted)


def test_a_missing_encoder_ends_a_run(
    teacher: Path, table: Path, tmp_path: Path
) -> None:
    stated = teacher / "teacher.json"
    stated.write_text('{"text_encoder": "/nowhere"}')
    try:
        with pytest.raises(InputError, match="text encoder must be a folder"):
            annotate([table], tmp_path / "l", load_teacher(str(teacher)))
    finally:
        stated.unlink()
