"""A model that goes on hearing: blocks of any length, and lines on the command line."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from test_export_speech import detector, with_detector

import wav2small
from wav2small import audio
from wav2small.bundled import DEMO
from wav2small.cli.streaming import read_raw
from wav2small.errors import InputError
from wav2small.export.model.speech import DetectorLayer
from wav2small.models import find_onnx

MINI = "wav2small-rt-mini"
CLIP = sorted(DEMO.parent.glob("en_m1*.opus"))[0]
PREDICT = [sys.executable, "-m", "wav2small", "predict", "--stream", "--model", MINI]


def samples(seconds: float) -> np.ndarray:
    heard = np.resize(audio.load(CLIP), round(seconds * 16000))
    return np.rint(heard * 32767).astype(np.int16)


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(lengths=st.lists(st.integers(0, 5000), min_size=1, max_size=20))
def test_blocks_of_any_length(lengths):
    heard = samples(1.75)
    cuts = np.cumsum(lengths)
    blocks = np.split(heard, cuts[cuts < len(heard)])
    once = list(wav2small.follow([heard], model=MINI, seconds=0.5))
    assert list(wav2small.follow(blocks, model=MINI, seconds=0.5)) == once
    floats = (block / np.float32(2**15) for block in blocks)
    assert list(wav2small.follow(floats, model=MINI, seconds=0.5)) == once
    assert [moment.seconds for moment in once] == [0.5, 1.0, 1.5, 1.75]


def test_it_is_the_stream_and_the_decisions():
    heard = samples(3)
    stream = wav2small.Stream(find_onnx(MINI))
    stream.forget(2)
    stream.listen(speech_alone=True)
    decisions = wav2small.Decisions(stream.graph)
    for start in range(0, len(heard), 1600):
        stream.push(heard[start : start + 1600])
        try:
            decisions.hear(stream.latest_integers(), 1600)
        except InputError:
            continue
    *_, last = wav2small.follow([heard], model=MINI, forget_seconds=2)
    assert last.scores == tuple(decisions.scores.tolist())
    assert list(last.events) == decisions.events()


def test_memory_that_is_used_again():
    heard = samples(1)
    block = np.zeros(700, np.int16)

    def microphone():
        for start in range(0, len(heard), 700):
            piece = heard[start : start + 700]
            block[: len(piece)] = piece
            yield block[: len(piece)]

    found = list(wav2small.follow(microphone(), model=MINI))
    assert found == list(wav2small.follow([heard], model=MINI))


def test_rules_and_a_wearer_of_ones_own(tmp_path):
    heard = samples(3)
    graph = wav2small.Stream(find_onnx(MINI)).graph
    decisions, others = wav2small.Decisions(graph), wav2small.Decisions(graph)
    decisions.rule("high valence", wav2small.Rule(begin=-1.9, end=-1.9, seconds=0))
    decisions.smooth(0)
    others.smooth(0)
    *_, last = wav2small.follow([heard], model=MINI, decisions=decisions)
    assert "high valence" in [event.name for event in last.events]
    wav2small.calibrate(CLIP, tmp_path / "w.json", model=MINI)
    table = wav2small.load_calibration(tmp_path / "w.json", model=MINI)
    *_, own = wav2small.follow([heard], model=MINI, calibration=table, decisions=others)
    moved = table.offsets[0] / 2**14
    assert own.scores[0] == pytest.approx(last.scores[0] + moved, abs=2e-4)


def test_scores_stay_where_the_model_hears_no_speech(tmp_path):
    layers = detector()
    weight = np.zeros((8, 1, 1, 40))
    weight[0, :, :, 30:] = 0.3  # the louder the highest bands, the more it is speech
    past = np.zeros((6, 8, 3, 1))
    past[0, 0, 2] = 1
    layers[0] = dataclasses.replace(layers[0], weight=weight)
    layers[1] = dataclasses.replace(layers[1], weight=past)
    layers[2] = DetectorLayer(np.eye(1, 6)[:, :, None, None], -np.ones(1), 1, 1, None)
    path = tmp_path / "hears.onnx"
    path.write_bytes(with_detector("wav2small-rt", layers).SerializeToString())
    rng = np.random.default_rng(0)
    hiss = np.diff(rng.normal(size=32001)) * 3000
    hum = np.cumsum(rng.normal(size=64000)) * 20
    heard = np.concatenate([hiss, hum]).clip(-32000, 32000).astype(np.int16)
    found = list(wav2small.follow([heard], model=path))
    assert [moment.speech for moment in found] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    assert len({moment.scores for moment in found[2:]}) == 1
    assert found[0].scores != found[1].scores


def test_no_audio_says_nothing():
    assert list(wav2small.follow([], model=MINI)) == []
    (moment,) = wav2small.follow([samples(0.05)], model=MINI)
    assert (moment.seconds, moment.scores, moment.events) == (0.05, None, ())


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        (np.zeros((2, 5), np.int16), "block must be int16 or float of shape"),
        (np.zeros(5, np.int32), "block must be int16 or float of shape"),
        (np.array([np.nan]), "block must be finite"),
    ],
)
def test_blocks_that_are_none(block, problem):
    with pytest.raises(InputError, match=problem):
        list(wav2small.follow([block], model=MINI))


@pytest.mark.parametrize("seconds", [0, 0.05, -1, 0.25])
def test_seconds_that_are_no_tenths(seconds):
    with pytest.raises(InputError, match="seconds must be whole tenths"):
        list(wav2small.follow([], model=MINI, seconds=seconds))


def test_a_model_that_does_not_stream():
    with pytest.raises(InputError, match="model must need the past alone to stream"):
        list(wav2small.follow([], model="wav2small"))


def test_raw_samples():
    data = io.BytesIO(np.arange(2000, dtype="<f4").tobytes() + b"ab")
    found = read_raw(data, np.dtype("<f4"))
    np.testing.assert_array_equal(next(found), np.arange(1600))
    np.testing.assert_array_equal(next(found), np.arange(1600, 2000))
    with pytest.raises(
        InputError, match="raw samples must have 4 bytes each, got 2 at"
    ):
        next(found)


# -- the command line --------------------------------------------------------


def test_a_line_a_second_of_a_file_and_of_raw_samples(tmp_path):
    heard = samples(2.5)
    path = tmp_path / "a.wav"
    soundfile.write(path, heard, 16000)
    moments = list(wav2small.follow([heard], model=MINI))
    done = subprocess.run([*PREDICT, "--csv", path], capture_output=True, text=True)
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [float(row["seconds"]) for row in rows] == [1, 2, 2.5]
    assert [float(row["arousal"]) for row in rows] == [
        round(moment.scores[0], 4) for moment in moments
    ]
    floats = (heard / 2**15).astype("<f4").tobytes()
    done = subprocess.run(
        [*PREDICT, "--json", "--raw", "float32", "-"], input=floats, capture_output=True
    )
    for line, moment in zip(done.stdout.splitlines(), moments, strict=True):
        row = json.loads(line)
        assert row["valence"] == round(moment.scores[2], 4)
        events = {event.name: round(event.seconds, 1) for event in moment.events}
        assert row["events"] == events


def test_a_line_comes_at_once_and_ctrl_c_ends_it():
    run = subprocess.Popen(
        [*PREDICT, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=False,
    )
    assert run.stdin is not None
    assert run.stdout is not None
    run.stdin.write(samples(1).tobytes())
    run.stdin.flush()
    assert run.stdout.readline().split()[0] == b"seconds"
    assert run.stdout.readline().split()[0] == b"1.0"  # the pipe is still open
    run.send_signal(signal.SIGINT)
    out, error = run.communicate(timeout=60)
    assert (run.returncode, out, error) == (130, b"", b"")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["-", str(CLIP)], "'-' must stand alone"),
        ([str(Path("nowhere"))], "audio must exist"),
        (["--forget", "-1", "-"], "time constant of forgetting must be"),
    ],
)
def test_wrong_words(words, problem):
    done = subprocess.run(
        [*PREDICT, *words], capture_output=True, text=True, input="\0\0"
    )
    assert (done.returncode, problem in done.stderr) == (2, True), done.stderr
