"""Speech or not: the second output, what is heard for it, and covered samples."""

from __future__ import annotations

import ctypes
import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from test_export_c99 import OK, TOO_SHORT, Library, compiled, latest
from test_export_streaming import pieces, signal

from wav2small.export.base.errors import ExportError
from wav2small.export.c99 import generate
from wav2small.export.integer.front_end import log_mel
from wav2small.export.integer.front_end.constants import CENTRED
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.streaming.run import Stream
from wav2small.export.model import speech, topology
from wav2small.models import bundled

NAMES = ["wav2small-rt", "wav2small-rt-mini"]


def load(name: str) -> onnx.ModelProto:
    return onnx.load(bundled()[name] / "model.onnx")


def detector(seed: int = 0) -> list[speech.DetectorLayer]:
    """Detector with random weights."""
    rng = np.random.default_rng(seed)
    first = speech.DetectorLayer(
        rng.normal(0, 0.3, (8, 1, 1, 40)), np.zeros(8), 2, 1, 6.0
    )
    second = speech.DetectorLayer(
        rng.normal(0, 0.3, (6, 8, 3, 1)), np.zeros(6), 1, 3, 4.0
    )
    last = speech.DetectorLayer(rng.normal(0, 1, (1, 6, 1, 1)), np.zeros(1), 1, 1, None)
    return [first, second, last]


def with_detector(name: str, layers: list[speech.DetectorLayer]) -> onnx.ModelProto:
    return speech.with_speech(load(name), layers)


def balanced(name: str) -> list[speech.DetectorLayer]:
    """Detector that seldom says yes to a noise."""
    layers = detector()
    heard = read(with_detector(name, layers)).detector
    assert heard is not None
    rows = ReferenceModel(heard).run(signal(3, 40000))[heard.output]
    most = np.quantile(rows, 0.9) * heard.tensors[heard.output].scale
    layers[-1] = dataclasses.replace(layers[-1], bias=np.array([-most]))
    return layers


MODELS = {name: with_detector(name, balanced(name)) for name in NAMES}
GRAPHS = {name: read(model) for name, model in MODELS.items()}


def whole(model: IntegerGraph, samples: np.ndarray) -> tuple[list[int], list[bool]]:
    """Scores of the whole clip by the page, and of which frames there is a row."""
    front, heard_by = model.operators[0].front_end, model.detector
    assert heard_by is not None
    before, after = front.padding
    padded = np.pad(samples.astype(np.int64), (before, after))
    logarithms = log_mel.frame_logarithms(front, padded << CENTRED)
    come = (before + len(samples) - front.window_length) // front.hop_length + 1
    reference = ReferenceModel(heard_by)
    hold = round(0.3 * 16000 / (2 * front.hop_length))
    levels: list[int] = []
    read_rows: list[np.ndarray] = []
    passed: list[np.ndarray] = []
    there: list[bool] = []
    left = 0
    for frame, logarithm in enumerate(logarithms):
        ended = frame >= come
        if ended and not left:
            break
        there.append(ended or frame % 2 == 0 or left > 0)
        levels.append(int(logarithm.sum()) if there[-1] else levels[-1])
        past = levels[-front.past_frames :]
        count = len(past) * len(logarithm)
        level = (2 * sum(past) + count) // (2 * count)
        row = log_mel.to_int8(front, logarithm - level)
        if not ended and frame % 2 == 0:
            # rows between those that it reads do not matter to a detector
            read_rows += [row] if not read_rows else [row, row]
            values = {heard_by.operators[0].output: np.array(read_rows)[None, None]}
            for operator in heard_by.operators[1:]:
                values[operator.output] = reference.apply(operator, values)
            yes = values[heard_by.output].ravel()[-1] >= 0
            left = hold if yes else max(0, left - 1)
        if left:
            passed.append(row)
    values = {model.operators[0].output: np.array(passed)[None, None]}
    for operator in model.operators[1:]:
        values[operator.output] = ReferenceModel(model).apply(operator, values)
    return values[model.output].ravel().tolist(), there


# -- the output --------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_scores_stay_what_they_are(name):
    plain, model = speech.scores_alone(load(name)), MODELS[name]
    samples = (signal(1, 20000) / 32768).astype(np.float32)[None]
    session = topology.session(model, "exact")
    scores, odds = session.run(["logits", "speech"], {"signal": samples})
    (wanted,) = topology.session(plain, "exact").run(["logits"], {"signal": samples})
    np.testing.assert_array_equal(scores, wanted)
    heard = GRAPHS[name].detector
    integers = ReferenceModel(heard).run(signal(1, 20000))[heard.output].ravel()
    np.testing.assert_allclose(
        integers * heard.tensors[heard.output].scale, odds.ravel(), atol=1e-3
    )
    assert odds.shape == (1, len(integers))
    assert model.metadata_props == plain.metadata_props


def test_output_that_is_not_there_costs_nothing(tmp_path):
    model = MODELS["wav2small-rt-mini"]
    alone = speech.scores_alone(model)
    assert speech.scores_alone(alone) is alone
    assert speech.speech_alone(alone) is None
    plain = speech.scores_alone(load("wav2small-rt-mini"))
    assert read(alone).detector is None
    assert len(alone.graph.node) == len(plain.graph.node)
    stream = Stream(read(alone))
    with pytest.raises(ExportError, match="must have the output 'speech'"):
        stream.listen(speech_alone=True)


@pytest.mark.parametrize("name", NAMES)
def test_detector_goes_from_model_to_model(name):
    layers = speech.detector_of(load(name))
    assert [layer.weight.ndim for layer in layers] == [4] * 5
    other = speech.with_speech(speech.scores_alone(load(name)), layers)
    samples = (signal(1, 40000) / 32768).astype(np.float32)[None]
    odds, wanted = (
        topology.session(model, "exact").run(["speech"], {"signal": samples})[0]
        for model in (other, load(name))
    )
    np.testing.assert_allclose(odds, wanted, atol=1e-4)
    assert speech.detector_of(speech.scores_alone(load(name))) == []


def test_detector_that_needs_more_is_refused():
    layers = detector()
    layers[0] = dataclasses.replace(layers[0], weight=np.ones((8, 1, 2, 40)))
    graph = read(with_detector("wav2small-rt", layers))
    with pytest.raises(ExportError, match="one number of the newest row"):
        Stream(graph)


@pytest.mark.parametrize("name", NAMES)
def test_layers_of_the_detector_have_names_of_their_own(name, tmp_path):
    graph = GRAPHS[name]
    assert graph.detector is not None
    layers, others = (
        {part.label(operator) for operator in part.operators[1:]}
        for part in (graph, graph.detector)
    )
    assert layers.isdisjoint(others)
    assert "Detector Convolution 1" in others
    generate(graph, tmp_path)
    code = (tmp_path / "wav2small_model.h").read_text()
    assert "Detector Convolution 1" in code


# -- listening to speech alone -----------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_layers_hear_the_rows_of_speech(name, seed):
    model = GRAPHS[name]
    samples = signal(seed, 20000)
    wanted, there = whole(model, samples)
    assert not all(there)
    for longest in (300, 40000):
        stream = Stream(model)
        stream.listen(speech_alone=True)
        for piece in pieces(seed, samples, longest):
            stream.push(piece)
        assert stream.integers().ravel().tolist() == wanted


def test_scores_hold_where_there_is_no_speech():
    layers = detector()
    # the louder the highest bands, the more it is speech
    weight = np.zeros((8, 1, 1, 40))
    weight[0, :, :, 30:] = 0.3
    layers[0] = dataclasses.replace(layers[0], weight=weight)
    layers[1] = dataclasses.replace(layers[1], weight=np.zeros((6, 8, 3, 1)))
    layers[1].weight[0, 0, 2] = 1
    layers[2] = speech.DetectorLayer(
        np.eye(1, 6)[:, :, None, None], -np.ones(1), 1, 1, None
    )
    stream = Stream(read(with_detector("wav2small-rt", layers)))
    stream.listen(speech_alone=True)
    rng = np.random.default_rng(0)
    hiss = np.diff(rng.normal(size=24001), prepend=0)[1:] * 3000
    hum = np.cumsum(rng.normal(size=64000)) * 20
    stream.push(hiss.astype(np.int16))
    assert stream.hears_speech
    assert stream.speech > 0
    stream.push(hum[:16000].astype(np.int16))
    assert not stream.hears_speech
    assert stream.speech < 0
    held = stream.latest_integers().tolist()
    stream.push(hum[16000:].astype(np.int16))
    assert stream.latest_integers().tolist() == held
    assert stream.integers().tolist() != held  # the look-ahead of the last speech


# -- own voice ---------------------------------------------------------------


def own_voice(length: int) -> np.ndarray:
    """Like the wearer's own voice at the aid: 18 dB louder, low frequencies."""
    rng = np.random.default_rng(5)
    spectrum = np.fft.rfft(rng.normal(size=length))
    hertz = np.fft.rfftfreq(length, 1 / 16000)
    low = np.fft.irfft(spectrum / (1 + (hertz / 400) ** 2), length)
    return np.clip(low / low.std() * 8000, -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("alone", [False, True])
def test_own_voice_leaves_no_trace(alone):
    model = GRAPHS["wav2small-rt"]
    front = model.operators[0].front_end
    samples = signal(2, 30000)

    def heard(covered: int) -> Stream:
        stream = Stream(model)
        stream.listen(speech_alone=alone)
        stream.push(samples[:16000])
        stream.integers()  # after a result the last frame counts as well
        before = stream.latest_integers().tolist()
        stream.cover(True)
        stream.push(own_voice(40 * front.hop_length)[: covered * front.hop_length])
        stream.cover(False)
        assert stream.latest_integers().tolist() == before
        stream.push(samples[16000:])
        return stream

    # what is covered is not heard, however long it lasts and whatever it is
    assert heard(3).integers().tolist() == heard(40).integers().tolist()
    uncovered = Stream(model)
    uncovered.push(samples)
    assert uncovered.integers().tolist() != heard(40).integers().tolist()


# -- C -----------------------------------------------------------------------


def c_of(found: Stream) -> list[int] | int:
    try:
        return found.integers().ravel().tolist()
    except ExportError:
        return TOO_SHORT


@compiled
@pytest.mark.parametrize("name", NAMES)
def test_c_gives_the_same_integers(name, tmp_path: Path):
    model = GRAPHS[name]
    library = Library(model, tmp_path)
    c, state = library.c, library.state
    states = set()
    for seed in range(6):
        rng = np.random.default_rng(seed)
        library.init()
        stream = Stream(model)
        for piece in pieces(seed, signal(seed, 24000), [300, 4000, 9000][seed % 3]):
            change = rng.integers(20)
            if change < 4:
                c.wav2small_listen(state, int(change > 0))
                stream.listen(speech_alone=bool(change > 0))
            elif change < 6:
                c.wav2small_cover(state, int(change == 4))
                stream.cover(bool(change == 4))
            elif change == 6:
                c.wav2small_reset(state)
                stream.reset()
            assert library.push(piece) == OK
            stream.push(piece)
            odds = ctypes.c_int32()
            status = c.wav2small_speech(state, ctypes.byref(odds))
            wanted = stream.speech
            assert (status == OK) == (wanted is not None)
            if wanted is not None:
                scale = model.detector.tensors[model.detector.output].scale
                assert odds.value * scale == wanted
            hears = bool(c.wav2small_hears(state))
            assert hears == stream.hears_speech
            states.add(hears)
            assert library.latest() == latest(stream)
            if change > 9:
                status = c.wav2small_integers(state, library.scores)
                assert (list(library.scores) if status == OK else status) == c_of(
                    stream
                )
    assert states == {False, True}
