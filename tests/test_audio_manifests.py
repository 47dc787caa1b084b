import audformat
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from recordings import touch

from wav2small import audio
from wav2small.errors import InputError


def test_manifests_that_disagree(tmp_path):
    touch(tmp_path, "1.wav")
    (tmp_path / "a.csv").write_text("file,speaker,arousal\n1.wav,anna,\n")
    (tmp_path / "b.csv").write_text("file,speaker,text,arousal\n1.wav,bert,hi,1\n")
    for paths in (["a.csv", "b.csv"], ["b.csv", "a.csv"]):
        _, (source,) = audio.find([tmp_path / path for path in paths])
        assert source.metadata == {"speaker": "anna", "text": "hi"}
        assert source.human[0] == 1


MANIFEST = """\
file,start,end,speaker,emotion,other,arousal,dominance,valence
b.wav,0 days 00:00:01.500000,0 days 00:01:02,anna,,1,0.25,,1
b.wav,0.25,1.5,bert,joy,2,,,
./sub/a.wav,0,,"x, y",,3,nan,NaN,
c.wav,NaT,1 days 02:00:00.5,,,,0,0,0
d.wav,0 days,1 day,,,,,,
"""


def test_csv(tmp_path):
    (tmp_path / "m.csv").write_text(MANIFEST, encoding="utf-8-sig")
    root, sources = audio.find([tmp_path / "m.csv"])
    assert root == tmp_path
    assert [source.key for source in sources] == [
        ("b.wav", 0.25, 1.5),
        ("b.wav", 1.5, 62.0),
        ("c.wav", None, 93600.5),
        ("d.wav", 0.0, 86400.0),
        ("sub/a.wav", None, None),
    ]
    assert sources[0].metadata == {"speaker": "bert", "emotion": "joy"}
    assert sources[0].human is None
    assert sources[4].metadata == {"speaker": "x, y"}
    assert sources[4].human is None
    np.testing.assert_array_equal(sources[1].human, [0.25, np.nan, 1])
    assert sources[2].human == (0, 0, 0)


def test_scores_of_a_teacher_are_not_human(tmp_path):
    (tmp_path / "m.csv").write_text(
        "file,arousal,dominance,valence,teacher,human_arousal\n"
        "a.wav,.1,.2,.3,big,.9\nb.wav,.1,.2,.3,big,\n"
    )
    _, (first, second) = audio.find([tmp_path / "m.csv"])
    np.testing.assert_array_equal(first.human, [0.9, np.nan, np.nan])
    assert second.human is None


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_with_time_deltas(tmp_path, unit):
    table = pd.DataFrame(
        {
            "file": ["a.wav", "b.wav"],
            "start": pd.to_timedelta([1, 2], unit="s").as_unit(unit),
            "end": pd.to_timedelta([3, None], unit="s").as_unit(unit),
            "emotion": pd.Categorical(["joy", None]),
            "valence": [0.5, None],
            "junk": [b"1", b"2"],
        }
    )
    table.to_parquet(tmp_path / "m.parquet")
    _, (first, second) = audio.find([tmp_path / "m.parquet"])
    assert first.key == ("a.wav", 1, 3)
    assert second.key == ("b.wav", 2, None)
    assert (first.metadata, second.metadata) == ({"emotion": "joy"}, {})
    np.testing.assert_array_equal(first.human, [np.nan, np.nan, 0.5])
    assert second.human is None


def test_a_date_that_cannot_be(tmp_path):
    dates = pa.array([10**15], pa.timestamp("ms"))
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"file": ["a.wav"], "speaker": dates}), path)
    with pytest.raises(InputError, match=r"table cannot be read: .*: save it again"):
        audio.find([path])


def test_parquet_with_seconds(tmp_path):
    table = pd.DataFrame({"file": ["a.wav"], "start": [0.5], "end": [2]})
    table.to_parquet(tmp_path / "m.parquet")
    _, (source,) = audio.find([tmp_path / "m.parquet"])
    assert source.key == ("a.wav", 0.5, 2)


@pytest.mark.parametrize("storage_format", ["csv", "parquet"])
def test_audformat_database(tmp_path, storage_format):
    database = audformat.Database("test")
    database.schemes["speaker"] = audformat.Scheme("str")
    database.schemes["arousal"] = audformat.Scheme("float", minimum=0, maximum=1)
    files = audformat.filewise_index(["audio/a.wav", "audio/b.wav"])
    table = database["files"] = audformat.Table(files)
    table["speaker"] = audformat.Column(scheme_id="speaker")
    table["speaker"].set(["anna", "bert"])
    index = audformat.segmented_index(
        ["audio/b.wav", "audio/b.wav"], ["0.1s", "2s"], ["2s", pd.NaT]
    )
    table = database["segments"] = audformat.Table(index)
    table["arousal"] = audformat.Column(scheme_id="arousal")
    table["arousal"].set([0.1, 0.2])
    misc = database["words"] = audformat.MiscTable(pd.Index([0, 1], name="word"))
    misc["speaker"] = audformat.Column(scheme_id="speaker")
    misc["speaker"].set(["x", "y"])
    database.save(tmp_path, storage_format=storage_format)

    root, sources = audio.find([tmp_path])
    assert root == tmp_path
    assert [source.key for source in sources] == [
        ("audio/a.wav", None, None),
        ("audio/b.wav", 0.1, 2),
        ("audio/b.wav", 2, None),
    ]
    speakers = [source.metadata for source in sources]
    assert speakers == [{"speaker": s} for s in ("anna", "bert", "bert")]
    assert all(source.human is None for source in sources)


def test_audformat_database_without_tables(tmp_path):
    touch(tmp_path, "db.yaml", "a.wav")
    with pytest.raises(InputError, match="must hold a CSV or Parquet table of files"):
        audio.find([tmp_path])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "must have a column 'file', got nothing"),
        ("path,start\na.wav,0\n", "must have a column 'file', got path, start"),
        ("file\n", "got none"),
        ("file\n../a.wav\n", r"file must be .* got '\.\./a\.wav': row 1 of .*m\.csv"),
        ("file\nb/../../a.wav\n", "one below"),
        ("file,start\n,1\n", "one below the table's folder, got ''"),
        ("file\n..\n", "one below"),
        ("file,start\na.wav,soon\n", "start must be seconds .* got 'soon'"),
        ("file,start\na.wav,-1\n", "start must be seconds"),
        ("file,end\na.wav,inf\n", "end must be seconds"),
        ("file,end\na.wav,-1 days +23:59:59\n", "end must be seconds"),
        ("file,start,end\na.wav,2,1\n", r"end must be behind start 2\.0 s, got 1\.0"),
        ("file,arousal\na.wav,5\n", r"arousal must be in 0\.\.1, got '5'.*scale it"),
        ("file,valence\na.wav,high\n", "valence must be in"),
        ('file\n"a.wav\n', "table cannot be read: .*m.csv"),
    ],
)
def test_wrong_manifests(tmp_path, text, match):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(InputError, match=match):
        audio.find([tmp_path / "m.csv"])


@pytest.mark.parametrize("name", ["m.csv", "m.parquet"])
def test_unreadable_tables(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfe\0file")
    with pytest.raises(InputError, match=f"table cannot be read: .*{name}"):
        audio.find([tmp_path / name])


def test_manifest_with_absolute_paths(tmp_path):
    for name in ("a/x.wav", "b/y.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, np.zeros(100), 16000)
    table = tmp_path / "elsewhere" / "deep" / "table.csv"
    table.parent.mkdir(parents=True)
    table.write_text(f"file\n{tmp_path}/a/x.wav\n{tmp_path}/b/y.wav\n")
    root, sources = audio.find([table])
    assert root == tmp_path
    assert [source.name for source in sources] == ["a/x.wav", "b/y.wav"]


def find_in(folder, text, name="m.csv"):
    (folder / name).write_text(text)
    return audio.find([folder / name])[1]


@pytest.mark.parametrize(
    "header", [" file, start ,END,Speaker", "File,Start,end ,SPEAKER"]
)
def test_blanks_and_case_of_a_header(tmp_path, header):
    (source,) = find_in(tmp_path, f"{header}\na.wav, 1 , 2 ,anna\n")
    assert source.key == ("a.wav", 1, 2)
    assert source.metadata == {"speaker": "anna"}


def test_header_of_parquet(tmp_path):
    table = pd.DataFrame({"file": ["a.wav"], " start": [0.5], "End": [2]})
    table.to_parquet(tmp_path / "m.parquet")
    _, (source,) = audio.find([tmp_path / "m.parquet"])
    assert source.key == ("a.wav", 0.5, 2)


def test_a_column_comes_once(tmp_path):
    with pytest.raises(InputError, match=r"once, got 'start' 2 times: .*m\.csv"):
        find_in(tmp_path, "file,start, Start\na.wav,1,2\n")
    # what is not read may come as often as it likes
    assert find_in(tmp_path, "file,x,x\na.wav,1,2\n")


def test_words_are_understood_or_refused_with_their_row(tmp_path):
    text = "file,split,gender,speaker\na.wav,Test1,F,3.0\nb.wav,Validation,Male,3\n"
    first, second = find_in(tmp_path, text)
    assert first.metadata == {"split": "test", "gender": "female", "speaker": "3"}
    assert second.metadata == {"split": "dev", "gender": "male", "speaker": "3"}
    for column, word in (("split", "fold1"), ("gender", "2")):
        with pytest.raises(InputError, match=f"got '{word}'.*: row 2 of .*m.csv"):
            find_in(tmp_path, f"file,{column}\na.wav,\nb.wav,{word}\n")


def test_floating_speakers_of_parquet_are_those_of_csv(tmp_path):
    table = pd.DataFrame({"file": ["a.wav", "b.wav"], "speaker": [3.0, None]})
    table.to_parquet(tmp_path / "m.parquet")
    _, (first, second) = audio.find([tmp_path / "m.parquet"])
    assert (first.metadata, second.metadata) == ({"speaker": "3"}, {})


def test_a_row_for_each_rater(tmp_path):
    first, second = find_in(
        tmp_path,
        "file,arousal,dominance,valence,emotion\n"
        "a.wav,.1,.2,,anger\na.wav,.9,,,fear\na.wav,.2,.4,,Anger\n"
        "b.wav,.5,.5,.5,fear\nb.wav,,,,anger\n",
    )
    np.testing.assert_allclose(first.human, [0.4, 0.3, np.nan])
    assert first.ratings == 3
    assert first.metadata == {"emotion": "anger"}
    assert (second.human, second.ratings) == ((0.5, 0.5, 0.5), 1)
    assert second.metadata == {}  # as many say one as the other


def test_raters_in_tables_of_their_own(tmp_path):
    for name, score in (("a.csv", 0.2), ("b.csv", 0.4)):
        (tmp_path / name).write_text(f"file,arousal\nx.wav,{score}\n")
    _, (source,) = audio.find([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert source.human[0] == pytest.approx(0.3)


def test_a_recording_is_of_one_split(tmp_path):
    (tmp_path / "a.csv").write_text("file,split\nx.wav,train\n")
    (tmp_path / "b.csv").write_text("file,split\nx.wav,test\n")
    with pytest.raises(InputError, match=r"must be one, got test and train: x\.wav"):
        audio.find([tmp_path / "a.csv", tmp_path / "b.csv"])
