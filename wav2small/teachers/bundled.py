"""The bundled teacher: a small acted-speech baseline that needs no model hub.

A convolutional network with attentive statistics pooling,
trained on the Berlin database of emotional speech alone.
A large self-supervised teacher takes its place with one option.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wav2small.export.base.errors import one_line

from .. import checkpoint
from ..errors import InputError
from ..features import LogMel, frame_mask, normalize
from ..weights import check_settings
from .base import TeacherInfo

ASSET = Path(__file__).parent.parent / "assets" / "teacher"


@dataclass(frozen=True)
class TeacherConfig:
    """Configuration of :class:`TeacherNetwork`."""

    window_length: int = 512
    """Length of the Hann window in samples."""

    hop_length: int = 256
    """Samples from one frame to the next."""

    n_fft: int = 512
    """Length of the Fourier transform in samples."""

    n_mels: int = 64
    """Number of mel bands."""

    channels: tuple[int, ...] = (16, 32, 64, 128)
    """Channels of the stages of two convolutions each; each halves mel."""

    time_kernels: tuple[int, ...] = (3, 1, 1, 1)
    """Length of each stage's kernels along time, in frames, odd.
    Short ones make a teacher that a student with a short view can follow."""

    time_pools: tuple[int, ...] = (2, 2, 2, 2)
    """How many frames become one at the end of each stage."""

    stride: int = 1
    """How many frames, and mel bands, the first convolution goes on at a time:
    2 makes all that follows cost a quarter."""

    deviation: bool = False
    """Whether the standard deviation over time is pooled beside the mean."""

    hidden: int = 128
    """Width of the pooling and of the head."""

    dropout: float = 0.3
    """Share of activations dropped in training, in 0..1."""

    categories: int = 7
    """Outputs of the auxiliary emotion classifier that training uses."""


class TeacherNetwork(nn.Module):
    """Convolutions on log-mel, attentive statistics pooling, a linear head.

    Shape:
        signal: ``(batch, time)``, float32 in [-1, 1] at 16 kHz
        lengths: ``(batch,)``, valid samples; None if all are
        output: ``(batch, 3 + categories)``:
            arousal, dominance, valence and the logits of the categories

    With ``lengths`` a padded signal scores as it does alone.

    References:
        Okabe et al. 2018, "Attentive Statistics Pooling
        for Deep Speaker Embedding", arXiv 1803.10963.

    """

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        self.config = config
        self.front_end = LogMel(
            window_length=config.window_length,
            hop_length=config.hop_length,
            n_fft=config.n_fft,
            n_mels=config.n_mels,
            center=True,
        )
        self.norm = nn.BatchNorm1d(config.n_mels)
        self.stages = nn.ModuleList()
        inputs, stride = 1, config.stride
        for channels, kernel in zip(config.channels, config.time_kernels, strict=True):
            layers: list[nn.Module] = []
            for width in (inputs, channels):
                layers += [
                    nn.Conv2d(
                        width,
                        channels,
                        (kernel, 3),
                        stride=stride,
                        padding=(kernel // 2, 1),
                        bias=False,
                    ),
                    nn.BatchNorm2d(channels),
                ]
                stride = 1
            self.stages.append(nn.ModuleList(layers))
            inputs = channels
        mels = (config.n_mels - 1) // config.stride + 1
        for _ in config.channels:
            mels = (mels + 1) // 2
        width = inputs * mels
        self.project = nn.Linear(width, config.hidden)
        self.attention = nn.Sequential(
            nn.Linear(config.hidden, config.hidden // 2),
            nn.Tanh(),
            nn.Linear(config.hidden // 2, config.hidden),
        )
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(
            config.hidden * (2 if config.deviation else 1), config.hidden
        )
        self.scores = nn.Linear(config.hidden, 3)
        self.categories = nn.Linear(config.hidden, config.categories)

    def features(self, signal: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the normalised log-mel map, ``(batch, frames, n_mels)``."""
        x = self.front_end(normalize(signal, lengths))
        return self.norm(x.transpose(1, 2)).transpose(1, 2)

    def forward(self, signal: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Score signals."""
        frames = None if lengths is None else self.front_end.frames(lengths)
        return self.classify(self.features(signal, lengths), frames)

    def classify(self, features: Tensor, frames: Tensor | None = None) -> Tensor:
        """Score log-mel maps; ``frames`` are the valid ones of each."""
        x = features[:, None]
        stride = self.config.stride
        for stage, pool in zip(self.stages, self.config.time_pools, strict=True):
            mask: Tensor | float = 1.0
            if frames is not None:
                mask = frame_mask(frames, x.shape[2])[:, None, :, None].to(x.dtype)
                x = x * mask
            conv_1, norm_1, conv_2, norm_2 = stage.children()
            if frames is not None and stride > 1:
                frames = (frames - 1) // stride + 1
                mask = frame_mask(frames, (x.shape[2] - 1) // stride + 1)
                mask = mask[:, None, :, None].to(x.dtype)
            stride = 1
            x = torch.relu(norm_1(conv_1(x))) * mask
            x = torch.relu(norm_2(conv_2(x))) * mask
            # ceil_mode keeps a last, half-filled cell: no signal is too short
            x = nn.functional.max_pool2d(x, (pool, 2), ceil_mode=True)
            if frames is not None:
                frames = (frames + pool - 1) // pool
        x = torch.relu(self.project(self.dropout(x.permute(0, 2, 1, 3).flatten(2))))
        score = self.attention(x)
        if frames is not None:
            valid = frame_mask(frames, x.shape[1])[:, :, None]
            score = score.masked_fill(~valid, -torch.inf)
        weight = torch.softmax(score, dim=1)
        pooled = (weight * x).sum(1)
        if self.config.deviation:
            variance = (weight * (x - pooled[:, None]).square()).sum(1)
            pooled = torch.cat([pooled, torch.sqrt(variance + 1e-5)], dim=1)
        x = self.dropout(torch.relu(self.hidden(self.dropout(pooled))))
        return torch.cat([self.scores(x) + 0.5, self.categories(x)], dim=1)


class BundledTeacher:
    """A :class:`TeacherNetwork` as a teacher."""

    def __init__(self, network: TeacherNetwork, info: TeacherInfo) -> None:
        self.network = network.eval()
        self.info = info

    @classmethod
    def load(cls, folder: Path = ASSET) -> BundledTeacher:
        """Load a teacher that :meth:`save` wrote.

        Raises:
            InputError: if the folder is no checkpoint of a teacher

        """
        weights, config = checkpoint.load(folder)
        try:
            settings: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in config["config"].items()
            }
            check_settings(settings)
            network = TeacherNetwork(TeacherConfig(**settings))
            network.load_state_dict(
                {k: torch.from_numpy(v) for k, v in weights.items()}
            )
            info = TeacherInfo(
                revision=checkpoint.digest(folder)[:16], **config["info"]
            )
        except Exception as error:  # settings that are none fail in any way
            raise InputError(
                f"checkpoint must be of a bundled teacher: {folder}: {one_line(error)}"
            ) from error
        return cls(network, info)

    @staticmethod
    def save(
        folder: Path, network: TeacherNetwork, info: dict[str, str], **extra: object
    ) -> None:
        """Write a checkpoint; ``info`` is :class:`TeacherInfo` less the revision."""
        checkpoint.save(
            folder,
            {k: v.detach().cpu().numpy() for k, v in network.state_dict().items()},
            {"config": asdict(network.config), "info": info, **extra},
        )

    def to(self, device: str) -> BundledTeacher:
        """Move the network to a device."""
        self.network.to(device)
        return self

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals, see :class:`wav2small.teachers.base.Teacher`."""
        lengths = torch.tensor([len(signal) for signal in signals])
        batch = torch.zeros(len(signals), int(lengths.max()))
        for row, signal in zip(batch, signals, strict=True):
            row[: len(signal)] = torch.from_numpy(np.asarray(signal, np.float32))
        same = bool((lengths == lengths[0]).all())
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            scores = self.network(
                batch.to(device), None if same else lengths.to(device)
            )
            return scores[:, :3].float().cpu().numpy()
