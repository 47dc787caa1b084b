"""Compile generated C for a core of Arm, with a compiler that comes from PyPI.

GCC does it as well where it is installed and asked for.

A firmware of the model and nothing else: a vector table, a startup that clears memory,
one state, the model's functions and its tables.
Its memory is linked as the chip has it, so the linker says whether it fits.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from wav2small.export.base.errors import BenchError, BenchToolError, InputError
from wav2small.export.base.files import check_output, replace_file

ARCHITECTURES = {
    "cortex-m3": ("thumb-freestanding-eabi", "cortex_m3"),
    "cortex-m4": ("thumb-freestanding-eabihf", "cortex_m4+vfp4d16sp"),
    "cortex-m7": ("thumb-freestanding-eabihf", "cortex_m7+fp_armv8d16sp"),
    "cortex-m33": ("thumb-freestanding-eabihf", "cortex_m33+dsp+fp_armv8d16sp"),
    "cortex-m55": ("thumb-freestanding-eabihf", "cortex_m55+mve_fp+fp_armv8d16"),
}
"""Cores that code can be built for: zig's names of system and processor."""

_FLOAT = {
    "cortex-m3": ("-mfloat-abi=soft",),
    "cortex-m4": ("-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    "cortex-m7": ("-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
    "cortex-m33": ("-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
    "cortex-m55": ("-mfloat-abi=hard", "-mfpu=auto"),
}
"""What GCC is told about a core's floating point."""

FLAGS = (
    "-std=c99",
    "-ffreestanding",
    # loops that clear or copy shall stay what they are
    "-fno-builtin",
    "-fno-unwind-tables",
    # as compilers for small cores do unasked
    "-fomit-frame-pointer",
    # or names of functions are left out when the size counts
    "-g",
)
"""What every compiler is told besides the core and the optimisation."""

ZIG, GCC = "zig", "arm-none-eabi-gcc"
"""The compiler from PyPI, and the one that has to be installed."""

STACK_BYTES = 2048
"""Memory that is kept for the stack."""

_SECONDS = 300
_LINK = ("-Wl,-T,link.ld", "-Wl,--entry,bench_reset", "-Wl,-z,max-page-size=4096")
_ZIG_FLAGS = ("-fno-sanitize=all",)
_GCC_FLAGS = ("-mthumb", "-fno-tree-loop-distribute-patterns", "-nostdlib")
_GCC_LINK = ("-lgcc",)
_ORIGIN = {"cortex-m55": 0x11000000}
"""Where flash memory begins on the emulated board, if not where others have it."""
_ROOM = {"cortex-m55": 1 << 19}
"""Bytes of RAM of that board."""
_DEFINES = {"cortex-m55": ("-DBENCH_ENABLES_FLOAT",)}
"""What the startup has to do, as nobody else can."""
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
    """Name of the core, of :data:`ARCHITECTURES`."""

    prefix: str
    """What names of the model's functions begin with."""

    compiler: str
    """Compiler and its version."""

    flags: tuple[str, ...]
    """What the compiler was told, without paths."""

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

    What was built before from the same files is taken from the cache.

    Args:
        folder: what :func:`wav2small.export.c99.generate` wrote
        core: name of :data:`ARCHITECTURES`
        prefix: what names of files and functions begin with
        compiler: ``zig``, or ``arm-none-eabi-gcc`` with or without its path
        optimisation: ``-O0`` to ``-O3``, ``-Os`` or ``-Oz``
        ram: bytes of RAM to link into, by default plenty
        flash: bytes of flash memory to link into, by default plenty
        stack: bytes of RAM to keep for the stack
        selftest: whether to build the golden vectors' test instead of one state
        trace: whether the program tells which stage has made a row,
            see :func:`wav2small.firmware_bench.run.machine.profile`
        cache: folder for results, by default one of the user's

    Raises:
        NoRoomError: if the program does not fit
        BenchError: if the core is not known, there is no compiler
            or the code cannot be compiled
        OSError: if the cache cannot be written to

    """
    if core not in ARCHITECTURES:
        raise BenchError(
            f"core must be one of {', '.join(ARCHITECTURES)}, got '{core}': choose one "
            "that code can be built for"
        )
    if not re.fullmatch("-O[0-3sz]", optimisation):
        raise BenchError(
            "optimisation must be -O0, -O1, -O2, -O3, -Os or -Oz, got "
            f"'{optimisation}': choose one"
        )
    ram = _ROOM.get(core, 1 << 20) if ram is None else ram
    flash = 1 << 20 if flash is None else flash
    for name, size in (("ram", ram), ("flash", flash), ("stack", stack)):
        if size < 1 or size > 1 << 28:
            raise BenchError(f"{name} must be 1 to 2**28 bytes, got {size}: correct it")
    sources = _sources(Path(folder), prefix, selftest)
    sizes = {"ram": ram, "flash": flash, "stack": -(-stack // 8) * 8}
    sizes["origin"] = _ORIGIN.get(core, 0x08000000)
    sources |= _startup(prefix, sizes, trace)
    defines = [f"-D{prefix.upper()}_NO_MAIN", "-DBENCH_SELFTEST"] if selftest else []
    command, named = _compiler(compiler)
    if command[0] == sys.executable:
        system, processor = ARCHITECTURES[core]
        # zig alone takes -O2 for -O1 and -O3, too, and -Os for -Oz
        level = (optimisation, "-Xclang", optimisation)
        own: tuple[str, ...] = (
            f"--target={system}",
            f"-mcpu={processor}",
            *level,
            *_ZIG_FLAGS,
        )
        libraries: tuple[str, ...] = ()
    else:
        own = (f"-mcpu={core}", *_FLOAT[core], optimisation, *_GCC_FLAGS)
        libraries = _GCC_LINK
    flags = (*own, *FLAGS, *_DEFINES.get(core, ()), *defines)
    firmware = (core, prefix, named, flags)
    store = Path(cache) if cache is not None else _user_cache()
    path = store / f"{_key(named, flags, sources)}.elf"
    elf = _cached(path)
    if elf is None:
        elf = _compile(sources, command, flags, (*libraries, *_LINK), store)
        store.mkdir(parents=True, exist_ok=True)
        replace_file(path, elf + hashlib.sha256(elf).digest())
    return Firmware(*firmware, elf)


def host_library(source: bytes, flags: Sequence[str]) -> Path:
    """Compile C into a library for this machine, unless it is in the user's cache.

    Args:
        source: C code
        flags: what else the compiler is told

    Raises:
        BenchError: if there is no compiler or the code cannot be compiled
        OSError: if the cache cannot be written to

    """
    command, named = _compiler(ZIG)
    store = _user_cache()
    own = ("-shared", "-fPIC", "-O2", *flags)
    path = store / f"{_key(named, own, {'library.c': source})}.so"
    if not path.exists():
        library = _compile({"library.c": source}, command, own, (), store)
        store.mkdir(parents=True, exist_ok=True)
        replace_file(path, library)
    return path


def _compiler(name: str) -> tuple[tuple[str, ...], str]:
    """How a compiler is called, and its name with the version."""
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
    said = subprocess.run(
        [found, "-dumpfullversion"], capture_output=True, text=True, timeout=_SECONDS
    )
    return (found,), f"{GCC} {said.stdout.strip()}"


def _user_cache() -> Path:
    # unlike Path.home it does without a home, too
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


def _key(compiler: str, flags: tuple[str, ...], sources: dict[str, bytes]) -> str:
    """Digest of everything that the program depends on."""
    digest = hashlib.sha256()
    for part in (compiler, *flags):
        digest.update(f"{len(part)} {part}".encode())
    for name, data in sorted(sources.items()):
        digest.update(f"{len(data)} {name} ".encode() + data)
    return digest.hexdigest()


def _cached(path: Path) -> bytes | None:
    """What is in the cache, if it is whole."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    elf, digest = data[:-_DIGEST], data[-_DIGEST:]
    return elf if hashlib.sha256(elf).digest() == digest else None


def _compile(
    sources: dict[str, bytes],
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
        # what the compiler makes of its own sources, once for each core
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
            raise _failure(done.stderr)
        return (folder / "firmware.elf").read_bytes()


def _failure(said: str) -> BenchError:
    """Say in one line why there is no program."""
    over: dict[str, int] = {}
    # zig's linker and GNU's say it in their own ways
    overflow = r"region [`']?(\w+)'?:? overflowed by (\d+) bytes"
    for region, count in re.findall(overflow, said):
        over[region] = max(over.get(region, 0), int(count))
    if over:
        return NoRoomError(over)
    lines = [line.strip() for line in said.splitlines() if "error" in line]
    line = " ".join((lines or said.split("\n"))[0].split())
    return BenchToolError(
        f"code must compile and link, got '{line[:160]}': export it again"
    )
