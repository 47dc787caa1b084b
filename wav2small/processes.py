"""Processes of our own, on every system.

Messages go through the standard input and output of a process, which every system has.
The process moves both away before anything else can read or write them.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import threading
from contextlib import suppress
from typing import IO, Any


def own_group() -> dict[str, Any]:
    """Arguments of :class:`subprocess.Popen` that keep Ctrl-C from a process."""
    windows = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", None)
    return {"process_group": 0} if windows is None else {"creationflags": windows}


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process of a group of its own, and what it started where that is known."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, 9)
        else:
            process.kill()


def usable_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def send(file: IO[bytes], message: object) -> None:
    """Write a message as a whole.

    Raises:
        OSError: if nobody reads it any more

    """
    file.write(pickle.dumps(message))
    file.flush()


def take_over() -> tuple[IO[bytes], IO[bytes]]:
    """Move standard input and output of this process away.

    What reads from standard input then finds nothing,
    and what is printed goes where errors go.

    Returns:
        the input, to be read by :class:`Inbox`, and the output, for :func:`send`

    """
    given, results = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return given, results


class Inbox:
    """Messages of another process, read by a thread until there are no more."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._messages: queue.SimpleQueue[tuple[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        # a process that dies leaves the beginning of a message
        with suppress(EOFError, OSError, ValueError, pickle.UnpicklingError):
            while True:
                self._messages.put((pickle.load(self._file),))
        self._messages.put(None)

    def get(self, timeout: float | None = None) -> Any:
        """Wait for the next message.

        Raises:
            EOFError: if there will be none
            TimeoutError: if there is none yet

        """
        try:
            message = self._messages.get(timeout=timeout)
        except queue.Empty as error:
            raise TimeoutError from error
        if message is None:
            self._messages.put(None)  # for whoever asks next
            raise EOFError
        return message[0]

    def close(self) -> None:
        """Forget the file, once its writer has ended."""
        self._thread.join(5)
        with suppress(OSError):
            self._file.close()
