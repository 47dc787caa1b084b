"""Label on the machines of a Dask cluster.

Dask hands out shards, and hands them out again when a machine is lost.
On each machine they are labelled by a process of its own,
see :mod:`wav2small.annotation.worker`, so that a crash costs a file and not a machine.
"""

from __future__ import annotations

import gc
import hashlib
import pickle
import platform
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wav2small.export.base.errors import from_extra, one_line

from .. import __version__
from ..config import AnnotateConfig
from ..errors import InputError, ToolError
from ..teachers.base import Teacher, TeacherInfo
from .engines import LabelShards, check_load, environment
from .shard import Labelled, OnScored, Shard
from .worker import Load, Worker, WorkerLimits

ATTEMPTS = 3
"""How often a shard is handed out if the machines that label it die."""


LOST_SECONDS = 10.0
"""Time in seconds after which a scheduler that does not answer is lost."""


@dataclass(frozen=True)
class Cluster:
    """Label on all workers of a Dask scheduler, including those that join later.

    Each thread of a Dask worker runs one process with a teacher.
    The machines must see the audio under the same paths.
    They must have the same versions and code,
    which are compared before work is handed out.
    Only this process writes labels.
    """

    scheduler: str
    """Address, e.g. ``tcp://login:8786``."""

    limits: WorkerLimits = field(default_factory=WorkerLimits)
    """What each process may take."""

    patience_seconds: float = 60.0
    """How long to wait for scheduler and first worker, in seconds."""

    @contextmanager
    def start(
        self, teacher: Teacher | Load, config: AnnotateConfig
    ) -> Iterator[tuple[TeacherInfo, LabelShards]]:
        """Connect, and load the teacher on one machine to know what it is."""
        with from_extra():
            import distributed  # noqa: F401
        given = pickle.dumps((check_load(teacher), config, self.limits))
        with self._connect() as client:
            try:
                client.wait_for_workers(1, timeout=self.patience_seconds)
            except TimeoutError as error:
                raise InputError(
                    f"scheduler must have a worker, {self.scheduler} has none: "
                    f"start 'dask worker {self.scheduler}' on each machine"
                ) from error
            wanted = identity(config)
            try:
                with _lost(self.scheduler):
                    _compare(client, given, wanted)
                    info = client.submit(_info, given, wanted, pure=False).result()
                yield info, _Machines(client, self.scheduler, given, wanted).label
            finally:
                with suppress(Exception):  # the machines may be gone
                    client.run(_close, wait=False)

    def _connect(self) -> Any:
        from distributed import Client

        late = time.monotonic() + self.patience_seconds
        # a client also waits this long for a scheduler that is lost
        seconds = min(LOST_SECONDS, self.patience_seconds)
        while True:
            # A client that failed waits for its own end when it is collected, for ever
            # if that happens in the thread of the next one: so it is collected here.
            gc.collect()
            try:
                return Client(self.scheduler, timeout=seconds, set_as_default=False)
            except (OSError, ValueError, TypeError) as error:  # without certificates
                if isinstance(error, OSError) and time.monotonic() < late:
                    continue
                raise InputError(
                    f"scheduler must be reachable, got {self.scheduler}: "
                    f"{one_line(error)}: start 'dask scheduler'"
                ) from error


@contextmanager
def _lost(scheduler: str) -> Iterator[None]:
    """Turn what goes wrong on the way to a machine, or on it, into one line."""
    from distributed import CancelledError, KilledWorker

    try:
        yield
    except (InputError, KilledWorker):
        raise
    except (CancelledError, OSError) as error:
        raise ToolError(
            f"scheduler must stay, {scheduler} is gone: start it and go on with "
            "--resume"
        ) from error
    except Exception as error:  # what a machine of other code may raise
        raise ToolError(
            f"workers must label, one of {scheduler} failed: {type(error).__name__}: "
            f"{one_line(error)}: install wav2small {__version__} on each machine"
        ) from error


def _compare(client: Any, given: bytes, wanted: Mapping[str, str]) -> None:
    """Refuse machines that would give other labels."""
    found = client.run(_differences, given, wanted, on_error="return")
    for address, differences in sorted(found.items()):
        if isinstance(differences, Exception):
            raise differences
        if differences:
            raise _other(address, differences)


def _other(where: str, differences: list[str]) -> InputError:
    return InputError(
        f"workers must have the versions and the code of this machine, got "
        f"{', '.join(differences)}: {where}: install the same on each machine"
    )


class _Machines:
    def __init__(
        self,
        client: Any,
        scheduler: str,
        given: bytes,
        wanted: Mapping[str, str],
    ) -> None:
        self._client = client
        self._scheduler = scheduler
        self._given = given
        self._wanted = wanted

    def label(self, shards: Iterator[Shard], on_scored: OnScored) -> Iterator[Labelled]:
        from distributed import KilledWorker, as_completed

        waiting = as_completed(loop=self._client.loop)
        flight: dict[Any, tuple[Shard, int]] = {}

        def submit(shard: Shard, attempt: int) -> None:
            with _lost(self._scheduler):
                future = self._client.submit(
                    _label_shard, self._given, self._wanted, shard, pure=False
                )
            flight[future.key] = shard, attempt
            waiting.add(future)

        def fill() -> None:
            with _lost(self._scheduler):
                threads = sum(self._client.nthreads().values())
            while len(flight) < 2 * max(1, threads) and (shard := next(shards, None)):
                submit(shard, 1)

        fill()
        for future in waiting:
            shard, attempt = flight.pop(future.key)
            try:
                with _lost(self._scheduler):
                    labelled = future.result()
            except KilledWorker as error:
                if attempt == ATTEMPTS:
                    raise ToolError(
                        f"cluster must keep its machines, shard {shard.number} went "
                        f"down with {attempt} times the workers that Dask allows: "
                        "check their memory"
                    ) from error
                submit(shard, attempt + 1)
                continue
            on_scored(labelled.number, labelled.seconds)
            yield labelled
            fill()


# What is compared -------------------------------------------------------------

PACKAGES = ("numpy", "soundfile", "soxr", "onnxruntime", "torch", "transformers")
"""Packages on whose version a label may depend."""


def identity(config: AnnotateConfig) -> dict[str, str]:
    """Return everything that labels depend on besides audio and teacher.

    Only packages that both machines have are compared,
    and what follows a plus sign in a version is left out,
    so that a machine without a GPU can hand out work to others with one.
    """
    code, root = hashlib.sha256(), Path(__file__).parent.parent
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if relative.parts[0] not in ("api", "cli", "export", "firmware_bench"):
            code.update(f"{relative.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    settings = repr(sorted(asdict(config).items()))
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name).partition("+")[0]
    return {
        "wav2small": __version__,
        "code": code.hexdigest()[:12],
        "configuration": hashlib.sha256(settings.encode()).hexdigest()[:12],
        "python": ".".join(platform.python_version_tuple()[:2]),
        **versions,
    }


def _differences(given: bytes, wanted: Mapping[str, str]) -> list[str]:
    """Return how this machine differs from the one that hands out work."""
    _, config, _ = pickle.loads(given)
    mine = identity(config)
    return [
        f"{name} {mine[name]} instead of {wanted[name]}"
        for name in wanted
        if name in mine and mine[name] != wanted[name]
    ]


# On the machines --------------------------------------------------------------

_here: dict[int, tuple[bytes, Worker]] = {}
"""The process of each thread, and what it was started with."""

_starting = threading.Lock()


def _worker(given: bytes, wanted: Mapping[str, str]) -> Worker:
    with _starting:
        mine = threading.get_ident()
        started = _here.get(mine)
        if started and started[0] == given:
            return started[1]
        if started:
            started[1].interrupt()
        from distributed import get_worker

        # a machine may have joined when the others were compared already
        if differences := _differences(given, wanted):
            raise _other(get_worker().address, differences)
        load, config, limits = pickle.loads(given)
        threads = get_worker().state.nthreads
        shares = environment(len(_here) % threads, threads)
        worker = Worker(load, config, limits, shares)
        _here[mine] = given, worker
        return worker


def _info(given: bytes, wanted: Mapping[str, str]) -> TeacherInfo:
    return _worker(given, wanted).info()


def _label_shard(given: bytes, wanted: Mapping[str, str], shard: Shard) -> Labelled:
    # earlier versions have no function of this name,
    # so that a machine with one of them fails instead of giving other labels
    done: list[Labelled] = []
    worker, shards = _worker(given, wanted), iter([shard])
    worker.run(lambda: next(shards, None), done.append)
    return done[0]


def _close() -> None:
    with _starting:
        for _, worker in _here.values():
            worker.interrupt()
        _here.clear()
