"""Annotation under faults that take too long or too much for the tests.

    python examples/annotate_faults.py [long] [mutated] [full]

long     a day of silence as FLAC, within 300 MB
mutated  500 damaged files among good ones
full     a disk that is full (mounts a small tmpfs, so it needs to be root)

Each prints what it saw and ends the program with 1 if it is not what it must be.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from wav2small.annotation.engines import Processes
from wav2small.annotation.run import annotate
from wav2small.annotation.store import LabelStore
from wav2small.annotation.worker import WorkerLimits
from wav2small.config import AnnotateConfig
from wav2small.errors import InputError
from wav2small.models import bundled
from wav2small.teachers.loading import load_teacher

LOAD = partial(load_teacher, str(bundled()["wav2small-rt-mini"]))

FORMATS = ("wav", "flac", "ogg", "mp3", "opus")


def check(truth: bool, what: str) -> None:
    print(f"{'ok' if truth else 'FAILED'}: {what}")
    if not truth:
        raise SystemExit(1)


def write(path: Path, signal: np.ndarray) -> None:
    options = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    soundfile.write(path, signal, 16000, **options)


def speechlike(rng: np.random.Generator, seconds: float) -> np.ndarray:
    time_ = np.arange(round(seconds * 16000)) / 16000
    tone = np.sin(2 * np.pi * rng.uniform(100, 300) * time_)
    return 0.2 * tone + 0.02 * rng.normal(size=len(time_))


def rows(out: Path) -> dict[str, list[float]]:
    return {
        row["file"]: [row["start"], row["arousal"], row["dominance"], row["valence"]]
        for row in LabelStore.open(out).table().to_pylist()
    }


def bad_files(out: Path) -> list[str]:
    with (out / "errors.csv").open(newline="") as file:
        return [row["file"] for row in csv.DictReader(file)]


@contextmanager
def peak_of_children() -> Iterator[list[int]]:
    """Watch the largest resident memory of any process of ours, in bytes."""
    import psutil

    most, left = [0], threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not left.wait(0.02):
            for child in me.children(recursive=True):
                try:
                    most[0] = max(most[0], child.memory_info().rss)
                except psutil.Error:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        left.set()
        thread.join()


def a_long_file(folder: Path) -> None:
    audio = folder / "audio"
    audio.mkdir()
    path = audio / "day.flac"
    with soundfile.SoundFile(path, "w", 16000, 1) as file:
        for _ in range(24 * 60):
            file.write(np.zeros(60 * 16000, np.int16))
    print(f"24 h of silence, {path.stat().st_size / 1e6:.1f} MB")
    for skip in (False, True):
        config = AnnotateConfig(gate="bundled" if skip else "none")
        begun = time.monotonic()
        with peak_of_children() as peak:
            report = annotate(
                [audio], folder / f"labels_{skip}", LOAD, config=config,
                engine=Processes(1),
            )  # fmt: skip
        spent, most = time.monotonic() - begun, peak[0] / 1e6
        check(not report.errors, f"it is labelled in {spent:.0f} s, gate {skip}")
        check(report.labelled == (0 if skip else 8640), f"{report.labelled} rows")
        check(most <= 300, f"peak {most:.0f} MB of 300 MB")
        if skip:
            check(report.skipped == {"silence": 86400.0}, "a day of it is left out")


def mutated_files(folder: Path) -> None:
    rng = np.random.default_rng(0)
    good, audio = folder / "good", folder / "audio"
    good.mkdir()
    audio.mkdir()
    for item in range(100):
        name = f"good_{item:03d}.{FORMATS[item % 5]}"
        write(good / name, speechlike(rng, rng.uniform(0.5, 2)))
        (audio / name).write_bytes((good / name).read_bytes())
    sources = sorted(good.iterdir())
    for item in range(500):
        source = sources[rng.integers(len(sources))]
        data = bytearray(source.read_bytes())
        kind = item % 4
        if kind == 0:
            del data[rng.integers(1, len(data)) :]
        elif kind == 1:
            for place in rng.integers(0, len(data), 20):
                data[place] = rng.integers(256)
        elif kind == 2:
            for place in rng.integers(0, min(len(data), 60), 4):
                data[place] = rng.integers(256)
        else:
            first = rng.integers(len(data) - 8)
            data[first : first + 200] = bytes(len(data[first : first + 200]))
        (audio / f"mutated_{item:03d}{source.suffix}").write_bytes(data)
    engine = Processes(2, WorkerLimits(seconds=30, memory_bytes=1 << 30))
    options = {"config": AnnotateConfig(shard_files=20), "engine": engine}
    alone, out = folder / "alone", folder / "labels"
    annotate([good], alone, LOAD, **options)
    report = annotate([audio], out, LOAD, **options)
    named, labelled = bad_files(out), rows(out)
    print(f"{len(named)} of 500 mutated files are refused")
    check(len(set(named)) == len(named), "each once")
    check(not any(name.startswith("good") for name in named), "no good one")
    check(len(labelled) == report.labelled, "no row is doubled")
    files = {path.name for path in audio.iterdir()}
    check(set(named) | set(labelled) == files, "every file is a row or an error")
    truth = rows(alone)
    check({k: labelled[k] for k in truth} == truth, "good files score as without them")
    finite = np.isfinite([values[1:] for values in labelled.values()])
    check(bool(finite.all()), "all scores are finite")


def a_full_disk(folder: Path) -> None:
    rng = np.random.default_rng(0)
    audio, disk, whole = folder / "audio", folder / "disk", folder / "whole"
    audio.mkdir()
    disk.mkdir()
    for item in range(60):
        write(audio / f"{item}.wav", speechlike(rng, 0.5))
    config = AnnotateConfig(shard_files=3)
    annotate([audio], whole, LOAD, config=config)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if subprocess.run(mount, check=False).returncode:
        print("SKIPPED: no tmpfs can be mounted here")
        return
    try:
        try:
            annotate([audio], disk / "labels", LOAD, config=config)
            check(False, "a full disk ends the run")
        except InputError as error:
            check("No space left" in str(error), f"{error}")
            check("\n" not in str(error), "in one line")
        shards = sorted((disk / "labels/shards").iterdir())
        same = all(
            path.read_bytes() == (whole / "shards" / path.name).read_bytes()
            for path in shards
        )
        check(same and len(shards) > 0, f"{len(shards)} shards are there, and whole")
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        annotate([audio], disk / "labels", LOAD, config=config, resume=True)
        for path in whole.rglob("*"):
            if path.is_file() and path.name != ".lock":
                copy = disk / "labels" / path.relative_to(whole)
                check(copy.read_bytes() == path.read_bytes(), f"{path.name} is equal")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def main() -> None:
    parts = {"long": a_long_file, "mutated": mutated_files, "full": a_full_disk}
    for name in sys.argv[1:] or parts:
        print(f"\n{name}")
        with tempfile.TemporaryDirectory() as folder:
            parts[name](Path(folder))


if __name__ == "__main__":
    main()
