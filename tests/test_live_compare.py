"""The page beside onnxruntime: the same samples, and the difference."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
from browser import Browser, find_browser

from wav2small.export.integer.reference import ReferenceModel
from wav2small.live.page import make_page
from wav2small.live.runtime import pack_runtime
from wav2small.models import bundled, find_onnx

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        find_browser() is None,
        reason="no Chromium is installed: apt-get install chromium",
    ),
]
PACKAGE = "onnxruntime-web-1.30.0"


@pytest.fixture(scope="module")
def folder(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder with a page of the bundled models and its second file."""
    assert pytestconfig.cache is not None
    packages = pytestconfig.cache.mkdir("onnxruntime-web")
    package = packages / f"{PACKAGE}.tgz"
    if not package.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("npm is not installed: apt-get install npm")
        name, _, version = PACKAGE.rpartition("-")
        done = subprocess.run(
            [npm, "pack", f"{name}@{version}", "--silent"],
            cwd=packages,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"npm gave no {name}: {done.stderr[-200:]}")
    folder = tmp_path_factory.mktemp("page")
    models = {name: find_onnx(name) for name in bundled()}
    runtime = pack_runtime(package, models)
    (folder / "page.onnxruntime").write_bytes(runtime.packed)
    (folder / "page.html").write_text(
        make_page(models, runtime=("page.onnxruntime", runtime))
    )
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        browser.open((folder / "page.html").as_uri())
        browser.run(
            "window.compared = []; window.ends = 0;"
            "document.addEventListener('compared', (e) => compared.push(e.detail));"
            "document.addEventListener('reading', (e) => ends += e.detail.ended); 1"
        )
        yield browser


def status(browser: Browser) -> str:
    return str(browser.run("document.getElementById('status').textContent"))


def test_another_file_is_never_run(
    shared: Browser, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "page.onnxruntime"
    path.write_bytes((folder / "page.onnxruntime").read_bytes() + b"\0")
    shared.choose_file("#runtime", path)
    shared.wait("document.getElementById('status').className")
    assert "its checksum is another" in status(shared)
    assert shared.run("document.getElementById('compared').hidden")


def test_onnxruntime_hears_the_same(
    shared: Browser, folder: Path, tmp_path: Path, data: Path
) -> None:
    shared.choose_file("#runtime", folder / "page.onnxruntime")
    shared.wait("!document.getElementById('compared').hidden", 120)
    assert "1.30.0 hears the same" in status(shared)
    paths = sorted((data / "emodb" / "audio").glob("*.*"))[:3]
    samples = np.concatenate([soundfile.read(path, dtype="int16")[0] for path in paths])
    path = tmp_path / "clip.wav"
    soundfile.write(path, samples, 16000, subtype="PCM_16")
    last = samples[-64000:]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel(0)
    for number, name in enumerate(bundled()):
        shared.run(
            "{ document.getElementById('speed').checked = true;"
            "const select = document.getElementById('model');"
            f"select.value = {number}; select.dispatchEvent(new Event('change'));"
            "window.compared = []; ends = 0 } 1"
        )
        shared.choose_file("#file", path)
        shared.wait("ends")
        shared.wait("compared.length", 120)
        found = shared.run(
            "new Promise((done) => setTimeout(() => done(compared.at(-1)), 2000))"
        )
        reference = ReferenceModel(find_onnx(name))
        output = reference.graph.tensors[reference.graph.output]
        integers = reference.run(last)[reference.graph.output].reshape(-1)
        exact = (integers - float(output.zero_point)) * float(output.scale)
        np.testing.assert_allclose(found["ours"], exact, atol=1e-7)
        session = onnxruntime.InferenceSession(str(find_onnx(name)), options)
        signal = last[None].astype(np.float32) / 32768
        plain = session.run(["logits"], {"signal": signal})[0]
        np.testing.assert_allclose(found["theirs"], plain.reshape(-1), atol=2e-3)
        shown = shared.run("document.getElementById('difference').textContent")
        assert shown.startswith("Largest difference of ")
    assert shared.problems() == []
    assert {url.partition(":")[0] for url in shared.requests()} <= {"file", "data"}


def test_the_toggle_ends_it(shared: Browser) -> None:
    shared.run("document.getElementById('compare').click()")
    assert shared.run("document.getElementById('compared').hidden")
    pressed = "document.getElementById('compare').getAttribute('aria-pressed')"
    assert shared.run(pressed) == "false"
    shared.run("document.getElementById('compare').click()")
    assert shared.run(pressed) == "true"
