"""Throughput of annotation, and a million rows through the label store.

    python examples/bench_annotate.py [DATA] [--limit SECONDS] [--runs N]

DATA holds ``emodb`` and ``librispeech_subset``; without it only the store is timed.
The teacher is of wav2vec2-base's size and of random weights,
which changes what it says but not how long it takes.
Every figure is a median of runs taken in turn;
a processor that is shared shows in the wall time, not in the processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wav2small import audio
from wav2small.annotation.engines import Engine, Processes, ThisProcess
from wav2small.annotation.run import annotate
from wav2small.annotation.store import LabelStore
from wav2small.config import AnnotateConfig
from wav2small.teachers.base import Teacher
from wav2small.teachers.loading import load_teacher

ROWS, SHARD = 1_000_000, 1000


def make_teacher(folder: Path) -> None:
    """Write a checkpoint of wav2vec2-base's size with the Dawn head."""
    import torch
    from safetensors.torch import save_file
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    from wav2small.teachers.heads import DawnNetwork

    torch.manual_seed(0)
    config = Wav2Vec2Config()
    network = DawnNetwork("wav2vec2", Wav2Vec2Model(config), config.hidden_size, 3)
    weights = network.state_dict()
    weights.pop("wav2vec2.masked_spec_embed", None)
    folder.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "x.safetensors")
    (folder / "x.safetensors").rename(folder / "model.safetensors")
    names = {0: "arousal", 1: "dominance", 2: "valence"}
    settings = {**config.to_dict(), "id2label": names}
    (folder / "config.json").write_text(json.dumps(settings))
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    about = {"licence": "MIT", "training_data": "none"}
    (folder / "teacher.json").write_text(json.dumps(about))


def by_a_user(teacher: Any, paths: list[Path], size: int) -> None:
    """Score files in their order as the model cards show it."""
    import soundfile
    import soxr
    import torch
    from transformers import Wav2Vec2FeatureExtractor

    extract = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    backbone, head = teacher.network.wav2vec2, teacher.network.classifier
    for first in range(0, len(paths), size):
        signals = []
        for path in paths[first : first + size]:
            signal, rate = soundfile.read(path, dtype="float32")
            signals.append(
                signal if rate == 16000 else soxr.resample(signal, rate, 16000)
            )
        inputs = extract(
            signals, sampling_rate=16000, padding=size > 1, return_tensors="pt"
        )
        if size == 1:
            inputs.pop("attention_mask")
        with torch.no_grad():
            head(backbone(**inputs).last_hidden_state, None).numpy()


def ours(
    paths: list[Path],
    teacher: Teacher | Callable[[], Teacher],
    config: AnnotateConfig,
    engine: Engine,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        annotate(paths, Path(folder), teacher, config=config, engine=engine)


def forwards(teacher: Teacher, signals: list[np.ndarray]) -> None:
    for signal in signals:
        teacher.predict([signal])


def measure(
    calls: dict[str, Callable[[], None]], runs: int
) -> dict[str, tuple[float, float]]:
    """Median wall and processor seconds of each call, the calls taken in turn."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for run in range(runs):
        for name, call in calls.items():
            begun, before = time.perf_counter(), os.times()
            call()
            wall, after = time.perf_counter() - begun, os.times()
            used = sum(after[:4]) - sum(before[:4])
            times[name].append((wall, used))
            print(f"# run {run} {name}: {wall:.1f} s, {used:.1f} s", file=sys.stderr)
    return {
        name: tuple(map(statistics.median, zip(*kept, strict=True)))  # type: ignore[misc]
        for name, kept in times.items()
    }


def throughput(data: Path, limit: float, runs: int) -> None:
    import soundfile

    _, sources = audio.find([data / "librispeech_subset", data / "emodb"])
    order = np.random.default_rng(0).permutation(len(sources))
    paths: list[Path] = []
    seconds = 0.0
    for item in order:
        length = soundfile.info(sources[item].path).duration
        if length <= 10 and seconds + length <= limit:
            paths.append(sources[item].path)
            seconds += length
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "teacher"
        make_teacher(place)
        load = partial(load_teacher, str(place))
        teacher = load()
        signals = [audio.load(path) for path in sorted(paths)]
        plain, half = AnnotateConfig(), AnnotateConfig(bfloat16=True)
        padded = AnnotateConfig(batch_seconds=30.0)
        shared = AnnotateConfig(shard_files=4)
        here = ThisProcess()
        figures = measure(
            {
                "(a) a user's loop, one file at a time": partial(
                    by_a_user, teacher, paths, 1
                ),
                "(b) a user's batches of 8, padded": partial(
                    by_a_user, teacher, paths, 8
                ),
                "(c) annotate": partial(ours, paths, teacher, plain, here),
                "    --batch-seconds 30": partial(ours, paths, teacher, padded, here),
                "    --bfloat16": partial(ours, paths, teacher, half, here),
                "    --workers 2, with their start": partial(
                    ours, paths, load, shared, Processes(2)
                ),
                "(d) forward passes alone": partial(forwards, teacher, signals),
            },
            runs,
        )
    loop, alone = (
        next(v for k, v in figures.items() if k[:3] == n) for n in ("(a)", "(d)")
    )
    print(f"\n{len(paths)} files, {seconds:.0f} s of audio, medians of {runs} runs")
    print(f"{'':<40} x real time   x (a)   x (d)   x (a), x (d) by processor time")
    for name, (wall, used) in figures.items():
        print(
            f"{name:<40} {seconds / wall:11.2f} {loop[0] / wall:7.2f} "
            f"{alone[0] / wall:7.2f}   {loop[1] / used:5.2f} {alone[1] / used:5.2f}"
        )


PEAK = """
import sys
from pathlib import Path
from wav2small.annotation.run import annotate
from wav2small.teachers.loading import load_teacher
annotate([Path(sys.argv[1])], Path(sys.argv[2]), load_teacher("bundled"))
# ru_maxrss would be that of the process that started this one
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


def memory(data: Path) -> None:
    """Peak memory over the size of the corpus, which is copied by links."""
    _, sources = audio.find([data / "emodb"])
    print("\nfiles   peak resident memory with the bundled teacher")
    for count in (50, 200, 800):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "audio"
            place.mkdir()
            for item in range(count):
                source = sources[item % 50].path
                (place / f"{item:06d}{source.suffix}").symlink_to(source)
            command = [sys.executable, "-c", PEAK, str(place), f"{folder}/labels"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"{count:5d}   {done.stdout.split()[-1]} MiB")


def store() -> None:
    """A million rows: append, resume, read, convert."""
    info = {"name": "x", "revision": "1", "licence": "MIT", "training_data": "none"}
    rng = np.random.default_rng(0)

    def timed(name: str, call: Callable[[], Any]) -> Any:
        begun, before = time.perf_counter(), time.process_time()
        result = call()
        used = time.process_time() - before
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        spent = time.perf_counter() - begun
        print(
            f"{name:<26} {spent:6.1f} s wall {used:6.1f} s processor, peak {peak} MiB"
        )
        return result

    def size(place: Path) -> str:
        total = sum(p.stat().st_size for p in place.rglob("*") if p.is_file())
        return f"{total / 1e6:.0f} MB"

    with tempfile.TemporaryDirectory() as folder:
        labels = LabelStore.create(
            Path(folder) / "labels", {"root": folder, "teacher": info, "config": {}}
        )

        def append(first: int, last: int) -> None:
            for number in range(first, last):
                scores = rng.uniform(0, 1, (SHARD, 3)).tolist()
                names = [f"{number:04d}/{i:04d}.wav" for i in range(SHARD)]
                rows = [
                    {
                        "file": name,
                        "start": 0.0,
                        "end": 5.0,
                        "arousal": a,
                        "dominance": d,
                        "valence": v,
                        "teacher": "x",
                        "licence": "MIT",
                        "sha256": f"{number:032x}{i:032x}",
                    }
                    for i, (name, (a, d, v)) in enumerate(
                        zip(names, scores, strict=True)
                    )
                ]
                labels.append(rows, [], sources=[(name, None, None) for name in names])

        print(f"{ROWS:,} rows in shards of {SHARD:,}")
        timed("append the first half", partial(append, 0, ROWS // SHARD // 2))
        again = LabelStore.open(labels.folder)
        done = timed("resume: what is done", again.done)
        assert len(done) == ROWS // 2
        del done
        timed(
            "append the second half", partial(append, ROWS // SHARD // 2, ROWS // SHARD)
        )
        timed("finish", labels.finish)
        assert len(timed("read", labels.read).names) == len(labels) == ROWS
        base = Path(folder) / "database"
        timed("convert to audformat", partial(labels.to_audformat, base))
        timed("convert to CSV", partial(labels.to_csv, Path(folder) / "labels.csv"))
        print(f"labels {size(labels.folder)}, audformat {size(base)}, CSV ", end="")
        print(f"{(Path(folder) / 'labels.csv').stat().st_size / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--limit", type=float, default=180.0, help="seconds of audio")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    store()  # first: its peak is the process's so far
    if arguments.data:
        memory(arguments.data)
        throughput(arguments.data, arguments.limit, arguments.runs)


if __name__ == "__main__":
    main()
