"""The main job in Python."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from waves import tone

import wav2small
from wav2small import clips
from wav2small.annotation import store
from wav2small.api.exporting import read_calibration
from wav2small.api.steps import Report
from wav2small.bundled import DEMO
from wav2small.errors import LeftOutWarning
from wav2small.export import package

ROOT = Path(__file__).parent.parent
QUICKSTART = ROOT / "examples" / "quickstart.py"


def test_the_readme_holds_the_quickstart() -> None:
    text = (ROOT / "README.md").read_text()
    block = text.partition("```python\n")[2].partition("```")[0]
    assert block == QUICKSTART.read_text()
    assert len(block.splitlines()) <= 12


@pytest.mark.slow
def test_the_quickstart_ends_in_fits(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, QUICKSTART], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *windows, verdict = done.stdout.splitlines()
    assert verdict == "fits"
    assert [window.split()[2] for window in windows] == ["speech"]
    metadata = wav2small.load(tmp_path / "model").metadata  # type: ignore[union-attr]
    assert metadata["licence"] == "Apache-2.0"
    assert '"teacher":"bundled"' in metadata["provenance"]


def test_every_public_name_is_there() -> None:
    for name in wav2small.__all__:
        assert getattr(wav2small, name) is not None
    assert set(dir(wav2small)) == set(wav2small.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        wav2small.nothing  # noqa: B018


def test_public_names_are_typed() -> None:
    tree = ast.parse((ROOT / "wav2small" / "__init__.py").read_text())
    typed = {
        alias.asname or alias.name
        for block in tree.body
        if isinstance(block, ast.If)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed | {"__version__"} == set(wav2small.__all__)
    assert (ROOT / "wav2small" / "py.typed").exists()


def test_import_is_light() -> None:
    code = (
        "import sys, wav2small; wav2small.DistillConfig; print({'numpy', 'torch', "
        "'onnx', 'onnxruntime', 'typer', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


@pytest.mark.parametrize("told", ["", "ACTIVE"])
def test_threads_that_wait_do_not_spin_unless_told(told: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if told:
        environment["OMP_WAIT_POLICY"] = told
    code = "import wav2small, os, torch; print(torch.__config__.parallel_info())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"OMP_DISPLAY_ENV": "true"},
        capture_output=True,
        text=True,
        check=True,
    )
    # libgomp says what it has understood when torch loads it
    assert f"OMP_WAIT_POLICY = '{told or 'PASSIVE'}'" in done.stderr


def test_no_name_is_a_module_and_a_function() -> None:
    modules = {
        path.stem if path.is_file() else path.name
        for path in (ROOT / "wav2small").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert not modules & set(wav2small.__all__)


def test_labels_of_a_recording(tmp_path: Path) -> None:
    labels = wav2small.annotate(DEMO.parent / "de_f2_p08_r103_031.opus", tmp_path / "l")
    assert len(labels) == 1
    assert labels.teacher["licence"] == "Apache-2.0"
    with pytest.raises(wav2small.InputError, match="labels"):
        wav2small.annotate(DEMO.parent / "de_f2_p08_r103_031.opus", tmp_path / "l")


def test_annotate_and_distill_report_progress(tmp_path: Path) -> None:
    reports: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int, figures: object = None) -> None:
        reports.append((stage, done, total))

    files = sorted(DEMO.parent.glob("*.opus"))[:6]
    wav2small.annotate(files, tmp_path / "l", progress=progress)
    assert reports[-1] == ("annotate", 6, 6)
    config = wav2small.DistillConfig(
        student="wav2small-rt-mini",
        teaching="cached",
        epochs=1,
        batch_size=2,
        crop_seconds=0.5,
        evaluations=1,
    )
    wav2small.distill(tmp_path / "l", tmp_path / "r", config=config, progress=progress)
    assert [stage for stage, done, total in reports if done == total][-3:] == [
        "decode",
        "train",
        "dev",
    ]


def test_silent_recordings_give_no_labels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(16, np.float32), 16000)
    with pytest.raises(wav2small.InputError, match="at least one label, got none of 1"):
        wav2small.annotate(tmp_path / "short.wav", tmp_path / "l")


def test_the_bench_says_what_it_found() -> None:
    report = wav2small.bench("wav2small-rt-mini", ram=16 * 1024)
    assert report.verdict == "fits"
    assert "fits" in str(report)
    assert report._repr_markdown_().startswith("#")
    assert wav2small.bench("wav2small-rt-mini", ram=1024).verdict == "does not fit"
    assert Report({"fits": None}).verdict == "not checked"


def test_predictions_name_the_file() -> None:
    path = DEMO.parent / "de_f2_p08_r103_031.opus"
    (window,) = wav2small.predict(path)
    assert window.file == str(path)
    assert window.kind == "speech"


def test_an_export_that_fails_leaves_its_report(tmp_path: Path) -> None:
    config = wav2small.ExportConfig(max_bytes=5000, tune_steps=0)
    few = sorted(DEMO.parent.glob("*.opus"))[:4]
    made = wav2small.export_model("wav2small", tmp_path, config=config, calibration=few)
    assert made.result.failures
    assert made.paths == (tmp_path / "export.md",)
    assert not (tmp_path / package.MODEL_FILE).exists()
    config = wav2small.ExportConfig(window=10)
    with pytest.raises(wav2small.InputError, match="window must be at least"):
        wav2small.export_model("wav2small", tmp_path, config=config)


def test_nothing_is_calibrated_on_the_split_test(tmp_path: Path) -> None:
    lines = ["file,speaker,split"]
    for number, split in enumerate(["train", "Test1", "dev", "validation", "test", ""]):
        for take in range(2):
            name = f"{number}{take}.wav"
            seconds = 0.5 if "est" in split else 0.25
            soundfile.write(tmp_path / name, tone(seconds), 16000)
            lines.append(f"{name},s{number},{split}")
    manifest = tmp_path / "m.csv"
    manifest.write_text("\n".join(lines))
    with pytest.warns(LeftOutWarning, match="4 of 12 clips are of the split test"):
        signals = read_calibration(manifest)
    assert [len(signal) for signal in signals] == [4000] * 8
    only = [lines[0], *(line for line in lines if "est" in line.split(",")[2])]
    manifest.write_text("\n".join(only))
    with (
        pytest.warns(LeftOutWarning),
        pytest.raises(wav2small.InputError, match="not of the split test, got 0: name"),
    ):
        read_calibration(manifest)


def test_labels_and_clips_are_read_under_short_names() -> None:
    """Names that users' scripts have imported since the first version."""
    from wav2small.data import Clips, decode_labels, read_noises
    from wav2small.labels import Labels, LabelStore

    assert (Clips, decode_labels) == (clips.Clips, clips.decode_labels)
    assert read_noises is clips.read_noises
    assert (LabelStore, Labels) == (store.LabelStore, store.Labels)
