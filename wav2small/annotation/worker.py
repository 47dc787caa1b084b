"""Processes that label shards, and what replaces them when they die.

A decoder may crash, hang or use up the memory, and so may a teacher.
They therefore run in a process of their own, which is replaced when it dies.
The shard is then labelled again one file at a time, which shows the file to blame.
That file becomes an error, and the run goes on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, NoReturn

from .. import audio, processes
from ..config import AnnotateConfig
from ..errors import InputError
from ..teachers.base import Teacher, TeacherInfo, move
from .labelling import FAILURES
from .shard import Care, Labelled, OnScored, Shard

_CODE = "from wav2small.annotation.process import main; main()"
"""What a process runs; it is given work through its standard input."""

STARTS = 3
"""How often a process may die before it is ready, or while it has no file open."""

Load = Callable[[], Teacher]
"""Loads a teacher; a function of a module, since another process calls it."""


@dataclass(frozen=True)
class WorkerLimits:
    """What a process may take before it is ended."""

    seconds: float = 600.0
    """Longest time in seconds that it may take to read a file's next part
    or to score a batch."""

    memory_bytes: int | None = None
    """Most resident memory in bytes; no limit if None.
    It can be measured on Linux only."""


def load_on(device: str, load: Load) -> Teacher:
    """Load a teacher and move it to a device.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:1``
        load: loads it

    Raises:
        InputError: if there is no such device, or the teacher cannot move

    """
    teacher = load()
    if not move(teacher, device):
        raise InputError(
            f"device must be cpu for the teacher {teacher.info.name}, got "
            f"{device}: it cannot be moved"
        )
    return teacher


class _Death(Exception):
    """A process has died.

    Args:
        reason: how it died, to end a sentence that begins with "it"
        certain: whether the file must be the reason,
            and not somebody who killed the process from outside

    """

    def __init__(self, reason: str, *, certain: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.certain = certain


class Worker:
    """A process that labels shards, one after the other.

    Args:
        load: loads the teacher, in the process
        config: how audio is cut and batched
        limits: what the process may take
        environment: variables that differ from ours

    """

    def __init__(
        self,
        load: Load,
        config: AnnotateConfig,
        limits: WorkerLimits,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._given = load, config
        self._limits = limits
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._tasks: IO[bytes] | None = None
        self._results: processes.Inbox | None = None
        self._late: list[Labelled] = []
        self._closed = False
        self._last: tuple[str, list[str]] = "", []
        self._info: TeacherInfo | None = None
        self._killed = 0

    def info(self) -> TeacherInfo:
        """Return the description of the teacher that the process has loaded.

        Raises:
            InputError: if the teacher cannot be loaded

        """
        if self._info is None:
            self._start()
        assert self._info
        return self._info

    def run(
        self,
        take: Callable[[], Shard | None],
        give: Callable[[Labelled], None],
        on_scored: OnScored = lambda number, seconds: None,
    ) -> None:
        """Label shards until there are no more.

        Args:
            take: returns the next shard, None at the end
            give: called with what became of each
            on_scored: called when a batch is scored

        Raises:
            InputError: if teacher or process are of no use

        """
        # two at a time: one is read while the other is scored
        flight: deque[Shard] = deque()
        while True:
            try:
                while len(flight) < 2 and (shard := take()):
                    flight.append(shard)
                    self._send(shard)
                if not flight:
                    return
                labelled = self._receive(on_scored)
                flight = deque(s for s in flight if s.number != labelled.number)
                give(labelled)
            except _Death:
                late = {labelled.number: labelled for labelled in self._late}
                lost, flight = flight, deque()
                for shard in lost:
                    give(late.get(shard.number) or self._with_care(shard, on_scored))

    def interrupt(self) -> None:
        """End the process, whatever it is doing; for another thread."""
        self._closed = True
        if process := self._process:
            process.kill()

    def close(self) -> None:
        """End the process and wait until it is gone."""
        self._closed = True
        self._kill()

    def _with_care(self, shard: Shard, on_scored: OnScored) -> Labelled:
        """Label a shard on which a process has died, and find the file if any."""
        blamed: Counter[str] = Counter()
        refused: dict[str, str] = {}
        care = Care.serial
        batches = unexplained = 0
        while True:
            try:
                self._send(replace(shard, refused=refused, care=care))
                return self._receive(on_scored)
            except _Death as death:
                if self._late:
                    return self._late[0]
                doing, files = self._last
                if doing == "score" and len(files) > 1:
                    # a clip that is scored alone may differ in the last bits,
                    # so a process that was killed from outside is no reason for it
                    batches += 2 if death.certain else 1
                    care = Care.alone if batches >= 2 else Care.serial
                elif files:
                    # once is no proof, since it may have been killed from outside
                    blamed[files[0]] += 2 if death.certain else 1
                    if blamed[files[0]] >= 2:
                        refused[files[0]] = (
                            f"audio cannot be used: {audio.one_line(files[0])}: "
                            f"it {death.reason}: leave it out or encode it again"
                        )
                        care = Care.serial
                        if doing == "score":
                            self._blame(death)
                else:
                    unexplained += 1
                    if unexplained == STARTS:
                        raise InputError(
                            f"worker must live, but each of {STARTS} processes "
                            f"{death.reason} before it touched a file: check memory "
                            "and teacher"
                        ) from death

    def _blame(self, death: _Death) -> None:
        """End where one file after the other kills the teacher."""
        self._killed += 1
        if self._killed == FAILURES:
            raise InputError(
                f"teacher must score signals, it {death.reason} on {FAILURES} files "
                "in a row: check its weights, the memory and --timeout"
            ) from death

    def _start(self) -> None:
        self._kill()
        for _ in range(STARTS):
            paths = [path or str(Path.cwd()) for path in sys.path]
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CODE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={
                    **os.environ,
                    **self._environment,
                    "PYTHONPATH": os.pathsep.join(paths),
                },
                # Ctrl-C is for this process, which ends the other one
                **processes.own_group(),
            )
            assert self._process.stdin and self._process.stdout
            self._tasks = self._process.stdin
            # what a process sent is read after its death
            self._results = processes.Inbox(self._process.stdout)
            if self._closed:
                self._end("closed", certain=False)
            self._last = "", []
            try:
                self._put(self._given)
                kind, content = self._get(patience=None)
            except _Death as death:
                last = death
                continue
            if kind == "failed":
                self._kill()
                raise InputError(content)
            self._info = content
            return
        raise InputError(
            f"teacher must load, but each of {STARTS} processes {last.reason} "
            "meanwhile: check its weights and the memory"
        ) from last

    def _send(self, shard: Shard) -> None:
        if self._process is None or self._process.poll() is not None:
            self._start()
        self._put(shard)

    def _put(self, message: Any) -> None:
        assert self._tasks
        try:
            processes.send(self._tasks, message)
        except OSError:
            self._died()

    def _receive(self, on_scored: OnScored) -> Labelled:
        """Wait for the next shard that is labelled."""
        while True:
            kind, content = self._get(self._limits.seconds)
            if kind == "doing":
                self._last = content
            elif kind == "scored":
                self._killed = 0
                on_scored(*content)
            elif kind == "failed":
                self._kill()
                raise InputError(content)
            else:
                self._last = "", []
                return content

    def _get(self, patience: float | None) -> tuple[str, Any]:
        """Wait for a message; end a process that takes too long or too much memory."""
        assert self._results
        begun = time.monotonic()
        while True:
            most = self._limits.memory_bytes
            if most and self._resident_bytes() > most:
                self._end(f"took more than {most >> 20} MiB of memory", certain=True)
            try:
                kind, content = self._results.get(0.1)
                return kind, content
            except EOFError:
                self._died()
            except TimeoutError:
                pass
            if patience and time.monotonic() - begun > patience:
                self._end(f"took more than {patience:g} s", certain=True)

    def _resident_bytes(self) -> int:
        assert self._process
        try:
            fields = Path(f"/proc/{self._process.pid}/statm").read_text().split()
        except OSError:
            return 0
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def _died(self) -> NoReturn:
        """Find out how a process died whose pipe is closed."""
        assert self._process
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            code = 0
        if code >= 0:
            self._end(f"ended the process with code {code}", certain=False)
        name = signal.Signals(-code).name
        certain = -code not in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
        self._end(f"crashed the process ({name})", certain=certain)

    def _end(self, reason: str, *, certain: bool) -> NoReturn:
        self._kill()
        if self._closed:
            raise ClosedError
        raise _Death(reason, certain=certain)

    def _kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        self._late = []
        if self._results:
            with suppress(EOFError, TimeoutError):
                while True:
                    kind, content = self._results.get(5)
                    if kind == "labelled":
                        self._late.append(content)
                    elif kind == "doing":
                        self._last = content
            self._results.close()
        if self._tasks:
            with suppress(OSError):  # what was not read is lost with its reader
                self._tasks.close()
        self._process = self._tasks = self._results = None


class ClosedError(Exception):
    """A worker was closed while it worked."""
