"""Weights of an ensemble on the simplex."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fusion import fit_weights, write_ensemble
from hypothesis import given, settings
from hypothesis import strategies as st

from wav2small.errors import InputError
from wav2small.metrics import concordance_cc
from wav2small.teachers.loading import load_teacher


def concordance(weights: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> float:
    mean = np.einsum("m,mcd->cd", weights, scores)
    return sum(concordance_cc(truth[:, axis], mean[:, axis]) for axis in range(3))


def make(members: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random((30, 3))
    spread = rng.uniform(0.05, 0.6, (members, 1, 1))
    return truth + spread * rng.normal(size=(members, 30, 3)), truth


@settings(max_examples=3)
@given(st.integers(2, 4), st.integers(0, 100))
def test_no_other_mixture_is_much_better(members, seed) -> None:
    scores, truth = make(members, seed)
    weights = fit_weights(scores, truth, steps=120)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    best = concordance(weights, scores, truth)
    rng = np.random.default_rng(1)
    others = [*np.eye(members), *rng.dirichlet(np.ones(members), 300)]
    assert best >= max(concordance(o, scores, truth) for o in others) - 5e-3


def test_the_one_who_knows_gets_it_all() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((40, 3))
    scores = np.stack([rng.random((40, 3)), truth, rng.random((40, 3))])
    assert fit_weights(scores, truth, steps=100).tolist() == [0, 1, 0]


def test_two_who_err_apart_share() -> None:
    rng = np.random.default_rng(0)
    truth, error = rng.random((40, 3)), 0.3 * rng.normal(size=(40, 3))
    weights = fit_weights(np.stack([truth + error, truth - error]), truth, steps=150)
    np.testing.assert_allclose(weights, 0.5, atol=0.01)


def test_shapes_must_fit() -> None:
    with pytest.raises(InputError, match=r"scores must be \(members, clips, 3\)"):
        fit_weights(np.zeros((2, 4, 3)), np.zeros((5, 3)))


def test_an_ensemble_is_a_teacher(tmp_path: Path) -> None:
    path = write_ensemble(tmp_path / "e", "mine", {"bundled": 0.75, "other": 0.0})
    told = json.loads(path.read_text())
    assert told["members"] == [{"teacher": "bundled", "weight": 0.75}]
    teacher = load_teacher(str(tmp_path / "e"))
    assert teacher.info.name == "mine"
    signal = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    np.testing.assert_allclose(
        teacher.predict([signal]), load_teacher("bundled").predict([signal]), atol=1e-6
    )


def test_members_are_found_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    path = write_ensemble(tmp_path / "e", "mine", {str(tmp_path / "runs" / "a"): 1.0})
    (member,) = json.loads(path.read_text())["members"]
    assert member["teacher"] == "../runs/a"
