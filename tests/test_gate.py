from __future__ import annotations

import csv
import math
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from silero_vad import load_silero_vad

from wav2small import audio, gate
from wav2small.errors import InputError
from wav2small.gate import (
    MIN_SAMPLES,
    PIECE_SAMPLES,
    SileroGate,
    SpeechGate,
    level,
    load_gate,
)

DEMO = Path(gate.__file__).parent / "assets" / "demo"


@pytest.fixture(scope="module")
def speech_gate() -> SpeechGate:
    return SpeechGate()


@pytest.fixture(scope="module")
def demo() -> list[np.ndarray]:
    with (DEMO / "manifest.csv").open(newline="") as file:
        return [audio.load(DEMO / row["file"]) for row in csv.DictReader(file)]


def noise(samples: int, rms: float, seed: int = 0) -> np.ndarray:
    signal = np.random.default_rng(seed).normal(0, rms, samples)
    return signal.astype(np.float32)


def tone(samples: int, frequency: float, amplitude: float = 0.3) -> np.ndarray:
    seconds = np.arange(samples) / 16000
    return (amplitude * np.sin(2 * np.pi * frequency * seconds)).astype(np.float32)


def colored(samples: int, slope: float, seed: int) -> np.ndarray:
    spectrum = np.fft.rfft(noise(samples, 1, seed))
    signal = np.fft.irfft(spectrum / np.arange(1, len(spectrum) + 1) ** slope)
    return (0.05 * signal / signal.std()).astype(np.float32)


# level


def test_level_of_known_signals() -> None:
    # a sine has a root mean square of its amplitude over the root of two
    assert level(tone(16000, 1000, 1.0)) == pytest.approx(-3.0103, abs=1e-3)
    assert level(noise(160000, 0.001)) == pytest.approx(-60, abs=0.1)


@pytest.mark.parametrize("samples", [0, 1, 16000])
def test_level_of_nothing(samples: int) -> None:
    assert level(np.full(samples, 0.5, dtype=np.float32)) == -np.inf


@given(offset=st.floats(-1, 1), rms=st.floats(1e-3, 0.1))
def test_level_ignores_an_offset(offset: float, rms: float) -> None:
    signal = noise(4000, rms)
    shifted = signal + np.float32(offset)
    assert level(shifted) == pytest.approx(level(signal), abs=0.01)


# silence


@pytest.mark.parametrize("samples", [0, 1, 63, 64, 1599, 1600, 16000, 160000])
@pytest.mark.parametrize("offset", [0.0, 0.5, -1.0])
def test_a_constant_is_silence(
    speech_gate: SpeechGate, samples: int, offset: float
) -> None:
    signal = np.full(samples, offset, dtype=np.float32)
    assert speech_gate.classify(signal) == "silence"
    assert speech_gate.probability(signal) == 0


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_silence_ends_at_its_level(speech_gate: SpeechGate, offset: float) -> None:
    quiet = noise(16000, 10 ** (-60.5 / 20)) + np.float32(offset)
    loud = noise(16000, 10 ** (-59.5 / 20)) + np.float32(offset)
    assert speech_gate.classify(quiet) == "silence"
    assert speech_gate.classify(loud) == "non-speech"


def test_short_is_silence(speech_gate: SpeechGate, demo: list[np.ndarray]) -> None:
    loudest = demo[0][np.argmax(np.abs(demo[0])) :]
    assert speech_gate.classify(loudest[: MIN_SAMPLES - 1]) == "silence"
    assert speech_gate.classify(loudest[:MIN_SAMPLES]) != "silence"


# non-speech


@pytest.mark.parametrize("seconds", [0.5, 1, 4, 11])
@pytest.mark.parametrize("slope", [0, 0.5, 1], ids=["white", "pink", "brown"])
def test_noise_is_no_speech(
    speech_gate: SpeechGate, seconds: float, slope: float
) -> None:
    for seed in range(5):
        signal = colored(int(seconds * 16000), slope, seed)
        assert speech_gate.classify(signal) == "non-speech"


@pytest.mark.parametrize("frequency", [50, 100, 220, 440, 1000, 3000, 7000])
@pytest.mark.parametrize("seconds", [0.5, 2])
def test_a_tone_is_no_speech(
    speech_gate: SpeechGate, frequency: float, seconds: float
) -> None:
    signal = tone(int(seconds * 16000), frequency)
    assert speech_gate.classify(signal) == "non-speech"


def test_clicks_are_no_speech(speech_gate: SpeechGate) -> None:
    signal = np.zeros(32000, dtype=np.float32)
    signal[::8000] = 0.9
    assert speech_gate.classify(signal) == "non-speech"


# speech


def test_demo_is_speech(speech_gate: SpeechGate, demo: list[np.ndarray]) -> None:
    assert len(demo) > 5
    kinds = [speech_gate.classify(signal) for signal in demo]
    assert kinds.count("speech") == len(kinds)


@pytest.mark.parametrize("decibel", [-50, -20])
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_speech_at_any_level(
    speech_gate: SpeechGate, demo: list[np.ndarray], decibel: float, offset: float
) -> None:
    for signal in demo[:5]:
        gain = 10 ** ((decibel - level(signal)) / 20)
        changed = signal * np.float32(gain) + np.float32(offset)
        assert speech_gate.classify(changed) == "speech"
        assert speech_gate.probability(changed) == pytest.approx(
            speech_gate.probability(signal), abs=0.05
        )


def test_long_signal_is_the_mean_of_its_pieces(
    speech_gate: SpeechGate, demo: list[np.ndarray]
) -> None:
    speech = np.resize(demo[0], PIECE_SAMPLES)
    other = noise(PIECE_SAMPLES, 0.05)
    silent = np.zeros(PIECE_SAMPLES, dtype=np.float32)
    parts = [speech_gate.probability(part) for part in (speech, other)]
    joined = np.concatenate([silent, speech, other])
    assert speech_gate.probability(joined) == pytest.approx(np.mean(parts))


@settings(max_examples=30, deadline=None)
@given(samples=st.integers(MIN_SAMPLES, 200_000), seed=st.integers(0, 9))
def test_probability_of_any_length(
    speech_gate: SpeechGate, samples: int, seed: int
) -> None:
    probability = speech_gate.probability(noise(samples, 0.1, seed))
    assert 0 <= probability <= 1


# errors


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", ["classify", "probability"])
def test_signal_must_be_finite(
    speech_gate: SpeechGate, value: float, method: str
) -> None:
    signal = noise(16000, 0.1)
    signal[7] = value
    with pytest.raises(InputError, match="signal must be finite, got NaN or inf"):
        getattr(speech_gate, method)(signal)


@pytest.mark.parametrize(
    "signal, found",
    [
        (np.zeros((1, 16000), dtype=np.float32), "float32 of shape (1, 16000)"),
        (np.zeros(16000), "float64 of shape (16000,)"),
        (np.zeros(16000, dtype=np.int16), "int16 of shape (16000,)"),
    ],
)
@pytest.mark.parametrize("method", ["classify", "probability"])
def test_signal_must_be_one_row_of_floats(
    speech_gate: SpeechGate, signal: np.ndarray, found: str, method: str
) -> None:
    with pytest.raises(InputError, match=re.escape(f"(time,), got {found}: convert")):
        getattr(speech_gate, method)(signal)


def test_file_must_be_a_gate(tmp_path: Path) -> None:
    missing, broken, bare = (tmp_path / name for name in ("a", "b", "c"))
    broken.write_bytes(gate.ASSET.read_bytes()[:1000])
    model = onnx.load(gate.ASSET)
    del model.metadata_props[:]
    onnx.save(model, bare)
    for path in (missing, broken, bare):
        message = f"gate must be an ONNX file with a threshold, got '{path}'"
        with pytest.raises(InputError, match=re.escape(message)):
            SpeechGate(path)


# file


def test_bundled_file() -> None:
    assert gate.ASSET.stat().st_size <= 80_000
    model = onnx.load(gate.ASSET, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    (source,), (sink,) = model.graph.input, model.graph.output
    assert (source.name, sink.name) == ("signal", "speech")
    fixed, free = source.type.tensor_type.shape.dim
    assert fixed.dim_value == 1 and free.dim_param
    assert [dim.dim_value for dim in sink.type.tensor_type.shape.dim] == [1, 1]
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["licence"] == "Apache-2.0"
    assert metadata["sampling_rate"] == "16000"
    for source_of_data in ("EMO-DB (CC0-1.0)", "LibriSpeech (CC BY 4.0)", "ESC-10"):
        assert source_of_data in metadata["training_data"]


def test_card_states_the_file() -> None:
    card = (gate.ASSET.parent / "README.md").read_text()
    assert f"{gate.ASSET.stat().st_size} bytes" in card
    assert f"threshold {SpeechGate().threshold}" in card
    assert f"{gate.SILENCE_LEVEL:.0f} dB" in card


def test_needs_no_torch() -> None:
    code = (
        "import sys, numpy, wav2small.gate as gate;"
        "gate.SpeechGate().classify(numpy.linspace(-1, 1, 16000, dtype=numpy.float32));"
        "sys.exit(any(name in sys.modules for name in ('torch', 'onnx', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# real data


def held_out(
    data: Path, name: str, column: str, value: str, group: str
) -> dict[str, list[np.ndarray]]:
    signals = defaultdict(list)
    with (data / name / "metadata.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row[column] == value:
                signals[row[group]].append(audio.load(data / name / row["file"]))
    return signals


def test_unseen_speakers_are_heard(data: Path, speech_gate: SpeechGate) -> None:
    speakers = held_out(data, "emodb", "split", "test", "speaker")
    rng = np.random.default_rng(0)
    clean, noisy = [], []
    for signal in (signal for group in speakers.values() for signal in group):
        clean.append(speech_gate.classify(signal))
        at_10_db = rng.normal(0, signal.std() * 10**-0.5, len(signal))
        noisy.append(speech_gate.classify(signal + at_10_db.astype(np.float32)))
    assert len(clean) > 200
    assert clean.count("speech") >= 0.985 * len(clean)
    assert noisy.count("speech") >= 0.97 * len(noisy)


def test_unseen_sounds_are_no_speech(data: Path, speech_gate: SpeechGate) -> None:
    sounds = held_out(data, "esc10", "fold", "5", "category")
    accepted = {
        name: sum(speech_gate.classify(signal) == "speech" for signal in signals)
        for name, signals in sounds.items()
    }
    assert len(accepted) == 10
    assert max(accepted.values()) <= 2  # of 8
    assert sum(accepted.values()) <= 4  # of 80


# The detector of silero-vad


@pytest.fixture(scope="module")
def silero() -> SileroGate:
    return SileroGate()


def test_silero_hears_speech_alone(silero: SileroGate, demo: list[np.ndarray]) -> None:
    assert {silero.classify(signal) for signal in demo} == {"speech"}
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 32000).astype(np.float32)
    assert silero.classify(noise) == "non-speech"
    assert silero.classify(0 * noise) == "silence"


def test_silero_wants_speech_for_a_quarter_second(
    silero: SileroGate, demo: list[np.ndarray]
) -> None:
    found = silero.frames(demo[0])
    assert len(found) == math.ceil(len(demo[0]) / 512)
    runs = [min(found[start : start + 8]) for start in range(len(found) - 7)]
    assert silero.probability(demo[0]) == pytest.approx(max(runs))
    # as the package itself says, frame by frame
    theirs = load_silero_vad(onnx=True)
    padded = np.pad(demo[0], (0, -len(demo[0]) % 512))
    told = [theirs(torch.from_numpy(f), 16000).item() for f in padded.reshape(-1, 512)]
    np.testing.assert_allclose(found, told, atol=1e-4)


def test_gates_have_names(monkeypatch) -> None:
    assert load_gate("none") is None
    assert type(load_gate("bundled")) is SpeechGate
    assert type(load_gate("silero")) is SileroGate
    with pytest.raises(InputError, match="gate must be one of none, bundled, silero"):
        load_gate("garden")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'wav2small\[vad\]'"):
        load_gate("silero")


def test_silero_at_work(data: Path, silero: SileroGate) -> None:
    speakers = held_out(data, "emodb", "split", "test", "speaker")
    kinds = [silero.classify(signal) for group in speakers.values() for signal in group]
    assert kinds.count("speech") >= 0.985 * len(kinds)
    sounds = held_out(data, "esc10", "fold", "5", "category")
    kinds = [silero.classify(signal) for group in sounds.values() for signal in group]
    assert kinds.count("speech") <= 4  # of 80
