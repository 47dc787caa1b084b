"""Backbones whose every layer can be heard: self-supervised ones, and log-mel.

Shape:
    signal: ``(batch, time)``, float32 at 16 kHz, normalised, zeros after its end
    lengths: ``(batch,)``, valid samples; None if all are
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import checkpoint
from ..errors import InputError
from ..features import LogMel, frame_mask, normalize
from ..teachers.heads import Network
from . import find

if TYPE_CHECKING:
    from ..teachers.source import Source

MEL = "mel"
"""Name of the backbone that needs no weights of others."""

_FORMAT = "wav2small-backbone"


class States(NamedTuple):
    """What a backbone makes of signals."""

    layers: tuple[Tensor, ...]
    """What the first layer gets and what each gives,
    ``depth + 1`` tensors ``(batch, frames, width)``."""

    valid: Tensor | None
    """Which frames are of the signal, ``(batch, frames)``; None if all are."""


class Backbone(nn.Module):
    """Layers of one width, one after the other.

    Args:
        settings: what :func:`build_backbone` builds it from
        width: width of the hidden states

    """

    min_samples: int
    """Samples of the shortest signal that has a frame."""

    def __init__(self, settings: Mapping[str, Any], width: int) -> None:
        super().__init__()
        self.settings = dict(settings)
        self.width = width
        self.adapters = nn.ModuleList()
        self.watch: Callable[[int, Tensor], None] | None = None
        self.masked = 0.0
        self._heard: list[Tensor] = []

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, in their order."""
        raise NotImplementedError

    @property
    def features(self) -> nn.Module:
        """What gives the features that are hidden in part while training."""
        raise NotImplementedError

    @property
    def convolutions(self) -> nn.Module | None:
        """The encoder of the waveform, None if there is none to train."""
        raise NotImplementedError

    @property
    def depth(self) -> int:
        """The number of layers."""
        return len(self.layers)

    @property
    def padding(self) -> bool:
        """Whether padding changes nothing."""
        return True

    def last(self, signal: Tensor, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """Run the layers; return the last hidden states and the valid frames."""
        raise NotImplementedError

    def forward(self, signal: Tensor, lengths: Tensor | None = None) -> States:
        """Hear signals."""
        self._heard = []
        try:
            last, valid = self.last(signal, lengths)
            # behind the last layer there may be a normalisation
            return States((*(h.float() for h in self._heard[:-1]), last.float()), valid)
        finally:
            self._heard = []

    def listen(self) -> None:
        """Hear what enters and leaves the layers; for who builds one."""
        self.features.register_forward_hook(self._mask)
        self.layers[0].register_forward_pre_hook(self._enter)
        for layer in self.layers:
            layer.register_forward_hook(self._leave)

    def _mask(self, module: nn.Module, arguments: object, output: Any) -> Any:
        if not (self.masked and self.training):
            return output
        if isinstance(output, tuple):
            return (mask_features(output[0], self.masked), *output[1:])
        return mask_features(output, self.masked)

    def _enter(self, layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self._heard.append(arguments[0])

    def _leave(self, layer: nn.Module, arguments: object, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        number = len(self._heard)
        if self.adapters:
            hidden = self.adapters[number - 1](hidden)
        self._heard.append(hidden)
        if self.watch:
            self.watch(number, hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    def keep(self, numbers: Sequence[int]) -> None:
        """Drop all layers but some, the first among those that stay.

        Args:
            numbers: rising numbers of layers, from 0

        Raises:
            InputError: if they are not, or the first is not 0

        """
        rising = list(numbers) == sorted(set(numbers))
        if not numbers or numbers[0] != 0 or not rising or numbers[-1] >= self.depth:
            raise InputError(
                f"layers must be rising numbers from 0 to {self.depth - 1}, the first "
                f"0, got {list(numbers)}: the others need what the first one makes"
            )
        self._keep(nn.ModuleList(self.layers[number] for number in numbers))
        self.settings["num_hidden_layers"] = len(numbers)

    def _keep(self, layers: nn.ModuleList) -> None:
        raise NotImplementedError


def mask_features(features: Tensor, share: float) -> Tensor:
    """Blank a stretch of frames and two of bands in each row.

    Shape:
        features: ``(batch, frames, bands)``

    Args:
        features: around 0
        share: of the frames, and of the bands if they do not meet,
            on average, in 0..0.5

    References:
        after Park et al. 2019, "SpecAugment", arXiv 1904.08779.

    """
    rows, frames, bands = features.shape

    def stretch(count: int, longest: float) -> Tensor:
        length, start = torch.rand(2, rows, 1, device=features.device)
        length = (length * (longest * count + 1)).floor()
        start = (start * (count - length + 1)).floor()
        place = torch.arange(count, device=features.device) - start
        return (place >= 0) & (place < length)

    hidden = stretch(frames, 2 * share)[:, :, None]
    for _ in range(2):
        hidden = hidden | stretch(bands, share)[:, None]
    return features.masked_fill(hidden, 0.0)


def first_layers(depth: int, count: int) -> list[int]:
    """Numbers of the first layers."""
    _check_count(depth, count)
    return list(range(count))


def uniform_layers(depth: int, count: int) -> list[int]:
    """Numbers of layers at even distances, the first and the last among them."""
    _check_count(depth, count)
    return [round(place) for place in np.linspace(0, depth - 1, count)]


def _check_count(depth: int, count: int) -> None:
    if not 1 <= count <= depth:
        raise InputError(f"layers must be 1 to {depth} of the backbone, got {count}")


# Log-mel ---------------------------------------------------------------------


@dataclass(frozen=True)
class MelConfig:
    """Configuration of :class:`MelBackbone`."""

    n_mels: int = 64
    """Number of mel bands."""

    hidden_size: int = 96
    """Width of the layers."""

    num_hidden_layers: int = 4
    """Number of layers."""

    num_attention_heads: int = 4
    """Heads of the attention of a layer."""

    intermediate_size: int = 256
    """Width inside a layer."""

    hidden_dropout: float = 0.1
    """Share of activations dropped in training, in 0..1."""


class MelBackbone(Backbone):
    """Log-mel, two convolutions of stride 2, a few transformer layers.

    It is trained from nothing,
    where no self-supervised weights can be had.
    25 frames per second.
    """

    min_samples = 1

    def __init__(self, config: MelConfig) -> None:
        super().__init__({"model_type": MEL, **asdict(config)}, config.hidden_size)
        width = config.hidden_size
        self.front_end = LogMel(
            window_length=400, hop_length=160, n_fft=512, n_mels=config.n_mels,
            center=True,
        )  # fmt: skip
        self.bands = nn.LayerNorm(config.n_mels)
        self.narrow = nn.Conv1d(config.n_mels, width, 3, stride=2, padding=1)
        self.halve = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.place = nn.Conv1d(width, width, 15, padding=7, groups=width)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.transformer = nn.ModuleList(
            _Layer(config) for _ in range(config.num_hidden_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.listen()

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, in their order."""
        return self.transformer

    @property
    def features(self) -> nn.Module:
        """The log-mel."""
        return self.bands

    @property
    def convolutions(self) -> nn.Module | None:
        """None: the log-mel is frozen, and what follows it is not pre-trained."""
        return None

    def last(self, signal: Tensor, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """Run the layers; return the last hidden states and the valid frames."""
        frames = None if lengths is None else self.front_end.frames(lengths)
        x = self.bands(self.front_end(signal) / 20).transpose(1, 2)
        for convolution in (self.narrow, self.halve):
            x = nn.functional.gelu(convolution(_silenced(x, frames)))
            frames = None if frames is None else (frames + 1) // 2
        x = _silenced(x, frames)
        x = self.dropout((x + nn.functional.gelu(self.place(x))).transpose(1, 2))
        valid = None if frames is None else frame_mask(frames, x.shape[1])
        for layer in self.transformer:
            x = layer(x, valid)
        return self.norm(x), valid

    def _keep(self, layers: nn.ModuleList) -> None:
        self.transformer = layers


class _Layer(nn.Module):
    """Attention and two dense layers, each behind a normalisation."""

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.attention_norm = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.intermediate_dense = nn.Linear(width, config.intermediate_size)
        self.output_dense = nn.Linear(config.intermediate_size, width)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, hidden: Tensor, valid: Tensor | None) -> Tensor:
        batch, frames, width = hidden.shape
        parts = self.attention(self.attention_norm(hidden)).view(
            batch, frames, 3, self.heads, width // self.heads
        )
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        heard = nn.functional.scaled_dot_product_attention(
            query, key, value, None if valid is None else valid[:, None, None]
        )
        heard = heard.transpose(1, 2).reshape(batch, frames, width)
        hidden = hidden + self.dropout(self.attention_out(heard))
        inner = nn.functional.gelu(self.intermediate_dense(self.norm(hidden)))
        return hidden + self.dropout(self.output_dense(inner))


def _silenced(x: Tensor, frames: Tensor | None) -> Tensor:
    """Put zeros behind the valid frames of ``(batch, channels, frames)``."""
    if frames is None:
        return x
    return x * frame_mask(frames, x.shape[2])[:, None].to(x.dtype)


# Self-supervised -------------------------------------------------------------


class _States(Network):
    """A backbone of transformers whose result is its hidden states."""

    def head(self, hidden: Tensor, valid: Tensor | None) -> Any:
        return hidden, valid


class SelfSupervised(Backbone):
    """A model of wav2vec2, HuBERT or WavLM.

    Args:
        settings: those of its configuration, and ``model_type``
        model: the model of transformers

    """

    def __init__(self, settings: Mapping[str, Any], model: nn.Module) -> None:
        super().__init__(settings, settings["hidden_size"])
        self.network = _States("model", model)
        self.min_samples = self.network.min_samples
        self.listen()

    @property
    def model(self) -> Any:
        """The model of transformers."""
        return self.network.get_submodule("model")

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, in their order."""
        return self.model.encoder.layers

    @property
    def features(self) -> nn.Module:
        """What the encoder of the waveform heard, as wide as the layers."""
        return self.model.feature_projection

    @property
    def convolutions(self) -> nn.Module | None:
        """The encoder of the waveform."""
        return self.model.feature_extractor

    @property
    def padding(self) -> bool:
        """Whether padding changes nothing."""
        # a batch norm before the positional convolution fills the padding
        return not any(
            name.endswith("pos_conv_embed.batch_norm")
            for name, _ in self.network.named_modules()
        )

    def last(self, signal: Tensor, lengths: Tensor | None) -> tuple[Tensor, Any]:
        """Run the layers; return the last hidden states and the valid frames."""
        states: Any = self.network(signal, lengths)
        return states

    def _keep(self, layers: nn.ModuleList) -> None:
        self.model.encoder.layers = layers
        self.model.config.num_hidden_layers = len(layers)


# In and out ------------------------------------------------------------------


def build_backbone(settings: Mapping[str, Any]) -> Backbone:
    """Build a backbone of its settings, with random weights.

    Args:
        settings: ``model_type`` (mel, wav2vec2, hubert, wavlm)
            and the fields of its configuration

    Raises:
        InputError: if there is no such backbone

    """
    from ..teachers.transformers import FAMILIES

    kind = settings.get("model_type")
    fields = {key: value for key, value in settings.items() if key != "model_type"}
    try:
        if kind == MEL:
            return MelBackbone(MelConfig(**fields))
        if kind in FAMILIES:
            import transformers

            config_name, model_name = FAMILIES[kind]
            config_class = getattr(transformers, config_name)
            known = set(config_class().to_dict()) - {"dtype", "transformers_version"}
            kept = {k: v for k, v in fields.items() if k in known and v is not None}
            # dropped layers cannot be heard, and crops are varied elsewhere
            kept |= {"layerdrop": 0.0, "mask_time_prob": 0.0, "mask_feature_prob": 0.0}
            config = config_class.from_dict(kept)
            return SelfSupervised(
                {"model_type": kind, **kept, "hidden_size": config.hidden_size},
                getattr(transformers, model_name)(config),
            )
    except InputError:
        raise
    # transformers checks settings with exceptions that share no base class
    except Exception as error:
        raise InputError(
            f"backbone must have settings it can be built from, got "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    raise InputError(
        f"backbone must be of model_type {MEL}, {', '.join(FAMILIES)}, got '{kind}'"
    )


@dataclass(frozen=True)
class Origin:
    """Where a backbone's weights come from."""

    name: str
    """Its folder's name, or owner and name on the hub."""

    licence: str
    """SPDX identifier of its weights' licence, ``unknown`` if it states none,
    empty if it has no weights of others."""

    training_data: str
    """What it was trained on, with licences; may be empty."""


def load_backbone(name: str) -> tuple[Backbone, Origin]:
    """Load a backbone with its weights.

    Args:
        name: ``mel`` for one that is trained from nothing,
            a folder that :func:`save_backbone` or a fine-tuning wrote,
            a folder of a model of wav2vec2, HuBERT or WavLM
            or its ``owner/name`` on the hub

    Raises:
        InputError: if there is none, or its files are not whole

    """
    if name == MEL:
        return MelBackbone(MelConfig()), Origin(MEL, "", "")
    folder = Path(name)
    tuned = find(folder)
    if tuned:
        return _tuned(tuned)
    if (folder / checkpoint.MANIFEST).is_file():
        weights, config = checkpoint.load(folder)
        if config.get("format") != _FORMAT:
            raise InputError(
                f"backbone must be saved as one, got a {config.get('format')}: {folder}"
            )
        backbone = build_backbone(config["backbone"])
        load_weights(backbone, weights, folder)
        return backbone, Origin(**config["origin"])
    from ..teachers.source import Source, read_json

    try:
        import transformers
    except ModuleNotFoundError as error:
        raise InputError(
            f"package {error.name} is missing: pip install 'wav2small[teachers]'"
        ) from error
    from ..teachers.transformers import FAMILIES

    source = Source.open(name)
    if source is None:
        raise InputError(
            f"backbone must be {MEL}, a folder or owner/name on the hub, got '{name}'"
        )
    settings = read_json(source.find("config.json"))
    built = build_backbone(settings)
    if not isinstance(built, SelfSupervised):
        raise InputError(
            f"backbone of model_type {MEL} must be one that was saved by wav2small, "
            f"got a config.json alone: {name}"
        )
    source.find("model.safetensors", "pytorch_model.bin")
    try:
        model, told = getattr(
            transformers, FAMILIES[settings["model_type"]][1]
        ).from_pretrained(
            source.folder,
            config=built.model.config,
            output_loading_info=True,
            local_files_only=True,
            dtype=torch.float32,
        )
    # it fails with exceptions that share no base class
    except Exception as error:
        raise InputError(
            f"backbone must have weights that can be read: {source.folder}: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    lost = set(told["missing_keys"]) - {"masked_spec_embed"}
    if lost or told["mismatched_keys"]:
        wrong = sorted([*lost, *map(str, told["mismatched_keys"])])
        raise InputError(
            f"backbone must have all its weights, got none for {', '.join(wrong[:6])}: "
            f"{source.folder}"
        )
    return SelfSupervised(built.settings, model), _origin(source)


def _tuned(folder: Path) -> tuple[Backbone, Origin]:
    """Read the backbone of a fine-tuned teacher."""
    from ..teachers.licence import most_restrictive
    from .parts.adapters import add_adapters

    weights, config = checkpoint.load(folder)
    backbone = build_backbone(config["backbone"])
    if config["network"]["adapters"]:
        add_adapters(backbone, config["network"]["adapters"])
    own = {
        key.removeprefix("backbone."): value
        for key, value in weights.items()
        if key.startswith("backbone.")
    }
    load_weights(backbone, own, folder)
    told = config["info"]
    licences = [told["licence"], *filter(None, [told["backbone_licence"]])]
    return backbone, Origin(
        told["name"], most_restrictive(licences), told["training_data"]
    )


def _origin(source: Source) -> Origin:
    """Read licence and training data of a folder's card or ``teacher.json``."""
    from ..teachers.description import FILE, Description
    from ..teachers.licence import UNKNOWN, canonical

    stated = Description.read(source.folder / FILE)
    card = source.card()
    data = stated.training_data or card["training_data"]
    return Origin(
        stated.name or source.name,
        canonical(stated.licence or card["licence"]),
        "" if data == UNKNOWN else data,
    )


def save_backbone(folder: Path, backbone: Backbone, origin: Origin) -> None:
    """Write a backbone that :func:`load_backbone` reads."""
    checkpoint.save(
        folder,
        to_arrays(backbone),
        {"format": _FORMAT, "backbone": backbone.settings, "origin": asdict(origin)},
    )


def to_arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """Return a module's weights as a checkpoint holds them."""
    return {k: v.detach().cpu().numpy() for k, v in module.state_dict().items()}


def load_weights(
    module: nn.Module, weights: Mapping[str, np.ndarray], where: Path
) -> None:
    """Put weights into a module.

    Raises:
        InputError: if a key is missing, unexpected or of another shape

    """
    try:
        module.load_state_dict(
            {name: torch.from_numpy(value.copy()) for name, value in weights.items()}
        )
    except RuntimeError as error:
        raise InputError(
            f"weights must have the keys that config.json describes: {where}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error


def pad(signals: Sequence[np.ndarray]) -> tuple[Tensor, Tensor | None]:
    """Normalise signals, and pad them to one tensor and their lengths."""
    lengths = torch.tensor([len(signal) for signal in signals])
    batch = torch.zeros(len(signals), int(lengths.max()))
    for row, signal in zip(batch, signals, strict=True):
        row[: len(signal)] = torch.from_numpy(np.asarray(signal, np.float32))
    same = bool((lengths == lengths[0]).all())
    kept = None if same else lengths
    return normalize(batch, kept), kept


def batches(
    signals: Sequence[np.ndarray], *, seconds: float = 60.0, alone: bool = False
) -> list[list[int]]:
    """Share signals out among batches of about one length each.

    Args:
        signals: shape ``(time,)`` each
        seconds: most audio of a batch, padding included
        alone: whether each signal is a batch

    Returns:
        numbers of the signals of each batch

    """
    order = sorted(range(len(signals)), key=lambda item: len(signals[item]))
    found: list[list[int]] = []
    for item in order:
        size = (len(found[-1]) + 1) * len(signals[item]) if found else math.inf
        if alone or not found or size > seconds * 16000:
            found.append([])
        found[-1].append(item)
    return found
