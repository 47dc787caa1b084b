"""A detector of speech for a student of one's own: trained, exported, in C."""

from __future__ import annotations

import ctypes
import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
import torch
from test_export_c99 import OK, Library, compiled

from wav2small import audio
from wav2small.api.detection import ROOM, add_detector, area, labels_at
from wav2small.api.exporting import Exported, export_model
from wav2small.bundled import DEMO
from wav2small.config import DetectorConfig
from wav2small.detection.scenes import (
    LABEL,
    NONE,
    SAMPLES,
    SPEECH,
    SYNTHETIC,
    UNCLEAR,
    Scenes,
    Side,
    labels_of,
    synthetic,
)
from wav2small.errors import InputError
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.streaming.run import Stream
from wav2small.export.model.speech import has_speech, scores_alone
from wav2small.export.pipeline import ExportConfig

NAME = "wav2small-rt-mini"
LIMIT = 60 * 1024
TINY = DetectorConfig(scenes=60, steps=150, batch_size=8, channels=8, false_speech=0.3)


@pytest.fixture(scope="module")
def speech() -> list[Path]:
    return sorted(DEMO.parent.glob("*.opus"))[::6]


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for number, kind in enumerate((*SYNTHETIC, *SYNTHETIC)):
        sound = synthetic(kind, 32000, rng)
        sound *= 0.2 / np.abs(sound).max()
        soundfile.write(folder / f"{number}.wav", sound, 16000)
    return folder


@pytest.fixture(scope="module")
def exported(speech, noise, tmp_path_factory) -> Exported:
    torch.set_num_threads(1)
    return export_model(
        NAME,
        tmp_path_factory.mktemp("model"),
        config=ExportConfig(tune_steps=0, max_bytes=LIMIT),
        calibration=[str(path) for path in speech],
        noise=noise,
        detector=TINY,
    )


def test_speech_is_told_from_noise(exported):
    figures = exported.result.speech
    assert set(figures) == {f"auc_{snr}_db" for snr in (20, 10, 5, 0)} | {
        "false_speech"
    }
    # of made sounds the training had the same kinds: easy, so that little does
    assert figures["auc_20_db"] > 0.85
    assert figures["false_speech"] < 0.6
    folder = exported.paths[0].parent
    assert json.loads((folder / "export.json").read_text())["speech"] == figures
    assert "## Speech or not" in (folder / "export.md").read_text()


def test_scores_are_what_they_were_and_the_file_has_room(exported):
    model = onnx.load(exported.paths[0])
    assert has_speech(model)
    alone = scores_alone(model)
    assert len(exported.result.data) - alone.ByteSize() < ROOM
    samples = np.random.default_rng(0).integers(-3000, 3000, 16000).astype(np.int16)
    both, one = (read(entry) for entry in (model, alone))
    np.testing.assert_array_equal(
        ReferenceModel(both).run(samples)[both.output],
        ReferenceModel(one).run(samples)[one.output],
    )


@compiled
def test_the_c_hears_what_the_stream_hears(exported, speech, tmp_path):
    graph = read(exported.paths[0])
    library, stream = Library(graph, tmp_path), Stream(graph)
    library.init()
    assert library.c.wav2small_listen(library.state, 1) == OK
    stream.listen(speech_alone=True)
    noise = np.random.default_rng(1).normal(0, 300, 16000)
    signal = np.concatenate([noise, 32768 * audio.load(speech[0])[:24000], noise])
    samples = np.clip(np.rint(signal), -32768, 32767).astype(np.int16)
    odds, heard = ctypes.c_int32(), set()
    for start in range(0, len(samples), 777):
        piece = samples[start : start + 777]
        assert library.push(piece) == OK
        stream.push(piece)
        hears = bool(library.c.wav2small_hears(library.state))
        assert hears == stream.hears_speech
        heard.add(hears)
        status = library.c.wav2small_speech(library.state, ctypes.byref(odds))
        assert (status == OK) == (stream.speech is not None)
        if status == OK:
            assert odds.value == stream._detector.odds
    assert heard == {False, True}
    assert library.so_far() == stream.integers().ravel().tolist()


def test_the_limit_is_that_of_the_whole_file(exported):
    size = exported.result.size
    assert size is not None
    assert size.limit == LIMIT
    assert size.bytes == len(exported.result.data) <= LIMIT


def test_the_same_seed_gives_the_same_bytes(exported, speech):
    alone = scores_alone(onnx.load(exported.paths[0])).SerializeToString()
    clips = [audio.load(path)[:32000] for path in speech[:6]]
    noises = [np.random.default_rng(i).normal(0, 0.1, 16000) for i in range(5)]
    config = dataclasses.replace(TINY, scenes=12, steps=3)
    (one, _), (other, _) = (
        add_detector(alone, clips, noises, config) for _ in range(2)
    )
    assert one == other
    again, _ = add_detector(alone, clips, noises, dataclasses.replace(config, seed=1))
    assert again != one
    with pytest.raises(InputError, match="noise for a detector must be at least 5 rec"):
        add_detector(alone, clips, noises[:4], config)
    with pytest.raises(InputError, match="speech for a detector must be at least 5"):
        add_detector(alone, clips[:1], noises, config)


def test_what_cannot_have_a_detector(run, noise, tmp_path):
    def refused(*words: object) -> str:
        code, _, error = run("export", NAME, tmp_path / "m", "--noise", noise, *words)
        assert code == 2
        return error

    assert "must hear real speech, got no calibration" in refused()
    assert "must be int8 and of any length, got float" in refused("--precision", "fp32")
    assert "any length, got a window" in refused("--window", "1")
    model = onnx.load(DEMO.parent.parent / "models" / "wav2small" / "model.onnx")
    clips = [np.ones(16000, np.float32)] * 5
    with pytest.raises(InputError, match="must stream, got one that normalises"):
        add_detector(model.SerializeToString(), clips, clips, TINY)
    assert not (tmp_path / "m" / "model.onnx").exists()


def test_labels_of_a_clip():
    """A tone of 1 s, 1 s of nothing, a quiet tone, .1 s of nothing, and a tone."""
    tone = np.sin(2 * np.pi * 440 * np.arange(SAMPLES // 10) / 16000)
    nothing = np.zeros_like(tone)
    parts = [tone, nothing, 0.03 * tone, 0 * tone[: LABEL * 10], tone]
    labels = labels_of(np.concatenate(parts))
    assert set(labels[2:98]) == {SPEECH}
    assert set(labels[105:195]) == {NONE}
    assert UNCLEAR in labels[200:300]
    assert SPEECH not in labels[205:295]
    assert set(labels[315:405]) == {SPEECH}
    # a gap between two loud parts is unclear
    labels = labels_of(np.concatenate([tone, 0 * tone[: LABEL * 10], tone]))
    assert NONE not in labels
    assert UNCLEAR in labels


def test_scenes_have_their_ratio_and_level():
    rng = np.random.default_rng(0)
    side = Side([rng.normal(size=20000)], [rng.normal(size=40000)])
    scenes = Scenes(side, rng, varied=False)
    speech, labels = scenes.speech()
    heard = np.repeat(labels == SPEECH, LABEL)
    assert np.mean(speech[heard] ** 2) == pytest.approx(1)
    noise = scenes.noise()
    assert np.std(noise) == pytest.approx(1)
    mixed = scenes.mixed(speech, noise, 10).astype(np.float64)
    assert len(mixed) == SAMPLES
    # least squares finds both again
    parts = np.stack([speech, noise], axis=1)
    (loud, quiet), *_ = np.linalg.lstsq(parts, mixed, rcond=None)
    assert 20 * np.log10(loud / quiet) == pytest.approx(10, abs=0.2)


def test_area_under_the_curve():
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(0.5, 1, 40), rng.normal(0, 1, 30)
    wanted = np.mean(positive[:, None] > negative)
    assert area(positive, negative) == pytest.approx(wanted)
    assert area(np.array([2.0]), np.array([1.0])) == 1


def test_labels_of_frames():
    labels = np.arange(100)
    assert labels_at(labels, 160, 5).tolist() == [0, 1, 2, 3, 4]
    assert labels_at(labels, 256, 4).tolist() == [0, 2, 3, 5]
    assert labels_at(labels[:3], 160, 5).tolist() == [0, 1, 2, 2, 2]
