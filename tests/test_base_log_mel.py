import dataclasses
import json

import librosa
import numpy as np
import pytest

from wav2small.export.base.errors import BenchError, ExportError
from wav2small.export.base.log_mel import (
    ENTRY,
    LogMelSettings,
    compute,
    read_settings,
    require_settings,
)
from wav2small.students import STUDENTS

SETTINGS = LogMelSettings(
    sampling_rate=16000,
    window_length=400,
    hop_length=160,
    n_fft=512,
    n_mels=40,
    fmin=60,
    fmax=7600.0,
    padding=0,
    floor=1e-10,
    power_floor=None,
    past_frames=None,
    center=-15.0,
    spread=20.0,
)


def noise(count):
    return np.random.default_rng(0).normal(size=count).astype(np.float32) / 10


@pytest.mark.parametrize("power_floor", [None, 1e-7])
@pytest.mark.parametrize("padding", [0, 256])
def test_against_librosa(padding, power_floor):
    settings = dataclasses.replace(
        SETTINGS,
        window_length=512,
        padding=padding,
        power_floor=power_floor,
    )
    signal = noise(4000)
    heard = signal.astype(np.float64)
    if power_floor:
        heard = (heard - heard.mean()) / np.sqrt(heard.var() + power_floor)
    power = librosa.feature.melspectrogram(
        y=heard,
        sr=16000,
        n_fft=512,
        hop_length=160,
        n_mels=40,
        fmin=60,
        fmax=7600,
        center=padding > 0,
        pad_mode="constant",
    )
    expected = (10 * np.log10(np.maximum(power.T, 1e-10)) + 15) / 20
    np.testing.assert_allclose(compute(settings, signal), expected, atol=1e-6)


def test_a_window_shorter_than_the_transform():
    """Zeros follow it, in place of librosa's on both sides: the power is the same."""
    signal = noise(400)
    power = librosa.feature.melspectrogram(
        y=np.pad(signal, 56), sr=16000, n_fft=512, win_length=400, hop_length=512,
        n_mels=40, fmin=60, fmax=7600, center=False,
    )  # fmt: skip
    expected = (10 * np.log10(power.T) + 15) / 20
    np.testing.assert_allclose(compute(SETTINGS, signal), expected, atol=1e-5)


def test_level_of_the_past():
    signal = noise(4000)
    plain = 20 * compute(SETTINGS, signal) - 15
    settings = dataclasses.replace(SETTINGS, past_frames=7, center=0.0)
    found = compute(settings, signal)
    for frame in range(len(plain)):
        level = plain[max(0, frame - 6) : frame + 1].mean()
        np.testing.assert_allclose(20 * found[frame], plain[frame] - level, atol=1e-9)


@pytest.mark.parametrize("name", STUDENTS)
def test_settings_come_back(name):
    settings = STUDENTS[name].build().log_mel_settings
    said = {ENTRY: settings.to_text(), "sampling_rate": "16000"}
    assert require_settings(said) == settings


def changed(**values):
    return json.dumps(dataclasses.asdict(SETTINGS) | values)


WRONG = {
    "empty": "",
    "no object": "[1]",
    "more": changed(extra=1),
    "fewer": "{}",
    "long": " " * 5000 + SETTINGS.to_text(),
    "deep": "[" * 1900,
    "huge number": changed().replace("16000", "1" * 1500),
    "truth": changed(n_mels=True),
    "text": changed(n_mels="40"),
    "nothing": changed(n_mels=None),
    "a half": changed(n_mels=40.5),
    "not a number": changed(floor=float("nan")),
    "infinite": changed(spread=float("inf")),
    "kind of window": changed(window="hamming"),
    "control": changed(mel="\x1b[31m"),
    "no hop": changed(hop_length=0),
    "short transform": changed(n_fft=399),
    "edges": changed(fmin=7600),
    "nyquist": changed(fmax=8001),
    "padding": changed(padding=401),
    "no floor": changed(floor=0),
    "long past": changed(past_frames=1001),
    "another rate": changed(sampling_rate=8000, fmax=4000),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("error", [ExportError, BenchError])
def test_what_are_no_settings(kind, error):
    said = {ENTRY: WRONG[kind], "sampling_rate": "16000"}
    with pytest.raises(error, match="'log_mel' must be settings of a log-mel") as found:
        read_settings(said, error)
    assert str(found.value).isprintable() and len(str(found.value)) < 500


def test_a_file_that_states_none():
    assert read_settings({}) is None
    with pytest.raises(ExportError, match="got none: export it again"):
        require_settings({"sampling_rate": "16000"})
