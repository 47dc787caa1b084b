"""Several processes train as one, and one that is killed costs nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune_corpus import STILL, clip, corpus, fast, write_mel

from wav2small import checkpoint
from wav2small.errors import InputError
from wav2small.finetune.config import FinetuneConfig, NetworkConfig
from wav2small.finetune.parallel import Group
from wav2small.finetune.teacher import FinetunedTeacher
from wav2small.finetune.train import finetune

SCRIPT = """
    import os, sys
    sys.path[:0] = [{root!r}, {tests!r}]
    from pathlib import Path
    import torch
    from finetune_corpus import corpus
    from test_finetune_parallel import configuration, finetune
    from wav2small.finetune.table import read_table

    torch.set_num_threads(1)
    folder = Path({folder!r})
    marker = folder / "killed"

    if os.environ["RANK"] == "1" and not marker.exists():
        from wav2small.finetune.recipe import FinetuneRecipe

        evaluate = FinetuneRecipe.evaluate

        def die(*arguments):
            if marker.exists():
                os._exit(9)
            marker.touch()
            return evaluate(*arguments)

        FinetuneRecipe.evaluate = die

    finetune(
        read_table(folder / "corpus" / "metadata.csv"),
        folder / "two",
        configuration(str(folder / "mel")),
        resume=True,
    )
"""


def configuration(mel: str) -> FinetuneConfig:
    """No dropout and nothing hidden: that is each process's own."""
    network = NetworkConfig(
        hidden=16, dropout=0.0, exits=(1,), gender=True, tasks=("category",)
    )
    return fast(mel, network=network, augment=STILL, masked=0.0, steps=8, evaluations=4)


@pytest.mark.slow
def test_two_processes_train_as_one_though_one_is_killed(tmp_path: Path) -> None:
    table = corpus(tmp_path / "corpus")
    config = configuration(write_mel(tmp_path / "mel"))
    finetune(table, tmp_path / "one", config)
    script = tmp_path / "script.py"
    tests = Path(__file__).parent
    script.write_text(
        textwrap.dedent(SCRIPT).format(
            root=str(tests.parent), tests=str(tests), folder=str(tmp_path)
        )
    )
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *words, "--max-restarts", "1", str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "killed").exists()
    assert "exitcode: 9" in done.stderr
    _, one = checkpoint.load(tmp_path / "one" / "last")
    _, two = checkpoint.load(tmp_path / "two" / "last")
    assert len(two["curve"]) == len(one["curve"]) == 8
    np.testing.assert_allclose(two["curve"], one["curve"], atol=2e-4)
    for mine, other in zip(one["history"], two["history"], strict=True):
        assert mine["mean"] == pytest.approx(other["mean"], abs=2e-3)
    # weights that no score depends on follow the noise of the sums
    signals = [clip(np.random.default_rng(i), 1, i) for i in range(4)]
    scores = [
        FinetunedTeacher.load(tmp_path / name, policy="research").predict(signals)
        for name in ("one", "two")
    ]
    np.testing.assert_allclose(*scores, atol=5e-3)
    assert json.dumps(one["labels"]) == json.dumps(two["labels"])


def test_one_process_is_a_group() -> None:
    group = Group.join("cpu")
    assert group == Group(0, 1)
    assert group.share(5) == slice(0, 5)
    outputs = {"scores": torch.ones(2, 3, requires_grad=True)}
    assert group.gather(outputs)["scores"] is outputs["scores"]
    assert group.mine([4, 5, 6]) == [4, 5, 6]
    assert group.collect({3: "x"}) == {3: "x"}
    group.sum_gradients([])
    group.wait()
    group.leave()


def test_a_batch_is_shared_evenly() -> None:
    parts = [list(range(12))[Group(rank, 3).share(12)] for rank in range(3)]
    assert [item for part in parts for item in part] == list(range(12))
    mine = [Group(rank, 3).mine(range(7)) for rank in range(3)]
    assert sorted(item for part in mine for item in part) == list(range(7))
    with pytest.raises(InputError, match="multiple of the 2 processes, got 5"):
        Group(0, 2).share(5)
