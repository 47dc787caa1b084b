import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav2small.export.base.errors import ExportError
from wav2small.export.quantise.calibrate import activation_ranges, cut, run_over

MODEL = onnx.parser.parse_model(
    """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, time] signal) => (float[1, time] y) {
        a = Mul(signal, signal)
        y = Log(a)
    }"""
)


def signals(*lengths):
    generator = np.random.default_rng(0)
    return [generator.standard_normal(length).astype(np.float32) for length in lengths]


def test_extremes_over_signals_of_different_lengths():
    clips = signals(10, 1000, 37)
    before = MODEL.SerializeToString()
    ranges = activation_ranges(MODEL, ["signal", "a"], iter(clips))
    together = np.concatenate(clips)
    assert ranges["signal"] == (together.min(), together.max())
    assert ranges["a"] == ((together**2).min(), (together**2).max())
    assert MODEL.SerializeToString() == before


def test_double_precision_is_taken():
    (clip,) = signals(50)
    ranges = activation_ranges(MODEL, ["signal"], [clip.astype(np.float64)])
    assert ranges["signal"] == (clip.min(), clip.max())


@pytest.mark.parametrize(
    "clip",
    [
        np.zeros((1, 5), np.float32),
        np.zeros(5, np.int16),
        np.zeros(0, np.float32),
        np.float32(1),
    ],
)
def test_wrong_signal(clip):
    with pytest.raises(ExportError, match=r"float arrays of shape .* at index 1"):
        activation_ranges(MODEL, ["a"], [*signals(5), clip])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_signal_must_be_finite(value):
    with pytest.raises(ExportError, match="finite, got NaN or Inf at index 0"):
        activation_ranges(MODEL, ["a"], [np.array([1, value], np.float32)])


def test_activation_must_be_finite():
    with pytest.raises(ExportError, match=r"got -inf to .* for tensor 'y'"):
        activation_ranges(MODEL, ["a", "y"], [np.zeros(5, np.float32)])


def test_no_signal():
    with pytest.raises(ExportError, match="at least one, got none"):
        activation_ranges(MODEL, ["a"], [])


def test_signal_that_does_not_fit_the_window():
    model = onnx.ModelProto()
    model.CopyFrom(MODEL)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 8
    with pytest.raises(ExportError, match=r"fit the model, got \(9,\) at index 1"):
        activation_ranges(model, ["a"], signals(8, 9))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 20))
def test_cut(lengths, window):
    clips = [np.arange(1, length + 1, dtype=np.float32) for length in lengths]
    pieces = list(cut(clips, window))
    assert all(piece.shape == (window,) for piece in pieces)
    expected = []
    for clip in clips:
        whole = len(clip) // window * window
        expected += [*clip[:whole]] if whole else [*clip, *[0] * (window - len(clip))]
    assert np.concatenate(pieces).tolist() == expected


def test_run_over_gives_signals_and_outputs():
    clips = [*signals(5, 7)]
    found = list(run_over(MODEL, iter(clips)))
    for clip, (signal, (output,)) in zip(clips, found, strict=True):
        np.testing.assert_array_equal(signal, clip)
        np.testing.assert_allclose(output, np.log(clip[None] ** 2), rtol=1e-4)
