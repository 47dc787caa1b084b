"""How the command line ends."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from recordings import tone, write

import wav2small
import wav2small.cli.main
from wav2small.errors import InputError, LeftOutWarning

main = sys.modules["wav2small.cli.main"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ended_by(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[BaseException | None], tuple[object, str]]:
    """End the command with an exception, and return exit code and stderr."""

    def end(error: BaseException) -> tuple[object, str]:
        def app() -> None:
            raise error

        monkeypatch.setattr(main, "app", app)
        with pytest.raises(SystemExit) as caught:
            main.main()
        return caught.value.code, capsys.readouterr().err

    return end


def test_a_bug_is_a_line_with_a_code_of_its_own(ended_by) -> None:
    code, err = ended_by(KeyError("a\x1b[31m\nb"))
    assert code == main.BUG == 70
    assert err == (
        "error: this is a bug in wav2small: KeyError: 'a\\x1b[31m\\nb': "
        "set WAV2SMALL_TRACEBACK=1 to see where, and report it\n"
    )


def test_a_bug_shows_its_traceback_if_asked(ended_by, monkeypatch) -> None:
    monkeypatch.setenv(main.TRACEBACK, "1")
    code, err = ended_by(RecursionError("deep"))
    assert code == main.BUG
    assert err.startswith("Traceback")
    assert err.endswith("RecursionError: deep\n")


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (OSError(28, "No space left on device", "/x/y"), "/x/y: No space left"),
        (OSError(28, "No space left on device"), "error: No space left"),
        (IsADirectoryError(21, "Is a directory", b"/x/y"), "/x/y: Is a directory"),
        (MemoryError(), "memory must suffice"),
    ],
)
def test_what_the_machine_lacks_is_no_bug(ended_by, error, match) -> None:
    code, err = ended_by(error)
    assert code != main.BUG
    assert match in err
    assert err.count("\n") == 1


def test_an_error_is_no_page(ended_by) -> None:
    code, err = ended_by(
        InputError(f"name must be short, got {'x' * 9999}: shorten it")
    )
    assert code == 2
    assert err.startswith("error: name must be short, got xxx")
    assert err.endswith("xxx: shorten it\n")
    assert len(err) < 1100


def test_a_report_where_a_folder_is(tmp_path: Path, run: Run) -> None:
    code, _, err = run("list", "models")
    assert (code, err) == (0, "")
    code, _, err = run("bench", "wav2small-rt", "--json", tmp_path)
    assert code not in (0, main.BUG)
    assert (
        err == f"error: output must be a file, got a folder: {tmp_path}: name another\n"
    )


def test_warnings_are_lines(tmp_path: Path, run: Run) -> None:
    write(tmp_path / "a.wav", tone(1))
    (tmp_path / "b.m4a").touch()
    code, out, err = run("predict", tmp_path, "--csv")
    assert code == 0
    assert out.count("\n") == 2
    assert err == (
        f"warning: 1 m4a are left out, which is not read: {tmp_path}: "
        "convert to wav or flac\n"
    )


def test_warnings_of_others_are_shown_as_they_are() -> None:
    with (
        pytest.warns(DeprecationWarning, match="old"),
        main._warnings_in_a_line(),
    ):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        assert issubclass(LeftOutWarning, UserWarning)


def test_the_version_is_said(run) -> None:
    code, out, _ = run("--version")
    assert (code, out.strip()) == (0, f"wav2small {wav2small.__version__}")
