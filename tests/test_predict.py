"""Prediction over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_export_further import made

from wav2small import audio
from wav2small.audio import Source
from wav2small.bundled import DEFAULT, DEMO
from wav2small.errors import InputError
from wav2small.export.integer.further import shares
from wav2small.export.integer.reference import ReferenceModel
from wav2small.gate import SpeechGate
from wav2small.models import load_model
from wav2small.prediction import predict, windows


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 60_000), st.integers(1, 20), st.integers(1, 20), st.integers(0, 9)
)
# the last full window ends with the signal: nothing is left to give
@example(samples=8000, window=2, hop=1, seed=0)
def test_windows_cover_the_signal(tmp_path_factory, samples, window, hop, seed):
    hop = min(hop, window)
    signal = np.random.default_rng(seed).uniform(-0.5, 0.5, samples)
    path = tmp_path_factory.mktemp("audio") / "a.wav"
    soundfile.write(path, signal, 16000, subtype="FLOAT")
    signal = signal.astype(np.float32)
    covered = np.zeros(samples, bool)
    cuts = list(windows(Source(path, "a.wav"), window / 10, hop / 10))
    for number, (start, cut) in enumerate(cuts):
        first = round(start * 16000)
        assert first == number * hop * 1600
        assert len(cut) == window * 1600 or number == len(cuts) - 1
        np.testing.assert_array_equal(cut, signal[first : first + len(cut)])
        assert not covered[first : first + len(cut)].all()
        covered[first : first + len(cut)] = True
    assert covered.all()


@pytest.fixture(scope="module")
def model():
    return load_model(DEFAULT)


def scored(model, source, window=10.0):
    for _, found in predict(model, SpeechGate(), [source], window):
        yield from found


def test_sources_are_scored_in_their_order(model, tmp_path):
    clips = [audio.load(path) for path in sorted(DEMO.parent.glob("en_*.opus"))[:2]]
    sources = []
    for number, tenths in enumerate((5, 32, 3, 20)):
        path = tmp_path / f"{number}.wav"
        signal = np.resize(clips[number % 2], tenths * 1600)
        soundfile.write(path, signal, 16000, subtype="FLOAT")
        sources.append(Source(path, path.name))
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    sources.insert(2, Source(broken, "broken.wav"))
    gate, seen = SpeechGate(), []
    for source, found in predict(model, gate, sources, 1.0):
        if source.path == broken:
            # it goes wrong where its scores are asked for, and nothing else does
            with pytest.raises(audio.AudioError):
                list(found)
            continue
        wanted = list(windows(source, 1.0, 1.0))
        items = list(found)
        assert [item.start for item in items] == [start for start, _ in wanted]
        assert {item.file for item in items} == {str(source.path)}
        for item, (_, signal) in zip(items, wanted, strict=True):
            assert item.kind == gate.classify(signal)
            if item.kind == "speech":
                # threads beside it change no bit
                assert item.scores == tuple(map(float, model.predict([signal])[0]))
        seen.append(len(items))
    assert seen == [1, 4, 1, 2]
    assert list(predict(model, gate, [])) == []


def test_scores_that_nobody_asks_for_are_left_out(model, tmp_path):
    clip = audio.load(sorted(DEMO.parent.glob("en_*.opus"))[0])
    sources = []
    for number in range(3):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, np.resize(clip, 32000 + number), 16000)
        sources.append(Source(path, path.name))
    first = {
        source.path.name: next(found)
        for source, found in predict(model, SpeechGate(), sources, 0.5)
    }
    assert {name: Path(item.file).name for name, item in first.items()} == {
        source.path.name: source.path.name for source in sources
    }
    assert {item.start for item in first.values()} == {0.0}


def test_speech_is_scored_and_silence_is_not(model, tmp_path):
    clip = audio.load(sorted(DEMO.parent.glob("en_*.opus"))[0])
    clip = np.resize(clip, 32000)
    path = tmp_path / "mixed.wav"
    soundfile.write(path, np.concatenate([clip, np.zeros(32000)]), 16000)
    found = list(scored(model, Source(path, "mixed.wav"), 2.0))
    assert [item.kind for item in found] == ["speech", "silence"]
    assert [(item.start, item.end) for item in found] == [(0.0, 2.0), (2.0, 4.0)]
    np.testing.assert_allclose(
        found[0].scores, model.predict([audio.load(path, end=2.0)])[0], atol=1e-6
    )
    assert found[1].scores is None


def test_a_part_of_a_file_keeps_its_times(model):
    path = sorted(DEMO.parent.glob("en_*.opus"))[0]
    source = Source(Path(path), path.name, start=0.5, end=1.5)
    (item,) = scored(model, source)
    assert (item.start, item.end) == (0.5, 1.5)


@pytest.mark.parametrize("hop", [0.0, 1e-6, -0.1, 0.3])
def test_a_hop_that_skips_or_stands_still_is_refused(tmp_path, hop):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(16000), 16000)
    with pytest.raises(InputError, match="hop must be at least a sample"):
        list(windows(Source(path, "a.wav"), 0.2, hop))


def test_noise_is_not_scored(tmp_path):
    class Never:
        def predict(self, signals):
            raise AssertionError("what is not speech must not be scored")

    noise = 0.1 * np.random.default_rng(0).normal(size=48000)
    path = tmp_path / "noise.wav"
    soundfile.write(path, noise, 16000)
    found = list(scored(Never(), Source(path, "n"), 1.0))
    assert [(item.kind, item.scores) for item in found] == [("non-speech", None)] * 3


@pytest.mark.parametrize("name", ["=1+1", "a\x1b[31m", "two\nlines", ""])
def test_no_name_of_a_category_reaches_a_cell_or_terminal_unless_it_is_a_word(
    name, tmp_path
):
    path = tmp_path / "model.onnx"
    model = made("wav2small-rt")
    for entry in model.metadata_props:
        if entry.key == "categories":
            entry.value = ",".join([name, *entry.value.split(",")[1:]])
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="'categories' must name each number") as found:
        load_model(path)
    assert str(found.value).isprintable()


def test_categories_and_doubts_of_a_model_that_says_them(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(made("wav2small-rt").SerializeToString())
    clip = audio.load(sorted(DEMO.parent.glob("en_*.opus"))[0])[:16000]
    recording = tmp_path / "mixed.wav"
    soundfile.write(recording, np.concatenate([clip, np.zeros(16000)]), 16000)
    source = Source(recording, "mixed.wav")
    own = load_model(path)
    found = list(scored(own, source, 1.0))
    assert [item.kind for item in found] == ["speech", "silence"]
    speech, silence = found
    reference = ReferenceModel(path)
    odds = reference.run(audio.load(recording, end=1.0))["categories"]
    wanted = shares(odds, reference.graph.tensors["categories"]) / 2**15
    np.testing.assert_allclose(list(speech.categories.values()), wanted, atol=0.01)
    assert sum(speech.categories.values()) == pytest.approx(1)
    assert len(speech.doubts) == 3
    assert all(0 < doubt < 1 for doubt in speech.doubts)
    assert (silence.categories, silence.doubts) == ({}, None)
    plain = next(scored(load_model("wav2small-rt"), source))
    assert (plain.categories, plain.doubts) == (None, None)
    assert plain.scores is not None
