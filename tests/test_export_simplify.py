import sys

import numpy as np
import onnx
import pytest

from wav2small.export.base.errors import ExportError, ToolError
from wav2small.export.model import topology
from wav2small.export.model.simplify import simplify


def model():
    parsed = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 2, N] x) => (float[1, 4, M] y) {
            i = Identity(x)
            c = Conv(i, w)
            y = BatchNormalization(c, one, two, mean, variance)
        }"""
    )
    generator = np.random.default_rng(0)
    for name, value in {
        "w": generator.standard_normal((4, 2, 3)),
        "one": generator.standard_normal(4),
        "two": generator.standard_normal(4),
        "mean": generator.standard_normal(4),
        "variance": generator.random(4) + 0.5,
    }.items():
        tensor = onnx.numpy_helper.from_array(value.astype(np.float32), name)
        parsed.graph.initializer.append(tensor)
    return parsed


def test_same_values_from_one_node():
    whole = model()
    before = whole.SerializeToString()
    simple = simplify(whole)
    assert whole.SerializeToString() == before
    assert [node.op_type for node in simple.graph.node] == ["Conv"]
    for length in (3, 20):
        value = np.random.default_rng(1).standard_normal((1, 2, length))
        feed = {"x": value.astype(np.float32)}
        (expected,) = topology.session(whole).run(None, feed)
        (result,) = topology.session(simple).run(None, feed)
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)


def test_invalid_model():
    whole = model()
    whole.graph.node[0].op_type = "Nonsense"
    with pytest.raises(ExportError, match=r"must have operators .* got Nonsense"):
        simplify(whole)


def test_failure_is_ours(monkeypatch):
    import onnxsim

    def fail(*_):
        raise RuntimeError("pass\nfailed")

    monkeypatch.setattr(onnxsim, "simplify", fail)
    with pytest.raises(ExportError, match="through onnxsim, got pass failed"):
        simplify(model())


def test_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxsim", None)
    with pytest.raises(ToolError, match="package onnxsim is missing: pip install"):
        simplify(model())
