"""Write the header that users of a model include."""

from __future__ import annotations

import textwrap
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template

import numpy as np

from ..base import escape
from ..base.outputs import CATEGORIES, DOUBT
from ..integer.graph import IntegerGraph
from ..integer.streaming.schedule import Schedule
from ..model.further import category_names
from .arrangement import Arrangement
from .golden import MOST_SAMPLES, min_samples
from .weights import LAYOUT

_TEMPLATES = Path(__file__).parent / "templates"

_LEVEL = """
/* Level of a signal, whose scores do not depend on it. */
typedef struct {
    int32_t mean; /* in steps of 2^-11 */
    int32_t gain; /* logarithm to base 2 of the power, in steps of 2^-20 */
} wav2small_level;

/* Measure the level of a whole signal. */
wav2small_status wav2small_measure(const int16_t *samples, size_t count,
                                   wav2small_level *level);
"""
_FORGET = """
/* Let what was heard weigh less with time, from now on and in signals to come: after so
 * many milliseconds it weighs 1 / e (37 %) of what is heard then. 0 forgets nothing. */
wav2small_status wav2small_forget(wav2small_state *state, uint32_t milliseconds);
"""
_LISTEN = """
/* The log-odds of speech in steps of wav2small_speech: 0 and more is speech. */
#define WAV2SMALL_SPEECH_STEP $step

/* Let scores learn from speech alone, or (0, and after wav2small_init) from all that
 * is heard. Rows of speech reach the layers one after the other, as if nothing were
 * between them; meanwhile scores stay, and only what knows speech works. The detector
 * begins anew. */
wav2small_status wav2small_listen(wav2small_state *state, int speech_alone);

/* Log-odds that the last frame which the detector read is speech. */
wav2small_status wav2small_speech(const wav2small_state *state, int32_t *log_odds);

/* 1 while scores learn from what is heard, else 0. */
int wav2small_hears(const wav2small_state *state);
"""
_VOICE_STATE = """    uint16_t speech_alone; /* whether to listen to speech alone */
    uint16_t left;     /* rows of the detector that speech still lasts */
    uint32_t clock;    /* frames that levels count */
    uint32_t voice;    /* frames that the detector counts */
    int32_t odds;      /* log-odds of its last row */
"""
_CATEGORIES = """
/* How likely each category is, of what wav2small_latest is of, in steps of 2^-15:
 * $names. */
#define WAV2SMALL_CATEGORIES $count
wav2small_status wav2small_latest_categories(wav2small_state *state,
                                             uint16_t shares[WAV2SMALL_CATEGORIES]);
"""
_DOUBT = """
/* How far each score of wav2small_latest may be off, as a mean error, in steps of
 * 2^-14. */
wav2small_status wav2small_latest_doubts(wav2small_state *state,
                                         uint16_t parts[WAV2SMALL_SCORES]);
"""
_LIMIT = f"""/* Samples that a signal may have. */
#define WAV2SMALL_MAX_SAMPLES {MOST_SAMPLES}
"""
_SAMPLE_BYTES = 2
_HELD = """, about 600 bytes of stack, and the whole signal, which
 * the caller holds: the model hears it twice, first to measure its level"""
_NOT_HELD = """ and about 600 bytes of stack;
 * the caller holds no samples"""


def _further(graph: IntegerGraph) -> str:
    """What a header says of outputs beside the scores."""
    text = ""
    if CATEGORIES in graph.further:
        names = category_names(graph.model)
        listed = "\n * ".join(textwrap.wrap(", ".join(names), 84))
        words = {"names": listed, "count": len(names)}
        text += Template(_CATEGORIES).substitute(words)
    return text + (_DOUBT if DOUBT in graph.further else "")


def template(name: str) -> str:
    """Text of a file of the package."""
    return (_TEMPLATES / name).read_text()


def write_header(graph: IntegerGraph, plan: Schedule, placed: Arrangement) -> str:
    """Text of ``wav2small.h``."""
    front = placed.front
    output = graph.tensors[graph.output]
    metadata = {entry.key: entry.value for entry in graph.model.metadata_props}
    rate = graph.sampling_rate
    state = "    wav2small_level level;\n" if placed.normalised else ""
    if front.past_frames:
        state += "    int64_t past_total;\n"
    state += f"    int64_t sums[{max(1, placed.sum_count)}];\n"
    if placed.reference_count:
        state += f"    int32_t references[{placed.reference_count}];\n"
        state += f"    uint32_t decays[{len(placed.pools)}];\n"
    if front.past_frames:
        state += f"    int{8 * placed.past_bytes}_t past[{front.past_frames}];\n"
    values = {
        "sha256": graph.digest,
        "layout": LAYOUT,
        "version": project_version(),
        "licence": escape.c_comment(metadata.get("licence", "unknown")),
        "use": escape.c_comment(metadata.get("use", "as it says")),
        "held": _HELD if placed.normalised else _NOT_HELD,
        "held_bytes": _SAMPLE_BYTES * rate if placed.normalised else 0,
        "sampling_rate": rate,
        "labels": escape.c_comment(
            metadata.get("labels", "arousal, dominance, valence")
        ),
        "range": escape.c_comment(metadata.get("range", "not stated")),
        "scores": placed.program.output.count,
        "hop_length": front.hop_length,
        "min_samples": min_samples(plan),
        "limit": "" if placed.lap else _LIMIT,
        "step": f"{np.float32(output.scale):.9e}f",
        "zero_point": output.zero_point,
        "state": state,
        "voice_state": _VOICE_STATE if placed.voice else "",
        "listen": _listen(placed),
        "further": _further(graph),
        "forget": _FORGET if placed.forgets else "",
        "example_level": ", &level" if placed.normalised else "",
        "level_type": _LEVEL if placed.normalised else "",
        "level_argument": (
            ",\n                                const wav2small_level *level"
            if placed.normalised
            else ""
        ),
        "level_note": " of the same level" if placed.normalised else "",
        "window_length": front.window_length,
        "line_words": max(1, placed.memory.lines // 4),
        "scratch_longs": placed.memory.scratch // 8,
    }
    return Template(template("wav2small.h")).substitute(values)


def project_version() -> str:
    """Version of this project, as its metadata states it."""
    try:
        return version("wav2small")
    except PackageNotFoundError:
        return "unknown"


def _listen(placed: Arrangement) -> str:
    if placed.detector is None:
        return ""
    step = f"{np.float32(placed.detector.tensor.scale):.9e}f"
    return _LISTEN.replace("$step", step)
