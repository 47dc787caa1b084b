"""Make the pictures of the documentation that show the page and the bytes of a model.

    python examples/doc_pictures.py DATA docs

DATA holds ``emodb``. A Chromium without a window hears four moods of one speaker
whom neither teacher nor student has heard, and is photographed:
``live.png`` for a desk, ``live-phone.png`` for a telephone in the dark.
``bytes.png`` tells where the bytes of the bundled model go.
"""

from __future__ import annotations

import argparse
import base64
import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from browser import Browser

from wav2small import audio
from wav2small.adv import SAMPLING_RATE
from wav2small.export.model.size import byte_budget
from wav2small.export.pictures import draw_budget
from wav2small.live.page import make_page
from wav2small.models import find_onnx

SPEAKER = "emodb_14"
MOODS = ("neutral", "anger", "sadness", "happiness")
SECONDS = 7
"""How long each mood lasts."""

MODELS = ("wav2small-rt", "wav2small-rt-mini")
MOST_BYTES = 61_440
SCREENS = {
    "live.png": (1140, 800, 1, "light"),
    "live-phone.png": (360, 760, 1, "dark"),
}
"""Width, height, scale and colours of each picture of the page."""


def talk(data: Path) -> np.ndarray:
    """Moods of one speaker, one after the other, at the model's rate."""
    with (data / "emodb" / "metadata.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["speaker"] == SPEAKER]
    parts = []
    for mood in MOODS:
        paths = [data / "emodb" / row["file"] for row in rows if row["emotion"] == mood]
        said = np.concatenate([audio.load(path) for path in paths])
        parts.append(said[: SECONDS * SAMPLING_RATE])
    return np.concatenate(parts)


def photograph(signal: np.ndarray, folder: Path) -> None:
    """Let the page hear a signal and take its pictures."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        page, clip = Path(name, "page.html"), Path(name, "talk.wav")
        page.write_text(make_page({model: find_onnx(model) for model in MODELS}))
        soundfile.write(clip, signal, SAMPLING_RATE, subtype="PCM_16")
        with Browser(Path(name, "profile"), "--hide-scrollbars") as browser:
            for picture, (width, height, scale, colours) in SCREENS.items():
                browser.call(
                    "Emulation.setDeviceMetricsOverride",
                    width=width, height=height, deviceScaleFactor=scale, mobile=False,
                )  # fmt: skip
                wanted = {"name": "prefers-color-scheme", "value": colours}
                browser.call("Emulation.setEmulatedMedia", features=[wanted])
                browser.open(page.as_uri())
                browser.run("1")  # as a person would have: a page may play then
                browser.choose_file("#file", clip)
                status = "document.getElementById('status').textContent"
                browser.wait(f"{status}.includes('heard to its end')", 600)
                browser.run(
                    "new Promise((done) => setTimeout(() => requestAnimationFrame("
                    "() => done(1)), 500))"
                )
                taken = browser.call("Page.captureScreenshot", format="png")
                (folder / picture).write_bytes(base64.b64decode(taken["data"]))
                print(folder / picture)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder that holds emodb")
    parser.add_argument("out", type=Path, help="folder to write the pictures to")
    options = parser.parse_args(arguments)
    draw_budget(
        byte_budget(find_onnx("wav2small")), options.out / "bytes.png", MOST_BYTES
    )
    print(options.out / "bytes.png")
    photograph(talk(options.data), options.out)


if __name__ == "__main__":
    main()
