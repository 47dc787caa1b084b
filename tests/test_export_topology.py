import numpy as np
import onnx
import pytest

from wav2small.export.base.errors import ExportError
from wav2small.export.model import topology
from wav2small.export.model.topology import Topology

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, N] x) => (float[1, N] y) { a = Exp(x) b = Neg(x) y = Add(a, b) }"""


@pytest.fixture
def model():
    return onnx.parser.parse_model(TEXT)


def test_load_takes_every_form(model, tmp_path):
    data = model.SerializeToString()
    (tmp_path / "m.onnx").write_bytes(data)
    assert topology.load(model) is model
    for source in (data, tmp_path / "m.onnx", str(tmp_path / "m.onnx")):
        assert topology.load(source) == model


def test_missing_file(tmp_path):
    with pytest.raises(ExportError, match=r"none\.onnx' must be a readable ONNX file"):
        topology.load(tmp_path / "none.onnx")


@pytest.mark.parametrize("data", [b"", b"RIFF....WAVEfmt ", bytes(range(256))])
def test_no_model(data):
    with pytest.raises(ExportError, match="model must be"):
        topology.load(data)


def test_truncated_model_is_one_line(model):
    data = model.SerializeToString()
    for length in range(1, len(data)):
        with pytest.raises(ExportError) as caught:
            topology.load(data[:length])
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("place", ["initializer", "attribute"])
@pytest.mark.parametrize("where", ["weights.bin", "../../etc/passwd"])
def test_external_data_is_refused(model, place, where):
    tensor = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=where)
    if place == "initializer":
        model.graph.initializer.append(tensor)
    else:
        model.graph.node.insert(
            0, onnx.helper.make_node("Constant", [], ["w"], value=tensor)
        )
    for use in (topology.load, topology.session):
        with pytest.raises(ExportError, match="got external data for 'w'"):
            use(model)


def test_invalid_graph_is_refused(model):
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ExportError, match="must be a valid ONNX model"):
        topology.load(model)


def test_session_refusal_is_ours(model):
    model.opset_import[0].version = 999
    with pytest.raises(ExportError, match="model must run in onnxruntime"):
        topology.session(model)


def test_session_has_one_thread(model):
    options = topology.session(model).get_session_options()
    assert options.intra_op_num_threads == options.inter_op_num_threads == 1


def test_neighbours(model):
    graph = Topology(model)
    assert graph.children(0) == [2] and graph.parents(2) == [0, 1]
    assert graph.upstream([2]) == {0, 1, 2}
    assert graph.downstream([1]) == {1, 2}
    assert graph.array("x") is None
    assert topology.label(graph.nodes[2]) == "Add 'y'"


def test_a_constant_with_too_few_bytes():
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}> { y = Add(x, w) }"""
    )
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.zeros(4, np.float32), "w")
    )
    model.graph.initializer[0].raw_data = b"1234567"
    with pytest.raises(ExportError, match=r"valid ONNX model|bytes of their shape"):
        topology.load(model)
