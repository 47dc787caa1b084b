"""A teacher of one convolution that was learned without labels, and a small head.

Filters are centres of patches of log-mel maps.
What they find is pooled over time in zones of the mel scale;
an average of several two-layer heads turns it into scores.
"""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True)
class PatchConfig:
    """Configuration of :class:`PatchNetwork`."""

    window_length: int = 1024
    """Length of the Hann window and of the Fourier transform in samples."""

    hop_length: int = 512
    """Samples from one frame to the next."""

    n_mels: int = 64
    """Number of mel bands."""

    floor: float = 70.0
    """How far below the loudest cell of its map a cell counts, in dB."""

    filters: int = 256
    """Number of filters."""

    frames: int = 9
    """Length of a filter in frames."""

    bands: int = 8
    """Height of a filter in mel bands."""

    frame_stride: int = 2
    """Frames from one patch to the next."""

    band_stride: int = 3
    """Mel bands from one patch to the next."""

    zones: int = 4
    """Zones of the mel scale that are pooled apart."""

    heads: int = 1
    """Number of heads that are averaged."""

    hidden: int = 128
    """Width of each head."""

    @property
    def features(self) -> int:
        """Number of pooled features."""
        return 2 * self.zones * self.filters + 3 * self.n_mels


class PatchNetwork(nn.Module):
    """Patches of a log-mel map, pooled, and an average of heads.

    Filters have no sum, so that they see neither the level nor a smooth filter;
    the mean and the movement of each band are given to the heads beside them.

    Shape:
        signal: ``(1, time)``, float32 at 16 kHz, its level does not matter
        output: ``(1, 3)``: arousal, dominance, valence

    References:
        Coates, Ng & Lee 2011, An analysis of single-layer networks
        in unsupervised feature learning, AISTATS.

    """

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.config = config
        self.front_end = LogMel(
            window_length=config.window_length,
            hop_length=config.hop_length,
            n_mels=config.n_mels,
            center=True,
        )
        self.patches = nn.Conv2d(
            1,
            config.filters,
            (config.frames, config.bands),
            (config.frame_stride, config.band_stride),
        )
        count, width = config.features, config.heads * config.hidden
        self.mean = nn.Parameter(torch.zeros(config.heads, count), False)
        self.scale = nn.Parameter(torch.ones(config.heads, count), False)
        self.hidden = nn.Parameter(torch.zeros(config.heads, config.hidden, count))
        self.hidden_bias = nn.Parameter(torch.zeros(config.heads, config.hidden))
        self.scores = nn.Linear(width, 3)

    def pool(self, maps: Tensor) -> Tensor:
        """Pool a map in dB.

        Shape:
            maps: ``(frames, bands)``
            output: ``(features,)``

        """
        config = self.config
        x = torch.maximum(maps, maps.max() - config.floor)
        short = config.frames + config.frame_stride - len(x)
        if short > 0:  # a signal of any length has some patches
            x = torch.cat([x, x[-1:].expand(short, -1)])
        found = self.patches(x[None, None])[0].relu()
        zones = torch.stack([part.mean(2) for part in found.chunk(config.zones, dim=2)])
        parts = [zones.mean(2).ravel(), zones.std(2, correction=0).ravel()]
        step = (x[1:] - x[:-1]).abs().mean(0)
        parts += [x.mean(0), x.std(0, correction=0), step]
        return torch.cat(parts)

    def forward(self, signal: Tensor) -> Tensor:
        """Score one signal."""
        features = self.pool(self.front_end(normalize(signal))[0])
        x = ((features - self.mean) * self.scale).clamp(-4, 4)
        hidden = torch.relu((self.hidden @ x[:, :, None])[:, :, 0] + self.hidden_bias)
        return self.scores(hidden.ravel())[None]


class PatchTeacher:
    """A :class:`PatchNetwork` as a teacher."""

    def __init__(self, network: PatchNetwork, info: TeacherInfo) -> None:
        self.network = network.eval()
        self.info = info

    @classmethod
    def load(cls, folder: Path = ASSET) -> PatchTeacher:
        """Load a teacher that :meth:`save` wrote.

        Raises:
            InputError: if the folder is no checkpoint of a teacher

        """
        weights, config = checkpoint.load(folder)
        try:
            network = PatchNetwork(PatchConfig(**config["config"]))
            found = {
                name: torch.from_numpy(value.astype(np.float32))
                for name, value in weights.items()
            }
            front_end = {
                f"front_end.{name}": value
                for name, value in network.front_end.state_dict().items()
            }
            network.load_state_dict(front_end | found)
            info = TeacherInfo(
                revision=checkpoint.digest(folder)[:16], **config["info"]
            )
        except (KeyError, TypeError, RuntimeError) as error:
            raise InputError(
                f"checkpoint must be of a teacher of patches: {folder}: {error}"
            ) from error
        return cls(network, info)

    @staticmethod
    def save(
        folder: Path, network: PatchNetwork, info: dict[str, str], **extra: object
    ) -> None:
        """Write a checkpoint of half-precision weights, less the fixed front end.

        ``info`` is :class:`TeacherInfo` less the revision.
        """
        weights = {
            name: value.detach().cpu().numpy().astype(np.float16)
            for name, value in network.state_dict().items()
            if not name.startswith("front_end.")
        }
        settings = {"config": asdict(network.config), "info": info}
        checkpoint.save(folder, weights, settings | extra)

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals one by one, see :class:`wav2small.teachers.base.Teacher`."""
        check_lengths(signals, 1)
        with torch.inference_mode():
            rows = [
                self.network(torch.from_numpy(np.asarray(signal, np.float32))[None])
                for signal in signals
            ]
        return torch.cat(rows).float().numpy()
