"""Label on the machines of a Dask cluster.

Dask only hands out shards and does again what a lost machine had.
On each machine a process of ours labels, see :mod:`wav2small.workers`,
so that a crash costs a file and not a machine.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from .config import AnnotateConfig
from .engines import Crew, check_load, environment
from .errors import InputError
from .labelling import Heard, Labelled, Shard
from .teachers.base import Teacher, TeacherInfo
from .workers import Limits, Load, Worker

ATTEMPTS = 3
"""How often a shard is handed out again that went down with its machines."""


@dataclass(frozen=True)
class Cluster:
    """Label on all workers of a Dask scheduler, those that join later as well.

    Each thread of a Dask worker runs one process with a teacher.
    The machines see the audio under the same paths
    and have the same version of this package;
    labels are written by this process alone.
    """

    scheduler: str
    """Address, e.g. ``tcp://login:8786``."""

    limits: Limits = field(default_factory=Limits)
    """What each process may take."""

    patience_seconds: float = 60.0
    """How long to wait for scheduler and first worker, in seconds."""

    @contextmanager
    def start(self, teacher: Teacher | Load, config: AnnotateConfig) -> Iterator[Crew]:
        """Connect, and load the teacher on one machine to know what it is."""
        try:
            import distributed
        except ModuleNotFoundError as error:
            raise InputError(
                f"package {error.name} is missing: pip install 'wav2small[scale]'"
            ) from error
        given = pickle.dumps((check_load(teacher), config, self.limits))
        try:
            client = distributed.Client(
                self.scheduler, timeout=self.patience_seconds, set_as_default=False
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"scheduler must be reachable, got {self.scheduler}: "
                f"{' '.join(str(error).split())}: start 'dask scheduler'"
            ) from error
        with client:
            try:
                client.wait_for_workers(1, timeout=self.patience_seconds)
            except TimeoutError as error:
                raise InputError(
                    f"scheduler must have a worker, {self.scheduler} has none: "
                    f"start 'dask worker {self.scheduler}' on each machine"
                ) from error
            info = client.submit(_info, given, pure=False).result()
            try:
                yield _Machines(client, given, info)
            finally:
                with suppress(Exception):  # they may be gone
                    client.run(_close, wait=False)


class _Machines:
    def __init__(self, client: Any, given: bytes, info: TeacherInfo) -> None:
        self._client = client
        self._given = given
        self.info = info

    def label(self, shards: Iterator[Shard], heard: Heard) -> Iterator[Labelled]:
        from distributed import CancelledError, KilledWorker, as_completed

        waiting = as_completed(loop=self._client.loop)
        flight: dict[Any, tuple[Shard, int]] = {}

        def submit(shard: Shard, attempt: int) -> None:
            future = self._client.submit(_label, self._given, shard, pure=False)
            flight[future.key] = shard, attempt
            waiting.add(future)

        def fill() -> None:
            threads = sum(self._client.nthreads().values())
            while len(flight) < 2 * max(1, threads) and (shard := next(shards, None)):
                submit(shard, 1)

        fill()
        for future in waiting:
            shard, attempt = flight.pop(future.key)
            try:
                labelled = future.result()
            except KilledWorker as error:
                if attempt == ATTEMPTS:
                    raise InputError(
                        f"cluster must keep its machines, shard {shard.number} went "
                        f"down with {attempt} times the workers that Dask allows: "
                        "check their memory"
                    ) from error
                submit(shard, attempt + 1)
                continue
            except CancelledError as error:
                raise InputError(
                    f"scheduler must stay, {self._client.scheduler.address} is gone: "
                    "start it and go on with --resume"
                ) from error
            heard(labelled.number, labelled.seconds)
            yield labelled
            fill()


# On the machines --------------------------------------------------------------

_here: dict[int, tuple[bytes, Worker]] = {}
"""The process of each thread, and what it was started with."""

_starting = threading.Lock()


def _worker(given: bytes) -> Worker:
    with _starting:
        mine = threading.get_ident()
        known = _here.get(mine)
        if known and known[0] == given:
            return known[1]
        if known:
            known[1].interrupt()
        from distributed import get_worker

        load, config, limits = pickle.loads(given)
        threads = get_worker().state.nthreads
        shares = environment(len(_here) % threads, threads)
        worker = Worker(load, config, limits, shares)
        _here[mine] = given, worker
        return worker


def _info(given: bytes) -> TeacherInfo:
    return _worker(given).info()


def _label(given: bytes, shard: Shard) -> Labelled:
    done: list[Labelled] = []
    worker, shards = _worker(given), iter([shard])
    worker.run(lambda: next(shards, None), done.append)
    return done[0]


def _close() -> None:
    with _starting:
        for _, worker in _here.values():
            worker.interrupt()
        _here.clear()
