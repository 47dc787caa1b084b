"""Compile the C of a model into WebAssembly, which browsers run.

The code is that of the firmware, from the same generator and the same compiler.
The module imports nothing, and its memory has a fixed size.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from wav2small.export.c99 import generate, outline
from wav2small.export.integer.reader import read
from wav2small.firmware_bench.run.toolchain import build_library

WINDOW_SECONDS = 4
"""What a model that normalises each signal hears at once."""

BLOCKS_PER_SECOND = 10
"""How often a page asks for scores."""

_FLAGS = (
    "--target=wasm32-freestanding",
    "-std=c99",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-sanitize=all",
    # vector instructions and -O2 were tried: a larger module, and not a faster one
    "-Os",
    "-Xclang",
    "-Os",
    "-nostdlib",
    "-Wl,--no-entry",
    "-Wl,--strip-all",
)
_FILES = tuple(
    f"wav2small{ending}"
    for ending in (".h", ".c", "_config.h", "_model.h", "_decide.h", "_decide.c")
)
_FUNCTIONS = {
    "FORGET": "wav2small_forget",
    "LEVEL": "wav2small_measure",
    "LISTEN": "wav2small_listen",
    "CATEGORIES": "wav2small_latest_categories",
    "DOUBTS": "wav2small_latest_doubts",
}
"""What the C of a model may have, and the function by which it is known."""

_PAGE = 1 << 16
_STACK = 1 << 13
_STRUCTS = 1 << 14
"""More than the structs of any model and the numbers of the code."""


@dataclass(frozen=True)
class Module:
    """A model as WebAssembly."""

    data: bytes
    """The module."""

    memory_bytes: int
    """Size of its memory, which does not grow."""

    forgets: bool
    """Whether the time in which it forgets can be set."""

    normalises: bool
    """Whether it needs the level of the whole signal before it hears it."""

    knows_speech: bool
    """Whether it can learn from speech alone."""


def compile_model(model: bytes) -> Module:
    """Compile the C of a model.

    Args:
        model: exported int8 model, the bytes of its ONNX file

    Raises:
        ExportError: if there can be no C of the model
        BenchError: if there is no compiler, or the code cannot be compiled

    """
    graph = read(model)
    with tempfile.TemporaryDirectory() as name:
        generate(graph, name)
        sources = {file: Path(name, file).read_bytes() for file in _FILES}
    header = sources["wav2small.h"].decode()
    has = {name for name, function in _FUNCTIONS.items() if f"{function}(" in header}
    normalises = "LEVEL" in has
    rate = graph.sampling_rate
    held = rate * WINDOW_SECONDS if normalises else rate // BLOCKS_PER_SECOND
    code = outline(graph)
    needed = code.tables_bytes + code.memory.state + 2 * held + _STRUCTS + _STACK
    memory = -(-needed // _PAGE) * _PAGE
    flags = [*_FLAGS, f"-DSAMPLES={held}", f"-Wl,-z,stack-size={_STACK}"]
    flags += [f"-DHAS_{name}" for name in sorted(has)]
    flags += [f"-Wl,--initial-memory={memory}", f"-Wl,--max-memory={memory}"]
    glue = resources.files(__package__).joinpath("glue.c").read_bytes()
    path = build_library({**sources, "glue.c": glue}, flags, ".wasm")
    return Module(
        path.read_bytes(),
        memory,
        forgets="FORGET" in has,
        normalises=normalises,
        knows_speech="LISTEN" in has,
    )
