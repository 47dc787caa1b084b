"""What runs in the process of a worker: it labels what comes through a pipe."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

from wav2small.export.base.errors import missing

from .. import processes
from ..errors import InputError
from .labelling import Labeller
from .shard import Shard

IDLE_SECONDS = 60.0
"""Time in seconds after which a process without work ends."""


def main() -> None:
    """Label what comes through a pipe, until it is closed."""
    tasks, results = processes.take_over()
    # decoders in C write warnings about damaged files,
    # which errors.csv already reports in one line each
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    given = processes.Inbox(tasks)
    sending = threading.Lock()

    def send(kind: str, content: object) -> None:
        with sending:
            try:
                processes.send(results, (kind, content))
            except OSError:  # the process that gave the work has ended
                os._exit(1)

    try:
        load, config = given.get()
        labeller = Labeller(load(), config)
    except Exception as error:
        send("failed", _reason("teacher cannot be loaded", error))
        sys.exit(1)
    shards: queue.Queue[Shard] = queue.Queue()

    def receive() -> None:
        with suppress(EOFError):
            while True:
                shards.put(given.get())
        os._exit(1)  # the process that gave the work has died

    threading.Thread(target=receive, daemon=True).start()
    send("ready", labeller.teacher.info)

    def waiting() -> Iterator[Shard]:
        with suppress(queue.Empty):
            while True:
                yield shards.get(timeout=IDLE_SECONDS)

    try:
        for labelled in labeller.label(
            waiting(),
            announce=lambda *doing: send("doing", doing),
            on_scored=lambda *scored: send("scored", scored),
        ):
            send("labelled", labelled)
    except Exception as error:
        send("failed", _reason("labelling failed", error))
        sys.exit(1)
    os._exit(0)


def _reason(what: str, error: Exception) -> str:
    """Return one line; the traceback of a bug goes to stderr."""
    if isinstance(error, ImportError):
        error = missing(error) or error
    if isinstance(error, InputError):
        return str(error)
    import traceback

    traceback.print_exception(error)
    return f"{what}: {' '.join(f'{type(error).__name__}: {error}'.split())}"
