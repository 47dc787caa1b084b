import csv
import math
from pathlib import Path

import audformat
import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wav2small import audio
from wav2small.annotation.shard_file import SCHEMA
from wav2small.annotation.store import LabelStore
from wav2small.errors import InputError

TEACHER = {
    "name": "ear",
    "revision": "1a2b",
    "licence": "MIT",
    "training_data": "none",
}
ROW = {
    "file": "a/b.wav",
    "start": 0.5,
    "end": 2.0,
    "arousal": 0.25,
    "dominance": 0.5,
    "valence": 1.25,
    "teacher": "ear",
    "licence": "MIT",
    "sha256": "0" * 64,
    "speaker": "anna",
    "text": 'she said "no",\nünd left',
    "human_arousal": 0.125,
    "human_dominance": math.nan,
    "human_valence": 1.0,
}
OTHER = {name: ROW[name] for name in SCHEMA.names[:9]} | {"file": "B.wav"}


def create(folder, **teacher):
    manifest = {"root": "/audio", "teacher": TEACHER | teacher, "config": {"a": 1}}
    return LabelStore.create(folder, manifest)


@pytest.mark.parametrize(
    "changes",
    [
        {"root": 3},
        {"teacher": "x"},
        {"teacher": {"name": None, "revision": "1", "licence": "MIT"}},
        {"teacher": {"name": "x", "revision": "1"}},
        {"config": []},
        {"config": {"shard_files": 0}},
        {"config": {"shard_files": "5"}},
        {"shards": None},
        {"shards": -1},
        {"format": "1"},
    ],
    ids=str,
)
def test_a_manifest_of_other_types_is_damaged(tmp_path, changes):
    """Its checksum is right: whoever wrote it wrote something else."""
    store = create(tmp_path)
    store._write_manifest({**store.manifest, **changes})
    with pytest.raises(InputError, match="label manifest is damaged, or of an earlier"):
        LabelStore.open(tmp_path)


def test_store(tmp_path):
    folder = tmp_path / "new" / "labels"
    store = create(folder)
    assert store.table().num_rows == 0
    assert store.done() == set()
    store.append([ROW], [("c.wav", "bad: ä")])
    store.append([OTHER], [])

    store = LabelStore.open(folder)
    assert store.root == Path("/audio")
    assert store.teacher == TEACHER
    assert store.errors() == [("c.wav", "bad: ä")]
    assert store.done() == {"a/b.wav", "B.wav", "c.wav"}
    labels = store.read()
    assert labels.names == ["B.wav", "a/b.wav"]
    assert labels.sha256 == ["0" * 64] * 2
    np.testing.assert_array_equal(labels.starts, [0.5, 0.5])
    np.testing.assert_array_equal(labels.ends, [2, 2])
    assert labels.scores.dtype == labels.human.dtype == np.float32
    np.testing.assert_array_equal(labels.scores, [[0.25, 0.5, 1.25]] * 2)
    np.testing.assert_array_equal(labels.human, [[np.nan] * 3, [0.125, np.nan, 1]])
    assert labels.metadata["speaker"] == [None, "anna"]
    assert set(labels.metadata) == set(audio.METADATA)
    assert store.table().schema == SCHEMA


def test_no_rows(tmp_path):
    with pytest.raises(InputError, match=r"labels have no rows: .*annotate audio"):
        create(tmp_path).read()


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
unit = st.floats(0, 1, width=32)
score = st.floats(-1, 2, width=32)
seconds = st.floats(0, 1e6)
FIELDS = {
    "file": text,
    "start": seconds,
    "end": seconds,
    **dict.fromkeys(["arousal", "dominance", "valence"], score),
    **dict.fromkeys(["teacher", "licence", "sha256"], text),
    **dict.fromkeys(SCHEMA.names[9:15], st.none() | text),
    **dict.fromkeys(SCHEMA.names[15:], st.none() | unit),
}


def comparable(row):
    return repr([row[name] for name in SCHEMA.names])


@settings(max_examples=30, deadline=None)
@given(
    shards=st.lists(
        st.tuples(
            st.lists(st.fixed_dictionaries(FIELDS), max_size=4),
            st.lists(st.tuples(text, text), max_size=2),
        ),
        max_size=3,
    )
)
def test_round_trip(tmp_path_factory, shards):
    folder = tmp_path_factory.mktemp("store")
    store, again = create(folder / "a"), create(folder / "b")
    for number, shard in enumerate(shards):
        store.append(*shard)
        again.append(*shard)
        name = f"shards/part-{number:05}.parquet"
        one, other = (folder / side / name for side in "ab")
        assert one.read_bytes() == other.read_bytes()
    store = LabelStore.open(folder / "a")
    rows = store.table().to_pylist()
    truth = [row for rows, _ in shards for row in rows]
    assert sorted(map(comparable, rows)) == sorted(map(comparable, truth))
    order = [(row["file"].encode(), row["start"]) for row in rows]
    assert order == sorted(order)
    errors = dict(error for _, errors in shards for error in errors)
    assert store.errors() == sorted(errors.items())
    files = {row["file"] for row in truth} | set(errors)
    assert store.done() == files


def test_plain_strings():
    assert not any(pyarrow.types.is_dictionary(kind) for kind in SCHEMA.types)


def test_csv(tmp_path):
    store = create(tmp_path / "labels")
    store.append([ROW, OTHER], [])
    store.to_csv(tmp_path / "labels.csv")
    table = pd.read_csv(tmp_path / "labels.csv")
    assert list(table) == SCHEMA.names
    assert table.shape == (2, len(SCHEMA))
    assert table["text"][1] == ROW["text"]
    np.testing.assert_array_equal(table["valence"], [1.25, 1.25])
    np.testing.assert_array_equal(table["human_arousal"], [np.nan, 0.125])


def test_csv_is_a_manifest(tmp_path):
    store = create(tmp_path / "labels")
    store.append([ROW], [])
    store.to_csv(tmp_path / "labels.csv")
    _, (source,) = audio.find([tmp_path / "labels.csv"])
    assert source.key == ("a/b.wav", 0.5, 2.0)
    np.testing.assert_array_equal(source.human, [0.125, np.nan, 1])


def test_shards_beyond_five_digits_keep_their_order(tmp_path):
    manifest = {"root": str(tmp_path), "teacher": TEACHER, "config": {}}
    store = LabelStore.create(tmp_path / "labels", manifest)
    for number in (100_000, 99_999, 7):
        store.append([], [(f"{number}.wav", "no audio")], number=number)
    assert store.numbers() == [7, 99_999, 100_000]


def test_audformat(tmp_path):
    teacher = {"name": 'ear "ü" \\', "licence": "CC-BY-4.0: #1"}
    store = create(tmp_path / "labels", **teacher)
    rng = np.random.default_rng(0)
    names = ("arousal", "dominance", "valence")
    rows = [
        ROW
        | {"file": f"{i % 3}.wav", "start": i / 7, "end": i / 7 + 90000}
        | dict(zip(names, scores, strict=True))
        for i, scores in enumerate(rng.uniform(0, 1, (20, 3)).tolist())
    ]
    store.append(rows, [])
    store.to_audformat(tmp_path / "database")

    database = audformat.Database.load(tmp_path / "database", load_data=True)
    (rater,) = database.raters.values()
    assert rater.type == audformat.define.RaterType.MACHINE
    assert rater.description == teacher["name"]
    assert all(database.schemes[name].dtype == "float" for name in names)
    labels = store.read()
    (table,) = [database[name].get() for name in database.tables]
    assert audformat.is_segmented_index(table)
    assert list(table.index.get_level_values("file")) == labels.names
    for level, truth in (("start", labels.starts), ("end", labels.ends)):
        times = table.index.get_level_values(level).total_seconds()
        np.testing.assert_allclose(times, truth, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(table[list(names)].to_numpy("f4"), labels.scores)
    # and it can be saved, which an inconsistent header would prevent
    database.save(tmp_path / "copy", storage_format="csv")


def test_audformat_is_found_again(tmp_path):
    store = create(tmp_path / "labels")
    store.append([ROW], [])
    store.to_audformat(tmp_path / "database")
    _, (source,) = audio.find([tmp_path / "database"])
    assert source.key == ("a/b.wav", 0.5, 2.0)
    assert source.human is None


def test_unfinished_shards_are_not_read(tmp_path):
    store = create(tmp_path)
    store.append([ROW], [])
    (tmp_path / "shards" / ".part-00001.parquet.12.tmp").write_bytes(b"PAR1")
    store = LabelStore.open(tmp_path)
    assert store.table().num_rows == 1
    store.append([ROW], [])
    assert store.shards()[-1].name == "part-00001.parquet"


def test_create_replaces_nothing(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="labels folder must be new or empty: "):
        create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("manifest", "match"),
    [
        (None, r"labels must be a folder made by .*: manifest\.json: No such file"),
        (b"\xff", r"label manifest is damaged.*manifest\.json"),
        (b"{", "label manifest is damaged"),
        (b"[]", "label manifest is damaged"),
        (b'{"format": 1}', "label manifest is damaged"),
        (b'{"format": 1, "teacher": {}}', "label manifest is damaged"),
        (
            b'{"format": 2, "teacher": {"revision": "1"}}',
            "labels must be of format 1, got 2: .*: update",
        ),
    ],
)
def test_wrong_manifests(tmp_path, manifest, match):
    if manifest is not None:
        (tmp_path / "manifest.json").write_bytes(manifest)
    with pytest.raises(InputError, match=match):
        LabelStore.open(tmp_path)


def without_errors(path):
    table = pyarrow.parquet.read_table(path).replace_schema_metadata(None)
    pyarrow.parquet.write_table(table, path)


@pytest.mark.parametrize("method", ["table", "errors", "done"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"text"),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        without_errors,
    ],
)
def test_damaged_shard(tmp_path, damage, method):
    store = create(tmp_path)
    store.append([ROW], [])
    store.append([ROW], [])
    damage(store.shards()[1])
    with pytest.raises(InputError, match=r"shard is damaged: .*part-00001\.parquet"):
        getattr(LabelStore.open(tmp_path), method)()


def test_flipped_bits_are_found_or_harmless(tmp_path):
    store = create(tmp_path)
    # a NaN would differ from itself
    store.append([ROW | {"human_dominance": None}, OTHER], [("a", "b")])
    (path,) = store.shards()
    data = path.read_bytes()
    truth = (store.table(), store.errors())
    rng = np.random.default_rng(0)
    for bit in rng.choice(8 * len(data), 300, replace=False):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        try:
            result = (store.table(), store.errors())
        except InputError as error:
            assert path.name in str(error)
        else:
            assert result == truth


def test_shard_of_another_schema(tmp_path):
    store = create(tmp_path)
    store.append([ROW], [])
    table = pyarrow.table({"file": ["a"]}).replace_schema_metadata({"errors": "[]"})
    pyarrow.parquet.write_table(table, store.shards()[0])
    with pytest.raises(InputError, match=r"shard is damaged: .*part-00000\.parquet"):
        store.table()


def test_missing_shard(tmp_path):
    store = create(tmp_path)
    for _ in range(3):
        store.append([ROW], [])
    store.finish()
    (tmp_path / "shards" / "part-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"shard is missing: .*part-00001\.parquet"):
        LabelStore.open(tmp_path).read()


def test_reading_leaves_a_writer_alone(tmp_path):
    create(tmp_path)
    unfinished = tmp_path / "shards" / ".part-00000.parquet.12.tmp"
    unfinished.parent.mkdir(exist_ok=True)
    unfinished.touch()
    LabelStore.open(tmp_path)
    assert unfinished.exists()


def test_audformat_states_licence_and_range(tmp_path):
    store = create(tmp_path / "labels", licence="CC-BY-NC-SA-4.0")
    store.append([ROW], [])
    store.to_audformat(tmp_path / "database")
    database = audformat.Database.load(tmp_path / "database")
    assert database.license == "CC-BY-NC-SA-4.0"
    assert database.usage == "research"
    schemes = database.schemes.values()
    assert {(scheme.minimum, scheme.maximum) for scheme in schemes} == {(0, 1)}


def test_audformat_replaces_nothing(tmp_path):
    store = create(tmp_path / "labels")
    (tmp_path / "database").mkdir()
    (tmp_path / "database" / "db.yaml").write_text("precious")
    with pytest.raises(InputError, match="database folder must be new or empty"):
        store.to_audformat(tmp_path / "database")
    assert (tmp_path / "database" / "db.yaml").read_text() == "precious"


def test_what_a_shard_says(tmp_path):
    store = create(tmp_path)
    keys = [("B.wav", None, None), ("a/b.wav", 0.5, 2.0), ("a/b.wav", 2.0, None)]
    left_out = [("a/b.wav", 2.0, 5.0, "silence"), ("a/b.wav", 5.0, 5.5, "non-speech")]
    store.append([ROW], [], number=3, sources=keys[1:], skipped=left_out)
    store.append([OTHER], [], number=0, sources=keys[:1])
    assert store.numbers() == [0, 3]
    assert len(store) == 2
    assert store.seconds() == 3
    assert store.done() == set(keys)
    assert store.skipped() == {"non-speech": 0.5, "silence": 3.0}
    store.append([], [], number=1, sources=[])
    store.append([], [("ö.wav", "no")], number=2, sources=[("ö.wav", None, None)])
    store.finish()
    assert LabelStore.open(tmp_path).manifest["shards"] == 4
    text = (tmp_path / "errors.csv").read_text(encoding="utf-8")
    assert text == "file,error\nö.wav,no\n"
    text = (tmp_path / "skipped.csv").read_text(encoding="utf-8")
    assert text.splitlines()[1:] == [
        "a/b.wav,2.0,5.0,silence",
        "a/b.wav,5.0,5.5,non-speech",
    ]


def test_a_folder_that_takes_no_file(tmp_path):
    store = create(tmp_path / "labels")
    (tmp_path / "labels" / "shards").touch()
    with pytest.raises(InputError, match=r"labels cannot be written: .*--resume"):
        store.append([ROW], [])
    with pytest.raises(InputError, match="labels cannot be written: "):
        store.to_csv(tmp_path / "nowhere" / "labels.csv")


def test_words_of_an_earlier_version(tmp_path):
    store = create(tmp_path / "l")
    said = {"split": "Test1", "gender": "F", "speaker": "3.0"}
    store.append([ROW | said, OTHER], [])
    metadata = store.read().metadata
    assert metadata["split"] == [None, "test"]
    assert metadata["gender"] == [None, "female"]
    assert metadata["speaker"] == [None, "3"]
    store.append([ROW | {"split": "fold1"}], [])
    with pytest.raises(InputError, match=r"split must be .*'fold1'.*: labels .*l$"):
        store.read()


def test_no_cell_of_a_table_is_a_formula(tmp_path):
    store = LabelStore.create(
        tmp_path / "x", {"root": "/", "teacher": {"revision": "1", "name": "t"}}
    )
    row = {"arousal": 0.1, "dominance": 0.2, "valence": -0.3, "sha256": "0" * 64}
    row |= {"start": 0.0, "end": 1.0, "teacher": "=t", "licence": "@MIT"}
    store.append(
        [row | {"file": "=cmd|' /C calc'!A0.wav", "text": "+1"}], [("-e", "=")]
    )
    store.finish()
    store.to_csv(tmp_path / "labels.csv")
    for path in (tmp_path / "labels.csv", tmp_path / "x" / "errors.csv"):
        (_, cells) = csv.reader(path.read_text().splitlines())
        assert not [c for c in cells if c[:1] in tuple("=+@-") and not c[1:2].isdigit()]
    assert cells == ["./-e", "'="]
