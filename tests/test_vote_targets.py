"""Scores that are derived from votes: by hand, and by what must hold."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import vote_targets
from vote_targets import DERIVATIONS, EMOTIONS, Votes

from wav2small.finetune.norms import NORMS, norm_score

COUNTS = np.array(
    [
        [9, 0, 0, 0, 0, 0],  # anger
        [0, 0, 0, 0, 9, 0],  # neutral
        [3, 0, 0, 3, 0, 0],  # anger or happiness
        [1, 1, 1, 1, 1, 1],
    ]
)
VOTES = Votes(
    [f"{n}.wav" for n in range(4)],
    np.array(["a", "a", "b", "b"]),
    np.ones(4, bool),
    COUNTS,
    np.where(COUNTS > 0, 0.5, 0.0),
)


@pytest.mark.parametrize("name", DERIVATIONS)
def test_scores_lie_between_the_middle_and_the_norms(name):
    scores = DERIVATIONS[name](VOTES)
    assert scores.shape == (4, 3)
    assert scores.dtype == np.float32
    norms = 0.5 + 0.5 * np.array(list(NORMS.values()))
    assert (scores >= norms.min(0) - 1e-6).all()
    assert (scores <= norms.max(0) + 1e-6).all()
    # who hears anger is on the side of anger's norm
    assert np.sign(scores[0] - 0.5).tolist() == np.sign(NORMS["anger"]).tolist()


def test_derivations_by_hand():
    anger, happiness = np.array(NORMS["anger"]), np.array(NORMS["happiness"])
    mixed = 0.5 + 0.25 * (anger + happiness)
    np.testing.assert_allclose(vote_targets.mean_vote(VOTES)[2], mixed, atol=1e-6)
    np.testing.assert_allclose(
        vote_targets.felt(VOTES)[2], 0.5 + 0.5 * (mixed - 0.5), atol=1e-6
    )
    # all intensities are the same here, so that the usual one is worth the whole norm
    np.testing.assert_allclose(vote_targets.felt_by_word(VOTES)[2], mixed, atol=1e-6)
    np.testing.assert_allclose(
        vote_targets.majority(VOTES)[2], 0.5 + 0.5 * (mixed - 0.5), atol=1e-6
    )
    np.testing.assert_allclose(
        vote_targets.majority(VOTES)[0], norm_score("anger", 1.0), atol=1e-6
    )


def test_a_stronger_vote_moves_further():
    strong = replace(VOTES, intensity=np.where(COUNTS > 0, [[1], [1], [0.5], [0.5]], 0))
    weak, moved = (vote_targets.felt_by_word(v)[0] for v in (VOTES, strong))
    assert np.linalg.norm(moved - 0.5) > np.linalg.norm(weak - 0.5)


def test_a_prior_draws_few_votes_more_than_many():
    many = replace(VOTES, counts=10 * COUNTS)
    few, sure, plain = (
        vote_targets.smoothed(VOTES)[0],
        vote_targets.smoothed(many)[0],
        vote_targets.felt_by_word(VOTES)[0],
    )
    assert np.linalg.norm(sure - plain) < np.linalg.norm(few - plain) / 3


def test_entropy_is_none_when_all_agree_and_one_when_none_do():
    found = vote_targets.entropy(VOTES)
    np.testing.assert_allclose(found, [0, 0, np.log(2) / np.log(6), 1], atol=1e-6)


def test_halves_make_up_the_whole():
    first, second = vote_targets.halves(VOTES, np.random.default_rng(0))
    np.testing.assert_array_equal(first.counts + second.counts, COUNTS)
    np.testing.assert_array_equal(first.counts.sum(1), [4, 4, 3, 3])
    again, _ = vote_targets.halves(VOTES, np.random.default_rng(0))
    np.testing.assert_array_equal(first.counts, again.counts)


def test_a_table_is_read_and_written(tmp_path):
    columns = [f"{k}_{e}" for k in ("votes", "intensity") for e in EMOTIONS]
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "speaker", "split", *columns])
        for n, counts in enumerate(COUNTS):
            felt = [50 if count else "" for count in counts]
            table.writerow([f"{n}.wav", VOTES.speakers[n], "train", *counts, *felt])
    votes = vote_targets.read_votes(tmp_path)
    np.testing.assert_array_equal(votes.counts, COUNTS)
    np.testing.assert_array_equal(votes.intensity, VOTES.intensity)
    assert votes.training.all()
    vote_targets.write(tmp_path / "out.csv", votes)
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["file"] for row in rows] == votes.files
    expected = vote_targets.majority(votes)[2, 2]
    assert float(rows[2]["majority_valence"]) == pytest.approx(expected, abs=1e-4)
    assert float(rows[3]["entropy"]) == pytest.approx(1)
