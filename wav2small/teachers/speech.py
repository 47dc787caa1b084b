"""A teacher that hears with the first layers of a speech recogniser.

The encoder of Whisper, cut off after some layers, turns speech into a sequence;
its mean and deviation over time go through an average of several two-layer heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .. import checkpoint
from ..errors import InputError
from ..features import LogMel, normalize
from .base import TeacherInfo, check_lengths

ASSET = Path(__file__).parent.parent / "assets" / "hearing"

POWER = 0.08
"""Root mean square that a signal is scaled to: a level that Whisper is used to."""

SCALE = ".scale"
"""Ends the name of the scales of a tensor in 8 bits."""

LARGEST = 5.0
"""How many deviations from the mean a pooled feature counts at most."""


@dataclass(frozen=True)
class SpeechConfig:
    """Configuration of :class:`SpeechNetwork`; the defaults are Whisper tiny's."""

    layers: int = 2
    """Transformer layers that are left of the encoder."""

    width: int = 384
    """Channels of the encoder."""

    attention: int = 6
    """Attention heads of a layer."""

    n_mels: int = 80
    """Number of mel bands."""

    window_length: int = 400
    """Length of the Hann window and of the Fourier transform in samples."""

    hop_length: int = 160
    """Samples from one frame to the next; the encoder halves their number."""

    longest: float = 30.0
    """Seconds that the encoder hears at a time; a longer signal is cut."""

    heads: int = 1
    """Heads that were trained apart; side by side they are one wide head."""

    hidden: int = 256
    """Width of each head."""

    @property
    def features(self) -> int:
        """Number of pooled features: of each layer's output mean and deviation."""
        return 2 * self.layers * self.width


class _Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, width: int, attention: int) -> None:
        super().__init__()
        self.attention = attention
        self.norm_1 = nn.LayerNorm(width)
        self.queries = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, width = x.shape
        shape = batch, time, 3, self.attention, width // self.attention
        query, key, value = self.queries(self.norm_1(x)).view(shape).unbind(2)
        heard = nn.functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        )
        x = x + self.joined(heard.transpose(1, 2).reshape(batch, time, width))
        down: Tensor = self.down(nn.functional.gelu(self.up(self.norm_2(x))))
        return x + down


class SpeechEncoder(nn.Module):
    """The first layers of Whisper's encoder.

    Shape:
        signal: ``(batch, time)``, float32 at 16 kHz, its level does not matter
        output: ``(batch, features)``: mean and deviation over time of each layer

    References:
        Radford et al. 2022, Robust Speech Recognition via Large-Scale
        Weak Supervision, arXiv 2212.04356.

    """

    positions: Tensor

    def __init__(self, config: SpeechConfig) -> None:
        super().__init__()
        self.config = config
        self.front_end = LogMel(
            window_length=config.window_length,
            hop_length=config.hop_length,
            n_mels=config.n_mels,
        )
        self.conv_1 = nn.Conv1d(config.n_mels, config.width, 3, padding=1)
        self.conv_2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(
            _Layer(config.width, config.attention) for _ in range(config.layers)
        )
        frames = int(config.longest * 16000) // (2 * config.hop_length)
        half = config.width // 2
        rate = torch.exp(-np.log(10000) / (half - 1) * torch.arange(half))
        angle = torch.arange(frames)[:, None] * rate
        positions = torch.cat([angle.sin(), angle.cos()], dim=1)
        self.register_buffer("positions", positions, persistent=False)

    def maps(self, signal: Tensor) -> Tensor:
        """Compute the log-mel map as Whisper has it, ``(batch, bands, frames)``."""
        half = self.config.window_length // 2
        mode = "reflect" if signal.shape[1] > half else "constant"
        padded = nn.functional.pad(POWER * normalize(signal), (half, half), mode=mode)
        x = self.front_end(padded).transpose(1, 2) / 10
        if x.shape[2] > 1:
            x = x[:, :, :-1]
        return (torch.maximum(x, x.amax((1, 2), keepdim=True) - 8) + 4) / 4

    def forward(self, signal: Tensor) -> Tensor:
        """Hear signals of one length."""
        x = nn.functional.gelu(self.conv_1(self.maps(signal)))
        x = nn.functional.gelu(self.conv_2(x)).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        parts = []
        for layer in self.layers:
            x = layer(x)
            parts += [x.mean(1), x.std(1, correction=0)]
        return torch.cat(parts, dim=1)


class SpeechNetwork(nn.Module):
    """An encoder and an average of heads.

    Shape:
        signal: ``(batch, time)``, float32 at 16 kHz, its level does not matter
        output: ``(batch, 3)``: arousal, dominance, valence

    """

    def __init__(self, config: SpeechConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SpeechEncoder(config)
        width = config.heads * config.hidden
        self.mean = nn.Parameter(torch.zeros(config.features), False)
        self.deviation = nn.Parameter(torch.ones(config.features), False)
        self.hidden = nn.Linear(config.features, width)
        self.scores = nn.Linear(width, 3)

    def forward(self, signal: Tensor) -> Tensor:
        """Score signals of one length."""
        return self.judge(self.encoder(signal))

    def judge(self, features: Tensor) -> Tensor:
        """Score what the encoder gave, ``(batch, features)``."""
        x = (features - self.mean) / self.deviation
        x = self.hidden(x.clamp(-LARGEST, LARGEST)).relu()
        scores: Tensor = self.scores(x)
        return scores


class SpeechTeacher:
    """A :class:`SpeechNetwork` as a teacher."""

    def __init__(self, network: SpeechNetwork, info: TeacherInfo) -> None:
        self.network = network.eval()
        self.info = info

    @classmethod
    def load(cls, folder: Path = ASSET) -> SpeechTeacher:
        """Load a teacher that :meth:`save` wrote.

        Raises:
            InputError: if the folder is no checkpoint of a teacher

        """
        weights, config = checkpoint.load(folder)
        try:
            network = SpeechNetwork(SpeechConfig(**config["config"]))
            found = {
                name: torch.from_numpy(value) for name, value in unpack(weights).items()
            }
            front_end = {
                name: value
                for name, value in network.state_dict().items()
                if name.startswith("encoder.front_end.")
            }
            network.load_state_dict(front_end | found)
            info = TeacherInfo(
                revision=checkpoint.digest(folder)[:16], **config["info"]
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"checkpoint must be of a teacher of speech: {folder}: {error}"
            ) from error
        return cls(network, info)

    @staticmethod
    def save(
        folder: Path, network: SpeechNetwork, info: dict[str, str], **extra: object
    ) -> None:
        """Write a checkpoint of 8-bit weights, less the fixed front end.

        ``info`` is :class:`TeacherInfo` less the revision.
        """
        weights = {
            name: value.detach().cpu().numpy()
            for name, value in network.state_dict().items()
            if not name.startswith("encoder.front_end.")
        }
        settings = {"config": asdict(network.config), "info": info}
        checkpoint.save(folder, pack(weights), settings | extra)

    def to(self, device: str) -> SpeechTeacher:
        """Move the network to a device."""
        self.network.to(device)
        return self

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals, see :class:`wav2small.teachers.base.Teacher`.

        Signals of one length are heard together.
        """
        check_lengths(signals, 1)
        config, device = self.network.config, self.network.scores.weight.device
        most = int(config.longest * 16000)
        scores = np.empty((len(signals), 3), np.float32)
        lengths = np.array([min(len(signal), most) for signal in signals])
        with torch.inference_mode():
            for length in np.unique(lengths):
                rows = np.flatnonzero(lengths == length)
                batch = np.stack([np.asarray(signals[int(i)][:length]) for i in rows])
                heard = torch.from_numpy(batch.astype(np.float32)).to(device)
                scores[rows] = self.network(heard).float().cpu().numpy()
        return scores


def pack(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Store matrices and kernels in 8 bits, with a scale for each output.

    All else is stored in 16 bits. :func:`unpack` undoes it, but for the rounding.
    """
    packed: dict[str, np.ndarray] = {}
    for name, value in weights.items():
        if value.ndim < 2:
            packed[name] = value.astype(np.float16)
            continue
        largest = np.abs(value).max(tuple(range(1, value.ndim)), keepdims=True)
        scale = np.maximum(largest, 1e-8).astype(np.float32) / 127
        packed[name] = np.round(value / scale).astype(np.int8)
        packed[name + SCALE] = scale
    return packed


def unpack(packed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the float32 weights of what :func:`pack` stored."""
    return {
        name: value.astype(np.float32) * packed.get(name + SCALE, np.float32(1))
        for name, value in packed.items()
        if not name.endswith(SCALE)
    }
