"""Evaluation: each reference apart, unknown scores left out."""

from __future__ import annotations

import audmetric
import numpy as np
import pytest

from wav2small.adv import DIMENSIONS
from wav2small.evaluation import agreement, evaluate

RNG = np.random.default_rng(0)
TRUTH = RNG.uniform(size=(50, 3))
PREDICTION = 0.8 * TRUTH + 0.1 + 0.05 * RNG.normal(size=(50, 3))


def test_figures_are_those_of_audmetric():
    result = agreement(TRUTH, PREDICTION)
    for axis, name in enumerate(DIMENSIONS):
        pair = TRUTH[:, axis], PREDICTION[:, axis]
        row = result[name]
        assert row["ccc"] == pytest.approx(audmetric.concordance_cc(*pair), abs=1e-12)
        assert row["pcc"] == pytest.approx(audmetric.pearson_cc(*pair), abs=1e-12)
        assert row["mae"] == pytest.approx(audmetric.mean_absolute_error(*pair))
        low, high = row["ccc_interval"]
        assert low < row["ccc"] < high
    mean = np.mean([result[name]["ccc"] for name in DIMENSIONS])
    assert result["mean"] == pytest.approx(mean)


def test_unknown_scores_are_left_out():
    truth = TRUTH.copy()
    truth[:20, 2] = np.nan
    result = agreement(truth, PREDICTION)
    assert [result[name]["clips"] for name in DIMENSIONS] == [50, 50, 30]
    assert result["valence"]["ccc"] == pytest.approx(
        audmetric.concordance_cc(TRUTH[20:, 2], PREDICTION[20:, 2])
    )


def test_references_are_kept_apart():
    class Level:
        def predict(self, signals):
            return np.array([[np.std(s), np.max(s), np.mean(s)] for s in signals])

    signals = [RNG.normal(size=100) * level for level in RNG.uniform(size=12)]
    own = Level().predict(signals)
    done = []
    result, scores = evaluate(
        Level(),
        signals,
        {"teacher": own, "human": 1 - own},
        progress=lambda *state: done.append(state),
    )
    assert done[-1] == ("evaluate", 12, 12, {})
    np.testing.assert_allclose(scores, own, rtol=1e-6)
    assert result["teacher"]["mean"] == pytest.approx(1, abs=1e-6)
    assert result["human"]["mean"] < 0


def test_the_same_seed_gives_the_same_intervals():
    assert agreement(TRUTH, PREDICTION) == agreement(TRUTH, PREDICTION)
