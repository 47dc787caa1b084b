from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "wav2small" / "assets" / "demo"
SCRIPT = ROOT / "examples" / "make_demo_audio.py"

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    with (FOLDER / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def signals(rows: Rows) -> dict[str, np.ndarray]:
    signals = {}
    for row in rows:
        path = FOLDER / row["file"]
        information = soundfile.info(path)
        assert information.samplerate == 16000
        assert information.channels == 1
        assert (information.format, information.subtype) == ("OGG", "OPUS")
        signals[row["file"]], _ = soundfile.read(path, dtype="float32")
    return signals


def test_manifest_lists_every_file_once(rows: Rows) -> None:
    listed = [row["file"] for row in rows]
    assert len(set(listed)) == len(listed)
    assert set(listed) == {path.name for path in FOLDER.glob("*.opus")}
    columns = ["file", "speaker", "language", "gender", "text", "split"]
    assert list(rows[0]) == columns
    assert all(value for row in rows for value in row.values())


def test_counts(rows: Rows) -> None:
    assert 150 <= len(rows) <= 200
    assert len({row["language"] for row in rows}) >= 5
    assert {row["gender"] for row in rows} == {"female", "male"}
    assert {row["split"] for row in rows} == {"train", "test"}
    test = sum(row["split"] == "test" for row in rows)
    assert 0.15 <= test / len(rows) <= 0.25


def test_size() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 3_000_000


@pytest.mark.parametrize("column", ["speaker", "text"])
def test_splits_are_disjoint(rows: Rows, column: str) -> None:
    train, test = (
        {row[column] for row in rows if row["split"] == split}
        for split in ("train", "test")
    )
    assert train.isdisjoint(test)


def test_durations(signals: dict[str, np.ndarray]) -> None:
    seconds = np.array([len(signal) for signal in signals.values()]) / 16000
    assert seconds.min() >= 1.9
    assert seconds.max() <= 4.1
    assert 6 <= seconds.sum() / 60 <= 8


def test_signals_are_whole(signals: dict[str, np.ndarray]) -> None:
    for name, signal in signals.items():
        assert np.isfinite(signal).all(), name
        assert np.abs(signal).max() < 0.99, name  # no clipping
        level = 10 * np.log10(np.mean(signal**2))
        assert -45 < level < -10, name  # no near-silence
        assert abs(signal.mean()) < 0.01, name


def test_levels_vary(signals: dict[str, np.ndarray]) -> None:
    levels = [10 * np.log10(np.mean(signal**2)) for signal in signals.values()]
    assert np.percentile(levels, 90) - np.percentile(levels, 10) > 15


def test_licence_and_origin_are_stated() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for word in ("CC0-1.0", "espeak-ng 1.", "GPL-3.0", SCRIPT.name):
        assert word in readme


def test_plan_is_what_the_manifest_lists(rows: Rows) -> None:
    specification = importlib.util.spec_from_file_location("make_demo_audio", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["make_demo_audio"] = module  # dataclasses look their module up
    try:
        specification.loader.exec_module(module)
        planned = [(clip.text, clip.split) for clip in module.plan()]
        # POSIX cksum is the same code, inverted: its check value is 0x765E7680
        assert module.ogg_checksum(b"123456789") == 0x89A1897F
    finally:
        del sys.modules["make_demo_audio"]
    assert planned == [(row["text"], row["split"]) for row in rows]


def test_script_names_what_is_missing(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "demo"],
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path)},
    )
    assert result.returncode == 2
    assert "apt-get install espeak-ng" in result.stderr
    assert not (tmp_path / "demo").exists()
