"""How far the scores of clips move where a model listens to speech alone.

    python examples/listen_to_speech.py DATA [MODEL...]

DATA holds the folders that the detectors were trained on. Takes clips that no detector
was trained on, of up to 4 s, at three levels, and prints how many were heard at all,
how much of them, and the concordance of their scores with those of the whole clips.
What it costs is in the report of ``wav2small bench MODEL --emulate --audio CLIP``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from speech_sides import read

from wav2small.adv import SAMPLING_RATE
from wav2small.export.base.errors import ExportError
from wav2small.export.base.metrics import concordance_cc
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.reader import read as read_model
from wav2small.export.integer.streaming.run import Stream
from wav2small.models import find_onnx

LEVELS = (-20.0, -35.0, -50.0)
"""Levels of the clips in dB of full scale."""
CLIPS = 60


def at_level(signal: np.ndarray, decibel: float) -> np.ndarray:
    """Signal at a level in dB of full scale, int16."""
    gain = 10 ** (decibel / 20) / max(float(np.std(signal)), 1e-9)
    return np.clip(np.round(signal * gain * 32768), -32768, 32767).astype(np.int16)


def hear(
    model: IntegerGraph, samples: np.ndarray, *, speech_alone: bool
) -> tuple[np.ndarray | None, float]:
    """Scores, None where nothing was speech, and the share of rows that were heard."""
    stream = Stream(model)
    stream.listen(speech_alone=speech_alone)
    stream.push(samples)
    front = stream.schedule.front
    share = front.output.count * front.constants.hop_length / len(samples)
    try:
        return stream.result(), share
    except ExportError:
        return None, share


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit("usage: python examples/listen_to_speech.py DATA [MODEL...]")
    clips = read(Path(sys.argv[1]), 0)["test"].speech
    chosen = np.random.default_rng(0).permutation(len(clips))[:CLIPS]
    print("| model | level | clips heard | of their time | CCC to all that is heard |")
    print("|---|---|---|---|---|")
    for name in sys.argv[2:] or ["wav2small-rt", "wav2small-rt-mini"]:
        model = read_model(find_onnx(name))
        for level in LEVELS:
            pairs, shares = [], []
            for number in chosen:
                samples = at_level(clips[number][: 4 * SAMPLING_RATE], level)
                whole, _ = hear(model, samples, speech_alone=False)
                alone, share = hear(model, samples, speech_alone=True)
                shares.append(share)
                if alone is not None:
                    pairs.append((whole, alone))
            scores = np.array(pairs).transpose(1, 2, 0)
            values = [
                f"{concordance_cc(a, b):.3f}" for a, b in zip(*scores, strict=True)
            ]
            print(
                f"| `{name}` | {level:.0f} dB | {len(pairs)} of {len(chosen)} "
                f"| {np.mean(shares):.0%} | {' / '.join(values)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
