"""Train the network that tells speech from other sounds.

    python examples/train_speech_gate.py DATA [OUT]

DATA holds the folders emodb, librispeech_subset and esc10,
each with a metadata.csv whose column ``file`` names the audio.
OUT is the folder of gate.onnx, the bundled one by default.
The same data, versions and machine give the same file.
Prints the figures of the model card.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import soxr
import torch
from torch import Tensor, nn

from wav2small import audio, gate
from wav2small.acoustics.signals import add_at_snr, crop_or_repeat
from wav2small.adv import SAMPLING_RATE
from wav2small.detection.scenes import SYNTHETIC, colour, synthetic
from wav2small.export.base import checksums, log_mel
from wav2small.export.base.files import atomic_write
from wav2small.export.model.compact import compact
from wav2small.export.model.simplify import simplify
from wav2small.features import LogMel, normalize

SEED = 0
STEPS = 1200
BATCH_SAMPLES = 64 * SAMPLING_RATE
"""Samples of a batch: many short crops or few long ones."""
CROPS = (0.5, 1.0, 2.0, 4.0)
"""Lengths of the crops in seconds."""
LEARNING_RATE = 4e-3
MISS_RATE = 0.005
"""Share of the training speech below the threshold."""
METADATA = {
    "licence": "Apache-2.0",
    "training_data": "EMO-DB (CC0-1.0), LibriSpeech (CC BY 4.0), ESC-10 (CC BY 3.0)",
    "sampling_rate": str(SAMPLING_RATE),
}


class GateNetwork(nn.Module):
    """Separable convolutions over log-mel frames, mean and maximum over time.

    Shape:
        signal: ``(batch, time)``, float32 at 16 kHz
        output: ``(batch, 1)``, probability of speech

    """

    def __init__(self) -> None:
        super().__init__()
        self.front_end = LogMel(window_length=64, hop_length=32, n_mels=26)
        layers: list[nn.Module] = [
            nn.Conv1d(26, 24, 5, stride=4, padding=2, bias=False),
            nn.BatchNorm1d(24),
            nn.ReLU(),
        ]
        inputs = 24
        for width, stride in ((28, 2), (36, 2), (40, 2), (40, 1)):
            layers += [
                nn.Conv1d(
                    inputs, inputs, 7, stride, padding=3, groups=inputs, bias=False
                ),
                nn.BatchNorm1d(inputs),
                nn.ReLU(),
                nn.Conv1d(inputs, width, 1, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(),
            ]
            inputs = width
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(2 * inputs, 1)

    def logits(self, signal: Tensor) -> Tensor:
        # The floor hides how deep the pauses of a recording are.
        decibel = self.front_end(normalize(signal)).transpose(1, 2).clamp(min=-50)
        x = self.layers((decibel + 20) / 20)
        return self.head(torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1))

    def forward(self, signal: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(signal))


@dataclass
class Corpus:
    """Signals to train on and signals held out, by name of the group."""

    speech: list[np.ndarray] = field(default_factory=list)
    noises: list[np.ndarray] = field(default_factory=list)
    held_out_speech: dict[str, list[np.ndarray]] = field(default_factory=dict)
    held_out_noises: dict[str, list[np.ndarray]] = field(default_factory=dict)


def read(data: Path) -> Corpus:
    """Read the data; no speaker and no recording is on both sides."""

    def rows(name: str) -> Iterable[tuple[dict[str, str], np.ndarray]]:
        with (data / name / "metadata.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                yield row, audio.load(data / name / row["file"])

    corpus = Corpus()
    held_out = corpus.held_out_speech
    for row, signal in rows("emodb"):
        if row["split"] == "train":
            corpus.speech.append(signal)
        else:
            held_out.setdefault("EMO-DB", []).append(signal)
    libri = list(rows("librispeech_subset"))
    speakers = sorted({row["speaker"] for row, _ in libri})
    order = np.random.default_rng(SEED).permutation(len(speakers))
    unseen = {speakers[i] for i in order[: len(speakers) // 5]}
    for row, signal in libri:
        if row["speaker"] in unseen:
            held_out.setdefault("LibriSpeech", []).append(signal)
        else:
            corpus.speech.append(signal)
    for row, signal in rows("esc10"):
        if row["fold"] == "5":
            corpus.held_out_noises.setdefault(row["category"], []).append(signal)
        else:
            corpus.noises.append(signal)
    return corpus


def crop(
    signals: Sequence[np.ndarray], samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Crop a random signal where something sounds, at another speed."""
    signal = signals[int(rng.integers(len(signals)))]
    factor = rng.uniform(0.85, 1.15)
    wanted = int(samples * factor) + 16
    least = gate.level(signal) - 10
    for _ in range(10):
        part = crop_or_repeat(signal, wanted, rng)
        if gate.level(part) >= least:
            break
    part = soxr.resample(part, SAMPLING_RATE * factor, SAMPLING_RATE, "LQ")
    return crop_or_repeat(part, samples, rng)


def record(signal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Filter, band-limit, scale, clip and round to 16 bit."""
    if rng.random() < 0.5:
        signal = colour(signal, 4, rng)
    if rng.random() < 0.25:
        spectrum = np.fft.rfft(signal)
        hertz = np.linspace(0, SAMPLING_RATE / 2, len(spectrum))
        low, high = rng.uniform(20, 300), rng.uniform(3400, 8000)
        spectrum[(hertz < low) | (hertz > high)] *= 0.01
        signal = np.fft.irfft(spectrum, len(signal))
    target = 10 ** (rng.uniform(-55, -12) / 20)
    signal = signal * (target / max(float(np.std(signal)), 1e-9))
    return np.clip(np.round(signal * 32768), -32768, 32767) / 32768


def noise(
    noises: Sequence[np.ndarray], samples: int, rng: np.random.Generator
) -> np.ndarray:
    """Take a recording or make a sound."""
    if rng.random() < 0.65:
        return crop(noises, samples, rng)
    return synthetic(str(rng.choice(SYNTHETIC)), samples, rng)


def example(
    corpus: Corpus, speech: bool, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """One signal of the training data."""
    if speech:
        signal = crop(corpus.speech, samples, rng)
        if rng.random() < 2 / 3:
            other = noise(corpus.noises, samples, rng)
            signal = add_at_snr(signal, other, rng.uniform(5, 40))
    else:
        signal = noise(corpus.noises, samples, rng)
        if rng.random() < 0.3:
            other = noise(corpus.noises, samples, rng)
            signal = add_at_snr(signal, other, rng.uniform(0, 30))
    return record(signal, rng)


def batch(
    corpus: Corpus, seconds: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Half speech, half not; signals ``(batch, time)``, truth ``(batch, 1)``."""
    samples = int(seconds * SAMPLING_RATE)
    truth = np.arange(BATCH_SAMPLES // samples) % 2
    signals = [example(corpus, bool(t), samples, rng) for t in truth]
    return (
        torch.from_numpy(np.stack(signals).astype(np.float32)),
        torch.from_numpy(truth[:, None].astype(np.float32)),
    )


def train(corpus: Corpus, rng: np.random.Generator) -> GateNetwork:
    """Train a network from scratch."""
    torch.manual_seed(SEED)
    network = GateNetwork()
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=STEPS
    )
    loss_of = nn.BCEWithLogitsLoss()
    running = 0.7
    for step in range(STEPS):
        signals, truth = batch(corpus, CROPS[step % len(CROPS)], rng)
        loss = loss_of(network.logits(signals), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        running += 0.02 * (loss.item() - running)
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {running:.4f}", file=sys.stderr)
    return network.eval()


@torch.no_grad()
def choose_threshold(
    network: GateNetwork, corpus: Corpus, rng: np.random.Generator
) -> float:
    """Threshold that misses the wanted share of fresh training speech."""
    probabilities = []
    for _ in range(8):
        for seconds in CROPS[1:]:
            signals, truth = batch(corpus, seconds, rng)
            probabilities.append(network(signals)[truth == 1].numpy())
    quantile = float(np.quantile(np.concatenate(probabilities), MISS_RATE))
    return round(min(quantile, 0.5), 3)


def to_onnx(network: GateNetwork, threshold: float) -> bytes:
    """Export for signals of any length, with all that the file must say."""
    program = torch.onnx.export(
        network,
        (torch.linspace(-1, 1, SAMPLING_RATE)[None],),
        dynamo=True,
        input_names=["signal"],
        output_names=["speech"],
        dynamic_shapes=({1: torch.export.Dim("time", min=64)},),
        verbose=False,
    )
    assert program is not None
    whole = simplify(program.model_proto)
    settings = network.front_end.settings(normalized=True)
    onnx.helper.set_model_props(whole, {log_mel.ENTRY: settings.to_text()})
    model = compact(whole)
    said = {log_mel.ENTRY: settings.to_text(), "threshold": str(threshold)}
    onnx.helper.set_model_props(model, METADATA | said)
    return model.SerializeToString(deterministic=True)


def check_parity(network: GateNetwork, speech_gate: gate.SpeechGate) -> None:
    """Refuse a file that does not compute what the network does."""
    rng = np.random.default_rng(SEED + 2)
    for samples in (gate.MIN_SAMPLES, 12345, gate.PIECE_SAMPLES):
        signal = record(synthetic("chord", samples, rng), rng).astype(np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(signal)[None]).item()
        difference = abs(speech_gate.probability(signal) - expected)
        if difference > 1e-4:
            sys.exit(f"ONNX and torch differ by {difference} for {samples} samples")


def loud_windows(signal: np.ndarray) -> list[slice]:
    """Seconds of a signal that are at most 10 dB below its level: no pauses."""
    least = max(gate.level(signal) - 10, gate.SILENCE_LEVEL)
    starts = range(0, len(signal) - SAMPLING_RATE + 1, SAMPLING_RATE)
    cut = [slice(start, start + SAMPLING_RATE) for start in starts]
    return [part for part in cut if gate.level(signal[part]) >= least]


def report(corpus: Corpus, speech_gate: gate.SpeechGate) -> None:
    """Print how often the gate is wrong on what it never heard."""
    rng = np.random.default_rng(SEED + 1)

    def row(
        name: str,
        error: str,
        signals: list[np.ndarray],
        sound: list[np.ndarray] | None = None,
    ) -> None:
        """``signals`` say where the windows are, ``sound`` is what is heard."""
        cells = [name, error]
        heard = [np.asarray(signal, np.float32) for signal in sound or signals]
        parts = [
            loud[part]
            for loud, signal in zip(heard, signals, strict=True)
            for part in loud_windows(signal)
        ]
        for group in (heard, parts):
            accepted = sum(speech_gate.classify(part) == "speech" for part in group)
            wrong = len(group) - accepted if error == "miss" else accepted
            cells.append(f"{wrong} of {len(group)} ({wrong / len(group):.1%})")
        print("| " + " | ".join(cells) + " |")

    print("| held out | error | whole clips | windows of one second |")
    print("|---|---|---|---|")
    unseen = [noise for group in corpus.held_out_noises.values() for noise in group]
    for name, signals in corpus.held_out_speech.items():
        row(f"{name}, clean", "miss", signals)
        noisy = []
        for signal in signals:
            other = crop_or_repeat(
                unseen[int(rng.integers(len(unseen)))], len(signal), rng
            )
            noisy.append(add_at_snr(signal, other, 10))
        row(f"{name}, ESC-10 fold 5 at 10 dB", "miss", signals, noisy)
        noisy = [add_at_snr(x, rng.normal(size=len(x)), 10) for x in signals]
        row(f"{name}, white noise at 10 dB", "miss", signals, noisy)
    for name, signals in corpus.held_out_noises.items():
        row(f"ESC-10, {name.lower()}", "false accept", signals)
    row("ESC-10, all ten", "false accept", unseen)
    for kind in SYNTHETIC:
        samples = 4 * SAMPLING_RATE
        signals = [record(synthetic(kind, samples, rng), rng) for _ in range(50)]
        row(f"synthetic {kind}", "false accept", signals)


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/train_speech_gate.py DATA [OUT]")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = Path(sys.argv[2]) if len(sys.argv) == 3 else gate.ASSET.parent
    rng = np.random.default_rng(SEED)
    started = time.monotonic()
    corpus = read(Path(sys.argv[1]))
    print(f"read in {time.monotonic() - started:.0f} s", file=sys.stderr)
    network = train(corpus, rng)
    print(f"trained after {time.monotonic() - started:.0f} s", file=sys.stderr)
    threshold = choose_threshold(network, corpus, rng)
    content = to_onnx(network, threshold)
    out.mkdir(parents=True, exist_ok=True)
    with atomic_write(out / "gate.onnx") as file:
        file.write(content)
    checksums.write(out)
    frozen = sum(p.numel() for p in network.front_end.parameters())
    total = sum(p.numel() for p in network.parameters())
    print(f"parameters {total}, of which {frozen} frozen; {len(content)} bytes")
    print(f"threshold {threshold}\n")
    speech_gate = gate.SpeechGate(out / "gate.onnx")
    check_parity(network, speech_gate)
    report(corpus, speech_gate)


if __name__ == "__main__":
    main()
