"""Prototypes of categories, and the contrast that they are learnt with."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sklearn.neighbors
import torch
from finetune_corpus import clip, corpus, fast, write_mel

from wav2small.errors import InputError
from wav2small.finetune.config import NetworkConfig
from wav2small.finetune.few_shot import Prototypes, embed, episodes, fit, unit
from wav2small.finetune.objective import alike_part
from wav2small.finetune.teacher import FinetunedTeacher
from wav2small.finetune.train import finetune

RNG = np.random.default_rng(0)


def test_the_contrast_is_its_formula() -> None:
    vectors = RNG.normal(size=(7, 5))
    classes = [0, 1, 0, 1, 0, 2, -1]  # one is alone, one is unknown
    known = vectors[:6] / np.linalg.norm(vectors[:6], axis=1, keepdims=True)
    terms = []
    for row in range(5):
        likeness = {
            o: np.exp(known[row] @ known[o] / 0.2) for o in range(6) if o != row
        }
        total = sum(likeness.values())
        partners = [o for o in likeness if classes[o] == classes[row]]
        terms.append(np.mean([np.log(likeness[o] / total) for o in partners]))
    found = alike_part(torch.from_numpy(vectors), torch.tensor(classes), 3.0, 0.2)
    assert float(found) == pytest.approx(-3 * np.mean(terms))


def test_nobody_alike_is_no_loss_and_has_a_gradient() -> None:
    vectors = torch.randn(3, 4, requires_grad=True)
    loss = alike_part(vectors, torch.tensor([0, 1, -1]), 1.0)
    loss.backward()
    assert loss.item() == 0
    assert vectors.grad is not None


def test_the_nearest_prototype_is_that_of_sklearn() -> None:
    embedding, names = RNG.normal(size=(30, 4)), list("abc" * 10)
    prototypes = fit(embedding, names)
    oracle = sklearn.neighbors.NearestCentroid().fit(embedding, names)
    asked = RNG.normal(size=(50, 4))
    shares = prototypes.shares(asked)
    said = np.array(prototypes.names)[shares.argmax(1)]
    np.testing.assert_array_equal(said, oracle.predict(asked))
    np.testing.assert_allclose(shares.sum(1), 1)
    # by squared distance: the odds of two categories are those of it
    apart = ((asked[0] - prototypes.vectors) ** 2).sum(1)
    assert shares[0, 0] / shares[0, 1] == pytest.approx(np.exp(apart[1] - apart[0]))


def test_episodes_tell_what_lies_apart_from_what_does_not() -> None:
    names = [f"c{n % 6}" for n in range(120)]
    centres = unit(RNG.normal(size=(6, 8)))
    apart = centres[[n % 6 for n in range(120)]] + 0.05 * RNG.normal(size=(120, 8))
    options = {"ways": 3, "shots": 2, "count": 60}
    right = episodes(apart, names, rng=np.random.default_rng(0), **options)
    assert right.shape == (60,)
    assert right.mean() > 0.99
    noise = RNG.normal(size=(120, 8))
    chance = episodes(noise, names, rng=np.random.default_rng(0), **options)
    assert chance.mean() == pytest.approx(1 / 3, abs=0.06)
    with pytest.raises(InputError, match="ways must be 2 to 6"):
        episodes(apart, names, rng=RNG, ways=7, shots=2, count=1)
    with pytest.raises(InputError, match="ways must be 2 to 0"):
        episodes(apart, names, rng=RNG, ways=2, shots=16, count=1)


def test_a_teacher_learns_it_and_prototypes_are_kept(tmp_path) -> None:
    table, mel = corpus(tmp_path / "speech"), write_mel(tmp_path / "mel")
    network = NetworkConfig(hidden=16, dropout=0.0, tasks=("alike",))
    config = fast(
        mel, network=network, steps=40, evaluations=1, batch_size=12,
        learning_rate=1e-2, average=0.9,
    )  # fmt: skip
    finetune(table, tmp_path / "run", config)
    teacher = FinetunedTeacher.load(tmp_path / "run", policy="research")
    # anger and sadness of the corpus are noises of another colour
    rng = np.random.default_rng(1)
    signals = [clip(rng, tilt, 4) for tilt in (0.2, 1.8) * 8]
    names = ["bright", "dark"] * 8
    prototypes = fit(embed(teacher, signals[:6]), names[:6], teacher.info.revision)
    file = tmp_path / "prototypes.json"
    prototypes.save(file)
    assert Prototypes.load(file).say(teacher, signals[6:]) == names[6:]
    other = Prototypes(prototypes.names, prototypes.vectors, "another")
    with pytest.raises(InputError, match="prototypes must be of the teacher"):
        other.say(teacher, signals)
    file.write_text(file.read_text().replace("dark", "dork"))
    with pytest.raises(InputError, match="damaged: make them again"):
        Prototypes.load(file)
    finetune(table, tmp_path / "plain", fast(mel, steps=2, evaluations=1))
    plain = FinetunedTeacher.load(tmp_path / "plain", policy="research")
    with pytest.raises(InputError, match="teacher must have learnt what is alike"):
        embed(plain, signals)
    with pytest.raises(InputError, match="categories must be at least two"):
        fit(prototypes.vectors, ["a", "a"])
    assert json.loads(file.read_text())["format"] == "wav2small prototypes 1"
