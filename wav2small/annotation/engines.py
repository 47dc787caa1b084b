"""Where shards are labelled: in this process, in others, or on other machines.

An engine labels the shards that it is given, in any order.
Which shards are left to do is decided from the label store, not here.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from ..config import AnnotateConfig
from ..errors import InputError
from ..processes import usable_cores
from ..teachers.base import Teacher, TeacherInfo
from .labelling import Labeller
from .shard import Labelled, OnScored, Shard
from .worker import ClosedError, Load, Worker, WorkerLimits

LabelShards = Callable[[Iterator[Shard], OnScored], Iterator[Labelled]]
"""Labels shards, each once, in any order."""


class Engine(Protocol):
    """Where teachers are loaded and shards are labelled."""

    def start(
        self, teacher: Teacher | Load, config: AnnotateConfig
    ) -> AbstractContextManager[tuple[TeacherInfo, LabelShards]]:
        """Load teachers, which are released at the end of the context.

        Args:
            teacher: what scores, or a function that loads it
            config: how audio is cut and batched

        Returns:
            context of what the teacher is, and of a function that labels shards

        """
        ...


@dataclass(frozen=True)
class ThisProcess:
    """Label in this process. A file that crashes its decoder ends the run."""

    @contextmanager
    def start(
        self, teacher: Teacher | Load, config: AnnotateConfig
    ) -> Iterator[tuple[TeacherInfo, LabelShards]]:
        """Load a teacher, if it is not loaded yet."""
        loaded = teacher if not callable(teacher) else teacher()
        labeller = Labeller(loaded, config)
        yield (
            loaded.info,
            lambda shards, scored: labeller.label(shards, on_scored=scored),
        )


@dataclass(frozen=True)
class Processes:
    """Label in processes of this machine, each with a teacher of its own.

    A process that crashes, hangs or takes too much memory is replaced,
    and the file that caused it becomes an error.
    The cores are divided among the processes,
    and so are the devices of ``CUDA_VISIBLE_DEVICES`` if it names several.
    """

    count: int = 1
    """Number of processes."""

    limits: WorkerLimits = field(default_factory=WorkerLimits)
    """What each of them may take."""

    @contextmanager
    def start(
        self, teacher: Teacher | Load, config: AnnotateConfig
    ) -> Iterator[tuple[TeacherInfo, LabelShards]]:
        """Start the processes."""
        if self.count < 1:
            raise InputError(
                f"workers must be at least 1, got {self.count}: name another number"
            )
        load = check_load(teacher)
        workers = [
            Worker(load, config, self.limits, environment(item, self.count))
            for item in range(self.count)
        ]
        pool = _Pool(workers)
        try:
            yield workers[0].info(), pool.label
        finally:
            pool.close()


def check_load(teacher: Teacher | Load) -> Load:
    """Check that a teacher can be loaded in another process.

    Raises:
        InputError: if it cannot be sent there

    """
    try:
        if not callable(teacher):
            raise TypeError("it is loaded already")
        pickle.dumps(teacher)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            "teacher must be a function of a module that loads it, got "
            f"{teacher!r}: {error}: define one, or label in this process"
        ) from error
    return teacher


def environment(item: int, count: int) -> dict[str, str]:
    """Return the variables that give one of several processes its share."""
    shares = {}
    if "OMP_NUM_THREADS" not in os.environ:
        cores = usable_cores()
        shares["OMP_NUM_THREADS"] = str(max(1, cores // count))
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if len(devices) > 1:
        shares["CUDA_VISIBLE_DEVICES"] = devices[item % len(devices)]
    return shares


class _Pool:
    """One thread for each process; they share the shards."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers
        self._threads: list[threading.Thread] = []

    def label(self, shards: Iterator[Shard], on_scored: OnScored) -> Iterator[Labelled]:
        done: queue.Queue[Labelled | BaseException | None] = queue.Queue()
        taking = threading.Lock()

        def take() -> Shard | None:
            with taking:
                return next(shards, None)

        def work(worker: Worker) -> None:
            try:
                worker.run(take, done.put, on_scored)
            except ClosedError:
                pass
            except BaseException as error:
                done.put(error)
            done.put(None)

        self._threads = [
            threading.Thread(target=work, args=(worker,), daemon=True)
            for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()
        left = len(self._threads)
        while left:
            item = done.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item

    def close(self) -> None:
        for worker in self._workers:
            worker.interrupt()
        for thread in self._threads:
            thread.join(5)
        for worker in self._workers:
            worker.close()
