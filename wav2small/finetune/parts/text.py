"""Embeddings of what is said, by an encoder that the user names."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

import numpy as np
import torch

from wav2small.export.base.errors import from_extra

from ...errors import InputError

WORDS = "words"
"""Name of the encoder that needs no weights of others."""


class WordHashes:
    """Sentences as the words that are in them, whatever their order.

    Each word has a place and a sign that a hash gives it, so nothing is learned and
    nothing is fetched. It knows no word from its synonym:
    what shall be heard of a word must be said of it in the training.

    References:
        Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning",
        arXiv 0902.2206.

    """

    name = WORDS

    width = 512
    """Width of the vectors."""

    sha256 = hashlib.sha256(f"{WORDS} 1 {width}".encode()).hexdigest()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Encode sentences.

        Returns:
            ``(texts, width)``, float32, of unit length, 0 of a text without words

        """
        vectors = np.zeros((len(texts), self.width), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in re.findall(r"\w+", text.casefold()):
                digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
                number = int.from_bytes(digest, "little")
                vector[number // 2 % self.width] += 1 - 2 * (number % 2)
            vector /= max(float(np.linalg.norm(vector)), 1e-9)
        return vectors


def load_encoder(name: str) -> SentenceEncoder | WordHashes:
    """Load an encoder of sentences.

    Args:
        name: ``words``, or as of :class:`SentenceEncoder`

    Raises:
        InputError: if it cannot be loaded

    """
    return WordHashes() if name == WORDS else SentenceEncoder(name)


class SentenceEncoder:
    """Sentences as vectors: the mean of a text model's last hidden states.

    Args:
        name: folder of a model of transformers with its tokenizer,
            or ``owner/name`` on the hub

    Raises:
        InputError: if it cannot be loaded

    """

    def __init__(self, name: str) -> None:
        with from_extra():
            from transformers import AutoModel, AutoTokenizer
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
            model, loaded = AutoModel.from_pretrained(
                name, trust_remote_code=False, output_loading_info=True
            )
        # the exceptions of transformers have no common base class
        except Exception as error:
            raise InputError(
                "text encoder must be a folder or owner/name of transformers, got "
                f"'{name}': {' '.join(str(error).split())[:160]}"
            ) from error
        lost = sorted(key for key in loaded["missing_keys"] if "pooler" not in key)
        if lost:
            raise InputError(
                "text encoder must have all its weights, got none for "
                f"{lost[0]}: {name}"
            )
        self.name = name
        self._tokenizer, self._model = tokenizer, model.eval()

    @property
    def sha256(self) -> str:
        """SHA-256 of words and weights: whether this is the encoder of a training."""
        digest = hashlib.sha256(
            json.dumps(sorted(self._tokenizer.get_vocab().items())).encode()
        )
        for key, value in sorted(self._model.state_dict().items()):
            if "pooler" not in key:  # made at random where a file has none
                digest.update(key.encode() + value.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Encode sentences.

        Returns:
            ``(texts, width)``, float32, of unit length

        """
        rows = []
        with torch.inference_mode():
            for begin in range(0, len(texts), 32):
                batch = self._tokenizer(
                    list(texts[begin : begin + 32]),
                    padding=True,
                    truncation=True,
                    return_tensors="pt",
                )
                hidden = self._model(**batch).last_hidden_state
                valid = batch["attention_mask"][:, :, None]
                mean = (hidden * valid).sum(1) / valid.sum(1)
                rows.append(torch.nn.functional.normalize(mean, dim=1).float().numpy())
        return np.concatenate(rows)
