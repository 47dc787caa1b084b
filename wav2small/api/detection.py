"""Give an int8 model that streams a detector of speech."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from wav2small.export.base import onnx_file
from wav2small.export.base.progress import Progress
from wav2small.export.integer.reader import read
from wav2small.export.integer.streaming.detector import HOLD_SECONDS
from wav2small.export.integer.streaming.schedule import schedule
from wav2small.export.model.speech import (
    OUTPUT,
    DetectorLayer,
    scores_alone,
    with_speech,
)

from ..adv import SAMPLING_RATE
from ..config import DetectorConfig
from ..detection.network import PERIOD, train
from ..detection.scenes import LABEL, NONE, SAMPLES, SPEECH, Scenes, Side
from ..errors import InputError

if TYPE_CHECKING:
    from wav2small.export.pipeline import ExportConfig

ROOM = 6800
"""Most bytes that a detector adds to a file."""

TESTED = (20, 10, 5, 0)
"""Ratios of speech to noise in dB at which a detector is tested."""

LEAST = 5
"""Fewest clips of speech, and recordings of noise: a fifth of them tests."""


def check_detector(config: ExportConfig, *, heard: bool) -> None:
    """Check that a model can have a detector.

    Args:
        config: how it is exported
        heard: whether there is real speech to learn from

    Raises:
        InputError: if it cannot

    """
    if not config.int8 or config.window:
        raise InputError(
            "a model with a detector of speech must be int8 and of any length, got "
            f"{'a window' if config.int8 else 'float'}: leave out --noise"
        )
    if not heard:
        raise InputError(
            "a detector of speech must hear real speech, got no calibration: "
            "name recordings of many speakers with --calibration"
        )


class RowsOfModel:
    """The int8 log-mel map of a model, in onnxruntime.

    Args:
        model: int8 model that streams

    Raises:
        InputError: if it does not stream

    """

    def __init__(self, model: onnx.ModelProto) -> None:
        plan = schedule(read(model))
        if plan.obstacle:
            raise InputError(
                "a model with a detector of speech must stream, got one that "
                f"{plan.obstacle}: choose a student like wav2small-rt"
            )
        self.hop_length: int = plan.front.constants.hop_length
        part = onnx.ModelProto()
        part.CopyFrom(scores_alone(model))
        nodes = list(part.graph.node)
        first = next(i for i, n in enumerate(nodes) if n.op_type == "QuantizeLinear")
        values = {t.name: onnx.numpy_helper.to_array(t) for t in part.graph.initializer}
        _, scale, zero = nodes[first].input
        self.scale, self.zero_point = float(values[scale]), int(values[zero])
        del part.graph.output[:], part.graph.node[first + 1 :]
        part.graph.output.add(name=nodes[first].output[0])
        needed = {name for node in part.graph.node for name in node.input}
        kept = [t for t in part.graph.initializer if t.name in needed]
        del part.graph.initializer[:]
        part.graph.initializer.extend(kept)
        self.session = onnx_file.session(part)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Int8 rows ``(time, bands)`` of int16 samples."""
        signal = (samples / 32768).astype(np.float32)[None]
        rows: np.ndarray = self.session.run(None, {"signal": signal})[0][0, 0]
        return rows

    def to_numbers(self, rows: np.ndarray) -> np.ndarray:
        """Rows as the layers read them."""
        return (rows.astype(np.float32) - self.zero_point) * np.float32(self.scale)


class DetectorTest:
    """Log-odds of a model on scenes, by row and by second.

    Args:
        model: model with the output ``speech``
        hop_length: samples from frame to frame

    """

    def __init__(self, model: onnx.ModelProto, hop_length: int) -> None:
        self.session = onnx_file.session(model)
        self.hop_length = hop_length
        self.seconds = PERIOD * hop_length / SAMPLING_RATE
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


def labels_at(labels: np.ndarray, hop_length: int, frames: int) -> np.ndarray:
    """Labels of frames, whose middle is at multiples of the hop."""
    places = np.rint(np.arange(frames) * hop_length / LABEL).astype(int)
    return labels[np.minimum(places, len(labels) - 1)]


def fit_detector(
    model: onnx.ModelProto,
    taught: Scenes,
    kept: Scenes,
    config: DetectorConfig,
    progress: Progress | None = None,
) -> onnx.ModelProto:
    """Train a detector on scenes and give it to a model.

    Args:
        model: int8 model that streams; a detector that it has goes
        taught: scenes to learn from
        kept: scenes whose noise sets from which log-odds on a row is speech
        config: how many, and for how long
        progress: called as it goes on

    Returns:
        the model with the output ``speech``, whose scores are what they were

    Raises:
        InputError: if the model does not stream

    """
    front = RowsOfModel(model)
    rows, labels = [], []
    for number in range(config.scenes):
        samples, label = taught.any()
        rows.append(front(samples))
        labels.append(labels_at(label, front.hop_length, len(rows[-1])))
        if progress:
            progress("scenes", number + 1, config.scenes, {})
    folded = train(np.stack(rows), np.stack(labels), front.to_numbers, config, progress)
    layers = [DetectorLayer(*layer) for layer in folded]
    count = max(1, config.scenes // 20)
    noise = [kept.mixed(None, kept.noise(), 0) for _ in range(count)]
    heard = DetectorTest(with_speech(model, layers), front.hop_length)
    least = _threshold(heard, noise, config.false_speech)
    last = layers[-1]
    # what is read of a file is above 0 where it is speech
    layers[-1] = DetectorLayer(last.weight, last.bias - least, 1, 1, None)
    return with_speech(model, layers)


def _threshold(
    heard: DetectorTest, noise: Sequence[np.ndarray], false_speech: float
) -> float:
    """Log-odds that keep noise from being taken for speech."""
    odds = np.stack([heard.odds(samples) for samples in noise])
    low, high = -5.0, 15.0
    for _ in range(30):
        middle = (low + high) / 2
        if heard.is_open(odds - middle).mean() > false_speech:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True)
class Told:
    """How well speech is told from noise at one ratio of both."""

    seconds: float
    """Area under the curve, by second."""

    rows: float
    """The same by row."""

    heard: float
    """Share of the rows of speech that reach the layers of the scores."""


def measure_detector(
    model: onnx.ModelProto, scenes: Scenes, *, speech: int = 60, noise: int = 360
) -> tuple[dict[int, Told], float]:
    """Test a detector.

    Args:
        model: model with the output ``speech``
        scenes: of clips and recordings that it was not trained on
        speech: scenes with speech, each at all ratios of :data:`TESTED`
        noise: scenes without speech

    Returns:
        how well speech is told at each ratio in dB,
        and the share of noise alone that is taken for speech

    """
    heard = DetectorTest(model, RowsOfModel(model).hop_length)
    made = [(*scenes.speech(), scenes.noise()) for _ in range(speech)]
    mixed = {
        snr: [scenes.mixed(signal, sound, snr) for signal, _, sound in made]
        for snr in TESTED
    }
    alone = [scenes.mixed(None, scenes.noise(), 0) for _ in range(noise)]
    labels = np.stack([heard.labels(label) for _, label, _ in made])
    parts = heard.by_second(labels)
    spoken = (parts == SPEECH).mean(axis=-1) >= 0.5
    silent = (parts == NONE).all(axis=-1)
    none = np.stack([heard.odds(samples) for samples in alone])
    told = {}
    for snr in TESTED:
        odds = np.stack([heard.odds(samples) for samples in mixed[snr]])
        seconds = heard.of_seconds(odds)
        others = np.concatenate([heard.of_seconds(none).ravel(), seconds[silent]])
        rows = np.concatenate([none.ravel(), odds[labels == NONE]])
        told[snr] = Told(
            seconds=area(seconds[spoken], others),
            rows=area(odds[labels == SPEECH], rows),
            heard=float(heard.is_open(odds)[labels == SPEECH].mean()),
        )
    return told, float(heard.is_open(none).mean())


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the curve: how often a positive one has more than a negative one."""
    order = np.argsort(np.concatenate([positive, negative]), kind="stable")
    ranks = np.empty(len(order))
    ranks[order] = np.arange(1, len(order) + 1)
    count = len(positive)
    above = ranks[:count].sum() - count * (count + 1) / 2
    return float(above / count / len(negative))


def add_detector(
    data: bytes,
    speech: Sequence[np.ndarray],
    noises: Sequence[np.ndarray],
    config: DetectorConfig,
    progress: Progress | None = None,
) -> tuple[bytes, dict[str, float]]:
    """Give a packed model a detector, and find out how good it is.

    The last fifth of the speech and of the noise tests it, the fifth before sets what
    counts as speech, the rest trains.

    Args:
        data: int8 ONNX of a model that streams
        speech: clips, float32 at 16 kHz, best of many speakers, one after the other
        noises: recordings without speech
        config: how it is trained
        progress: called as it goes on

    Returns:
        the file with the output ``speech``, and its figures

    Raises:
        InputError: if the model does not stream, or there are too few clips

    """
    for name, found in (("speech", speech), ("noise", noises)):
        if len(found) < LEAST:
            raise InputError(
                f"{name} for a detector must be at least {LEAST} recordings, got "
                f"{len(found)}: name more audio"
            )
    thirds = zip(_thirds(speech), _thirds(noises), strict=True)
    taught, kept, tested = (
        Scenes(
            Side(list(clips), list(sounds)),
            np.random.default_rng(config.seed + number),
            varied=number < 3,
        )
        for number, (clips, sounds) in enumerate(thirds, 1)
    )
    model = fit_detector(onnx.load_from_string(data), taught, kept, config, progress)
    count = max(2, config.scenes // 40)
    told, wrong = measure_detector(model, tested, speech=count, noise=2 * count)
    figures = {f"auc_{snr}_db": round(entry.seconds, 4) for snr, entry in told.items()}
    packed = model.SerializeToString(deterministic=True)
    return packed, figures | {"false_speech": round(wrong, 4)}


def _thirds(found: Sequence[np.ndarray]) -> list[Sequence[np.ndarray]]:
    """To train, to choose and to test with: most of them, and a fifth each."""
    fifth = len(found) // 5
    return [found[: -2 * fifth], found[-2 * fifth : -fifth], found[-fifth:]]
