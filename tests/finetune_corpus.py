"""A small corpus whose scores can be heard, and small backbones."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile

from wav2small.adv import DIMENSIONS
from wav2small.config import AugmentConfig
from wav2small.finetune.backbones import Origin, build_backbone, save_backbone
from wav2small.finetune.config import FinetuneConfig, NetworkConfig
from wav2small.finetune.table import Ratings, read_table

SMALL_MEL = {
    "model_type": "mel",
    "n_mels": 16,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "hidden_dropout": 0.0,
}

SMALL_SSL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}

STILL = AugmentConfig(
    speed=0.0,
    mix_probability=0.0,
    filter_probability=0.0,
    band_probability=0.0,
    room_probability=0.0,
    noise_probability=0.0,
    silence_probability=0.0,
    gain=0.0,
)


def clip(rng: np.random.Generator, tilt: float, beat: float) -> np.ndarray:
    """Noise of some colour that swells some times a second."""
    spectrum = np.fft.rfft(rng.normal(size=8000))
    spectrum /= np.arange(1, len(spectrum) + 1) ** tilt
    signal = np.fft.irfft(spectrum, 8000)
    signal *= 1.1 + np.sin(2 * np.pi * beat * np.arange(8000) / 16000)
    return (0.3 * signal / np.abs(signal).max()).astype(np.float32)


def write_corpus(folder: Path, rows: int = 24, speakers: int = 6) -> Path:
    """Write clips and ``metadata.csv``."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "speaker", "gender", "emotion", "text", *DIMENSIONS])
        for row in range(rows):
            tilt, beat = rng.uniform(0, 2), rng.uniform(1, 8)
            speaker = row % speakers
            soundfile.write(folder / f"{row:02d}.wav", clip(rng, tilt, beat), 16000)
            scores = [1 - tilt / 2, beat / 8, 0.5 * (1 - tilt / 2 + beat / 8)]
            writer.writerow(
                [
                    f"{row:02d}.wav",
                    f"s{speaker}",
                    ("female", "male", "")[speaker % 3],
                    "anger" if tilt < 1 else "sadness",
                    f"sentence {row % 4}",
                    *(f"{value:.3f}" for value in scores),
                ]
            )
    return folder / "metadata.csv"


def write_mel(folder: Path, **fields: object) -> str:
    """Write a small mel backbone with random weights."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(7)
        save_backbone(
            folder, build_backbone({**SMALL_MEL, **fields}), Origin("small", "", "")
        )
    return str(folder)


def fast(backbone: str, **fields: object) -> FinetuneConfig:
    """Configuration of a run of seconds."""
    network = fields.pop("network", NetworkConfig(hidden=16, dropout=0.1))
    settings: dict[str, object] = {
        "steps": 6,
        "evaluations": 3,
        "batch_size": 4,
        "crop_seconds": 0.3,
        "dev_share": 0.34,
        "learning_rate": 3e-3,
        **fields,
    }
    return FinetuneConfig(backbone=backbone, network=network, **settings)


def corpus(folder: Path) -> Ratings:
    """Write and read the corpus."""
    return read_table(write_corpus(folder))


def write_encoder(folder: Path, seed: int = 0) -> Path:
    """Write an encoder of sentences with random weights and a few words."""
    import torch
    import transformers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "day", "bad"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = transformers.BertConfig(
            vocab_size=9, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=16,
        )  # fmt: skip
        transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder
