"""A network of audio alone learns from teachers of prosody and of text."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from finetune_corpus import corpus, fast, write_mel
from torch.distributions import Bernoulli, kl_divergence

from wav2small import checkpoint
from wav2small.errors import InputError
from wav2small.finetune.config import NetworkConfig
from wav2small.finetune.parts.knowers import divergence, learn, taught_parts
from wav2small.finetune.parts.text import WordHashes
from wav2small.finetune.teacher import FinetunedTeacher
from wav2small.finetune.train import finetune
from wav2small.metrics import concordance_cc

GENERATOR = torch.Generator().manual_seed(0)
OURS, THEIRS = torch.rand(2, 6, 3, generator=GENERATOR).double()


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_scores_diverge_as_softened_odds_do(temperature) -> None:
    odds = [Bernoulli(logits=(x - 0.5) * 8 / temperature) for x in (THEIRS, OURS)]
    expected = temperature**2 * kl_divergence(*odds).mean()
    torch.testing.assert_close(divergence(OURS, THEIRS, temperature), expected)
    assert divergence(OURS, OURS, temperature).abs() < 1e-12


def test_a_high_temperature_is_a_squared_distance() -> None:
    # half the squared distance of the logits times the variance of a fair coin
    expected = (8**2 / 8) * (OURS - THEIRS).square().mean()
    torch.testing.assert_close(
        divergence(OURS, THEIRS, 1000.0), expected, rtol=1e-3, atol=0
    )


def test_both_terms_are_means_over_the_teachers() -> None:
    towards = {f"toward {name}": torch.randn(6, 64) for name in ("text", "prosody")}
    seen = {f"{name} embedding": torch.randn(6, 64) for name in ("text", "prosody")}
    batch = {**seen, "text scores": THEIRS, "prosody scores": OURS}
    parts = taught_parts(
        {"scores": OURS, **towards}, batch, ("text", "prosody"), 2.0, (3.0, 5.0)
    )
    # one teacher says the same as the network
    expected = 3 * divergence(OURS, THEIRS, 2.0) / 2
    torch.testing.assert_close(parts["taught_scores"], expected)
    likeness = [
        np.mean(
            [
                a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                for a, b in zip(
                    towards[f"toward {name}"].numpy(),
                    seen[f"{name} embedding"].numpy(),
                    strict=True,
                )
            ]
        )
        for name in ("text", "prosody")
    ]
    expected_embedding = 5 * (1 - np.mean(likeness))
    assert float(parts["taught_embedding"]) == pytest.approx(
        expected_embedding, rel=1e-4
    )


def test_a_teacher_of_words_knows_what_words_tell() -> None:
    texts = ["lovely", "awful", "plain"] * 12
    truth = np.array([[0.9, 0.5, 0.8], [0.8, 0.4, 0.2], [0.3, 0.5, 0.5]] * 12)
    evidence = WordHashes()(texts)
    evidence[-1] = np.nan  # no text is known
    known = learn(evidence, truth, np.arange(30), seed=0)
    assert concordance_cc(truth[30:35, 2], known.scores[30:35, 2]) > 0.8
    assert np.isfinite(known.scores).all()
    assert known.embedding.shape == (36, 64)
    again = learn(evidence, truth, np.arange(30), seed=0)
    np.testing.assert_array_equal(again.scores, known.scores)


def test_what_text_teaches_does_not_read_it(tmp_path) -> None:
    table, mel = corpus(tmp_path / "speech"), write_mel(tmp_path / "mel")
    network = NetworkConfig(hidden=16, taught_by=("prosody", "text"))
    weights = {}
    for name, ours in (("taught", (1.0, 1.0)), ("not", (0.0, 0.0))):
        config = fast(mel, network=network, steps=3, evaluations=1, taught_weights=ours)
        finetune(table, tmp_path / name, config, text=WordHashes())
        weights[name], saved = checkpoint.load(tmp_path / name / "best")
    assert saved["network"]["text_width"] == 0
    # what the teachers add reaches every weight behind the log-mel
    for key in ("dense.weight", "scores.weight", "toward.text.weight"):
        assert not np.array_equal(weights["taught"][key], weights["not"][key]), key
    teacher = FinetunedTeacher.load(tmp_path / "taught", policy="research")
    assert teacher.uses_metadata == ()
    with pytest.raises(InputError, match="text must be given to be taught by it"):
        finetune(table, tmp_path / "mute", fast(mel, network=network))
