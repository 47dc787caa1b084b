"""Scores by a language model that reads what is said, and how."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from wav2small.export.base.files import claim, sha256
from wav2small.export.base.progress import Progress

from ... import __version__, audio
from ...adv import DIMENSIONS
from ...annotation.store import LabelStore
from ...errors import InputError
from ...processes import end_group, own_group
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

MOST_REPLY = 1 << 16
"""Longest reply of a program in bytes."""

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


def prompt(description: str, examples: Sequence[Example] = ()) -> str:
    """Ask for the scores of an utterance.

    Args:
        description: of :func:`describe`
        examples: of what is meant

    """
    parts = [TASK]
    for example in examples:
        scores = dict(zip(DIMENSIONS, example.scores, strict=True))
        parts.append(f"{example.description}{json.dumps(scores)}\n")
    return "\n".join([*parts, description])


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
        values = [found.get(name) for name in DIMENSIONS]
        if all(
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and 0 <= value <= 1
            for value in values
        ):
            return float(values[0]), float(values[1]), float(values[2])
    shown = " ".join(reply.split())[:80]
    raise InputError(
        f"reply must hold a JSON object of {', '.join(DIMENSIONS)} in 0..1, "
        f"got '{shown}'"
    )


class ExternalProgram:
    """A program that reads a prompt on stdin and writes its reply to stdout.

    What it started is ended with it.

    Args:
        command: the program and its arguments; no shell is between
        timeout: seconds that a reply may take

    """

    def __init__(self, command: Sequence[str], *, timeout: float = 120.0) -> None:
        self.command, self.timeout = list(command), timeout

    def __call__(self, text: str) -> str:
        """Run the program once.

        Raises:
            InputError: if it cannot be started, fails,
                takes too long or replies without end

        """
        name = self.command[0]
        try:
            process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **own_group(),
            )
        except (OSError, ValueError) as error:  # a zero byte in an argument
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"program must be one that can be started, got {name}: {reason}"
            ) from error
        assert process.stdin
        assert process.stdout
        assert process.stderr
        pipes = ThreadPoolExecutor(3)
        try:
            pipes.submit(_tell, process.stdin, text.encode())
            output = pipes.submit(process.stdout.read, MOST_REPLY + 1)
            complaint = pipes.submit(_listen, process.stderr)
            reply = output.result(self.timeout)
            if len(reply) > MOST_REPLY:
                raise InputError(
                    f"program must reply with at most {MOST_REPLY} bytes, {name} did "
                    "not stop there"
                )
            code = process.wait(self.timeout)
            if code:
                reason = " ".join(complaint.result(1).decode(errors="replace").split())
                raise InputError(
                    f"program must end with 0, {name} ended with {code}: {reason[:120]}"
                )
            return reply.decode()
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            raise InputError(
                f"program must reply within {self.timeout:g} s, {name} did not"
            ) from error
        except UnicodeDecodeError as error:
            raise InputError(f"program must write UTF-8, {name} did not") from error
        finally:
            end_group(process)
            process.wait()
            pipes.shutdown()
            for pipe in (process.stdin, process.stdout, process.stderr):
                with suppress(OSError):
                    pipe.close()


def _listen(pipe: IO[bytes]) -> bytes:
    """Return the beginning of an output, and read the rest so that it can end."""
    beginning = pipe.read(MOST_REPLY)
    while pipe.read(MOST_REPLY):
        pass
    return beginning


def _tell(pipe: IO[bytes], text: bytes) -> None:
    with suppress(OSError), pipe:  # not every program reads
        pipe.write(text)


def annotate_by_words(
    paths: Sequence[Path],
    out: Path,
    answer: Answer,
    info: TeacherInfo,
    *,
    examples: Sequence[Example] = (),
    attempts: int = 2,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> LabelStore:
    """Let a language model score recordings, into a label store.

    A recording without a valid reply is an error of the store; the run goes on.

    Args:
        paths: files, folders, manifests; their texts and genders go into the prompt
        out: folder of the label store
        answer: the language model
        info: what it is; its revision should name model and version
        examples: shown before each utterance
        attempts: how often a reply that is not valid is asked for
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
    with claim(out, "shards"):
        store = _open(out, str(root), info, attempts, resume, overwrite)
        if resume:
            store.forget_changed({source.name: source.path for source in sources})
        done = store.done()
        todo = [source for source in sources if source.key not in done]
        row_of = partial(
            _row, answer=answer, info=info, examples=examples, attempts=attempts
        )
        for begin in range(0, len(todo), SHARD):
            _append(store, todo[begin : begin + SHARD], row_of)
            if progress:
                progress("ask", min(begin + SHARD, len(todo)), len(todo), {})
        store.finish()
        return store


def _append(
    store: LabelStore,
    sources: list[audio.Source],
    row_of: Callable[[audio.Source], dict[str, object]],
) -> None:
    """Score some recordings and write them as a shard."""
    rows, errors, unlabelled = [], [], []
    for source in sources:
        try:
            rows.append(row_of(source))
        except InputError as error:
            errors.append((source.name, str(error)))
            with suppress(OSError):
                unlabelled.append((source.name, sha256(source.path)))
    keys = [source.key for source in sources]
    store.append(rows, errors, sources=keys, unlabelled=unlabelled)


def _open(
    out: Path,
    root: str,
    info: TeacherInfo,
    attempts: int,
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
        "config": {"task": TASK, "attempts": attempts},
        "versions": versions,
    }
    return LabelStore.create(out, manifest, overwrite=overwrite)


def _row(
    source: audio.Source,
    answer: Answer,
    info: TeacherInfo,
    examples: Sequence[Example],
    attempts: int,
) -> dict[str, object]:
    """Let a recording be scored, into a row of the store."""
    begins = source.start or 0.0
    signal = audio.load(source.path, start=begins, end=source.end)
    known = source.metadata
    description = describe(signal, known.get("text"), known.get("gender"))
    scores = _ask(answer, prompt(description, examples), attempts)
    human = source.human or (None,) * 3
    return {
        "file": source.name,
        "start": begins,
        "end": begins + len(signal) / 16000,
        **dict(zip(DIMENSIONS, scores, strict=True)),
        "teacher": info.name,
        "licence": info.licence,
        "sha256": sha256(source.path),
        **known,
        **{
            f"human_{name}": None if value != value else value
            for name, value in zip(DIMENSIONS, human, strict=True)
        },
    }


def _ask(answer: Answer, asked: str, attempts: int) -> tuple[float, float, float]:
    for attempt in range(attempts):
        try:
            return parse(answer(asked))
        except InputError:
            if attempt == attempts - 1:
                raise
    raise InputError(f"attempts must be at least 1, got {attempts}")
