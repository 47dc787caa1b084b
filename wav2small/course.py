"""What a student learns in which step, from a corpus of any size.

A corpus of more than ``chapter_hours`` is learned chapter by chapter:
the clips of one are decoded while those of another are learned from,
and what was learned makes room.
So neither memory nor disk has to hold more than a few chapters.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from wav2small.export.base.files import remove_folder
from wav2small.export.base.progress import Progress

from .annotation.labels import Labels
from .annotation.store import LabelStore
from .annotation.varied import VariationStore
from .clips import Clips, decode_labels
from .config import DistillConfig
from .crops import Crops
from .errors import InputError
from .finetune.parallel import Group
from .splits import chance_split, split_dev
from .teachers.base import Teacher
from .training_schedule import steps_in

DEV_ROWS = 2000
"""Clips at most by which the best checkpoint of several chapters is chosen."""


@dataclass(frozen=True)
class Dev:
    """Clips by which the best checkpoint is chosen."""

    clips: Sequence[np.ndarray]
    """Clips of which some are meant."""

    items: np.ndarray
    """Their numbers, ``(rows,)``."""

    truth: np.ndarray
    """The teacher's scores, ``(rows, 3)``."""


@dataclass(frozen=True)
class Corpus:
    """Labels, where their audio is, and what is done with them."""

    store: LabelStore
    root: Path
    """Folder that the audio is below."""

    folder: Path
    """Where decoded clips go."""

    config: DistillConfig
    noises: list[np.ndarray]
    teacher: Teacher | None
    variations: VariationStore | None
    """Stored scores of crops, if they are used."""

    alone: bool = True
    """Whether the teacher scores one crop at a time."""

    group: Group = field(default_factory=Group)
    """The processes that train together, of which the first one decodes."""

    def decode(
        self, labels: Labels, folder: Path, progress: Progress | None = None
    ) -> tuple[Clips, set[int]]:
        """Decode clips in the first process; the others find what it has decoded."""
        writes = self.group.rank == 0
        return decode_labels(
            labels, self.root, folder, writes=writes, progress=progress
        )

    def crops(
        self,
        labels: Labels,
        clips: Clips,
        train: np.ndarray,
        chapter: int = 0,
    ) -> Crops:
        """Return the crops of a chapter; clips that lack a stored score are left out.

        Raises:
            InputError: if no clip is left

        """
        known = None
        if self.variations:
            known = self.variations.scores(self.config.varied, labels, chapter)
            turns = min(self.config.variations, self.config.epochs)
            train = train[~np.isnan(known[train, :turns]).any(axis=(1, 2))]
        if not len(train):
            raise InputError(
                f"labels must have audio for training, got none of chapter {chapter} "
                f"that can be read below {self.root}: pass --audio-root"
            )
        return Crops(
            clips, labels.scores, train, self.noises, self.config, self.teacher,
            labels.metadata_rows, known=known, chapter=chapter, group=self.group,
            alone=self.alone,
        )  # fmt: skip


class Course:
    """The batches of a training, and what it is tested with.

    Args:
        config: what a run does
        sizes: steps of each chapter
        open_chapter: returns the crops of a chapter
        dev: clips by which the best checkpoint is chosen
        described: what a checkpoint says of the labels
        unreadable: number of rows whose audio is known to be missing

    """

    def __init__(
        self,
        config: DistillConfig,
        sizes: Sequence[int],
        open_chapter: Callable[[int], Crops],
        dev: Dev,
        described: dict[str, Any],
        unreadable: int,
    ) -> None:
        self.config, self.dev = config, dev
        self.described, self.unreadable = described, unreadable
        self.steps_per_epoch = sum(sizes)
        self._sizes, self._open = sizes, open_chapter
        self._pool = ThreadPoolExecutor(1)
        self._coming: dict[int, Future[Crops]] = {}
        self._here: tuple[int, Crops] | None = None

    @property
    def is_one_chapter(self) -> bool:
        """Whether all is decoded at once."""
        return len(self._sizes) == 1

    def place(self, step: int) -> tuple[int, int, int]:
        """Return epoch, chapter and position in it of a step."""
        epoch, rest = divmod(step, self.steps_per_epoch)
        words = [self.config.seed, 2**62 + epoch, len(self._sizes)]
        for chapter in np.random.default_rng(words).permutation(len(self._sizes)):
            if rest < self._sizes[chapter]:
                break
            rest -= self._sizes[chapter]
        return epoch, int(chapter), rest

    def make_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return this process's signals and scores of a step."""
        epoch, chapter, position = self.place(step)
        crops = self.chapter(chapter)
        _, following, _ = self.place(step + self._sizes[chapter] - position)
        self._expect(following)
        return crops.make(epoch, position, step)

    def forgetting(self, step: int) -> Tensor:
        """Return how fast the student forgets each crop, see :class:`Crops`."""
        return self.chapter(self.place(step)[1]).forgetting(step)

    def chapter(self, number: int) -> Crops:
        """Return the crops of a chapter, as soon as they are decoded."""
        if self._here is None or self._here[0] != number:
            self._here = None  # its memory is given back before more is taken
            self._expect(number)
            self._here = number, self._coming.pop(number).result()
        return self._here[1]

    def _expect(self, number: int) -> None:
        """Decode a chapter in another thread, if it is not here already."""
        here = self._here is not None and self._here[0] == number
        if not here and number not in self._coming:
            self._coming[number] = self._pool.submit(self._open, number)

    def close(self) -> None:
        """Decode no more."""
        self._pool.shutdown(cancel_futures=True)


def open_course(corpus: Corpus, progress: Progress | None) -> Course:
    """Look at the labels, decode what is needed at once, and plan the steps.

    Raises:
        InputError: if there is no audio to train on or to choose with

    """
    config = corpus.config
    chapters = corpus.store.chapters(config.chapter_hours)
    if len(chapters) > 1:
        return _several(corpus, chapters, progress)
    labels = corpus.store.read()
    clips, unreadable = corpus.decode(labels, corpus.folder, progress)
    train, dev = (
        np.array([item for item in part if item not in unreadable])
        for part in split_dev(labels, config.dev_share, config.seed)
    )
    if not len(train) or len(dev) < 2:
        raise InputError(
            "labels must have audio for training and for 2 development rows, got "
            f"{len(train)} and {len(dev)} that can be read below {corpus.root}: "
            "pass --audio-root"
        )
    crops = corpus.crops(labels, clips, train)
    described = {
        "clips": len(clips),
        "hours": round(clips.seconds / 3600, 3),
        "sha256": fingerprint(labels),
    }
    missing = len(unreadable) + len(train) - len(crops.items)
    tested = Dev(clips, dev, labels.scores[dev])
    sizes = [crops.steps_per_epoch]
    return Course(config, sizes, lambda _: crops, tested, described, missing)


@dataclass
class _Seen:
    """What a look at all chapters has found."""

    sizes: list[int]
    dev: Labels
    stated: bool
    """Whether the labels say which rows are for development."""

    described: dict[str, Any]


def _several(
    corpus: Corpus, chapters: list[list[Path]], progress: Progress | None
) -> Course:
    config = corpus.config
    seen = look(corpus, chapters, progress)
    if corpus.group.rank == 0:
        remove_folder(corpus.folder)  # of a run that was killed
    corpus.group.wait()
    tested, unreadable = corpus.decode(seen.dev, corpus.folder / "dev", progress)
    items = np.setdiff1d(np.arange(len(tested)), sorted(unreadable))
    if len(items) < 2:
        raise InputError(
            f"labels must have audio for 2 development rows, got {len(items)} that "
            f"can be read below {corpus.root}: pass --audio-root"
        )
    kept: deque[Path] = deque()

    def open_chapter(number: int) -> Crops:
        # one more than is learned from and decoded, which another process may need
        while len(kept) > 2:
            gone = kept.popleft()
            if gone not in kept and corpus.group.rank == 0:
                remove_folder(gone)
        folder = corpus.folder / f"{number:05d}"
        kept.append(folder)
        labels = corpus.store.read(chapters[number])
        clips, missing = corpus.decode(labels, folder)
        learned, _ = chance_split(
            labels, config.dev_share, config.seed, stated=seen.stated
        )
        learned[sorted(missing)] = False
        return corpus.crops(labels, clips, np.flatnonzero(learned), number)

    dev = Dev(tested, items, seen.dev.scores[items])
    return Course(
        config, seen.sizes, open_chapter, dev, seen.described, len(unreadable)
    )


def look(
    corpus: Corpus, chapters: list[list[Path]], progress: Progress | None
) -> _Seen:
    """Count rows, and choose those for development, holding one chapter at a time."""
    config, digest, rows, seconds = corpus.config, hashlib.sha256(), 0, 0.0
    counts: dict[bool, list[int]] = {True: [], False: []}
    chosen: dict[bool, list[Labels]] = {True: [], False: []}
    for number, shards in enumerate(chapters):
        labels = corpus.store.read(shards)
        digest.update(fingerprint(labels).encode())
        rows += len(labels.names)
        lengths = labels.ends - labels.starts
        seconds += float(np.sum(lengths, where=np.isfinite(lengths)))
        for stated in (True, False):
            train, dev = chance_split(
                labels, config.dev_share, config.seed, stated=stated
            )
            counts[stated].append(steps_in(int(train.sum()), config.batch_size))
            chosen[stated] = [
                _fewest([*chosen[stated], labels.take(np.flatnonzero(dev))], config)
            ]
        if progress:
            progress("look", number + 1, len(chapters), {})
    stated = len(chosen[True][0].names) >= 2
    if len(chosen[stated][0].names) < 2:
        raise InputError(
            "labels must hold rows of at least 2 speakers or files that are not test: "
            "annotate more audio"
        )
    described = {
        "clips": rows,
        "hours": round(seconds / 3600, 3),
        "sha256": digest.hexdigest(),
    }
    return _Seen(counts[stated], chosen[stated][0], stated, described)


def _fewest(parts: list[Labels], config: DistillConfig) -> Labels:
    """Keep some rows, drawn by their names, so that each chapter has its share."""
    labels = Labels.join(parts)
    if len(labels.names) <= DEV_ROWS:
        return labels
    keys = [
        hashlib.sha256(f"{config.seed}\0{name}\0{start}".encode()).digest()
        for name, start in zip(labels.names, labels.starts, strict=True)
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__)[:DEV_ROWS]
    return labels.take(np.array(sorted(order)))


def fingerprint(labels: Labels) -> str:
    """Return the SHA-256 of what a run takes from its labels."""
    split, speaker = labels.metadata["split"], labels.metadata["speaker"]
    rows = [labels.names, labels.sha256, split, speaker]
    digest = hashlib.sha256(json.dumps(rows).encode())
    for table in (labels.starts, labels.ends, labels.scores):
        digest.update(np.ascontiguousarray(table).tobytes())
    return digest.hexdigest()
