"""Exported files on a processor with AVX2 and neither VNNI nor AVX-512.

onnxruntime takes its kernels by the processor that it finds, and no variable limits
it, so Python runs in an emulator of one.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from speech import clips, exported

from wav2small import models
from wav2small.export.checks import agreement, parity
from wav2small.export.quantise.config import QuantConfig
from wav2small.export.quantise.steps import quantize

EMULATOR = "qemu-x86_64"
PROCESSOR = "Haswell"

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(
        shutil.which(EMULATOR) is None or platform.machine() not in ("x86_64", "AMD64"),
        reason=f"{EMULATOR} is not installed (apt-get install qemu-user): "
        "no processor without VNNI is emulated",
    ),
]

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from wav2small.export.checks import parity

folder = Path(sys.argv[1])
with np.load(folder / "signals.npz") as stored:
    signals = list(stored.values())
scores = {
    f"{path.stem} {execution}": parity.scores(path, signals, execution)
    for path in folder.glob("*.onnx")
    for execution in parity.EXECUTIONS
}
np.savez(folder / "scores.npz", **scores)
"""

SAFE = {
    "as it comes": QuantConfig(),
    "4 bits": QuantConfig(four_bit_layers=11),
    "4 bits opset 21": QuantConfig(four_bit_layers=11, opset=21),
}
SATURATING = {"8 bits": QuantConfig(weight_bits=8)}
STUDENTS = ["wav2small", "wav2small-17k"]
BUNDLED = sorted(models.bundled())


@pytest.fixture(scope="module")
def scores(tmp_path_factory) -> dict[str, np.ndarray]:
    """Scores of every file: exact on this processor, both ways on that one."""
    folder = tmp_path_factory.mktemp("processor")
    for name in STUDENTS:
        model = exported(name)
        for form, config in (SAFE | SATURATING).items():
            written = quantize(model, clips(4, 0), config)
            onnx.save(written, folder / f"{name} {form}.onnx")
    for name in BUNDLED:
        shutil.copy(models.find_onnx(name), folder / f"bundled {name}.onnx")
    signals = [clip[:1600] for clip in clips(2, 2)]
    np.savez(folder / "signals.npz", *signals)
    subprocess.run(
        [EMULATOR, "-cpu", PROCESSOR, sys.executable, "-c", PROGRAM, str(folder)],
        check=True,
        timeout=300,
    )
    found = {
        f"{path.stem} here": parity.scores(path, signals, "exact")
        for path in folder.glob("*.onnx")
    }
    with np.load(folder / "scores.npz") as stored:
        return found | dict(stored)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [f"{student} {form}" for student in STUDENTS for form in SAFE]
    + [f"bundled {name}" for name in BUNDLED],
)
def test_scores_are_those_of_every_other_processor(scores, name):
    for execution in parity.EXECUTIONS:
        np.testing.assert_allclose(
            scores[f"{name} {execution}"],
            scores[f"{name} here"],
            atol=agreement.LARGEST_SCORE_ERROR,
        )


@pytest.mark.parametrize("student", STUDENTS)
def test_weights_of_eight_bits_saturate(scores, student):
    """Why they have 7, and the proof that such a processor was emulated."""
    here, exact, default = (
        scores[f"{student} 8 bits {execution}"]
        for execution in ("here", "exact", "default")
    )
    np.testing.assert_allclose(exact, here, atol=agreement.LARGEST_SCORE_ERROR)
    assert np.abs(default - exact).max() > 0.1
