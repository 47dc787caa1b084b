"""The suite from the command line, by a real model on bundled speech."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from wav2small import audio, cli
from wav2small.annotation.store import LabelStore
from wav2small.bundled import DEMO as MANIFEST
from wav2small.export.base.files import sha256
from wav2small.models import load_model

RUNNER = CliRunner()
DEMO = MANIFEST.parent
SCHEMA = json.loads(
    resources.files("wav2small").joinpath("assets/suite.schema.json").read_text()
)


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> Path:
    """Labels of two languages by the model that is tested: it agrees with itself."""
    folder = tmp_path_factory.mktemp("labels") / "labels"
    teacher = {
        "name": "itself",
        "revision": "1",
        "licence": "Apache-2.0",
        "training_data": "",
    }
    store = LabelStore.create(folder, {"root": str(DEMO), "teacher": teacher})
    model = load_model("wav2small")
    rows = []
    for path in [*sorted(DEMO.glob("de_*"))[:10], *sorted(DEMO.glob("en_*"))[:10]]:
        signal = audio.load(path)
        arousal, dominance, valence = map(float, model.predict([signal])[0])
        rows.append(
            {
                "file": path.name,
                "start": 0.0,
                "end": len(signal) / 16000,
                "arousal": arousal,
                "dominance": dominance,
                "valence": valence,
                "teacher": "itself",
                "licence": "Apache-2.0",
                "sha256": sha256(path),
                "language": path.name[:2],
            }
        )
    store.append(rows, [])
    return folder


def run(*arguments: object) -> str:
    result = RUNNER.invoke(cli.app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.slow
def test_suite_writes_page_and_json(labels, tmp_path):
    noise = tmp_path / "noise" / "Rain"
    noise.mkdir(parents=True)
    signal = np.random.default_rng(0).normal(size=8000) * 0.1
    soundfile.write(noise / "a.wav", signal, 16000)
    page, figures = tmp_path / "out" / "page.html", tmp_path / "out" / "figures.json"
    text = run(
        "wav2small", labels, "--suite", "--clips", 2,
        "--noise", noise.parent, "--speech", DEMO,
        "--html", page, "--json", figures,
    )  # fmt: skip
    assert text.endswith(f"{page}\n")
    assert "<h2>Robustness" in page.read_text()
    report = json.loads(figures.read_text())
    jsonschema.validate(report, SCHEMA)
    assert report["about"]["model"] == "wav2small"
    assert report["about"]["teacher of the labels"] == "itself 1"
    assert report["settings"]["robustness_clips"] == 2
    values = {
        (test["name"], test["figure"], test["dimension"]): test["value"]
        for test in report["tests"]
    }
    assert values["all clips", "CCC", "arousal"] == pytest.approx(1, abs=1e-4)
    assert ("babble at 20 dB", "share unchanged", "valence") in values
    assert ("recordings: Rain", "share strong, model alone", "arousal") in values
    assert ("language", "difference of mean error", "arousal") in values
    assert "music at 20 dB" in text


def test_a_teacher_can_be_evaluated(labels):
    text = run("bundled", labels)
    assert text.startswith("bundled against teacher")


@pytest.mark.parametrize(
    "option",
    [("--noise", "x"), ("--speech", "x"), ("--html", "x"), ("--clips", "3")],
)
def test_options_of_the_suite_need_it(labels, option):
    result = RUNNER.invoke(cli.app, ["evaluate", "wav2small", str(labels), *option])
    assert result.exit_code == 2
    assert "need --suite" in result.output


def test_the_picture_is_in_the_page(labels):
    result = RUNNER.invoke(
        cli.app, ["evaluate", "wav2small", str(labels), "--suite", "--picture", "x.png"]
    )
    assert result.exit_code == 2
    assert "--picture excludes --suite" in result.output
