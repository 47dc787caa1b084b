"""The page in a browser: the same integers as the reference, in every way to hear."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browser import Browser, find_browser

from wav2small import Decisions, Rule, Stream
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.model.speech import with_speech
from wav2small.live.page import make_page
from wav2small.live.wasm import WINDOW_SECONDS
from wav2small.models import find_onnx

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        find_browser() is None,
        reason="no Chromium is installed: apt-get install chromium",
    ),
]
LOOPS = 75
"""An hour of loops of 48 s."""
MODELS = ("wav2small-rt", "wav2small-rt-mini", "wav2small", "all outputs")
FAKE = "--use-fake-device-for-media-stream"
ALLOWED = "--use-fake-ui-for-media-stream"


@functools.cache
def full() -> Path:
    """A model with a detector of speech, categories and doubts, of random weights."""
    from test_export_further import made
    from test_export_speech import balanced

    name = "wav2small-rt-mini"
    model = with_speech(made(name), balanced(name))
    path = Path(tempfile.mkdtemp()) / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    models = {name: find_onnx(name) for name in MODELS[:3]}
    path.write_text(make_page({**models, MODELS[3]: full()}))
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
    if stream.schedule.detector is not None:
        stream.listen(speech_alone=True)
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


@pytest.mark.slow
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
    # of the worklet in the page the browser may tell or not
    assert {url.partition(":")[0] for url in shared.requests()} <= {"file", "data"}


def noise_that_comes_and_goes() -> np.ndarray:
    """Four seconds in which the detector of random weights says yes and no."""
    rng = np.random.default_rng(3)
    envelope = np.repeat(rng.uniform(0, 0.3, 40), 1600)
    samples = envelope * rng.normal(0, 1, 64000) * 32767
    return samples.clip(-32768, 32767).astype(np.int16)


def test_a_model_with_all_outputs_gives_those_of_the_reference(
    shared: Browser, tmp_path: Path
) -> None:
    choose(shared, "all outputs")
    readings = hear_file(shared, write_clip(tmp_path, noise_that_comes_and_goes()))
    stream = Stream(full())
    stream.forget(4)
    stream.listen(speech_alone=True)
    decisions = Decisions(stream.graph)
    known, spoken = 0, set()
    for reading in readings[:-1]:
        stream.push(np.array(reading["samples"], np.int16))
        assert reading["speech"] == stream.hears_speech
        spoken.add(stream.hears_speech)
        if reading["integers"] is None:
            continue
        known += 1
        integers = stream.latest_integers().reshape(-1)
        np.testing.assert_array_equal(integers, reading["integers"])
        decisions.hear(integers, 1600, speech=stream.hears_speech)
        if decisions.scores is None:
            assert reading.get("smooth") is None
            continue
        np.testing.assert_array_equal(decisions.scores, np.float32(reading["smooth"]))
        shares = list(stream.latest_categories().values())
        np.testing.assert_array_equal(np.array(reading["shares"]) / 2**15, shares)
        np.testing.assert_array_equal(
            np.float32(reading["doubts"]), stream.latest_doubts()
        )
    assert known > 10 and spoken == {True, False}
    facts = shared.run("document.getElementById('facts').textContent")
    assert "Speech" in facts and "Category" in facts
    table = shared.run("document.getElementById('now').textContent")
    assert table.count("\u00b1") == 3


def test_a_model_that_normalises_hears_the_last_seconds_anew(
    shared: Browser, data: Path, tmp_path: Path
) -> None:
    choose(shared, "wav2small")
    paths = sorted((data / "emodb" / "audio").glob("*.*"))[:4]
    samples = np.concatenate([soundfile.read(path, dtype="int16")[0] for path in paths])
    samples = samples[:95000]  # the last whole second is scored before the end
    readings = hear_file(shared, write_clip(tmp_path, samples))
    reference = ReferenceModel(find_onnx("wav2small"))
    output = reference.graph.output
    spans = {tuple(r["scored"]): r["integers"] for r in readings if r["scored"]}
    assert [end for _, end in spans] == [
        *range(16000, len(samples), 16000),
        len(samples),
    ]
    for (start, end), integers in spans.items():
        assert start == max(0, end - WINDOW_SECONDS * 16000)
        ours = reference.run(samples[start:end])[output]
        np.testing.assert_array_equal(ours.reshape(-1), integers)


def test_a_bundled_voice_plays_in_real_time(shared: Browser) -> None:
    choose(shared, "wav2small-rt-mini", at_once=False)
    shared.run("document.getElementById('play').click()")
    shared.wait("readings.at(-1)?.ended")
    readings = shared.run("readings")
    assert count_differing("wav2small-rt-mini", readings)[0] == 0
    assert 1.5 < len(heard(readings)) / 16000 < 6
    assert status(shared).endswith("heard to its end")


def test_settings_hold_for_what_is_heard_next(shared: Browser, tmp_path: Path) -> None:
    choose(shared, "wav2small-rt-mini")
    path = write_clip(tmp_path, np.zeros(32000, np.int16))
    slide(shared, forget=8, noise=-30)
    readings = hear_file(shared, path)
    slide(shared, forget=3, noise=-72)
    assert count_differing("wav2small-rt-mini", readings, None)[0] == 0
    level = 20 * np.log10(np.std(heard(readings) / 32768))
    assert abs(level + 30) < 1.5


def slide(browser: Browser, **places: float) -> None:
    """Move sliders as a user does."""
    for name, place in places.items():
        browser.run(
            f"{{ const input = document.getElementById('{name}');"
            f"input.value = {place}; input.dispatchEvent(new Event('input')); }} 1"
        )


def test_events_are_those_of_the_decisions(
    shared: Browser, data: Path, tmp_path: Path
) -> None:
    choose(shared, "wav2small-rt")
    slide(shared, smooth=0.5, high=0.7, low=0.3, least=0.4)
    paths = sorted((data / "emodb" / "audio").glob("03*"))[:8]
    samples = np.concatenate([soundfile.read(path, dtype="int16")[0] for path in paths])
    readings = hear_file(shared, write_clip(tmp_path, samples))
    shown = shared.run(
        "[...document.getElementById('log').children].map((line) => line.textContent)"
    )
    slide(shared, smooth=1, high=0.6, low=0.4, least=1)
    decisions = Decisions(Stream(find_onnx("wav2small-rt")).graph)
    decisions.smooth(0.5)
    for name in ("arousal", "dominance", "valence"):
        decisions.rule(f"high {name}", Rule(0.7, 0.65, 0.4))
        decisions.rule(f"low {name}", Rule(0.3, 0.35, 0.4))
    begun = set()
    for reading in readings[:-1]:
        if reading["integers"] is None:
            continue
        speech = bool(reading["speech"])
        decisions.hear(np.array(reading["integers"]), 1600, speech=speech)
        np.testing.assert_array_equal(decisions.scores, np.float32(reading["smooth"]))
        expected = [time if on else -1 for on, time in decisions.states()]
        assert reading["events"] == expected
        begun |= {event.name for event in decisions.events()}
    assert len(begun) > 1
    assert {line.partition(": ")[2] for line in shown} == begun


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("<img src=x onerror=alert(1)>.wav", b"RIFF", "cannot read it as sound"),
        ("\u202egnp.exe", b"", "cannot read it as sound"),
        ("half.wav", b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0", "cannot read it"),
        (
            "no channels.wav",
            b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\1\0\0\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0"
            b"data\4\0\0\0\0\0\0\0",
            "cannot read it",
        ),
    ],
)
def test_hostile_files_are_one_line(
    shared: Browser, tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    choose(shared, "wav2small-rt")
    path = tmp_path / name
    path.write_bytes(content)
    assert hear_file(shared, path) == []
    shown = name.replace("\u202e", "\\u202e")
    assert status(shared).startswith(f"{shown}: ") and expected in status(shared)
    assert shared.run("document.images.length") == 0
    assert shared.problems() == []


def listen(browser: Browser, seconds: float) -> list[dict[str, Any]]:
    """Hear the microphone for some seconds."""
    browser.run("document.getElementById('microphone').click()")
    browser.wait(
        f"readings.length > {10 * seconds}"
        " || document.getElementById('status').className"
    )
    browser.run("document.getElementById('stop').click()")
    return list(browser.run("readings"))


def test_a_microphone_gives_the_integers_of_the_reference(
    tmp_path: Path, data: Path, page: str
) -> None:
    paths = sorted((data / "emodb" / "audio").glob("*.*"))
    clips = [
        soundfile.read(path, dtype="int16")[0][4000:16000]
        for path in paths[:: len(paths) // 20][:20]
    ]
    path = write_clip(tmp_path, np.concatenate(clips))
    capture = f"--use-file-for-fake-audio-capture={path}%noloop"
    with Browser(tmp_path / "browser", FAKE, ALLOWED, capture) as browser:
        opened(browser, page)
        readings = listen(browser, 15)
        assert status(browser) == "Stopped"
        assert browser.problems() == []
    assert len(heard(readings)) > 15 * 16000
    assert np.std(heard(readings)[16000:]) > 100
    differing, compared = count_differing("wav2small-rt", readings)
    assert differing == 0 and compared > 3 * 100


@pytest.mark.parametrize("rate", [44100, 48000])
def test_a_browser_that_cannot_resample_the_microphone(
    tmp_path: Path, page: str, rate: int
) -> None:
    time = np.arange(4 * 48000) / 48000
    tones = 8000 * (np.sin(2e3 * np.pi * time) + np.sin(20e3 * np.pi * time))
    path = write_clip(tmp_path, tones.astype(np.int16), 48000)
    capture = f"--use-file-for-fake-audio-capture={path}"
    with Browser(tmp_path / "browser", FAKE, ALLOWED, capture) as browser:
        opened(browser, page)
        # as Firefox: a microphone needs a context of the rate of the device
        browser.run(
            "const Source = MediaStreamAudioSourceNode, Context = AudioContext;"
            "window.MediaStreamAudioSourceNode = class {"
            " constructor(context, options) {"
            "  if (context.sampleRate === 16000)"
            "    throw new DOMException('', 'NotSupportedError');"
            "  return new Source(context, options); } };"
            "window.AudioContext = class { constructor(options) {"
            f"  return new Context({{ sampleRate: {rate}, ...options }}); }} }}; 1"
        )
        readings = listen(browser, 2.5)
        assert browser.problems() == []
    samples = heard(readings)[-16384:] / 32768
    power = np.abs(np.fft.rfft(samples * np.hanning(16384))) ** 2
    frequency = np.fft.rfftfreq(16384, 1 / 16000)
    # the tone of 10 kHz would come back at 6 kHz
    near = {f: power[np.abs(frequency - f) < 100].sum() for f in (1000, 6000)}
    assert near[1000] > 0.95 * power.sum()
    assert near[6000] < 1e-6 * near[1000]
    assert count_differing("wav2small-rt", readings)[0] == 0


def test_a_microphone_that_is_denied_or_not_there_is_one_line(
    tmp_path: Path, page: str
) -> None:
    with Browser(tmp_path / "a", FAKE, "--deny-permission-prompts") as browser:
        assert listen(opened(browser, page), 1) == []
        assert status(browser).startswith("Microphone: the microphone was not allowed")
        assert browser.problems() == []
    with Browser(tmp_path / "b", ALLOWED) as browser:
        assert listen(opened(browser, page), 1) == []
        assert status(browser).startswith("Microphone: there is no microphone")
        assert browser.problems() == []


def test_a_microphone_that_is_unplugged_is_one_line(tmp_path: Path, page: str) -> None:
    with Browser(tmp_path, FAKE, ALLOWED) as browser:
        opened(browser, page)
        browser.run(
            "const devices = navigator.mediaDevices;"
            "const ask = devices.getUserMedia.bind(devices);"
            "devices.getUserMedia = async (wanted) =>"
            " window.stream = await ask(wanted); 1"
        )
        browser.run("document.getElementById('microphone').click()")
        browser.wait("readings.length > 3")
        browser.run("stream.getTracks()[0].dispatchEvent(new Event('ended'))")
        browser.wait("document.getElementById('status').className")
        assert "unplugged" in status(browser)
        assert browser.run("document.getElementById('stop').disabled")
        # and again
        browser.run("readings.length = 0")
        browser.run("document.getElementById('microphone').click()")
        browser.wait("readings.length > 3")
        assert status(browser) == "Microphone: listening"


def test_a_tab_in_the_background_goes_on_hearing(tmp_path: Path, page: str) -> None:
    with Browser(tmp_path, FAKE, ALLOWED) as browser:
        opened(browser, page)
        browser.run("document.getElementById('microphone').click()")
        browser.wait("readings.length > 3")
        browser.call("Target.createTarget", url="about:blank")
        browser.wait("document.hidden")
        count = browser.run("readings.length")
        browser.wait(f"readings.length > {count + 20}")
        readings = browser.run("readings")
    heard_at = [reading["heard"] for reading in readings]
    assert heard_at == [1600 * (number + 1) for number in range(len(heard_at))]
    assert count_differing("wav2small-rt", readings)[0] == 0


@pytest.mark.parametrize(("width", "scale"), [(320, 2), (1280, 1), (3840, 1)])
def test_a_page_fits_its_width(
    shared: Browser, tmp_path: Path, width: int, scale: int
) -> None:
    choose(shared, "all outputs")  # whose scores are the widest
    hear_file(shared, write_clip(tmp_path, noise_that_comes_and_goes()))
    shared.wait("document.getElementById('now').textContent.includes('\u00b1')")
    shared.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=width * 3 // 4,
        deviceScaleFactor=scale,
        mobile=False,
    )
    assert shared.run("document.documentElement.scrollWidth <= innerWidth")
    shared.wait(f"document.getElementById('view').width > {width * scale // 3}")
    smallest = shared.run(
        "Math.min(...[...document.querySelectorAll('button, select')]"
        ".map((element) => element.getBoundingClientRect().height))"
    )
    shared.call("Emulation.clearDeviceMetricsOverride")
    assert smallest >= 40


def test_everything_has_a_name_and_can_be_reached_by_keys(shared: Browser) -> None:
    choose(shared, "wav2small-rt-mini")
    tree = shared.call("Accessibility.getFullAXTree")["nodes"]
    found: dict[str, list[str]] = {}
    for node in tree:
        if not node["ignored"]:
            name = node.get("name", {}).get("value", "")
            found.setdefault(node["role"]["value"], []).append(name)
    for role in ("button", "combobox", "slider", "checkbox", "meter", "image"):
        assert found[role] and all(found[role]), role
    assert "status" in found and "log" in found
    reached = []
    shared.run("document.activeElement.blur()")
    for _ in range(40):
        for kind in ("keyDown", "keyUp"):
            shared.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key="Tab",
                code="Tab",
                windowsVirtualKeyCode=9,
            )
        reached.append(shared.run("document.activeElement.id"))
    expected = shared.run(
        "[...document.querySelectorAll('button, select, input')]"
        ".filter((element) => !element.disabled && element.offsetParent)"
        ".map((element) => element.id)"
    )
    assert set(expected) <= set(reached)
    shared.run("document.getElementById('play').focus()")
    shared.call(
        "Input.dispatchKeyEvent",
        type="keyDown",
        key="Enter",
        code="Enter",
        text="\r",
        windowsVirtualKeyCode=13,
    )
    shared.wait("readings.at(-1)?.ended")


def test_three_calm_voices_become_neutral(tmp_path: Path, page: str) -> None:
    with Browser(tmp_path, FAKE, ALLOWED) as browser:
        opened(browser, page)
        # what the fake microphone beeps is no speech
        browser.run("document.getElementById('alone').click()")
        slide(browser, smooth=0)
        browser.run("document.getElementById('microphone').click()")
        for number in (1, 2, 3):
            calm = "document.getElementById('calm')"
            browser.wait(f"!{calm}.disabled && {calm}.textContent.includes('{number}')")
            browser.run(f"{calm}.click()")
        browser.wait("!document.getElementById('anyone').disabled")
        count = browser.run("readings.length")
        browser.wait(f"readings.length > {count + 5}")
        readings = browser.run("readings")
    step = 2**-23
    raw = np.array([r["integers"] for r in readings if r["integers"]]) * step
    now = np.array(readings[-1]["smooth"])
    offsets = now - raw[-1]
    # the beeps of the fake microphone sound the same again and again
    np.testing.assert_allclose(
        offsets[:2], 0.75 * (0.5 - np.median(raw[10:], axis=0)[:2]), atol=0.06
    )
    assert abs(offsets[2]) <= 2**-14
    assert abs(offsets[:2]).max() > 0.01


@pytest.mark.slow
def test_an_hour_at_once_neither_drifts_nor_grows(
    shared: Browser, data: Path, tmp_path: Path
) -> None:
    paths = sorted((data / "emodb" / "audio").glob("*.*"))
    samples = np.concatenate([soundfile.read(p, dtype="int16")[0] for p in paths[:30]])
    loop = samples[: 48 * 16000]
    choose(shared, "wav2small-rt")
    shared.run(
        "window.ends = []; window.count = 0; window.readings = { push(reading) {"
        "  this.last = reading;"
        "  if (++count % 480 === 0) ends.push(reading.integers); } }; 1"
    )
    shared.choose_file("#file", write_clip(tmp_path, np.tile(loop, LOOPS)))
    sizes = []
    for wanted in (LOOPS // 3, LOOPS):
        shared.wait(f"ends.length >= {wanted}", 500)
        shared.call("HeapProfiler.collectGarbage")
        metrics = shared.call("Performance.getMetrics")["metrics"]
        sizes += [m["value"] for m in metrics if m["name"] == "JSHeapUsedSize"]
    shared.wait("readings.last.ended")
    ends = np.array(shared.run("ends"))
    shared.run("window.readings = []")
    assert len(ends) == LOOPS
    # after a warm-up the phase of the ramp alone is another at each end, and then the
    # rounding: 300 steps are .000036
    steady = ends[7 : LOOPS - 1]
    assert np.ptp(steady, axis=0).max() <= 300
    early, late = (half.mean(axis=0) for half in np.array_split(steady, 2))
    assert np.abs(early - late).max() <= 10
    # 24,000 rows of the table came between
    assert sizes[1] < sizes[0] + 6 * 2**20
