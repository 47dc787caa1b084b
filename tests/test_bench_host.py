import onnx

from wav2small.firmware_bench.plan.onnx_graph import load_graph
from wav2small.firmware_bench.run.host import describe_machine, measure_host

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, time] x) => (float[1, m] y) { z = Exp(x) y = Neg(z) }"""


def test_measurement(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(TEXT).SerializeToString())
    found = measure_host(load_graph(path, 0.01), runs=7)
    assert found.runs == 7
    assert 0 < found.min_seconds <= found.median_seconds
    assert found.machine == describe_machine()
    import onnxruntime

    assert found.onnxruntime == onnxruntime.__version__


def test_machine_is_one_line():
    assert describe_machine() and "\n" not in describe_machine()
