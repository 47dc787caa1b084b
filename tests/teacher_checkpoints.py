"""Small checkpoints with the keys, settings and files of the published ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LARGE_FORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
DAWN_FORM = {**LARGE_FORM, "conv_bias": True}
"""As config.json of audeering's published model has it."""

FULL_WIDTH = {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "conv_dim": [512] * 7,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
}
"""Of both published models, in place of :data:`SMALL`."""

BASE_FORM = {"feat_extract_norm": "group", "do_stable_layer_norm": False}

FAMILIES = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM"}
"""Families and what transformers calls their classes."""

ADV = ("arousal", "dominance", "valence")
RNG = np.random.default_rng(3)
LENGTHS = (400, 401, 1201, 8191, 16000, 16000, 30001)


def sound(length: int) -> np.ndarray:
    """Coloured noise that comes and goes over a tone, with an offset."""
    time = np.arange(length) / 16000
    noise = np.fft.rfft(RNG.normal(size=length))
    noise /= np.arange(1, len(noise) + 1) ** RNG.uniform(0, 1.5)
    noise = np.fft.irfft(noise, length)
    noise *= 1 + np.sin(2 * np.pi * RNG.uniform(1, 8) * time)
    tone = np.sin(2 * np.pi * RNG.uniform(80, 3000) * time)
    signal = noise / np.abs(noise).max() + RNG.uniform(0, 1) * tone
    return (RNG.uniform(0.02, 0.4) * signal + RNG.uniform(-0.1, 0.1)).astype(np.float32)


SIGNALS = [sound(length) for length in LENGTHS]


def write(
    folder: Path,
    config: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
    *,
    old_names: bool = True,
    card: str | None = "license: mit",
    **files: Mapping[str, Any],
) -> Path:
    """Write a checkpoint as the hub has it; ``files`` are JSON by stem."""
    folder.mkdir(parents=True, exist_ok=True)
    if old_names:
        new = "conv.parametrizations.weight.original"
        weights = {
            k.replace(f"{new}0", "conv.weight_g").replace(f"{new}1", "conv.weight_v"): v
            for k, v in weights.items()
        }
    whole = {key: value.contiguous() for key, value in weights.items()}
    safetensors.torch.save_file(whole, folder / "model.safetensors")
    for stem, content in {"config": config, **files}.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    if card is not None:
        (folder / "README.md").write_text(f"---\n{card}\n---\n\n# A model\n")
    return folder


def backbone(family: str, form: Mapping[str, Any]) -> torch.nn.Module:
    """Backbone with random weights, the same in every run."""
    import transformers  # here: it takes seconds, and every worker collects this file

    config_class, model_class = (
        getattr(transformers, FAMILIES[family] + kind) for kind in ("Config", "Model")
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = model_class(config_class(**{**SMALL, **form}))
        # unlike a fresh model's, each weight matters and shows in the scores
        with torch.no_grad():
            for name, value in model.named_parameters():
                if name.endswith("weight") and value.ndim == 1:
                    value.normal_(1, 0.2)
                elif value.ndim > 1 and "original0" not in name:
                    value.normal_(0, 1.5 / value[0].numel() ** 0.5)
                else:
                    value.normal_(0, 0.2)
    return model.eval()


def dawn(
    family: str = "wav2vec2",
    form: Mapping[str, Any] = LARGE_FORM,
    labels: tuple[str, ...] = ADV,
) -> tuple[dict[str, Any], dict[str, torch.Tensor], torch.nn.Module]:
    """Settings, weights and backbone of a model as audeering publish them."""
    model = backbone(family, form)
    width = form.get("hidden_size", 32)
    generator = torch.Generator().manual_seed(2)
    weights = {f"{family}.{key}": value for key, value in model.state_dict().items()}
    for name, rows in (("dense", width), ("out_proj", len(labels))):
        # scores lie around .5 and leave 0..1, but not by much, as published ones do
        size = 0.5 if name == "out_proj" else 1
        weights[f"classifier.{name}.weight"] = (
            size
            * 0.3
            * torch.randn(rows, width, generator=generator)
            * (32 / width) ** 0.5
        )
        bias = size * torch.randn(rows, generator=generator)
        weights[f"classifier.{name}.bias"] = bias + 0.5 * (name == "out_proj")
    config = {
        "_name_or_path": "torch",
        "activation_dropout": 0.1,
        "adapter_attn_dim": None,
        "add_adapter": False,
        "apply_spec_augment": True,
        "architectures": ["Wav2Vec2ForSpeechClassification"],
        "conv_bias": False,
        "finetuning_task": "wav2vec2_reg",
        "final_dropout": 0.1,
        "gradient_checkpointing": False,
        "hidden_dropout_prob": 0.1,
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        "layerdrop": 0.1,
        "mask_time_prob": 0.05,
        "model_type": family,
        "num_feat_extract_layers": 7,
        "pooling_mode": "mean",
        "problem_type": "regression",
        "torch_dtype": "float32",
        "transformers_version": "4.17.0.dev0",
        "vocab_size": None,
        **SMALL,
        **form,
    }
    return config, weights, model


DAWN_PREPROCESSOR = {
    "do_normalize": True,
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": True,
    "sampling_rate": 16000,
}


def odyssey(
    labels: tuple[str, ...] = ADV,
    family: str = "wavlm",
    form: Mapping[str, Any] = LARGE_FORM,
    layers: int = 1,
) -> tuple[dict[str, Any], dict[str, torch.Tensor], torch.nn.Module]:
    """Settings, weights and backbone of a model as 3loi publish them."""
    model = backbone(family, form)
    width = form.get("hidden_size", 32)
    generator = torch.Generator().manual_seed(4)

    def draw(*shape: int) -> torch.Tensor:
        scale = 0.3 * (32 / width) ** (len(shape) / 2 - 0.5)
        return scale * torch.randn(shape, generator=generator)

    weights = {f"ssl_model.{key}": value for key, value in model.state_dict().items()}
    weights |= {
        "pool_model.attention": draw(width, 1) * 4,
        "pool_model.sap_linear.weight": draw(width, width),
        "pool_model.sap_linear.bias": draw(width),
        "ser_model.out.0.weight": 0.3 * draw(len(labels), width),
        "ser_model.out.0.bias": 0.5 + 0.3 * draw(len(labels)),
    }
    for layer in range(layers):
        weights |= {
            f"ser_model.fc.{layer}.0.weight": draw(
                width, width if layer else 2 * width
            ),
            f"ser_model.fc.{layer}.0.bias": draw(width),
            f"ser_model.fc.{layer}.1.weight": draw(width) + 1,
            f"ser_model.fc.{layer}.1.bias": draw(width),
        }
    config = {
        "architectures": ["SERModel"],
        "auto_map": {
            "AutoConfig": "pipeline_utils.SERConfig",
            "AutoModelForAudioClassification": "pipeline_utils.SERModel",
        },
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "maxlen": 192000,
        "mean": -8.278621631819787e-05,
        "sampling_rate": 16000,
        "std": 0.08485510250851999,
        "classifier_dropout_prob": 0.5,
        "classifier_hidden_layers": layers,
        "hidden_size": width,
        "model_type": "ser",
        "num_attention_heads": form.get("num_attention_heads", 4),
        "num_classes": len(labels),
        "num_hidden_layers": form.get("num_hidden_layers", 2),
        "ssl_type": "microsoft/wavlm-large",
        "torch_dtype": "float32",
        "transformers_version": "4.34.0.dev0",
    }
    return config, weights, model


ODYSSEY_PREPROCESSOR = {"mean": 10}
"""What the published folder really has: not what signals are normalised by."""


def odyssey_backbone(family: str, form: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that take the place of those of ``ssl_type``."""
    return {"model_type": family, **SMALL, **form}


def write_dawn(folder: Path, **options: Any) -> Path:
    """Write a small model of audeering's form."""
    config, weights, _ = dawn(
        **{k: options.pop(k) for k in ("family", "form", "labels") if k in options}
    )
    options.setdefault("preprocessor_config", DAWN_PREPROCESSOR)
    return write(folder, config, weights, **options)


def write_odyssey(folder: Path, labels: tuple[str, ...] = ADV, **options: Any) -> Path:
    """Write a small model of 3loi's form."""
    config, weights, _ = odyssey(labels)
    return write(
        folder,
        config,
        weights,
        preprocessor_config=ODYSSEY_PREPROCESSOR,
        backbone=odyssey_backbone("wavlm", LARGE_FORM),
        **options,
    )


def dawn_scores(
    weights: Mapping[str, torch.Tensor], model: torch.nn.Module, signal: np.ndarray
) -> np.ndarray:
    """Score one signal by the formula of the head, in NumPy."""
    x = signal.astype(np.float64)
    hidden = _hidden(model, (x - x.mean()) / np.sqrt(x.var() + 1e-7))
    array = _arrays(weights, "classifier.")
    h = np.tanh(
        array["classifier.dense.weight"] @ hidden.mean(0)
        + array["classifier.dense.bias"]
    )
    return array["classifier.out_proj.weight"] @ h + array["classifier.out_proj.bias"]


def odyssey_scores(
    weights: Mapping[str, torch.Tensor],
    model: torch.nn.Module,
    signal: np.ndarray,
    layers: int = 1,
) -> np.ndarray:
    """Score one signal by the formulas of pooling and head, in NumPy."""
    x = (signal.astype(np.float64) + 8.278621631819787e-05) / (
        0.08485510250851999 + 1e-6
    )
    hidden = _hidden(model, x)
    array = _arrays(weights, "pool_model.", "ser_model.")
    score = (
        np.tanh(
            hidden @ array["pool_model.sap_linear.weight"].T
            + array["pool_model.sap_linear.bias"]
        )
        @ array["pool_model.attention"][:, 0]
    )
    weight = np.exp(score - score.max())
    weight /= weight.sum()
    mean = weight @ hidden
    deviation = np.sqrt(np.maximum(weight @ hidden**2 - mean**2, 1e-5))
    h = np.concatenate([mean, deviation])
    for layer in range(layers):
        name = f"ser_model.fc.{layer}"
        h = array[f"{name}.0.weight"] @ h + array[f"{name}.0.bias"]
        h = (h - h.mean()) / np.sqrt(h.var() + 1e-5)
        h = np.maximum(h * array[f"{name}.1.weight"] + array[f"{name}.1.bias"], 0)
    return array["ser_model.out.0.weight"] @ h + array["ser_model.out.0.bias"]


def _arrays(weights: Mapping[str, torch.Tensor], *parts: str) -> dict[str, np.ndarray]:
    chosen = {key: value for key, value in weights.items() if key.startswith(parts)}
    return {key: value.double().numpy() for key, value in chosen.items()}


def _hidden(model: torch.nn.Module, signal: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        states = model(torch.from_numpy(signal.astype(np.float32))[None])
    return states.last_hidden_state[0].double().numpy()
