"""Time the live page: from a click on Microphone to the first scores, and its load.

    python examples/page_times.py [--model NAME] [--starts 5] [--seconds 60]

A Chromium without a window takes a bundled voice for its microphone, again and again.
Processor time is that of all its processes, with the page open and quiet, and while it
hears.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import soundfile
from browser import Browser

from wav2small import audio
from wav2small.bundled import DEFAULT, DEMO
from wav2small.live.page import VOICES, make_page
from wav2small.models import find_onnx

FLAGS = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
FIRST = """new Promise((done) => {
  const begun = performance.now();
  let first;
  document.addEventListener("reading", ({ detail }) => {
    first ??= performance.now() - begun;
    if (!detail.integers) return;
    requestAnimationFrame(() => done([first, performance.now() - begun]));
  });
  document.getElementById("microphone").click();
})"""


def processor_seconds() -> float:
    """What the processes under this one have taken so far."""
    times = [each.cpu_times() for each in psutil.Process().children(recursive=True)]
    return sum(each.user + each.system for each in times)


def share(seconds: float) -> float:
    """Share of a core that they take."""
    begun, before = time.monotonic(), processor_seconds()
    time.sleep(seconds)
    return (processor_seconds() - before) / (time.monotonic() - begun)


def main() -> None:
    """Open the page several times; let the last one hear for a while."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    firsts = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        page = Path(name, "page.html")
        page.write_text(make_page({given.model: find_onnx(given.model)}))
        voice = Path(name, "voice.wav")
        *_, clip = VOICES.values()
        soundfile.write(voice, audio.load(DEMO.parent / clip), 16000, "PCM_16")
        microphone = f"--use-file-for-fake-audio-capture={voice}"
        with Browser(Path(name, "profile"), *FLAGS, microphone) as browser:
            browser.open(page.as_uri())
            quiet = share(given.seconds)
            for _ in range(given.starts):
                browser.open(page.as_uri())
                firsts.append([after / 1000 for after in browser.run(FIRST)])
            hears = share(given.seconds)
    for what, seconds in zip(("waveform", "scores"), np.transpose(firsts), strict=True):
        middle, least, most = statistics.median(seconds), min(seconds), max(seconds)
        print(
            f"first {what}: {middle:.2f} s ({least:.2f} to {most:.2f}) after the click"
        )
    print(f"share of a core: {quiet:.1%} quiet, {hears:.1%} while it hears")
    print(f"load of this machine: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
