"""A Firefox without a window, driven by its Marionette protocol."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("firefox-esr", "firefox")
SECONDS = 300
PREFERENCES = {
    "marionette.port": 0,  # any that is free; the profile says which
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
}


def find_firefox() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Firefox:
    """One page in a Firefox of its own, with a microphone that beeps."""

    def __init__(self, folder: Path) -> None:
        program = find_firefox()
        assert program is not None
        folder.mkdir(parents=True, exist_ok=True)
        lines = (
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
            for name, value in PREFERENCES.items()
        )
        (folder / "user.js").write_text("".join(lines))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        server = folder / "sound"
        self._sound = None
        if sound := shutil.which("pulseaudio"):
            # without a loudspeaker Firefox lets no time go by
            self._sound = subprocess.Popen(
                [
                    sound, "-n", "--daemonize=no", "--exit-idle-time=-1",
                    "--load=module-null-sink",
                    f"--load=module-native-protocol-unix auth-anonymous=1 "
                    f"socket={server}",
                ],
                env={**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)},
                **quiet,
            )  # fmt: skip
        self._process = subprocess.Popen(
            [program, "--headless", "--marionette", "--no-remote", "--profile", folder],
            env={**os.environ, "PULSE_SERVER": f"unix:{server}"},
            **quiet,
        )
        self._count = 0
        port = folder / "MarionetteActivePort"
        end = time.monotonic() + SECONDS
        while not (port.exists() and port.read_text()):
            assert time.monotonic() < end, "Firefox must start"
            assert self._process.poll() is None, "Firefox must not end"
            time.sleep(0.1)
        self._socket = socket.create_connection(
            ("127.0.0.1", int(port.read_text())), timeout=SECONDS
        )
        self._held = b""
        self._receive()  # who it is
        self.call("WebDriver:NewSession")
        self.call("WebDriver:SetTimeouts", script=1000 * SECONDS)

    def __enter__(self) -> Firefox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        for process in filter(None, (self._process, self._sound)):
            process.kill()
            process.wait()

    def call(self, command: str, **parameters: Any) -> Any:
        """Call a command of WebDriver."""
        self._count += 1
        text = json.dumps([0, self._count, command, parameters])
        self._socket.sendall(f"{len(text)}:{text}".encode())
        kind, number, error, result = json.loads(self._receive())
        assert (kind, number) == (1, self._count)
        assert error is None, error
        return result

    def _receive(self) -> bytes:
        while b":" not in self._held:
            self._held += self._part()
        length, _, self._held = self._held.partition(b":")
        while len(self._held) < int(length):
            self._held += self._part()
        message, self._held = self._held[: int(length)], self._held[int(length) :]
        return message

    def _part(self) -> bytes:
        part = self._socket.recv(1 << 20)
        assert part, "Firefox must not end"
        return part

    def open(self, url: str) -> None:
        """Load a page; what its policy forbids is noted."""
        self.call("WebDriver:Navigate", url=url)
        self.run(
            "window.forbidden = [];"
            "document.addEventListener('securitypolicyviolation',"
            " (event) => forbidden.push(event.violatedDirective));"
            "window.addEventListener('error',"
            " (event) => forbidden.push(event.message)); 1"
        )

    def run(self, expression: str) -> Any:
        """Evaluate JavaScript; promises are awaited."""
        script = (
            "const done = arguments[arguments.length - 1];"
            "Promise.resolve(eval(arguments[0])).then((value) =>"
            " done(JSON.stringify(value) ?? 'null'));"
        )
        answer = self.call(
            "WebDriver:ExecuteAsyncScript", script=script, args=[expression]
        )
        return json.loads(answer["value"])

    def wait(self, expression: str, seconds: float = SECONDS) -> Any:
        """Wait until JavaScript gives something true."""
        end = time.monotonic() + seconds
        while not (value := self.run(expression)):
            assert time.monotonic() < end, f"{expression} must become true"
            time.sleep(0.05)
        return value

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file to an input as if the user had chosen it."""
        found = self.call("WebDriver:FindElement", using="css selector", value=selector)
        (element,) = found["value"].values()
        self.call("WebDriver:ElementSendKeys", id=element, text=str(path))

    def problems(self) -> list[str]:
        """What went wrong on the page so far."""
        return list(self.run("forbidden"))
