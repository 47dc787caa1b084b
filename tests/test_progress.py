"""Progress that is reported in one shape, and shown wherever it is seen."""

from __future__ import annotations

import io
import sys
import threading
import types

import pytest

from wav2small import progress
from wav2small.progress import ProgressBar


class Clock:
    """Stands for the time, which a test moves on by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return Terminal()


def test_a_log_gets_a_line_now_and_then_with_speed_and_end(clock: Clock) -> None:
    file = io.StringIO()
    with ProgressBar(file) as bar:
        clock.now = 110.0
        bar("annotate", 10, 100, {"audio_seconds": 0.0, "errors": 0})
        clock.now = 120.0
        bar("annotate", 40, 100, {"audio_seconds": 7200.0, "errors": 2})
        clock.now = 121.0
        bar("annotate", 50, 100, {"audio_seconds": 7300.0, "errors": 2})
        clock.now = 140.0
        bar("annotate", 100, 100, {"audio_seconds": 9000.0, "errors": 2})
    # from the first report on 30 files took 10 s, so the other 60 take 20 s
    assert file.getvalue() == (
        "annotate 40/100, 20 s, 20 s left, 2.00 h of audio, 360.0 x real time, "
        "errors 2\n"
        "annotate 100/100, 40 s, 2.50 h of audio, 225.0 x real time, errors 2\n"
    )


def test_a_quick_stage_is_not_worth_a_line(clock: Clock) -> None:
    file = io.StringIO()
    bar = ProgressBar(file)
    for done in (1, 2):
        clock.now += 0.5
        bar("read", done, 2)
    assert file.getvalue() == ""


def test_each_stage_is_timed_from_the_end_of_the_one_before(clock: Clock) -> None:
    file = io.StringIO()
    bar = ProgressBar(file)
    clock.now += 60
    bar("decode", 1, 1)
    clock.now += 10
    bar("train", 1, 1, {"loss": 0.25})
    assert file.getvalue() == "decode 1/1, 60 s\ntrain 1/1, 10 s, loss 0.250\n"


def test_a_line_holds_no_control_characters(clock: Clock) -> None:
    file = io.StringIO()
    bar = ProgressBar(file)
    clock.now += 60
    bar("a\x1b[31m\n", 1, 2)
    assert file.getvalue() == "a\\x1b[31m\\n 1/2, 60 s\n"


def test_a_terminal_gets_a_row_for_each_stage(terminal: Terminal) -> None:
    with ProgressBar(terminal) as bar:
        bar("train", 1, 2, {"loss": 0.5})
        bar("dev", 1, 2, {"arousal": 0.25})
        bar("train", 2, 2, {"loss": 0.125})
    shown = terminal.getvalue()
    for text in ("train", "dev", "2/2", "1/2", "loss 0.125", "arousal 0.250"):
        assert text in shown


def test_bars_end_by_themselves_when_all_stages_are_done(terminal: Terminal) -> None:
    shows_cursor = "\x1b[?25h"
    bar = ProgressBar(terminal)
    bar("read", 1, 2)
    assert shows_cursor not in terminal.getvalue()
    bar("read", 2, 2)
    assert terminal.getvalue().endswith(shows_cursor)
    length = len(terminal.getvalue())
    bar("read", 1, 1)  # the next call of the same function
    assert len(terminal.getvalue()) > length


def test_names_are_no_markup(terminal: Terminal) -> None:
    ProgressBar(terminal)("[red]a", 1, 1, {"[bold]b": 1.0})
    assert "[red]a" in terminal.getvalue()
    assert "[bold]b 1.000" in terminal.getvalue()


@pytest.mark.parametrize("widgets", [True, False])
def test_a_notebook_needs_its_widgets_for_a_bar(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, *, widgets: bool
) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr(
        progress, "find_spec", lambda name: types.SimpleNamespace() if widgets else None
    )
    drawn: list[str] = []
    monkeypatch.setattr(ProgressBar, "_draw", lambda *given: drawn.append(given[2]))
    file = io.StringIO()
    bar = ProgressBar(file)
    clock.now += 60
    bar("read", 1, 2)
    assert drawn == (["read"] if widgets else [])
    assert file.getvalue() == ("" if widgets else "read 1/2, 60 s\n")


def test_reports_may_come_from_several_threads(clock: Clock) -> None:
    file = io.StringIO()
    bar = ProgressBar(file)
    clock.now += 60

    def work(number: int) -> None:
        bar(f"part {number}", 1, 1)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = file.getvalue().splitlines()
    assert sorted(line.partition(",")[0] for line in lines) == [
        f"part {number} 1/1" for number in range(8)
    ]


def test_stderr_is_used_as_it_is_when_a_report_comes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = ProgressBar()
    clock.now += 60
    later = io.StringIO()
    monkeypatch.setattr(sys, "stderr", later)
    bar("read", 1, 2)
    assert later.getvalue() == "read 1/2, 60 s\n"
