"""Words of tables: understood in all their spellings, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav2small.audio.spellings import GENDERS, SPLITS, canonical
from wav2small.errors import InputError


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("train", "train TRAIN Training tr trn train-clean-100 train_2 Train1"),
        ("dev", "dev Devel development Development val valid Validation dev-other"),
        ("test", "test Test1 test-clean test_other Test-2 eval EVALUATION held-out"),
    ],
)
def test_splits_in_the_spellings_of_corpora(name: str, spellings: str) -> None:
    assert {canonical("split", word) for word in spellings.split()} == {name}


@pytest.mark.parametrize(
    "text",
    ["fold1", "3", "train-dev", "train+test", "devtest", "not train", "other", "xtest"],
)
def test_splits_that_can_be_misread_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"split must be one of train \(.*rename it"):
        canonical("split", text)


@given(st.text())
def test_no_other_word_is_for_training(text: str) -> None:
    try:
        found = canonical("split", text)
    except InputError:
        return
    assert found in {*SPLITS, ""}
    if found == "train":
        assert text.strip().lower().startswith("tr")


@pytest.mark.parametrize(
    ("name", "spellings"),
    [
        ("female", "female F f Female w W woman weiblich"),
        ("male", "male M m Male MALE man männlich"),
        ("other", "other diverse child"),
        ("", "unknown n/a None nan"),
    ],
)
def test_genders(name: str, spellings: str) -> None:
    assert {canonical("gender", word) for word in spellings.split()} == {name}
    assert name in GENDERS


@pytest.mark.parametrize("text", ["0", "1", "fm", "femal"])
def test_other_genders_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"gender must be female .* got '{text}'"):
        canonical("gender", text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("3.0", "3"), ("3", "3"), ("3.5", "3.5"), ("03", "03"), ("s3.0", "s3.0")],
)
def test_a_number_of_a_speaker_is_one_name(text: str, wanted: str) -> None:
    assert canonical("speaker", text) == wanted


def test_case_says_something_in_names_and_sentences_alone() -> None:
    assert canonical("emotion", " Anger ") == "anger"
    assert canonical("language", "DE") == "de"
    assert canonical("speaker", "Anna") == "Anna"
    assert canonical("text", "Stop at 3.0") == "Stop at 3.0"
