"""``annotate`` beside a plain loop and ``map`` of Hugging Face's datasets.

    pip install datasets
    python examples/bench_peers.py DATA [--files 16] [--teacher bundled]

All three score the same recordings with the same teacher, which without ``--teacher``
is of wav2vec2-base's size and random weights, in one process and on one thread,
and write what they have every two files.
Of each are measured, in a process of its own: wall and processor seconds, the peak of
resident memory, how many files are scored a second time after a kill at half of them,
and what becomes of three files that are no audio.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
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


def run(way: str, audio: str, out: str, name: str, log: str) -> None:
    import torch

    from wav2small.teachers.loading import load_teacher

    torch.set_num_threads(1)
    teacher = noted(load_teacher(name), Path(log))
    begun, before = time.perf_counter(), time.process_time()
    count = globals()[f"by_{way}"](Path(audio), Path(out), teacher)
    wall, used = time.perf_counter() - begun, time.process_time() - before
    # ru_maxrss would be that of the process that started this one
    status = Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024
    print(count, wall, used, peak)


# The comparison --------------------------------------------------------------


def start(way: str, audio: Path, out: Path, teacher: str, log: Path) -> Any:
    words = [sys.executable, __file__, "--run", way, audio, out, teacher, log]
    return subprocess.Popen(
        list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(process: Any) -> str:
    said, problems = process.communicate()
    if process.returncode:
        raise SystemExit(problems)
    return str(said)


def lines(log: Path) -> int:
    return len(log.read_text().split()) if log.exists() else 0


def corpora(data: Path, count: int, place: Path) -> tuple[Path, Path]:
    """Draw recordings of EMO-DB; the second folder holds three broken files as well."""
    from wav2small import audio

    good, bad = place / "good", place / "bad"
    _, sources = audio.find([data / "emodb"])
    order = np.random.default_rng(0).permutation(len(sources))[:count]
    for folder in (good, bad):
        folder.mkdir()
        for item in order:
            path = sources[item].path.resolve()
            (folder / path.name).symlink_to(path)
    (bad / "zz1.wav").write_text("no audio")
    (bad / "zz2.wav").write_bytes(b"")
    (bad / "aa3.wav").write_bytes(b"RIFF\x10\x00\x00\x00WAVEfmt ")
    return good, bad


def measure(
    way: str, good: Path, bad: Path, place: Path, teacher: str
) -> dict[str, float | str]:
    """Run one way to its end, then killed and again, then with broken files."""
    count = len(list(good.iterdir()))
    log = place / f"{way}.log"
    said = end(start(way, good, place / f"{way}-good", teacher, log))
    labelled, wall, used, peak = map(float, said.split())
    assert labelled == count == lines(log)

    killed, out = place / f"{way}-killed.log", place / f"{way}-killed"
    process = start(way, good, out, teacher, killed)
    while lines(killed) < count // 2 and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    heard = lines(killed)
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    end(start(way, good, out, teacher, killed))

    process = start(way, bad, place / f"{way}-bad", teacher, place / f"{way}-bad.log")
    said, _ = process.communicate()
    outcome = "ends" if process.returncode else f"{said.split()[0]} labels"
    return {
        "s": round(wall, 1),
        "s of cpu": round(used, 1),
        "files/s of cpu": round(count / used, 2),
        "MiB": round(peak),
        "scored again": f"{lines(killed) - count} of {heard}",
        "three bad files": outcome,
    }


def compare(data: Path, count: int, teacher: str | None, place: Path) -> None:
    good, bad = corpora(data, count, place)
    if teacher is None:
        from bench_annotate import make_teacher

        teacher = str(place / "teacher")
        make_teacher(Path(teacher))
    for number, way in enumerate(WAYS):
        figures = measure(way, good, bad, place, teacher)
        if not number:
            print(f"| | {' | '.join(figures)} |")
            print(f"|---|{'--:|' * len(figures)}")
        print(f"| {way} | {' | '.join(map(str, figures.values()))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--teacher", help="bundled, hearing, or a folder")
    parser.add_argument("--run", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run(*given.run)
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(given.data, given.files, given.teacher, Path(folder))


if __name__ == "__main__":
    main()
