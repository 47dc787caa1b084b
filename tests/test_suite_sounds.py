"""Recordings of noise by category, and of speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from wav2small.errors import InputError
from wav2small.suite import sounds
from wav2small.suite.sounds import Sounds, read_sounds, spread


def write(path: Path, *, level: float = 0.1, lead: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).normal(size=4000).clip(-3, 3) * level
    soundfile.write(path, np.concatenate([np.zeros(lead), noise]), 16000)


def test_categories_are_those_of_the_table(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / "audio" / f"{name}.wav")
    (tmp_path / "metadata.csv").write_text(
        "file,category\naudio/a.wav,Rain\naudio/b.wav,Person sneeze\naudio/c.wav,\n"
    )
    read = read_sounds(tmp_path, None)
    assert {name: len(noises) for name, noises in read.noises.items()} == {
        "Person sneeze": 1,
        "Rain": 1,
        "audio": 1,
    }
    assert not read.voices
    # the table can be named as well
    assert list(read_sounds(tmp_path / "metadata.csv", None).noises) == [
        "Person sneeze",
        "Rain",
        "audio",
    ]


def test_without_a_table_the_folder_is_the_category(tmp_path):
    write(tmp_path / "music" / "a.wav")
    write(tmp_path / "rain" / "b.wav")
    read = read_sounds(tmp_path, None)
    assert list(read.noises) == ["music", "rain"]
    assert len(read.of_kind("music")) == 1


def test_silence_is_cut_off_and_the_peak_is_full(tmp_path):
    write(tmp_path / "a.wav", level=0.01, lead=3000)
    done = []
    read = read_sounds(None, tmp_path, progress=lambda *state: done.append(state))
    (voice,) = read.voices
    assert abs(len(voice) - 4000) < 10
    assert np.abs(voice).max() == pytest.approx(0.99)
    assert done == [("sounds", 1, 1, {})]


def test_each_category_has_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(sounds, "PER_CATEGORY", 2)
    for name in "abcde":
        write(tmp_path / "rain" / f"{name}.wav")
    assert len(read_sounds(tmp_path, None).noises["rain"]) == 2


@pytest.mark.parametrize("option", ["noise", "speech"])
def test_silent_and_damaged_files_are_refused_where_there_is_nothing_else(
    tmp_path, option
):
    write(tmp_path / "silent.wav", level=0)
    (tmp_path / "damaged.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"recordings must be in .*, got none that"):
        read_sounds(**{"noise": None, "speech": None, option: tmp_path})


def test_a_table_that_is_none_is_refused(tmp_path):
    write(tmp_path / "a.wav")
    (tmp_path / "metadata.csv").write_bytes(b"file,category\na.wav,\xff\n")
    with pytest.raises(
        InputError, match=r"table of noises must be CSV in UTF-8: .*meta"
    ):
        read_sounds(tmp_path, None)


def test_kinds():
    one = [np.ones(1, np.float32)]
    read = Sounds(
        {"Music": one, "Coughing": one * 2, "sneeze": one * 3, "Rain": one * 4}
    )
    kinds = ("music", "cough", "sneeze", "environment", "speech")
    assert [len(read.of_kind(kind)) for kind in kinds] == [1, 2, 3, 4, 0]
    assert len(Sounds({}, one).of_kind("speech")) == 1


def test_what_is_spread_covers_both_ends():
    assert spread(3, 10) == [0, 1, 2]
    assert spread(11, 3) == [0, 5, 10]
    assert spread(7, 1) == [0]
