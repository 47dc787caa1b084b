"""Run the suite: what a model's scores are worth, test by test."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..adv import DIMENSIONS, SAMPLING_RATE
from ..gate import SpeechGate
from ..metrics import bootstrap_interval
from ..teachers.base import Model, predict_told
from .cases import (
    AGREEMENT,
    CONSISTENT,
    FAIRNESS,
    NOISE_THRESHOLD,
    QUIET_THRESHOLD,
    SPEAKERS,
    STRONG,
    UNCHANGED,
    UNKNOWN,
    Threshold,
    all_changes,
    at_least,
    at_most,
)
from .figures import (
    RANGES,
    count_groups,
    expected_range,
    gap,
    loss_of_ccc,
    of_means,
)
from .pitch import pitch_group
from .sounds import Sounds, spread

SCHEMA_VERSION = 1
"""Version of the report's schema, ``assets/suite.schema.json``."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Speech:
    """Labelled speech to test a model on."""

    signals: Sequence[np.ndarray]
    """Clips, each ``(time,)``, float32 at 16 kHz."""

    references: Mapping[str, np.ndarray]
    """Scores ``(clips, 3)`` by name, NaN where unknown; the last one named
    is what fairness and the change of CCC refer to."""

    metadata: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """Of each clip ``speaker``, ``gender``, ``language``, ``emotion``, ``text``."""

    def score(self, model: Model, item: int, signal: np.ndarray) -> np.ndarray:
        """Score a clip, changed or not, with all that is known of it, ``(3,)``."""
        told = {name: column[item] for name, column in self.metadata.items()}
        return predict_told(model, [signal], [told])[0]


@dataclass(frozen=True)
class Outcome:
    """What the suite found."""

    report: dict[str, Any]
    """The report, as ``assets/suite.schema.json`` describes it."""

    references: dict[str, np.ndarray]
    """The references that it was compared with, each ``(clips, 3)``."""

    scores: np.ndarray
    """The model's scores of the clips as they are, ``(clips, 3)``."""


def run_suite(
    model: Model,
    speech: Speech,
    sounds: Sounds | None = None,
    *,
    clips: int = 100,
    seed: int = 0,
    resamples: int = 500,
    about: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Test a model for correctness, fairness and robustness.

    A test whose data is missing is listed as skipped, with the reason.
    A figure passes by its value; its 95 % interval is for the reader.
    The same model, data and seed give the same report.

    Args:
        model: what is tested
        speech: labelled speech
        sounds: recordings of noise and of other speech
        clips: most clips of the tests of robustness, spread evenly;
            correctness and fairness use all
        seed: seed of the changes and of the bootstrap
        resamples: resamples of the bootstrap
        about: what the report shall say of model and labels
        progress: called with a title, the number done and in all

    Raises:
        ValueError: if there are no clips, or references or metadata
            are not of one entry for each

    """
    _check(speech, clips)
    sounds = sounds or Sounds()
    progress = progress or (lambda title, done, total: None)
    references = {k: np.asarray(v, np.float64) for k, v in speech.references.items()}
    scores = np.zeros((len(speech.signals), 3))
    for item, signal in enumerate(speech.signals):
        scores[item] = speech.score(model, item, signal)
        progress("clips", item + 1, len(scores))
    table = _Table(seed, resamples)
    _correctness(table, speech, references, scores)
    _fairness(table, speech, references, scores)
    _robustness(table, model, speech, references, scores, sounds, clips, seed, progress)
    _other_sounds(table, model, sounds, seed, progress)
    tests = table.tests
    report = {
        "schema_version": SCHEMA_VERSION,
        "about": dict(about or {}),
        "settings": {
            "clips": len(scores),
            "robustness_clips": min(clips, len(scores)),
            "seed": seed,
            "unchanged_below": UNCHANGED,
            "strong_at": list(STRONG),
            "reference": list(references)[-1],
        },
        "summary": {
            "passed": sum(test["passed"] is True for test in tests),
            "failed": sum(test["passed"] is False for test in tests),
            "skipped": len(table.skipped),
        },
        "tests": tests,
        "skipped": table.skipped,
    }
    return Outcome(report, references, scores)


class _Table:
    """Rows of the report."""

    def __init__(self, seed: int, resamples: int) -> None:
        self.seed, self.resamples = seed, resamples
        self.tests: list[dict[str, Any]] = []
        self.skipped: list[dict[str, str]] = []

    def add(
        self,
        group: str,
        name: str,
        figure: str,
        axis: int,
        threshold: Threshold | None,
        metric: Callable[..., float],
        *series: np.ndarray,
    ) -> None:
        """Add a figure, a function of series of one entry for each clip."""
        count = len(series[0])
        value = metric(*series)

        def resampled(items: np.ndarray, _: np.ndarray) -> float:
            return metric(*(entries[items.astype(int)] for entries in series))

        low, high = bootstrap_interval(
            resampled,
            np.arange(count),
            np.arange(count),
            rng=np.random.default_rng(self.seed),
            resamples=self.resamples,
        )
        self._append(group, name, figure, axis, threshold, value, (low, high), count)

    def add_share(
        self,
        group: str,
        name: str,
        figure: str,
        axis: int,
        threshold: Threshold | None,
        hits: np.ndarray,
    ) -> None:
        """Add the share of clips that are hit."""
        count, value = len(hits), float(hits.mean())
        # what resampling the clips would give, drawn at once
        drawn = np.random.default_rng(self.seed).binomial(count, value, self.resamples)
        low, high = np.quantile(drawn / count, [0.025, 0.975])
        self._append(group, name, figure, axis, threshold, value, (low, high), count)

    def _append(
        self,
        group: str,
        name: str,
        figure: str,
        axis: int,
        threshold: Threshold | None,
        value: float,
        interval: tuple[float, float],
        count: int,
    ) -> None:
        known = not np.isnan(interval[0])
        self.tests.append(
            {
                "group": group,
                "name": name,
                "figure": figure,
                "dimension": DIMENSIONS[axis],
                "value": _number(value),
                "interval": [_number(end) for end in interval] if known else None,
                "sense": threshold.sense if threshold else None,
                "threshold": threshold.value if threshold else None,
                "passed": threshold.passes(value) if threshold else None,
                "clips": count,
            }
        )

    def skip(self, group: str, name: str, reason: str) -> None:
        self.skipped.append({"group": group, "name": name, "reason": reason})


def _correctness(
    table: _Table, speech: Speech, references: dict[str, np.ndarray], scores: np.ndarray
) -> None:
    speakers = _names(speech, "speaker")
    for reference, truth in references.items():
        group = f"correctness: {reference}"
        for axis in range(3):
            known = np.flatnonzero(~np.isnan(truth[:, axis]))
            if len(known) < 2:
                table.skip(group, DIMENSIONS[axis], "fewer than two scores are known")
                continue
            t, p = truth[known, axis], scores[known, axis]
            for figure, (metric, threshold) in AGREEMENT.items():
                table.add(group, "all clips", figure, axis, threshold, metric, t, p)
            names = speakers[known]
            count = count_groups(names)
            for figure, (metric, threshold, least) in SPEAKERS.items():
                if count < least:
                    continue
                means = partial(of_means, metric)
                table.add(
                    group,
                    f"{count} speakers",
                    figure,
                    axis,
                    threshold,
                    means,
                    t,
                    p,
                    names,
                )
        for figure, (_, _, least) in SPEAKERS.items():
            if count_groups(speakers) < least:
                table.skip(
                    group,
                    f"speakers: {figure}",
                    f"labels name fewer than {least} speakers of 10 clips or more",
                )
    _consistency(table, speech, scores)


def _consistency(table: _Table, speech: Speech, scores: np.ndarray) -> None:
    group = "correctness: categories"
    emotions = speech.metadata.get("emotion", [None] * len(scores))
    found = False
    for axis, dimension in enumerate(DIMENSIONS):
        levels = [expected_range(emotion, dimension) for emotion in emotions]
        ranges = np.array(
            [RANGES.get(level or "", (np.nan, np.nan)) for level in levels]
        )
        inside = (scores[:, axis] >= ranges[:, 0]) & (scores[:, axis] <= ranges[:, 1])
        parts = {"all": np.array([level is not None for level in levels])}
        for level, emotion in sorted(
            {(str(v), str(e)) for v, e in zip(levels, emotions, strict=True) if v}
        ):
            parts[f"{emotion}: {level}"] = np.array([e == emotion for e in emotions])
        for name, chosen in parts.items():
            if chosen.any():
                found = True
                table.add_share(
                    group,
                    name,
                    "share in the expected range",
                    axis,
                    at_least(CONSISTENT),
                    inside[chosen],
                )
    if not found:
        table.skip(group, "consistency", "labels name no category with expectations")


def _fairness(
    table: _Table, speech: Speech, references: dict[str, np.ndarray], scores: np.ndarray
) -> None:
    truth = list(references.values())[-1]
    groups = {
        "sex": _names(speech, "gender"),
        "pitch": np.array([pitch_group(s) or "" for s in speech.signals]),
        "language": _names(speech, "language"),
    }
    for kind, figures in FAIRNESS.items():
        names = groups[kind]
        if count_groups(names) < 2:
            table.skip(
                "fairness",
                kind,
                "labels have fewer than two groups of 10 clips or more",
            )
            continue
        for axis in range(3):
            known = np.flatnonzero(~np.isnan(truth[:, axis]))
            t, p, n = truth[known, axis], scores[known, axis], names[known]
            for figure, (metric, threshold) in figures.items():
                if np.isnan(gap(metric, t, p, n)):
                    table.skip(
                        "fairness",
                        f"{kind}: {figure}, {DIMENSIONS[axis]}",
                        "no two groups have 10 clips or more of one bin",
                    )
                    continue
                table.add(
                    "fairness",
                    kind,
                    figure,
                    axis,
                    threshold,
                    partial(gap, metric),
                    t,
                    p,
                    n,
                )
    for kind, reason in UNKNOWN.items():
        table.skip("fairness", kind, reason)


def _robustness(
    table: _Table,
    model: Model,
    speech: Speech,
    references: dict[str, np.ndarray],
    scores: np.ndarray,
    sounds: Sounds,
    clips: int,
    seed: int,
    progress: Progress,
) -> None:
    chosen = spread(len(scores), clips)
    before, truth = scores[chosen], list(references.values())[-1][chosen]
    todo = []
    for change in all_changes():
        if change.needs and not sounds.of_kind(change.needs):
            option = "--speech" if change.needs == "speech" else "--noise"
            table.skip(
                change.group, change.name, f"no recordings of {change.needs}: {option}"
            )
        else:
            todo.append(change)
    for number, change in enumerate(todo):
        # a generator of its own: a test more or less leaves the others as they are
        key = zlib.crc32(change.name.encode())
        after = np.zeros_like(before)
        for row, item in enumerate(chosen):
            rng = np.random.default_rng([seed, key, item])
            changed = change.apply(speech.signals[item], rng, sounds)
            after[row] = speech.score(model, item, changed)
            progress("changes", number * len(chosen) + row + 1, len(todo) * len(chosen))
        for axis in range(3):
            same = np.abs(after[:, axis] - before[:, axis]) < UNCHANGED
            table.add_share(
                change.group,
                change.name,
                "share unchanged",
                axis,
                at_least(change.unchanged),
                same,
            )
        for axis in range(3):
            known = np.flatnonzero(~np.isnan(truth[:, axis]))
            if len(known) < 2:
                continue
            t, b, a = (part[known, axis] for part in (truth, before, after))
            table.add(
                change.group,
                change.name,
                "change of CCC",
                axis,
                None if change.ccc is None else at_least(change.ccc),
                loss_of_ccc,
                t,
                b,
                a,
            )


def _other_sounds(
    table: _Table, model: Model, sounds: Sounds, seed: int, progress: Progress
) -> None:
    group = "non-speech"
    rng = np.random.default_rng([seed, zlib.crc32(group.encode())])
    lengths = [int(seconds * SAMPLING_RATE) for seconds in (0.5, 1, 2, 4, 8)]
    parts: dict[str, tuple[list[np.ndarray], Threshold | None]] = {
        "digital silence": (
            [np.zeros(n, np.float32) for n in lengths],
            at_most(QUIET_THRESHOLD),
        ),
        "silence with noise at -70 dB": (
            [_white(rng, n, -70) for n in lengths],
            at_most(QUIET_THRESHOLD),
        ),
        "white noise at -10 dB": (
            [_white(rng, n, -10) for n in lengths],
            at_most(QUIET_THRESHOLD),
        ),
    }
    if sounds.noises:
        every = [noise for noises in sounds.noises.values() for noise in noises]
        parts["recordings"] = every, at_most(NOISE_THRESHOLD)
        parts |= {
            f"recordings: {category}": (noises, None)
            for category, noises in sounds.noises.items()
        }
    else:
        table.skip(group, "recordings", "no recordings of noise: --noise")
    gate = SpeechGate()
    memory: dict[int, tuple[np.ndarray, bool]] = {}
    total = len({id(s) for signals, _ in parts.values() for s in signals})
    for name, (signals, threshold) in parts.items():
        for signal in signals:
            if id(signal) not in memory:
                score = model.predict([signal])[0]
                strong = (score <= STRONG[0]) | (score >= STRONG[1])
                memory[id(signal)] = strong, gate.classify(signal) == "speech"
                progress("non-speech", len(memory), total)
        strong = np.array([memory[id(s)][0] for s in signals])
        passed = np.array([memory[id(s)][1] for s in signals])
        for figure, read in (
            ("share strong, model alone", strong),
            ("share strong, behind the gate", strong & passed[:, None]),
        ):
            for axis in range(3):
                table.add_share(group, name, figure, axis, threshold, read[:, axis])


def _white(rng: np.random.Generator, samples: int, level: float) -> np.ndarray:
    return (rng.normal(size=samples) * 10 ** (level / 20)).astype(np.float32)


def _names(speech: Speech, column: str) -> np.ndarray:
    """Return a column of the metadata, empty where it is not known."""
    names = speech.metadata.get(column) or [None] * len(speech.signals)
    return np.array([name or "" for name in names])


def _number(value: float) -> float | None:
    """Round so that a report does not depend on the order of a sum."""
    return None if np.isnan(value) else round(float(value), 6)


def _check(speech: Speech, clips: int) -> None:
    count = len(speech.signals)
    if not count or not speech.references:
        raise ValueError("speech must have clips and references, got none: name some")
    for name, column in {**speech.references, **speech.metadata}.items():
        if len(column) != count:
            raise ValueError(
                f"{name} must have an entry for each of {count} clips, "
                f"got {len(column)}: leave out both or none"
            )
    if clips < 1:
        raise ValueError(f"clips must be at least 1, got {clips}: change it")
