from dataclasses import replace

import numpy as np
import pytest
from speech import clips, exported

from wav2small.export.base.errors import ExportError
from wav2small.export.checks import agreement
from wav2small.export.checks.agreement import agree
from wav2small.export.integer import reader
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.operators.convolution import Convolution
from wav2small.export.integer.operators.log_mel import LogMel
from wav2small.export.quantise.steps import quantize


@pytest.fixture(scope="module")
def graph() -> IntegerGraph:
    return reader.read(quantize(exported("wav2small"), clips(4, 0)))


@pytest.fixture(scope="module")
def report(graph):
    return agree(graph, list(clips(6, 1)))


def test_onnxruntime_computes_the_integer_graph(graph, report):
    assert report.passed
    assert report.signals == 6
    for layers in report.layers.values():
        assert [entry.layer for entry in layers] == [
            graph.label(operator) for operator in graph.operators
        ]
        for entry in layers[1:]:
            assert entry.differing <= 1e-4 * entry.elements
    assert set(report.layers) == set(report.score_error) == {"default", "exact"}
    frames = sum((len(clip) - 64) // 32 + 1 for clip in clips(6, 1))
    assert report.layers["exact"][0].elements == 26 * frames


def with_operator(graph, change, kind=Convolution, place=2):
    """Graph in which one operator of a kind is changed."""
    chosen = [entry for entry in graph.operators if isinstance(entry, kind)][place]
    operators = [
        replace(entry, **change(entry)) if entry is chosen else entry
        for entry in graph.operators
    ]
    return replace(graph, operators=tuple(operators)), operators


def test_a_wrong_bias_is_found_where_it_is(graph):
    def change(operator):
        step = 1 / operator.rescale.factor  # of one output step
        return {"bias": operator.bias + np.rint(2 * step).astype(np.int64)}

    wrong, _ = with_operator(graph, change)
    found = agree(wrong, list(clips(2, 1)))
    assert not found.passed
    for layers in found.layers.values():
        failed = [entry.layer for entry in layers if not entry.passed]
        assert failed == ["Convolution 3"]
        assert layers[3].largest in (2, 3)


def test_a_wrong_front_end_is_found(graph):
    def change(operator):
        front_end = operator.front_end
        moved = front_end.offset + 2 * 2**front_end.shift
        return {"front_end": replace(front_end, offset=moved)}

    wrong, _ = with_operator(graph, change, LogMel, 0)
    found = agree(wrong, list(clips(2, 1)))
    for layers in found.layers.values():
        assert [entry.layer for entry in layers if not entry.passed] == ["LogMel 1"]


def test_scores_have_a_limit_of_their_own(graph, report):
    strict = agree(graph, list(clips(2, 1)), score_limit=1e-9)
    assert not strict.passed
    assert all(entry.passed for layers in strict.layers.values() for entry in layers)
    assert report.score_limit == agreement.LARGEST_SCORE_ERROR == 0.005


def test_report_in_words(report):
    page = agreement.to_markdown(report)
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 2 * (len(report.layers["exact"]) + 1)
    figures = report.to_dict()
    assert figures["passed"] is True
    assert figures["layers"]["default"][0]["layer"] == "LogMel 1"


def test_progress(graph):
    seen = []
    agree(graph, list(clips(2, 1)), lambda *report: seen.append(report))
    assert seen == [("compare", 1, 2, {}), ("compare", 2, 2, {})]


def test_a_signal_that_does_not_fit_is_named(graph):
    with pytest.raises(ExportError, match=r"must have at least 64 samples, got 10"):
        agree(graph, [np.zeros(10, np.float32)])
