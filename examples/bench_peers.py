"""``annotate`` beside a plain loop and ``map`` of Hugging Face's datasets.

    pip install datasets
    python examples/bench_peers.py DATA [--files 16]

All three score the same recordings with the same checkpoint of wav2vec2-base's size
and random weights, in one process, one clip at a time, a shard of two files each.
Of each are measured, in a process of its own: wall and processor seconds, the peak of
resident memory, what a kill after half of the files costs when it is run again,
and what becomes of three files that are no audio.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

WAYS = ("loop", "map", "annotate")


# One way, in a process of its own --------------------------------------------


def noted(teacher: Any, log: Path) -> Any:
    """Let a teacher write a line for each clip that it scores."""
    predict = teacher.predict

    def write(signals: list[np.ndarray]) -> np.ndarray:
        with log.open("a") as file:
            file.write("x\n" * len(signals))
        scores: np.ndarray = predict(signals)
        return scores

    teacher.predict = write
    return teacher


def decode(path: str) -> np.ndarray:
    import soundfile
    import soxr

    sound, rate = soundfile.read(path, dtype="float32")
    return sound if rate == 16000 else soxr.resample(sound, rate, 16000)


def by_loop(audio: Path, out: Path, teacher: Any) -> int:
    """Score file by file and write a table at the end, as a model card shows it."""
    rows = []
    for path in sorted(audio.iterdir()):
        rows.append((path.name, *teacher.predict([decode(str(path))])[0]))
    with out.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return len(rows)


def by_map(audio: Path, out: Path, teacher: Any) -> int:
    """Score with ``Dataset.map``, whose cache is a file."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    files = [str(path) for path in sorted(audio.iterdir())]
    scored = Dataset.from_dict({"file": files}).map(
        lambda row: {"scores": teacher.predict([decode(row["file"])])[0].tolist()},
        cache_file_name=f"{out}.arrow",
        new_fingerprint="same",
        writer_batch_size=2,
    )
    return len(scored)


def by_annotate(audio: Path, out: Path, teacher: Any) -> int:
    from wav2small.annotation.run import annotate
    from wav2small.config import AnnotateConfig

    config = AnnotateConfig(window_seconds=30.0, shard_files=2)
    return annotate([audio], out, teacher, config=config, resume=True).labelled


def run(way: str, audio: str, out: str, checkpoint: str, log: str) -> None:
    import torch

    from wav2small.teachers.loading import load_teacher

    torch.set_num_threads(1)
    teacher = noted(load_teacher(checkpoint), Path(log))
    begun, before = time.perf_counter(), time.process_time()
    count = globals()[f"by_{way}"](Path(audio), Path(out), teacher)
    wall, used = time.perf_counter() - begun, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(count, wall, used, peak)


# The comparison --------------------------------------------------------------


def start(way: str, audio: Path, out: Path, checkpoint: Path, log: Path) -> Any:
    words = [sys.executable, __file__, "--run", way, audio, out, checkpoint, log]
    return subprocess.Popen(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def lines(log: Path) -> int:
    return len(log.read_text().split()) if log.exists() else 0


def compare(data: Path, count: int, place: Path) -> None:
    from bench_annotate import make_teacher

    from wav2small import audio

    checkpoint, good, bad = place / "teacher", place / "good", place / "bad"
    make_teacher(checkpoint)
    _, sources = audio.find([data / "emodb"])
    order = np.random.default_rng(0).permutation(len(sources))[:count]
    for folder in (good, bad):
        folder.mkdir()
        for item in order:
            path = sources[item].path
            (folder / path.name).symlink_to(path)
    (bad / "zz1.wav").write_text("no audio")
    (bad / "zz2.wav").write_bytes(b"")
    (bad / "aa3.wav").write_bytes(b"RIFF\x10\x00\x00\x00WAVEfmt ")
    print(f"{'':<10}{'s':>7}{'s of cpu':>10}{'files/s of cpu':>16}{'MiB':>7}", end="")
    print(f"{'scored again':>14}{'bad files':>12}")
    for way in WAYS:
        log = place / f"{way}.log"
        process = start(way, good, place / f"{way}-good", checkpoint, log)
        said, problems = process.communicate()
        if process.returncode:
            raise SystemExit(problems)
        labelled, wall, used, peak = map(float, said.split())
        assert labelled == count
        killed = place / f"{way}-killed.log"
        process = start(way, good, place / f"{way}-killed", checkpoint, killed)
        while lines(killed) < count // 2:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        heard = lines(killed)
        process = start(way, good, place / f"{way}-killed", checkpoint, killed)
        process.communicate()
        again = lines(killed) - count
        log = place / f"{way}-bad.log"
        process = start(way, bad, place / f"{way}-bad", checkpoint, log)
        said, problems = process.communicate()
        outcome = f"{said.split()[0]} labels" if not process.returncode else "ends"
        print(
            f"{way:<10}{wall:>7.1f}{used:>10.1f}{count / used:>16.2f}{peak:>7.0f}"
            f"{again:>8} of {heard:>2}{outcome:>12}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--run", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run(*given.run)
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(given.data, given.files, Path(folder))


if __name__ == "__main__":
    main()
