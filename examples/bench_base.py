"""Time and memory of commands with a backbone of wav2vec2-base's size.

    python examples/bench_base.py DATA [--files 12] [--steps 4]

Weights are random, which changes what is found but not what it takes. Each command runs
in a process of its own; its processor seconds and its peak of memory, start and loading
of the weights included, are those that the system counts.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# in a process of its own: the peak of one that is started from here counts ours too
MAKE = """
import sys
from pathlib import Path
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model
from bench_annotate import make_teacher
make_teacher(Path(sys.argv[1]))
torch.manual_seed(0)
Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(sys.argv[2])
Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(sys.argv[2])
"""


def write_table(data: Path, count: int, path: Path) -> None:
    """Write a table of clips of EMO-DB, spread over its speakers."""
    folder = (data / "emodb").resolve()
    with (folder / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "speaker", "emotion"])
        for row in rows[:: len(rows) // count][:count]:
            writer.writerow([folder / row["file"], row["speaker"], row["emotion"]])


def measure(words: list[str]) -> tuple[float, float, float]:
    """Wall and processor seconds of a command, and its peak of memory in MiB."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(words, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(said.read().decode()[-2000:])
    wall = time.perf_counter() - begun
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--steps", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        teacher, backbone, table = (
            str(place / name) for name in ("teacher", "backbone", "table.csv")
        )
        write_table(args.data, args.files, Path(table))
        here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        words = [sys.executable, "-c", MAKE, teacher, backbone]
        subprocess.run(words, env=here, check=True, stderr=subprocess.DEVNULL)
        licence = ["--licence", "MIT", "--training-data", "none"]
        small = ["--batch-size", "4", "--crop", "2", "--evaluations", "1"]
        steps = ["--steps", str(args.steps), *small, *licence]
        commands = {
            "annotate --workers 0": [
                "annotate", table, f"{folder}/labels", "--teacher", teacher,
                "--workers", "0",
            ],
            "layers --folds 3": [
                "layers", table, "--backbone", backbone, "--folds", "3",
            ],
            "finetune": ["finetune", table, f"{folder}/whole", "--backbone", backbone,
                         *steps],
            "finetune --lora 8": ["finetune", table, f"{folder}/lora", "--backbone",
                                  backbone, "--lora", "8", *steps],
        }  # fmt: skip
        print("| command | s | s of processor | MiB |\n|---|--:|--:|--:|")
        for name, words in commands.items():
            found = measure([sys.executable, "-m", "wav2small", *words])
            print(f"| `{name}` | {' | '.join(f'{x:.0f}' for x in found)} |", flush=True)


if __name__ == "__main__":
    main()
