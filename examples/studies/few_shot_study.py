"""Few clips of a new speaker, language or category: what a contrastive embedding gives.

    python examples/studies/few_shot_study.py DATA OUT [--steps 200]

trains a small network on EMO-DB's training speakers without two of the categories,
with the task ``alike``, and runs episodes of N ways and K shots on what it never heard:
the test speakers, the categories left out, and CREMA-D (English). Beside it the same
network with random weights, and the mean and deviation of its log-mel.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from exits_study import STILL

from wav2small.audio import beginning, find
from wav2small.finetune.backbones import Origin, build_backbone, save_backbone
from wav2small.finetune.config import FinetuneConfig, NetworkConfig
from wav2small.finetune.few_shot import embed, episodes, unit
from wav2small.finetune.network import FinetuneNetwork
from wav2small.finetune.probe import layer_features
from wav2small.finetune.table import read_table
from wav2small.finetune.teacher import FinetunedTeacher, score
from wav2small.finetune.train import finetune

LEFT_OUT = ("boredom", "disgust")
"""Categories that are not learnt."""

SECONDS = 3.0


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    teacher = train(args.data, args.out, args.steps)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        random = FinetuneNetwork(
            teacher.network.config, build_backbone(teacher.network.backbone.settings)
        )
    sets = heard(args.data)
    print("| heard | ways | shots | embedding | right |\n|---|---|---|---|---|")
    for name, (signals, categories) in sets.items():
        maps = layer_features(teacher.network.backbone, signals)[0]
        ways = {
            "contrastive": embed(teacher, signals),
            "random weights": unit(score(random, signals, output="alike")),
            "first layer's input": (maps - maps.mean(0)) / (maps.std(0) + 1e-6),
        }
        count = 2 if "categories" in name else 5
        for shots in (1, 5):
            for way, embedding in ways.items():
                found = episodes(
                    embedding, categories, ways=count, shots=shots, count=300,
                    rng=np.random.default_rng(0),
                )  # fmt: skip
                half = 1.96 * found.std() / np.sqrt(len(found))
                print(
                    f"| {name} | {count} | {shots} | {way} | "
                    f"{found.mean():.3f} ± {half:.3f} |",
                    flush=True,
                )


def train(data: Path, out: Path, steps: int) -> FinetunedTeacher:
    """Train the embedding, unless it is there."""
    run = out / "run"
    if not (run / "best").exists():
        settings = {
            "model_type": "mel", "num_hidden_layers": 2, "n_mels": 40,
            "hidden_size": 48, "intermediate_size": 96,
        }  # fmt: skip
        torch.manual_seed(0)
        save_backbone(out / "mel", build_backbone(settings), Origin("mel", "", ""))
        out.mkdir(parents=True, exist_ok=True)
        table = out / "table.csv"
        rows = read_rows(data / "emodb")
        with table.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "speaker", "emotion", "split"])
            for row in rows:
                known = row["emotion"] not in LEFT_OUT and row["split"] == "train"
                path = (data / "emodb" / row["file"]).resolve()
                split = "train" if known else "test"
                writer.writerow([path, row["speaker"], row["emotion"], split])
        config = FinetuneConfig(
            str(out / "mel"), steps=steps, batch_size=24, evaluations=1,
            crop_seconds=1.5, average=0.95, augment=STILL, task_weight=1.0,
            network=NetworkConfig(pooling="deviation", tasks=("alike",)),
        )  # fmt: skip
        finetune(read_table(table), run, config)
    return FinetunedTeacher.load(run, policy="research")


def read_rows(folder: Path) -> list[dict[str, str]]:
    """Read the table of a corpus."""
    with (folder / "metadata.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def heard(data: Path) -> dict[str, tuple[list[np.ndarray], list[str]]]:
    """Return what the network has not heard: signals and their categories."""
    german = find([data / "emodb" / "metadata.csv"])[1]
    english = find([data / "crema_d" / "metadata.csv"])[1]
    chosen = {
        "new speakers": [
            s
            for s in german
            if s.metadata["split"] == "test" and s.metadata["emotion"] not in LEFT_OUT
        ],
        "new categories, new speakers": [
            s
            for s in german
            if s.metadata["split"] == "test" and s.metadata["emotion"] in LEFT_OUT
        ],
        "new language": [s for s in english if s.metadata.get("split") == "test"][::5],
    }
    return {
        name: (
            [beginning(source, SECONDS) for source in sources],
            [source.metadata["emotion"] for source in sources],
        )
        for name, sources in chosen.items()
    }


if __name__ == "__main__":
    main()
