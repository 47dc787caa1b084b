"""Integer operators from a torch module to C, one row each."""

from __future__ import annotations

import ast
from pathlib import Path

import integers
import numpy as np
import pytest
import torch
from onnx import ModelProto, numpy_helper
from operator_rows import ROWS, Row
from speech import clips, module
from test_export_c99 import Library, compiled
from test_export_streaming import signal
from torch import nn

from wav2small.export.base.errors import ExportError
from wav2small.export.c99.source import FRAGMENTS, resolved
from wav2small.export.checks.agreement import agree
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.operators import KINDS, READERS, TRAITS
from wav2small.export.integer.operators.log_mel import LogMel
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.streaming.run import Stream
from wav2small.export.model.to_onnx import to_onnx
from wav2small.export.quantise.steps import quantize

ROOT = Path(__file__).parent.parent
BY_TYPE = {
    "export/c99/dead.py",
    "export/checks/agreement.py",
    "export/checks/layers.py",
    "export/hop/layers.py",
    "export/hop/pool.py",
    "export/hop/write.py",
    "export/integer/reader.py",
    "export/integer/streaming/schedule.py",
    "export/integer/streaming/stages.py",
    "export/tflite/convert.py",
    "export/tflite/write.py",
}
"""Files that may ask for the type of an operator:
what leaves out channels, compares layers, reads the front end, or writes TFLite
or the ONNX of one hop."""

_MODELS: dict[str, ModelProto] = {}
_GRAPHS: dict[str, IntegerGraph] = {}


class Twice(nn.Module):
    """A sum, which nothing rounds to 8 bits behind the last convolution."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x


def graph(name: str) -> IntegerGraph:
    """Small student with a row's module in it, as int8."""
    if name not in _GRAPHS:
        _MODELS[name] = quantize(exported(ROWS[name]), list(clips(4, 7)))
        _GRAPHS[name] = read(_MODELS[name])
    return _GRAPHS[name]


def exported(row: Row):
    built = module("wav2small-rt-mini")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        if row.wide:
            channels = built.value.out_channels
            built.value = nn.Sequential(built.value, Twice(), row.module(channels))
        else:
            channels = built.conv2.in_channels
            before = nn.Conv2d(channels, channels, 1)
            built.conv2 = nn.Sequential(before, row.module(channels), built.conv2)
    return to_onnx(built.eval(), window=None, example_samples=4000)


@pytest.mark.parametrize("name", ROWS)
def test_becomes_the_operator_and_equals_the_oracle(name):
    model, kind = graph(name), ROWS[name].kind
    values = ReferenceModel(model).run(signal(3, 900))
    operators = [entry for entry in model.operators if type(entry) is kind]
    assert operators
    for operator in operators:
        inputs = {entry: integers.array(values[entry]) for entry in operator.inputs}
        found = integers.apply(operator, model.tensors, inputs)
        assert np.array_equal(found, values[operator.output])


@pytest.mark.parametrize("name", ROWS)
def test_onnxruntime_agrees_on_equal_inputs(name):
    graph(name)
    # an untrained network makes much of the one step that a cell may differ by
    report = agree(_MODELS[name], list(clips(4, 9)), score_limit=10.0)
    assert report.passed
    kind = ROWS[name].kind.__name__
    for layers in report.layers.values():
        assert any(entry.layer.startswith(kind) for entry in layers)


@pytest.mark.parametrize("name", ROWS)
def test_streams_with_the_same_integers(name):
    model, heard = graph(name), signal(4, 9000)
    stream = Stream(model)
    for start in range(0, len(heard), 777):
        stream.push(heard[start : start + 777])
    assert np.array_equal(
        stream.integers(), ReferenceModel(model).run(heard)[model.output]
    )


@compiled
@pytest.mark.parametrize("name", ROWS)
def test_c_gives_the_same_integers(name, tmp_path):
    model, heard = graph(name), signal(5, 9000)
    library = Library(model, tmp_path)
    library.init()
    for start in range(0, len(heard), 777):
        library.push(heard[start : start + 777])
    wanted = ReferenceModel(model).run(heard)[model.output]
    assert library.so_far() == wanted.ravel().tolist()


@pytest.mark.parametrize(
    ("slope", "message"),
    [
        (np.full((8, 1), 0.5, np.float32), r"slopes and not \(8, 1\)"),
        (np.full((8, 1, 2), 0.5, np.float32), r"slopes and not \(8, 1, 2\)"),
        (np.full((8, 1, 1), np.inf, np.float32), "with constant slopes"),
    ],
)
def test_slopes_that_no_channel_has_are_refused(slope, message):
    graph("prelu")
    model = ModelProto()
    model.CopyFrom(_MODELS["prelu"])
    node = next(node for node in model.graph.node if node.op_type == "PRelu")
    (stored,) = (t for t in model.graph.initializer if t.name == node.input[1])
    stored.CopyFrom(numpy_helper.from_array(slope, stored.name))
    with pytest.raises(ExportError, match=message):
        read(model)


# -- the promise -------------------------------------------------------------


def test_each_operator_is_found():
    files = {
        path.stem
        for path in (ROOT / "export/integer/operators").glob("*.py")
        if path.stem != "base" and not path.stem.startswith("_")
    }
    assert {kind.__module__.rpartition(".")[2] for kind in KINDS} == files
    assert all(READERS[name] for kind in KINDS for name in kind.ONNX)
    assert set(TRAITS) == set(READERS)


def test_no_other_file_asks_for_the_type_of_an_operator():
    asking = set()
    for package in ("export", "firmware_bench", "wav2small"):
        for path in (ROOT / package).rglob("*.py"):
            file = path.relative_to(ROOT).as_posix()
            if file.startswith("export/integer/operators/"):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module:
                    folder, _, name = node.module.rpartition(".")
                    if folder.endswith("operators") and name != "base":
                        asking.add(file)
    assert asking == BY_TYPE


def test_every_operator_has_a_section_on_the_page():
    page = (ROOT / "docs/arithmetic.md").read_text()
    titles = " ".join(line for line in page.splitlines() if line.startswith("### "))
    for kind in KINDS:
        assert kind.__name__ in titles or kind is LogMel


def test_the_error_names_the_operators_there_are():
    graph("relu")
    model = ModelProto()
    model.CopyFrom(_MODELS["relu"])
    node = next(node for node in model.graph.node if node.op_type == "Relu")
    node.op_type = "Elu"
    with pytest.raises(ExportError, match=r"got Elu .*supported after .*, Relu,"):
        read(model)


# -- fragments ---------------------------------------------------------------


def test_generated_c_leaves_only_the_compilers_conditions(tmp_path):
    Library(graph("hard_swish"), tmp_path)
    text = (tmp_path / "wav2small.c").read_text()
    conditions = {
        word
        for line in text.splitlines()
        if line.startswith(("#if", "#elif"))
        for word in line.replace("(", " ").replace(")", " ").split()[1:]
        if word[0].isalpha() or word[0] == "_"
    }
    assert conditions - {"defined"} == {
        "BEGINS_FOUR",
        "CHAR_BIT",
        "INT_MAX",
        "JOINS_FOUR",
        "LANES",
        "NAMES_INSTRUCTIONS",
        "PUTS_FOUR",
        "PUTS_PAIRS",
        "VECTORS",
        "WAV2SMALL_BLOB",
        "WAV2SMALL_TRACE",
        "__ARM_FEATURE_DSP",
        "__ARM_FEATURE_MVE",
        "__ARM_FEATURE_SAT",
        "__ARM_FEATURE_UNALIGNED",
        "__GNUC__",
        "__clang__",
        "__thumb2__",
    }
    # what this model does not need is not there
    assert "hard_swish_row" in text
    assert "matrix_product_row" not in text
    assert "mean_add" not in text


def test_every_kernel_makes_rows_or_adds_them():
    for path in FRAGMENTS.glob("*.c"):
        text = path.read_text()
        if f"}} {path.stem}_t;" in text:
            assert (f"{path.stem}_row(" in text) != (f"{path.stem}_add(" in text)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("#if A\na\n#else\nb\n#endif\n", "a\n"),
        ("#if Z\na\n#else\nb\n#endif\n", "b\n"),
        ("#if USES_NOTHING\na\n#endif\nb\n", "b\n"),
        ("#if A && Z\na\n#endif\nb\n", "b\n"),
        ("#if A < 8\na\n#endif\nb\n", "a\nb\n"),
        ("#if A >= 8\na\n#endif\nb\n", "b\n"),
        ("#if defined(X)\na\n#else\nb\n#endif\n",) * 2,
        ("#if X\n#if Z\na\n#else\nb\n#endif\n#endif\n", "#if X\nb\n#endif\n"),
        ("#if Z\n#if X\na\n#elif Y\nb\n#else\nc\n#endif\n#endif\nd\n", "d\n"),
    ],
)
def test_conditions(text, kept):
    assert resolved(text, {"A": 7, "Z": 0}) == kept
