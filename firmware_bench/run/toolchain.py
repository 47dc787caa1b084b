"""Compile generated C for an Arm core, with a compiler that comes from PyPI.

GCC can be used instead where it is installed.

The firmware holds the model and little else:
a vector table, startup code that clears memory,
one state, the model's functions and its tables.
It is linked for the memory of the chip, so the linker says whether it fits.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from wav2small.export.base.errors import BenchError, BenchToolError, InputError
from wav2small.export.base.files import check_output, replace_file

from ..cores import CORES, Core

FLAGS = (
    "-std=c99",
    "-ffreestanding",
    # loops that clear or copy must not become calls of functions that are not there
    "-fno-builtin",
    "-fno-unwind-tables",
    # compilers for small cores do this by default
    "-fomit-frame-pointer",
    # without it, optimisation for size leaves out the names of functions
    "-g",
)
"""Flags of every compiler, besides the core and the optimisation."""

ZIG, GCC = "zig", "arm-none-eabi-gcc"
"""The compiler from PyPI, and the one that has to be installed."""

STACK_BYTES = 2048
"""RAM that is kept for the stack."""

RAM_ORIGIN = 0x20000000
"""Address at which RAM begins."""

_SECONDS = 300
_LINK = ("-Wl,-T,link.ld", "-Wl,--entry,bench_reset", "-Wl,-z,max-page-size=4096")
_ZIG_FLAGS = ("-fno-sanitize=all",)
_GCC_FLAGS = ("-mthumb", "-fno-tree-loop-distribute-patterns", "-nostdlib")
_GCC_LINK = ("-lgcc",)
_FLASH_ORIGIN = 0x08000000
_PLENTY = 1 << 20
_DIGEST = hashlib.sha256().digest_size


class NoRoomError(BenchError):
    """A program does not fit into the memory that it is linked for."""

    def __init__(self, over: dict[str, int]) -> None:
        self.over = over
        """Bytes too many, by region: ``RAM`` and ``FLASH``."""
        listed = " and ".join(f"{region} by {over[region]} bytes" for region in over)
        super().__init__(
            f"firmware must fit, got an overflow of {listed}: choose a smaller model "
            "or a larger chip"
        )


@dataclass(frozen=True)
class Firmware:
    """A program for a core."""

    core: str
    """Name of the core, of :data:`wav2small.firmware_bench.cores.CORES`."""

    prefix: str
    """Beginning of the names of the model's functions."""

    compiler: str
    """Compiler and its version."""

    flags: tuple[str, ...]
    """Flags of the compiler, without paths."""

    elf: bytes = field(repr=False)
    """The linked program."""


def build(
    folder: str | Path,
    core: str,
    *,
    prefix: str = "wav2small",
    compiler: str = ZIG,
    optimisation: str = "-O2",
    ram: int | None = None,
    flash: int | None = None,
    stack: int = STACK_BYTES,
    selftest: bool = False,
    trace: bool = False,
    cache: str | Path | None = None,
) -> Firmware:
    """Compile and link the generated C of a model.

    A program that was built before from the same files is taken from the cache.

    Args:
        folder: folder that :func:`wav2small.export.c99.generate` wrote
        core: name of :data:`wav2small.firmware_bench.cores.CORES`
        prefix: beginning of the names of files and functions
        compiler: ``zig``, or ``arm-none-eabi-gcc`` with or without its path
        optimisation: ``-O0`` to ``-O3``, ``-Os`` or ``-Oz``
        ram: bytes of RAM to link into, by default plenty
        flash: bytes of flash memory to link into, by default plenty
        stack: bytes of RAM to keep for the stack
        selftest: whether to build the golden vectors' test instead of one state
        trace: whether the program reports which stage has finished a row,
            see :func:`wav2small.firmware_bench.run.emulation.profile`
        cache: folder for programs, by default one of the user's

    Raises:
        NoRoomError: if the program does not fit
        BenchError: if the core is not known, there is no compiler
            or the code cannot be compiled
        OSError: if the cache cannot be written to

    """
    entry = _find_core(core)
    sizes = _memory_sizes(entry, ram, flash, stack)
    sources = _sources(Path(folder), prefix, selftest)
    sources |= _startup(prefix, sizes, trace)
    command, version_name = _find_compiler(compiler)
    own, libraries = _core_flags(core, optimisation, command[0] == sys.executable)
    defines = [f"-D{prefix.upper()}_NO_MAIN", "-DBENCH_SELFTEST"] if selftest else []
    flags = (*own, *FLAGS, *entry.defines, *defines)
    store = Path(cache) if cache is not None else user_cache()
    path = store / f"{_key(version_name, flags, sources)}.elf"
    elf = _read_cached(path)
    if elf is None:
        elf = _compile(sources, command, flags, (*libraries, *_LINK), store)
        store.mkdir(parents=True, exist_ok=True)
        replace_file(path, elf + hashlib.sha256(elf).digest())
    return Firmware(core, prefix, version_name, flags, elf)


def _find_core(name: str) -> Core:
    if name not in CORES:
        raise BenchError(
            f"core must be one of {', '.join(CORES)}, got '{name}': choose one "
            "that code can be built for"
        )
    return CORES[name]


def _memory_sizes(
    core: Core, ram: int | None, flash: int | None, stack: int
) -> dict[str, int]:
    """Bytes of each memory, and the address of the flash memory."""
    board = core.board
    plenty = board.ram_bytes if board else _PLENTY
    sizes = {
        "ram": plenty if ram is None else ram,
        "flash": _PLENTY if flash is None else flash,
        "stack": stack,
    }
    for name, size in sizes.items():
        if size < 1 or size > 1 << 28:
            raise BenchError(f"{name} must be 1 to 2**28 bytes, got {size}: correct it")
    return {
        **sizes,
        "stack": -(-stack // 8) * 8,
        "origin": board.flash_origin if board else _FLASH_ORIGIN,
    }


def _core_flags(
    core: str, optimisation: str, is_zig: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Flags for a core and an optimisation, and libraries to link."""
    if not re.fullmatch("-O[0-3sz]", optimisation):
        raise BenchError(
            "optimisation must be -O0, -O1, -O2, -O3, -Os or -Oz, got "
            f"'{optimisation}': choose one"
        )
    entry = CORES[core]
    if not is_zig and entry.gcc_float is None:
        raise BenchError(f"compiler must be {ZIG} for {core}, got {GCC}: choose it")
    if not is_zig:
        assert entry.gcc_float is not None
        gcc = (f"-mcpu={core}", *entry.gcc_float, optimisation, *_GCC_FLAGS)
        return gcc, _GCC_LINK
    # zig itself takes -O2 for -O1 and -O3 as well, and -Os for -Oz
    level = (optimisation, "-Xclang", optimisation)
    target = (f"--target={entry.zig_target}", f"-mcpu={entry.zig_cpu}")
    return (*target, *level, *_ZIG_FLAGS), ()


def build_library(
    sources: Mapping[str, bytes], flags: Sequence[str], ending: str
) -> Path:
    """Compile C into a library, unless it is in the user's cache.

    Args:
        sources: C code and headers by name of the file
        flags: flags of the compiler and of the linker
        ending: of the library's name, such as ``.so``

    Raises:
        BenchError: if there is no compiler or the code cannot be compiled
        OSError: if the cache cannot be written to

    """
    command, version_name = _find_compiler(ZIG)
    store = user_cache()
    path = store / f"{_key(version_name, tuple(flags), sources)}{ending}"
    if not path.exists():
        library = _compile(sources, command, tuple(flags), (), store)
        store.mkdir(parents=True, exist_ok=True)
        replace_file(path, library)
    return path


def _find_compiler(name: str) -> tuple[tuple[str, ...], str]:
    """Command of a compiler, and its name with the version."""
    if name == ZIG:
        try:
            return (sys.executable, "-P", "-m", "ziglang", "cc"), (
                f"ziglang {version('ziglang')}"
            )
        except PackageNotFoundError as error:
            raise BenchToolError(
                "ziglang must be installed to compile, got none: "
                "pip install wav2small[firmware]"
            ) from error
    if Path(name).stem != GCC:
        raise BenchError(
            f"compiler must be {ZIG} or {GCC}, got '{name}': choose one of them"
        )
    found = shutil.which(name)
    if found is None:
        raise BenchToolError(
            f"{name} must be installed to compile with it, got none: "
            f"install it, or choose {ZIG}, which comes with wav2small[firmware]"
        )
    done = subprocess.run(
        [found, "-dumpfullversion"], capture_output=True, text=True, timeout=_SECONDS
    )
    return (found,), f"{GCC} {done.stdout.strip()}"


def user_cache() -> Path:
    """Folder of the user that keeps what was built.

    Raises:
        BenchError: if it cannot be written to

    """
    # unlike Path.home, it works without a home as well
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    store = Path(caches) / "wav2small" / "firmware"
    try:
        check_output(store, folder=True)
        store.mkdir(parents=True, exist_ok=True)
    except (InputError, OSError) as error:
        raise BenchError(
            f"cache must be a folder that can be written, got {store}: "
            "set XDG_CACHE_HOME to one"
        ) from error
    return store


def _sources(folder: Path, prefix: str, selftest: bool) -> dict[str, bytes]:
    names = [f"{prefix}{end}" for end in (".h", ".c", "_config.h", "_model.h")]
    if selftest:
        names += [f"{prefix}_selftest.c", f"{prefix}_golden.h"]
    try:
        return {name: (folder / name).read_bytes() for name in names}
    except OSError as error:
        raise BenchError(
            f"folder '{folder.name}' must hold the C code of '{prefix}', got no "
            f"{Path(error.filename or folder).name}: export it with --c99"
        ) from error


def _startup(prefix: str, sizes: dict[str, int], trace: bool) -> dict[str, bytes]:
    startup = resources.files(__package__) / "startup"
    code = (startup / "start.c").read_text("utf-8")
    script = (startup / "link.ld").read_text("utf-8")
    for name, size in sizes.items():
        script = script.replace(f"@{name}@", str(size))
    files = {
        name: text.replace("wav2small", prefix)
        .replace("WAV2SMALL", prefix.upper())
        .encode()
        for name, text in (("start.c", code), ("link.ld", script))
    }
    if trace:
        files["trace.h"] = (
            "void bench_trace(int stage);\n"
            f"#define {prefix.upper()}_TRACE(stage, row, values) bench_trace(stage)\n"
        ).encode()
    return files


def _key(compiler: str, flags: tuple[str, ...], sources: Mapping[str, bytes]) -> str:
    """Digest of everything that the program depends on."""
    digest = hashlib.sha256()
    for part in (compiler, *flags):
        digest.update(f"{len(part)} {part}".encode())
    for name, data in sorted(sources.items()):
        digest.update(f"{len(data)} {name} ".encode() + data)
    return digest.hexdigest()


def _read_cached(path: Path) -> bytes | None:
    """Program in the cache, None if there is none or it is damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    elf, digest = data[:-_DIGEST], data[-_DIGEST:]
    return elf if hashlib.sha256(elf).digest() == digest else None


def _compile(
    sources: Mapping[str, bytes],
    command: tuple[str, ...],
    flags: tuple[str, ...],
    libraries: tuple[str, ...],
    cache: Path,
) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in sources.items():
            (folder / file).write_bytes(data)
        units = sorted(file for file in sources if file.endswith(".c"))
        include = ["-include", "trace.h"] if "trace.h" in sources else []
        environment = dict(
            os.environ,
            ZIG_LOCAL_CACHE_DIR=str(folder / "zig"),
        )
        # the compiler builds its own libraries once for each core: keep them
        environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str((cache / "zig").absolute()))
        words = [*command, *flags, *include, *units, *libraries]
        try:
            done = subprocess.run(
                [*words, "-o", "firmware.elf"],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise BenchToolError(
                f"code must compile within {_SECONDS} s, got no end: "
                "try a smaller model"
            ) from error
        if done.returncode != 0:
            raise _compile_error(done.stderr)
        return (folder / "firmware.elf").read_bytes()


def _compile_error(message: str) -> BenchError:
    """Error that says in one line why there is no program."""
    over: dict[str, int] = {}
    # zig's linker and GNU's write the same in their own ways
    overflow = r"region [`']?(\w+)'?:? overflowed by (\d+) bytes"
    for region, count in re.findall(overflow, message):
        over[region] = max(over.get(region, 0), int(count))
    if over:
        return NoRoomError(over)
    lines = [line.strip() for line in message.splitlines() if "error" in line]
    line = " ".join((lines or message.split("\n"))[0].split())
    return BenchToolError(
        f"code must compile and link, got '{line[:160]}': export it again"
    )
