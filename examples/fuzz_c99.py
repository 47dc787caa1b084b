"""Does anything that can be called break the generated C?

    python examples/fuzz_c99.py [--pushes 1000000] [--runs 5000] [--models NAME ...]

Bytes are read as calls of the functions that ``wav2small.h`` declares:
pushes of any number of samples, none and far too many included,
results, beginnings and ends of signals in any order, calls before the first beginning,
missing pointers.
Every status is compared with the one that the header promises,
samples lie in memory of their own of just their size,
and the code is built with ``-fsanitize=address,undefined``.

Two drivers make the bytes, both the same for the same seed:

* **random** ones until there were so many pushes;
* a **guided** one that changes inputs and keeps those that reach new branches.
  It is libFuzzer where clang has it, else one of our own of few lines.

What breaks it is kept in ``runs/fuzz``;
the program there runs such a file again when it is given its name.
Exit code 1 if something was found.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wav2small.export.c99 import generate
from wav2small.export.integer.operators.log_mel import LogMel
from wav2small.export.integer.reader import read
from wav2small.models import bundled, find_onnx

FOLDER = Path(__file__).resolve().parent.parent / "runs" / "fuzz"
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")

HARNESS = """\
/* Reads bytes as calls and compares each status with what the header promises. */
#include "wav2small.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

long pushes; /* so far, in all inputs */

#define SURE(condition) \\
    do { \\
        if (!(condition)) { \\
            fprintf(stderr, "line %d: not so: %s\\n", __LINE__, #condition); \\
            __builtin_trap(); \\
        } \\
    } while (0)

typedef struct {
    const uint8_t *next, *end;
} input_t;

static uint32_t byte(input_t *input)
{
    return (input->next < input->end) ? *input->next++ : 0u;
}

static uint32_t bytes(input_t *input, int count)
{
    uint32_t value = 0;
    for (; count > 0; --count) {
        value = value << 8 | byte(input);
    }
    return value;
}

static int16_t *samples(input_t *input, size_t count)
{
    /* just as much memory as there are samples */
    int16_t *made = malloc(count * sizeof *made + (count == 0));
    const uint32_t kind = byte(input);
    uint32_t noise = bytes(input, 2);
    size_t i;
    SURE(made != NULL);
    for (i = 0; i < count; ++i) {
        noise = noise * 1664525u + 1013904223u;
        switch (kind % 8u) {
        case 0: made[i] = -32768; break;
        case 1: made[i] = 32767; break;
        case 2: made[i] = (i % 2u) ? 32767 : -32768; break;
        case 3: made[i] = 0; break;
        case 4: made[i] = (int16_t)(uint16_t)bytes(input, 2); break;
        case 5: made[i] = (noise >> 31) ? 32767 : -32768; break;
        default: made[i] = (int16_t)(((int32_t)(noise >> 16) - 32768) >> (kind >> 4));
        }
    }
    return made;
}

static size_t length(input_t *input)
{
    const uint32_t kind = byte(input);
    if (kind < 224u) {
        return kind % 32u;
    }
    return (kind < 252u) ? byte(input) : bytes(input, 2) % 4000u;
}

static wav2small_status begin(wav2small_state *state, input_t *input, int *wild)
{
#if NORMALISED
    wav2small_level level = {0, 0};
    *wild = (byte(input) % 4u == 0u);
    if (*wild) {
        /* no signal may have it */
        level.mean = (int32_t)bytes(input, 4);
        level.gain = (int32_t)bytes(input, 4);
    } else {
        const size_t count = WAV2SMALL_MIN_SAMPLES + length(input);
        int16_t *heard = samples(input, count);
        SURE(wav2small_measure(heard, count, &level) == WAV2SMALL_OK);
        free(heard);
    }
    return wav2small_init(state, &level);
#else
    (void)input;
    *wild = 0;
    return wav2small_init(state);
#endif
}

static void nothing(wav2small_state *state, int ready)
{
    const wav2small_status early = ready ? WAV2SMALL_NO_POINTER : WAV2SMALL_NOT_READY;
    float scores[WAV2SMALL_SCORES];
    int32_t integers[WAV2SMALL_SCORES];
#if NORMALISED
    wav2small_level level = {0, 0};
    int16_t some[WAV2SMALL_MIN_SAMPLES] = {0};
    SURE(wav2small_init(NULL, &level) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_init(state, NULL) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_measure(NULL, 99u, &level) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_measure(some, 99u, NULL) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_measure(some, WAV2SMALL_MIN_SAMPLES - 1u, &level) ==
         WAV2SMALL_TOO_SHORT);
    SURE(wav2small_measure(some, (size_t)-1, &level) == WAV2SMALL_TOO_LONG);
#else
    SURE(wav2small_init(NULL) == WAV2SMALL_NO_POINTER);
#endif
    SURE(wav2small_reset(NULL) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_push(NULL, NULL, 0u) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_push(state, NULL, 1u) == early);
    SURE(wav2small_result(NULL, scores) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_result(state, NULL) == early);
    SURE(wav2small_latest(NULL, scores) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_latest(state, NULL) == early);
    SURE(wav2small_latest_integers(NULL, integers) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_latest_integers(state, NULL) == early);
    SURE(wav2small_forget(NULL, 1u) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_integers(NULL, integers) == WAV2SMALL_NO_POINTER);
    SURE(wav2small_integers(state, NULL) == early);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input_t input = {data, data + size};
    wav2small_state *state = calloc(1, sizeof *state);
    size_t heard = 0;
    int ready = 0;
    SURE(state != NULL);
    while (input.next < input.end) {
        const uint32_t call = byte(&input);
        wav2small_status wanted = ready ? WAV2SMALL_OK : WAV2SMALL_NOT_READY;
        if ((call < 240u) || (call > 253u)) {
            const size_t count = length(&input);
            int16_t *new_ones = samples(&input, count);
            SURE(wav2small_push(state, new_ones, count) == wanted);
            free(new_ones);
            heard += ready ? count : 0u;
            ++pushes;
        } else if (call < 243u) {
            float scores[WAV2SMALL_SCORES];
            const wav2small_status found = wav2small_latest(state, scores);
            SURE((found == wanted) || (ready && (found == WAV2SMALL_TOO_SHORT)));
            SURE(wav2small_forget(state, (uint32_t)bytes(&input, 4)) == wanted);
        } else if (call < 248u) {
            int32_t integers[WAV2SMALL_SCORES], again[WAV2SMALL_SCORES];
            float scores[WAV2SMALL_SCORES];
            int i;
            if (ready && (heard < (size_t)WAV2SMALL_MIN_SAMPLES)) {
                wanted = WAV2SMALL_TOO_SHORT;
            }
            SURE(wav2small_integers(state, integers) == wanted);
            SURE(wav2small_result(state, scores) == wanted);
            SURE(wav2small_integers(state, again) == wanted);
            for (i = 0; (wanted == WAV2SMALL_OK) && (i < WAV2SMALL_SCORES); ++i) {
                SURE(integers[i] == again[i]);
                /* no NaN and no infinity */
                SURE((scores[i] > -1e9f) && (scores[i] < 1e9f));
            }
        } else if (call == 248u) {
#ifdef WAV2SMALL_MAX_SAMPLES
            const size_t most = (size_t)WAV2SMALL_MAX_SAMPLES - heard;
            const int16_t one = 0;
            wanted = ready ? WAV2SMALL_TOO_LONG : wanted;
            SURE(wav2small_push(state, &one, most + 1u + bytes(&input, 2)) == wanted);
            SURE(wav2small_push(state, &one, (size_t)-1) == wanted);
#endif
        } else if (call == 249u) {
            SURE(wav2small_push(state, NULL, 0u) == wanted);
        } else if (call == 250u) {
            nothing(state, ready);
        } else if (call == 251u) {
            /* another state, as static memory is */
            memset(state, 0, sizeof *state);
            ready = 0;
            heard = 0;
        } else if (call == 252u) {
            SURE(wav2small_reset(state) == wanted);
            heard = 0;
        } else {
            int wild;
            if (begin(state, &input, &wild) == WAV2SMALL_OK) {
                ready = 1;
                heard = 0;
            } else {
                SURE(wild);
            }
        }
    }
    free(state);
    return 0;
}
"""

DRIVER = """\
/* Makes inputs: random ones, or changed ones that reach new branches. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST 4096
#define MOST 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
void __sanitizer_cov_trace_pc(void);
extern long pushes;

static uint8_t input[LONGEST];
static size_t input_size;
static const char *found;
static uint64_t noise = 1;

static uint8_t now[65536], known[65536];
static uintptr_t before;

void __sanitizer_cov_trace_pc(void)
{
    const uintptr_t place = (uintptr_t)__builtin_return_address(0) * 0x9E3779B1u;
    uint8_t *count = &now[((place >> 8) ^ (before >> 1)) & 65535u];
    *count = (uint8_t)(*count + (*count < 255));
    before = place >> 8;
}

/* 1, 2, 3, 4 to 7, 8 to 15 ... times are the same */
static uint8_t bucket(uint8_t count)
{
    uint8_t bits = 0;
    for (; count != 0; count = (uint8_t)(count >> 1)) { ++bits; }
    return (uint8_t)(1u << (bits & 7u));
}

static uint32_t draw(uint32_t below)
{
    noise ^= noise << 13;
    noise ^= noise >> 7;
    noise ^= noise << 17;
    return (uint32_t)((noise >> 16) % below);
}

/* Runs the input, which lies in a file meanwhile: nothing may come after it. */
static void attempt(void)
{
    FILE *file = fopen(found, "wb");
    if (!file || fwrite(input, 1, input_size, file) != input_size || fclose(file)) {
        exit(2);
    }
    LLVMFuzzerTestOneInput(input, input_size);
    remove(found);
}

static void randomise(size_t from, size_t count)
{
    for (; count > 0; --count) { input[from++] = (uint8_t)draw(256); }
}

static void change(void)
{
    size_t place = draw((uint32_t)input_size + 1u), some = 1u + draw(16);
    switch (draw(5)) {
    case 0:
        if (place < input_size) { input[place] ^= (uint8_t)(1u << draw(8)); }
        break;
    case 1:
        if (place < input_size) { input[place] = (uint8_t)draw(256); }
        break;
    case 2:
        some = (some < input_size - place) ? some : input_size - place;
        memmove(input + place, input + place + some, input_size - place - some);
        input_size -= some;
        break;
    case 3:
        if (input_size + some <= LONGEST) {
            memmove(input + place + some, input + place, input_size - place);
            randomise(place, some);
            input_size += some;
        }
        break;
    default:
        /* once more what lies elsewhere */
        if (input_size + some <= LONGEST && place + some <= input_size) {
            memcpy(input + input_size, input + place, some);
            input_size += some;
        }
    }
}

int main(int argc, char **argv)
{
    static struct { uint8_t data[LONGEST]; size_t size; } corpus[MOST];
    const long most = (argc > 2) ? atol(argv[2]) : 0;
    size_t kept = 0, i;
    long runs = 0;
    if (argc == 2) {
        FILE *file = fopen(argv[1], "rb");
        input_size = file ? fread(input, 1, LONGEST, file) : 0;
        return LLVMFuzzerTestOneInput(input, input_size);
    }
    found = argv[3];
    if (strcmp(argv[1], "random") == 0) {
        while (pushes < most) {
            input_size = LONGEST;
            randomise(0, LONGEST);
            input[0] = (draw(8) == 0u) ? input[0] : 253u; /* mostly begin first */
            attempt();
            ++runs;
        }
        printf("%ld pushes in %ld inputs\\n", pushes, runs);
        return 0;
    }
    for (; runs < most; ++runs) {
        int changes = 1 + (int)draw(8), more = 0;
        if (kept == 0) {
            input[0] = 253;
            input_size = 1;
        } else {
            /* late ones more often */
            const size_t one = draw((uint32_t)kept), other = draw((uint32_t)kept);
            const size_t chosen = (one > other) ? one : other;
            memcpy(input, corpus[chosen].data, corpus[chosen].size);
            input_size = corpus[chosen].size;
        }
        for (; changes > 0; --changes) { change(); }
        memset(now, 0, sizeof now);
        before = 0;
        attempt();
        for (i = 0; i < sizeof now; ++i) {
            const uint8_t bit = now[i] ? bucket(now[i]) : 0;
            more |= (bit & ~known[i]) != 0;
            known[i] |= bit;
        }
        if (more && kept < MOST) {
            memcpy(corpus[kept].data, input, input_size);
            corpus[kept++].size = input_size;
        }
    }
    {
        long branches = 0;
        for (i = 0; i < sizeof known; ++i) { branches += known[i] != 0; }
        printf("%ld inputs, %ld pushes, %lu kept for what they reach, %ld branches\\n",
               runs, pushes, (unsigned long)kept, branches);
    }
    return 0;
}
"""


class Fuzzer:
    """Drivers of the functions of a model."""

    def __init__(self, folder: Path, normalised: bool, compiler: str) -> None:
        self.folder = folder
        (folder / "harness.c").write_text(
            f"#define NORMALISED {int(normalised)}\n{HARNESS}"
        )
        (folder / "driver.c").write_text(DRIVER)
        self.libfuzzer = False
        if "clang" in Path(compiler).name:
            sources = (folder / "wav2small.c", folder / "harness.c")
            program = (compiler, *SANITIZE, "-fsanitize=fuzzer", *sources)
            done = _done(*program, "-o", folder / "guided")
            self.libfuzzer = done.returncode == 0
        coverage = "-fsanitize-coverage=trace-pc"
        objects = []
        for name in ("wav2small", "harness", "driver"):
            # what the driver itself does is no news
            flags = (*SANITIZE, coverage) if name != "driver" else ("-O2",)
            made = folder / f"{name}.o"
            self._build(compiler, *flags, "-c", folder / f"{name}.c", "-o", made)
            objects.append(made)
        self._build(compiler, *SANITIZE, *objects, "-o", folder / "fuzz")

    @staticmethod
    def _build(*command: str | Path) -> None:
        done = _done(*command)
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            line = " ".join(map(str, command))
            raise SystemExit(f"error: '{line}' failed: see above")

    def random(self, pushes: int) -> tuple[bool, str]:
        """Random calls with so many pushes; whether all went well, and what it says."""
        found = self.folder / "found-random"
        return self._outcome(self.folder / "fuzz", "random", str(pushes), found)

    def guided(self, runs: int) -> tuple[bool, str]:
        """So many inputs of which each is made of one that reached new branches."""
        found = self.folder / "found-guided"
        if self.libfuzzer:
            flags = ("-seed=1", "-max_len=4096", f"-artifact_prefix={found}-")
            return self._outcome(self.folder / "guided", f"-runs={runs}", *flags)
        return self._outcome(self.folder / "fuzz", "guided", str(runs), found)

    @staticmethod
    def _outcome(*command: str | Path) -> tuple[bool, str]:
        done = _done(*command)
        if done.returncode == 0:
            said = (done.stdout or done.stderr).strip().splitlines()
            return True, said[-1] if said else ""
        return False, done.stderr.strip() or f"exit code {done.returncode}"


def _done(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def find_compiler() -> str:
    """A compiler whose sanitizers can be linked: clang if it has libFuzzer, or GCC."""
    for name in ("clang", "gcc"):
        if found := shutil.which(name):
            return found
    raise SystemExit("error: gcc or clang must be installed to fuzz, got none")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pushes", type=int, default=1_000_000, help="random ones")
    parser.add_argument("--runs", type=int, default=5_000, help="guided inputs")
    parser.add_argument("--models", nargs="+", default=list(bundled()))
    options = parser.parse_args(arguments)
    compiler = find_compiler()
    failed = False
    for name in options.models:
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        model = read(find_onnx(name))
        generate(model, folder)
        normalised = any(
            isinstance(operator, LogMel) and operator.front_end.power_floor is not None
            for operator in model.operators
        )
        fuzzer = Fuzzer(folder, normalised, compiler)
        for driver in ("random", "guided"):
            if driver == "random":
                passed, said = fuzzer.random(options.pushes)
            else:
                passed, said = fuzzer.guided(options.runs)
            failed |= not passed
            verdict = "nothing found" if passed else f"FOUND, kept in {folder}"
            print(f"{name}, {driver}: {verdict}: {said}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
