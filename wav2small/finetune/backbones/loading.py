"""Build, load and save backbones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from wav2small.export.base.errors import from_extra

from ... import checkpoint
from ...errors import InputError
from ...teachers.weights import find_weights
from ...weights import check_count, check_settings, load_weights, to_arrays
from .. import find
from .base import Backbone
from .mel import MEL, MelBackbone, MelConfig
from .self_supervised import SelfSupervised

if TYPE_CHECKING:
    from ...teachers.source import CheckpointFiles

_FORMAT = "wav2small-backbone"


def build_backbone(settings: Mapping[str, Any]) -> Backbone:
    """Build a backbone of its settings, with random weights.

    Args:
        settings: ``model_type`` (mel, wav2vec2, hubert, wavlm)
            and the fields of its configuration

    Raises:
        InputError: if there is no such backbone

    """
    from ...teachers.transformers import FAMILIES

    kind = settings.get("model_type")
    fields = {key: value for key, value in settings.items() if key != "model_type"}
    try:
        check_settings(settings)
        if kind == MEL:
            return MelBackbone(MelConfig(**fields))
        if kind in FAMILIES:
            import transformers

            config_name, model_name = FAMILIES[kind]
            config_class = getattr(transformers, config_name)
            known = set(config_class().to_dict()) - {"dtype", "transformers_version"}
            chosen = {k: v for k, v in fields.items() if k in known and v is not None}
            # every layer must give its states, and masking is done elsewhere
            chosen |= {
                "layerdrop": 0.0,
                "mask_time_prob": 0.0,
                "mask_feature_prob": 0.0,
            }
            config = config_class.from_dict(chosen)
            with torch.device("meta"):  # takes no memory
                check_count(getattr(transformers, model_name)(config))
            return SelfSupervised(
                {"model_type": kind, **chosen, "hidden_size": config.hidden_size},
                getattr(transformers, model_name)(config),
            )
    except InputError:
        raise
    # the exceptions of transformers have no common base class
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
    return _published(name)


def _published(name: str) -> tuple[Backbone, Origin]:
    """Read a model of transformers from a folder or the hub's cache."""
    from ...teachers.source import CheckpointFiles, read_json

    with from_extra():
        import transformers
    from ...teachers.transformers import FAMILIES

    source = CheckpointFiles.open(name)
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
    find_weights(source)
    try:
        model, loaded = getattr(
            transformers, FAMILIES[settings["model_type"]][1]
        ).from_pretrained(
            source.folder,
            config=built.model.config,
            output_loading_info=True,
            local_files_only=True,
            dtype=torch.float32,
        )
    # the exceptions of transformers have no common base class
    except Exception as error:
        raise InputError(
            f"backbone must have weights that can be read: {source.folder}: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    lost = set(loaded["missing_keys"]) - {"masked_spec_embed"}
    if lost or loaded["mismatched_keys"]:
        wrong = sorted([*lost, *map(str, loaded["mismatched_keys"])])
        raise InputError(
            f"backbone must have all its weights, got none for {', '.join(wrong[:6])}: "
            f"{source.folder}"
        )
    return SelfSupervised(built.settings, model), _origin(source)


def _tuned(folder: Path) -> tuple[Backbone, Origin]:
    """Read the backbone of a fine-tuned teacher."""
    from ...teachers.licence import most_restrictive
    from ..parts.adapters import add_adapters

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
    info = config["info"]
    licences = [info["licence"], *filter(None, [info["backbone_licence"]])]
    return backbone, Origin(
        info["name"], most_restrictive(licences), info["training_data"]
    )


def _origin(source: CheckpointFiles) -> Origin:
    """Read licence and training data of a folder's card or ``teacher.json``."""
    from ...teachers.description import FILE, Description
    from ...teachers.licence import UNKNOWN, canonical

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
