"""Other sampling rates: C and Python alike, and physics."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import soxr
from test_export_c99 import NO_POINTER, OK, WARNINGS, compiled, run
from test_export_streaming import pieces, signal

from wav2small.errors import InputError
from wav2small.export.c99 import generate
from wav2small.export.integer.reader import read
from wav2small.export.integer.resampling import RATES, Resampler, make_filters
from wav2small.export.integer.streaming.run import Stream
from wav2small.models import find_onnx, load_model

MINI = "wav2small-rt-mini"
OTHERS = RATES[1:]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("longest", [5, 300])
def test_any_pieces_give_the_same(rate, longest):
    samples = signal(1, 6000)
    whole = Resampler(rate).push(samples)
    assert len(whole) == -(-len(samples) * 16000 // rate)
    resampler = Resampler(rate)
    parts = [resampler.push(piece) for piece in pieces(2, samples, longest)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    resampler.reset()
    np.testing.assert_array_equal(resampler.push(samples), whole)


@pytest.mark.parametrize("rate", OTHERS)
def test_tones_and_levels(rate):
    time = np.arange(rate) / rate
    taps = make_filters(rate).shape[1]

    def made(signal: np.ndarray) -> np.ndarray:
        return Resampler(rate).push(np.rint(signal).astype(np.int16))[taps:]

    assert set(made(np.full(rate, 12345.0))) == {12345}
    assert set(made(np.full(rate, -32768.0))) == {-32768}
    for hertz in (100, 1000, 6000):
        heard = made(10000 * np.sin(2 * np.pi * hertz * time))
        late = (taps // 2) / rate
        there = np.arange(taps, taps + len(heard)) / 16000 - late
        wanted = 10000 * np.sin(2 * np.pi * hertz * there)
        assert np.abs(heard - wanted).max() < 100
    # what a rate of 16 kHz cannot hold would come back as another tone
    if rate > 20480:
        assert np.abs(made(10000 * np.sin(2 * np.pi * 9900 * time))).max() < 60


@compiled
@pytest.mark.parametrize("rate", OTHERS)
def test_c_gives_the_integers_of_the_stream(rate, tmp_path):
    generate(find_onnx(MINI), tmp_path, input_rate=rate)
    sources = [tmp_path / "wav2small.c", tmp_path / "wav2small_resample.c"]
    shared = ["-shared", "-fPIC", "-O1", "-o", tmp_path / "library.so"]
    run("cc", *WARNINGS, *shared, *sources)
    c = ctypes.CDLL(str(tmp_path / "library.so"))
    state, resampler = (ctypes.c_uint64 * 2000)(), (ctypes.c_uint64 * 100)()
    scores = (ctypes.c_int32 * 3)()
    push = c.wav2small_resample_push
    assert push(resampler, state, None, ctypes.c_size_t(0)) == 2  # not ready
    assert c.wav2small_init(state) == OK
    assert c.wav2small_resample_init(None) == NO_POINTER
    assert c.wav2small_resample_init(resampler) == OK
    assert push(None, state, scores, ctypes.c_size_t(1)) == NO_POINTER
    assert push(resampler, None, scores, ctypes.c_size_t(1)) == NO_POINTER
    assert push(resampler, state, None, ctypes.c_size_t(1)) == NO_POINTER
    stream = Stream(find_onnx(MINI), input_rate=rate)
    for piece in pieces(3, signal(4, 2 * rate), 700):
        stream.push(piece)
        held = np.ascontiguousarray(piece)
        pointer = held.ctypes.data_as(ctypes.c_void_p)
        assert push(resampler, state, pointer, ctypes.c_size_t(len(held))) == OK
    assert c.wav2small_integers(state, scores) == OK
    assert list(scores) == stream.integers().ravel().tolist()


def test_no_resampler_where_none_is_asked_for(run, tmp_path):
    assert run("c99", MINI, tmp_path / "own", "--input-rate", 16000)[0] == 0
    assert run("c99", MINI, tmp_path / "c", "--input-rate", 24000)[0] == 0
    own, other = ({p.name for p in (tmp_path / n).iterdir()} for n in ("own", "c"))
    assert other - own == {"wav2small_resample.c", "wav2small_resample.h"}


def test_rates_without_a_filter(run, tmp_path):
    with pytest.raises(InputError, match="input rate must be one of 16000, 20000"):
        Resampler(8000)
    code, _, error = run("c99", MINI, tmp_path, "--input-rate", 11025)
    assert code == 2
    assert "input rate must be one of" in error


@pytest.mark.parametrize("rate", [22050, 48000])
def test_scores_are_those_of_soxr(rate):
    from wav2small import audio
    from wav2small.bundled import DEMO

    _, sources = audio.find([DEMO])
    errors = []
    for source in sources[::20]:
        clip = audio.beginning(source, 3.0)
        given = soxr.resample(clip, 16000, rate)
        integers = np.clip(np.rint(given * 2**15), -32768, 32767).astype(np.int16)
        stream = Stream(read(find_onnx(MINI)), input_rate=rate)
        stream.push(integers)
        wanted = load_model(MINI).predict([soxr.resample(given, rate, 16000)])[0]
        errors.append(np.abs(stream.result() - wanted).max())
    assert np.mean(errors) < 0.01
