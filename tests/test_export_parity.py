import json
import math

import audmetric
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav2small.export.base.errors import ExportError
from wav2small.export.checks import parity
from wav2small.export.checks.parity import (
    ExecutionParity,
    ParityReport,
    compare,
    concordance_cc,
)


def model(*, gain=1.0, offset=0.0, scores=3):
    """Mean, mean square and mean magnitude of the signal, scaled and shifted."""
    text = f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, time] signal) => (float[1, {scores}] logits)
    <float gain = {{{gain}}}, float offset = {{{offset}}}> {{
        square = Mul(signal, signal)
        size = Abs(signal)
        all = Concat<axis=0>(signal, square, size)
        means = ReduceMean<axes=[1], keepdims=0>(all)
        axis = Constant<value = int64[1] {{0}}>()
        row = Unsqueeze(means, axis)
        scaled = Mul(row, gain)
        shifted = Add(scaled, offset)
        logits = {"Identity(shifted)" if scores == 3 else "Concat<axis=1>(shifted, shifted)"}
    }}"""  # noqa: E501
    return onnx.parser.parse_model(text)


def callable_model(signal):
    return np.array([[signal.mean(), (signal**2).mean(), np.abs(signal).mean()]])


@pytest.fixture
def signals():
    generator = np.random.default_rng(0)
    return [
        (generator.random() * generator.standard_normal(length) + level).astype("f")
        for length, level in zip((50, 400, 77, 1000), (0, 1, -1, 0.5), strict=True)
    ]


@pytest.mark.parametrize("reference", [callable_model, model(), "file", "bytes"])
def test_equal_models_pass(reference, signals, tmp_path):
    if reference == "file":
        reference = tmp_path / "m.onnx"
        reference.write_bytes(model().SerializeToString())
    elif reference == "bytes":
        reference = model().SerializeToString()
    report = compare(reference, model(), signals, max_error=1e-5)
    assert report.passed and report.signals == 4 and report.parting < 1e-6
    assert list(report.executions) == ["default", "exact"]
    for entry in report.executions.values():
        assert entry.mean_error <= entry.max_error < 1e-6
        assert all(cc > 0.999999 for cc in entry.concordance_cc)


def test_errors_are_measured(signals):
    report = compare(model(), model(offset=0.25), signals)
    for entry in report.executions.values():
        assert entry.max_error == pytest.approx(0.25, abs=1e-6)
        assert entry.mean_error == pytest.approx(0.25, abs=1e-6)
    truth = parity.scores(model(), signals)
    expected = [audmetric.concordance_cc(s, s + 0.25) for s in truth.T.astype(float)]
    found = report.executions["exact"].concordance_cc
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_too_large_an_error_fails(signals):
    changed = model(offset=0.01)
    assert compare(model(), changed, signals, max_error=0.02).passed
    assert not compare(model(), changed, signals, max_error=0.005).passed


def test_too_low_a_concordance_fails(signals):
    changed = model(gain=0.5)
    assert not compare(model(), changed, signals, max_error=9).passed
    assert compare(
        model(), changed, signals, max_error=9, min_concordance_cc=0.2
    ).passed


def test_undefined_concordance_does_not_pass(signals):
    report = compare(model(), model(), signals[:1])
    assert not report.passed
    assert math.isnan(report.executions["exact"].concordance_cc[0])
    assert compare(model(), model(), signals[:1], min_concordance_cc=None).passed


def report(*, error=0.0, parting=0.0, cc=1.0):
    entry = ExecutionParity(error, error, (1.0, cc, 1.0))
    good = ExecutionParity(0.0, 0.0, (1.0, 1.0, 1.0))
    return ParityReport(5, {"default": entry, "exact": good}, parting, 0.05, 0.99)


@pytest.mark.parametrize(
    "figures",
    [
        {"error": 0.06},
        {"error": math.nan},
        {"error": math.inf},
        {"parting": 0.06},
        {"parting": math.nan},
        {"cc": 0.98},
        {"cc": math.nan},
    ],
)
def test_each_limit_fails_alone(figures):
    assert report().passed
    assert not report(**figures).passed
    assert json.loads(json.dumps(report(**figures).to_dict(), allow_nan=False))


def test_dict_holds_everything():
    assert report(error=0.5, cc=math.nan).to_dict() == {
        "signals": 5,
        "executions": {
            "default": {
                "max_error": 0.5,
                "mean_error": 0.5,
                "concordance_cc": [1.0, None, 1.0],
            },
            "exact": {
                "max_error": 0.0,
                "mean_error": 0.0,
                "concordance_cc": [1.0, 1.0, 1.0],
            },
        },
        "parting": 0.0,
        "limits": {"max_error": 0.05, "concordance_cc": 0.99},
        "passed": False,
    }


def test_different_numbers_of_scores(signals):
    with pytest.raises(ExportError, match="3 scores per signal, got 6"):
        compare(model(), model(scores=6), signals)


def test_external_data_is_refused(signals):
    outside = model()
    tensor = outside.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="gain.bin")
    with pytest.raises(ExportError, match="got external data for 'gain'"):
        compare(callable_model, outside, signals)


def test_signal_that_does_not_fit(signals):
    fixed = model()
    fixed.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 50
    with pytest.raises(ExportError, match=r"fit the model, got \(400,\) at index 1"):
        compare(callable_model, fixed, signals)


@given(st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_concordance_is_that_of_audmetric(samples, seed):
    generator = np.random.default_rng(seed)
    truth = generator.standard_normal(samples)
    prediction = truth * generator.random() + generator.standard_normal(samples) * 0.3
    found = concordance_cc(truth, prediction)
    if samples < 2:
        assert math.isnan(found)
    else:
        expected = audmetric.concordance_cc(truth, prediction)
        assert found == pytest.approx(expected, abs=1e-12)


def test_concordance_of_constants():
    assert math.isnan(concordance_cc(np.ones(3), np.ones(3)))
    assert concordance_cc(np.ones(3), np.zeros(3)) == 0
