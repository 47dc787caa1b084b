"""The search of students: what it proposes, what it keeps, and what it found."""

from __future__ import annotations

import json

import numpy as np
import pytest
import search_students as search

from wav2small.students import STUDENTS


def entry(instructions, ccc, **genes):
    return {"instructions": instructions, "ccc": ccc, "genes": genes}


def test_the_front_is_what_nothing_beats():
    dear, cheap = entry(3, 0.9), entry(1, 0.5)
    beaten, unheard = entry(2, 0.4), entry(0.5, None)
    same_cost = entry(1, 0.3)
    found = search.front([dear, beaten, same_cost, unheard, cheap], "instructions")
    assert found == [cheap, dear]


def test_the_same_candidates_lead_to_the_same_next_one():
    first = search.propose([], 3)
    assert first == search.propose([], 3) != search.propose([], 4)
    kept = json.loads(json.dumps({"genes": first, "ccc": 0.5, "instructions": 1}))
    # what was read from a file counts as what was there before it
    seconds = [search.propose([kept], seed) for seed in range(40)]
    assert seconds == [search.propose([kept], seed) for seed in range(40)]
    assert first not in seconds
    changed = [sum(one[n] != first[n] for n in one) for one in seconds]
    # half of them are the best with one or two settings changed
    assert 10 <= sum(count <= 2 for count in changed) <= 30


def test_settings_are_those_of_the_network():
    genes = search.draw(np.random.default_rng(0))
    config = search.settings(genes)
    rows = genes["past_seconds"] * 16000 / genes["hop_length"]
    assert config["past_frames"] == round(rows)
    assert set(config) == {*search.SPACE, "window_length", "past_frames"} - {
        "past_seconds"
    }


@pytest.mark.slow
@pytest.mark.emulator
def test_the_least_student_keeps_its_budget():
    pytest.importorskip("unicorn", reason="no unicorn: nothing is emulated")
    pytest.importorskip("ziglang", reason="no ziglang: nothing is compiled for Arm")
    found = search.measure(dict(STUDENTS["wav2small-rt-nano"].settings), {})
    assert found["instructions"] <= 2e6
    assert found["ram"] <= 4096
    assert found["flash"] <= 32768
