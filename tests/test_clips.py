"""Clips decoded once, and recordings of noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from waves import tone

from wav2small.annotation.labels import Labels
from wav2small.clips import Clips, load_clips, read_noises
from wav2small.errors import InputError, LeftOutWarning
from wav2small.export.base.files import sha256


@pytest.fixture
def files(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1.0), 16000)
    soundfile.write(tmp_path / "b.flac", tone(0.5), 16000)
    (tmp_path / "c.wav").write_text("not audio")
    return [(tmp_path / name, 0.0, None) for name in ("a.wav", "b.flac", "c.wav")]


def test_clips_are_what_the_files_hold(files, tmp_path):
    done = []
    clips, errors = Clips.decode(
        files, tmp_path / "clips", progress=lambda *state: done.append(state)
    )
    assert done == [("decode", number, 3, {}) for number in (1, 2, 3)]
    assert [len(clip) for clip in clips] == [16000, 8000, 0]
    np.testing.assert_allclose(clips[0], tone(1.0), atol=1 / 32768)
    assert clips[1].dtype == np.float32
    assert clips.seconds == 1.5
    ((item, message),) = errors
    assert item == 2
    assert "c.wav" in message


def test_clips_are_decoded_once(files, tmp_path):
    Clips.decode(files, tmp_path / "clips")
    for path, *_ in files:
        path.unlink()
    clips, errors = Clips.decode(files, tmp_path / "clips")
    assert len(clips[0]) == 16000
    assert [item for item, _ in errors] == [2]


def test_clips_of_other_sources_are_decoded_again(files, tmp_path):
    Clips.decode(files, tmp_path / "clips")
    # as many sources, but not the same ones
    clips, _ = Clips.decode(files[::-1], tmp_path / "clips")
    assert [len(clip) for clip in clips] == [0, 8000, 16000]
    clips, _ = Clips.decode([(files[0][0], 0.0, 0.5)] * 3, tmp_path / "clips")
    assert [len(clip) for clip in clips] == [8000] * 3


def test_clips_of_other_audio_at_the_same_path_are_decoded_again(files, tmp_path):
    Clips.decode(files, tmp_path / "clips")
    soundfile.write(files[1][0], tone(0.25), 16000)
    clips, _ = Clips.decode(files, tmp_path / "clips")
    assert [len(clip) for clip in clips] == [16000, 4000, 0]


def test_audio_must_be_what_was_labelled(files, tmp_path):
    clips, _ = Clips.decode(files, tmp_path / "clips")
    digests = [sha256(files[0][0]), sha256(files[1][0]), ""]
    clips.check_same("abc", digests)
    with pytest.raises(InputError, match="got 1 files with other bytes, as b"):
        clips.check_same("abc", [digests[0], "0" * 64, ""])


def test_what_is_evaluated_must_be_what_was_labelled(files, tmp_path):
    labels = labels_of(["a.wav", "b.flac", "c.wav"], tmp_path)
    with pytest.warns(LeftOutWarning, match="c.wav"):
        signals, readable = load_clips(labels, [0, 1, 2], tmp_path)
    assert readable == [0, 1] and len(signals[1]) == 8000
    soundfile.write(files[1][0], tone(0.25), 16000)
    with pytest.raises(InputError, match=r"1 files with other bytes, as b\.flac"):
        load_clips(labels, [0, 1], tmp_path)
    # what is not asked for is not looked at, nor what nobody has hashed
    assert load_clips(labels, [0], tmp_path)[1] == [0]
    unknown = replace(labels, sha256=[""] * 3)
    assert load_clips(unknown, [1], tmp_path)[1] == [1]


def labels_of(names, folder):
    rows = len(names)
    return Labels(
        names=names,
        starts=np.zeros(rows),
        ends=np.full(rows, np.inf),
        scores=np.zeros((rows, 3), np.float32),
        human=np.full((rows, 3), np.nan, np.float32),
        sha256=[sha256(folder / name) for name in names],
        metadata={},
    )


def test_a_part_of_a_file(files, tmp_path):
    path = files[0][0]
    clips, _ = Clips.decode([(path, 0.25, 0.5)], tmp_path / "clips")
    np.testing.assert_allclose(clips[0], tone(1.0)[4000:8000], atol=1 / 32768)


def test_noises_skip_what_cannot_be_read(files, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(800), 16000)
    assert len(read_noises(tmp_path)) == 2
    assert read_noises(None) == []


def test_noise_that_cannot_be_used_is_no_noise(tmp_path):
    (tmp_path / "a.wav").write_text("<html>")
    with pytest.raises(InputError, match=r"must be recordings .* got none of 1 in"):
        read_noises(tmp_path)
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 16000)
    with pytest.raises(InputError, match="it is silent"):
        read_noises(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("clips.json", b"[" * 100_000),
        ("clips.json", b"[]"),
        ("clips.json", b"\xff"),
        ("clips.json", b'{"sources": [[1]], "places": [[0, 1]]}'),
        ("clips.json", b'{"sources": [[1, 2, 3, 4]], "places": [[0, 99999]]}'),
        ("clips.int16", b""),
        ("clips.int16", b"\0\0"),
    ],
)
def test_damaged_clips_are_decoded_again(tmp_path, name, content):
    soundfile.write(tmp_path / "a.wav", np.linspace(-0.5, 0.5, 1000), 16000)
    sources = [(tmp_path / "a.wav", 0.0, None)]
    good, _ = Clips.decode(sources, tmp_path / "clips")
    signal = good[0].copy()
    (tmp_path / "clips" / name).unlink()
    (tmp_path / "clips" / name).write_bytes(content)
    with pytest.raises(InputError, match="clips must be a folder of decoded audio"):
        Clips(tmp_path / "clips")
    again, errors = Clips.decode(sources, tmp_path / "clips")
    assert not errors
    np.testing.assert_array_equal(again[0], signal)
