"""What one call of the C takes at most, on an emulated Cortex-M4.

    python examples/push_costs.py [MODEL ...]

Prints the tables of docs/listening.md: instructions of a result, of the latest scores,
and of pushes of several lengths, their mean and the most of any, on something like
speech. The models must stream.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from wav2small.export.c99 import generate
from wav2small.export.integer.reader import read
from wav2small.firmware_bench.run import signals
from wav2small.firmware_bench.run.emulation import emulate, worst_slices
from wav2small.firmware_bench.run.toolchain import build
from wav2small.models import find_onnx

MODELS = ("wav2small-rt", "wav2small-rt-mini")
SIZES = (4, 32, 55, 64, 81, 128)
"""Samples of a push; a hop comes last."""


def main() -> None:
    samples = signals.voice(48000)
    for name in sys.argv[1:] or MODELS:
        model = read(find_onnx(name))
        with tempfile.TemporaryDirectory() as folder:
            generate(model, folder)
            firmware = build(Path(folder), "cortex-m4")
        whole = emulate(firmware, samples[:16000])
        print(f"{name}: result {whole.result:,}, latest {whole.latest:,}", flush=True)
        for entry in worst_slices(firmware, samples, (*SIZES, whole.push_samples)):
            print(
                f"{name}: {entry.push_samples} samples: mean {entry.mean:,.0f}, "
                f"worst {entry.worst:,}",
                flush=True,
            )


if __name__ == "__main__":
    main()
