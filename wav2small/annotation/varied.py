"""Seeded variations of labelled clips, scored once, so that no student needs a teacher.

The best teaching is online: the teacher scores each crop that the student hears,
after its speed and colour were changed and a voice or noise was put beside it.
These crops follow from a seed, so they can be scored before, by many machines.
They lie in the folder ``variations`` of the labels, a label store of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from wav2small.export.base.progress import Progress

from .. import audio
from ..adv import DIMENSIONS
from ..augment import variation
from ..clips import LateClips, identity, places, read_noises
from ..config import AnnotateConfig, VariationConfig
from ..errors import InputError
from ..teachers.base import TeacherInfo
from .collecting import Tally, append
from .engines import LabelShards
from .labels import Labels
from .shard import Clip, Shard
from .shard_file import VARIED, read_notes, read_rows
from .store import LabelStore

FOLDER = "variations"
"""Where the variations are, in the folder of the labels."""

FEWEST, MOST_SHARDS = 8, 100_000
"""Clips of a shard at least, and shards at most as far as that allows."""

_CONTENT = (
    "speed",
    "mix_probability",
    "filter_probability",
    "filter_spread",
    "snr_low",
    "snr_high",
)
"""What of an :class:`AugmentConfig` changes what the teacher hears."""


def settings(config: VariationConfig) -> dict[str, float]:
    """Return all that determines the crops of given clips and noises, by name."""
    augment = asdict(config.augment)
    return {
        "seed": config.seed,
        "crop_seconds": config.crop_seconds,
        "chapter_hours": config.chapter_hours,
        **{name: augment[name] for name in _CONTENT},
    }


def recipe(
    config: VariationConfig, noise: Mapping[str, Any], labels: Labels, chapter: int
) -> str:
    """Return the SHA-256 of all that determines the variations of a chapter.

    Args:
        config: seed, length and what is varied how much
        noise: which recordings are put beside voices, see :func:`identity`
        labels: rows of the chapter
        chapter: its number

    """
    what = [1, settings(config), dict(noise), chapter, labels.names, labels.sha256]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for column in (labels.starts, labels.ends):
        digest.update(np.ascontiguousarray(column, "<f8").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class VariedShard(Shard):
    """Some clips of a chapter, of which each variation gets a score."""

    rows: tuple[audio.Source, ...]
    """All clips of the chapter, since any may be heard beside another."""

    chapter: int
    """Number of the chapter."""

    config: VariationConfig
    """What is varied how much, and how often."""

    recipe: str
    """SHA-256 of all that determines the variations."""

    noise: Path | None
    """Recordings of noise."""

    noise_identity: str
    """SHA-256 of their samples."""

    gated: ClassVar[bool] = False

    @cached_property
    def _items(self) -> dict[Any, int]:
        return {source.key: item for item, source in enumerate(self.rows)}

    @cached_property
    def _signals(self) -> LateClips:
        return LateClips([(s.path, s.start or 0.0, s.end) for s in self.rows])

    def clips(self, source: audio.Source, config: AnnotateConfig) -> Iterator[Clip]:
        """Return the variations of a clip.

        Raises:
            AudioError: if it cannot be read

        """
        item, signals = self._items[source.key], self._signals
        if not len(signals[item]):
            signals.decode(item)  # says why
        noises = _noises(self.noise, self.noise_identity)
        about = {
            **source.metadata,
            "start": source.start,
            "end": np.inf if source.end is None else source.end,
            "recipe": self.recipe,
        }
        for turn in range(self.config.count):
            signal = variation(
                signals, item, turn, self.config, noises, chapter=self.chapter
            )
            yield {**about, "variation": turn}, signal


@lru_cache(maxsize=1)
def _noises(folder: Path | None, wanted: str) -> list[np.ndarray]:
    noises = read_noises(folder)
    if identity(noises)["sha256"] != wanted:
        raise InputError(
            f"noise must be the same recordings everywhere, {folder} has others: "
            "copy them to each machine"
        )
    return noises


class VariationStore(LabelStore):
    """The scores of the variations of labelled clips."""

    schema = VARIED

    @classmethod
    def of(cls, labels: LabelStore) -> VariationStore | None:
        """Return the variations of labels, None if there are none."""
        folder = labels.folder / FOLDER
        return cls.open(folder) if (folder / "manifest.json").exists() else None  # type: ignore[return-value]

    @property
    def count(self) -> int:
        """Variations of each clip."""
        return int(self.manifest["variations"])

    def check(self, config: VariationConfig, noise: Mapping[str, Any]) -> None:
        """See to it that the variations are those of a configuration.

        Raises:
            InputError: if they are others

        """
        there: dict[str, Any] = {**self.manifest["recipe"]}
        there["noise"] = self.manifest["noise"]
        for name, value in {**settings(config), "noise": dict(noise)}.items():
            if there.get(name) != value:
                raise InputError(
                    f"{name} must be that of the variations in {self.folder}, "
                    f"{there.get(name)}, got {value}: pass the same, or remove the "
                    "folder"
                )

    def scores(
        self, config: VariationConfig, labels: Labels, chapter: int
    ) -> np.ndarray:
        """Return the scores of a chapter.

        Args:
            config: which crops they must be of
            labels: rows of the chapter
            chapter: its number

        Returns:
            ``(rows, variations, 3)``, NaN where there is no score

        Raises:
            InputError: if they are of other rows, or unfinished

        """
        wanted = recipe(config, self.manifest["noise"], labels, chapter)
        chapters = self.manifest["chapters"]
        if not self.manifest["shards"] or (
            chapter >= len(chapters) or chapters[chapter]["recipe"] != wanted
        ):
            raise InputError(
                f"variations must be of all labels, those in {self.folder} are "
                "unfinished or of other rows: run annotate with --variations "
                f"{self.count} --resume"
            )
        first, last = chapters[chapter]["shards"]
        found = np.full((len(labels.names), self.count, 3), np.nan, np.float32)
        keys = zip(labels.names, labels.starts, labels.ends, strict=True)
        items = {(name, float(a), float(b)): i for i, (name, a, b) in enumerate(keys)}
        for path in self._whole_shards()[first:last]:
            table = read_rows(path, None, VARIED)
            turns = table["variation"].to_numpy().reshape(-1, self.count)
            if set(table["recipe"].to_pylist()) - {wanted} or not np.array_equal(
                turns, np.tile(np.arange(self.count), (len(turns), 1))
            ):
                raise InputError(
                    f"variations must be of one recipe, those in {path} are not: "
                    "remove it and run annotate with --resume"
                )
            rows = [
                items[key]
                for key in zip(
                    *(
                        table[name].to_pylist()[:: self.count]
                        for name in ("file", "start", "end")
                    ),
                    strict=True,
                )
            ]
            scores = np.stack([table[name].to_numpy() for name in DIMENSIONS], axis=1)
            found[rows] = scores.reshape(len(rows), self.count, 3)
        return found


@dataclass(frozen=True)
class _Plan:
    """Which variations of which labels are scored."""

    labels: LabelStore
    config: VariationConfig
    noise: Path | None
    identity: Mapping[str, Any]
    chapters: list[list[Path]]
    size: int

    def chapter(self, number: int, first: int) -> Iterator[VariedShard]:
        """Return the shards of a chapter; their numbers begin at one that is given."""
        read = self.labels.read(self.chapters[number])
        known = read.metadata_rows
        rows = tuple(
            audio.Source(
                path,
                name,
                start,
                end,
                {key: value for key, value in row.items() if value},
            )
            for (path, start, end), name, row in zip(
                places(read, self.labels.root), read.names, known, strict=True
            )
        )
        digest = recipe(self.config, self.identity, read, number)
        # test rows are never learned, so they need no score
        learned = [
            source
            for source, row in zip(rows, known, strict=True)
            if row["split"] != "test"
        ]
        for part in range(0, len(learned), self.size):
            yield VariedShard(
                first + part // self.size,
                tuple(learned[part : part + self.size]),
                rows=rows,
                chapter=number,
                config=self.config,
                recipe=digest,
                noise=self.noise,
                noise_identity=self.identity["sha256"],
            )


def add_variations(
    labels: LabelStore,
    config: VariationConfig,
    noise: Path | None,
    label: LabelShards,
    teacher: TeacherInfo,
    progress: Progress | None = None,
) -> tuple[VariationStore, float]:
    """Score variations of labelled clips, or go on with that.

    Args:
        labels: a finished label store
        config: which variations
        noise: folder, file or manifest of noise recordings
        label: labels shards with a teacher
        teacher: what it is
        progress: called with the files done

    Returns:
        the variations, and the audio that was scored now in seconds

    Raises:
        InputError: if other variations of the labels are there

    """
    about = identity(read_noises(noise))
    size = max(
        FEWEST,
        labels.manifest["config"].get("shard_files", FEWEST) // config.count,
        len(labels) // MOST_SHARDS,
    )
    plan = _Plan(
        labels, config, noise, about, labels.chapters(config.chapter_hours), size
    )
    store = _open(labels, config, about, size)
    left, files, done = _settle(store, plan)
    tally = Tally(progress, FOLDER, files, done, store.errors())
    todo = (
        shard
        for number, start in left
        for shard in plan.chapter(number, start)
        if not _is_done(store, shard)
    )
    for labelled in label(todo, tally.scored):
        append(store, labelled, teacher)
        tally.add(labelled)
    store.finish()
    return store, tally.seconds


def _open(
    labels: LabelStore, config: VariationConfig, noise: Mapping[str, Any], size: int
) -> VariationStore:
    """Open the variations that are there, or begin."""
    store = VariationStore.of(labels)
    if store is None:
        manifest = {
            **{key: labels.manifest[key] for key in ("root", "teacher", "versions")},
            "config": {"shard_files": size},
            "variations": config.count,
            "recipe": settings(config),
            "noise": dict(noise),
            "chapters": [],
        }
        return VariationStore.create(labels.folder / FOLDER, manifest)  # type: ignore[return-value]
    store.check(config, noise)
    if store.count != config.count:
        raise InputError(
            f"variations must be as many as those in {store.folder}, {store.count}, "
            f"got {config.count}: pass the same, or remove the folder"
        )
    return store


def _is_done(store: VariationStore, shard: VariedShard) -> bool:
    """Tell whether a shard is in the store as it is planned."""
    path = store.shard(shard.number)
    if not path.exists():
        return False
    keys = [list(source.key) for source in shard.sources]
    stored = [list(key) for key in read_notes(path).get("sources", [])]
    recipes = read_rows(path, ["recipe"], VARIED)["recipe"].to_pylist()
    return stored == keys and set(recipes) == {shard.recipe}


def _settle(
    store: VariationStore, plan: _Plan
) -> tuple[list[tuple[int, int]], int, int]:
    """State what is planned, and remove what is of an earlier plan.

    Returns:
        number and first shard of each chapter that is not done,
        the files in all and those that are done

    """
    chapters, left, files, done, first = [], list[tuple[int, int]](), 0, 0, 0
    for number in range(len(plan.chapters)):
        last, digest = first, ""
        for shard in plan.chapter(number, first):
            count = len({source.name for source in shard.sources})
            files, last, digest = files + count, last + 1, shard.recipe
            if _is_done(store, shard):
                done += count
            elif not left or left[-1][0] != number:
                left.append((number, first))
        chapters.append({"recipe": digest, "shards": [first, last]})
        first = last
    if store.manifest["chapters"] != chapters:
        store.unfinish(chapters=chapters)
    for path in store.shards()[::-1]:
        if int(path.stem[5:]) >= first:
            path.unlink()
    return left, files, done
