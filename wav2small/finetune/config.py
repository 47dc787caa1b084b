"""Configurations: what a fine-tuning does, with the default of each.

Imports nothing that takes time, so that the command line can show them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..config import AugmentConfig
from ..errors import InputError

HiddenStates = Literal["last", "weighted", "merged"]
"""Which layers of a backbone the head reads."""

Pooling = Literal["mean", "deviation", "attentive"]
"""What is made of the frames of a signal."""

Fusion = Literal["joined", "gated"]
"""How what is known beside a signal is joined with it."""

Choose = Literal["first", "uniform"]
"""Which layers of a backbone are kept."""

ExitHead = Literal["recurrent", "light"]
"""What an early exit makes of the frames of its layer."""

Evidence = Literal["prosody", "text"]
"""What a teacher knows a clip by that a network of audio alone can learn from."""

WarmUp = Literal["none", "taught", "contrast", "adapt"]
"""What comes before a fine-tuning."""

# What people say of a clip still holds when its speed or colour changes a little,
# but not when a second speaker is mixed in.
VARIED = AugmentConfig(
    mix_probability=0.0,
    band_probability=0.0,
    room_probability=0.0,
    noise_probability=0.6,
    silence_probability=0.0,
)


@dataclass(frozen=True)
class NetworkConfig:
    """The parts of a :class:`FinetuneNetwork`."""

    states: HiddenStates = "last"
    """Which layers are read: ``last``, ``weighted`` (a learned mean for each
    dimension) or ``merged`` (attentive merging)."""

    pooling: Pooling = "mean"
    """Pooling over time: ``mean``, ``deviation`` (mean and standard deviation)
    or ``attentive`` (both, weighted)."""

    hidden: int = 128
    """Width of the head."""

    dropout: float = 0.2
    """Share of the head's activations dropped in training, in 0..1."""

    adapters: int = 0
    """Bottleneck of an adapter behind each layer; 0 for none."""

    gender: bool = False
    """Whether the speaker's gender is used; it may be unknown."""

    text_width: int = 0
    """Width of the embedding of the text; 0 to use none. A text may be missing."""

    fusion: Fusion = "joined"
    """How gender and text are joined with the audio: ``joined`` or ``gated``."""

    tasks: tuple[str, ...] = ()
    """What else is learned: ``category``, ``gender``, ``alike`` (an embedding in which
    clips of one category lie together, for :mod:`wav2small.finetune.few_shot`)."""

    categories: tuple[str, ...] = ()
    """Names of the categories of the tasks."""

    exits: tuple[int, ...] = ()
    """Layers, from 1, behind which scores are given early."""

    taught_by: tuple[Evidence, ...] = ()
    """Teachers of one kind of evidence each, which are trained first;
    with ``text`` among them the network itself does not read the text."""

    exit_head: ExitHead = "recurrent"
    """How an exit reads its layer: ``recurrent``, as the paper does, which costs
    more than half a layer, or ``light``: mean and deviation over time."""


@dataclass(frozen=True)
class FinetuneConfig:
    """What a fine-tuning does; with the labels it determines the weights."""

    backbone: str = "mel"
    """``mel``, a folder or ``owner/name``,
    see :func:`wav2small.finetune.backbones.load_backbone`."""

    layers: int | None = None
    """Layers of the backbone that are kept; None for all."""

    choose: Choose = "first"
    """Which layers are kept: the first ones, or some at even distances."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    """The parts that are put on the backbone."""

    warm_up: WarmUp = "none"
    """What happens before: ``taught`` lets the whole backbone teach the layers
    that are kept, ``contrast`` pulls views of each clip together,
    ``adapt`` lets the backbone guess what it would hear of what is hidden from it
    (task-adaptive pre-training)."""

    warm_up_steps: int = 500
    """Steps of the warm-up."""

    frozen: bool = False
    """Whether the backbone's own weights stay as they are;
    with adapters or low-rank updates they do anyway."""

    freeze_convolutions: bool = True
    """Whether the encoder of the waveform stays as it is."""

    lora: int = 0
    """Rank of low-rank updates of the dense layers; 0 for none."""

    steps: int = 1000
    """Steps of training at most."""

    batch_size: int = 16
    """Crops per step, of all processes together."""

    crop_seconds: float = 3.0
    """Length of a crop in seconds."""

    learning_rate: float = 1e-3
    """Peak rate of what is new: heads, adapters, updates, the mel backbone."""

    backbone_learning_rate: float = 1e-5
    """Peak rate of the last layer of a backbone with weights of others."""

    layer_decay: float = 0.9
    """Rate of a layer relative to that of the layer behind it, in 0..1."""

    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW."""

    rise: float = 0.1
    """Share of the steps in which the rates rise, in 0..1."""

    l1_weight: float = 0.5
    """Weight of the mean absolute error beside the concordance losses."""

    task_weight: float = 0.5
    """Weight of the cross entropy of each further task."""

    temperature: float = 4.0
    """Temperature at which scores of :attr:`NetworkConfig.taught_by` are compared."""

    taught_weights: tuple[float, float] = (0.5, 0.5)
    """Weights of the scores and of the embeddings of these teachers."""

    conditions_dropped: float = 0.5
    """Share of crops whose gender and text are hidden in training, in 0..1:
    whoever annotates may not know them."""

    average: float = 0.99
    """Decay per step of the moving average of the weights,
    which is what is evaluated and saved."""

    dev_share: float = 0.1
    """Share of the speakers that is kept from training
    to choose the best checkpoint, in 0..1."""

    evaluations: int = 20
    """How often the run is evaluated and saved, evenly spread."""

    patience: int = 6
    """Evaluations without a better one after which training stops."""

    bfloat16: bool = False
    """Whether matrices are multiplied in bfloat16."""

    seed: int = 0
    """Seed of the weights and of every crop and augmentation."""

    augment: AugmentConfig = VARIED
    """How crops are varied."""

    masked: float = 0.1
    """Share of the frames and of the bands that are hidden in training,
    in 0..0.5, see :func:`wav2small.finetune.backbones.mask_features`;
    none in a backbone that is frozen."""

    def __post_init__(self) -> None:
        for name in ("steps", "evaluations", "patience", "batch_size"):
            least = 2 if name == "batch_size" else 1
            if getattr(self, name) < least:
                raise InputError(
                    f"{name} must be at least {least}, got {getattr(self, name)}"
                )
        if not 0 <= self.masked <= 0.5:
            raise InputError(f"masked must be in 0..0.5, got {self.masked}")
        if self.lora and self.network.adapters:
            raise InputError(
                "lora and adapters must not be used together, got "
                f"{self.lora} and {self.network.adapters}: choose one"
            )
        if self.warm_up == "taught" and self.layers is None:
            raise InputError(
                "layers must be given for the warm-up taught, got None: "
                "say how many the backbone shall teach"
            )

    @property
    def freezes(self) -> bool:
        """Whether the backbone's own weights stay as they are."""
        return bool(self.frozen or self.lora or self.network.adapters)
