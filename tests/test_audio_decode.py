import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import FORMATS, tone, write

from wav2small import audio
from wav2small.audio import AudioError
from wav2small.errors import InputError


@pytest.mark.parametrize("extension", FORMATS)
def test_formats(tmp_path, extension):
    path = write(tmp_path / f"a.{extension}", tone(1.5))
    signal = audio.load(path)
    assert signal.dtype == np.float32
    assert signal.shape == (24000,)
    # phase too: lossy formats must not shift
    assert np.corrcoef(signal, tone(1.5))[0, 1] > 0.99


@pytest.mark.parametrize("sampling_rate", [8000, 11025, 44100, 48000, 96000])
def test_resampling_keeps_a_tone(tmp_path, sampling_rate):
    signal = tone(2, frequency=1000, sampling_rate=sampling_rate)
    path = write(tmp_path / "a.wav", signal, sampling_rate, subtype="FLOAT")
    result = audio.load(path)
    assert abs(len(result) - 32000) <= 1
    # a least-squares fit away from the edges
    inner = np.arange(4000, 28000)
    phase = 2 * np.pi * 1000 * inner / 16000
    basis = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    fit = np.linalg.lstsq(basis, result[inner], rcond=None)[0]
    np.testing.assert_allclose(fit, [0.3, 0], atol=1e-3)
    np.testing.assert_allclose(basis @ fit, result[inner], atol=1e-3)


def test_resampling_removes_what_16_khz_cannot_hold(tmp_path):
    signal = tone(1, frequency=11000, sampling_rate=48000)
    result = audio.load(write(tmp_path / "a.wav", signal, 48000))
    assert np.abs(result[1000:-1000]).max() < 1e-3


def test_channels_are_averaged(tmp_path):
    channels = np.stack([tone(1), -0.5 * tone(1), np.full(16000, 0.3)], axis=1)
    result = audio.load(write(tmp_path / "a.wav", channels, subtype="FLOAT"))
    np.testing.assert_allclose(result, 0.1 + tone(1) / 6, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    block_seconds=st.floats(0.001, 3),
    sampling_rate=st.sampled_from([8000, 16000, 44100]),
    samples=st.integers(3, 20000),  # one sample at least at 16 kHz: less is refused
)
def test_blocks_equal_one_block(
    tmp_path_factory, block_seconds, sampling_rate, samples
):
    signal = np.random.default_rng(samples).normal(0, 0.1, samples)
    path = tmp_path_factory.mktemp("blocks") / "a.wav"
    write(path, signal, sampling_rate)
    blocks = list(audio.stream(path, block_seconds=block_seconds))
    assert all(len(block) for block in blocks)
    result = np.concatenate(blocks)
    np.testing.assert_array_equal(result, audio.load(path))
    assert abs(len(result) - samples * 16000 / sampling_rate) <= 1


@pytest.mark.parametrize("extension", FORMATS)
def test_segments(tmp_path, extension):
    signal = np.random.default_rng(0).normal(0, 0.1, 48000)
    path = write(tmp_path / f"a.{extension}", signal)
    whole = audio.load(path)
    segment = audio.load(path, start=1.25, end=2.5)
    np.testing.assert_allclose(segment, whole[20000:40000], atol=1e-6)
    np.testing.assert_allclose(audio.load(path, start=2.5), whole[40000:], atol=1e-6)
    assert len(audio.load(path, end=3.05)) == 48000  # within the tolerance


def test_segment_of_another_rate(tmp_path):
    signal = tone(3, sampling_rate=44100)
    path = write(tmp_path / "a.wav", signal, 44100)
    segment = audio.load(path, start=1, end=2)
    assert abs(len(segment) - 16000) <= 1
    np.testing.assert_allclose(segment[500:-500], tone(1)[500:15500], atol=1e-3)


def test_block_is_bounded(tmp_path):
    # an hour of silence: 230 MB if decoded at once, a fraction of it on disk
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", 16000, 1) as file:
        for _ in range(60):
            file.write(np.zeros(60 * 16000, np.float32))
    tracemalloc.start()
    samples = sum(len(block) for block in audio.stream(path, block_seconds=10))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples == 3600 * 16000
    assert peak < 10 * 16000 * 4 * 4


def test_block_of_many_channels_is_bounded(tmp_path):
    path = write(tmp_path / "a.wav", np.zeros((96000, 60), np.float32), 96000)
    blocks = list(audio.stream(path, block_seconds=100))
    assert len(blocks) > 1
    assert sum(len(block) for block in blocks) == 16000


def test_too_long(tmp_path):
    path = write(tmp_path / "a.wav", tone(2))
    with pytest.raises(AudioError, match=r"at most 1\.5 s long: .*a\.wav: cut it"):
        audio.load(path, max_seconds=1.5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"block_seconds": 0}, "block_seconds must be above 0"),
        ({"start": -1.0}, "start must be at least 0"),
        ({"start": float("nan")}, "start must be at least 0"),
        ({"start": 1.0, "end": 1.0}, "end must be behind start 1.0"),
    ],
)
def test_arguments(tmp_path, options, match):
    with pytest.raises(InputError, match=match):
        audio.stream(tmp_path / "a.wav", **options)


@pytest.mark.parametrize("options", [{"start": 1.0}, {"start": 0.5, "end": 1.2}])
def test_segment_outside(tmp_path, options):
    path = write(tmp_path / "a.wav", tone(1))
    with pytest.raises(AudioError, match=r"must lie in the audio of 1\.000 s"):
        audio.load(path, **options)


def test_beginning_is_that_of_the_segment(tmp_path):
    signal = np.linspace(-0.5, 0.5, 16000, dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", signal, 16000, subtype="FLOAT")
    source = audio.Source(tmp_path / "a.wav", "a.wav", start=0.25, end=0.75)
    np.testing.assert_array_equal(audio.beginning(source, 0.1), signal[4000:5600])
    np.testing.assert_array_equal(audio.beginning(source, 9.0), signal[4000:12000])


@pytest.mark.parametrize("offset", [0.0, 0.2])
@pytest.mark.parametrize("gain", [-1.0, -0.8])
@pytest.mark.parametrize("seconds", [0.5, 65.0])
def test_channels_that_cancel_each_other_are_no_silence(
    tmp_path, offset, gain, seconds
):
    voice = tone(seconds, frequency=300)
    path = write(tmp_path / "a.wav", np.stack([voice, gain * voice], 1) + offset)
    with pytest.raises(AudioError, match=r"must not cancel .*a\.wav.* opposite phase"):
        audio.load(path)
    source = audio.Source(path, "a.wav")
    with pytest.raises(AudioError, match="must not cancel"):
        audio.beginning(source, 10.0)


@pytest.mark.parametrize("channels", [2, 6, 64])
def test_other_channels_are_averaged(tmp_path, channels):
    rng = np.random.default_rng(0)
    noises = (0.1 * rng.normal(size=(16000, channels))).astype(np.float32)
    half_there = noises.copy()
    half_there[:, 1:] = 0
    turned = np.repeat(noises[:, :1], channels, axis=1)
    turned[:, 0] *= -0.5  # weaker: most of the others is left
    for number, signal in enumerate((noises, half_there, turned, 0 * noises)):
        path = write(tmp_path / f"{number}.wav", signal, subtype="FLOAT")
        np.testing.assert_allclose(audio.load(path), signal.mean(1), atol=1e-6)
