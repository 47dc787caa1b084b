"""Does the C give the reference's bits with all of it on, whoever builds and runs it?

    python examples/listening_sweep.py [DATA] [--clips 200] [--models NAME ...]

The models that stream hear real clips at the rates of all resamplers, in pieces of
random lengths, and are called in random order meanwhile: time constants of
forgetting, listening to speech alone, the wearer's own voice, log-odds of speech, the
latest scores, results, decisions with rules and tables of a wearer.
One clip of three forgets from its beginning and hears all, so that its end is that of
the whole clip in :class:`wav2small.export.integer.reference.ReferenceModel`;
everything else must be what :class:`wav2small.Stream` and :class:`wav2small.Decisions`
say, which hear the clip in pieces of another length.

Compiled by GCC and clang on this machine, for emulated cores of Arm, for RISC-V and for
a processor whose upper byte comes first (both in qemu-user). What is not there is left
out aloud. Exit code 1 if a bit differs.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from firmware_sweep import CORES, ZIG, on_core, real_clips

from wav2small.export.base.errors import BenchError, ExportError
from wav2small.export.c99 import generate
from wav2small.export.c99.resample import resample_files
from wav2small.export.integer.decisions import Decisions, Rule
from wav2small.export.integer.forgetting import forgetting
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.personal import Personal
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.resampling import RATES, Resampler
from wav2small.export.integer.streaming.run import Stream
from wav2small.models import find_onnx

MODELS = ("wav2small-rt", "wav2small-rt-mini")
HARNESS = Path(__file__).resolve().parent / "listening_calls.c"
BATCH = 10
"""Clips that an emulated core has in its flash memory at once."""

PUSH, FORGET, LISTEN, COVER, SPEECH, LATEST, RESULT, DECIDE, SMOOTH, RULE, TABLE = (
    range(11)
)
TOO_SHORT = 3
TIMES = (0, 1, 300, 2000, 4000)
"""Time constants in ms, 0 for none."""


class Script:
    """Calls on one clip, and what comes of them in Python.

    Args:
        model: model that streams
        clip: samples at the rate that ``number`` stands for
        number: of the clip, for the order of the calls

    """

    def __init__(self, model: IntegerGraph, clip: np.ndarray, number: int) -> None:
        self.model, self.clip, self.number = model, clip, number
        self.rng = np.random.default_rng(number)
        self.rate = number % len(RATES)
        self.stream = Stream(model, input_rate=RATES[self.rate])
        self.decisions = Decisions(model)
        self.events = list(self.decisions._watches)
        self.latest: np.ndarray | None = None
        self.words: list[int] = []
        self.calls = 0
        self.heard = 0

    def to_bytes(self) -> bytes:
        """Script and samples, for the harness."""
        whole = self.number % 3 == 0
        milliseconds = int(self.rng.choice(TIMES))
        self.forget(milliseconds)
        if not whole:
            self.listen(True)
        if self.rng.random() < 0.5:
            self.set_decisions()
        while self.heard < len(self.clip):
            self.push(min(int(self.rng.integers(1, 6000)), len(self.clip) - self.heard))
            self.speech()
            self.ask()
            self.decide()
            if not whole and self.rng.random() < 0.3:
                self.change()
            if self.rng.random() < 0.1:
                self.result()
        ended = self.result()
        if whole:
            alone = forgetting(self.model, milliseconds / 1000 or None)
            samples = Resampler(RATES[self.rate]).push(self.clip)
            reference = ReferenceModel(alone).run(samples)[alone.output].ravel()
            assert ended == reference.tolist(), f"clip {self.number}: stream"
        self.ask()
        self.decide()
        head = [len(self.clip), self.rate, self.calls, len(self.words)]
        words = np.array([*head, *self.words], np.int64).astype(np.uint32)
        odd = b"\0\0" * (len(self.clip) % 2)
        return words.astype("<u4").tobytes() + self.clip.astype("<i2").tobytes() + odd

    def call(self, *words: int) -> None:
        self.words += words
        self.calls += 1

    def push(self, count: int) -> None:
        self.stream.push(self.clip[self.heard : self.heard + count])
        self.heard += count
        self.call(PUSH, count)

    def forget(self, milliseconds: int) -> None:
        self.stream.forget(milliseconds / 1000 or None)
        self.call(FORGET, milliseconds)

    def listen(self, speech_alone: bool) -> None:
        self.stream.listen(speech_alone=speech_alone)
        self.call(LISTEN, int(speech_alone))

    def change(self) -> None:
        """Change what may be changed in the middle of a signal."""
        kind = self.rng.integers(5)
        if kind == 0:
            self.forget(int(self.rng.choice(TIMES)))
        elif kind == 1:
            self.listen(bool(self.rng.integers(3)))
        elif kind == 2:
            self.set_decisions()
        else:
            covered = kind == 3
            self.stream.cover(covered)
            self.call(COVER, int(covered))

    def speech(self) -> None:
        detector = self.stream._detector
        odds = None if detector is None else detector.odds
        status = TOO_SHORT if odds is None else 0
        self.call(SPEECH, status, int(odds or 0), int(self.stream.hears_speech))

    def ask(self) -> None:
        self.latest = self._or_none(self.stream.latest_integers)
        said = [0, 0, 0] if self.latest is None else self.latest.tolist()
        self.call(LATEST, 0 if self.latest is not None else TOO_SHORT, *said)

    def result(self) -> list[int]:
        found = self._or_none(self.stream.integers)
        integers = [0, 0, 0] if found is None else found.tolist()
        scores = np.zeros(3, np.float32)
        if found is not None:
            output = self.model.tensors[self.model.output]
            centred = found - np.int64(output.zero_point)
            scores = (centred * output.scale).astype(np.float32)
        bits = scores.view(np.uint32).tolist()
        both = [word for pair in zip(integers, bits, strict=True) for word in pair]
        self.call(RESULT, TOO_SHORT if found is None else 0, *both)
        return integers

    @staticmethod
    def _or_none(ask: Callable[[], np.ndarray]) -> np.ndarray | None:
        try:
            return ask().ravel()
        except ExportError:  # not enough was heard so far
            return None

    def set_decisions(self) -> None:
        rng = self.rng
        smoothing = int(rng.choice([0, 100, 1000]))
        self.decisions.smooth(smoothing / 1000)
        self.call(SMOOTH, smoothing)
        event, lasts = int(rng.integers(6)), int(rng.choice([0, 100, 500]))
        begin, end = sorted(
            rng.integers(6000, 10000, 2).tolist(), reverse=event % 2 == 0
        )
        rule = Rule(begin / 2**14, end / 2**14, lasts / 1000)
        self.decisions.rule(self.events[event], rule)
        self.call(RULE, event, begin, end, lasts)
        gains, offsets = rng.uniform(0.5, 1.5, 3), rng.uniform(-0.2, 0.2, 3)
        table = Personal.of(gains.tolist(), offsets.tolist())
        self.decisions.calibrate(table)
        self.call(TABLE, len(table.to_bytes()), *table.to_bytes())

    def decide(self) -> None:
        count = int(self.rng.integers(1, 8000))
        if self.latest is not None:
            speech = self.stream.hears_speech
            self.decisions.hear(self.latest, count, speech=speech)
        there = self.decisions.scores is not None
        states = [number for state in self.decisions.states() for number in state]
        parts = self.decisions.parts if there else [0, 0, 0]
        self.call(DECIDE, count, *map(int, states), 0 if there else TOO_SHORT, *parts)


def at_rates(clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Clips at the rates of the resamplers, one after the other."""
    made = []
    for number, clip in enumerate(clips):
        signal = soxr.resample(clip / 32768, RATES[0], RATES[number % len(RATES)])
        made.append(np.clip(np.rint(signal * 32768), -32768, 32767).astype(np.int16))
    return made


def resamplers() -> str:
    """C of the resamplers of all rates, with names of their own."""
    names = (
        r"wav2small_resampl\w+|WAV2SMALL_(?:INPUT_RATE|RESAMPLE_H)|filters|sample_of"
    )
    text, begins, cases = "", "", "    default: return wav2small_push(&state, s, n);\n"
    for number, rate in enumerate(RATES[1:], 1):
        files = resample_files(rate, RATES[0])
        code = files["wav2small_resample.h"] + files["wav2small_resample.c"]
        code = code.replace('#include "wav2small_resample.h"', "")
        text += re.sub(rf"\b({names})\b", rf"\1_{rate}", code)
        text += "".join(f"#undef {name}\n" for name in ("UP", "DOWN", "TAPS", "BLOCK"))
        text += f"static wav2small_resampler_{rate} of_{rate};\n"
        begins += f"    (void)wav2small_resample_init_{rate}(&of_{rate});\n"
        push = f"wav2small_resample_push_{rate}(&of_{rate}, &state, s, n)"
        cases += f"    case {number}: return {push};\n"
    return (
        f"{text}static void begin_rates(void)\n{{\n{begins}}}\n"
        "static wav2small_status push_at(uint32_t rate, const int16_t *s, size_t n)\n"
        f"{{\n    switch (rate) {{\n{cases}    }}\n}}\n"
    )


def write_package(model: IntegerGraph, folder: Path) -> None:
    """Write the C99 of a model, its self-test replaced by the harness."""
    generate(model, folder)
    decide = "".join(
        (folder / f"wav2small_decide.{end}").read_text() for end in ("h", "c")
    ).replace('#include "wav2small_decide.h"', "")
    # of two sources of one unit one has to give way
    decide = re.sub(r"\b(READY|check|MOST|copy)\b", r"decide_\1", decide)
    harness = HARNESS.read_text()
    harness = harness.replace('#include "wav2small_decide.h"', decide)
    harness = harness.replace(
        '#include "resamplers.h" /* begin_rates, push_at: for all rates */',
        resamplers(),
    )
    assert "resamplers.h" not in harness
    (folder / "wav2small_selftest.c").write_text(harness)


@dataclass(frozen=True)
class Host:
    """How code is built and run beside the emulated cores."""

    name: str
    compiler: tuple[str, ...]
    emulator: tuple[str, ...] = ()


def hosts() -> Iterator[Host]:
    """Compilers and emulators that are there."""
    for name, compiler in (("GCC", "gcc"), ("clang", "clang")):
        if found := shutil.which(compiler):
            yield Host(f"{name}, this machine", (found,))
        else:
            print(f"{name} is left out: {compiler} is missing", file=sys.stderr)
    for name, target, emulator in (
        ("RISC-V", "riscv64-linux-musl", "qemu-riscv64"),
        ("PowerPC, upper byte first", "powerpc-linux-musleabi", "qemu-ppc"),
    ):
        if found := shutil.which(emulator):
            yield Host(name, (*ZIG, f"--target={target}", "-static"), (found,))
        else:
            print(f"{name} is left out: {emulator} is missing", file=sys.stderr)


def on_host(folder: Path, host: Host, data: Path) -> tuple[int, int]:
    """Build and run; clips that differ, and bits."""
    program = folder / "sweep"
    sources = (folder / "wav2small.c", folder / "wav2small_selftest.c")
    build = (*host.compiler, "-std=c99", "-O2", *sources, "-o", program)
    run = (*host.emulator, program, data, str(data.stat().st_size))
    for command in (build, run):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            line = " ".join(map(str, command))
            raise SystemExit(f"error: '{line}' failed: {done.stderr}")
    said = re.fullmatch(r"(\d+) bits in (\d+) of (\d+) clips, \d\n", done.stdout)
    assert said, "the program must end by what it counted"
    return int(said[2]), int(said[1])


def sweep(name: str, clips: Sequence[np.ndarray]) -> Iterator[str]:
    """Compare each build of a model with the reference; rows of the table."""
    model = read(find_onnx(name))
    scripts = [Script(model, clip, number) for number, clip in enumerate(clips)]
    vectors = [script.to_bytes() for script in scripts]
    heard = sum(len(clip) / RATES[i % len(RATES)] for i, clip in enumerate(clips))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_package(model, folder)
        data = folder / "clips"
        data.write_bytes(b"".join(vectors))
        for host in hosts():
            wrong, bits = on_host(folder, host, data)
            yield row(name, host.name, f"{wrong} of {len(clips)}", heard, bits)
        for core in CORES:
            found = [
                on_core(folder, core, "-O2", vectors[start : start + BATCH])
                for start in range(0, len(vectors), BATCH)
            ]
            share = f"{'some' if sum(found) else '0'} of {len(clips)}"
            yield row(name, core, share, heard, sum(found))


def row(name: str, place: str, differing: str, seconds: float, bits: int) -> str:
    """Row of the table."""
    return f"| {name} | {place} | {differing} | {seconds:.0f} | {bits} |"


HEADER = """\
| model | built by, or run on | clips that differ | seconds | differing bits |
|---|---|---|---|---|"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = os.environ.get("WAV2SMALL_DATA")
    parser.add_argument("data", nargs="?", type=Path, default=data and Path(data))
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    options = parser.parse_args(arguments)
    clips = at_rates(real_clips(options.data, options.clips))
    print(HEADER, flush=True)
    differs = False
    try:
        for name in options.models:
            for line in sweep(name, clips):
                print(line, flush=True)
                differs |= not line.endswith("| 0 |")
    except (BenchError, ExportError) as error:
        raise SystemExit(f"error: {error}") from error
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
