"""Labelled speech that a model is tested on, and what the model says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..teachers.base import Model, predict_with_metadata


@dataclass(frozen=True)
class Speech:
    """Labelled speech to test a model on."""

    signals: Sequence[np.ndarray]
    """Clips, each ``(time,)``, float32 at 16 kHz."""

    references: Mapping[str, np.ndarray]
    """Scores ``(clips, 3)`` by name, NaN where unknown; the last one named
    is what fairness and the change of CCC refer to."""

    metadata: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    """Of each clip ``speaker``, ``gender``, ``language``, ``emotion``, ``text``,
    and what :data:`wav2small.suite.about.COLUMNS` has, where it is known."""

    def score(self, model: Model, item: int, signal: np.ndarray) -> np.ndarray:
        """Score a clip, changed or not, with all that is known of it, ``(3,)``."""
        known = {name: column[item] for name, column in self.metadata.items()}
        return predict_with_metadata(model, [signal], [known])[0]

    def names(self, column: str) -> np.ndarray:
        """Return a column of the metadata, empty where it is not known."""
        names = self.metadata.get(column) or [None] * len(self.signals)
        return np.array([name or "" for name in names])


@dataclass(frozen=True)
class Tested:
    """A model, the speech it is tested on, and its scores of that speech."""

    model: Model
    """What is tested."""

    speech: Speech
    """The clips as they are."""

    references: dict[str, np.ndarray]
    """The references of the speech, each ``(clips, 3)``, float64."""

    scores: np.ndarray
    """The model's scores of the clips as they are, ``(clips, 3)``."""

    @property
    def reference(self) -> str:
        """Name of the reference that fairness and the change of CCC refer to."""
        return list(self.references)[-1]

    @property
    def truth(self) -> np.ndarray:
        """Scores by that reference, ``(clips, 3)``."""
        return self.references[self.reference]
