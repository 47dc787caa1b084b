"""Hostile models, checkpoints and JSON, made from a seed.

    python tests/hostile_models.py COUNT [SEED]

makes COUNT of them in a temporary folder, gives each to the loader that a command
gives it to, and one in five to such a command,
and says what did not end in a result or in one clean line.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import shutil
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from wav2small.bundled import DEMO
from wav2small.cli import main
from wav2small.cli.terminal import say
from wav2small.errors import InputError

SECONDS = 10.0
"""Processor time within which each input has to be dealt with."""

TEXTS = (
    "\x1b[2J\x1b]0;owned\x07", "a\nb",
    "*/ int x; /*", "=1+1", "\u202egnp", "x" * 100_000,
    "../../etc/passwd", "\x00", "<script>", "| a |", "\udcff", "", "NaN", "-1", "1e999",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**400, 2**63, 1e308, -1e308, float("nan"), float("inf"),
    [], {}, [[]], [None] * 1000,
    {"a": {"b": [1]}}, "1", 0.1, [1, "a"], 1_000_000, *TEXTS,
)  # fmt: skip

MODEL = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
g (float[1, n] signal) => (float[1, 3] logits) <float[1, 3] w = {1, 2, 3}> {
    s = Mul(signal, signal)
    m = ReduceMean <axes = [-1], keepdims = 1> (s)
    logits = MatMul(m, w)
}""")
LABELS = {"labels": "arousal,dominance,valence", "licence": "MIT"}
BOMBS = (
    "n = Constant <value_ints = [30000000000]> () f = ConstantOfShape(n)",
    "n = Constant <value_ints = [200000, 200000]> () f = Expand(signal, n)",
    "n = Constant <value_ints = [1, 9000000]> () f = Tile(signal, n)",
    "a = Constant <value_float = 0.0> () b = Constant <value_float = 1e10> ()"
    " c = Constant <value_float = 1.0> () f = Range(a, b, c)",
    "t = Transpose(signal) f0 = MatMul(t, signal) f1 = MatMul(f0, f0)"
    " f2 = MatMul(f1, f1) f3 = MatMul(f2, f2) f = MatMul(f3, f3)",
    "n = Constant <value_ints = [0, 2000000000, 0, 2000000000]> () f = Pad(signal, n)",
)


def pick(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    """Return one of some values."""
    return values[rng.integers(len(values))]


def utf8(text: str) -> str:
    """Return what of a text a message can hold."""
    return text.encode("utf-8", "replace").decode()


def tensor(**fields: Any) -> TensorProto:
    """Return a tensor with fields as they are given."""
    return TensorProto(name=fields.pop("name", "v"), **fields)


def external() -> TensorProto:
    found = tensor(data_type=1, dims=[3], data_location=TensorProto.EXTERNAL)
    found.external_data.add(key="location", value="/etc/passwd")
    return found


def structures(rng: np.random.Generator) -> Callable[[onnx.ModelProto], None]:
    """Choose how a model is turned into one that no command may run."""
    body = onnx.GraphProto(name="b")

    def add(node: onnx.NodeProto) -> Callable[[onnx.ModelProto], None]:
        return lambda model: model.graph.node.append(node)

    def functions(model: onnx.ModelProto) -> None:
        inner = helper.make_node("Relu", ["x"], ["y"])
        for level in range(int(rng.integers(20, 60))):
            name = f"F{level}"
            model.functions.add(
                name=name, domain="f", input=["x"], output=["y"], node=[inner] * 2
            )
            inner = helper.make_node(name, ["x"], ["y"], domain="f")
        model.graph.node.append(inner)

    def deep(model: onnx.ModelProto) -> None:
        graph = onnx.GraphProto(name="b")
        for _ in range(int(rng.integers(10, 30))):
            node = helper.make_node("If", ["c"], ["d"], then_branch=graph)
            graph = onnx.GraphProto(name="b", node=[node])
        model.graph.node.extend(graph.node)

    def sparse(model: onnx.ModelProto) -> None:
        model.graph.sparse_initializer.add(values=external(), dims=[3])

    def many(model: onnx.ModelProto) -> None:
        relu = helper.make_node("Relu", ["signal"], ["b"])
        model.graph.node.extend([relu] * int(rng.integers(20_001, 100_000)))

    def training(model: onnx.ModelProto) -> None:
        model.training_info.add().algorithm.initializer.append(external())

    value = onnx.SparseTensorProto(values=external(), dims=[3])
    size = int(2 ** rng.integers(20, 62))
    choices = (
        functions, deep, sparse, many, training,
        add(helper.make_node("Loop", ["", "c"], ["d"], body=body)),
        add(helper.make_node("Scan", ["c"], ["d"], body=body)),
        add(helper.make_node("Constant", [], ["c"], value=external())),
        add(helper.make_node("Constant", [], ["c"], sparse_value=value)),
        add(helper.make_node("RandomNormal", [], ["d"], shape=[1])),
        add(helper.make_node(utf8(pick(rng, TEXTS)) or "X", ["signal"], ["d"])),
        add(helper.make_node("Relu", ["signal"], ["d"], domain="other")),
        lambda model: model.graph.initializer.append(tensor(data_type=1, dims=[size])),
        lambda model: model.graph.initializer.append(external()),
        lambda model: model.graph.initializer.append(tensor(data_type=8, dims=[])),
    )  # fmt: skip
    return pick(rng, choices)


def broken(rng: np.random.Generator, data: bytes) -> bytes:
    """Flip, cut, repeat or insert some bytes."""
    bad = bytearray(data)
    place = int(rng.integers(len(bad) or 1))
    match rng.integers(4):
        case 0:
            for _ in range(rng.integers(1, 6)):
                bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
        case 1:
            del bad[place:]
        case 2:
            bad[place:place] = bad[: int(rng.integers(1, 50))]
        case 3:
            bad[place : place + 4] = rng.bytes(int(rng.integers(1, 40)))
    return bytes(bad)


def an_onnx(rng: np.random.Generator, folder: Path) -> tuple[Path, bool]:
    """Write a model; tell whether it has to be refused."""
    model, refused = copy.deepcopy(MODEL), False
    entries = dict(LABELS)
    match rng.integers(5):
        case 0:
            structures(rng)(model)
            refused = True
        case 1:
            text = onnx.printer.to_text(MODEL).replace("s = Mul (signal, signal)", "")
            bomb = pick(rng, BOMBS)
            begin = text.index("{", text.index("w =") + 12)
            text = (
                text[: begin + 1]
                + f"{bomb} k = ReduceMax <keepdims = 0> (f) s = Add(signal, k)"
                + text[begin + 1 :]
            )
            model, refused = onnx.parser.parse_model(text), True
        case 2:
            key = pick(rng, ["labels", "licence", "use", "provenance", "window"])
            entries[key] = pick(rng, TEXTS)
            for node in model.graph.node:
                node.name = utf8(pick(rng, TEXTS)) + node.op_type
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=utf8(value))
    data = model.SerializeToString()
    if not refused and rng.integers(2):
        data = broken(rng, data)
    path = folder / "x.onnx"
    path.write_bytes(data)
    return path, refused


def changed(rng: np.random.Generator, value: Any) -> Any:
    """Put something else at a random place of a JSON value."""
    if isinstance(value, dict) and value and rng.integers(5):
        key = pick(rng, list(value))
        if rng.integers(6):
            return {**value, key: changed(rng, value[key])}
        return {k: v for k, v in value.items() if k != key}
    if isinstance(value, list) and value and rng.integers(4):
        place = int(rng.integers(len(value)))
        return [*value[:place], changed(rng, value[place]), *value[place + 1 :]]
    return pick(rng, VALUES)


def some_json(rng: np.random.Generator, value: Any) -> bytes:
    """Write JSON that is no longer what it was."""
    text = json.dumps(changed(rng, value))
    match rng.integers(8):
        case 0:
            text = "[" * int(rng.integers(10, 200_000))
        case 1:
            text = '{"a":' * 50_000 + "1" + "}" * 50_000
        case 2:
            text = "9" * int(rng.integers(1000, 100_000))
        case 3:
            return broken(rng, text.encode())
    return text.encode("utf-8", "surrogatepass")


def a_safetensors(rng: np.random.Generator, good: bytes) -> bytes:
    """Write tensors whose header is not right."""
    (length,) = struct.unpack("<Q", good[:8])
    header, rest = json.loads(good[8 : 8 + length]), good[8 + length :]
    names = [name for name in header if name != "__metadata__"]
    entry = header[pick(rng, names)]
    match rng.integers(7):
        case 0:
            kinds = ["BF16", "F8_E4M3", "F64", "I8", "U64", "X", "BOOL", "C64"]
            entry["dtype"] = pick(rng, kinds)
        case 1:
            entry["shape"] = pick(rng, VALUES)
        case 2:
            entry["data_offsets"] = [0, int(2 ** rng.integers(1, 63))]
        case 3:
            header = changed(rng, header)
        case 4:
            del header[names[0]]
        case 5:
            return broken(rng, good)
        case 6:
            return struct.pack("<Q", int(2 ** rng.integers(1, 63))) + good[8:]
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + rest


def command(line: str, **places: Path) -> tuple[int, str]:
    """Run a command line in this process: exit code, and what it said."""
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    words, before = [word.format_map(places) for word in line.split()], sys.argv
    sys.argv, code = ["wav2small", *words], 0
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main()
    except SystemExit as done:
        code = int(done.code or 0)
    finally:
        sys.argv = before
    said.flush()
    return code, said.buffer.getvalue().decode()  # type: ignore[attr-defined]


def commanding(line: str, **places: Path) -> Callable[[], Any]:
    """Return what runs a command line and raises if that ends badly."""

    def act() -> None:
        code, text = command(line, **places)
        name, last = line.split()[0], text.strip()[-300:]
        if code not in (0, 1, 2, 3, 4) or "Traceback" in text:
            raise RuntimeError(f"{name} ends with {code}: {last}")
        if any(not letter.isprintable() and letter != "\n" for letter in text):
            raise RuntimeError(f"{name} writes control characters: {last!r}")
        if code in (2, 3):
            if text.count("error: ") != 1:
                raise RuntimeError(f"{name} says no line of error: {last}")
            raise InputError(text.strip()[:300])

    return act


_ANNOTATE = "annotate {speech} {out} --teacher {path} --workers 0"
_RESEARCH = f"{_ANNOTATE} --licence-policy research"
COMMANDS: dict[str, list[tuple[str, bool | None]]] = {
    "onnx": [
        (_RESEARCH, None),
        ("predict {speech} --model {path}", None),
        ("bench {path}", False),  # a plan has figures of a bomb as well
        ("c99 {path} {out}", True),  # none of them states a log-mel
    ],
    "teacher": [(_ANNOTATE, False)],
    "checkpoint": [
        ("predict {speech} --model {path}", True),
        ("export {path} {out}", True),
    ],
    "target": [("bench wav2small-rt-mini --target {path}", False)],
    "description": [(_RESEARCH, False)],
}
"""Command lines by kind, and whether they must refuse; None: if it is a bomb."""


class Corpus:
    """Inputs in a folder, each with the loader that a command gives it to."""

    def __init__(self, folder: Path) -> None:
        import teacher_checkpoints as made

        from wav2small import checkpoint

        self.folder = folder
        self.good = made.write_dawn(folder / "good")
        self.weights = (self.good / "model.safetensors").read_bytes()
        self.student = folder / "student"
        checkpoint.save(
            self.student, {"a": np.zeros(3, np.float32)}, {"student": "wav2small"}
        )
        self.speech = next(DEMO.parent.glob("*.opus"))
        self.refused = False
        """Whether no command may run the model that was made last."""
        self.paths = {
            "onnx": folder / "x.onnx",
            "teacher": self.good,
            "checkpoint": self.student,
            "target": folder / "target.json",
            "description": folder / "ensemble.json",
        }
        self.kinds = (
            self.onnx, self.onnx, self.onnx, self.teacher, self.teacher,
            self.checkpoint, self.target, self.baseline, self.description,
        )  # fmt: skip

    def make(self, rng: np.random.Generator) -> tuple[str, Callable[[], Any], bool]:
        """Make an input; return its kind, its loader and whether it must refuse."""
        kind = pick(rng, self.kinds)
        loader, refused = kind(rng)
        lines = COMMANDS.get(kind.__name__)
        if lines and rng.integers(5) == 0:
            line, must = pick(rng, lines)
            out = self.folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            path = self.paths[kind.__name__]
            act = commanding(line, path=path, out=out, speech=self.speech)
            refused = self.refused if must is None else must
            return f"{kind.__name__} by {line.split()[0]}", act, refused
        return kind.__name__, loader, refused

    def onnx(self, rng: np.random.Generator) -> tuple[Callable[[], Any], bool]:
        from wav2small.export.c99 import generate
        from wav2small.firmware_bench.plan.onnx_graph import load_graph
        from wav2small.gate import SpeechGate
        from wav2small.teachers.loading import load_teacher

        path, refused = an_onnx(rng, self.folder)
        self.refused = refused
        match rng.integers(4):
            case 0:  # plans and does not run; a bomb has its figures
                return lambda: load_graph(path), False
            case 1:
                return lambda: generate(path, self.folder / "c99"), True
            case 2:
                return lambda: SpeechGate(path), True
        return lambda: load_teacher(str(path), policy="research"), refused

    def teacher(self, rng: np.random.Generator) -> tuple[Callable[[], Any], bool]:
        from wav2small.teachers.loading import load_teacher

        folder = self.good
        for name in ("config", "preprocessor_config"):
            path = folder / f"{name}.json"
            keep = folder / f".{name}"
            if not keep.exists():
                keep.write_bytes(path.read_bytes())
            path.write_bytes(keep.read_bytes())
        (folder / "model.safetensors").write_bytes(self.weights)
        if rng.integers(2):
            data = a_safetensors(rng, self.weights)
            (folder / "model.safetensors").write_bytes(data)
        else:
            name = pick(rng, ["config", "preprocessor_config"])
            content = json.loads((folder / f".{name}").read_bytes())
            (folder / f"{name}.json").write_bytes(some_json(rng, content))
        return lambda: load_teacher(str(folder)), False

    def checkpoint(self, rng: np.random.Generator) -> tuple[Callable[[], Any], bool]:
        from wav2small.export.base import checksums
        from wav2small.models import load_model

        config = {"student": "wav2small", "config": {"channels": 13}, "teacher": {}}
        (self.student / "config.json").write_bytes(some_json(rng, config))
        data = a_safetensors(rng, self.weights)
        (self.student / "model.safetensors").write_bytes(data)
        if rng.integers(4):
            checksums.write(self.student)
        return lambda: load_model(self.student), True

    def target(self, rng: np.random.Generator) -> tuple[Callable[[], Any], bool]:
        from wav2small.firmware_bench.target import load_target

        path = self.folder / "target.json"
        figure = {"value": 1024, "source": "sheet", "verified": True}
        content = {"name": "a", "core": "cortex-m4", "ram_bytes": figure}
        path.write_bytes(some_json(rng, content | {"flash_bytes": "64KiB"}))
        return lambda: load_target(path), False

    def baseline(self, rng: np.random.Generator) -> tuple[Callable[[], Any], bool]:
        from wav2small.firmware_bench.report.baseline import load_baseline
        from wav2small.firmware_bench.run.measurement import FIGURES

        path = self.folder / "report.json"
        cores = [{"core": "cortex-m4", "figures": dict.fromkeys(FIGURES, 7)}]
        content = {"firmware": {"counted_signal": {"sha256": "x"}, "cores": cores}}
        path.write_bytes(some_json(rng, content))
        return lambda: load_baseline(path, "x"), False

    def description(self, rng: np.random.Generator) -> tuple[Callable[[], Any], bool]:
        from wav2small.teachers.loading import load_teacher

        path = self.folder / "ensemble.json"
        content = {"name": "a", "licence": "MIT", "range": [0, 1], "clip": True}
        members = [{"teacher": "bundled", "weight": 1.0, "clip": False}]
        path.write_bytes(some_json(rng, {**content, "members": members}))
        return lambda: load_teacher(str(path), policy="research"), False


def judge(loader: Callable[[], Any], refused: bool) -> str | None:
    """Load an input; return what is wrong with how that ends, None if nothing."""
    begun = time.process_time()
    try:
        loader()
        wrong = "not refused" if refused else None
    except InputError as error:
        text = str(error)
        shown = " ".join(text.split())
        wrong = "no message" if not shown else None
        if len(shown) > 3000:
            wrong = f"{len(shown)} characters"
    except Exception as error:
        wrong = f"traceback: {type(error).__name__}: {str(error)[:200]!r}"
    spent = time.process_time() - begun
    return f"{spent:.1f} s" if spent > SECONDS else wrong


def run(
    folder: Path,
    count: int,
    seed: int,
    tell: Callable[[str], object] = lambda text: None,
) -> tuple[Counter[str], list[str]]:
    """Load many inputs; return how many of each kind, and what went wrong."""
    corpus, counts, wrong = Corpus(folder), Counter[str](), []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        kind, loader, refused = corpus.make(rng)
        counts[kind] += 1
        found = judge(loader, refused)
        if found:
            wrong.append(f"{number} {kind}: {found}")
            tell(wrong[-1])
        if number % 100 == 99:
            tell(f"{number + 1} done, {len(wrong)} went wrong")
    return counts, wrong


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        numbers = [*map(int, sys.argv[1:3]), 0]
        made_of, found = run(Path(place), numbers[0], numbers[1], say)
    print(dict(made_of), f"{len(found)} went wrong")
