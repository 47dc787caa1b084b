"""Train the detectors of speech that stand beside the scores of the bundled models.

    python examples/train_speech_detector.py DATA [OUT]

DATA holds the folders emodb, crema_d, librispeech_subset and esc10, each with a
metadata.csv whose column ``file`` names the audio, and the recordings of ambience.
OUT is a folder of models, that of the bundled ones by default; those that stream get
the output ``speech``. The same data, versions and machine give the same files.
Prints the table of docs/listening.md: how well speakers and recordings that training
did not hear are told apart.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from speech_scenes import LABEL, NONE, SAMPLES, SECONDS, SPEECH, UNCLEAR, Scenes, read
from torch import Tensor, nn
from torch.nn import functional

from wav2small.export.base import checksums, onnx_file
from wav2small.export.base.files import replace_file
from wav2small.export.integer.streaming.detector import HOLD_SECONDS
from wav2small.export.model.speech import (
    OUTPUT,
    DetectorLayer,
    scores_alone,
    with_speech,
)
from wav2small.models import ASSETS

SEED = 0
MODELS = {"wav2small-rt": 160, "wav2small-rt-mini": 256}
"""Models that stream, and their samples from frame to frame."""
PERIOD = 2
"""Frames of which the detector reads one."""
SCENES = 2400
STEPS = 2000
BATCH = 24
LEARNING_RATE = 1e-2
AVERAGE = 0.995
"""Share of the weights' moving average that stays at a step."""
CHANNELS = 16
TAPS, DILATIONS = (4, 4, 4), (2, 6, 10)
TESTED = (20, 10, 5, 0)
"""Ratios of speech to noise in dB."""
FALSE_SPEECH = 0.02
"""Share of the noise of development that may be taken for speech."""

Front = Callable[[np.ndarray], np.ndarray]
"""From int16 samples to the int8 rows of a model's log-mel map."""


class Network(nn.Module):
    """Convolutions over the past of log-mel rows.

    Shape:
        rows: ``(batch, bands, time)``, as the layers of the scores read them
        output: ``(batch, time)``, log-odds of speech

    """

    def __init__(self, bands: int) -> None:
        super().__init__()
        sizes = zip((1, *TAPS), (1, *DILATIONS), strict=True)
        inputs = (bands, *[CHANNELS] * len(TAPS))
        self.layers = nn.ModuleList(
            nn.Conv1d(count, CHANNELS, taps, dilation=dilation, bias=False)
            for count, (taps, dilation) in zip(inputs, sizes, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(CHANNELS) for _ in self.layers)
        self.last = nn.Conv1d(CHANNELS, 1, 1)

    def hidden(self, rows: Tensor) -> list[Tensor]:
        """Outputs of the layers before the last."""
        made = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            past = (layer.kernel_size[0] - 1) * layer.dilation[0]
            rows = functional.relu(norm(layer(functional.pad(rows, (past, 0)))))
            made.append(rows)
        return made

    def forward(self, rows: Tensor) -> Tensor:
        return self.last(self.hidden(rows)[-1])[:, 0]


@dataclass
class Rows:
    """Rows of scenes for one model, those that a detector reads."""

    values: np.ndarray
    """``(scenes, frames, bands)``, int8."""

    labels: np.ndarray
    """``(scenes, frames)``."""


class FrontEnd:
    """The log-mel map of a model, in onnxruntime."""

    def __init__(self, model: onnx.ModelProto) -> None:
        part = onnx.ModelProto()
        part.CopyFrom(model)
        nodes = list(part.graph.node)
        first = next(i for i, n in enumerate(nodes) if n.op_type == "QuantizeLinear")
        values = {t.name: onnx.numpy_helper.to_array(t) for t in part.graph.initializer}
        _, scale, zero = nodes[first].input
        self.scale, self.zero_point = float(values[scale]), int(values[zero])
        del part.graph.output[:], part.graph.node[first + 1 :]
        part.graph.output.add(name=nodes[first].output[0])
        read_names = {name for node in part.graph.node for name in node.input}
        kept = [t for t in part.graph.initializer if t.name in read_names]
        del part.graph.initializer[:]
        part.graph.initializer.extend(kept)
        self.session = onnx_file.session(part)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        signal = (samples / 32768).astype(np.float32)[None]
        rows: np.ndarray = self.session.run(None, {"signal": signal})[0][0, 0]
        return rows

    def numbers(self, rows: np.ndarray) -> Tensor:
        """Rows ``(batch, time, bands)`` as a network reads them."""
        values = (rows.astype(np.float32) - self.zero_point) * np.float32(self.scale)
        return torch.from_numpy(values).transpose(1, 2)


def labels_at(labels: np.ndarray, hop_length: int, frames: int) -> np.ndarray:
    """Labels of frames, whose middle is at multiples of the hop."""
    places = np.rint(np.arange(frames) * hop_length / LABEL).astype(int)
    return labels[np.minimum(places, len(labels) - 1)]


def rows_of(
    scenes: Sequence[tuple[np.ndarray, np.ndarray]], front: Front, hop_length: int
) -> Rows:
    """Rows and labels of scenes."""
    values = [front(samples) for samples, _ in scenes]
    labels = [labels_at(entry, hop_length, len(values[0])) for _, entry in scenes]
    return Rows(np.stack(values), np.stack(labels))


def train(rows: Rows, front: FrontEnd, rng: np.random.Generator) -> Network:
    """Train a network from scratch."""
    torch.manual_seed(SEED)
    network = Network(rows.values.shape[2])
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=STEPS
    )
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE)
    )
    for step in range(STEPS):
        chosen = rng.integers(0, len(rows.values), BATCH)
        # either of the frames may be the one that is read
        first = int(rng.integers(PERIOD))
        odds = network(front.numbers(rows.values[chosen, first::PERIOD]))
        truth = torch.from_numpy(rows.labels[chosen, first::PERIOD])
        known = truth != UNCLEAR
        loss = functional.binary_cross_entropy_with_logits(
            odds[known], (truth[known] == SPEECH).float()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        if (step + 1) % 500 == 0:
            print(f"step {step + 1}: loss {loss.item():.3f}", file=sys.stderr)
    for kept, last in zip(averaged.module.buffers(), network.buffers(), strict=True):
        kept.copy_(last)
    return averaged.module.eval()


@torch.no_grad()
def layers_of(network: Network, heard: Tensor) -> list[DetectorLayer]:
    """Layers with the norms folded in, and the largest numbers that they make."""
    made = []
    outputs = network.hidden(heard)
    for layer, norm, output in zip(network.layers, network.norms, outputs, strict=True):
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = (layer.weight * gain[:, None, None]).numpy()
        bias = (norm.bias - norm.running_mean * gain).numpy()
        largest = float(np.quantile(output.numpy(), 0.9999))
        first = not made
        # the first layer goes over the bands, the others over the past
        weight = weight.transpose(0, 2, 1)[:, None] if first else weight[..., None]
        step = PERIOD if first else 1
        made.append(DetectorLayer(weight, bias, step, layer.dilation[0], largest))
    weight, bias = network.last.weight.numpy(), network.last.bias.numpy()
    return [*made, DetectorLayer(weight[..., None], bias, 1, 1, None)]


class Heard:
    """Log-odds of a model on scenes."""

    def __init__(self, model: onnx.ModelProto, hop_length: int) -> None:
        self.session = onnx_file.session(model)
        self.seconds = PERIOD * hop_length / 16000
        self.hop_length = hop_length
        self.per_second = round(1 / self.seconds)

    def odds(self, samples: np.ndarray) -> np.ndarray:
        """Log-odds of each row that the detector reads."""
        signal = (samples / 32768).astype(np.float32)[None]
        found: np.ndarray = self.session.run([OUTPUT], {"signal": signal})[0][0]
        return found

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """Labels of these rows."""
        frames = SAMPLES // self.hop_length + 1
        return labels_at(labels, self.hop_length, frames)[::PERIOD]

    def by_second(self, rows: np.ndarray) -> np.ndarray:
        """Rows ``(..., time)`` in whole seconds ``(..., seconds, rows)``."""
        whole = rows.shape[-1] // self.per_second
        shape = (*rows.shape[:-1], whole, self.per_second)
        return rows[..., : whole * self.per_second].reshape(shape)

    def of_seconds(self, odds: np.ndarray) -> np.ndarray:
        """Log-odds of seconds: the mean of the upper half, for speech has gaps."""
        ordered = np.sort(self.by_second(odds), axis=-1)
        return ordered[..., self.per_second // 2 :].mean(axis=-1)

    def is_open(self, odds: np.ndarray) -> np.ndarray:
        """Whether each row would be heard."""
        hold = max(1, round(HOLD_SECONDS / self.seconds))
        places = np.arange(odds.shape[-1])
        last = np.maximum.accumulate(np.where(odds >= 0, places, -hold), axis=-1)
        return places - last < hold


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the curve: how often a positive one has more than a negative one."""
    order = np.argsort(np.concatenate([positive, negative]), kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    count = len(positive)
    above = ranks[:count].sum() - count * (count + 1) / 2
    return float(above / count / len(negative))


@dataclass
class Tests:
    """What is heard in the end, by every model the same."""

    labels: list[np.ndarray]
    """Of each scene with speech."""

    mixed: dict[int, list[np.ndarray]]
    """Scenes with speech by ratio to the noise, int16."""

    noise: list[np.ndarray]
    """An hour of scenes without speech, int16."""

    @classmethod
    def of(cls, scenes: Scenes) -> Tests:
        """Make them."""
        pairs = [(*scenes.speech(), scenes.noise()) for _ in range(60)]
        mixed = {
            snr: [scenes.mixed(speech, noise, snr) for speech, _, noise in pairs]
            for snr in TESTED
        }
        return cls([labels for _, labels, _ in pairs], mixed, alone(scenes, 3600))


def alone(scenes: Scenes, seconds: int) -> list[np.ndarray]:
    """Scenes without speech."""
    count = seconds // SECONDS
    return [scenes.mixed(None, scenes.noise(), 0) for _ in range(count)]


def report(name: str, heard: Heard, tests: Tests) -> None:
    """Print how well speech is known in noise, and noise as none."""
    labels = np.stack([heard.labels(labels) for labels in tests.labels])
    parts = heard.by_second(labels)
    spoken = (parts == SPEECH).mean(axis=-1) >= 0.5
    silent = (parts == NONE).all(axis=-1)
    noise = np.stack([heard.odds(samples) for samples in tests.noise])
    for snr, mixed in tests.mixed.items():
        odds = np.stack([heard.odds(samples) for samples in mixed])
        seconds = heard.of_seconds(odds)
        none = [heard.of_seconds(noise).ravel(), seconds[silent]]
        of_seconds = area(seconds[spoken], np.concatenate(none))
        rows_none = np.concatenate([noise.ravel(), odds[labels == NONE]])
        of_rows = area(odds[labels == SPEECH], rows_none)
        found = heard.is_open(odds)[labels == SPEECH].mean()
        print(
            f"| `{name}` | {snr} dB | {of_seconds:.3f} | {of_rows:.3f} | {found:.0%} |"
        )
    wrong = heard.is_open(noise).mean()
    print(f"| `{name}` | an hour of noise alone | | | {wrong:.2%} |", flush=True)


def fit_threshold(heard: Heard, noise: Sequence[np.ndarray]) -> float:
    """Log-odds that keep noise from being taken for speech."""
    odds = np.stack([heard.odds(samples) for samples in noise])
    low, high = -5.0, 15.0
    for _ in range(30):
        middle = (low + high) / 2
        if heard.is_open(odds - middle).mean() > FALSE_SPEECH:
            low = middle
        else:
            high = middle
    return high


def detector_for(
    model: onnx.ModelProto,
    hop_length: int,
    scenes: Sequence[tuple[np.ndarray, np.ndarray]],
    noise: Sequence[np.ndarray],
) -> onnx.ModelProto:
    """Train a detector and give it to its model."""
    front = FrontEnd(model)
    rows = rows_of(scenes, front, hop_length)
    network = train(rows, front, np.random.default_rng(SEED + 4))
    layers = layers_of(network, front.numbers(rows.values[:200, ::PERIOD]))
    least = fit_threshold(Heard(with_speech(model, layers), hop_length), noise)
    last = layers[-1]
    # what is read of a file is above 0 where it is speech
    layers[-1] = DetectorLayer(last.weight, last.bias - least, 1, 1, None)
    return with_speech(model, layers)


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python examples/train_speech_detector.py DATA [OUT]")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = Path(sys.argv[2]) if len(sys.argv) == 3 else ASSETS
    sides = read(Path(sys.argv[1]), SEED)
    taught, kept, tested = (
        Scenes(sides[side], np.random.default_rng(SEED + i), varied=varied)
        for i, (side, varied) in enumerate(
            [("train", True), ("development", True), ("test", False)], 1
        )
    )
    scenes = [taught.any() for _ in range(SCENES)]
    print(f"{SCENES} scenes", file=sys.stderr)
    noise, tests = alone(kept, 1200), Tests.of(tested)
    print("| model | speech to noise | AUC, seconds | AUC, rows | heard |")
    print("|---|---|---|---|---|", flush=True)
    for name, hop_length in MODELS.items():
        path = out / name / "model.onnx"
        model = scores_alone(onnx.load(path))
        whole = detector_for(model, hop_length, scenes, noise)
        replace_file(path, whole.SerializeToString(deterministic=True))
        checksums.write(path.parent)
        report(name, Heard(whole, hop_length), tests)


if __name__ == "__main__":
    main()
