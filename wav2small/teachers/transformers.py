"""Published checkpoints of wav2vec2, HuBERT and WavLM as teachers.

The backbones are those of the package transformers,
the heads are ours, and every key of a file has its place:
a head with random weights never annotates, and nothing of a file is executed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from wav2small.export.base.files import sha256

from ..errors import InputError
from ..weights import check_settings
from .base import TeacherInfo, check_lengths
from .description import FILE, Description, Outputs
from .licence import canonical, check
from .source import CheckpointFiles, read_json
from .weights import find_weights, read_weights

if TYPE_CHECKING:
    from .heads import Network

FAMILIES = {
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model"),
    "hubert": ("HubertConfig", "HubertModel"),
    "wavlm": ("WavLMConfig", "WavLMModel"),
}
"""Backbones by ``model_type``: their configuration and their model."""

BACKBONES: dict[str, dict[str, Any]] = {
    "microsoft/wavlm-large": {
        "model_type": "wavlm",
        "conv_bias": False,
        "do_stable_layer_norm": True,
        "feat_extract_norm": "layer",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
    }
}
"""Settings of backbones that a checkpoint names without their settings."""

_BACKBONE_FILE = "backbone.json"


class TransformersTeacher:
    """A self-supervised backbone with a head for arousal, dominance and valence.

    Scores are those of each signal alone, whatever the batch.

    Args:
        network: backbone and head
        outputs: what the outputs are
        info: provenance
        mean: subtracted from a signal; None for the signal's own mean
        deviation: what it is divided by then; None for the signal's own
        normalize: whether the signal is normalised at all

    """

    def __init__(
        self,
        network: Network,
        outputs: Outputs,
        info: TeacherInfo,
        *,
        mean: float | None = None,
        deviation: float | None = None,
        normalize: bool = True,
    ) -> None:
        self.network = network.eval()
        self.outputs = outputs
        self.info = info
        self.mean, self.deviation, self.normalize = mean, deviation, normalize
        # a batch norm before the positional convolution makes padding non-zero
        self.padding = not any(
            name.endswith("pos_conv_embed.batch_norm")
            for name, _ in network.named_modules()
        )

    @classmethod
    def load(
        cls, source: CheckpointFiles, *, labels: Sequence[str] | None, policy: str
    ) -> TransformersTeacher:
        """Load a checkpoint.

        ``config.json`` says what it is: ``model_type`` wav2vec2, hubert or wavlm
        is that backbone with :class:`~wav2small.teachers.heads.DawnHead`,
        ``ser`` the attentive statistics of the Odyssey 2024 baselines.

        Args:
            source: its files
            labels: the dimension of each output, if the files do not say it
            policy: see :data:`wav2small.teachers.licence.Policy`

        Raises:
            InputError: if a file is missing or damaged,
                a key of the weights is missing, unexpected or of another shape,
                the outputs are not of the three dimensions,
                or the licence is not within the policy

        """
        config = read_json(source.find("config.json"))
        description = Description.read(source.folder / FILE)
        card = source.card()
        licence = canonical(description.licence or card["licence"])
        name = description.name or source.name
        # checked before the weights are read, which are large
        check(name, licence, policy, str(description.path))
        outputs = description.outputs(labels, _labels(config), name)
        files = [source.find("config.json")]
        kind = config.get("model_type")
        settings: dict[str, Any] = {}
        if kind in FAMILIES:
            files.append(source.find("preprocessor_config.json"))
            settings["normalize"] = _dawn_normalisation(read_json(files[1]), files[1])
        elif kind == "ser":
            settings["mean"], settings["deviation"] = _odyssey_normalisation(
                config, files[0]
            )
        else:
            raise InputError(
                f"teacher must be of model_type {', '.join(FAMILIES)} or ser, "
                f"got '{kind}': {files[0]}: export it to ONNX and pass that"
            )
        network = _build(source, config, len(outputs.labels))
        stored = find_weights(source)
        _load_weights(network, stored)
        files += stored
        digests = "".join(sha256(path) for path in files)
        info = TeacherInfo(
            name=name,
            revision=hashlib.sha256(digests.encode()).hexdigest()[:16],
            licence=licence,
            training_data=description.training_data or card["training_data"],
            order=outputs.order,
            range=outputs.range,
        )
        return cls(network, outputs, info, **settings)

    def to(
        self, device: str, dtype: torch.dtype = torch.float32
    ) -> TransformersTeacher:
        """Move the network to a device, and its backbone to a precision."""
        self.network.to(device)
        self.network.get_submodule(self.network.backbone_name).to(dtype)
        return self

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        """Score signals, see :class:`wav2small.teachers.base.Teacher`.

        A dimension that the model does not give is NaN.

        Raises:
            InputError: if a signal is too short for a frame

        """
        check_lengths(signals, self.network.min_samples)
        scores = np.empty((len(signals), 3), np.float32)
        batches: dict[int, list[int]] = {}
        for row, signal in enumerate(signals):
            batches.setdefault(0 if self.padding else len(signal), []).append(row)
        for rows in batches.values():
            scores[rows] = self._predict([signals[row] for row in rows])
        return scores

    def _predict(self, signals: list[np.ndarray]) -> np.ndarray:
        """Score one batch."""
        lengths = [len(signal) for signal in signals]
        batch = torch.zeros(len(signals), max(lengths))
        for row, signal in zip(batch, signals, strict=True):
            row[: len(signal)] = torch.from_numpy(self._normalize(signal))
        backbone = self.network.get_submodule(self.network.backbone_name)
        weight = next(backbone.parameters())
        valid = None if len(set(lengths)) == 1 else torch.tensor(lengths)
        with torch.inference_mode():
            scores = self.network(
                batch.to(weight.device, weight.dtype),
                None if valid is None else valid.to(weight.device),
            )
        return self.outputs.to_scores(scores.float().cpu().numpy())

    def _normalize(self, signal: np.ndarray) -> np.ndarray:
        """Return the signal as the model was trained on it."""
        signal = np.asarray(signal, np.float32)
        if self.mean is not None and self.deviation is not None:
            return (signal - np.float32(self.mean)) / np.float32(self.deviation + 1e-6)
        if not self.normalize:
            return signal
        # summed in float64, because float32 loses precision over a long signal
        mean = signal.mean(dtype=np.float64)
        variance = signal.var(dtype=np.float64)
        return ((signal - mean) / np.sqrt(variance + 1e-7)).astype(np.float32)


def _build(source: CheckpointFiles, config: dict[str, Any], outputs: int) -> Network:
    """Build the network of a checkpoint, without weights."""
    from .heads import DawnNetwork, OdysseyNetwork

    path = source.find("config.json")
    try:
        with torch.device("meta"):
            if config["model_type"] != "ser":
                kind = config["model_type"]
                if config.get("pooling_mode", "mean") != "mean":
                    raise ValueError(f"pooling_mode is {config['pooling_mode']}")
                backbone, width = _backbone(config)
                return DawnNetwork(kind, backbone, width, outputs)
            backbone, width = _backbone(_backbone_config(source, config))
            layers = int(config["classifier_hidden_layers"])
            check_settings({"classifier_hidden_layers": layers})
            return OdysseyNetwork(backbone, width, layers, outputs)
    except InputError:
        raise
    # the exceptions of transformers have no common base class
    except Exception as error:
        raise InputError(
            f"config.json must describe a model that can be built: {path}: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error


def _backbone(settings: Mapping[str, Any]) -> tuple[torch.nn.Module, int]:
    """Build a backbone, and say how wide its hidden states are."""
    import transformers

    config_name, model_name = FAMILIES[settings["model_type"]]
    build = getattr(transformers, config_name)
    # an unknown setting could make transformers load other code
    known = set(build().to_dict()) - {"dtype", "transformers_version", "architectures"}
    chosen = {k: v for k, v in settings.items() if k in known and v is not None}
    # masks are for training; without them their embedding is not used
    chosen |= {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    if chosen.get("add_adapter"):
        raise ValueError("add_adapter is not supported")
    check_settings(chosen)
    config = build.from_dict(chosen)
    return getattr(transformers, model_name)(config), config.hidden_size


def _backbone_config(
    source: CheckpointFiles, config: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings of the backbone that an Odyssey checkpoint names."""
    name = config["ssl_type"]
    beside = source.folder / _BACKBONE_FILE
    if beside.is_file():
        return read_json(beside)
    if name in BACKBONES:
        return BACKBONES[name]
    try:
        found = CheckpointFiles.open(str(name))
        if found is None:
            raise InputError(f"no such model: {name}")
        return read_json(found.find("config.json"))
    except InputError as error:
        raise InputError(
            f"backbone of the teacher must be {', '.join(BACKBONES)} or in reach, got "
            f"'{name}': put its config.json into the folder as {beside} ({error})"
        ) from error


def _load_weights(network: Network, files: Sequence[Path]) -> None:
    """Read weights into a network, each key into its place."""
    expected = network.state_dict()
    given = {
        key.replace("conv.weight_g", "conv.parametrizations.weight.original0").replace(
            "conv.weight_v", "conv.parametrizations.weight.original1"
        ): value
        for key, value in read_weights(files).items()
        if key != f"{network.backbone_name}.masked_spec_embed"
    }
    problems = {
        "missing": sorted(set(expected) - set(given)),
        "unexpected": sorted(set(given) - set(expected)),
        "of another shape": sorted(
            f"{key} {tuple(given[key].shape)} for {tuple(expected[key].shape)}"
            for key in set(given) & set(expected)
            if given[key].shape != expected[key].shape
        ),
    }
    found = [
        f"{kind}: {', '.join(keys[:6])}"
        + (f" and {len(keys) - 6} more") * (len(keys) > 6)
        for kind, keys in problems.items()
        if keys
    ]
    if found:
        raise InputError(
            f"weights must have the keys that config.json describes, {'; '.join(found)}"
            f": {files[0]}: it is another model, or not the whole one"
        )
    floats = {
        key: value.float() if value.is_floating_point() else value
        for key, value in given.items()
    }
    network.load_state_dict(floats, assign=True)
    network.requires_grad_(False)


def _labels(config: Mapping[str, Any]) -> list[str] | None:
    """Return the output names of ``id2label``, None if there are none."""
    names = config.get("id2label")
    if not isinstance(names, dict) or not all(str(key).isdigit() for key in names):
        return None
    return [str(names[key]) for key in sorted(names, key=int)]


def _dawn_normalisation(settings: Mapping[str, Any], path: Path) -> bool:
    """Return whether each signal gets zero mean and unit variance."""
    normalize = settings.get("do_normalize")
    if not isinstance(normalize, bool):
        raise InputError(f"do_normalize must be true or false, got {normalize}: {path}")
    _check_rate(settings, path)
    return normalize


def _odyssey_normalisation(
    config: Mapping[str, Any], path: Path
) -> tuple[float, float]:
    """Return the mean and the standard deviation that signals are normalised by."""
    values = []
    for key in ("mean", "std"):
        value = config.get(key)
        if not isinstance(value, float | int) or (key == "std" and value <= 0):
            raise InputError(
                f"{key} must be a number that signals are normalised by, got {value}: "
                f"{path}: copy it from the model's card"
            )
        values.append(float(value))
    _check_rate(config, path)
    return values[0], values[1]


def _check_rate(settings: Mapping[str, Any], path: Path) -> None:
    rate = settings.get("sampling_rate", 16000)
    if rate != 16000:
        raise InputError(f"sampling_rate must be 16000, got {rate}: {path}")
