"""Clips and their augmentation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from wav2small.config import AugmentConfig
from wav2small.data import (
    Clips,
    background,
    band,
    degrade,
    read_noises,
    room,
    vary,
    without_speech,
)
from wav2small.errors import InputError
from wav2small.export.base.files import sha256

NOTHING = AugmentConfig(
    speed=0.0,
    mix_probability=0.0,
    filter_probability=0.0,
    band_probability=0.0,
    room_probability=0.0,
    noise_probability=0.0,
    silence_probability=0.0,
    gain=0.0,
)


def tone(seconds: float, frequency: float = 440.0, level: float = 0.3) -> np.ndarray:
    time = np.arange(round(16000 * seconds)) / 16000
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.fixture
def files(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1.0), 16000)
    soundfile.write(tmp_path / "b.flac", tone(0.5), 16000)
    (tmp_path / "c.wav").write_text("not audio")
    return [(tmp_path / name, 0.0, None) for name in ("a.wav", "b.flac", "c.wav")]


def test_clips_are_what_the_files_hold(files, tmp_path):
    done = []
    clips, errors = Clips.decode(
        files, tmp_path / "clips", progress=lambda *state: done.append(state)
    )
    assert done == [("decode", number, 3, {}) for number in (1, 2, 3)]
    assert [len(clip) for clip in clips] == [16000, 8000, 0]
    np.testing.assert_allclose(clips[0], tone(1.0), atol=1 / 32768)
    assert clips[1].dtype == np.float32
    assert clips.seconds == 1.5
    ((item, message),) = errors
    assert item == 2
    assert "c.wav" in message


def test_clips_are_decoded_once(files, tmp_path):
    Clips.decode(files, tmp_path / "clips")
    for path, *_ in files:
        path.unlink()
    clips, errors = Clips.decode(files, tmp_path / "clips")
    assert len(clips[0]) == 16000
    assert [item for item, _ in errors] == [2]


def test_clips_of_other_sources_are_decoded_again(files, tmp_path):
    Clips.decode(files, tmp_path / "clips")
    # as many sources, but not the same ones
    clips, _ = Clips.decode(files[::-1], tmp_path / "clips")
    assert [len(clip) for clip in clips] == [0, 8000, 16000]
    clips, _ = Clips.decode([(files[0][0], 0.0, 0.5)] * 3, tmp_path / "clips")
    assert [len(clip) for clip in clips] == [8000] * 3


def test_clips_of_other_audio_at_the_same_path_are_decoded_again(files, tmp_path):
    Clips.decode(files, tmp_path / "clips")
    soundfile.write(files[1][0], tone(0.25), 16000)
    clips, _ = Clips.decode(files, tmp_path / "clips")
    assert [len(clip) for clip in clips] == [16000, 4000, 0]


def test_audio_must_be_what_was_labelled(files, tmp_path):
    clips, _ = Clips.decode(files, tmp_path / "clips")
    digests = [sha256(files[0][0]), sha256(files[1][0]), ""]
    clips.check_same("abc", digests)
    with pytest.raises(InputError, match="got 1 files with other bytes, as b"):
        clips.check_same("abc", [digests[0], "0" * 64, ""])


def test_a_part_of_a_file(files, tmp_path):
    path = files[0][0]
    clips, _ = Clips.decode([(path, 0.25, 0.5)], tmp_path / "clips")
    np.testing.assert_allclose(clips[0], tone(1.0)[4000:8000], atol=1 / 32768)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.booleans())
def test_crops_are_sound(seed, with_noises):
    clips = [tone(0.3), tone(1.2, 200), np.zeros(1000, np.float32)]
    noises = [tone(0.2, 3000)] if with_noises else []

    def once() -> np.ndarray:
        rng = np.random.default_rng(seed)
        varied = vary(clips, seed % 3, 8000, rng, AugmentConfig(), noises)
        return degrade(varied, rng, AugmentConfig(), noises)

    signal = once()
    assert signal.shape == (8000,)
    assert signal.dtype == np.float32
    assert np.isfinite(signal).all()
    assert np.abs(signal).max() < 1
    np.testing.assert_array_equal(signal, once())


def test_nothing_asked_for_changes_nothing():
    clips = [tone(1.0), tone(1.0, 1000.0)]
    rng = np.random.default_rng(0)
    varied = vary(clips, 0, 16000, rng, NOTHING)
    np.testing.assert_array_equal(varied, clips[0])
    np.testing.assert_allclose(degrade(varied, rng, NOTHING), clips[0], atol=1e-7)


def peak(signal: np.ndarray) -> float:
    """Frequency in Hz of the strongest line."""
    return float(np.argmax(np.abs(np.fft.rfft(signal))) * 16000 / len(signal))


@pytest.mark.parametrize("seed", range(5))
def test_speed_moves_the_pitch(seed):
    config = replace(NOTHING, speed=0.2)
    rng = np.random.default_rng(seed)
    factor = 1 + np.random.default_rng(seed).uniform(-0.2, 0.2)
    varied = vary([tone(3.0, 1000)], 0, 32000, rng, config)
    assert peak(varied) == pytest.approx(1000 * factor, abs=1)


def test_a_second_speaker_is_heard():
    config = replace(NOTHING, mix_probability=1.0, snr_low=10.0, snr_high=10.0)
    mixed = vary([tone(1.0), tone(1.0, 1000.0)], 0, 16000, SecondClip(), config)
    rest = mixed - tone(1.0)
    assert peak(rest) == 1000
    assert 20 * np.log10(np.std(tone(1.0)) / np.std(rest)) == pytest.approx(10)


def test_noise_is_heard_beside_the_voice():
    config = replace(NOTHING, mix_probability=1.0, snr_low=10.0, snr_high=10.0)
    kinds = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        # the recording is the only source of a line at 3 kHz
        mixed = vary([tone(1.0)], 0, 16000, rng, config, [tone(1.0, 3000)])
        kinds.add(peak(mixed - tone(1.0)))
    assert {440.0, 3000.0} <= kinds


def test_a_filter_changes_levels_and_not_length():
    config = replace(NOTHING, filter_probability=1.0)
    noise = np.random.default_rng(0).normal(0, 0.1, 12345).astype(np.float32)
    filtered = vary([noise], 0, 12345, np.random.default_rng(1), config)
    assert filtered.shape == noise.shape
    level = np.abs(np.fft.rfft(filtered)) / np.abs(np.fft.rfft(noise))
    octave = [20 * np.log10(np.median(level[50 * 2**k : 100 * 2**k])) for k in range(6)]
    assert 1 < np.std(octave) < 8
    flat = replace(config, filter_spread=0.0)
    same = vary([noise], 0, 12345, np.random.default_rng(1), flat)
    np.testing.assert_allclose(same, noise, atol=1e-6)


class SecondClip:
    """A source of randomness that always takes the second clip."""

    def random(self) -> float:
        return 0.0  # also less than one half: a clip and no noise

    def integers(self, _: int) -> int:
        return 1

    def uniform(self, low: float, _: float) -> float:
        return low


ONE = (
    "aid_probability",
    "band_probability",
    "room_probability",
    "noise_probability",
    "silence_probability",
)


@pytest.mark.parametrize("name", ONE)
def test_each_part_of_the_channel_does_something(name):
    signal = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    config = replace(NOTHING, **{name: 1.0})
    changed = degrade(signal, np.random.default_rng(1), config)
    assert np.abs(changed - signal).max() > 0.005


def test_silence_is_at_one_end():
    config = replace(NOTHING, silence_probability=1.0)
    ends = set()
    for seed in range(20):
        signal = degrade(np.ones(8000, np.float32), np.random.default_rng(seed), config)
        silent = np.flatnonzero(signal == 0)
        assert len(silent) < 3200
        if len(silent):
            assert len(silent) == silent[-1] - silent[0] + 1
            ends.add(bool(silent[0] == 0))
            assert silent[0] == 0 or silent[-1] == 7999
    assert ends == {False, True}


@given(st.integers(0, 999))
def test_bands_keep_the_middle(seed):
    octaves = np.log2(np.linspace(31.25, 8000, 4001) / 31.25)
    level = band(octaves, np.random.default_rng(seed))
    frequency = 31.25 * 2**octaves
    assert (level[(frequency > 400) & (frequency < 3000)] == 0).all()
    assert level.min() >= -100
    assert level[0] < -4 or level[-1] < 0


@settings(deadline=None)
@given(st.integers(0, 999))
def test_rooms_decay(seed):
    response = room(np.random.default_rng(seed))
    assert response[0] == 1
    assert 0.1 * 16000 < len(response) <= 16000
    tail = response[1:] ** 2
    # reverberant power between that of the two ratios, 15 and -5 dB
    assert 10**-1.5 - 1e-3 <= tail.sum() <= 10**0.5 + 1e-3
    half = len(tail) // 2
    assert tail[half:].sum() < 0.1 * tail[:half].sum()


@settings(deadline=None)
@given(st.integers(0, 999), st.booleans())
def test_noise_alone_is_quiet_or_loud_but_sound(seed, with_noises):
    noises = [tone(0.2, 3000)] if with_noises else []
    signal = without_speech(8000, np.random.default_rng(seed), noises)
    assert signal.shape == (8000,)
    assert signal.dtype == np.float32
    assert np.abs(signal).max() <= 1
    np.testing.assert_array_equal(signal * 32768, np.round(signal * 32768))


def test_pink_noise_falls_by_three_decibels_per_octave():
    rng = np.random.default_rng(3)
    slopes = []
    for _ in range(20):
        power = np.abs(np.fft.rfft(background(16000, rng))) ** 2
        octaves = [
            10 * np.log10(power[2**k : 2 ** (k + 1)].mean()) for k in range(5, 12)
        ]
        slopes.append(np.polyfit(range(5, 12), octaves, 1)[0])
    white = [slope for slope in slopes if slope > -1.5]
    pink = [slope for slope in slopes if slope <= -1.5]
    assert np.mean(white) == pytest.approx(0, abs=0.3)
    assert np.mean(pink) == pytest.approx(-3, abs=0.3)


def test_noises_skip_what_cannot_be_read(files, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(800), 16000)
    assert len(read_noises(tmp_path)) == 2
    assert read_noises(None) == []


def test_noise_that_cannot_be_used_is_no_noise(tmp_path):
    (tmp_path / "a.wav").write_text("<html>")
    with pytest.raises(InputError, match=r"must be recordings .* got none of 1 in"):
        read_noises(tmp_path)
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 16000)
    with pytest.raises(InputError, match="it is silent"):
        read_noises(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("clips.json", b"[" * 100_000),
        ("clips.json", b"[]"),
        ("clips.json", b"\xff"),
        ("clips.json", b'{"sources": [[1]], "places": [[0, 1]]}'),
        ("clips.json", b'{"sources": [[1, 2, 3, 4]], "places": [[0, 99999]]}'),
        ("clips.int16", b""),
        ("clips.int16", b"\0\0"),
    ],
)
def test_damaged_clips_are_decoded_again(tmp_path, name, content):
    soundfile.write(tmp_path / "a.wav", np.linspace(-0.5, 0.5, 1000), 16000)
    sources = [(tmp_path / "a.wav", 0.0, None)]
    good, _ = Clips.decode(sources, tmp_path / "clips")
    signal = good[0].copy()
    (tmp_path / "clips" / name).unlink()
    (tmp_path / "clips" / name).write_bytes(content)
    with pytest.raises(InputError, match="clips must be a folder of decoded audio"):
        Clips(tmp_path / "clips")
    again, errors = Clips.decode(sources, tmp_path / "clips")
    assert not errors
    np.testing.assert_array_equal(again[0], signal)
