"""Files of anybody: looked at, checked and tried before they are run."""

import os
import socket

import onnx
import pytest

from wav2small.export.base import isolated, onnx_file
from wav2small.export.base.errors import ExportError, InputError

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, n] signal) => (float[1, 3] logits) <float[1, 3] w = {1, 2, 3}> {
    m = ReduceMean <axes = [-1], keepdims = 1> (signal)
    logits = MatMul(m, w)
}"""
HUGE = """
    n = Constant <value_ints = [3000000000]> () f = ConstantOfShape(n)
    k = ReduceMax <keepdims = 0> (f) m0 = Add(signal, k)"""
ENDLESS = """
    n = Constant <value_ints = [6000, 6000]> () f = ConstantOfShape(n)
    f1 = MatMul(f, f) f2 = MatMul(f1, f1) f3 = MatMul(f2, f2) f4 = MatMul(f3, f3)
    f5 = MatMul(f4, f4) f6 = MatMul(f5, f5) f7 = MatMul(f6, f6) f8 = MatMul(f7, f7)
    k = ReduceMax <keepdims = 0> (f8) m0 = Add(signal, k)"""


def data(before=""):
    text = TEXT
    if before:
        text = text.replace("(signal)\n", "(m0)\n").replace("{\n", "{" + before, 1)
    return onnx.parser.parse_model(text).SerializeToString()


def test_a_model_is_opened():
    session = onnx_file.open_foreign(data())
    assert [entry.name for entry in session.get_inputs()] == ["signal"]
    assert session.get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize(
    ("before", "message"), [(HUGE, "must run in onnxruntime"), (ENDLESS, "within 1 s")]
)
def test_bombs_cost_their_own_process(before, message, monkeypatch):
    monkeypatch.setattr(isolated, "_TRIAL_SECONDS", 1)
    with pytest.raises(ExportError, match=f"^x {message}|^x must run") as caught:
        onnx_file.open_foreign(data(before), "x", ExportError)
    assert "\n" not in str(caught.value)


def test_a_trial_is_made_once(monkeypatch):
    onnx_file.open_foreign(data())
    monkeypatch.setattr(isolated, "_CODE", "raise SystemExit(1)")
    onnx_file.open_foreign(data())


def test_only_regular_files_are_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo.onnx")
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "loop.onnx").symlink_to("loop.onnx")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)
        server.bind("socket.onnx")
        for path in sorted(tmp_path.iterdir()):
            with pytest.raises(InputError, match="must be a readable ONNX file, got"):
                onnx_file.read(path)


def test_names_are_shown_without_control_characters(tmp_path):
    with pytest.raises(InputError) as caught:
        onnx_file.read(tmp_path / "a\x1b[2J\nb.onnx")
    assert str(caught.value).isprintable()
