"""Changes by the gradient: their level, their direction, their rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from waves import NOISE, decibels

from wav2small.models import StudentModel
from wav2small.suite.adversarial import (
    RATIO,
    add_adversarial,
    attacks_of,
    by_projection,
    by_signs,
    gradient_of,
)
from wav2small.suite.rows import SuiteRows
from wav2small.suite.sparse import SHARE, SparseGenerator, train_generator
from wav2small.suite.speech import Speech, Tested

STUDENT = "wav2small-rt-mini"


class Linear:
    """Scores that are sums of samples: gradients are known by hand."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def predict(self, signals):
        return np.stack([self.weights @ signal for signal in signals])


def attacked(model, attacks) -> list[dict]:
    signals = [NOISE[:4000] * level for level in (0.5, 1.0, 2.0)]
    scores = model.predict(signals)
    rows = SuiteRows(seed=0, resamples=10)
    speech = Speech(signals, {"teacher": scores})
    tested = Tested(model, speech, {"teacher": scores}, scores)
    add_adversarial(rows, tested, attacks, clips=3, seed=0, progress=lambda *_: None)
    return rows.tests


def rows_of(model, attacks) -> dict[tuple[str, str], float]:
    tests = attacked(model, attacks)
    return {(row["name"], row["dimension"]): row["value"] for row in tests}


def test_an_attack_may_move_four_scores_of_ten_and_chance_one_of_twenty():
    weights = np.zeros((3, 4000))
    tests = attacked(Linear(weights), {"itself": by_gradient(weights)})
    limits = {(row["name"], row["sense"], row["threshold"]) for row in tests}
    assert limits == {("random signs at 40 dB", ">=", 0.95), ("itself", ">=", 0.6)}


def test_a_change_is_as_far_below_the_signal_as_it_says():
    changed = by_signs(NOISE, np.sign(np.arange(len(NOISE)) - 100.5))
    assert decibels(NOISE, changed - NOISE) == pytest.approx(RATIO, abs=0.01)


def by_gradient(weights: np.ndarray):
    return lambda signal, axis: by_signs(signal, weights[axis])


def test_the_gradient_moves_a_linear_score_by_its_whole_step():
    step = np.sqrt(np.mean(NOISE[:4000].astype(float) ** 2)) / 100
    weights = np.zeros((3, 4000))
    # of the quiet, plain and loud clip the last one alone moves by .05 or more
    weights[0] = np.where(np.arange(4000) % 2, 1, -1) * 0.04 / (4000 * step)
    weights[1] = weights[0] / 10
    model = Linear(weights)
    found = rows_of(model, {"itself": by_gradient(weights)})
    assert found["itself", "arousal"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["itself", "dominance"] == 1
    assert found["random signs at 40 dB", "arousal"] == 1
    still = rows_of(model, {"other": by_gradient(np.zeros((3, 4000)))})
    assert still["other", "arousal"] == 1


def test_projection_ends_at_the_corner_of_what_is_allowed():
    # of a linear score the best change is that of the signs, reached in two steps
    weights = np.random.default_rng(0).normal(size=(3, len(NOISE)))
    changed = by_projection(NOISE, 1, lambda signal, axis: weights[axis])
    np.testing.assert_allclose(changed, by_signs(NOISE, weights[1]), atol=1e-6)
    # where the gradient turns, it follows: this score is highest at a small change
    best = NOISE + 0.3 * np.sqrt(np.mean(NOISE**2)) * 0.01
    near = by_projection(NOISE, 0, lambda signal, axis: best - signal, steps=50)
    apart = np.abs(near - best).max() / np.abs(best - NOISE).max()
    assert apart < 0.2


def test_a_generator_changes_few_samples_by_the_power_it_says():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        generator = SparseGenerator(40.0)
    for samples in (16000, 4003):
        signal = torch.from_numpy(NOISE[:samples].astype(np.float32))[None]
        with torch.no_grad():
            change = generator(signal)
        assert change.shape == signal.shape
        assert (change != 0).float().mean().item() == pytest.approx(SHARE, abs=1e-3)
        ratio = 10 * torch.log10(signal.square().mean() / change.square().mean())
        assert ratio.item() == pytest.approx(40, abs=0.01)


def test_a_generator_learns_where_a_score_listens():
    class Every(torch.nn.Module):
        """Listens to every tenth sample, and not to the others."""

        def forward(self, signal):
            return signal[:, ::10].mean(1, keepdim=True).expand(-1, 3)

    generator = train_generator(Every(), [NOISE[:16000]], 20.0, seed=0, steps=60)
    signal = torch.from_numpy(NOISE[:16000].astype(np.float32))[None]
    with torch.no_grad():
        change = generator(signal)[0]
    # random places would change it by nothing, signs at every sample by a third
    power = float(change.square().mean())
    raised = float(change[::10].mean()) / power**0.5
    assert raised > 0.2


@pytest.mark.parametrize("axis", range(3))
def test_a_students_gradient_raises_its_score(axis):
    signal = NOISE[:16000]
    model, gradient = StudentModel(STUDENT), gradient_of(STUDENT)
    before, once, often = model.predict(
        [
            signal,
            by_signs(signal, gradient(signal, axis)),
            by_projection(signal, axis, gradient),
        ]
    )
    assert often[axis] >= once[axis] - 0.005
    assert once[axis] > before[axis]


def test_a_student_is_attacked_in_three_ways():
    signal = NOISE[:16000]
    attacks = attacks_of(STUDENT, [signal])
    assert list(attacks) == [
        f"{how} at 40 dB by {STUDENT}" for how in ("FGSM", "PGD", "sparse generator")
    ]
    for attack in attacks.values():
        assert decibels(signal, attack(signal, 0) - signal) >= 39.9
