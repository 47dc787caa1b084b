"""The page in Firefox: the same integers as the reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from firefox import Firefox, find_firefox

from wav2small import Stream
from wav2small.live.page import make_page
from wav2small.models import find_onnx

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        find_firefox() is None,
        reason="no Firefox is installed: apt-get install firefox-esr",
    ),
]
MODEL = "wav2small-rt"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(make_page({MODEL: find_onnx(MODEL)}))
    with Firefox(tmp_path_factory.mktemp("firefox")) as firefox:
        firefox.open(path.as_uri())
        firefox.run(
            "window.readings = [];"
            "document.addEventListener('reading', ({ detail }) => readings.push({"
            "...detail, samples: Array.from(detail.samples)})); 1"
        )
        yield firefox


def differing(
    readings: list[dict[str, Any]], *, speech_alone: bool = True
) -> tuple[int, int]:
    """Integers that differ from the reference's, and integers that were compared."""
    stream = Stream(find_onnx(MODEL))
    stream.forget(4)
    stream.listen(speech_alone=speech_alone)
    wrong = compared = 0
    for reading in readings:
        stream.push(np.array(reading["samples"], np.int16))
        if reading["integers"] is None:
            continue
        ours = stream.integers() if reading["ended"] else stream.latest_integers()
        wrong += int((ours.reshape(-1) != reading["integers"]).sum())
        compared += ours.size
    return wrong, compared


def test_a_file_has_the_integers_of_the_reference(
    shared: Firefox, data: Path, tmp_path: Path
) -> None:
    paths = sorted((data / "emodb" / "audio").glob("*.*"))[:3]
    samples = np.concatenate([soundfile.read(path, dtype="int16")[0] for path in paths])
    path = tmp_path / "clip.wav"
    soundfile.write(path, samples, 16000, subtype="PCM_16")
    shared.run("readings.length = 0; document.getElementById('speed').checked = true")
    shared.choose_file("#file", path)
    shared.wait("readings.at(-1)?.ended || document.getElementById('status').className")
    readings = shared.run("readings")
    heard = [sample for reading in readings for sample in reading["samples"]]
    np.testing.assert_array_equal(heard, samples)
    wrong, compared = differing(readings)
    assert wrong == 0 and compared > 3 * 10 * 3
    assert shared.problems() == []


def test_a_microphone_has_the_integers_of_the_reference(shared: Firefox) -> None:
    """Firefox gives the rate of the device, which the page brings to the model's."""
    plays = shared.run(
        "Promise.race([new AudioContext().resume().then(() => true),"
        " new Promise((done) => setTimeout(() => done(false), 20000))])"
    )
    if not plays:
        pytest.skip("Firefox has no loudspeaker: apt-get install pulseaudio")
    # what the microphone hums is no speech
    shared.run(
        "document.getElementById('alone').click(); readings.length = 0;"
        "document.getElementById('microphone').click()"
    )
    shared.wait("readings.length > 25 || document.getElementById('status').className")
    shared.run("document.getElementById('stop').click()")
    readings = shared.run("readings")
    samples = np.concatenate([reading["samples"] for reading in readings])
    assert len(readings) > 25 and np.std(samples) > 100
    wrong, compared = differing(readings, speech_alone=False)
    assert wrong == 0 and compared > 3 * 15
    assert shared.problems() == []


def test_a_file_that_is_no_sound_is_one_line(shared: Firefox, tmp_path: Path) -> None:
    path = tmp_path / "<img src=x onerror=alert(1)>.wav"
    path.write_bytes(b"no sound")
    shared.choose_file("#file", path)
    shared.wait("document.getElementById('status').className")
    told = shared.run("document.getElementById('status').textContent")
    assert told.startswith(f"{path.name}: ") and "cannot read it" in told
    assert shared.run("document.images.length") == 0
    assert shared.problems() == []
