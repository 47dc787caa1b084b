"""Runs that are killed at each call with which they change their folder.

``examples/kills.py`` does the same to whole runs, and at random moments.
"""

from __future__ import annotations

import importlib.util
import os
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from ears import Ear

from wav2small import checkpoint
from wav2small.annotation.run import AnnotateConfig, annotate
from wav2small.clips import Clips
from wav2small.export import package
from wav2small.export.base.files import (
    atomic_folder,
    atomic_write,
    claim,
    recover_folder,
    remove_folder,
    replace_file,
)
from wav2small.finetune.labelling.words import annotate_by_words
from wav2small.teachers.base import TeacherInfo

PATH = Path(__file__).parent.parent / "examples" / "kills.py"
SPEC = importlib.util.spec_from_file_location("kills", PATH)
assert SPEC
assert SPEC.loader
kills = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(kills)

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="this system cannot fork"
)

WEIGHTS = {"a": np.arange(6.0)}


def write_file(folder: Path) -> None:
    with claim(folder):
        for text in (b"one", b"two"):
            with atomic_write(folder / "a") as file:
                file.write(text)


def write_folder(folder: Path) -> None:
    with claim(folder):
        for text in ("one", "two"):
            with atomic_folder(folder / "a") as fresh:
                (fresh / "b").write_text(text)


def save_checkpoints(folder: Path) -> None:
    """As a run does that is resumed: on from the last step that it saved."""
    with claim(folder):
        recover_folder(folder / "last")
        step = 0
        if (folder / "last").exists():
            step = checkpoint.load(folder / "last")[1]["step"]
        for number in range(step + 1, 3):
            state = {"training": {"m": np.full(3, number)}}
            checkpoint.save(folder / "last", WEIGHTS, {"step": number}, extra=state)


def overwrite_checkpoint(folder: Path) -> None:
    with claim(folder):
        checkpoint.save(folder / "last", WEIGHTS, {"step": 1})
        remove_folder(folder / "last")
        checkpoint.save(folder / "last", WEIGHTS, {"step": 2})


def label(audio: Path, folder: Path) -> None:
    config = AnnotateConfig(batch_seconds=4.0, shard_files=2)
    annotate([audio], folder, Ear(), config=config, resume=True)


def ask(audio: Path, folder: Path) -> None:
    info = TeacherInfo("reader", "1", "MIT", "unknown")
    reply = '{"arousal": 0.25, "dominance": 0.5, "valence": 1}'
    annotate_by_words([audio], folder, lambda text: reply, info, resume=True)


def decode(audio: Path, folder: Path) -> None:
    with claim(folder, "clips"):
        sources = [(path, 0.0, 0.2) for path in sorted(audio.glob("*.wav"))]
        clips, errors = Clips.decode(sources, folder / "clips")
        assert (len(clips), errors) == (2, [])


MODEL = onnx.parser.parse_model(
    """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, 2] signal) => (float[1, 2] logits) { logits = Abs(signal) }"""
).SerializeToString()


def export(folder: Path) -> None:
    with claim(folder, "c99"):
        if not (folder / package.MODEL_FILE).exists():
            (folder / "c99").mkdir(exist_ok=True)
            replace_file(folder / "c99" / "wav2small.c", b"int x;")
            package.write(MODEL, folder, labels=["arousal", "valence"])


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "audio"
    kills.make_corpus(folder, 2)
    return folder


@pytest.mark.parametrize(
    ("work", "least"),
    [
        (write_file, 8),
        (write_folder, 15),
        pytest.param(save_checkpoints, 20, marks=pytest.mark.slow),
        pytest.param(overwrite_checkpoint, 15, marks=pytest.mark.slow),
        (export, 10),
        pytest.param(label, 10, marks=pytest.mark.slow),
        pytest.param(ask, 10, marks=pytest.mark.slow),
        (decode, 8),
    ],
)
def test_a_kill_at_each_call_costs_nothing(
    work: kills.Work, least: int, audio: Path, tmp_path: Path
) -> None:
    if work in (label, ask, decode):
        work = partial(work, audio)
    work(tmp_path / "warm")  # what is imported here is not imported in each process
    calls, troubles = kills.sweep(work, tmp_path / "runs")
    assert troubles == []
    assert calls >= least


def test_a_save_that_is_not_atomic_is_found(tmp_path: Path) -> None:
    def careless(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        if not (folder / "a").exists():
            with (folder / "a").open("w") as file:
                os.fsync(file.fileno())
                file.write("whole")

    calls, troubles = kills.sweep(careless, tmp_path / "runs")
    assert calls == 3
    assert troubles == ["call 3: other bytes: ['a']"]
