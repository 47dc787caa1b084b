"""Variations that a teacher scores once, and students that then need no teacher."""

from __future__ import annotations

import importlib.util
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import ears
import numpy as np
import psutil
import pyarrow.parquet
import pytest
import soundfile
from ears import Ear, Reader

from wav2small import audio, augment, checkpoint
from wav2small.annotation.engines import Processes
from wav2small.annotation.run import annotate
from wav2small.annotation.store import LabelStore
from wav2small.annotation.varied import VariationStore
from wav2small.annotation.worker import WorkerLimits
from wav2small.clips import Clips, LateClips
from wav2small.config import (
    AnnotateConfig,
    AugmentConfig,
    DistillConfig,
    VariationConfig,
)
from wav2small.distillation import distill
from wav2small.errors import InputError
from wav2small.teachers.loading import load_teacher

LIMITS = WorkerLimits(seconds=60)
ANNOTATE = AnnotateConfig(window_seconds=1.0, shard_files=8)
VARIED = VariationConfig(count=3, crop_seconds=0.3)
FAST = DistillConfig(
    student="wav2small-17k",
    variations=3,
    epochs=4,
    batch_size=4,
    crop_seconds=0.3,
    evaluations=2,
)


def corpus(folder: Path, count: int = 12) -> Path:
    """Recordings of changing noise and their manifest, two of them test."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = ["file,speaker,gender,text,split"]
    for item in range(count):
        kind = ("wav", "flac", "ogg")[item % 3]
        noise = rng.normal(size=round(16000 * rng.uniform(0.4, 1.4))).cumsum()
        noise *= 0.4 / np.abs(noise).max()
        soundfile.write(folder / f"{item:02}.{kind}", noise, 16000)
        gender = ("female", "male")[item // 2 % 2]
        split = "test" if item >= count - 2 else "train"
        words = "no " * item
        lines.append(f"{item:02}.{kind},s{item // 2},{gender},{words},{split}")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return folder / "m.csv"


def noise(folder: Path) -> Path:
    folder.mkdir()
    hum = np.random.default_rng(9).normal(size=16000) * 0.1
    soundfile.write(folder / "hum.wav", hum, 16000)
    return folder


def label(table: Path, out: Path, teacher=None, **options) -> None:
    options = {"config": ANNOTATE, "variations": VARIED, **options}
    annotate([table], out, teacher or Ear(), **options)


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_rows_are_what_the_teacher_says_of_the_crops_of_training(tmp_path):
    table = corpus(tmp_path / "audio")
    label(table, tmp_path / "labels", noise=noise(tmp_path / "noise"))
    store = LabelStore.open(tmp_path / "labels")
    read = store.read()
    # the crops by another way: clips decoded into one file, and the public generator
    places = list(zip(read.names, read.starts, read.ends, strict=True))
    clips, _ = Clips.decode(
        [(store.root / name, a, b) for name, a, b in places], tmp_path / "clips"
    )
    hum = [audio.load(tmp_path / "noise" / "hum.wav")]
    rows = pyarrow.parquet.read_table(tmp_path / "labels/variations/shards").to_pylist()
    learned = [i for i, split in enumerate(read.metadata["split"]) if split != "test"]
    assert len(rows) == 3 * len(learned)
    assert len({row["recipe"] for row in rows}) == 1
    assert {row["variation"] for row in rows} == {0, 1, 2}
    mixed = 0
    for row in rows:
        item = places.index((row["file"], row["start"], row["end"]))
        rng = np.random.default_rng([0, item, row["variation"]])
        crop = augment.vary(clips, item, 4800, rng, AugmentConfig(), hum)
        wanted = Ear().predict([crop])[0]
        found = [row[name] for name in ("arousal", "dominance", "valence")]
        np.testing.assert_array_equal(np.array(found, np.float32), wanted)
        mixed += not np.array_equal(wanted, Ear().predict([clips[item]])[0])
    assert mixed == len(rows)


@pytest.mark.parametrize("name", ["bundled", "reader"])
def test_weights_are_those_of_online_teaching(tmp_path, name):
    teacher = Reader() if name == "reader" else load_teacher("bundled")
    table, sounds = corpus(tmp_path / "audio"), noise(tmp_path / "noise")
    label(table, tmp_path / "plain", teacher, variations=None)
    label(table, tmp_path / "varied", teacher, noise=sounds)
    distill(
        tmp_path / "plain", tmp_path / "online", FAST, noise=sounds, teacher=teacher
    )
    refused = "reader" if name == "bundled" else "bundled"
    manifest = tmp_path / "varied" / "manifest.json"
    before = json.loads(manifest.read_text())["teacher"]["name"]
    assert before != refused
    best = distill(tmp_path / "varied", tmp_path / "stored", FAST, noise=sounds)
    for part in ("best", "last"):
        online, stored = (
            (tmp_path / run / part / "model.safetensors").read_bytes()
            for run in ("online", "stored")
        )
        assert online == stored
    history = checkpoint.load(tmp_path / "online" / "last")[1]["history"]
    assert checkpoint.load(tmp_path / "stored" / "last")[1]["history"] == history
    assert (
        best["metrics"] == checkpoint.load(tmp_path / "online" / "best")[1]["metrics"]
    )


def test_a_run_on_stored_scores_is_resumed(tmp_path):
    label(corpus(tmp_path / "audio"), tmp_path / "labels")
    distill(tmp_path / "labels", tmp_path / "whole", FAST)

    def stop(stage: str, done: int, total: int, figures: object) -> None:
        if stage == "dev":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(tmp_path / "labels", tmp_path / "broken", FAST, progress=stop)
    distill(tmp_path / "labels", tmp_path / "broken", FAST, resume=True)
    assert content(tmp_path / "whole" / "best") == content(tmp_path / "broken" / "best")


def test_scores_that_were_changed_change_the_weights(tmp_path):
    """The stored scores are what is learned, and not what the teacher would say."""
    table = corpus(tmp_path / "audio")
    label(table, tmp_path / "labels", Ear())
    distill(tmp_path / "labels", tmp_path / "a", FAST)
    store = VariationStore.of(LabelStore.open(tmp_path / "labels"))
    rows = store.table().to_pylist()
    sources = sorted({(row["file"], row["start"], row["end"]) for row in rows})
    for row in rows:
        row["arousal"] = 1 - row["arousal"]
    for number in store.numbers():
        store.shard(number).unlink()
    store.append(rows, [], number=0, sources=sources)
    store.unfinish(
        chapters=[{**store.manifest["chapters"][0], "shards": [0, 1]}],
    )
    store.finish()
    distill(tmp_path / "labels", tmp_path / "b", FAST)
    name = "best/model.safetensors"
    assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_write_the_same_rows(tmp_path, workers):
    table = corpus(tmp_path / "audio", 30)
    label(table, tmp_path / "here")
    label(table, tmp_path / "there", Ear, engine=Processes(workers, LIMITS))
    assert content(tmp_path / "here") == content(tmp_path / "there")
    assert len(list((tmp_path / "here/variations/shards").iterdir())) > 2


def test_a_run_that_is_stopped_goes_on(tmp_path):
    table = corpus(tmp_path / "audio", 30)
    label(table, tmp_path / "whole")

    def stop(stage: str, done: int, total: int, figures: object) -> None:
        if stage == "variations" and done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(table, tmp_path / "broken", progress=stop)
    there = sorted((tmp_path / "broken/variations/shards").iterdir())
    assert there
    with pytest.raises(InputError, match="unfinished"):
        distill(tmp_path / "broken", tmp_path / "run", FAST)
    times = [path.stat().st_mtime_ns for path in there]
    label(table, tmp_path / "broken", resume=True)
    assert [path.stat().st_mtime_ns for path in there] == times
    assert content(tmp_path / "whole") == content(tmp_path / "broken")


def test_what_is_not_the_same_recipe_is_refused(tmp_path):
    table, sounds = corpus(tmp_path / "audio"), noise(tmp_path / "noise")
    labels = tmp_path / "labels"
    label(table, labels, noise=sounds)
    for changes, reason in (
        ({"seed": 1}, "seed must be that of the variations .*, 0, got 1"),
        ({"crop_seconds": 0.4}, "crop_seconds must be .*, 0.3, got 0.4"),
        ({"variations": 64, "epochs": 8}, "at most the 3 of the labels, got 8"),
        ({"augment": AugmentConfig(speed=0.2)}, "speed must be .*, 0.15, got 0.2"),
    ):
        with pytest.raises(InputError, match=reason):
            distill(labels, tmp_path / "run", replace(FAST, **changes), noise=sounds)
    with pytest.raises(InputError, match="noise must be that of the variations"):
        distill(labels, tmp_path / "run", FAST)
    with pytest.raises(InputError, match=r"as many as those .*, 3, got 4"):
        label(
            table,
            labels,
            noise=sounds,
            resume=True,
            variations=replace(VARIED, count=4),
        )
    # what comes after the teacher may differ, and cached teaching needs none of it
    changed = replace(FAST, augment=AugmentConfig(room_probability=0.0))
    distill(labels, tmp_path / "other", changed, noise=sounds)
    distill(labels, tmp_path / "cached", replace(FAST, teaching="cached", seed=1))


def test_files_that_are_added_make_variations_anew(tmp_path):
    table = corpus(tmp_path / "audio", 12)
    label(table, tmp_path / "labels")
    before = LabelStore.open(tmp_path / "labels")
    old = VariationStore.of(before).manifest["chapters"][0]["recipe"]
    shutil.copy(tmp_path / "audio" / "00.wav", tmp_path / "audio" / "new.wav")
    table.write_text(table.read_text() + "new.wav,s99,female,yes,train\n")
    label(table, tmp_path / "labels", resume=True, variations=None)
    with pytest.raises(InputError, match="of other rows: run annotate with --variat"):
        distill(tmp_path / "labels", tmp_path / "run", FAST)
    label(table, tmp_path / "labels", resume=True)
    store = VariationStore.of(LabelStore.open(tmp_path / "labels"))
    assert store.manifest["chapters"][0]["recipe"] != old
    assert {row["recipe"] for row in store.table().to_pylist()} == {
        store.manifest["chapters"][0]["recipe"]
    }
    distill(tmp_path / "labels", tmp_path / "run", FAST)


def test_clips_that_are_decoded_late_are_the_same(tmp_path):
    table = corpus(tmp_path / "audio")
    paths = sorted(p for p in table.parent.iterdir() if p.suffix != ".csv")
    sources = [(path, 0.1, 0.35) for path in paths] + [
        (tmp_path / "gone.wav", 0.0, None)
    ]
    clips, errors = Clips.decode(sources, tmp_path / "clips")
    late = LateClips(sources, most_bytes=40_000)
    assert len(errors) == 1
    for item in [*range(len(sources)), 0, 3]:
        np.testing.assert_array_equal(late[item], clips[item])
    assert sum(clip.nbytes for clip in late._kept.values()) <= 40_000


# Kills ------------------------------------------------------------------------

PATH = Path(__file__).parent.parent / "examples" / "kills.py"
SPEC = importlib.util.spec_from_file_location("kills_of_variations", PATH)
assert SPEC
assert SPEC.loader
kills = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(kills)


def test_ten_workers_are_killed_and_the_rows_are_the_same(tmp_path):
    table, log = corpus(tmp_path / "audio", 230), tmp_path / "log"
    options = {"config": AnnotateConfig(shard_files=8), "variations": VARIED}
    label(table, tmp_path / "whole", **options)
    killed: list[int] = []

    one_at_a_time = threading.Lock()  # progress is told by several threads

    def progress(stage: str, done: int, total: int, figures: object) -> None:
        with one_at_a_time:
            # what a killed worker had, two shards of 8 clips, is done again until then:
            # a file on which two workers die is blamed
            if stage != "variations" or len(killed) == 10 or done < 21 * len(killed):
                return
            heard = set(map(int, log.read_text().split())) - {*killed}
            for worker in psutil.Process().children():
                if worker.pid in heard:
                    worker.kill()
                    killed.append(worker.pid)
                    break

    label(
        table, tmp_path / "labels", ears.slow(log, 0.001), **options,
        engine=Processes(1, LIMITS), progress=progress,
    )  # fmt: skip
    assert len({*killed}) == 10
    assert content(tmp_path / "labels") == content(tmp_path / "whole")


@pytest.mark.slow
def test_a_kill_at_each_call_costs_nothing(tmp_path):
    table = corpus(tmp_path / "audio", 4)
    options = {"config": AnnotateConfig(shard_files=2), "resume": True}
    work: Callable[[Path], None] = partial(label, table, **options)
    work(tmp_path / "warm")
    calls, troubles = kills.sweep(work, tmp_path / "runs")
    assert troubles == []
    assert calls >= 20
