"""Changes by the gradient: their level, their direction, their rows."""

from __future__ import annotations

import numpy as np
import pytest
from waves import NOISE, decibels

from wav2small.models import StudentModel
from wav2small.suite.adversarial import (
    RATIO,
    add_adversarial,
    by_signs,
    gradient_of,
)
from wav2small.suite.rows import SuiteRows
from wav2small.suite.speech import Speech, Tested

STUDENT = "wav2small-rt-mini"


class Linear:
    """Scores that are sums of samples: gradients are known by hand."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def predict(self, signals):
        return np.stack([self.weights @ signal for signal in signals])


def rows_of(model, gradients) -> dict[tuple[str, str], float]:
    signals = [NOISE[:4000] * level for level in (0.5, 1.0, 2.0)]
    scores = model.predict(signals)
    rows = SuiteRows(seed=0, resamples=10)
    speech = Speech(signals, {"teacher": scores})
    tested = Tested(model, speech, {"teacher": scores}, scores)
    add_adversarial(rows, tested, gradients, clips=3, seed=0, progress=lambda *_: None)
    return {(row["name"], row["dimension"]): row["value"] for row in rows.tests}


def test_a_change_is_as_far_below_the_signal_as_it_says():
    changed = by_signs(NOISE, np.sign(np.arange(len(NOISE)) - 100.5))
    assert decibels(NOISE, changed - NOISE) == pytest.approx(RATIO, abs=0.01)


def test_the_gradient_moves_a_linear_score_by_its_whole_step():
    step = np.sqrt(np.mean(NOISE[:4000].astype(float) ** 2)) / 100
    weights = np.zeros((3, 4000))
    # of the quiet, plain and loud clip the last one alone moves by .05 or more
    weights[0] = np.where(np.arange(4000) % 2, 1, -1) * 0.04 / (4000 * step)
    weights[1] = weights[0] / 10
    model = Linear(weights)
    found = rows_of(model, {"itself": lambda signal, axis: model.weights[axis]})
    assert found["FGSM at 40 dB by itself", "arousal"] == pytest.approx(2 / 3, abs=1e-6)
    assert found["FGSM at 40 dB by itself", "dominance"] == 1
    assert found["random signs at 40 dB", "arousal"] == 1
    still = rows_of(model, {"other": lambda signal, axis: np.zeros(4000)})
    assert still["FGSM at 40 dB by other", "arousal"] == 1


@pytest.mark.parametrize("axis", range(3))
def test_a_students_gradient_raises_its_score(axis):
    signal = NOISE[:16000]
    model, gradient = StudentModel(STUDENT), gradient_of(STUDENT)
    before, after = model.predict([signal, by_signs(signal, gradient(signal, axis))])
    assert after[axis] > before[axis]
