import json

import numpy as np
import pytest
from speech import clips, exported

from wav2small.export.base.errors import ExportError
from wav2small.export.base.metrics import concordance_cc
from wav2small.export.checks.layers import (
    Comparison,
    LayerDifference,
    OnnxLayers,
    ReferenceLayers,
    compare_layers,
    to_markdown,
)
from wav2small.export.quantise.steps import quantize

STUDENTS = ["wav2small", "wav2small-17k", "mobilenetv3-small", "mobilenetv4-small"]


@pytest.fixture(scope="module", params=STUDENTS)
def forms(request):
    """Float, int8 and integer form of a student."""
    model = exported(request.param)
    rounded = quantize(model, clips(4, 0))
    return (
        OnnxLayers(model),
        OnnxLayers(rounded),
        ReferenceLayers(rounded),
        model,
        rounded,
    )


def test_every_form_has_the_same_layers(forms):
    signal = next(clips(1, 1))
    labels = [list(form.run(signal)) for form in forms[:3]]
    assert labels[0] == labels[1] == labels[2]
    assert labels[0][0] == "LogMel 1" and labels[0][-1] == "scores"
    learned = sum(
        node.op_type in ("Conv", "Gemm", "MatMul") for node in forms[4].graph.node
    )
    # three convolutions of the front end, and log-mel and scores
    products = 1 if any(n.op_type == "Concat" for n in forms[4].graph.node) else 0
    assert len(labels[0]) >= learned - 3 + 2 - products


def test_a_model_equals_itself(forms):
    comparison = compare_layers(forms[0], forms[0], list(clips(2, 1)))
    assert comparison.parting is None
    assert all(entry.largest == 0 for entry in comparison.layers)
    assert all(np.isinf(e.signal_to_difference) for e in comparison.layers)
    assert comparison.max_error == (0, 0, 0)


def test_figures_are_those_of_the_layers(forms):
    signals = list(clips(3, 1))
    comparison = compare_layers(forms[0], forms[1], signals)
    first = comparison.layers[0]
    pairs = [
        (forms[0].run(x)["LogMel 1"], forms[1].run(x)["LogMel 1"])
        for x in (np.rint(s * 2**15).astype(np.float32) / 2**15 for s in signals)
    ]
    truth, other = (
        np.concatenate([s.ravel() for s in side]) for side in zip(*pairs, strict=True)
    )
    error = np.abs(truth.astype(np.float64) - other)
    assert first.largest == pytest.approx(error.max())
    assert first.mean == pytest.approx(error.mean())
    power = 10 * np.log10(truth.astype(np.float64).var() / (error**2).mean())
    assert first.signal_to_difference == pytest.approx(power, rel=1e-4)
    rounded = [np.rint(s * 2**15).astype(np.float32) / 2**15 for s in signals]
    left, right = (
        np.concatenate([form.run(x)["scores"] for x in rounded]) for form in forms[:2]
    )
    for index in range(3):
        assert comparison.concordance_cc[index] == pytest.approx(
            concordance_cc(left[:, index], right[:, index])
        )


@pytest.mark.parametrize("name", ["wav2small", "wav2small-17k"])
def test_integers_stay_close_to_onnxruntime(name):
    rounded = quantize(exported(name), clips(4, 0))
    comparison = compare_layers(
        ReferenceLayers(rounded), OnnxLayers(rounded), list(clips(3, 1))
    )
    assert comparison.layers[0].signal_to_difference > 35
    assert max(comparison.max_error) < 0.005


def test_parting_is_the_first_layer_below():
    def layer(name, ratio):
        return LayerDifference(name, 1.0, 1.0, ratio)

    layers = (layer("a", 30.0), layer("b", 19.9), layer("c", 5.0))
    comparison = Comparison(1, layers, (0.1,), (np.nan,))
    assert comparison.parting == "b"
    assert "They part at b" in to_markdown(comparison, ["x"])
    whole = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert whole["concordance_cc"] == [None]
    assert Comparison(1, layers[:1], (0.1,), (1.0,)).parting is None


def test_progress_and_page(forms):
    seen = []
    signals = list(clips(2, 1))
    comparison = compare_layers(
        forms[0], forms[1], signals, lambda *report: seen.append(report)
    )
    assert seen == [("compare", 1, 2, {}), ("compare", 2, 2, {})]
    page = to_markdown(comparison, ["arousal", "dominance", "valence"])
    assert page.count("\n| ") == len(comparison.layers) + 3 + 1


def test_models_of_different_layers_are_refused():
    forms = [OnnxLayers(exported(name)) for name in ("wav2small", "mobilenetv3-small")]
    with pytest.raises(ExportError, match="must have layers of the same shape"):
        compare_layers(forms[0], forms[1], list(clips(1, 1)))


class Alone:
    """A model with nothing but scores."""

    def run(self, signal):
        return {"scores": np.zeros((1, 3), np.float32)}


def test_models_without_common_layers_are_refused():
    with pytest.raises(ExportError, match="must have layers in common, got none"):
        compare_layers(Alone(), Alone(), list(clips(1, 1)))


def test_a_signal_that_is_too_short_is_refused():
    form = OnnxLayers(exported("wav2small"))
    with pytest.raises(ExportError, match=r"signal must fit the model, got \(3,\)"):
        compare_layers(form, form, [np.zeros(3, np.float32)])
