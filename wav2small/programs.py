"""Programs that a user names: a language model, or a transcriber of speech."""

from __future__ import annotations

import io
import shlex
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import IO

import numpy as np

from .adv import SAMPLING_RATE
from .errors import InputError
from .processes import end_group, own_group

MOST_REPLY = 1 << 16
"""Longest reply of a program in bytes."""


class ExternalProgram:
    """A program that reads something on stdin and writes its reply to stdout.

    What it started is ended with it.

    Args:
        command: the program and its arguments; no shell is between
        timeout: seconds that a reply may take

    """

    def __init__(self, command: Sequence[str], *, timeout: float = 120.0) -> None:
        self.command, self.timeout = list(command), timeout

    @classmethod
    def of(cls, line: str, *, timeout: float = 120.0) -> ExternalProgram:
        """Take program and arguments from one line, quoted as a shell has it.

        Raises:
            InputError: if there is none, or a quotation does not end

        """
        try:
            command = shlex.split(line)
        except ValueError as error:
            raise InputError(
                f"program must be words quoted as a shell has them, got {line!r}: "
                f"{error}"
            ) from error
        if not command:
            raise InputError("program must be named, got nothing: name it")
        return cls(command, timeout=timeout)

    def __call__(self, text: str) -> str:
        """Run the program once on a text; raises as :meth:`reply` does."""
        return self.reply(text.encode())

    def reply(self, given: bytes) -> str:
        """Run the program once.

        Args:
            given: what it reads on stdin

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
            pipes.submit(_tell, process.stdin, given)
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


class Transcriber:
    """A program that is given speech and writes what is said.

    It reads a WAV file (16 bits, 16 kHz, mono) on stdin
    and writes the words to stdout, nothing if there are none.

    Args:
        line: program and arguments, quoted as a shell has them
        timeout: seconds that a clip may take

    Raises:
        InputError: as of :meth:`ExternalProgram.of`

    """

    def __init__(self, line: str, *, timeout: float = 120.0) -> None:
        self._program = ExternalProgram.of(line, timeout=timeout)

    def __call__(self, samples: np.ndarray) -> str:
        """Transcribe speech.

        Args:
            samples: ``(time,)``, float32 in [-1, 1] at 16 kHz

        Raises:
            InputError: as of :meth:`ExternalProgram.reply`

        """
        import soundfile

        file = io.BytesIO()
        soundfile.write(file, samples, SAMPLING_RATE, format="WAV", subtype="PCM_16")
        return " ".join(self._program.reply(file.getvalue()).split())
