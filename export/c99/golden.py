"""Golden vectors: a signal and what the reference computes of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..integer.front_end.constants import CENTRED, FRACTION, FrontEnd
from ..integer.front_end.log_mel import log2
from ..integer.graph import IntegerGraph
from ..integer.reference import ReferenceModel
from ..integer.streaming.schedule import Schedule

MOST_SAMPLES = 2**28
"""Samples that a signal may have where a stream cannot go on for ever."""

_GOLDEN = (0, 1, 777, 8000, 20000)
"""Samples of the golden vectors, beyond the fewest that give a result."""


def golden_vectors(graph: IntegerGraph, plan: Schedule) -> Iterator[str]:
    """Lines of the header of golden vectors."""
    reference, front = ReferenceModel(graph), plan.front.constants
    normalised = front.power_floor is not None
    fewest = min_samples(plan)
    signal = golden_signal(fewest + max(_GOLDEN))
    yield "/* What the reference computes of the signal of the self-test. */"
    yield f"#define GOLDEN_VECTORS {len(_GOLDEN)}"
    yield ""
    yield "typedef struct {"
    yield "    uint32_t samples;"
    yield "    int32_t integers[WAV2SMALL_SCORES];"
    if normalised:
        yield "    wav2small_level level;"
    yield "} golden_t;"
    yield ""
    level = ", &(vector)->level" if normalised else ""
    yield "#define GOLDEN_INIT(state, vector) \\"
    yield f"    wav2small_init(state WAV2SMALL_TEST_MODEL{level})"
    yield ""
    yield "static const golden_t golden[GOLDEN_VECTORS] = {"
    for more in _GOLDEN:
        heard = signal[: fewest + more]
        scores = reference.run(heard)[graph.output].ravel().tolist()
        entry = f"{len(heard)}, {{{', '.join(map(str, scores))}}}"
        if normalised:
            entry += ", {{{}, {}}}".format(*level_of(front, heard))
        yield f"    {{{entry}}},"
    yield "};"


def level_of(front: FrontEnd, samples: np.ndarray) -> tuple[int, int]:
    """Mean in steps of ``2 ** -11`` and gain in steps of ``2 ** -20`` of a signal.

    Args:
        front: front end that normalises
        samples: whole signal ``(time,)``, int16

    """
    assert front.power_floor is not None
    count, total = len(samples), int(samples.astype(np.int64).sum())
    squares = int((samples.astype(np.int64) ** 2).sum())
    energy = ((count * squares - total**2) << 8) + front.power_floor * count**2
    mean = ((total << CENTRED + 1) + count) // (2 * count)
    return mean, log2(energy) - 2 * log2(count) - (38 << FRACTION)


def golden_signal(length: int) -> np.ndarray:
    """Signal of the self-test, int16: noise of changing level and a tone."""
    samples, noise = [], 1
    for n in range(length):
        noise = (noise * 1664525 + 1013904223) % 2**32
        value = (noise >> 16) - 32768
        bits = 2 + ((n >> 11) & 7)
        # C rounds a quotient towards zero
        value = value >> bits if value >= 0 else -(-value >> bits)
        samples.append(value + (700 if n // 40 % 2 == 0 else -700))
    return np.array(samples, np.int16)


def min_samples(plan: Schedule) -> int:
    """Fewest samples that give a result."""
    front = plan.front.constants
    needed = front.window_length + (plan.min_frames - 1) * front.hop_length
    return max(1, needed - sum(front.padding))
