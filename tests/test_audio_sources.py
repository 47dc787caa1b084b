import dataclasses
import itertools
import os

import pytest
from recordings import names, touch

from wav2small import audio
from wav2small.errors import InputError


def test_folder_of_audio(tmp_path):
    touch(
        tmp_path, "b.wav", "B/a.FLAC", "a/c.opus", "ä.mp3", "a/d.ogg", "e.oga",
        "x.txt", "metadata.csv", "._b.wav", ".git/a.wav",
    )  # fmt: skip
    root, sources = audio.find([tmp_path])
    assert root == tmp_path
    assert names(sources) == [
        "B/a.FLAC", "a/c.opus", "a/d.ogg", "b.wav", "e.oga", "ä.mp3"
    ]  # fmt: skip
    assert sources[0].path == tmp_path / "B/a.FLAC"
    assert sources[0].key == ("B/a.FLAC", None, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        sources[0].name = "x"


def test_one_file(tmp_path, monkeypatch):
    touch(tmp_path, "a/b.wav")
    monkeypatch.chdir(tmp_path)
    root, sources = audio.find(["a/../a/b.wav"])
    assert root == tmp_path / "a"
    assert names(sources) == ["b.wav"]
    assert sources[0].path == tmp_path / "a/b.wav"


def test_order_of_arguments_is_nothing(tmp_path):
    touch(tmp_path, "a/1.wav", "a/2.wav", "b/c/1.wav")
    (tmp_path / "b/m.csv").write_text("file,speaker\nc/1.wav,anna\n")
    paths = [tmp_path / "a", tmp_path / "b/m.csv", tmp_path / "a/1.wav", tmp_path / "b"]
    results = [audio.find(order) for order in itertools.permutations(paths)]
    assert all(result == results[0] for result in results)
    root, sources = results[0]
    assert root == tmp_path
    assert names(sources) == ["a/1.wav", "a/2.wav", "b/c/1.wav"]
    assert sources[2].metadata == {"speaker": "anna"}


def test_nothing_to_find(tmp_path):
    with pytest.raises(InputError, match="at least one path"):
        audio.find([])
    with pytest.raises(InputError, match=r"must exist: .*nowhere: check the path"):
        audio.find([tmp_path / "nowhere"])
    touch(tmp_path, "empty/notes.txt", "full/a.wav")
    with pytest.raises(InputError, match=r"audio must be in .*empty, got none"):
        audio.find([tmp_path / "full", tmp_path / "empty"])
    with pytest.raises(InputError, match=r"folder, a manifest .*notes.txt: convert"):
        audio.find([tmp_path / "empty/notes.txt"])


def test_name_that_is_not_utf8(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.wav")).touch()
    with pytest.raises(InputError, match=r"must be UTF-8, got b'.*xff.wav'"):
        audio.find([tmp_path])


def test_names_as_they_were_given(tmp_path, monkeypatch):
    touch(tmp_path, "a/b.wav", "a/c/d.wav")
    (tmp_path / "a/m.csv").write_text(f"file\nb.wav\n{tmp_path}/a/c/d.wav\n")
    monkeypatch.chdir(tmp_path)

    def given(*paths):
        return [source.given for source in audio.find(paths)[1]]

    assert given("a/b.wav") == ["a/b.wav"]
    assert given("a") == ["a/b.wav", "a/c/d.wav"]
    assert given(tmp_path / "a/b.wav") == [f"{tmp_path}/a/b.wav"]
    assert given("a/m.csv") == ["a/b.wav", f"{tmp_path}/a/c/d.wav"]
    monkeypatch.chdir(tmp_path / "a")
    assert given("b.wav", "m.csv") == ["b.wav", f"{tmp_path}/a/c/d.wav"]
    assert given(".") == ["./b.wav", "./c/d.wav"]


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ("0,2,test", "1,3,train", "test and train"),
        ("0,2,train", "1,3,dev", "train and dev"),
        (",,test", "1,3,", "test and none"),
        (",,", "1,3,dev", "none and dev"),
        ("0,1,test", "1,3,train", None),
        (",,", "1,3,train", None),
        ("0,2,test", "1,3,test", None),
    ],
)
def test_no_audio_is_of_two_splits(tmp_path, first, second, refused):
    (tmp_path / "m.csv").write_text(
        f"file,start,end,split\nx.wav,{first}\nx.wav,{second}\ny.wav,0,9,test\n"
    )
    if refused is None:
        assert len(audio.find([tmp_path / "m.csv"])[1]) == 3
        return
    with pytest.raises(InputError, match=rf"must be one, got {refused} of .*: x\.wav"):
        audio.find([tmp_path / "m.csv"])
