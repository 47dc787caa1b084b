import hashlib
import os
import signal
import subprocess
import sys

import pytest

from wav2small.export.base.errors import InputError
from wav2small.export.base.files import (
    atomic_folder,
    atomic_write,
    check_output,
    claim,
    is_temporary,
    recover_folder,
    remove_folder,
    remove_temporary,
    replace_file,
    sha256,
    whole_folder,
)


def test_writes(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_write(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failed_write_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_write(path) as file:
        file.write(b"ne")
        raise error
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_remove_temporary_leaves_the_rest(tmp_path):
    names = ["a.tmp", ".hidden", ".a.txt.12.tmp"]
    for name in names:
        (tmp_path / name).touch()
    assert [is_temporary(tmp_path / name) for name in names] == [False, False, True]
    remove_temporary(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "a.tmp"]
    remove_temporary(tmp_path / "missing")


def test_sha256(tmp_path):
    data = bytes(range(256)) * 9999
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()
    with pytest.raises(FileNotFoundError):
        sha256(tmp_path / "b")


def dead_process() -> int:
    """Number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_the_next_write_clears_away_what_a_killed_one_left(tmp_path):
    dead, alive = dead_process(), os.getppid()
    left = [f".a.txt.{dead}.0123abcd.tmp", f".a.txt.{dead}.tmp"]
    stays = [f".a.txt.{alive}.0123abcd.tmp", f".b.txt.{dead}.0123abcd.tmp", ".a.txt.x"]
    for name in (*left, *stays):
        (tmp_path / name).touch()
    replace_file(tmp_path / "a.txt", b"x")
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", *stays}


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    replace_file(tmp_path / ("x" * 255), b"whole")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"whole"


# Folders ---------------------------------------------------------------------


def fill(folder, text):
    with atomic_folder(folder) as fresh:
        (fresh / "a").write_text(text)
        (fresh / text).touch()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    fill(tmp_path / "deep/x", "one")
    fill(tmp_path / "deep/x", "two")
    assert names(tmp_path / "deep/x") == ["a", "two"]
    assert names(tmp_path / "deep") == ["x"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_folder_keeps_the_old_one(tmp_path, error):
    fill(tmp_path / "x", "one")
    with pytest.raises(error), atomic_folder(tmp_path / "x") as fresh:
        (fresh / "a").touch()
        raise error
    assert names(tmp_path / "x") == ["a", "one"]
    assert names(tmp_path) == ["x"]


def test_a_kill_between_the_two_renames(tmp_path):
    fill(tmp_path / "x", "one")
    (tmp_path / "x").rename(tmp_path / ".x.old")
    assert names(whole_folder(tmp_path / "x")) == ["a", "one"]
    recover_folder(tmp_path / "x")
    assert names(whole_folder(tmp_path / "x")) == ["a", "one"]
    assert names(tmp_path) == ["x"]


def test_a_predecessor_that_was_left_does_not_stand_in_the_way(tmp_path):
    fill(tmp_path / "x", "two")
    (tmp_path / ".x.old").mkdir()
    (tmp_path / ".x.old/a").write_text("one")
    assert whole_folder(tmp_path / "x") == tmp_path / "x"
    fill(tmp_path / "x", "three")
    assert names(tmp_path / "x") == ["a", "three"]
    assert names(tmp_path) == ["x"]


def test_a_link_is_removed_and_not_followed(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/precious").touch()
    (tmp_path / "x").symlink_to(tmp_path / "home")
    fill(tmp_path / "x", "one")
    assert names(tmp_path / "home") == ["precious"]
    (tmp_path / "y").symlink_to(tmp_path / "home")
    remove_folder(tmp_path / "y")
    remove_folder(tmp_path / "missing")
    assert names(tmp_path) == ["home", "x"]
    assert names(tmp_path / "home") == ["precious"]


# One run for a folder --------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from wav2small.export.base.files import claim
with claim(Path(sys.argv[1]), file=len(sys.argv) > 2):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(path, *words):
    """Claim an output in another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"held\n"
    return process


@pytest.mark.parametrize("file", [False, True])
def test_two_runs_cannot_write_to_one_output(tmp_path, file):
    out = tmp_path / "x"
    with hold(out, *["file"] * file) as other:
        refused = pytest.raises(InputError, match=f"by another run: {out}")
        with refused, claim(out, file=file):
            pass
        with claim(tmp_path / "y", file=file):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    with claim(out, file=file), refused, claim(out, file=file):
        pass
    # nothing is left but the folder that the killed run had made
    assert names(tmp_path) == ["x"] * (not file)


def test_a_claim_clears_away_what_killed_runs_left(tmp_path):
    (tmp_path / "shards").mkdir()
    left = tmp_path / f".a.{os.getppid()}.0123abcd.tmp"
    left.touch()
    (tmp_path / "shards" / left.name).mkdir()
    (tmp_path / "mine").touch()
    with claim(tmp_path, "shards", "missing"):
        assert names(tmp_path) == [".lock", "mine", "shards"]
        assert names(tmp_path / "shards") == []
    assert names(tmp_path) == ["mine", "shards"]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_lock_that_is_a_link_is_not_followed(tmp_path, link):
    (tmp_path / "precious").write_text("mine")
    out = tmp_path / "x"
    out.mkdir()
    link(tmp_path / "precious", out / ".lock")
    refused = pytest.raises(InputError, match="must be a plain file, got a link")
    with refused, claim(out):
        pass
    assert (tmp_path / "precious").read_text() == "mine"
    assert names(out) == [".lock"]


def test_a_lock_that_is_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(InputError, match="must be a plain file"), claim(tmp_path):
        pass


def test_an_output_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file/x", tmp_path / "\0"):
        refused = pytest.raises(InputError, match="must be a folder that can be")
        with refused, claim(out):
            pass


# Outputs are looked at before the work ---------------------------------------


def test_outputs_that_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    check_output(tmp_path / "file")
    check_output(tmp_path / "new/folders/file")
    check_output(tmp_path, folder=True)
    check_output(tmp_path / "new/folders", folder=True)
    assert names(tmp_path) == ["file"]


def test_outputs_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    for path, folder, message in (
        (tmp_path, False, "must be a file, got a folder"),
        (tmp_path / "file", True, "must be a folder, got a file"),
        (tmp_path / "pipe", False, "must be a file, got a special file"),
        (tmp_path / "file/x", False, "must be in a folder, got a file"),
        (tmp_path / "file/x", True, "must be in a folder, got a file"),
        (tmp_path / ("x" * 256), False, "File name too long"),
        (tmp_path / "a\0b", False, "null"),
    ):
        with pytest.raises(InputError, match=message):
            check_output(path, folder=folder)
