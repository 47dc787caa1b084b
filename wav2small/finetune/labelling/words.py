"""Scores by a language model that reads what is said, and how."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wav2small.export.base.files import claim, sha256
from wav2small.export.base.progress import Progress

from ... import __version__, audio
from ...adv import DIMENSIONS
from ...annotation.store import LabelStore
from ...errors import InputError
from ...teachers.base import TeacherInfo
from .prosody import words

Answer = Callable[[str], str]
"""What reads a prompt and writes a reply."""

TASK = """\
Rate the emotion of an utterance on three scales from 0 to 1, 0.5 being neutral:
arousal (0 calm, 1 excited), dominance (0 submissive, 1 in control),
valence (0 negative, 1 positive). Weigh the words and the way they are said.
Reply with one JSON object: {"arousal": x, "dominance": y, "valence": z}
"""

SEVERAL = """\
There are {count} utterances. Reply with a JSON array of {count} such objects, one for
each, in their order.
"""

SHARD = 32
"""Recordings of a shard: what a kill costs at most."""


@dataclass(frozen=True)
class Example:
    """An utterance and its scores, as an example in the prompt."""

    description: str
    """Of :func:`describe`."""

    scores: tuple[float, float, float]
    """Arousal, dominance, valence in 0..1."""


def describe(signal: np.ndarray, text: str | None, gender: str | None) -> str:
    """Describe an utterance in words and numbers.

    Args:
        signal: shape ``(time,)`` at 16 kHz
        text: what is said, None if unknown
        gender: of the speaker, None if unknown

    """
    quoted = json.dumps(text, ensure_ascii=False) if text else "unknown"
    return f"Words: {quoted}\nSpeaker: {gender or 'unknown'}\nVoice: {words(signal)}\n"


def prompt(*descriptions: str, examples: Sequence[Example] = ()) -> str:
    """Ask for the scores of one utterance or several.

    Args:
        descriptions: of :func:`describe`
        examples: of what is meant

    """
    parts = [TASK]
    for example in examples:
        scores = dict(zip(DIMENSIONS, example.scores, strict=True))
        parts.append(f"{example.description}{json.dumps(scores)}\n")
    if len(descriptions) == 1:
        return "\n".join([*parts, *descriptions])
    parts.append(SEVERAL.format(count=len(descriptions)))
    numbered = [f"Utterance {n}\n{told}" for n, told in enumerate(descriptions, 1)]
    return "\n".join([*parts, *numbered])


def parse(reply: str) -> tuple[float, float, float]:
    """Read the scores of a reply.

    Words around the JSON object do not matter, nor do other keys in it.

    Args:
        reply: what the model wrote

    Raises:
        InputError: if there is no object with three numbers in 0..1

    """
    for start in re.finditer(r"\{", reply):
        try:
            found, _ = json.JSONDecoder().raw_decode(reply, start.start())
        except ValueError:
            continue
        except RecursionError:  # and so would each object in it
            break
        if scores := _scores(found):
            return scores
    shown = " ".join(reply.split())[:80]
    raise InputError(
        f"reply must hold a JSON object of {', '.join(DIMENSIONS)} in 0..1, "
        f"got '{shown}'"
    )


def parse_several(reply: str, count: int) -> list[tuple[float, float, float]]:
    """Read the scores of a reply about several utterances.

    Args:
        reply: what the model wrote
        count: of utterances

    Raises:
        InputError: if there is no array of so many objects as :func:`parse` reads

    """
    for start in re.finditer(r"\[", reply):
        try:
            found, _ = json.JSONDecoder().raw_decode(reply, start.start())
        except ValueError:
            continue
        except RecursionError:
            break
        scores = [_scores(entry) for entry in found]
        if len(found) == count and all(scores):
            return [entry for entry in scores if entry]
    raise InputError(
        f"reply must hold a JSON array of {count} objects of {', '.join(DIMENSIONS)} "
        f"in 0..1, got '{' '.join(reply.split())[:80]}'"
    )


def _scores(found: object) -> tuple[float, float, float] | None:
    """Return the scores that an object holds, None if it does not."""
    values: list[Any] = [isinstance(found, dict) and found.get(n) for n in DIMENSIONS]
    if all(
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value <= 1
        for value in values
    ):
        return float(values[0]), float(values[1]), float(values[2])
    return None


@dataclass(frozen=True)
class Asking:
    """How a language model is asked."""

    answer: Answer
    """The model."""

    examples: Sequence[Example] = ()
    """Shown before the utterances."""

    attempts: int = 2
    """How often a reply that is not valid is asked for."""

    batch: int = 1
    """Utterances of a prompt. Where no reply about all of them is valid,
    each is asked about alone."""

    def scores(
        self, descriptions: Sequence[str]
    ) -> list[tuple[float, float, float] | InputError]:
        """Return the scores of each utterance, or why there are none."""
        if len(descriptions) > 1:
            asked = prompt(*descriptions, examples=self.examples)
            for _ in range(self.attempts):
                try:
                    found = parse_several(self.answer(asked), len(descriptions))
                except InputError:
                    continue
                return list(found)
        return [self._alone(told) for told in descriptions]

    def _alone(self, description: str) -> tuple[float, float, float] | InputError:
        asked = prompt(description, examples=self.examples)
        wrong = InputError(f"attempts must be at least 1, got {self.attempts}")
        for _ in range(self.attempts):
            try:
                return parse(self.answer(asked))
            except InputError as error:
                wrong = error
        return wrong


DESCRIBED = 330
"""Letters of a description without the text, about."""

REPLIED = 60
"""Letters of the reply about an utterance, about."""

TOKEN = 4
"""Letters of a token of English, about."""


@dataclass(frozen=True)
class AskingCost:
    """What asking takes, before anything is asked."""

    prompts: int
    """Number of prompts, none of which is asked twice."""

    read: int
    """Tokens that the model reads, about."""

    written: int
    """Tokens that it writes, about."""


def cost(
    paths: Sequence[Path], examples: Sequence[Example] = (), batch: int = 1
) -> AskingCost:
    """Say about what asking for the scores of recordings takes; reads no audio.

    Args:
        paths: as of :func:`annotate_by_words`
        examples: as of :class:`Asking`
        batch: as of :class:`Asking`

    """
    _, sources = audio.find(paths)
    prompts = -(-len(sources) // batch)
    told = [DESCRIBED + len(source.metadata.get("text") or "") for source in sources]
    always = len(prompt("", examples=examples)) * prompts
    return AskingCost(
        prompts, (always + sum(told)) // TOKEN, len(sources) * REPLIED // TOKEN
    )


def read_examples(table: Path, most: int = 8) -> list[Example]:
    """Read utterances whose scores are known, to show before others.

    Args:
        table: manifest with scores by people
        most: that are taken, at even distances

    Raises:
        InputError: if it has no scores, or the audio cannot be read

    """
    _, sources = audio.find([table])
    rated = [s for s in sources if s.human and all(x == x for x in s.human)]
    if not rated:
        raise InputError(
            f"examples must have {', '.join(DIMENSIONS)} in 0..1, got none: {table}"
        )
    chosen = np.linspace(0, len(rated) - 1, min(most, len(rated))).round().astype(int)
    found = []
    for source in (rated[number] for number in chosen):
        signal = audio.load(source.path, start=source.start or 0.0, end=source.end)
        known = source.metadata
        told = describe(signal, known.get("text"), known.get("gender"))
        assert source.human
        found.append(Example(told, source.human))
    return found


def annotate_by_words(
    paths: Sequence[Path],
    out: Path,
    answer: Answer | Asking,
    info: TeacherInfo,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> LabelStore:
    """Let a language model score recordings, into a label store.

    A recording without a valid reply is an error of the store; the run goes on.

    Args:
        paths: files, folders, manifests; their texts and genders go into the prompt
        out: folder of the label store
        answer: the language model, or also how it is asked
        info: what it is; its revision should name model and version
        resume: go on with the store that is there
        overwrite: empty the store that is there
        progress: called after each part of the recordings

    Returns:
        the store, finished

    Raises:
        InputError: if there is no audio, or the store is of another teacher

    References:
        after Latif et al. 2023, arXiv 2307.06090.

    """
    root, sources = audio.find(paths)
    asking = answer if isinstance(answer, Asking) else Asking(answer)
    with claim(out, "shards"):
        store = _open(out, str(root), info, asking, resume, overwrite)
        if resume:
            store.forget_changed({source.name: source.path for source in sources})
        done = store.done()
        todo = [source for source in sources if source.key not in done]
        for begin in range(0, len(todo), SHARD):
            _append(store, todo[begin : begin + SHARD], asking, info)
            if progress:
                progress("ask", min(begin + SHARD, len(todo)), len(todo), {})
        store.finish()
        return store


def _append(
    store: LabelStore, sources: list[audio.Source], asking: Asking, info: TeacherInfo
) -> None:
    """Score some recordings and write them as a shard."""
    rows, errors, unlabelled = [], [], []

    def leave_out(source: audio.Source, error: InputError) -> None:
        errors.append((source.name, str(error)))
        with suppress(OSError):
            unlabelled.append((source.name, sha256(source.path)))

    read = []
    for source in sources:
        try:
            read.append((source, *_row(source, info)))
        except InputError as error:
            leave_out(source, error)
    for begin in range(0, len(read), asking.batch):
        part = read[begin : begin + asking.batch]
        found = asking.scores([told for *_, told in part])
        for (source, row, _), scores in zip(part, found, strict=True):
            if isinstance(scores, InputError):
                leave_out(source, scores)
            else:
                rows.append(row | dict(zip(DIMENSIONS, scores, strict=True)))
    keys = [source.key for source in sources]
    store.append(rows, errors, sources=keys, unlabelled=unlabelled)


def _open(
    out: Path,
    root: str,
    info: TeacherInfo,
    asking: Asking,
    resume: bool,
    overwrite: bool,
) -> LabelStore:
    """Open the store to resume, or make one."""
    if resume and (out / "manifest.json").exists():
        store = LabelStore.open(out)
        if store.teacher != info.to_dict():
            raise InputError(
                f"labels must be of teacher {info.name} {info.revision} to go on, got "
                f"{store.teacher['name']} {store.teacher['revision']}: --overwrite"
            )
        return store
    versions = {"wav2small": __version__, "python": platform.python_version()}
    manifest = {
        "root": root,
        "teacher": info.to_dict(),
        "config": {
            "task": TASK,
            "attempts": asking.attempts,
            "batch": asking.batch,
            "examples": len(asking.examples),
        },
        "versions": versions,
    }
    return LabelStore.create(out, manifest, overwrite=overwrite)


def _row(source: audio.Source, info: TeacherInfo) -> tuple[dict[str, object], str]:
    """Return what a row of the store says beside the scores, and a description."""
    begins = source.start or 0.0
    signal = audio.load(source.path, start=begins, end=source.end)
    known = source.metadata
    human = source.human or (None,) * 3
    row: dict[str, object] = {
        "file": source.name,
        "start": begins,
        "end": begins + len(signal) / 16000,
        "teacher": info.name,
        "licence": info.licence,
        "sha256": sha256(source.path),
        **known,
        **{
            f"human_{name}": None if value != value else value
            for name, value in zip(DIMENSIONS, human, strict=True)
        },
    }
    return row, describe(signal, known.get("text"), known.get("gender"))
