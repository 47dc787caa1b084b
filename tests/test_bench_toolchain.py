"""Programs for cores of Arm, from C code of a few lines."""

from __future__ import annotations

import io
import shutil
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from wav2small.export.base.errors import BenchError
from wav2small.firmware_bench.cores import CORES
from wav2small.firmware_bench.run import toolchain
from wav2small.firmware_bench.run.toolchain import (
    GCC,
    NoRoomError,
    build,
)

pytest.importorskip("ziglang", reason="no ziglang: nothing is compiled for Arm")
elffile = pytest.importorskip(
    "elftools.elf.elffile", reason="no pyelftools: no program is read"
)

HEADER = """
#include <stddef.h>
#include <stdint.h>
#define WAV2SMALL_SAMPLING_RATE 16000
#define WAV2SMALL_HOP_LENGTH 4
#define WAV2SMALL_SCORES 2
typedef int wav2small_status;
typedef struct { int32_t sum, room[30]; } wav2small_state;
"""
CODE = """
#include "wav2small.h"
#include "wav2small_config.h"
#include "wav2small_model.h"
static const int16_t table[100] = {1, 2, 3};
int wav2small_init(wav2small_state *state) { state->sum = 5; return 0; }
int wav2small_push(wav2small_state *state, const int16_t *samples, size_t count)
{ state->sum += samples[0] * table[count]; return 0; }
int wav2small_integers(wav2small_state *state, int32_t *integers)
{ integers[0] = state->sum; return 0; }
int wav2small_latest_integers(wav2small_state *state, int32_t *integers)
{ integers[0] = state->sum; return 0; }
"""


def write(folder: Path, code: str = CODE, prefix: str = "wav2small") -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in (
        (".h", HEADER),
        (".c", code),
        ("_config.h", ""),
        ("_model.h", ""),
        ("_selftest.c", "int wav2small_selftest(void) { return 7; }\n"),
        ("_golden.h", ""),
    ):
        text = text.replace("wav2small", prefix).replace("WAV2SMALL", prefix.upper())
        (folder / f"{prefix}{name}").write_text(text)
    return folder


def sections(elf: bytes) -> dict[str, int]:
    parts = elffile.ELFFile(io.BytesIO(elf)).iter_sections()
    return {part.name: part["sh_size"] for part in parts}


def names(elf: bytes) -> set[str]:
    table = elffile.ELFFile(io.BytesIO(elf)).get_section_by_name(".symtab")
    return {symbol.name for symbol in table.iter_symbols()}


@pytest.fixture(scope="module", autouse=True)
def compiler_cache():
    """What the compiler makes for itself once takes seconds: keep it for later runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZIG_GLOBAL_CACHE_DIR", str(toolchain.user_cache() / "zig"))
        yield


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("core", CORES)
def test_program(core, tmp_path, cache):
    firmware = build(write(tmp_path), core, cache=cache)
    assert firmware.core == core
    assert firmware.compiler.startswith("ziglang 0.")
    assert not any("/" in flag for flag in firmware.flags)
    sizes = sections(firmware.elf)
    # the state, and the memory that is kept for the stack
    assert sizes[".bss"] == 31 * 4 + 4
    assert sizes[".stack"] == 2048
    assert 200 < sizes[".text"] < 600
    assert {"bench_state", "wav2small_push"} <= names(firmware.elf)


def test_each_optimisation_is_another(tmp_path, cache):
    loop = "for (size_t i = 0; i < count; ++i) state->sum += samples[i] * table[i];"
    code = CODE.replace("state->sum += samples[0] * table[count];", loop)
    folder = write(tmp_path, code)
    sizes = {
        sections(build(folder, "cortex-m3", optimisation=level, cache=cache).elf)[
            ".text"
        ]
        for level in ("-O1", "-O3", "-Os", "-Oz")
    }
    assert len(sizes) == 4


def test_same_input_same_bytes(tmp_path):
    one, two = (
        build(write(tmp_path), "cortex-m3", cache=tmp_path / name) for name in "ab"
    )
    assert one == two


def test_cache(tmp_path, monkeypatch):
    folder, cache = write(tmp_path), tmp_path / "cache"
    made: list[tuple[str, ...]] = []
    compile_ = toolchain._compile

    def counted(sources, command, flags, libraries, folder):
        made.append(flags)
        return compile_(sources, command, flags, libraries, folder)

    monkeypatch.setattr(toolchain, "_compile", counted)
    first = build(folder, "cortex-m3", cache=cache)
    assert build(folder, "cortex-m3", cache=cache) == first
    assert len(made) == 1
    # what is no longer whole is made again
    (path,) = cache.glob("*.elf")
    for damaged in (path.read_bytes()[:-1], b"", first.elf):
        path.write_bytes(damaged)
        assert build(folder, "cortex-m3", cache=cache) == first
    assert len(made) == 4
    # as is what depends on something else
    build(folder, "cortex-m3", cache=cache, optimisation="-O1")
    build(folder, "cortex-m3", cache=cache, ram=9999)
    (folder / "wav2small.c").write_text(CODE.replace("5", "6"))
    assert build(folder, "cortex-m3", cache=cache).elf != first.elf
    assert len(made) == 7


def test_cache_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    build(write(tmp_path), "cortex-m3")
    assert len(list(tmp_path.glob("mine/wav2small/firmware/*.elf"))) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert toolchain.user_cache() == Path.home() / ".cache/wav2small/firmware"


def test_selftest_instead_of_a_state(tmp_path, cache):
    firmware = build(write(tmp_path), "cortex-m3", selftest=True, cache=cache)
    found = names(firmware.elf)
    assert "wav2small_selftest" in found
    assert "bench_state" not in found


def test_other_prefix(tmp_path, cache):
    folder = write(tmp_path, prefix="voice")
    found = names(build(folder, "cortex-m3", prefix="voice", cache=cache).elf)
    assert {"voice_init", "voice_push", "voice_integers"} <= found


def test_too_little_memory(tmp_path, cache):
    folder = write(tmp_path)
    need = 31 * 4 + 4 + 2048
    build(folder, "cortex-m3", cache=cache, ram=need)
    with pytest.raises(
        BenchError, match="must fit, got an overflow of RAM by 8 bytes: choose a small"
    ):
        build(folder, "cortex-m3", cache=cache, ram=need - 8)
    with pytest.raises(BenchError, match=r"FLASH by \d+ bytes and RAM by 2168 bytes: "):
        build(folder, "cortex-m3", cache=cache, ram=8, flash=64)
    with pytest.raises(NoRoomError) as caught:
        build(folder, "cortex-m3", cache=cache, ram=need - 8)
    assert caught.value.over == {"RAM": 8}
    # a smaller stack leaves room
    build(folder, "cortex-m3", cache=cache, ram=need - 8, stack=2040)


def test_code_that_is_wrong(tmp_path, cache):
    folder = write(tmp_path, "int wav2small_push(void) { return colour; }")
    with pytest.raises(
        BenchError, match=r"must compile and link, got .*colour"
    ) as info:
        build(folder, "cortex-m3", cache=cache)
    assert "\n" not in str(info.value)
    folder = write(tmp_path, "int away(void); int wav2small_push(void){return away();}")
    with pytest.raises(BenchError, match="undefined symbol: away"):
        build(folder, "cortex-m3", cache=cache)


def test_folder_without_code(tmp_path, cache):
    with pytest.raises(BenchError, match=r"C code of 'other', got no other\.h: export"):
        build(write(tmp_path), "cortex-m3", prefix="other", cache=cache)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"core": "cortex-m85"}, "core must be one of cortex-m3, .* got 'cortex-m85'"),
        ({"optimisation": "-Ofast"}, "must be -O0, .* got '-Ofast'"),
        ({"ram": 0}, r"ram must be 1 to 2\*\*28 bytes, got 0"),
        ({"flash": 2**29}, r"flash must be 1 to 2\*\*28 bytes, got 536870912"),
        ({"stack": -1}, r"stack must be 1 to 2\*\*28 bytes, got -1"),
    ],
)
def test_wrong_arguments(changes, message, tmp_path, cache):
    arguments = {"core": "cortex-m3", "cache": cache, **changes}
    with pytest.raises(BenchError, match=message):
        build(write(tmp_path), **arguments)


def test_no_compiler(tmp_path, cache, monkeypatch):
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(toolchain, "version", missing)
    with pytest.raises(BenchError, match=r"got none: pip install wav2small\[firmware]"):
        build(write(tmp_path), "cortex-m3", cache=cache)


def test_compiler_that_hangs(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(toolchain, "_SECONDS", 0.3)
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    with pytest.raises(BenchError, match=r"must compile within 0\.3 s, got no end"):
        build(write(tmp_path), "cortex-m3", cache=cache, optimisation="-Oz")


# -- GCC ---------------------------------------------------------------------


def needs_gcc() -> None:
    if not shutil.which(GCC):
        pytest.skip(f"no {GCC}: nothing is compiled with it")


def test_gcc_builds_for_arm_alone(tmp_path, cache):
    needs_gcc()
    with pytest.raises(BenchError, match=r"compiler must be zig for rv32imac, got arm"):
        build(write(tmp_path), "rv32imac", compiler=GCC, cache=cache)


@pytest.mark.parametrize("core", [c for c in CORES if not CORES[c].riscv])
def test_gcc(core, tmp_path, cache):
    needs_gcc()
    folder = write(tmp_path)
    firmware = build(folder, core, compiler=GCC, cache=cache)
    assert firmware.compiler.startswith(f"{GCC} ")
    assert not any("/" in flag for flag in firmware.flags)
    assert {"bench_state", "wav2small_push"} <= names(firmware.elf)
    assert firmware.elf != build(folder, core, cache=cache).elf
    # by its path it is the same one
    path = shutil.which(GCC)
    assert build(folder, core, compiler=str(path), cache=tmp_path / "own") == firmware


def test_what_gcc_says(tmp_path, cache):
    needs_gcc()
    folder = write(tmp_path)
    need = 31 * 4 + 4 + 2048
    with pytest.raises(NoRoomError) as caught:
        build(folder, "cortex-m4", compiler=GCC, cache=cache, ram=need - 8, flash=64)
    assert caught.value.over["RAM"] == 8 and caught.value.over["FLASH"] > 100
    folder = write(tmp_path, "int wav2small_push(void) { return colour; }")
    with pytest.raises(BenchError, match=r"must compile and link, got .*colour"):
        build(folder, "cortex-m4", compiler=GCC, cache=cache)


def test_compilers_that_are_not_there(tmp_path, cache, monkeypatch):
    folder = write(tmp_path)
    with pytest.raises(BenchError, match=r"compiler must be zig or arm-.*, got 'cc'"):
        build(folder, "cortex-m4", compiler="cc", cache=cache)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match=r"arm-none-eabi-gcc must be installed .*zig"):
        build(folder, "cortex-m4", compiler=GCC, cache=cache)
