"""A model that hears a recording or a microphone while it lasts."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from conftest import Run
from recordings import tone, write
from rich.console import Console

from wav2small import follow
from wav2small.api.listening import Moment
from wav2small.bundled import DEMO
from wav2small.errors import InputError, ToolError
from wav2small.export.integer.decisions import Event
from wav2small.live.listen import Heard, HeardBlock, hear, microphone, play
from wav2small.live.screen import Screen, to_line

VOICE = DEMO.with_name("en_m1_p12_r106_001.opus")


def test_blocks_come_each_tenth_of_a_second_and_hold_the_recording(
    tmp_path: Path,
) -> None:
    whole = tone(0.55)
    path = write(tmp_path / "a.wav", whole, subtype="FLOAT")
    began = time.monotonic()
    blocks = list(play(path))
    np.testing.assert_array_equal(np.concatenate([b.signal for b in blocks]), whole)
    assert [len(block.signal) for block in blocks] == [1600] * 5 + [800]
    ends = np.array([block.end for block in blocks])
    np.testing.assert_allclose(np.diff(ends), [0.1] * 4 + [0.05], atol=1e-6)
    assert time.monotonic() >= ends[-1] >= began + 0.55


def test_what_is_said_of_blocks_is_that_of_following_them() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 48100).astype(np.float32)
    cuts = np.split(sound, [1600, 3000, 3600, 20000])
    blocks = [HeardBlock(part, number) for number, part in enumerate(cuts)]
    found = list(hear(blocks, model="wav2small-rt-mini", forget_seconds=2.0))
    expected = follow(
        [sound], model="wav2small-rt-mini", seconds=0.1, forget_seconds=2.0
    )
    assert [heard.moment for heard in found] == list(expected)
    assert all(heard.level == pytest.approx(-20, abs=1) for heard in found)
    ends = [heard.end for heard in found]
    assert ends[:3] == [0, 2, 3] and ends[-1] == 4


def test_a_recording_becomes_lines(run: Run) -> None:
    code, out, told = run("live", VOICE, "--model", "wav2small-rt-mini")
    assert code == 0
    assert told.startswith("shown ") and told.count("\n") == 1
    found = hear(play(VOICE), model="wav2small-rt-mini", forget_seconds=4.0)
    assert out.splitlines() == [to_line(heard) for heard in found]


def heard(**changes: object) -> Heard:
    known = {
        "seconds": 12.34,
        "scores": (0.0, 0.5, 1.0),
        "speech": None,
        "events": (Event("high valence", 2.4),),
    }
    return Heard(Moment(**{**known, **changes}), -30.0, 0.0)


NOTHING = Heard(Moment(0.1, None, False, ()), float("-inf"), 0.0)


def test_a_line_says_what_is_known() -> None:
    assert to_line(heard()) == (
        "    12.3 s   -30.0 dBFS  arousal 0.000  dominance 0.500  valence 1.000  "
        "high valence for 2.4 s"
    )
    assert to_line(NOTHING).strip() == "0.1 s    -inf dBFS  no scores yet  no speech"


def test_a_screen_draws_what_was_heard_last() -> None:
    screen = Screen("[red]m[/red] hears a.wav", columns=4)
    console = Console(width=60, color_system=None)
    for item in [NOTHING] * 5 + [heard()]:
        drawn = screen.add(item)
    with console.capture() as shown:
        console.print(drawn)
    lines = shown.get().splitlines()
    assert lines[0] == "[red]m[/red] hears a.wav, 12.3 s"
    assert [line.split()[-1] for line in lines[1:5]] == ["▄", "0.00", "▄", "█"]
    assert lines[5] == "high valence for 2.4 s"


def test_a_model_that_does_not_stream_is_one_line(run: Run) -> None:
    code, out, told = run("live", VOICE, "--model", "wav2small")
    assert code == 2 and not out
    assert told.startswith("error: model must need the past alone")
    assert told.count("\n") == 1


def test_a_recording_that_is_none_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    for name in ("a.wav", "b.wav"):
        code, out, told = run("live", tmp_path / name)
        assert code == 2 and not out
        assert told.startswith("error: ") and told.count("\n") == 1


def test_no_microphone_is_one_line(run: Run) -> None:
    code, out, told = run("live", "--device", "no such device")
    # without PortAudio a library is missing
    assert code in (2, 3) and not out
    assert told.startswith("error: ") and told.count("\n") == 1


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ToolError, match=r"wav2small\[microphone\]"), microphone():
        pass


class Sound(ModuleType):
    """The package sounddevice with a microphone that plays a tone."""

    PortAudioError = RuntimeError

    def __init__(self, rate: float, blocks: int) -> None:
        super().__init__("sounddevice")
        self.rate, self.blocks = rate, blocks

    def query_devices(self, device: object, kind: str) -> dict[str, float]:
        if device == "none":
            raise RuntimeError("Error querying device -1")
        assert device in (None, 3, "usb") and kind == "input"
        return {"default_samplerate": self.rate}

    def InputStream(self, **settings: object) -> object:
        assert settings["samplerate"] == self.rate
        count = int(settings["blocksize"])
        wave = tone(self.blocks / 10, frequency=1000.0, sampling_rate=int(self.rate))
        times = SimpleNamespace(currentTime=5.0, inputBufferAdcTime=4.88)

        class Stream:
            def __enter__(self) -> None:
                for at in range(0, len(wave), count):
                    part = wave[at : at + count, None]
                    settings["callback"](part, len(part), times, None)

            def __exit__(self, *_: object) -> None:
                pass

        return Stream()


@pytest.mark.parametrize("rate", [16000.0, 44100.0, 48000.0])
def test_a_microphone_of_any_rate_is_heard(
    monkeypatch: pytest.MonkeyPatch, rate: float
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", Sound(rate, 10))
    with microphone("3") as blocks:
        heard = [next(blocks) for _ in range(9)]
    wave = np.concatenate([block.signal for block in heard])
    assert wave.dtype == np.float32 and 0.8 < len(wave) / 16000 <= 0.9
    power = np.abs(np.fft.rfft(wave[800:12800] * np.hanning(12000))) ** 2
    assert np.argmax(power) == pytest.approx(1000 * 12000 / 16000, abs=1)
    assert all(block.end <= time.monotonic() for block in heard)


def test_a_microphone_that_is_not_there_or_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", Sound(16000.0, 0))
    with (
        pytest.raises(InputError, match="microphone must be there"),
        microphone("none"),
    ):
        pass
    monkeypatch.setattr("wav2small.live.listen._MOST_SILENCE", 0.01)
    with pytest.raises(InputError, match="must give sound"), microphone() as blocks:
        next(blocks)


def test_control_c_ends_it_in_order(tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", tone(60.0))
    words = [sys.executable, "-m", "wav2small", "live", str(path)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.startswith("shown ") and told.count("\n") == 1
