"""Configurations: what annotation and distillation do, with the default of each.

Imports nothing that takes time, so that the command line can show them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Gate = Literal["none", "bundled", "silero"]
"""What tells speech from other sounds, see :func:`wav2small.gate.load_gate`."""

Teaching = Literal["online", "cached"]
"""Where a crop's target comes from."""


ATTACK_RATIO = 40.0
"""Power of speech to that of a change which is made to move scores, in dB."""


@dataclass(frozen=True)
class AugmentConfig:
    """How crops are varied; probabilities in 0..1.

    Speed, what is heard beside the voice and its colour make another recording:
    :func:`vary`, whose result needs a score of its own.
    All else happens on the way to the microphone: :func:`degrade`.
    """

    speed: float = 0.15
    """Largest relative change of speed and pitch together."""

    mix_probability: float = 0.5
    """Share of crops with a second speaker or, as often, noise under them."""

    filter_probability: float = 0.5
    """Share of crops with a random smooth filter."""

    filter_spread: float = 4.0
    """Standard deviation of the filter's gain per octave in dB."""

    band_probability: float = 0.3
    """Share of crops that lose what lies below 40 to 400 Hz
    or above 3 to 8 kHz."""

    room_probability: float = 0.15
    """Share of crops with reverberation."""

    noise_probability: float = 0.3
    """Share of crops with noise in the channel: a recording if there are any,
    else white or pink."""

    snr_low: float = 5.0
    """Least ratio of speech to noise or second speaker in dB."""

    snr_high: float = 35.0
    """Largest ratio of speech to noise or second speaker in dB."""

    aid_probability: float = 0.0
    """Share of crops that take a random way to the output of a hearing aid
    in place of band, room and noise: :func:`wav2small.acoustics.way.to_the_ear`.
    It costs 20 to 50 ms a crop on one core."""

    silence_probability: float = 0.2
    """Share of crops that begin or end with up to 0.2 s of silence."""

    gain: float = 12.0
    """Largest change of level in dB, up or down."""


@dataclass(frozen=True)
class AnnotateConfig:
    """How audio is cut and batched."""

    window_seconds: float = 10.0
    """Longest stretch that gets one label, in seconds.
    A longer recording is cut into windows of this length;
    the last two may be shorter, down to half of it."""

    min_seconds: float = 0.25
    """A shorter clip is an error, in seconds."""

    batch_seconds: float | None = None
    """Audio that the teacher scores at a time, padding included, in seconds.
    If None it scores each clip alone, the fastest way for a large teacher on a CPU;
    a GPU wants a minute or more."""

    shard_files: int | None = None
    """Files whose labels are written at a time;
    if None, a thousandth of the corpus, at least 32 and at most 1,000."""

    gate: Gate = "none"
    """Whether windows of silence, noise or music are left out, and what finds them:
    ``none``, ``bundled`` or ``silero``, see :func:`wav2small.gate.load_gate`."""

    bfloat16: bool = False
    """Whether a torch teacher multiplies in bfloat16, where it can."""

    transcriber: str = ""
    """Program that says what is said in windows of which no table has the text,
    see :class:`wav2small.programs.Transcriber`; empty for none."""


@dataclass(frozen=True)
class VariationConfig:
    """Which crops a teacher scores; the same ones in annotation and distillation."""

    count: int = 64
    """Variations of each clip."""

    seed: int = 0
    """Seed of every crop."""

    crop_seconds: float = 2.0
    """Length of a crop in seconds."""

    chapter_hours: float = 24.0
    """Audio in hours in which the second voice of a crop is looked for:
    the clip's chapter, see :meth:`wav2small.annotation.store.LabelStore.chapters`."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How crops are varied; all but speed, what is heard beside and colour is of
    no account, since it comes after the teacher."""


@dataclass(frozen=True)
class DistillConfig:
    """What a distillation run does; with the labels it determines the weights."""

    student: str = "wav2small"
    """Name of the student, see ``wav2small list students``."""

    teaching: Teaching = "online"
    """``online``: the teacher of the labels scores each crop
    after its speed and colour were changed and noise or a second speaker was added;
    where ``annotate --variations`` has stored these scores, they are read instead.
    ``cached``: the crop keeps the score of its clip."""

    variations: int = 64
    """Crops of each clip that the teacher scores, one per epoch;
    then their turn comes again, with other noise and rooms."""

    epochs: int = 100
    """Passes over the clips; each pass takes a crop of every clip,
    but for those that do not fill the last batch."""

    batch_size: int = 16
    """Crops per step."""

    crop_seconds: float = 2.0
    """Length of a crop in seconds."""

    learning_rate: float = 3e-3
    """Peak of the cosine schedule."""

    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW."""

    warmup: float = 0.05
    """Share of the steps in which the learning rate rises, in 0..1."""

    l1_weight: float = 0.5
    """Weight of the mean absolute error beside the concordance losses."""

    average: float = 0.995
    """Decay per step of the moving average of the weights,
    which is what is evaluated and saved."""

    dev_share: float = 0.1
    """Share of the speakers (of the files, where speakers are unknown)
    that is kept from training to choose the best checkpoint, in 0..1."""

    bfloat16: bool = False
    """Whether convolutions are computed in bfloat16; the log-mel never is.
    Halves the time of wav2small on processors with AVX512-BF16, and of all
    students on GPUs."""

    evaluations: int = 20
    """How often the run is evaluated and saved, evenly spread."""

    seed: int = 0
    """Seed of the weights and of every crop and augmentation."""

    non_speech: float = 0.05
    """Share of crops that are noise or silence, with a neutral score, in 0..1."""

    forget_probability: float = 0.0
    """Share of crops that a student which streams hears as one that forgets:
    with a time constant of 2 to 30 seconds, see ``docs/listening.md``, in 0..1."""

    chapter_hours: float = 24.0
    """Audio in hours that is decoded at a time, 115 MB each;
    a larger corpus is learned chapter by chapter."""

    adversarial: float = 0.0
    """Share of the crops of a batch that are moved, 40 dB below their speech, where
    the student errs more (:mod:`wav2small.attacks`), in 0..1."""

    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """How crops are varied."""

    @property
    def varied(self) -> VariationConfig:
        """Which crops the teacher scores."""
        return VariationConfig(
            count=self.variations,
            seed=self.seed,
            crop_seconds=self.crop_seconds,
            chapter_hours=self.chapter_hours,
            augment=self.augment,
        )


@dataclass(frozen=True)
class DetectorConfig:
    """How a detector of speech is trained for a model that streams."""

    scenes: int = 2400
    """Scenes of 10 s to learn from."""

    steps: int = 2000
    """Batches."""

    batch_size: int = 24
    """Scenes of a batch."""

    learning_rate: float = 1e-2
    """Peak rate."""

    average: float = 0.995
    """Share of the weights' moving average that stays at a step."""

    channels: int = 16
    """Channels of each layer."""

    false_speech: float = 0.02
    """Share of noise that may be taken for speech."""

    seed: int = 0
    """Of scenes, weights and batches."""
