"""What listening to speech alone costs and changes, on an emulated Cortex-M4.

    python examples/listen_to_speech.py DATA [MODEL...]

DATA holds the folders that the detectors were trained on. Prints the instructions per
second of audio in speech, in pauses and in noise, what a mix of them takes (derived),
and how far the scores of clips that nobody trained on move.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from speech_scenes import Side, read

from wav2small.acoustics.signals import crop_or_repeat
from wav2small.adv import SAMPLING_RATE
from wav2small.export.base.errors import ExportError
from wav2small.export.base.metrics import concordance_cc
from wav2small.export.c99 import generate
from wav2small.export.integer.reader import read as read_model
from wav2small.export.integer.streaming.run import Stream
from wav2small.firmware_bench.run.duty import (
    CURRENTS,
    MIX,
    measure_duty,
    mixed_current,
    mixed_instructions,
)
from wav2small.firmware_bench.run.toolchain import build
from wav2small.models import find_onnx

SECONDS = 6
CLIPS = 60


def at_level(signal: np.ndarray, decibel: float) -> np.ndarray:
    """Signal at a level in dB of full scale, int16."""
    gain = 10 ** (decibel / 20) / max(float(np.std(signal)), 1e-9)
    return np.clip(np.round(signal * gain * 32768), -32768, 32767).astype(np.int16)


def sounds(side: Side, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Six seconds of each kind of sound, int16."""
    samples = SECONDS * SAMPLING_RATE
    longest = max(side.speech, key=len)
    hiss = rng.normal(size=samples)
    return {
        "speech": at_level(crop_or_repeat(longest, samples, rng), -26),
        "pause": at_level(hiss, -70),
        "noise": at_level(crop_or_repeat(side.noises[-1], samples, rng), -35),
    }


def print_costs(name: str, signals: dict[str, np.ndarray]) -> None:
    """Rows of what each kind of sound takes, and of the mix."""
    with tempfile.TemporaryDirectory() as folder:
        generate(find_onnx(name), folder)
        parts = measure_duty(build(folder, "cortex-m4"), signals)
    speech = parts["speech"].instructions_per_second
    for kind, part in parts.items():
        print(
            f"| `{name}` | {kind} | {part.instructions_per_second / 1e6:.2f} "
            f"| {part.instructions_per_second / speech:.0%} | {part.heard_share:.0%} |"
        )
    mixed = mixed_instructions(parts)
    low, high = mixed_current(parts, CURRENTS["nrf52840"])
    mix = ", ".join(f"{share:.0%} {kind}" for kind, share in MIX.items())
    print(
        f"| `{name}` | {mix} (derived) | {mixed / 1e6:.2f} | {mixed / speech:.0%} | |\n"
        f"{name}: {low:.0f} to {high:.0f} uA in the mix on an nRF52840 (derived)",
    )


def print_scores(name: str, side: Side, rng: np.random.Generator) -> None:
    """Row of how scores of clips with pauses change by listening to speech alone."""
    model = read_model(find_onnx(name))
    clips = [side.speech[i] for i in rng.permutation(len(side.speech))[:CLIPS]]
    pairs = []
    for clip in clips:
        samples = at_level(clip[: 4 * SAMPLING_RATE], -26)
        scores = []
        for alone in (False, True):
            stream = Stream(model)
            stream.listen(speech_alone=alone)
            stream.push(samples)
            scores.append(_result(stream))
        pairs.append(scores)
    heard = [pair for pair in pairs if pair[1] is not None]
    everything, alone = np.array(heard, float).transpose(1, 2, 0)
    values = " ".join(
        f"{concordance_cc(*pair):.3f}" for pair in zip(everything, alone, strict=True)
    )
    print(f"{name}: {len(heard)} of {len(clips)} clips heard, CCC to all {values}")


def _result(stream: Stream) -> np.ndarray | None:
    """Scores, None where nothing was speech."""
    try:
        return stream.result()
    except ExportError:
        return None


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("usage: python examples/listen_to_speech.py DATA [MODEL...]")
    names = sys.argv[2:] or ["wav2small-rt", "wav2small-rt-mini"]
    side = read(Path(sys.argv[1]), 0)["test"]
    rng = np.random.default_rng(0)
    signals = sounds(side, rng)
    print("| model | sound | M instructions per second | of speech | heard |")
    print("|---|---|---|---|---|")
    for name in names:
        print_costs(name, signals)
    for name in names:
        print_scores(name, side, rng)


if __name__ == "__main__":
    main()
