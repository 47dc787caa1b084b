"""What a run does with labelled shards: it writes them down and counts them."""

from __future__ import annotations

from collections.abc import Sequence

from wav2small.export.base.progress import Progress

from ..errors import InputError
from ..teachers.base import TeacherInfo
from .shard import Labelled
from .store import LabelStore


def append(store: LabelStore, labelled: Labelled, teacher: TeacherInfo) -> None:
    """Write a shard, if it is by the teacher of the others.

    Raises:
        InputError: if it is by another, or cannot be written

    """
    if labelled.teacher != teacher:
        raise InputError(
            f"teacher must be the same everywhere, got {labelled.teacher} and "
            f"{teacher}: install the same weights on each machine"
        )
    store.append(
        labelled.rows,
        labelled.errors,
        number=labelled.number,
        sources=labelled.sources,
        skipped=labelled.skipped,
        unlabelled=labelled.unlabelled,
    )


class Tally:
    """Adds up what engines report, from whatever thread, and passes it on.

    Args:
        progress: called with the stage, files done and in all, and figures
        stage: name of what is done
        files: how many there are
        finished: how many of them were done before
        errors: of earlier runs

    """

    def __init__(
        self,
        progress: Progress | None,
        stage: str,
        files: int,
        finished: int,
        errors: Sequence[object],
    ) -> None:
        self._progress = progress
        self._stage = stage
        self._files = files
        self._finished = finished
        self._unfinished: dict[int, float] = {}
        self.seconds = 0.0
        self.errors = len(errors)

    def scored(self, number: int, seconds: float) -> None:
        """Note how much of a shard is scored, in seconds."""
        self._unfinished[number] = seconds
        self._report()

    def add(self, labelled: Labelled) -> None:
        """Note that a shard is in the store."""
        self._unfinished.pop(labelled.number, None)
        self.seconds += labelled.seconds
        self.errors += len(labelled.errors)
        self._finished += len({name for name, _, _ in labelled.sources})
        self._report()

    def _report(self) -> None:
        if self._progress:
            seconds = self.seconds + sum(list(self._unfinished.values()))
            figures = {"audio_seconds": seconds, "errors": self.errors}
            self._progress(self._stage, self._finished, self._files, figures)
