from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wav2small.features import LogMel, frame_mask, mel_basis, normalize

# window length, hop length, mel bands, Fourier length
FRONT_ENDS = [(64, 32, 26, 64), (512, 160, 64, 512), (400, 160, 40, 512)]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def log_mel(window: int, hop: int, mels: int, n_fft: int, **options: object) -> LogMel:
    return LogMel(
        window_length=window, hop_length=hop, n_mels=mels, n_fft=n_fft, **options
    )


@pytest.mark.filterwarnings("ignore:Empty filters")
@pytest.mark.parametrize("n_fft, n_mels", [(64, 26), (512, 64), (1024, 80)])
@pytest.mark.parametrize("fmin, fmax", [(0, 8000), (50, 7600)])
def test_mel_basis_against_librosa(
    n_fft: int, n_mels: int, fmin: float, fmax: float
) -> None:
    expected = librosa.filters.mel(
        sr=16000, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax
    )
    actual = mel_basis(n_fft, n_mels, fmin, fmax)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("training", [False, True])
def test_power_against_librosa(training: bool) -> None:
    signal = noise(2000)
    for window, hop, mels, n_fft in FRONT_ENDS:
        if window != n_fft:
            continue  # librosa centres a short window, this project does not
        spectrum = librosa.stft(
            signal.astype(np.float64),
            n_fft=n_fft,
            hop_length=hop,
            window="hann",
            center=False,
        )
        module = log_mel(window, hop, mels, n_fft).spectrogram_extractor
        power = module.train(training)(torch.tensor(signal)[None])[0].numpy()
        np.testing.assert_allclose(power, np.abs(spectrum) ** 2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("window, hop, mels, n_fft", FRONT_ENDS)
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_against_the_definition(
    window: int, hop: int, mels: int, n_fft: int, center: bool, training: bool
) -> None:
    signal = noise(1500).astype(np.float64)
    module = log_mel(window, hop, mels, n_fft, center=center).train(training)
    actual = module.double()(torch.tensor(signal)[None])[0].numpy()

    padding = [0.0] * (n_fft // 2 if center else 0)
    padded = np.array([*padding, *signal, *padding])
    basis = librosa.filters.mel(sr=16000, n_fft=n_fft, n_mels=mels)
    n = np.arange(window)
    hann = np.sin(np.pi * n / window) ** 2
    expected = []
    for start in range(0, len(padded) - window + 1, hop):
        frame = hann * padded[start : start + window]
        power = [
            abs(np.sum(frame * np.exp(-2j * np.pi * k * n / n_fft))) ** 2
            for k in range(n_fft // 2 + 1)
        ]
        expected.append(10 * np.log10(np.maximum(basis @ power, 1e-10)))
    # The frozen weights are float32, so quiet bands agree to about 1e-4 dB
    np.testing.assert_allclose(actual, expected, atol=2e-3)


@pytest.mark.parametrize("window, hop, mels, n_fft", FRONT_ENDS)
@pytest.mark.parametrize("frequency", [1000.0, 2500.0, 6000.0])
def test_tone_peaks_at_its_bin(
    window: int, hop: int, mels: int, n_fft: int, frequency: float
) -> None:
    tone = np.sin(2 * np.pi * frequency / 16000 * np.arange(4000))
    signal = torch.tensor(tone, dtype=torch.float32)[None]
    module = log_mel(window, hop, mels, n_fft)
    power = module.spectrogram_extractor(signal)[0].numpy()
    assert set(power.argmax(axis=0)) == {round(frequency / 16000 * n_fft)}
    band = module(signal)[0].mean(dim=0).argmax().item()
    edges = librosa.mel_frequencies(mels + 2, fmin=0, fmax=8000)
    assert edges[band] < frequency < edges[band + 2]


@settings(max_examples=50, deadline=None)
@given(
    front_end=st.sampled_from(FRONT_ENDS),
    center=st.booleans(),
    samples=st.integers(min_value=512, max_value=3000),
)
def test_frames(front_end: tuple[int, ...], center: bool, samples: int) -> None:
    module = log_mel(*front_end, center=center)
    output = module(torch.zeros(2, samples))
    assert output.shape == (2, int(module.frames(torch.tensor(samples))), front_end[2])


def test_training_leaves_mixed_precision_for_the_spectrum() -> None:
    module, signal = log_mel(*FRONT_ENDS[0]), torch.tensor(noise(1, 2000))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = module(signal)
    torch.testing.assert_close(mixed, module(signal), rtol=0, atol=1e-4)


def test_frames_is_elementwise() -> None:
    module = log_mel(64, 32, 26, 64)
    lengths = torch.tensor([64, 95, 96, 16000])
    assert module.frames(lengths).tolist() == [1, 1, 2, 499]
    centered = log_mel(512, 160, 64, 512, center=True)
    assert centered.frames(lengths).tolist() == [1, 1, 1, 101]


def test_output_is_frozen_and_floored() -> None:
    module = log_mel(64, 32, 26, 64)
    assert not any(p.requires_grad for p in module.parameters())
    silence = module(torch.zeros(1, 1000))
    assert torch.equal(silence, torch.full_like(silence, -100))


def test_first_band_of_the_short_front_end_is_empty() -> None:
    assert not mel_basis(64, 26, 0, 8000)[0].any()
    output = log_mel(64, 32, 26, 64)(torch.tensor(noise(1, 1000)))
    assert torch.equal(output[..., 0], torch.full_like(output[..., 0], -100))
    assert (output[..., 1:] > -100).all()


def test_gain_is_an_offset_in_decibel() -> None:
    module = log_mel(512, 160, 64, 512).double()
    signal = torch.tensor(noise(1, 4000)).double()
    difference = module(10 * signal) - module(signal)
    torch.testing.assert_close(difference, torch.full_like(difference, 20))


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 300), min_size=1, max_size=5),
    seed=st.integers(0, 2**32 - 1),
)
def test_normalize_masked_equals_alone(lengths: list[int], seed: int) -> None:
    signal = torch.tensor(noise(len(lengths), 300, seed=seed)) + 0.5
    masked = normalize(signal, torch.tensor(lengths))
    for row, padded, length in zip(signal, masked, lengths, strict=True):
        alone = normalize(row[None, :length])[0]
        torch.testing.assert_close(padded[:length], alone, rtol=1e-4, atol=1e-5)
        assert not padded[length:].any()


def test_normalize() -> None:
    signal = normalize(torch.tensor(3 * noise(2, 4000) + 1).double())
    torch.testing.assert_close(signal.mean(dim=1), torch.zeros(2).double())
    torch.testing.assert_close(
        signal.square().mean(dim=1), torch.ones(2).double(), rtol=1e-6, atol=0
    )
    assert not normalize(torch.full((1, 100), 0.25)).any()


def test_frame_mask() -> None:
    mask = frame_mask(torch.tensor([0, 1, 3]), 3)
    assert mask.tolist() == [
        [False, False, False],
        [True, False, False],
        [True, True, True],
    ]
