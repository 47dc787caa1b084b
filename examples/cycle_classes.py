"""Say what each class of instructions takes of a second of audio, in cycles.

    python examples/cycle_classes.py wav2small-rt wav2small-rt-mini

Bundled models on an emulated Cortex-M4, whose memory does not wait: instructions and
most cycles of each class, in millions for a second of audio, jumps by themselves, and
the sum, which is that of the bench before it is widened by what chips were off.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter

from wav2small.firmware_bench.cores import CORES
from wav2small.firmware_bench.run.emulation import (
    begin_signal,
    push_all,
    start_machine,
)
from wav2small.firmware_bench.run.image import Block
from wav2small.firmware_bench.run.measurement import prepare_code
from wav2small.firmware_bench.run.pipeline import block_cycles
from wav2small.firmware_bench.run.toolchain import build
from wav2small.models import find_onnx

CORE = "cortex-m4"


def classes(name: str) -> dict[str, tuple[float, float]]:
    """Instructions and cycles of a model by class, per second of audio."""
    with tempfile.TemporaryDirectory() as folder:
        code = prepare_code(find_onnx(name), folder)
        machine = start_machine(build(code.folder, CORE))
    samples, visits = code.counted.samples, Counter[Block]()
    step, _ = begin_signal(machine, samples, None)
    half = -(-len(samples) // step) // 2
    for number, _ in enumerate(push_all(machine, len(samples), step)):
        if number >= half:
            visits.update(machine.visits)
    seconds = (len(samples) - half * step) / machine.facts().sampling_rate
    counts, cycles = Counter[str](), Counter[str]()
    for block, count in visits.items():
        lines = tuple(machine.image._disassemble(block))
        before = 0.0
        for end, line in enumerate(lines, 1):
            until = block_cycles(CORES[CORE].timing, lines[:end])
            counts[line.instruction.kind] += count
            cycles[line.instruction.kind] += count * (until.high - before)
            before = until.high
        cycles["jumps"] += count * until.jump * block[2]
    found = {
        kind: (counts[kind] / seconds, total / seconds)
        for kind, total in cycles.most_common()
    }
    return {**found, "sum": (counts.total() / seconds, cycles.total() / seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    for name in parser.parse_args().models:
        print(name)
        for kind, (counted, cycles) in classes(name).items():
            print(f"  {kind:<9} {counted / 1e6:6.2f} {cycles / 1e6:6.2f}")


if __name__ == "__main__":
    main()
