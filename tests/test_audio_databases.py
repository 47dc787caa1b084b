"""Databases of audformat, as audformat itself writes them."""

from __future__ import annotations

from pathlib import Path

import audformat
import hostile
import pandas as pd
import pytest

from wav2small import audio
from wav2small.errors import InputError

FORMATS = pytest.mark.parametrize("storage_format", ["csv", "parquet"])


def database(
    folder: Path, storage_format: str = "csv", *, labels: bool = False
) -> Path:
    """A database with official splits, whose speakers are told of by their scheme."""
    made = audformat.Database("test")
    for split in ("train", "dev", "test"):
        made.splits[f"official-{split}"] = audformat.Split(type=split)
    about = {"s1": {"gender": "female"}, "s2": {"gender": "male", "age": 3}}
    if labels:
        made.schemes["speaker"] = audformat.Scheme("str", labels=about)
    else:
        people = audformat.MiscTable(pd.Index(["s1", "s2"], name="speaker"))
        made["people"] = people
        people["gender"] = audformat.Column()
        people["gender"].set(["female", "male"])
        made.schemes["speaker"] = audformat.Scheme("str", labels="people")
    for number, split in enumerate(("train", "dev", "test")):
        files = [f"{number}.wav"]
        index = audformat.segmented_index(files, ["1s"], ["2s"])
        if split == "train":
            index = audformat.filewise_index(files)
        table = audformat.Table(index, split_id=f"official-{split}")
        made[f"emotion.{split}"] = table
        table["who"] = audformat.Column(scheme_id="speaker")
        table["who"].set([f"s{number % 2 + 1}"])
        table["arousal"] = audformat.Column()
        table["arousal"].set([0.25])
    made.save(str(folder), storage_format=storage_format)
    return folder


@FORMATS
@pytest.mark.parametrize("labels", [True, False])
def test_splits_and_schemes_arrive(
    tmp_path: Path, storage_format: str, labels: bool
) -> None:
    _, sources = audio.find([database(tmp_path, storage_format, labels=labels)])
    assert [source.metadata for source in sources] == [
        {"split": "train", "speaker": "s1", "gender": "female"},
        {"split": "dev", "speaker": "s2", "gender": "male"},
        {"split": "test", "speaker": "s1", "gender": "female"},
    ]
    assert sources[1].key == ("1.wav", 1, 2)
    assert all(source.human is None for source in sources)


@FORMATS
def test_a_table_of_a_database_as_manifest(tmp_path: Path, storage_format: str) -> None:
    folder = database(tmp_path, storage_format)
    _, (source,) = audio.find([folder / f"db.emotion.test.{storage_format}"])
    assert source.metadata == {"split": "test", "speaker": "s1", "gender": "female"}
    assert source.human is not None
    assert source.human[0] == 0.25


def test_a_table_that_cannot_be_read_is_not_left_out(tmp_path: Path) -> None:
    folder = database(tmp_path)
    (folder / "db.emotion.test.csv").unlink()
    with pytest.raises(InputError, match=r"no such file of 'emotion\.test'"):
        audio.find([folder])


def test_splits_of_tables_that_disagree(tmp_path: Path) -> None:
    folder = database(tmp_path)
    (folder / "db.emotion.dev.csv").write_text("file,start,end\n2.wav,1,2\n")
    with pytest.raises(InputError, match=r"must be one, got dev and test: 2\.wav"):
        audio.find([folder])


def test_a_split_that_is_not_understood(tmp_path: Path) -> None:
    folder = database(tmp_path)
    header = folder / "db.yaml"
    text = header.read_text().replace("{type: test}", "{type: other}")
    header.write_text(text.replace("official-test", "challenge"))
    with pytest.raises(InputError, match=r"got 'challenge'.*table 'emotion\.test' in"):
        audio.find([folder])


def test_a_header_that_is_no_yaml(tmp_path: Path) -> None:
    folder = database(tmp_path)
    (folder / "db.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"header of .* must be YAML: .*db\.yaml"):
        audio.find([folder])


@pytest.mark.parametrize("text", hostile.YAML)
def test_headers_that_are_meant_ill(tmp_path, text):
    (tmp_path / "db.x.csv").write_text("file,speaker\na.wav,anna\n")
    (tmp_path / "db.yaml").write_text(text)
    try:
        _, (source,) = audio.find([tmp_path])
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert source.key == ("a.wav", None, None)
