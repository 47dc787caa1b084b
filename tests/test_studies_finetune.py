"""The study's own parts, and that its rows can be."""

from __future__ import annotations

import json
from pathlib import Path

import finetune_study as study
import numpy as np
import pytest

from wav2small.finetune.backbones import build_backbone
from wav2small.finetune.config import NetworkConfig
from wav2small.finetune.network import FinetuneNetwork
from wav2small.finetune.norms import norm_score

FIGURE = {name: [0.5, 0.4, 0.6] for name in ("arousal", "dominance", "valence")}


@pytest.mark.parametrize("row", study.ROWS, ids=lambda row: row.name)
def test_rows_are_configurations_of_their_own(row, tmp_path) -> None:
    whole = study.Study(None, [], np.zeros(0), "x/mel-9", tmp_path, 9)  # type: ignore[arg-type]
    config = whole.config(row, 0)
    names = ("anger", "fear") if config.network.tasks else ()
    network = NetworkConfig(**{**row.network, "categories": names})
    FinetuneNetwork(network, build_backbone(study.BACKBONES["mel"]))
    same = [
        other
        for other in study.ROWS
        if (other.network, other.training, other.text)
        == (row.network, row.training, row.text)
    ]
    assert same == [row]


def test_sentences_are_named() -> None:
    found = study.one_hot(["a01", "b10", "", "a01"])
    assert found.shape == (4, 20)
    assert found.sum(1).tolist() == [1, 1, 0, 1]
    assert (found[0] == found[3]).all()
    assert (found[0] != found[1]).any()


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        study.keep(tmp_path / "new" / "x.json", lambda: made.append(1) or {"a": 1})
    assert made == [1]
    assert json.loads((tmp_path / "new" / "x.json").read_text()) == {"a": 1}


def test_the_report_says_all(tmp_path: Path) -> None:
    rows = [
        {"name": "plain", "ccc": FIGURE, "trainable": 12345, "seconds": 7,
         "change": [0, 0, 0], "beyond": [-0.1, -0.2, 0.01]},
        {"name": "gender", "ccc": FIGURE, "change": [0.1, -0.02, 0.2],
         "beyond": [0.0, -0.1, 0.1], "ccc, not told": FIGURE, "trainable": 1,
         "seconds": 7, "exits": [
             {"tolerance": 0.1, "share": 0.5, "compute": 0.8, "mean": 0.3}]},
    ]  # fmt: skip
    other = {name: [0.7, 0.6, 0.8] for name in FIGURE}
    few = study.over_draws(
        [{"labels": 12, "way": "select", "ccc": ccc} for ccc in (FIGURE, other)]
    )
    text = study.report(
        rows,
        few,
        {"made up": {"maps": 20, "ccc": FIGURE}},
        {"ccc": FIGURE, "change": [0.1, -0.02, 0.2], "beyond": [0.1, 0.05, 0.2]},
    )
    study.draw(rows, few, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 5000
    three = " | ".join(["0.500 [0.40, 0.60]"] * 3)
    for line in (
        f"| plain | {three} |  | -0.100 [-0.20, +0.01] | 12,345 | 7 |",
        f"| gender | {three} | +0.100 [-0.02, +0.20] | +0.000 [-0.10, +0.10] | 1 | 7 |",
        "| 0.1 | 50% | 80% | 0.300 |",
        "| 12 | select | 0.600 | 0.600 | 0.600 | 0.500, 0.700 |",
        f"| made up | 20 | {three} |",
    ):
        assert line in text
    assert "gender, not told in use" in text


def test_a_change_has_its_sign_and_interval() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 1, (200, 3))
    good, bad = (truth + rng.normal(0, sigma, truth.shape) for sigma in (0.1, 0.4))
    value, low, high = study.change(truth, good, bad)
    assert 0.1 < low < value < high
    assert study.change(truth, good, good) == [0, 0, 0]
    assert 0 < study.change(truth, good, good, bad)[0] < value


def test_emodb_is_drawn_towards_neutral(data: Path) -> None:
    table = study.read_emodb(data)
    assert len(table.truth) == 535
    assert table.rated.all()
    emotions = table.labels.metadata["emotion"]
    item = emotions.index("anger")
    whole = norm_score("anger")
    assert 0.5 < table.truth[item, 0] <= whole[0]
    few = study._only(table, np.arange(0, 535, 50))
    assert few.labels.names == table.labels.names[::50]
