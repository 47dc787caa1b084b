"""Messages between processes, and systems that lack what Linux has."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from wav2small import processes
from wav2small.bundled import DEMO

CHILD = """
import os, sys
from wav2small import processes
tasks, results = processes.take_over()
given = processes.Inbox(tasks)
print("a line")
os.system("echo another")
assert sys.stdin.read() == ""
while True:
    try:
        message = given.get()
    except EOFError:
        sys.exit(3)
    if message == "die":
        results.write(b"\\x80\\x05half")
        results.flush()
        os._exit(7)
    processes.send(results, [message, message])
"""

WITHOUT = """
import os, signal, subprocess, sys, types

# what Windows has not; loaded libraries keep what they took before
for name in ("fcntl", "resource", "termios", "pwd", "grp", "pty", "tty"):
    sys.modules[name] = None
for name in (
    "killpg", "getuid", "geteuid", "getgid", "sched_getaffinity", "sysconf", "fork",
    "O_NONBLOCK", "O_DIRECTORY", "O_NOFOLLOW", "chown", "mkfifo", "getpgid", "setsid",
):
    if hasattr(os, name):
        delattr(os, name)
subprocess.signal = types.SimpleNamespace(**vars(signal))
for name in ("SIGKILL", "SIGXCPU", "SIGHUP", "SIGPIPE", "SIGALRM", "SIGCHLD"):
    if hasattr(signal, name):
        delattr(signal, name)
subprocess.CREATE_NEW_PROCESS_GROUP = 512
begin = subprocess.Popen.__init__

def start(self, *words, **options):
    refused = {"pass_fds", "process_group", "preexec_fn", "start_new_session"}
    assert not refused & set(options), refused & set(options)
    assert options.pop("creationflags", 512) == 512
    begin(self, *words, **options)

subprocess.Popen.__init__ = start
"""


@pytest.fixture
def child():
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **processes.own_group(),
    )
    yield process
    processes.end_group(process)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()


def test_messages_go_both_ways_and_prints_go_elsewhere(child):
    inbox = processes.Inbox(child.stdout)
    large = os.urandom(1 << 20)
    processes.send(child.stdin, large)
    processes.send(child.stdin, {"a": 1})
    assert inbox.get(60) == [large, large]
    assert inbox.get(60) == [{"a": 1}, {"a": 1}]
    with pytest.raises(TimeoutError):
        inbox.get(0.01)
    child.stdin.close()
    with pytest.raises(EOFError):
        inbox.get(60)
    assert child.wait() == 3
    assert sorted(child.stderr.read().split(b"\n")) == [b"", b"a line", b"another"]


def test_half_a_message_of_a_dead_process_is_none(child):
    inbox = processes.Inbox(child.stdout)
    processes.send(child.stdin, "die")
    for _ in range(2):
        with pytest.raises(EOFError):
            inbox.get(60)
    assert child.wait() == 7
    with pytest.raises(OSError):
        for _ in range(100):
            processes.send(child.stdin, bytes(1 << 16))


def test_a_group_ends_once_or_twice(child):
    processes.end_group(child)
    child.wait()
    processes.end_group(child)


def without(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code where what Linux alone has is missing, in every process of ours."""
    (folder / "sitecustomize.py").write_text(WITHOUT)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_system_without_what_linux_has(tmp_path):
    done = without(
        tmp_path,
        """
        import importlib, pkgutil
        import wav2small
        for module in pkgutil.walk_packages(wav2small.__path__, "wav2small."):
            if module.name.endswith(("__main__", "cluster")):
                continue
            importlib.import_module(module.name)
        """,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_main_job_without_what_linux_has(tmp_path):
    done = without(
        tmp_path,
        f"""
        from pathlib import Path
        import wav2small
        from wav2small.cli import main
        import sys
        clip = Path({str(DEMO.parent)!r}) / "de_f2_p08_r103_031.opus"
        if __name__ == "__main__":
            for words in (
                ["annotate", str(clip), "labels", "--teacher", "bundled",
                 "--workers", "1"],
                ["predict", str(clip)],
                ["bench", "wav2small-rt-mini", "--target", "generic-m4-64k"],
                ["c99", "wav2small-rt-mini", "firmware"],
            ):
                sys.argv = ["wav2small", *words]
                try:
                    main()
                except SystemExit as ended:
                    assert not ended.code, words
        """,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "labels" / "manifest.json").exists()
    assert (tmp_path / "firmware" / "wav2small.c").exists()
