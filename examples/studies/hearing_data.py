"""What studies of hearing learn from: log-mel maps of two corpora, and changed ones.

    python examples/studies/hearing_data.py DATA WORK

DATA holds ``emodb``, ``crema_d``, ``librispeech_subset``, ``esc10`` and ``ambience``.
The map of every clip is computed once, as it is, on a way to a microphone
(:func:`wav2small.augment.degrade`) and on one to the output of a hearing aid
(:mod:`wav2small.acoustics`), and some clips through changes of the suite.
A run that was cut short goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from wav2small.acoustics.way import to_the_ear
from wav2small.adv import SAMPLING_RATE
from wav2small.augment import degrade
from wav2small.clips import Clips, read_noises
from wav2small.config import AugmentConfig
from wav2small.features import LogMel, mel_basis, normalize
from wav2small.finetune.norms import CATEGORIES, norm_score
from wav2small.suite.robustness import all_changes
from wav2small.suite.sounds import Sounds
from wav2small.teachers.bundled import TeacherConfig

sys.path.append(str(Path(__file__).parent.parent))

import vote_targets

NETWORK = TeacherConfig(
    window_length=1024,
    hop_length=512,
    n_fft=1024,
    stride=2,
    channels=(16, 32, 64, 128),
    time_kernels=(3, 3, 3, 3),
    time_pools=(1, 2, 2, 1),
    deviation=True,
    hidden=128,
)
"""The network: half the frames of the bundled teacher's, a longer view."""

CROP = 80
"""Frames of a crop: 2.56 s."""

VARIANTS = 2
"""Changed versions of each clip, beside the clip as it is."""

TO_A_MICROPHONE = AugmentConfig(
    band_probability=0.4, room_probability=0.7, noise_probability=0.3
)
"""The first changed version; all others go through :mod:`wav2small.acoustics`."""

TESTED = (
    "room: living room, 2 m",
    "room: hall, 5 m",
    "phone, low-rate codec",
    "white noise at 20 dB",
    "spectral tilt of -3 dB per octave",
    "spectral tilt of +3 dB per octave",
    "babble at 20 dB",
    "compression 2:1 in 5 bands",
    "microphone in the canal",
    "wind of 5 m/s",
)
"""Changes of the suite that rows are tested with."""


@dataclass
class Speech:
    """Both corpora as log-mel maps."""

    places: np.ndarray
    """First frame and number of frames of each clip, ``(clips, 2)``."""
    corpus: np.ndarray
    speaker: np.ndarray
    training: np.ndarray
    truth: dict[str, np.ndarray]
    """Scores by derivation, ``(clips, 3)``; EMO-DB's are the same in all."""
    votes: np.ndarray
    """Distribution over the categories, ``(clips, 7)``."""
    entropy: np.ndarray
    maps: list[np.ndarray]
    """Frames of all clips, ``(frames, bands)`` in dB, by version."""
    noises: list[np.ndarray]

    @classmethod
    def open(cls, work: Path) -> Speech:
        """Open what ``prepare`` wrote."""
        table = np.load(work / "table.npz")
        truth = {k[6:]: table[k] for k in table.files if k.startswith("truth ")}
        maps = [np.load(p, mmap_mode="r") for p in sorted(work.glob("maps_*.npy"))]
        noise = np.load(work / "noises.npy")
        return cls(
            table["places"],
            table["corpus"],
            table["speaker"],
            table["training"],
            truth,
            table["votes"],
            table["entropy"],
            maps,
            list(noise),
        )

    def split(
        self, corpora: tuple[str, ...], fold: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the clips that are learned from and those that are scored.

        Of each corpus that is learned from, a fifth of the training actors
        (of EMO-DB: a woman and a man) is kept;
        of one that is not, all training speakers are scored.
        """
        held = np.zeros(len(self.corpus), bool)
        for name in ("emodb", "crema_d"):
            here = (self.corpus == name) & self.training
            speakers = np.unique(self.speaker[here])
            if name not in corpora:
                held |= here
            elif name == "emodb":
                pair = EMODB_PAIRS[fold % len(EMODB_PAIRS)]
                held |= here & np.isin(self.speaker, pair)
            else:
                held |= here & np.isin(self.speaker, speakers[fold % 5 :: 5])
        return np.flatnonzero(self.training & ~held), np.flatnonzero(held)


EMODB_PAIRS = (
    ("emodb_08", "emodb_11"),
    ("emodb_09", "emodb_10"),
    ("emodb_03", "emodb_13"),
)
"""Pairs of EMO-DB's training speakers, a woman and a man each."""


_BASIS = mel_basis(NETWORK.n_fft, NETWORK.n_mels, 0, SAMPLING_RATE / 2)
WIDTHS = 1 / np.maximum(_BASIS.max(1), 1e-9)
"""Factors that make bands add up to the power of a frame."""

UNIT_POWER = 10 * np.log10(NETWORK.n_fft / 2 * 3 / 8 * NETWORK.window_length)
"""Power of a frame of noise of unit power in dB: what :func:`normalize` leaves."""


def log_mel(signal: np.ndarray, front_end: LogMel) -> np.ndarray:
    """Compute a signal's map as a teacher does."""
    with torch.inference_mode():
        return front_end(normalize(torch.from_numpy(signal)[None]))[0].half().numpy()


def make_front_end() -> LogMel:
    """Make the front end of :data:`NETWORK`."""
    return LogMel(
        window_length=NETWORK.window_length,
        hop_length=NETWORK.hop_length,
        n_fft=NETWORK.n_fft,
        n_mels=NETWORK.n_mels,
        center=True,
    )


def prepare(data: Path, work: Path) -> None:
    """Write maps of all clips, of noises, and the table."""
    work.mkdir(parents=True, exist_ok=True)
    clips, table = read_table(data, work)
    front_end = make_front_end()
    noises = read_noises(data / "esc10", seconds=5) + read_noises(
        data / "ambience", seconds=60
    )
    voices = read_noises(data / "librispeech_subset", seconds=10)
    if not (work / "noises.npy").exists():
        rng = np.random.default_rng(0)
        cut = [cut_noise(noises, voices, rng) for _ in range(400)]
        np.save(work / "noises.npy", np.stack([log_mel(n, front_end) for n in cut]))
    for version in range(VARIANTS + 1):
        path = work / f"maps_{version}.npy"
        if path.exists():
            continue
        maps = []
        for item in track(range(len(clips)), f"version {version}"):
            signal = clips[item]
            if version and table["training"][item]:
                rng = np.random.default_rng([version, item])
                signal = change(signal, version, rng, noises, voices)
            maps.append(log_mel(signal, front_end))
        if not version:
            lengths = np.array([len(m) for m in maps])
            places = np.stack([np.cumsum(lengths) - lengths, lengths], axis=1)
            np.savez(work / "table.npz", places=places, **table)
        part = work / "part.npy"
        np.save(part, np.concatenate(maps))
        part.replace(path)
    prepare_tests(work, clips, table, Sounds({"environment": noises}, voices))


def cut_noise(
    noises: list[np.ndarray], voices: list[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Cut a piece of noise or babble, as long as a crop and a half."""
    samples = CROP * NETWORK.hop_length * 3 // 2
    if rng.random() < 0.4:
        parts = [voices[int(i)] for i in rng.choice(len(voices), rng.integers(1, 9))]
        return np.sum(
            [np.resize(p, samples) / (np.std(p) + 1e-6) for p in parts], axis=0
        ).astype(np.float32)
    noise = noises[int(rng.integers(len(noises)))]
    start = int(rng.integers(max(1, len(noise) - samples)))
    return np.resize(noise[start : start + samples], samples).astype(np.float32)


def change(
    signal: np.ndarray,
    version: int,
    rng: np.random.Generator,
    noises: list[np.ndarray],
    voices: list[np.ndarray],
) -> np.ndarray:
    """Send a clip on a random way: to a microphone, or all the way to the ear."""
    if version == 1:
        return degrade(signal, rng, TO_A_MICROPHONE, noises)
    return to_the_ear(signal, rng, noises=noises, voices=voices)


def read_table(data: Path, work: Path) -> tuple[Clips, dict[str, np.ndarray]]:
    """Decode both corpora and read what is known of their clips."""
    with (data / "emodb" / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    votes = vote_targets.read_votes(data / "crema_d")
    paths = [data / "emodb" / row["file"] for row in rows]
    paths += [data / "crema_d" / name for name in votes.files]
    clips, errors = Clips.decode([(p, 0.0, None) for p in paths], work / "clips")
    if errors:
        raise SystemExit(f"clips must be readable: {errors[:3]}")
    heard = np.array([float(row["recognised_pct"]) / 100 for row in rows])
    intended = np.array([CATEGORIES.index(row["emotion"]) for row in rows])
    # the rest of EMO-DB's listeners heard something else, it is not said what
    spread = ((1 - heard) / (len(CATEGORIES) - 1))[:, None]
    shares = np.repeat(spread, len(CATEGORIES), axis=1)
    shares[np.arange(len(rows)), intended] = heard
    voted = np.zeros((len(votes.files), len(CATEGORIES)))
    for column, name in enumerate(vote_targets.EMOTIONS):
        voted[:, CATEGORIES.index(name)] = votes.shares[:, column]
    norms = np.stack(
        [
            norm_score(row["emotion"], share)
            for row, share in zip(rows, heard, strict=True)
        ]
    )
    truth = {
        f"truth {name}": np.concatenate([norms, derive(votes)])
        for name, derive in vote_targets.DERIVATIONS.items()
    }
    return clips, truth | {
        "corpus": np.array(["emodb"] * len(rows) + ["crema_d"] * len(votes.files)),
        "speaker": np.concatenate([[row["speaker"] for row in rows], votes.speakers]),
        "training": np.concatenate(
            [[row["split"] == "train" for row in rows], votes.training]
        ),
        "votes": np.concatenate([shares, voted]).astype(np.float32),
        "entropy": np.concatenate([1 - heard, vote_targets.entropy(votes)]),
    }


def prepare_tests(
    work: Path, clips: Clips, table: dict[str, np.ndarray], sounds: Sounds
) -> None:
    """Write maps of clips of training speakers through changes of the suite."""
    if (work / "tests.npz").exists():
        return
    front_end = make_front_end()
    items = []
    for name, step in (("emodb", 4), ("crema_d", 40)):
        here = np.flatnonzero((table["corpus"] == name) & table["training"])
        items += here[::step].tolist()
    # of the held actors of the first fold there must be enough, so take them all in
    tests: dict[str, np.ndarray] = {"items": np.array(items)}
    chosen = [c for c in all_changes() if c.name in TESTED]
    for number, item in enumerate(track(items, "tests")):
        for entry in chosen:
            rng = np.random.default_rng([7, item])
            changed = entry.apply(clips[item], rng, sounds)
            tests[f"{entry.name}/{number}"] = log_mel(changed, front_end)
    np.savez(work / "tests.npz", **tests)


def to_power(decibels: np.ndarray) -> np.ndarray:
    """Turn dB into powers."""
    return np.exp(decibels * np.float32(np.log(10) / 10))


def add_noise(
    batch: np.ndarray, noises: list[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Add the power of a piece of noise to each map, at 5 to 35 dB."""
    pieces = []
    for item in batch:
        noise = noises[int(rng.integers(len(noises)))]
        first = int(rng.integers(len(noise) - len(item)))
        pieces.append(noise[first : first + len(item)].astype(np.float32))
    powers = [to_power(maps) for maps in (batch, np.array(pieces))]
    means = [power.mean((1, 2)) for power in powers]
    scale = means[0] / means[1] * 10 ** (-rng.uniform(5, 35, len(batch)) / 10)
    mixed: np.ndarray = 10 * np.log10(powers[0] + scale[:, None, None] * powers[1])
    return mixed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    prepare(arguments.data, arguments.work)


if __name__ == "__main__":
    main()
