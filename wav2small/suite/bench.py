"""Run the suite: what a model's scores are worth, test by test.

After Derington et al. 2023, Testing correctness, fairness, and robustness of
speech emotion recognition models, arXiv 2312.06270,
and Wagner et al. 2022, Dawn of the transformer era in speech emotion recognition,
arXiv 2203.07378.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wav2small.export.base.progress import Progress

from ..teachers.base import Model
from .adversarial import Attack, add_adversarial
from .correctness import add_agreement, add_categories
from .fairness import add_groups
from .heard import add_conditions, add_said
from .non_speech import STRONG, add_non_speech
from .robustness import UNCHANGED, add_changes
from .rows import SuiteRows
from .sounds import Sounds
from .speech import Speech, Tested

SCHEMA_VERSION = 1
"""Version of the report's schema, ``assets/suite.schema.json``."""


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
    attacks: Mapping[str, Attack] | None = None,
    about: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Test a model for correctness, fairness and robustness.

    A test whose data is missing is listed as skipped, with the reason. A figure passes
    by its value; its 95 % interval is for the reader. The same seed, the same report.

    Args:
        model: what is tested
        speech: labelled speech
        sounds: recordings of noise and of other speech
        clips: most clips of the tests of robustness, spread evenly;
            correctness and fairness use all
        seed: seed of the changes and of the bootstrap
        resamples: resamples of the bootstrap
        attacks: make adversarial changes, by title,
            see :func:`wav2small.suite.adversarial.attacks_of`; none are if it is None
        about: what the report shall say of model and labels
        progress: called as it goes on

    Raises:
        ValueError: if there are no clips, or references or metadata
            are not of one entry for each

    """
    _check(speech, clips)
    progress = progress or (lambda stage, done, total, figures: None)
    scores = np.zeros((len(speech.signals), 3))
    for item, signal in enumerate(speech.signals):
        scores[item] = speech.score(model, item, signal)
        progress("clips", item + 1, len(scores), {})
    references = {k: np.asarray(v, np.float64) for k, v in speech.references.items()}
    tested = Tested(model, speech, references, scores)
    rows = SuiteRows(seed, resamples)
    for add in (add_agreement, add_categories, add_said, add_groups, add_conditions):
        add(rows, tested)
    given: dict[str, Any] = {"clips": clips, "seed": seed, "progress": progress}
    add_changes(rows, tested, sounds or Sounds(), **given)
    if attacks:
        add_adversarial(rows, tested, attacks, **given)
    add_non_speech(rows, model, sounds or Sounds(), seed=seed, progress=progress)
    settings = {
        "clips": len(scores),
        "robustness_clips": min(clips, len(scores)),
        "seed": seed,
        "unchanged_below": UNCHANGED,
        "strong_at": list(STRONG),
        "reference": tested.reference,
    }
    return Outcome(_report(rows, settings, about or {}), references, scores)


def _report(
    rows: SuiteRows, settings: dict[str, Any], about: Mapping[str, str]
) -> dict[str, Any]:
    """Put the report together, as ``assets/suite.schema.json`` describes it."""
    tests = rows.tests
    return {
        "schema_version": SCHEMA_VERSION,
        "about": dict(about),
        "settings": settings,
        "summary": {
            "passed": sum(test["passed"] is True for test in tests),
            "failed": sum(test["passed"] is False for test in tests),
            "skipped": len(rows.skipped),
        },
        "tests": tests,
        "skipped": rows.skipped,
    }


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
