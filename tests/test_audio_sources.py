import dataclasses
import itertools
import os
import subprocess

import pytest
from recordings import names, tone, touch, write

from wav2small import audio
from wav2small.audio import AudioError
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


def test_name_that_is_not_utf8_costs_that_file(tmp_path):
    write(tmp_path / "ok.wav", tone(0.1))
    broken = tmp_path / os.fsdecode(b"M\xfcller.wav")
    broken.touch()
    _, (first, second) = audio.find([tmp_path])
    assert (first.name, second.name) == ("M\\xfcller.wav", "ok.wav")
    assert first.path == broken
    assert len(audio.load(second.path)) == 1600
    with pytest.raises(AudioError, match=r"must be UTF-8, got .*: rename it"):
        audio.load(first.path)


def test_names_that_would_be_one(tmp_path):
    touch(tmp_path, os.fsdecode(b"\xff.wav"), "\\xff.wav")
    with pytest.raises(InputError, match=r"must differ in UTF-8, got .* twice"):
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


def test_two_slashes_are_one(tmp_path):
    touch(tmp_path, "a.wav")
    (tmp_path / "m.csv").write_text(f"file\n/{tmp_path}/a.wav\n")
    for place in ("a.wav", "", "m.csv"):
        root, (source,) = audio.find([f"/{tmp_path}/{place}"])
        assert (root, source.path) == (tmp_path, tmp_path / "a.wav")


# Folders


def test_a_linked_folder_is_read(tmp_path):
    touch(tmp_path, "corpus/a.wav", "disk/b.wav", "disk/deep/c.wav")
    (tmp_path / "corpus/more").symlink_to(tmp_path / "disk")
    _, sources = audio.find([tmp_path / "corpus"])
    assert names(sources) == ["a.wav", "more/b.wav", "more/deep/c.wav"]


def test_no_folder_is_read_twice(tmp_path):
    touch(tmp_path, "z/a.wav", "z/deep/b.wav")
    (tmp_path / "a").symlink_to("z")  # to a folder that is there anyway
    (tmp_path / "z/deep/loop").symlink_to(tmp_path)
    (tmp_path / "z/deep/self").symlink_to(".")
    (tmp_path / "y").symlink_to("y")  # to itself
    _, sources = audio.find([tmp_path])
    assert names(sources) == ["z/a.wav", "z/deep/b.wav"]


def test_a_link_to_nothing_is_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "a.wav").symlink_to("nowhere")
    _, (source,) = audio.find([tmp_path])
    with pytest.raises(AudioError, match="No such file"):
        audio.check(source.path)


def test_deep_folders(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("a.wav", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        _, (source,) = audio.find([tmp_path])
        assert source.name == "d/" * 1200 + "a.wav"
    finally:  # what clears up after tests gives up on so many
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


def test_folders_that_are_too_deep_are_said(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    touch(tmp_path, "a.wav")
    with pytest.warns(audio.LeftOutWarning, match="cannot be searched: .*too long"):
        _, sources = audio.find([tmp_path])
    assert names(sources) == ["a.wav"]


def test_other_recordings_are_counted(tmp_path):
    touch(tmp_path, "a.wav", "b/1.m4a", "b/2.M4A", "3.aiff", "x.txt", ".4.m4a")
    with pytest.warns(audio.LeftOutWarning) as caught:
        _, sources = audio.find([tmp_path])
    assert names(sources) == ["a.wav"]
    assert [str(w.message).split(",")[0] for w in caught] == [
        "1 aiff are left out",
        "2 m4a are left out",
    ]
