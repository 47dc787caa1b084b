"""What each part of the listening engine adds, on an emulated Cortex-M4.

    python examples/added_parts.py [MODEL ...]

Prints tables of docs/listening.md and docs/export.md: instructions per second of audio,
RAM and flash of forgetting, the detector of speech, the own voice, short pushes,
decisions, resamplers and the blob, built by clang at -O2. A part that is a file of its
own is added to the model; what is woven into the C is taken out of its text, and the
rest is built and run again. The models must stream and have a detector of speech.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from wav2small.export.c99 import generate
from wav2small.export.model.speech import scores_alone
from wav2small.firmware_bench.run import signals
from wav2small.firmware_bench.run.emulation import start_machine
from wav2small.firmware_bench.run.machine import SAMPLES_ORIGIN, Machine
from wav2small.firmware_bench.run.toolchain import build
from wav2small.models import find_onnx

MODELS = ("wav2small-rt", "wav2small-rt-mini")
SAMPLES = 32000
CORE = "cortex-m4"
INPUT_RATES = (20480, 44100, 48000)
DECISIONS_PER_SECOND = 10

WITHOUT_FORGETTING = {
    "((uint64_t)sums[2u * count] + decay) & (((uint64_t)1 << 56) - 1u);": "0;",
    "    sums[2u * count] = (int64_t)fallen;\n": "    (void)decay;\n",
}
WITHOUT_OWN_VOICE = {
    """            if (state->covering != 0u) {
                state->covered = state->fill;
            }
""": "",
    """                if (state->covered == 0u) {
                    spent += begin_frame(state);
                }
                state->covered = (state->covered > (uint16_t)HOP_LENGTH)
                                     ? (uint16_t)(state->covered - HOP_LENGTH)
                                     : 0u;
""": "                spent += begin_frame(state);\n",
    "(((state)->covered == 0u) && ": "(",
    "    state->covering = 0;\n": "",
    "    state->covered = 0;\n": "",
    "        state->covering = (covered != 0) ? 1u : 0u;\n": "        (void)covered;\n",
}
ALL_IS_SPEECH = {"if (state->odds >= VOICE_ZERO) {": "if (state->odds < 0x7fffffff) {"}
"""Text of the C that is replaced, each of which must be there once."""


@dataclass(frozen=True)
class Cost:
    """What a program takes."""

    instructions: float
    """Instructions per second of audio."""
    state: int
    """Bytes of static memory."""
    stack: int
    """Bytes of the stack."""
    flash: int
    """Bytes of code and constants."""
    begin: int = 0
    """Instructions of the beginning."""

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            self.instructions - other.instructions,
            self.state - other.state,
            self.stack - other.stack,
            self.flash - other.flash,
        )


def without(text: str, replaced: Mapping[str, str]) -> str:
    """Text in which each of some parts, which must be there once, is replaced."""
    for old, new in replaced.items():
        if text.count(old) != 1:
            sys.exit(f"C must hold once what is taken out of it, got {old!r}: mend it")
        text = text.replace(old, new)
    return text


OWN_NAMES = r"\b(check|checksum|begin|add|follow|look|pause|READY)\b"
"""Names that two files may both have."""

KEPT = "void *bench_place(void);\nvoid *bench_place(void) {{ return &{}; }}\n"
"""C without which the linker leaves memory out that nobody uses."""


class Program:
    """The C of a model, changed and built.

    Args:
        model: file of the model
        replaced: what is replaced in its C
        added: files that are added to it, without their ending
        memory: C of further static memory
        blob: whether weights are handed over
        input_rate: of the resampler

    """

    def __init__(
        self,
        model: bytes,
        replaced: Mapping[str, str] | None = None,
        *,
        added: str = "",
        memory: str = "",
        blob: bool = False,
        input_rate: int | None = None,
    ) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            generate(model, folder, input_rate=input_rate)
            code = folder / "wav2small.c"
            text = without(code.read_text(), replaced or {})
            if added:
                for ending in ("h", "c"):
                    more = (folder / f"{added}.{ending}").read_text()
                    # names of two files that meet in one
                    more = more.replace(f'#include "{added}.h"\n', "")
                    more = re.sub(OWN_NAMES, r"added_\1", more)
                    text += more
            code.write_text(text + memory)
            self.blob = (folder / "wav2small_model.bin").read_bytes() if blob else b""
            if blob:
                header = folder / "wav2small.h"
                header.write_text("#define WAV2SMALL_BLOB\n" + header.read_text())
            self.machine: Machine = start_machine(build(folder, CORE))

    def run(
        self,
        samples: np.ndarray,
        push: int | None = None,
        *,
        speech_alone: bool = False,
    ) -> Cost:
        """Push a signal; instructions are of its second half."""
        machine = self.machine
        data = samples.astype("<i2").tobytes()
        place = SAMPLES_ORIGIN + len(data)
        machine.write_samples(data + self.blob)
        state = machine.image.symbol("bench_state").address
        model = (place, len(self.blob)) if self.blob else ()
        assert machine.call("init", state, *model) == 0
        begin = machine.instructions()
        machine.call("forget", state, 4000)
        if speech_alone:
            machine.call("listen", state, 1)
        step = push or machine.facts().hop_length
        half, spent = len(samples) // step // 2 * step, 0
        for start in range(0, len(samples) - step + 1, step):
            machine.push(start, step)
            spent += machine.instructions() if start >= half else 0
        seconds = (len(samples) // step * step - half) / 16000
        text, _, initial, cleared = machine.image.sizes()
        return Cost(
            spent / seconds,
            initial + cleared,
            machine.stack_bytes(),
            text + initial,
            begin,
        )


def decisions(model: bytes, whole: Cost) -> Cost:
    """What decisions add that are asked for ten times a second."""
    program = Program(
        model,
        added="wav2small_decide",
        memory="wav2small_decisions bench_decisions;\n"
        + KEPT.format("bench_decisions"),
    )
    machine = program.machine
    place = machine.image.symbol("bench_decisions").address
    machine.write_samples(np.array([1 << 22, 1 << 23, 1 << 21], "<i4").tobytes())
    machine.call("decide_init", place)
    for _ in range(3):
        machine.call("decide", place, SAMPLES_ORIGIN, 1600, 1)
    step = machine.instructions()
    text, _, initial, cleared = machine.image.sizes()
    return Cost(
        step * DECISIONS_PER_SECOND,
        initial + cleared - whole.state,
        0,
        text + initial - whole.flash,
    )


def resampler(model: bytes, whole: Cost, rate: int) -> Cost:
    """What a resampler adds, the model's own instructions taken off."""
    program = Program(
        model,
        added="wav2small_resample",
        memory="wav2small_resampler bench_resampler;\n"
        + KEPT.format("bench_resampler"),
        input_rate=rate,
    )
    machine = program.machine
    samples = signals.voice(rate // 2)
    machine.write_samples(samples.astype("<i2").tobytes())
    place = machine.image.symbol("bench_resampler").address
    state = machine.image.symbol("bench_state").address
    machine.call("init", state)
    machine.call("resample_init", place)
    spent = 0
    for start in range(0, len(samples) - 127, 128):
        at = SAMPLES_ORIGIN + 2 * start
        machine.call("resample_push", place, state, at, 128)
        functions, _ = machine.image.shares(machine.visits)
        spent += sum(
            count
            for name, count in functions.items()
            if "resample" in name or "sample_of" in name
        )
    text, _, initial, cleared = machine.image.sizes()
    return Cost(
        spent * rate / (len(samples) // 128 * 128),
        initial + cleared - whole.state,
        machine.stack_bytes() - whole.stack,
        text + initial - whole.flash,
    )


def line(title: str, cost: Cost) -> str:
    """Row of the table of parts."""
    return (
        f"| {title} | {cost.instructions / 1e6:.3f} | {cost.state:,} | {cost.stack:,} "
        f"| {cost.flash:,} |"
    )


def main() -> None:
    samples = signals.voice(SAMPLES)
    for name in sys.argv[1:] or MODELS:
        print(f"| `{name}` | M instructions per second | state | stack | flash |")
        print("|---|---|---|---|---|", flush=True)
        model = find_onnx(name).read_bytes()
        alone = scores_alone(onnx.load_from_string(model)).SerializeToString()
        whole = Program(model).run(samples)
        print(line("model with its detector, which is off", whole), flush=True)
        for title, replaced in (
            ("forgetting", WITHOUT_FORGETTING),
            ("own voice", WITHOUT_OWN_VOICE),
        ):
            rest = Program(model, replaced).run(samples)
            print(line(title, whole - rest), flush=True)
        heard = Program(model, ALL_IS_SPEECH).run(samples, speech_alone=True)
        rest = Program(alone).run(samples)
        print(line("detector of speech, all is speech", heard - rest), flush=True)
        slices = Program(model).run(samples, 32)
        print(line("pushes of 32 samples, not of a hop", slices - whole), flush=True)
        print(line("decisions, ten a second", decisions(model, whole)), flush=True)
        for rate in INPUT_RATES:
            cost = resampler(model, whole, rate)
            print(line(f"resampler from {rate:,} Hz", cost), flush=True)
        program = Program(model, blob=True)
        cost = program.run(samples)
        print(line("weights in a blob", cost - whole), flush=True)
        print(f"\n| `{name}` | flash | M instructions | stack | state | `init` |")
        print("|---|---|---|---|---|---|")
        for title, built, more in (
            ("constants", whole, ""),
            ("blob", cost, f" and {len(program.blob):,} of the blob"),
        ):
            print(
                f"| {title} | {built.flash:,}{more} | {built.instructions / 1e6:.2f} | "
                f"{built.stack} | {built.state:,} | {built.begin:,} |",
                flush=True,
            )
        print()


if __name__ == "__main__":
    main()
