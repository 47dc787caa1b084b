"""What the steps of a large corpus take, step by step, each in a process of its own.

    python examples/scale.py FOLDER [--rows 1000000] [--files 1000000]

ROWS are segments in a manifest, and rows of a label store in shards of 1,000;
FILES are names of tiny recordings, links to a few, in folders of 1,000.
No teacher is asked: what is measured is all that is done around one.
The last column is what 100 million clips would take if it grows in proportion.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

SHARD = 1000
"""Rows of a shard."""

SECONDS = 3.6
"""Length of a clip: 100 million of them are 100,000 hours."""

LARGE = 100_000_000


def name(number: int) -> str:
    return f"{number // SHARD:06d}/{number % SHARD:03d}.wav"


# The steps; each is called in a process of its own ---------------------------


def write_files(folder: Path, count: int) -> None:
    """Write names of tiny recordings; a file system allows few links to one."""
    import soundfile

    (folder / "files").mkdir()
    for number in range(count):
        path = folder / "files" / name(number)
        if number % SHARD == 0:
            path.parent.mkdir()
        if number % 50_000 == 0:
            first = path
            noise = np.random.default_rng(number).normal(size=160) * 0.1
            soundfile.write(first, noise, 16000)
        else:
            os.link(first, path)


def scan(folder: Path, count: int) -> None:
    from wav2small import audio

    _, sources = audio.find([folder / "files"])
    assert len(sources) == count


def write_manifest(folder: Path, count: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "file": [name(number) for number in range(count)],
        "speaker": [f"s{number // 200}" for number in range(count)],
        "split": ["train"] * count,
    }
    pq.write_table(pa.table(columns), folder / "manifest.parquet")


def read_manifest(folder: Path, count: int) -> None:
    from wav2small import audio

    _, sources = audio.find([folder / "manifest.parquet"])
    assert len(sources) == count


def write_store(folder: Path, count: int) -> None:
    from wav2small.annotation.store import LabelStore

    info = {"name": "x", "revision": "1", "licence": "MIT", "training_data": "none"}
    store = LabelStore.create(
        folder / "labels", {"root": str(folder), "teacher": info, "config": {}}
    )
    rng = np.random.default_rng(0)
    for number in range(-(-count // SHARD)):
        scores = rng.uniform(0, 1, (SHARD, 3)).tolist()
        items = range(number * SHARD, min(count, (number + 1) * SHARD))
        rows = [
            {
                "file": name(item),
                "start": 0.0,
                "end": SECONDS,
                "arousal": a,
                "dominance": d,
                "valence": v,
                "teacher": "x",
                "licence": "MIT",
                "sha256": f"{item:064x}",
                "speaker": f"s{item // 200}",
            }
            for item, (a, d, v) in zip(items, scores, strict=False)
        ]
        sources = [(row["file"], None, None) for row in rows]
        store.append(rows, [], number=number, sources=sources)
    store.finish()


def resume(folder: Path, count: int) -> None:
    """Know what is done, from the shards."""
    from wav2small.annotation.store import LabelStore

    assert len(LabelStore.open(folder / "labels").done()) == count


def report(folder: Path, count: int) -> None:
    from wav2small.annotation.store import LabelStore

    store = LabelStore.open(folder / "labels")
    assert len(store) == count
    store.seconds(), store.errors(), store.skipped()


def read_store(folder: Path, count: int) -> None:
    from wav2small.annotation.store import LabelStore

    assert len(LabelStore.open(folder / "labels").read().names) == count


def split_store(folder: Path, count: int) -> None:
    """Divide all rows at once, as a corpus of one chapter is."""
    from wav2small.annotation.store import LabelStore
    from wav2small.splits import split_dev

    split_dev(LabelStore.open(folder / "labels").read(), 0.1, 0)


def look(folder: Path, count: int) -> None:
    """Look at the labels as a distillation by chapters of a day does."""
    from wav2small.annotation.store import LabelStore
    from wav2small.config import DistillConfig
    from wav2small.course import Corpus, look

    store = LabelStore.open(folder / "labels")
    config = DistillConfig()
    corpus = Corpus(store, folder, folder, config, [], None, None)
    found = look(corpus, store.chapters(config.chapter_hours), None)
    assert found.described["clips"] == count


STEPS = {
    "write_files": ("make tiny files", "files"),
    "scan": ("scan folders", "files"),
    "write_manifest": ("make a manifest", "rows"),
    "read_manifest": ("read a manifest", "rows"),
    "write_store": ("write labels", "rows"),
    "resume": ("resume: know what is done", "rows"),
    "report": ("count rows, seconds, errors", "rows"),
    "read_store": ("read all labels at once", "rows"),
    "split_store": ("split all labels at once", "rows"),
    "look": ("look and split by chapters", "rows"),
}

RUN = """
import resource, sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
import scale
import wav2small.course
base = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
began, used = time.perf_counter(), time.process_time()
getattr(scale, {step!r})(Path({folder!r}), {count})
status = Path("/proc/self/status").read_text()
peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024 - base
print(time.perf_counter() - began, time.process_time() - used, peak)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="*", choices=list(STEPS))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    counts = {"rows": given.rows, "files": given.files}
    print(f"{'':<28}{'count':>11}{'s':>8}{'s of cpu':>10}{'MiB':>8}", end="")
    print(f"{'100 M: h':>10}{'GiB':>8}")
    for step, (title, kind) in STEPS.items():
        if given.only and step not in given.only:
            continue
        words = {
            "here": str(Path(__file__).parent),
            "folder": str(given.folder.resolve()),
            "step": step,
            "count": counts[kind],
        }
        done = subprocess.run(
            [sys.executable, "-c", RUN.format(**words)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{title:<28}{counts[kind]:>11,} failed: {done.stderr[-300:]}")
            continue
        wall, used, peak = map(float, done.stdout.split())
        times = LARGE / counts[kind]
        hours, memory = used * times / 3600, peak * times / 2**30
        figures = f"{wall:>8.1f}{used:>10.1f}{peak / 2**20:>8.0f}{hours:>10.2f}"
        print(f"{title:<28}{counts[kind]:>11,}{figures}{memory:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
