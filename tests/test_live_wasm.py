"""The C of a model as WebAssembly: what the module says of itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from speech import exported

from wav2small.errors import InputError
from wav2small.export.base.errors import ExportError
from wav2small.live.wasm import WINDOW_SECONDS, compile_model
from wav2small.models import bundled, find_onnx

MEMORY, IMPORTS, EXPORTS = 5, 2, 7


def number(data: bytes, at: int) -> tuple[int, int]:
    """Number in LEB128 at a place, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    assert module[:8] == b"\0asm\1\0\0\0"
    at = 8
    while at < len(module):
        kind = module[at]
        size, at = number(module, at + 1)
        yield kind, module[at : at + size]
        at += size


def exports(section: bytes) -> list[str]:
    count, at = number(section, 0)
    names = []
    for _ in range(count):
        length, at = number(section, at)
        names.append(section[at : at + length].decode())
        _, at = number(section, at + length + 1)
    return names


@pytest.mark.parametrize("name", bundled())
def test_a_module_imports_nothing_and_its_memory_cannot_grow(name: str) -> None:
    module = compile_model(find_onnx(name).read_bytes())
    found = dict(sections(module.data))
    assert IMPORTS not in found
    has_most = 1
    assert found[MEMORY][:2] == bytes([1, has_most])
    first, at = number(found[MEMORY], 2)
    assert first << 16 == number(found[MEMORY], at)[0] << 16 == module.memory_bytes
    assert module.memory_bytes <= 1 << 18
    assert len(module.data) < 90_000


@pytest.mark.parametrize(
    ("name", "normalises"), [("wav2small-rt", False), ("wav2small", True)]
)
def test_a_model_that_normalises_holds_a_window(name: str, normalises: bool) -> None:
    module = compile_model(find_onnx(name).read_bytes())
    names = exports(dict(sections(module.data))[EXPORTS])
    assert ("latest" in names) is not normalises
    assert module.normalises is normalises
    assert module.memory_bytes > 2 * 16000 * (WINDOW_SECONDS if normalises else 0.1)


def test_a_model_without_c_is_refused() -> None:
    with pytest.raises((InputError, ExportError)):
        compile_model(exported("wav2small-rt").SerializeToString())
