"""The annotate command: options, what it says, its exit codes."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import soundfile

from wav2small.bundled import DEMO
from wav2small.models import ASSETS

STUDENT = ASSETS / "wav2small-rt-mini"


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    speech, rate = soundfile.read(DEMO.parent / "de_f2_p08_r103_031.opus")
    soundfile.write(folder / "speech.wav", speech, rate)
    soundfile.write(folder / "silence.wav", np.zeros(8 * rate), rate)
    return folder


def test_non_speech(run, audio, tmp_path):
    out = tmp_path / "labels"
    words = (audio, out, "--teacher", STUDENT, "--gate", "bundled", "--workers", 2)
    code, output, error = run("annotate", *words, "--timeout", 60, "--memory", 2)
    assert (code, output) == (0, f"{out}\n")
    assert "1 labels by wav2small-rt-mini" in error
    assert re.search(r"left out \d\d\.\d% of the audio: 0\.1 min of silence", error)
    config = json.loads((out / "manifest.json").read_text())["config"]
    assert (config["batch_seconds"], config["gate"]) == (None, "bundled")
    code, _, error = run(
        "annotate", audio, out, "--teacher", STUDENT, "--resume", "--workers", 0
    )
    assert code == 2
    assert "config must be that of the labels" in error


@pytest.mark.parametrize(
    "words", [("--engine", "dask"), ("--scheduler", "tcp://127.0.0.1:1")]
)
def test_engine_and_scheduler_need_each_other(run, audio, tmp_path, words):
    code, _, error = run("annotate", audio, tmp_path / "labels", *words)
    assert code == 2
    assert "need each other" in error


def test_a_device_that_is_not_there(run, audio, tmp_path):
    words = (audio, tmp_path / "labels", "--teacher", STUDENT, "--device", "cuda")
    code, _, error = run("annotate", *words)
    assert code == 2
    assert "device must be cpu for the teacher wav2small-rt-mini" in error


def test_no_label_is_no_success(run, tmp_path):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio/a.wav").write_text("<html>")
    words = (tmp_path / "audio", tmp_path / "labels", "--teacher", STUDENT)
    code, _, error = run("annotate", *words, "--workers", 0)
    assert code != 0
    assert "audio must give at least one label, got none of 1 files" in error
    assert (tmp_path / "labels" / "errors.csv").is_file()


def test_mean_over_raters_is_said(run, audio, tmp_path):
    (audio / "m.csv").write_text("file,arousal\nspeech.wav,0\nspeech.wav,1\n")
    words = (audio / "m.csv", tmp_path / "labels", "--teacher", STUDENT)
    code, _, error = run("annotate", *words, "--workers", 0)
    assert code == 0
    assert "1 recordings have several rows of scores by humans: their mean" in error
