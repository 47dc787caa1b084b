"""Which runtimes take the files that are shipped.

onnxruntime-web has three backends.
Its WebAssembly is the whole CPU engine of onnxruntime,
so a list of its operators would be that of every operator;
what can fail there is a file that is too new, a custom operator
or a type that the CPU has no kernel for, and this is what is checked here.
Its WebGPU has fewer operators and leaves the others to WebAssembly;
:data:`WEBGPU` says which, so that a new one is noticed.
Real runs, WebAssembly's among them, are those of ``make interop``;
they are repeated here where it has installed the runtimes.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

ROOT = Path(__file__).parent.parent
ASSETS = ROOT / "wav2small" / "assets"
MODEL = ASSETS / "models" / "wav2small" / "model.onnx"

NEWEST_OPSET, NEWEST_IR = 20, 9
"""What the oldest onnxruntime that is promised knows;
source: what 1.17.0 says when it refuses anything newer."""

TYPES = {
    TensorProto.BOOL,
    TensorProto.DOUBLE,
    TensorProto.FLOAT,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.INT8,
    TensorProto.UINT16,
    TensorProto.UINT8,
}
"""Types that the CPU computes with in 1.17 as in the newest;
16-bit floats have few kernels there, integers of 4 bits came later;
source: microsoft/onnxruntime, docs/OperatorKernels.md, CPUExecutionProvider."""

WEBGPU = {
    "Add": [7, 13, 14],
    "BitShift": None,
    "Cast": [6, 9, 13, 19, 21],
    "Clip": [6, 11, 12, 13],
    "Concat": [1, 4, 11, 13],
    "Conv": [1, 11],
    "DequantizeLinear": [10, 13, 19, 21],
    "Div": [7, 13, 14],
    "Gemm": [7, 9, 11, 13],
    "Log": [6, 13],
    "MatMul": [1, 13],
    "Max": None,
    "MaxPool": [1, 8, 10, 11, 12],
    "Mul": [7, 13, 14],
    "Pad": [2, 11, 13, 18, 19, 21],
    "Pow": [7, 12, 13, 15],
    "QuantizeLinear": None,
    "Range": [11],
    "ReduceMax": [1, 11, 12, 13, 18, 20],
    "ReduceMean": [1, 11, 13, 18],
    "ReduceSum": [1, 11, 13],
    "Relu": [6, 13, 14],
    "Reshape": [5, 13, 14, 19, 21],
    "ScatterElements": None,
    "ConstantOfShape": None,
    "Shape": [1, 13, 15, 19, 21],
    "Sigmoid": [6, 13],
    "Sin": [7],
    "Slice": [1, 10, 11, 13],
    "Softmax": [1, 11, 13],
    "Sqrt": [6, 13],
    "Sub": [7, 13, 14],
    "Transpose": [1, 13, 21],
    "Unsqueeze": [1, 11, 13, 21],
}
"""Versions in which WebGPU has an operator, None where WebAssembly takes over;
source: microsoft/onnxruntime, js/web/docs/webgpu-operators.md,
as packed with onnxruntime-web 1.30.0."""


def load_example() -> ModuleType:
    path = ROOT / "examples" / "old_runtimes.py"
    specification = importlib.util.spec_from_file_location("old_runtimes", path)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # its dataclasses look there
    specification.loader.exec_module(module)
    return module


interop = load_example()


def model(text: str, *, opset: int = 17, ir: int = 8) -> ModelProto:
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    graph = onnx.parser.parse_graph(text)
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def problems(candidate: ModelProto) -> list[str]:
    """What the oldest onnxruntime or WebAssembly would not take."""
    found = []
    if candidate.ir_version > NEWEST_IR:
        found.append(f"IR version {candidate.ir_version}")
    for entry in candidate.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version > NEWEST_OPSET:
            found.append(f"opset {entry.version}")
    for node in candidate.graph.node:
        if node.domain not in ("", "ai.onnx"):
            found.append(f"operator {node.domain}.{node.op_type}")
    inferred = onnx.shape_inference.infer_shapes(candidate, data_prop=True).graph
    types = {tensor.data_type for tensor in inferred.initializer}
    for value in (*inferred.input, *inferred.output, *inferred.value_info):
        types.add(value.type.tensor_type.elem_type)
    found += [TensorProto.DataType.Name(number) for number in sorted(types - TYPES)]
    return found


def listed(candidate: ModelProto) -> dict[str, bool]:
    """Operators of a model, and whether WebGPU has that version."""
    (opset,) = (entry.version for entry in candidate.opset_import if not entry.domain)
    result = {}
    for operator in {node.op_type for node in candidate.graph.node}:
        versions = WEBGPU[operator]
        since = onnx.defs.get_schema(operator, opset).since_version
        result[operator] = versions is not None and since in versions
    return result


def test_bundled_model_has_the_promised_opset() -> None:
    imports = onnx.load(MODEL).opset_import
    assert [(entry.domain, entry.version) for entry in imports] == [("", 17)]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            id=path.relative_to(ASSETS).as_posix(),
        )
        for path in sorted(ASSETS.rglob("*.onnx"))
    ],
)
def test_bundled_files_are_old_enough_for_every_runtime(path: Path) -> None:
    assert not problems(onnx.load(path))


@pytest.mark.parametrize(
    "candidate, found",
    [
        (model("g (float[1] x) => (float[1] y) { y = Exp(x) }"), []),
        (
            model("g (float[1] x) => (float[1] y) { y = Exp(x) }", opset=21, ir=10),
            ["IR version 10", "opset 21"],
        ),
        (
            model("g (float[1] x) => (float[1] y) { y = com.microsoft.Gelu(x) }"),
            ["operator com.microsoft.Gelu"],
        ),
        (
            model(
                "g (float[1] x) => (float[1] y)"
                " { h = Cast<to=10>(x) e = Exp(h) y = Cast<to=1>(e) }"
            ),
            ["FLOAT16"],
        ),
    ],
)
def test_problems_are_found(candidate: ModelProto, found: list[str]) -> None:
    assert problems(candidate) == found


def test_what_webgpu_leaves_to_webassembly() -> None:
    operators = listed(onnx.load(MODEL))
    left = {name for name, has in operators.items() if not has}
    # constants are made once; the rest is integers that a graphics card gains
    # nothing from
    assert left <= {
        "BitShift",
        "ConstantOfShape",
        "QuantizeLinear",
        "ScatterElements",
    }
    assert operators["Conv"] and operators["MatMul"] and operators["Softmax"]


def test_table_is_that_of_the_package() -> None:
    path = interop.ENVIRONMENTS / f"web-{interop.WEB}" / "node_modules"
    path = path / "onnxruntime-web" / "docs" / "webgpu-operators.md"
    if not path.exists():
        pytest.skip("no onnxruntime-web: run make interop")
    rows = re.findall(r"^\| (\w+) \| ai\.onnx\(([^)]*)\)", path.read_text(), re.M)
    table = {name: re.findall(r"(\d+)[-+\d]*", text) for name, text in rows}
    for operator, versions in WEBGPU.items():
        found = table.get(operator)
        assert versions == (found and [int(version) for version in found]), operator


def test_the_same_scores_here() -> None:
    rows = interop.compare(interop.bundled(), {})
    assert {row.model for row in rows} >= {MODEL}
    assert all(row.passed for row in rows), interop.table(rows)
    exact = [row for row in rows if row.execution == "exact"]
    assert exact and all(row.difference == 0 for row in exact)


def runtimes() -> list[str]:
    return [*interop.VERSIONS, f"web-{interop.WEB}"]


@pytest.mark.parametrize("runtime", runtimes())
def test_the_same_scores_elsewhere(runtime: str) -> None:
    folder = interop.ENVIRONMENTS / runtime
    if not (folder / "installed").exists():
        pytest.skip(f"onnxruntime {runtime} is not installed: run make interop")
    if runtime.startswith("web"):
        command = interop.install_web(interop.WEB)
    else:
        command = interop.install(runtime)
    rows = interop.compare([MODEL], {runtime: command})
    assert [row.execution for row in rows if row.runtime == runtime] == [
        "default",
        "exact",
    ]
    assert all(row.passed for row in rows), interop.table(rows)


def test_a_model_that_does_not_load_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.onnx"
    signature = "g (float[1, 400] x) => (float[1, 400] y)"
    unknown = model(f"{signature} {{ y = com.microsoft.NoSuchThing(x) }}")
    path.write_bytes(unknown.SerializeToString())
    assert interop.main([str(path), "--web", "", "--versions"]) == 1
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 2
    assert all("inf  FAILED" in line and "NoSuchThing" in line for line in lines)


def test_a_runtime_that_dies_fails() -> None:
    command = [sys.executable, "-c", "raise SystemExit('out of order')"]
    rows = interop.compare([MODEL], {"broken": command})
    broken = [row for row in rows if row.runtime == "broken"]
    assert [row.error for row in broken] == ["exit code 1: out of order"] * 2
    assert not any(row.passed for row in broken)


def test_other_scores_fail() -> None:
    # a runtime that runs, but mixes up the order of the scores
    mixed = interop.RUNNER.replace("[0].tolist()", "[0].tolist()[0][::-1]")
    rows = interop.compare([MODEL], {"off": [sys.executable, "-c", mixed]})
    passed = {row.runtime: row.passed for row in rows}
    assert not passed.pop("off") and all(passed.values())


def test_signals_are_the_same_every_time() -> None:
    first, second = (list(interop.synthetic_signals(None)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert {len(signal) for signal in interop.synthetic_signals(400)} == {400}
    assert max(abs(signal).max() for signal in first) <= 1
