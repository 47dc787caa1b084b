"""The report as text and as a page: all figures, no code of others, no dates."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from wav2small.suite import Outcome
from wav2small.suite.report import summary, to_html, to_text


def row(dimension: str, passed: bool | None, **changes):
    return {
        "group": "robustness: noise",
        "name": "rain <b>at</b> 20 dB",
        "figure": "share unchanged",
        "dimension": dimension,
        "value": 0.5,
        "interval": [0.25, 0.75],
        "sense": None if passed is None else ">=",
        "threshold": None if passed is None else 0.9,
        "passed": passed,
        "clips": 7,
        **changes,
    }


RNG = np.random.default_rng(0)
REPORT = {
    "schema_version": 1,
    "about": {"model": "<script>alert(1)</script>", "split": "test"},
    "settings": {
        "clips": 20,
        "robustness_clips": 7,
        "seed": 0,
        "unchanged_below": 0.05,
        "strong_at": [0.3, 0.7],
        "reference": "human",
    },
    "summary": {"passed": 2, "failed": 2, "skipped": 1},
    "tests": [
        row("arousal", True, value=0.95),
        row("dominance", False),
        row("valence", False, value=None, interval=None),
        row("arousal", None, group="fairness", figure="difference of CCC"),
        row("valence", True, group="fairness", figure="difference of CCC"),
    ],
    "skipped": [{"group": "fairness", "name": "accent", "reason": "not <known>"}],
}
HUMAN = RNG.uniform(size=(20, 3))
HUMAN[:5, 1] = np.nan
OUTCOME = Outcome(
    REPORT,
    {"teacher": RNG.uniform(size=(20, 3)), "human": HUMAN},
    RNG.uniform(-0.2, 1.2, size=(20, 3)),
)


class Page(HTMLParser):
    """Elements of a page; fails where one is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


@pytest.fixture(scope="module")
def text():
    return to_html(OUTCOME)


def test_groups_are_counted():
    assert summary(REPORT) == [("robustness: noise", 1, 2, 0), ("fairness", 1, 0, 1)]


def test_text_names_what_failed_and_what_was_skipped():
    lines = to_text(REPORT).splitlines()
    assert lines[3].split() == ["all", "2", "2", "1"]
    assert lines[5] == (
        "failed: robustness: noise: rain <b>at</b> 20 dB: share unchanged: "
        "dominance 0.500, valence not defined (≥ 0.9)"
    )
    assert lines[6] == "skipped: fairness: accent: not <known>"
    assert len(lines) == 7


def test_the_page_is_whole_and_needs_nothing_else(text):
    page = Page(text)
    assert not {tag for tag, _ in page.seen} & {"script", "link", "iframe", "object"}
    for _, attributes in page.seen:
        assert not set(attributes) & {"src", "href", "style"}
    assert "http:" not in text and "https:" not in text
    assert "&lt;script&gt;" in text


def test_cells_have_value_interval_sign_and_colour(text):
    page = Page(text)
    for cell in ("✓ 0.950 [0.25, 0.75]", "✗ 0.500 [0.25, 0.75]", "✗ not defined"):
        assert cell in page.cells
    for cell in ("0.500 [0.25, 0.75]", "-", "≥ 0.9", "rain <b>at</b> 20 dB"):
        assert cell in page.cells
    classes = [a.get("class") for tag, a in page.seen if tag == "td"]
    assert classes.count("n failed") == 2
    assert classes.count("n passed") == 2


def test_a_cell_of_a_user_is_not_read_as_attributes():
    outcome = Outcome(
        {**REPORT, "about": {"model": 'class="passed"|x'}},
        OUTCOME.references,
        OUTCOME.scores,
    )
    assert 'class="passed"|x' in Page(to_html(outcome)).cells


def drawings(text, name):
    return re.findall(f'<svg class="{name}".*?</svg>', text, re.DOTALL)


def test_each_clip_is_a_point_of_its_scores(text):
    found = drawings(text, "square")
    assert len(found) == 6  # two references in three dimensions
    points = [
        (float(x) / 100, 1 - float(y) / 100)
        for x, y in re.findall(r"M([\d.]+) ([\d.]+)h0", found[4])
    ]
    known = ~np.isnan(HUMAN[:, 1])
    expected = np.stack([HUMAN[known, 1], OUTCOME.scores[known, 1].clip(0, 1)], 1)
    assert len(points) == 15
    np.testing.assert_allclose(points, expected, atol=1e-3)


def test_stairs_have_the_shares_of_the_bins(text):
    lines = re.findall(
        r'<path class="line c(.)" d="M0 60(.*?)V60"', drawings(text, "steps")[1]
    )
    assert [colour for colour, _ in lines] == ["1", "2", "0"]
    heights = [
        [60 - float(step) for step in re.findall(r"V([\d.]+)h", path)]
        for _, path in lines
    ]
    series = [OUTCOME.references["teacher"][:, 1], HUMAN[5:, 1], OUTCOME.scores[:, 1]]
    shares = [
        np.histogram(np.clip(values, 0, 1), 10, (0, 1))[0] / len(values)
        for values in series
    ]
    expected = np.array(shares) * 60 / np.max(shares)
    np.testing.assert_allclose(heights, expected, atol=0.01)


def test_the_same_again_is_the_same_page(text):
    assert to_html(OUTCOME) == text
    assert not re.search(r"20[2-9]\d-\d\d", text)


def test_a_share_is_a_bar_with_a_mark_at_its_threshold(text):
    bars = drawings(text, "bar")
    assert len(bars) == 2  # a share that is known
    assert 'class="cp" x="0" width="95"' in bars[0]
    assert 'class="cf" x="0" width="50"' in bars[1]
    assert all('class="mark" x="89.25"' in bar for bar in bars)
