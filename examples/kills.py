"""Kill runs at random moments and at each system call of their saves.

    python examples/kills.py FOLDER [--kills 1000] [--seed 0] [--only annotate ...]

Each run is killed and resumed until it ends,
and then has to have the bytes of a run that nobody disturbed:
nothing lost, nothing doubled, nothing left over, nothing that cannot go on.
Half of the kills come after a random time,
half at a random one of the calls with which a run changes its folder.
What was done is in FOLDER/kills.jsonl; started anew, the program goes on from there.
It ends with 1 if a run did not end as it must.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile

from wav2small.errors import InputError
from wav2small.export.base.files import LOCK, is_temporary

FILES = 10
"""Recordings of the corpus."""

SHARES = {
    "annotate": 180,
    "annotate variations": 20,
    "ask": 150,
    "distill": 200,
    "finetune": 150,
    "select": 100,
    "export": 80,
    "annotate by 1 worker": 50,
    "annotate by 2 workers": 50,
    "annotate by Dask": 20,
}
"""Kills of each kind of a thousand."""

Work = Callable[[Path], None]
"""Does the work of a run in a folder, or goes on with it."""


# A process that dies on cue ---------------------------------------------------


class Fuse:
    """Counts the calls that change a folder, and may be fatal at one of them."""

    def __init__(self, folder: Path, fatal: int) -> None:
        self.folder, self.fatal, self.calls = str(folder), fatal, 0
        sys.addaudithook(self.hear)
        sync = os.fsync

        def fsync(number: int) -> None:
            self.burn()
            sync(number)

        os.fsync = fsync

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link"):
            path = arguments[0]
        else:
            return
        # what is deleted with its folder is named relative to it
        if not isinstance(path, int):
            name = os.fsdecode(path)
            if name.startswith(self.folder) or not name.startswith(os.sep):
                self.burn()

    def burn(self) -> None:
        self.calls += 1
        if self.calls == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def start(work: Work, folder: Path, log: Path, fatal: int = 0) -> int:
    """Work in a process of its own; returns its number."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setpgid(0, 0)
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        fuse = Fuse(folder, fatal)
        work(folder)
        (log.parent / "calls").write_text(str(fuse.calls))
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


def finish(process: int) -> int:
    """Wait for a process: its exit code, or the negative number of a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def wait(process: int, seconds: float) -> None:
    """Wait for a time, or until a process has ended, which stays to be waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            return
        time.sleep(0.005)


def undisturbed(work: Work, folder: Path, log: Path) -> tuple[int, float]:
    """Run without a kill; returns the calls it made and the seconds it took."""
    begun = time.monotonic()
    if finish(start(work, folder, log)):
        raise SystemExit(f"FAILED: a run that nobody killed, see {log}")
    return int((log.parent / "calls").read_text()), time.monotonic() - begun


def content(folder: Path) -> dict[str, bytes]:
    """What is in a folder, but for how long it took to make it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "manifest.sha256":
            data = path.read_bytes()
            if path.name == "config.json":
                said = json.loads(data)
                said.pop("seconds", None)
                data = json.dumps(said).encode()
            found[path.relative_to(folder).as_posix()] = data
    return found


def left_over(folder: Path) -> list[str]:
    """What a run that has ended must not leave."""
    return [
        path.name
        for path in folder.rglob("*")
        if is_temporary(path) or path.name.endswith((LOCK, ".old"))
    ]


def wrong(folder: Path, truth: dict[str, bytes]) -> str:
    """What is not as it must be in the folder of a run that has ended."""
    found = content(folder)
    if left := left_over(folder):
        return f"left over: {left}"
    others = {name for name in found | truth if found.get(name) != truth.get(name)}
    return f"other bytes: {sorted(others)}" if others else ""


def sweep(work: Work, place: Path) -> tuple[int, list[str]]:
    """Kill a run at each call that changes its folder, and run it again.

    Args:
        work: the run
        place: where it works

    Returns:
        number of kills, and what went wrong

    """
    place.mkdir(parents=True, exist_ok=True)
    log, whole, folder = place / "log", place / "whole", place / "killed"
    calls, _ = undisturbed(work, whole, log)
    truth, found = content(whole), []
    for fatal in range(1, calls + 1):
        shutil.rmtree(folder, ignore_errors=True)
        # the calls name their folder: as long a name, to count alike
        if finish(start(work, folder, log, fatal)) != -signal.SIGKILL:
            found.append(f"call {fatal} of {calls} was not made")
        if finish(start(work, folder, log)):
            found.append(f"call {fatal}: cannot go on")
        elif reason := wrong(folder, truth):
            found.append(f"call {fatal}: {reason}")
    return calls, found


# The runs ---------------------------------------------------------------------


def make_corpus(folder: Path, files: int = FILES) -> None:
    """Write recordings, a table of scores by people, and a small backbone."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "speaker", "arousal", "dominance", "valence"])
        for item in range(files):
            level = np.sin(np.arange(8000) * rng.uniform(1, 9) * 4e-4) + 1.1
            noise = rng.normal(size=8000).cumsum()
            noise = 0.2 * level * noise / np.abs(noise).max()
            soundfile.write(folder / f"{item:02}.wav", noise, 16000)
            scores = rng.uniform(0, 1, 3).round(3)
            writer.writerow([f"{item:02}.wav", f"s{item // 2}", *scores])


def make_backbone(folder: Path) -> None:
    import torch

    from wav2small.finetune.backbones import Origin, build_backbone, save_backbone

    torch.manual_seed(0)
    settings = {
        "model_type": "mel",
        "n_mels": 16,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    save_backbone(folder, build_backbone(settings), Origin("mel", "", ""))


def annotate(
    audio: Path, engine: Callable[[], Any], folder: Path, variations: int = 0
) -> None:
    from wav2small.annotation.run import AnnotateConfig
    from wav2small.annotation.run import annotate as run
    from wav2small.config import VariationConfig
    from wav2small.models import bundled
    from wav2small.teachers.loading import load_teacher

    load = partial(load_teacher, str(bundled()["wav2small-rt-mini"]))
    config = AnnotateConfig(shard_files=2, batch_seconds=2.0)
    varied = VariationConfig(variations, crop_seconds=0.4) if variations else None
    run(
        [audio],
        folder,
        load,
        config=config,
        engine=engine(),
        variations=varied,
        resume=True,
    )


def ask(audio: Path, folder: Path) -> None:
    from wav2small.finetune.labelling.words import annotate_by_words
    from wav2small.teachers.base import TeacherInfo

    reply = '{"arousal": 0.25, "dominance": 0.5, "valence": 1}'
    info = TeacherInfo("reader", "1", "MIT", "unknown")
    annotate_by_words([audio], folder, lambda text: reply, info, resume=True)


def distill(labels: Path, folder: Path) -> None:
    from wav2small.distillation import DistillConfig
    from wav2small.distillation import distill as run

    config = DistillConfig(
        student="wav2small-17k",
        teaching="cached",
        epochs=3,
        batch_size=4,
        crop_seconds=0.2,
        evaluations=3,
    )
    run(labels, folder, config, resume=True)


def finetune(audio: Path, backbone: Path, folder: Path) -> None:
    from wav2small.finetune.config import FinetuneConfig
    from wav2small.finetune.network import NetworkConfig
    from wav2small.finetune.table import read_table
    from wav2small.finetune.train import finetune as run

    config = FinetuneConfig(
        backbone=str(backbone),
        network=NetworkConfig(hidden=8),
        warm_up="contrast",
        warm_up_steps=1,
        steps=4,
        evaluations=2,
        batch_size=4,
        crop_seconds=0.3,
    )
    run(read_table(audio / "table.csv", None), folder, config, resume=True, name="x")


def select(audio: Path, backbone: Path, folder: Path) -> None:
    from wav2small.cli.labelling import select as run

    run([audio, folder / "table.csv"], count=3, backbone=str(backbone))


def export(audio: Path, folder: Path) -> None:
    """Write all that an export does; what it computes is known already."""
    from wav2small.cli.exporting import export as run
    from wav2small.export import pipeline
    from wav2small.models import OnnxModel, find_onnx

    bundled = find_onnx("wav2small-rt-mini")
    made = SimpleNamespace(
        data=bundled.read_bytes(),
        metadata=OnnxModel(bundled).metadata,
        parity=SimpleNamespace(executions={}, signals=0),
        agreement=None,
        failures=[],
        parts=(),
        size=None,
        to_dict=dict,
        to_markdown=lambda: "# Export",
    )
    pipeline.export = lambda *given, **options: made  # type: ignore[assignment]
    try:
        run("wav2small-rt-mini", folder, calibration=[audio], c99=True)
    except InputError as error:  # all was done before the kill
        if "must not hold a model" not in str(error):
            raise


def local(count: int) -> Any:
    from wav2small.annotation.engines import Processes, ThisProcess

    return Processes(count) if count else ThisProcess()


@contextmanager
def cluster(folder: Path) -> Iterator[Callable[[], Any]]:
    """A scheduler of Dask with a worker; yields what connects to it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    begin = [sys.executable, "-m"]
    options = ["--port", "0", "--no-dashboard", "--host", "127.0.0.1"]
    with (folder / "dask.log").open("wb") as log:
        said: dict[str, Any] = {"stdout": log, "stderr": log, "cwd": folder}
        words = ["distributed.cli.dask_scheduler", *options, "--scheduler-file", file]
        scheduler = subprocess.Popen([*begin, *map(str, words)], **said)
        address = ""
        while not address:
            time.sleep(0.1)
            # it is there before it is whole
            with suppress(FileNotFoundError, json.JSONDecodeError):
                address = json.loads(file.read_text())["address"]
        words = ["distributed.cli.dask_worker", address, "--no-nanny"]
        options = ["--no-dashboard", "--nthreads", "1"]
        worker = subprocess.Popen([*begin, *words, *options], **said)

        def connect() -> Any:
            from wav2small.annotation.cluster import Cluster

            return Cluster(address)

        try:
            yield connect
        finally:
            for process in (worker, scheduler):
                process.kill()
                process.wait()


def runs(folder: Path) -> dict[str, Work]:
    """The runs that are killed, by name, with what they need made in a folder."""
    audio, backbone, labels = folder / "audio", folder / "mel", folder / "labels"
    log = folder / "log"
    if not labels.exists():
        make_corpus(audio)
        finish(start(make_backbone, backbone, log))
        undisturbed(partial(annotate, audio, partial(local, 0)), labels, log)
    return {
        "annotate": partial(annotate, audio, partial(local, 0)),
        "annotate variations": partial(
            annotate, audio, partial(local, 0), variations=3
        ),
        "annotate by 1 worker": partial(annotate, audio, partial(local, 1)),
        "annotate by 2 workers": partial(annotate, audio, partial(local, 2)),
        "ask": partial(ask, audio),
        "distill": partial(distill, labels),
        "finetune": partial(finetune, audio, backbone),
        "select": partial(select, audio, backbone),
        "export": partial(export, audio),
    }


# A thousand kills -------------------------------------------------------------


def kill(name: str, work: Work, folder: Path, count: int, seed: int) -> None:
    """Kill a run and go on with it, until it was killed a number of times."""
    diary = folder / "kills.jsonl"
    done = [json.loads(line) for line in diary.read_text().splitlines()]
    killed = sum(entry["name"] == name for entry in done)
    place = folder / name.replace(" ", "-")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    log, whole, victim = place / "log", place / "whole", place / "killed"
    calls, seconds = undisturbed(work, whole, log)
    truth = content(whole)
    trouble = ""
    while killed < count and not trouble:
        rng = np.random.default_rng([seed, killed, *name.encode()])
        fatal = int(rng.integers(1, calls + 1)) if killed % 2 else 0
        process = start(work, victim, log, fatal)
        if not fatal:
            wait(process, rng.uniform(0, seconds))
            os.kill(process, signal.SIGKILL)
        code = finish(process)
        if code > 0:
            trouble = f"cannot go on, see {log}"
        elif code == 0:  # it has ended: all must be there, and it begins anew
            trouble = wrong(victim, truth)
            shutil.rmtree(victim)
        if code < 0 or trouble:
            killed += 1
            entry = {"name": name, "fatal": fatal, "code": code, "trouble": trouble}
            with diary.open("a") as file:
                file.write(json.dumps(entry) + "\n")
    if not trouble and victim.exists():
        undisturbed(work, victim, log)
        if trouble := wrong(victim, truth):
            raise SystemExit(f"FAILED: {name}: {trouble}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(SHARES))
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kills.jsonl").touch()
    # loaded once, for all that is forked from here
    import torch

    import wav2small.annotation.run
    import wav2small.distillation
    import wav2small.finetune.train  # noqa: F401

    torch.set_num_threads(1)
    works = runs(folder)
    for name, share in SHARES.items():
        if given.only and name not in given.only:
            continue
        count = round(share * given.kills / 1000)
        if name in works:
            kill(name, works[name], folder, count, given.seed)
            continue
        with cluster(folder / "dask") as connect:
            work = partial(annotate, folder / "audio", connect)
            kill(name, work, folder, count, given.seed)
    lines = (folder / "kills.jsonl").read_text().splitlines()
    done = [json.loads(line) for line in lines]
    troubles = [entry for entry in done if entry["trouble"]]
    print(f"{'run':<24}{'kills':>7}{'at a call':>11}{'troubles':>10}")
    for name, killed in Counter(entry["name"] for entry in done).items():
        ours = [entry for entry in done if entry["name"] == name]
        at_call = sum(entry["fatal"] > 0 for entry in ours)
        wrongs = sum(bool(entry["trouble"]) for entry in ours)
        print(f"{name:<24}{killed:>7}{at_call:>11}{wrongs:>10}")
    print(f"{len(done)} kills, {len(troubles)} troubles")
    sys.exit(1 if troubles else 0)


if __name__ == "__main__":
    main()
