"""The page in a browser: the same integers as the reference, in every way to hear."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browser import Browser, find_browser

from wav2small import Stream
from wav2small.live.page import make_page
from wav2small.models import find_onnx

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        find_browser() is None,
        reason="no Chromium is installed: apt-get install chromium",
    ),
]
MODELS = ("wav2small-rt", "wav2small-rt-mini", "wav2small")
FAKE = "--use-fake-device-for-media-stream"
ALLOWED = "--use-fake-ui-for-media-stream"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(make_page({name: find_onnx(name) for name in MODELS}))
    return path.as_uri()


def opened(browser: Browser, url: str) -> Browser:
    browser.open(url)
    browser.run(
        "window.readings = [];"
        "document.addEventListener('reading', (event) => readings.push({"
        "...event.detail, samples: Array.from(event.detail.samples)})); 1"
    )
    return browser


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, page: str) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser"), FAKE, ALLOWED) as browser:
        yield opened(browser, page)


def choose(browser: Browser, model: str, *, at_once: bool = True) -> None:
    browser.run(
        f"{{ const select = document.getElementById('model'); readings.length = 0;"
        f"select.value = {MODELS.index(model)};"
        f"select.dispatchEvent(new Event('change'));"
        f"document.getElementById('speed').checked = {json.dumps(at_once)}; }} 1"
    )


def status(browser: Browser) -> str:
    return str(browser.run("document.getElementById('status').textContent"))


def hear_file(browser: Browser, path: Path) -> list[dict[str, Any]]:
    """Let the page hear a file at once; everything that it tells."""
    browser.run("readings.length = 0; 1")
    browser.choose_file("#file", path)
    browser.wait(
        "readings.at(-1)?.ended || document.getElementById('status').className"
    )
    return list(browser.run("readings"))


def heard(readings: list[dict[str, Any]]) -> np.ndarray:
    samples = [sample for reading in readings for sample in reading["samples"]]
    return np.array(samples, np.int16)


def count_differing(
    model: str, readings: list[dict[str, Any]], seconds: float | None = 4
) -> tuple[int, int]:
    """Integers that differ from the reference's, and integers that were compared."""
    stream = Stream(find_onnx(model))
    stream.forget(seconds)
    differing = compared = 0
    for reading in readings:
        stream.push(np.array(reading["samples"], np.int16))
        if reading["integers"] is None:
            continue
        ours = stream.integers() if reading["ended"] else stream.latest_integers()
        differing += int((ours.reshape(-1) != reading["integers"]).sum())
        compared += ours.size
    return differing, compared


def write_clip(folder: Path, samples: np.ndarray, rate: int = 16000) -> Path:
    path = folder / "clip.wav"
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


@pytest.mark.parametrize("model", ["wav2small-rt", "wav2small-rt-mini"])
def test_20_real_clips_have_the_integers_of_the_reference(
    shared: Browser, data: Path, tmp_path: Path, model: str
) -> None:
    choose(shared, model)
    paths = sorted((data / "emodb" / "audio").glob("*.*"))
    total = 0
    for path in paths[:: len(paths) // 20][:20]:
        samples, rate = soundfile.read(path, dtype="int16")
        assert rate == 16000
        readings = hear_file(shared, write_clip(tmp_path, samples))
        np.testing.assert_array_equal(heard(readings), samples)
        differing, compared = count_differing(model, readings)
        assert differing == 0
        total += compared
    assert total > 20 * 3 * 10
    assert shared.problems() == []
