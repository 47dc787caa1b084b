"""Label shards with a teacher: while it scores one batch, the next one is read."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import numpy as np

from ..adv import DIMENSIONS
from ..config import AnnotateConfig
from ..gate import load_gate
from ..programs import Transcriber
from ..teachers.base import Teacher, TeacherError, predict_with_metadata
from .shard import Announce, Care, Clip, Labelled, OnScored, OpenShard, Shard

FAILURES = 10
"""Files in a row that fail for the same reason before the run ends:
then the teacher is to blame and not the files."""


class Labeller:
    """A teacher with everything that labelling shards takes.

    Args:
        teacher: what scores
        config: how audio is cut and batched

    """

    def __init__(self, teacher: Teacher, config: AnnotateConfig) -> None:
        self.teacher = teacher
        self.config = config
        self.gate = load_gate(config.gate)
        # a teacher of one's own may bring a function of a signal that does it
        self.transcribe: Callable[[np.ndarray], str | None] | None = getattr(
            teacher, "transcribe", None
        ) or (Transcriber(config.transcriber) if config.transcriber else None)
        self._failed: tuple[str, set[str]] = "", set()

    def label(
        self,
        shards: Iterator[Shard],
        *,
        announce: Announce = lambda doing, files: None,
        on_scored: OnScored = lambda number, seconds: None,
    ) -> Iterator[Labelled]:
        """Label shards, in their order.

        While a batch is scored a thread reads the next ones,
        beyond the end of a shard as well.

        Args:
            shards: taken as late as possible
            announce: called before a file is touched
            on_scored: called when a batch is scored

        Raises:
            InputError: if the teacher is of no use

        """
        for opened, batch in _ahead(self._batches(shards, announce), 2):
            if batch is None:
                yield opened.result(self.teacher.info)
                continue
            alone = opened.shard.care is Care.alone
            for clips in [[clip] for clip in batch] if alone else [batch]:
                announce("score", sorted({row["file"] for row, _ in clips}))
                scores = self._score(clips)
                self._watch(clips, scores)
                opened.add_scores(clips, scores)
            on_scored(opened.shard.number, opened.seconds)
            opened.scored.release()

    def _batches(
        self, shards: Iterator[Shard], announce: Announce
    ) -> Iterator[tuple[OpenShard, list[Clip] | None]]:
        """Read shards and batch their clips; None ends a shard."""
        for shard in shards:
            opened = OpenShard(shard)
            for batch in opened.batches(self.config, self.gate, announce):
                yield opened, batch
                if shard.care is not Care.none:
                    opened.scored.acquire()
            yield opened, None

    def _watch(self, clips: list[Clip], scores: list[np.ndarray | str]) -> None:
        """End the run when one file after the other fails for the same reason."""
        for (row, _), score in zip(clips, scores, strict=True):
            if not isinstance(score, str):
                self._failed = "", set()
                continue
            # reasons may name numbers that differ between signals, such as lengths
            reason = re.sub(r"\d+", "#", score)
            if reason != self._failed[0]:
                self._failed = reason, set()
            self._failed[1].add(row["file"])
            if len(self._failed[1]) == FAILURES:
                raise TeacherError(
                    f"teacher must score signals, it failed on {FAILURES} files in a "
                    f"row: {score}: check its weights and the memory"
                )

    def _score(self, clips: list[Clip]) -> list[np.ndarray | str]:
        """Return three scores for each clip, or why there are none."""
        name = self.teacher.info.name
        try:
            scores = self._predict(clips)
        except Exception as error:  # whatever a teacher may raise
            if isinstance(error, TeacherError):
                raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            if len(clips) == 1:
                return [f"teacher {name} failed: {reason}"]
            alone = [self._score([clip])[0] for clip in clips]
            files = {row["file"] for row, _ in clips}
            if len(files) > 1 and all(isinstance(score, str) for score in alone):
                raise TeacherError(
                    f"teacher must score signals, {name} failed on each of "
                    f"{len(clips)}: {reason}: check its weights and the memory"
                ) from error
            return alone
        return [
            score
            if np.isfinite(score).all()
            else f"teacher {name} gave scores that are not finite"
            for score in scores
        ]

    def _predict(self, clips: Sequence[Clip]) -> np.ndarray:
        if self.transcribe:
            for row, signal in clips:
                row["text"] = row.get("text") or self.transcribe(signal) or None
        signals = [signal for _, signal in clips]
        with _bfloat16() if self.config.bfloat16 else nullcontext():
            found = predict_with_metadata(
                self.teacher, signals, [row for row, _ in clips]
            )
        scores = np.asarray(found, np.float32)
        if scores.shape != (len(signals), len(DIMENSIONS)):
            raise TeacherError(
                f"teacher must give {len(DIMENSIONS)} scores for each of "
                f"{len(signals)} signals, got {scores.shape} from "
                f"{self.teacher.info.name}: check its weights"
            )
        return scores


def _bfloat16() -> AbstractContextManager[None]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.autocast(device, torch.bfloat16)


Item = TypeVar("Item")


def _ahead(items: Iterator[Item], count: int) -> Iterator[Item]:
    """Give items that a thread has made beforehand, at most a number of them."""
    made: queue.Queue[tuple[bool, Any]] = queue.Queue(count)
    left = threading.Event()

    def put(more: bool, item: object) -> bool:
        while not left.is_set():
            try:
                made.put((more, item), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(True, item):
                    return
        except BaseException as error:
            put(False, error)
        else:
            put(False, None)

    threading.Thread(target=make, daemon=True).start()
    try:
        while True:
            more, item = made.get()
            if more:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        left.set()
