"""What people say of clips: read, split and mapped from categories."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from finetune_corpus import corpus, write_corpus
from hypothesis import given
from hypothesis import strategies as st

from wav2small.errors import InputError
from wav2small.finetune.norms import CATEGORIES, NORMS, norm_score
from wav2small.finetune.table import GENDERS, read_table, speaker_folds


def test_norms_are_on_our_scale() -> None:
    assert norm_score("neutral").tolist() == [0.5, 0.5, 0.5]
    assert norm_score("happiness").tolist() == pytest.approx([0.755, 0.73, 0.905])
    # nobody heard the category: nothing is known
    assert norm_score("anger", 0.0).tolist() == [0.5, 0.5, 0.5]
    scores = np.stack([norm_score(name) for name in CATEGORIES])
    assert ((scores > 0) & (scores < 1)).all()
    assert tuple(sorted(NORMS)) == CATEGORIES


def test_a_category_without_a_norm_is_refused() -> None:
    with pytest.raises(ValueError, match=r"emotion must be one of anger.*got 'awe'"):
        norm_score("awe")


def test_scores_by_humans_count(tmp_path: Path) -> None:
    table = corpus(tmp_path)
    assert table.origin == "human"
    assert table.rated.all()
    with (tmp_path / "metadata.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    for name, truth in zip(table.labels.names, table.truth, strict=True):
        wanted = [float(rows[name][d]) for d in ("arousal", "dominance", "valence")]
        assert truth.tolist() == pytest.approx(wanted)
    assert table.genders.tolist()[:3] == [1, 2, 0]
    assert [GENDERS[g] for g in table.genders[:3]] == ["female", "male", "unknown"]
    assert set(table.categories(["sadness"]).tolist()) == {-1, 0}
    assert table.speakers[7] == "s1"


def make(folder: Path, header: str, *lines: str) -> Path:
    for line in lines:
        soundfile.write(folder / line.split(",")[0], np.zeros(1600), 16000)
    (folder / "t.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder / "t.csv"


def test_categories_take_the_place_of_scores(tmp_path: Path) -> None:
    table = read_table(
        make(tmp_path, "file,emotion", "a.wav,anger", "b.wav,awe", "c.wav,neutral")
    )
    assert table.origin == "norms"
    assert table.rated.tolist() == [True, False, True]
    np.testing.assert_array_equal(table.truth[0], norm_score("anger"))
    assert table.speakers.tolist() == ["a.wav", "b.wav", "c.wav"]


def test_a_row_with_half_its_scores_is_not_rated(tmp_path: Path) -> None:
    table = read_table(
        make(
            tmp_path, "file,arousal,dominance,valence", "a.wav,.1,.2,.3", "b.wav,.1,,.3"
        )
    )
    assert table.rated.tolist() == [True, False]


def test_a_table_that_says_nothing_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path, "file,speaker", "a.wav,x")
    with pytest.raises(InputError, match=r"labels must have columns arousal.*neither"):
        read_table(path)


def test_another_split_and_another_truth(tmp_path: Path) -> None:
    table = corpus(tmp_path)
    split = ["test"] * len(table.truth)
    assert table.with_split(split).labels.metadata["split"] == split
    assert table.labels.metadata["split"] == [None] * len(split)
    truth = np.full_like(table.truth, np.nan)
    assert not table.with_truth(truth).rated.any()


def test_audio_may_have_moved(tmp_path: Path) -> None:
    path = write_corpus(tmp_path)
    assert read_table(path).root == tmp_path
    assert read_table(path, tmp_path / "x").root == tmp_path / "x"


@given(
    st.lists(st.integers(0, 9), min_size=10, max_size=60), st.integers(2, 5), st.data()
)
def test_folds_share_no_speaker(rows, count, data) -> None:
    rows = [*rows, *range(10)]
    gender = {speaker: data.draw(st.integers(0, 2)) for speaker in range(10)}
    speakers = np.array([f"s{row}" for row in rows])
    genders = np.array([gender[row] for row in rows])
    fold = speaker_folds(speakers, genders, count, np.random.default_rng(0))
    assert set(fold) == set(range(count))
    for number in range(count):
        assert not set(speakers[fold == number]) & set(speakers[fold != number])
    sizes = [len(set(speakers[fold == number])) for number in range(count)]
    assert max(sizes) - min(sizes) <= 1


def test_each_fold_has_a_woman_and_a_man() -> None:
    speakers = np.array([f"s{n}" for n in range(10)])
    genders = np.array([1, 2] * 5)
    fold = speaker_folds(speakers, genders, 5, np.random.default_rng(1))
    for number in range(5):
        assert sorted(genders[fold == number]) == [1, 2]


def test_more_folds_than_speakers_are_refused() -> None:
    with pytest.raises(InputError, match=r"folds must be 2 to 1.*got 2"):
        speaker_folds(np.array(["a"]), np.array([0]), 2, np.random.default_rng(0))
