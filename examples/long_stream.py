"""Days of audio through the generated C: does it hear as on the first day?

    python examples/long_stream.py [DATA] [--model NAME] [--hours 72] [--seconds 4 0]

The C of a model is compiled for this machine
and hears clips one after the other, at changing levels, again and again,
for so many hours and for each time constant (0 forgets nothing).
Then a second state begins anew, at the same phase of the ramp of forgetting,
and both hear the same warm-up, which is as long as ``docs/arithmetic.md`` asks for.
From then on, for a minute, the integers of both are compared
each second, as are the sums of their pools at the end.
Without forgetting there is no such warm-up:
what the first state says is then compared with the mean of an hour.

DATA is a folder of audio, or of ``emodb`` and ``librispeech_subset``;
without it the bundled clips are heard.
Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from firmware_sweep import real_clips

from wav2small.export.c99 import generate
from wav2small.export.integer.reader import read
from wav2small.export.integer.streaming.schedule import schedule
from wav2small.models import find_onnx

COMPARED_SECONDS = 60
OCTAVES = 100
"""Octaves of forgetting in the warm-up: 63 and the range of scores."""

HARNESS = r"""
#include "wav2small.c"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RATE WAV2SMALL_SAMPLING_RATE
static wav2small_state old_state, new_state;
static int16_t *audio;
static size_t audio_seconds, heard;

/* A second of the audio, over and over, each time at another level. */
static void hear_second(wav2small_state *state)
{
    int16_t samples[RATE];
    const size_t round = heard / audio_seconds;
    const int16_t *from = audio + heard % audio_seconds * RATE;
    const uint32_t level = 64u + (uint32_t)(round * 40503u % 193u);
    size_t i, start;
    for (i = 0; i < RATE; ++i) {
        samples[i] = (int16_t)(from[i] * (int32_t)level / 256);
    }
    for (start = 0; start < RATE; start += i) {
        i = 1u + (heard * 7919u + start * 104729u) % 4000u;
        i = (i < RATE - start) ? i : RATE - start;
        if (wav2small_push(state, samples + start, i) != WAV2SMALL_OK) {
            printf("push refuses after %lu s\n", (unsigned long)heard);
            exit(1);
        }
    }
}

/* The ramp of the new state begins where that of the old one will be
 * when the rows that wait for their look-ahead have come. */
static void align(void)
{
    const uint64_t samples = (uint64_t)heard * RATE;
    const uint64_t frames =
        (PADDING_BEFORE + samples - WINDOW_LENGTH) / HOP_LENGTH + 1u;
    size_t i;
    (void)end_frame(&old_state); /* whose work waits for the next samples */
    for (i = 0; i < STAGES; ++i) {
        const stage_t *stage = &stages[i];
        if (stage->kind >= POOLS) {
            const pool_t *pool = &pools[stage->layer];
            const uint32_t last = pool->sums + pool->sum_count - 1u;
            const uint64_t come = (frames - stage->delay - 1u) / stage->period + 1u;
            const uint64_t wait = samples / HOP_LENGTH / stage->period - come;
            new_state.sums[last] =
                (old_state.sums[last] +
                 (int64_t)(wait * new_state.decays[stage->layer])) & 0xffffff;
        }
    }
}

static void both(size_t seconds)
{
    for (; seconds != 0u; --seconds, ++heard) {
        hear_second(&old_state);
        hear_second(&new_state);
    }
}

static void show(const char *what)
{
    float scores[WAV2SMALL_SCORES];
    int i;
    (void)wav2small_latest(&old_state, scores);
    printf("%8lu s, %s:", (unsigned long)heard, what);
    for (i = 0; i < WAV2SMALL_SCORES; ++i) { printf(" %.6f", (double)scores[i]); }
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const size_t seconds = strtoul(argv[2], NULL, 10);
    const uint32_t milliseconds = (uint32_t)strtoul(argv[3], NULL, 10);
    const size_t warm = strtoul(argv[4], NULL, 10);
    const size_t compared = strtoul(argv[5], NULL, 10);
    FILE *file = fopen(argv[1], "rb");
    size_t i, p, different = 0;
    (void)argc;
    if (file == NULL) { return 2; }
    fseek(file, 0, SEEK_END);
    audio_seconds = (size_t)ftell(file) / 2u / RATE;
    rewind(file);
    audio = malloc(audio_seconds * RATE * 2u);
    if ((audio == NULL) ||
        (fread(audio, 2u * RATE, audio_seconds, file) != audio_seconds)) {
        return 2;
    }
    wav2small_init(&old_state);
    wav2small_forget(&old_state, milliseconds);
    for (heard = 0; heard < seconds; ++heard) {
        hear_second(&old_state);
        if (heard + 1u == 3600u || (heard + 1u) % 86400u == 0u) { show("so far"); }
    }
    show("in the end");
    if (milliseconds == 0u) { return 0; }
    wav2small_init(&new_state);
    wav2small_forget(&new_state, milliseconds);
    align();
    both(warm);
    for (i = 0; i < compared; ++i) {
        int32_t one[WAV2SMALL_SCORES], other[WAV2SMALL_SCORES];
        both(1u);
        if ((wav2small_integers(&old_state, one) != WAV2SMALL_OK) ||
            (wav2small_integers(&new_state, other) != WAV2SMALL_OK)) {
            return 1;
        }
        different += memcmp(one, other, sizeof one) != 0;
    }
    printf("%lu of %lu results differ", (unsigned long)different,
           (unsigned long)compared);
    for (different = 0, p = 0; p < POOL_COUNT; ++p) {
        const int64_t *one = old_state.sums + pools[p].sums;
        const int64_t *other = new_state.sums + pools[p].sums;
        const uint32_t sums = pools[p].sum_count - 1u;
        const uint32_t less =
            (uint32_t)(one[sums] >> 24) - (uint32_t)(other[sums] >> 24);
        for (i = 0; i < sums; ++i) { different += one[i] != other[i]; }
        for (i = 0; i < pools[p].reference_count; ++i) {
            const size_t place = pools[p].references + i;
            different += (uint32_t)old_state.references[place] -
                             (uint32_t)new_state.references[place] != less;
        }
    }
    printf(", %lu sums and references\n", (unsigned long)different);
    return 0;
}
"""


def build(model: str, folder: Path) -> Path:
    """Compile the C of a model with what hears."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        sys.exit("a C compiler must be there, got none: install gcc or clang")
    graph = read(find_onnx(model))
    if not schedule(graph).endless:
        sys.exit(f"model must stream without end, got {model}: choose wav2small-rt")
    generate(graph, folder)
    (folder / "harness.c").write_text(HARNESS)
    program = folder / "harness"
    options = ["-std=c99", "-O3", "-march=native", "-o", str(program)]
    subprocess.run([compiler, *options, folder / "harness.c"], check=True)
    return program


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--model", default="wav2small-rt")
    parser.add_argument("--hours", type=float, default=72)
    parser.add_argument("--seconds", type=float, nargs="+", default=[4, 0])
    parser.add_argument("--clips", type=int, default=400)
    arguments = parser.parse_args()
    passed = True
    with tempfile.TemporaryDirectory() as scratch:
        program = build(arguments.model, Path(scratch))
        audio = np.concatenate(real_clips(arguments.data, arguments.clips))
        (Path(scratch) / "audio").write_bytes(audio.astype("<i2").tobytes())
        for seconds in arguments.seconds:
            warm = round(OCTAVES * np.log(2) * seconds)
            print(
                f"{arguments.model}, {arguments.hours:g} h, time constant "
                f"{seconds:g} s, warm-up {warm} s",
                flush=True,
            )
            numbers = (
                round(arguments.hours * 3600),
                round(seconds * 1000),
                warm,
                COMPARED_SECONDS,
            )
            done = subprocess.run(
                [program, Path(scratch) / "audio", *map(str, numbers)],
                stdout=subprocess.PIPE,
                text=True,
            )
            print(done.stdout, flush=True)
            passed = passed and not done.returncode
            if seconds:
                same = f"0 of {COMPARED_SECONDS} results differ, 0 sums and references"
                passed = passed and same in done.stdout
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
