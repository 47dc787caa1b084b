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
