"""Does the generated C give the reference's bits, whatever builds and runs it?

    python examples/firmware_sweep.py [DATA] [--clips 200] [--models NAME ...]

Every bundled model is written as C99
and hears parts of real clips in pieces of random lengths, some of none,
asked for a result once in between and at the end.
Integers and scores are compared bit by bit
with those of :class:`wav2small.export.integer.reference.ReferenceModel`,
which hears each clip at once:
compiled by GCC and clang, for 64 and 32 bits, with ``-O0`` to ``-O3``, on this machine,
and on emulated cores of Arm, where levels other than ``-O2`` hear but a few clips.

DATA is a folder of audio, or of ``emodb`` and ``librispeech_subset``;
without it the bundled clips are heard.
A compiler that is not there is left out aloud.
Exit code 1 if a bit differs.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from wav2small import audio
from wav2small.bundled import DEMO
from wav2small.export.base.errors import BenchError, ExportError
from wav2small.export.c99 import generate
from wav2small.export.c99.golden import min_samples
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.operators.log_mel import LogMel
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.streaming.schedule import schedule
from wav2small.firmware_bench.run.emulation import selftest
from wav2small.firmware_bench.run.toolchain import build
from wav2small.models import bundled, find_onnx

CACHE = Path(__file__).resolve().parent.parent / "runs" / "firmware"
LEVELS = ("-O0", "-O1", "-O2", "-O3")
CORES = ("cortex-m4", "cortex-m33")
SECONDS = (0.4, 1.6)
"""Shortest and longest part of a clip."""

BATCH = 20
"""Clips that a core has in its flash memory at once."""

FEW = 3
"""Clips of a core for levels of optimisation that nobody ships."""

FOLDERS = ("emodb", "librispeech_subset")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
ZIG = (sys.executable, "-P", "-m", "ziglang", "cc", "-fno-sanitize=all")

HARNESS = """\
/* Hears clips in pieces of random lengths; counts the bits that differ. */
#include "wav2small.h"

#if defined(WAV2SMALL_NO_MAIN)
#include "wav2small_golden.h"
#else
#include <stdio.h>
#include <stdlib.h>
#endif

static int16_t clip[MOST_SAMPLES];
static const unsigned char *next;
static uint32_t noise;

static uint32_t word(void)
{
    const uint32_t low = (uint32_t)next[0] | (uint32_t)next[1] << 8;
    const uint32_t high = (uint32_t)next[2] | (uint32_t)next[3] << 8;
    next += 4;
    return low | high << 16;
}

static uint32_t draw(uint32_t below)
{
    noise = noise * 1664525u + 1013904223u;
    return (noise >> 8) % below;
}

static uint32_t differing(uint32_t one, uint32_t other)
{
    uint32_t both, bits = 0;
    for (both = one ^ other; both != 0u; both &= both - 1u) {
        ++bits;
    }
    return bits;
}

static wav2small_state state;

static uint32_t asked(int compared)
{
    int32_t integers[WAV2SMALL_SCORES];
    uint32_t i, bits = (wav2small_integers(&state, integers) == WAV2SMALL_OK) ? 0u : 1u;
    for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
        const uint32_t wanted = word();
        bits += compared ? differing((uint32_t)integers[i], wanted) : 0u;
    }
    return bits;
}

static uint32_t heard(void)
{
    const uint32_t count = word(), middle = word();
    const int once = (int)word();
    union { float score; uint32_t bits; } number;
    float scores[WAV2SMALL_SCORES];
    const unsigned char *wanted = next;
    uint32_t i, n = 0, bits = 0;
    next += 12u * WAV2SMALL_SCORES;
    for (i = 0; i < count; ++i) {
        clip[i] = (int16_t)(uint16_t)((uint32_t)next[0] | (uint32_t)next[1] << 8);
        next += 2;
    }
#if NORMALISED
    {
        wav2small_level level;
        bits += (wav2small_measure(clip, count, &level) == WAV2SMALL_OK) ? 0u : 1u;
        bits += (wav2small_init(&state, &level) == WAV2SMALL_OK) ? 0u : 1u;
    }
#else
    bits += (wav2small_init(&state) == WAV2SMALL_OK) ? 0u : 1u;
#endif
    noise = count;
    while (n < count) {
        const uint32_t end = (n < middle) ? middle : count;
        uint32_t taken = draw((draw(4u) == 0u) ? 4000u : 200u);
        taken = (draw(8u) == 0u) ? 0u : taken;
        taken = (once || (taken > end - n)) ? end - n : taken;
        bits += (wav2small_push(&state, clip + n, taken) == WAV2SMALL_OK) ? 0u : 1u;
        n += taken;
        if ((n == middle) && (taken != 0u)) {
            const unsigned char *after = next;
            next = wanted;
            /* a signal that has the level of all of it is another one half way */
            bits += asked(!NORMALISED);
            next = after;
        }
    }
    {
        const unsigned char *after = next;
        next = wanted + 4u * WAV2SMALL_SCORES;
        bits += asked(1);
        bits += (wav2small_result(&state, scores) == WAV2SMALL_OK) ? 0u : 1u;
        for (i = 0; i < (uint32_t)WAV2SMALL_SCORES; ++i) {
            number.score = scores[i];
            bits += differing(number.bits, word());
        }
        next = after;
    }
    return bits;
}

int wav2small_selftest(void);

#if defined(WAV2SMALL_NO_MAIN)
int wav2small_selftest(void)
{
    uint32_t i, bits = 0;
    next = clips;
    for (i = 0; i < CLIPS; ++i) {
        bits += heard();
    }
    return (int)bits;
}
#else
int main(int argc, char **argv)
{
    FILE *file = (argc > 1) ? fopen(argv[1], "rb") : NULL;
    const size_t size = (argc > 2) ? (size_t)atol(argv[2]) : 0u;
    unsigned char *data = malloc(size);
    uint32_t bits = 0;
    if (!file || !data || fread(data, 1, size, file) != size) {
        return 1;
    }
    for (next = data; next < data + size;) {
        bits += heard();
    }
    printf("%lu bits, %d\\n", (unsigned long)bits, (int)sizeof(void *));
    fclose(file);
    free(data);
    return 0;
}
#endif
"""


@dataclass(frozen=True)
class Row:
    """How one build of a model does."""

    model: str
    built: str
    level: str
    clips: int
    seconds: float
    bits: int


@dataclass(frozen=True)
class Compiler:
    """How code for this machine is built."""

    name: str
    library: tuple[str, ...]
    """Compiles the model."""

    program: tuple[str, ...]
    """Compiles what calls it, and links both."""

    pointer: int
    """Bytes of an address, which the program tells."""


def real_clips(data: Path | None, count: int, seed: int = 0) -> list[np.ndarray]:
    """Parts of clips, int16, of random lengths, the same for the same seed."""
    places = [DEMO]
    if data is not None:
        places = [data / name for name in FOLDERS if (data / name).is_dir()] or [data]
    _, sources = audio.find(places)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(sources), count, replace=count > len(sources))
    shortest, longest = (int(16000 * seconds) for seconds in SECONDS)
    clips: list[np.ndarray] = []
    for index in chosen:
        signal = audio.load(sources[index].path)
        samples = np.clip(np.round(signal * 32768), -32768, 32767).astype(np.int16)
        length = min(len(samples), int(rng.integers(shortest, longest + 1)))
        start = int(rng.integers(len(samples) - length + 1))
        clips.append(samples[start : start + length])
    return clips


def vector(model: IntegerGraph, clip: np.ndarray, number: int) -> bytes:
    """A clip, what the reference makes of it and of a beginning, for the harness."""
    reference = ReferenceModel(model)
    fewest = min_samples(schedule(model))
    middle = fewest + (number * 7919) % max(1, len(clip) - fewest)
    integers, earlier = (
        reference.run(heard)[model.output].reshape(-1)
        for heard in (clip, clip[:middle])
    )
    output = model.tensors[model.output]
    scores = ((integers - np.int64(output.zero_point)) * output.scale).astype("<f4")
    # every eighth clip is pushed at once
    numbers = np.array([len(clip), middle, number % 8 == 0], "<u4")
    parts = (numbers, earlier.astype("<i4"), integers.astype("<i4"), scores)
    return b"".join(part.tobytes() for part in (*parts, clip.astype("<i2")))


def golden(vectors: Sequence[bytes]) -> str:
    """Clips as constants of C."""
    data = b"".join(vectors)
    text = "".join(f"\\{byte:03o}" for byte in data)
    lines = (f'    "{text[i : i + 4000]}"' for i in range(0, len(text), 4000))
    return (
        f"#define CLIPS {len(vectors)}u\n"
        f"static const unsigned char clips[{len(data)}] =\n" + "\n".join(lines) + ";\n"
    )


def write_package(model: IntegerGraph, folder: Path, most: int) -> None:
    """Write the C99 of a model, its self-test replaced by the harness."""
    generate(model, folder)
    normalised = any(
        isinstance(operator, LogMel) and operator.front_end.power_floor is not None
        for operator in model.operators
    )
    (folder / "wav2small_selftest.c").write_text(
        f"#define MOST_SAMPLES {most}\n#define NORMALISED {int(normalised)}\n{HARNESS}"
    )


def compilers() -> list[Compiler]:
    """Compilers for this machine that are there."""
    found = []
    pc = platform.machine() in ("x86_64", "AMD64") and platform.system() == "Linux"
    # GCC often has no C library for 32 bits; zig brings one
    narrow = (*ZIG, "-target", "x86-linux-musl")
    if gcc := shutil.which("gcc"):
        name = f"GCC {_first(gcc, '-dumpfullversion')}"
        found.append(Compiler(f"{name}, 64-bit", (gcc,), (gcc,), 8))
        if pc:
            library = (gcc, "-m32", "-ffreestanding", "-fno-pie")
            found.append(Compiler(f"{name}, 32-bit", library, narrow, 4))
    else:
        print("GCC is left out: gcc is missing", file=sys.stderr)
    clang = shutil.which("clang")
    wide = (clang,) if clang else ZIG
    name = "clang " + _first(*wide, "--version").split()[2]
    found.append(Compiler(f"{name}, 64-bit", wide, wide, 8))
    if pc:
        name = "clang " + _first(*ZIG, "--version").split()[2]
        found.append(Compiler(f"{name}, 32-bit", narrow, narrow, 4))
    else:
        print("32 bits are left out: not Linux on x86-64", file=sys.stderr)
    return found


def _first(*command: str) -> str:
    return _run(*command).splitlines()[0]


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        line = " ".join(map(str, command))
        raise SystemExit(f"error: '{line}' failed: see above")
    return done.stdout


def on_host(folder: Path, compiler: Compiler, level: str, data: Path) -> int:
    """Build and run on this machine; bits that differ."""
    # zig alone takes -O2 for -O1 and -O3, too
    levels = (level, "-Xclang", level) if ZIG[2] in compiler.library else (level,)
    model, program = folder / "model.o", folder / "sweep"
    code = folder / "wav2small.c"
    _run(*compiler.library, *STRICT, *levels, "-c", code, "-o", model)
    calls = folder / "wav2small_selftest.c"
    _run(*compiler.program, "-std=c99", "-O1", calls, model, "-o", program)
    said = re.fullmatch(
        r"(\d+) bits, (\d)\n", _run(program, data, str(data.stat().st_size))
    )
    assert said, "the program must end by what it counted"
    assert int(said[2]) == compiler.pointer, "the build must be as it is called"
    return int(said[1])


def on_core(folder: Path, core: str, level: str, vectors: Sequence[bytes]) -> int:
    """Build for and run on an emulated core; bits that differ."""
    (folder / "wav2small_golden.h").write_text(golden(vectors))
    size = sum(map(len, vectors))
    firmware = build(
        folder,
        core,
        optimisation=level,
        flash=size + (1 << 20),
        stack=4096,
        selftest=True,
        cache=CACHE,
    )
    return selftest(firmware)


def sweep(name: str, clips: Sequence[np.ndarray]) -> Iterator[Row]:
    """Compare every build of a model with the reference."""
    model = read(find_onnx(name))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_package(model, folder, max(map(len, clips)))
        console = Console(stderr=True)
        numbered = list(enumerate(clips))
        vectors = [
            vector(model, clip, number)
            for number, clip in track(numbered, f"{name}: reference", console=console)
        ]
        data = folder / "clips"
        data.write_bytes(b"".join(vectors))
        seconds = sum(map(len, clips)) / 16000
        builds = [(compiler, level) for compiler in compilers() for level in LEVELS]
        for compiler, level in track(builds, f"{name}: this machine", console=console):
            bits = on_host(folder, compiler, level, data)
            yield Row(name, compiler.name, level, len(clips), seconds, bits)
        jobs = [
            (core, level, start)
            for core in CORES
            for level in LEVELS
            for start in range(0, len(vectors) if level == "-O2" else FEW, BATCH)
        ]
        found: dict[tuple[str, str], int] = {}
        for core, level, start in track(jobs, f"{name}: cores", console=console):
            end = start + BATCH if level == "-O2" else FEW
            bits = on_core(folder, core, level, vectors[start:end])
            found[core, level] = found.get((core, level), 0) + bits
        for (core, level), bits in found.items():
            heard = clips if level == "-O2" else clips[:FEW]
            seconds = sum(map(len, heard)) / 16000
            yield Row(name, core, level, len(heard), seconds, bits)


HEADER = """\
| model | built by, or run on | optimisation | clips | seconds | differing bits |
|---|---|---|---|---|---|"""


def line(row: Row) -> str:
    """Row of the table."""
    return (
        f"| {row.model} | {row.built} | {row.level} | {row.clips} | "
        f"{row.seconds:.0f} | {row.bits} |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = os.environ.get("WAV2SMALL_DATA")
    parser.add_argument("data", nargs="?", type=Path, default=data and Path(data))
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--models", nargs="+", default=list(bundled()))
    options = parser.parse_args(arguments)
    clips = real_clips(options.data, options.clips)
    print(HEADER, flush=True)
    bits = 0
    try:
        for name in options.models:
            for row in sweep(name, clips):
                print(line(row), flush=True)
                bits += row.bits
    except (BenchError, ExportError) as error:
        raise SystemExit(f"error: {error}") from error
    return int(bits > 0)


if __name__ == "__main__":
    sys.exit(main())
