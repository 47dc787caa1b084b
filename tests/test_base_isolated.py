import sys

import onnx
import pytest

from wav2small.export.base import isolated
from wav2small.export.base.errors import ExportError, InputError, ToolError

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 8] x) => (float[1, 8] y) { z = Exp(x) y = Neg(z) }"""


def serialised(text=TEXT):
    return onnx.parser.parse_model(text).SerializeToString()


def test_runs_are_timed():
    result = isolated.run(serialised(), (1, 8), runs=3)
    assert len(result["seconds"]) == 3 and min(result["seconds"]) > 0
    assert result["types"] == {}
    if sys.platform == "linux":
        assert 0 <= result["memory_bytes"] < 2**30


@pytest.mark.parametrize("kind", ["double", "int16", "int8", "uint8", "int64"])
def test_types_of_inputs(kind):
    text = TEXT.replace("float", kind).replace("Exp", "Identity").replace("Neg", "Abs")
    result = isolated.run(serialised(text), (1, 8), outputs=["y"])
    assert result["types"]["y"] == [[1, 8], kind.replace("double", "float64")]


def test_refused_models():
    with pytest.raises(InputError, match="model must run in onnxruntime, got") as error:
        isolated.run(b"no model", (1, 8))
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="model must run in onnxruntime, got"):
        isolated.run(serialised(), (1, 9))


def test_a_crash_is_an_error(monkeypatch):
    monkeypatch.setattr(isolated, "_CODE", "import os; os.abort()")
    with pytest.raises(InputError, match="onnxruntime, got exit code -6: no message"):
        isolated.run(serialised(), (1, 8))


def test_a_process_that_had_no_chance_says_nothing_of_the_model(monkeypatch):
    monkeypatch.setattr(isolated, "_CODE", "import time; time.sleep(60)")
    monkeypatch.setattr(isolated, "_SECONDS", 0.2)
    message = r"^the run of model must end within 2 s, got no answer: the machine is"
    with pytest.raises(ToolError, match=message):
        isolated.run(serialised(), (1, 8), error=ExportError)


def test_a_bomb_is_refused():
    text = TEXT.replace(
        "z = Exp(x)",
        "n = Constant<value_ints=[4000000000]>() f = ConstantOfShape(n) "
        "m = ReduceMax<keepdims=0>(f) z = Add(x, m)",
    )
    with pytest.raises(InputError, match="model must run in onnxruntime, got"):
        isolated.run(serialised(text), (1, 8))


def test_files_of_the_working_folder_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert isolated.run(serialised(), (1, 8), runs=1)["seconds"]
