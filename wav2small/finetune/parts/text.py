"""Embeddings of what is said, by an encoder that the user names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ...errors import InputError


def sentence_encoder(name: str) -> Callable[[list[str]], np.ndarray]:
    """Load an encoder of sentences: the mean of a text model's last hidden states.

    Args:
        name: folder of a model of transformers with its tokenizer,
            or ``owner/name`` on the hub

    Returns:
        function of texts that gives ``(texts, width)``, float32, of unit length

    Raises:
        InputError: if it cannot be loaded

    """
    try:
        from transformers import AutoModel, AutoTokenizer
    except ModuleNotFoundError as error:
        raise InputError(
            f"package {error.name} is missing: pip install 'wav2small[teachers]'"
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        model, told = AutoModel.from_pretrained(
            name, trust_remote_code=False, output_loading_info=True
        )
    # it fails with exceptions that share no base class
    except Exception as error:
        raise InputError(
            "text encoder must be a folder or owner/name of transformers, got "
            f"'{name}': {' '.join(str(error).split())[:160]}"
        ) from error
    lost = sorted(key for key in told["missing_keys"] if "pooler" not in key)
    if lost:
        raise InputError(
            f"text encoder must have all its weights, got none for {lost[0]}: {name}"
        )
    model.eval()

    def encode(texts: list[str]) -> np.ndarray:
        rows = []
        with torch.inference_mode():
            for begin in range(0, len(texts), 32):
                batch = tokenizer(
                    texts[begin : begin + 32],
                    padding=True,
                    truncation=True,
                    return_tensors="pt",
                )
                hidden = model(**batch).last_hidden_state
                kept = batch["attention_mask"][:, :, None]
                mean = (hidden * kept).sum(1) / kept.sum(1)
                rows.append(torch.nn.functional.normalize(mean, dim=1).float().numpy())
        return np.concatenate(rows)

    return encode
