"""Annotation by processes that crash, hang, eat memory and are killed."""

from __future__ import annotations

import csv
import os
import re
import signal as signals_of_the_system
import subprocess
import sys
import time
from pathlib import Path

import ears
import numpy as np
import psutil
import pytest
import soundfile
import torch
from ears import Ear

from wav2small.annotation import worker as workers
from wav2small.annotation.engines import Processes, environment
from wav2small.annotation.run import annotate
from wav2small.annotation.store import LabelStore
from wav2small.annotation.worker import WorkerLimits, load_on
from wav2small.config import AnnotateConfig
from wav2small.errors import InputError
from wav2small.models import ASSETS
from wav2small.teachers.loading import load_teacher

CONFIG = AnnotateConfig(window_seconds=1.0, batch_seconds=4.0, shard_files=4)
LIMITS = WorkerLimits(seconds=60)
STUDENT = ASSETS / "wav2small-rt-mini"


def write(path: Path, seconds: float, frequency: float = 300) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time_ = np.arange(round(seconds * 16000)) / 16000
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * frequency * time_), 16000)
    return path


def corpus(folder: Path, count: int) -> Path:
    for item in range(count):
        kind = ("wav", "flac", "ogg", "mp3")[item % 4]
        write(folder / f"{item:02}.{kind}", 0.3 + item / 50, 200 + 20 * item)
    return folder


def content(out: Path) -> dict[str, bytes]:
    """All that a run has written, by its path."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def table_of_errors(out: Path) -> dict[str, str]:
    with (out / "errors.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    errors = {row["file"]: row["error"] for row in rows}
    assert len(errors) == len(rows)
    return errors


@pytest.mark.parametrize("workers", [1, 3])
def test_the_bytes_are_those_of_one_process(tmp_path, workers):
    corpus(tmp_path / "audio", 14)
    write(tmp_path / "audio/long.wav", 9.3)
    (tmp_path / "audio/bad.wav").write_text("bad")
    steps = []
    annotate([tmp_path / "audio"], tmp_path / "here", Ear(), config=CONFIG)
    report = annotate(
        [tmp_path / "audio"], tmp_path / "there", Ear, config=CONFIG,
        engine=Processes(workers, LIMITS), progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert content(tmp_path / "here") == content(tmp_path / "there")
    figures = {"audio_seconds": report.seconds, "errors": 1}
    assert steps[-1] == ("annotate", 16, 16, figures)


def test_the_bytes_do_not_depend_on_hash_seed_or_locale(tmp_path):
    for name in ("é", "e", "Z", "a b", "ß"):
        write(tmp_path / "audio" / f"{name}.wav", 0.4)
    code = (
        "import sys; from pathlib import Path; from ears import Ear;"
        "from wav2small.annotation.run import annotate;"
        "annotate([Path(sys.argv[1])], Path(sys.argv[2]), Ear())"
    )
    outs = []
    for seed, locale in (("0", "C"), ("1", "C.UTF-8"), ("2", "POSIX")):
        outs.append(tmp_path / seed)
        variables = {"PYTHONHASHSEED": seed, "LC_ALL": locale}
        paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        subprocess.run(
            [sys.executable, "-c", code, tmp_path / "audio", outs[-1]],
            env={**os.environ, **variables, "PYTHONPATH": paths},
            check=True,
        )
    assert content(outs[0]) == content(outs[1]) == content(outs[2])


# Files that a process does not survive


FAULTS = {
    "05_abort.wav": r"it crashed the process \(SIGABRT\): leave it out or enc",
    "09_exit.wav": r"it ended the process with code 3: leave",
    "11_greedy.wav": r"it took more than 400 MiB of memory: leave",
    "13_raise.wav": r"audio cannot be used: .*: RuntimeError\('no idea'\)",
    "14_evil.wav": r"it crashed the process \(SIGABRT\): leave",
    "15_puzzling.wav": "teacher ear gave scores that are not finite",
}


def test_a_file_that_kills_is_an_error_and_no_other_is(tmp_path):
    good = corpus(tmp_path / "audio", 20)
    for name in FAULTS:
        write(good / name, 0.5)
    soundfile.write(good / "14_evil.wav", np.full(8000, ears.EVIL), 16000)
    soundfile.write(good / "15_puzzling.wav", np.full(8000, ears.PUZZLING), 16000)
    report = annotate(
        [good], tmp_path / "labels", ears.mortal, config=CONFIG,
        engine=Processes(2, WorkerLimits(seconds=60, memory_bytes=400 << 20)),
    )  # fmt: skip
    errors = table_of_errors(tmp_path / "labels")
    assert set(errors) == set(FAULTS)
    assert report.errors == sorted(errors.items())
    for name, pattern in FAULTS.items():
        assert re.search(pattern, errors[name]), errors[name]
    names = LabelStore.open(tmp_path / "labels").read().names
    assert sorted(set(names)) == sorted(
        path.name for path in good.iterdir() if path.name not in FAULTS
    )
    assert len(names) == 20


def test_a_file_that_hangs(tmp_path):
    good = corpus(tmp_path / "audio", 3)
    write(good / "01_hang.flac", 0.5)
    engine = Processes(1, WorkerLimits(seconds=4))
    report = annotate([good], tmp_path / "labels", ears.mortal, engine=engine)
    assert report.labelled == 3
    assert report.errors == [
        (
            "01_hang.flac",
            "audio cannot be used: 01_hang.flac: it took more than 4 s: "
            "leave it out or encode it again",
        )
    ]


def test_files_that_kill_leave_the_same_bytes_after_a_resume(tmp_path):
    good = corpus(tmp_path / "audio", 8)
    write(good / "02_abort.wav", 0.5)
    write(good / "06_exit.wav", 0.5)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = {"config": CONFIG, "engine": Processes(1, LIMITS)}
    annotate([good], whole, ears.mortal, **options)

    def stop(stage, done, *_):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotate([good], broken, ears.mortal, progress=stop, **options)
    assert "errors.csv" not in content(broken)
    annotate([good], broken, ears.mortal, resume=True, **options)
    assert content(broken) == content(whole)


def test_damaged_files_among_good_ones(tmp_path, capfd):
    rng = np.random.default_rng(0)
    good = corpus(tmp_path / "good", 8)
    audio, names = tmp_path / "audio", sorted(path.name for path in good.iterdir())
    audio.mkdir()
    for item in range(48):
        name = names[item % len(names)]
        data = bytearray((good / name).read_bytes())
        (audio / name).write_bytes(data)
        if item % 3 == 0:
            del data[rng.integers(1, len(data)) :]
        else:
            for place in rng.integers(0, len(data) if item % 3 == 1 else 60, 8):
                data[place] = rng.integers(256)
        (audio / f"mutated_{item:02}{Path(name).suffix}").write_bytes(data)
    engine = Processes(2, WorkerLimits(seconds=60, memory_bytes=1 << 30))
    out, alone = tmp_path / "labels", tmp_path / "alone"
    annotate([audio], out, Ear, config=CONFIG, engine=engine)
    # what is wrong stands in errors.csv, not in what decoders say of it
    assert capfd.readouterr().err == ""
    annotate([good], alone, Ear(), config=CONFIG)
    table = LabelStore.open(out).table()
    labelled, bad = table["file"].to_pylist(), table_of_errors(out)
    assert set(labelled) | set(bad) == {path.name for path in audio.iterdir()}
    assert not set(labelled) & set(bad)
    assert len(bad) > 10
    assert all(name.startswith("mutated") for name in bad)
    truth = {row["file"]: row for row in LabelStore.open(alone).table().to_pylist()}
    rows = [row for row in table.to_pylist() if row["file"] in truth]
    assert rows == [truth[row["file"]] for row in rows]
    assert len(rows) == len(truth)


# Processes that are killed from outside


def test_workers_that_are_killed(tmp_path):
    audio, out, log = tmp_path / "audio", tmp_path / "labels", tmp_path / "log"
    corpus(audio, 60)
    config = AnnotateConfig(shard_files=1)
    annotate([audio], tmp_path / "unbroken", Ear(), config=config)
    rng = np.random.default_rng(0)
    moments = (np.arange(10) * 4 + rng.integers(2, 6, 10)).tolist()
    killed = []

    def progress(stage, done, *_):
        heard = set(map(int, log.read_text().split())) if log.exists() else {}
        workers = [p for p in psutil.Process().children() if p.pid in heard]
        if moments and done >= moments[0] and workers:
            del moments[0]
            victim = workers[rng.integers(len(workers))]
            victim.kill()
            killed.append(victim.pid)

    report = annotate(
        [audio], out, ears.slow(log), config=config,
        engine=Processes(2, LIMITS), progress=progress,
    )  # fmt: skip
    assert len(killed) == 10
    assert report.errors == []
    assert content(out) == content(tmp_path / "unbroken")
    # a shard is a batch: with each worker at most one is scored again
    assert 60 <= len(log.read_text().split()) <= 70
    assert not psutil.Process().children()


def test_two_runs_on_one_folder(tmp_path):
    write(tmp_path / "audio/a.wav", 0.5)

    def meddle(*_):
        with pytest.raises(InputError, match="being written by another run"):
            annotate([tmp_path / "audio"], tmp_path / "labels", Ear, resume=True)

    engine = Processes(1, LIMITS)
    arguments = ([tmp_path / "audio"], tmp_path / "labels", Ear)
    assert annotate(*arguments, engine=engine, progress=meddle).labelled == 1


@pytest.mark.parametrize(
    ("number", "code", "workers"),
    [
        (signals_of_the_system.SIGINT, 130, 0),
        (signals_of_the_system.SIGTERM, 143, 1),
    ],
)
def test_a_run_that_is_asked_to_end(tmp_path, number, code, workers):
    corpus(tmp_path / "audio", 4)
    write(tmp_path / "audio/endless.wav", 1500)
    command = [
        *(sys.executable, "-c", "from wav2small.cli import main; main()"),
        *("annotate", tmp_path / "audio", tmp_path / "labels", "--teacher", STUDENT),
        *("--window", "0.5", "--workers", workers),
    ]
    process = subprocess.Popen(
        list(map(str, command)),
        stderr=subprocess.PIPE,
        # a shell's background jobs ignore it, and pass that on
        preexec_fn=lambda: signals_of_the_system.signal(
            signals_of_the_system.SIGINT, signals_of_the_system.default_int_handler
        ),
    )
    while not (tmp_path / "labels/manifest.json").exists():
        time.sleep(0.05)
        assert process.poll() is None
    time.sleep(0.5)
    workers_of_it = psutil.Process(process.pid).children()
    assert len(workers_of_it) == workers
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"go on with --resume" in said
    assert b"Traceback" not in said
    psutil.wait_procs(workers_of_it, timeout=10)
    assert not any(worker.is_running() for worker in workers_of_it)
    (tmp_path / "audio/endless.wav").unlink()
    write(tmp_path / "audio/endless.wav", 0.5)
    report = annotate(
        [tmp_path / "audio"], tmp_path / "labels", load_teacher(str(STUDENT)),
        config=AnnotateConfig(window_seconds=0.5), resume=True,
    )  # fmt: skip
    assert (report.labelled, report.errors) == (5, [])


def test_workers_do_not_outlive_the_run(tmp_path):
    corpus(tmp_path / "audio", 8)
    code = (
        "import sys; from pathlib import Path; import ears;"
        "from test_annotate_workers import CONFIG;"
        "from wav2small.annotation.run import annotate;"
        "from wav2small.annotation.engines import Processes;"
        "annotate([Path(sys.argv[1])], Path(sys.argv[2]), "
        "ears.slow(Path(sys.argv[3]), 0.2), config=CONFIG, engine=Processes(2))"
    )
    log = tmp_path / "log"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "audio", tmp_path / "labels", log],
        env={**os.environ, "PYTHONPATH": paths},
    )
    while not log.exists():
        time.sleep(0.02)
        assert process.poll() is None
    workers = psutil.Process(process.pid).children()
    assert workers
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(workers, timeout=30)
    assert len(gone) == len(workers)
    assert not alive


# Teachers that cannot be had


@pytest.mark.parametrize(
    ("load", "match"),
    [
        (ears.refuse, "teacher must be polite, got none: find another"),
        (ears.stumble, "teacher cannot be loaded: RuntimeError: no such weights"),
        (ears.die, r"must load, but each of 3 processes crashed .*SIGABRT.*meanwhile"),
        (Ear(), "must be a function of a module that loads it, .*: it is loaded alr"),
        (lambda: Ear(), "teacher must be a function of a module that loads it"),
    ],
)
def test_no_teacher(tmp_path, load, match):
    write(tmp_path / "audio/a.wav", 0.5)
    with pytest.raises(InputError, match=match):
        annotate(
            [tmp_path / "audio"], tmp_path / "labels", load, engine=Processes(1, LIMITS)
        )
    assert not psutil.Process().children()


def test_a_teacher_that_is_too_large(tmp_path):
    write(tmp_path / "audio/a.wav", 0.5)
    engine = Processes(1, WorkerLimits(memory_bytes=300 << 20))
    with pytest.raises(InputError, match="each of 3 processes took more than 300 MiB"):
        annotate([tmp_path / "audio"], tmp_path / "l", ears.linger, engine=engine)


class Wrong(Ear):
    def predict(self, signals):
        return np.zeros((1, 1))


def test_a_useless_teacher_ends_the_run(tmp_path):
    write(tmp_path / "audio/a.wav", 0.5)
    with pytest.raises(InputError, match="teacher must give 3 scores"):
        annotate(
            [tmp_path / "audio"],
            tmp_path / "labels",
            Wrong,
            engine=Processes(1, LIMITS),
        )


def test_devices(monkeypatch):
    assert load_on("cpu", Ear).info.name == "ear"
    with pytest.raises(InputError, match="device must be cpu for the teacher ear"):
        load_on("cuda", Ear)

    def to(self, device):
        torch.zeros(1).to(device)

    monkeypatch.setattr(Ear, "to", to, raising=False)
    with pytest.raises(InputError, match="device must be there, got cuda:99: "):
        load_on("cuda:99", Ear)


def test_no_workers(tmp_path):
    write(tmp_path / "audio/a.wav", 0.5)
    with pytest.raises(InputError, match="workers must be at least 1, got 0"):
        annotate([tmp_path / "audio"], tmp_path / "l", Ear, engine=Processes(0))


def test_shares_of_the_machine(monkeypatch):
    cores = len(os.sched_getaffinity(0))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert environment(0, 1) == {"OMP_NUM_THREADS": str(cores)}
    assert environment(5, 2 * cores) == {"OMP_NUM_THREADS": "1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    devices = [environment(item, 3)["CUDA_VISIBLE_DEVICES"] for item in range(3)]
    assert devices == ["4", "7", "4"]
    assert "OMP_NUM_THREADS" not in environment(0, 3)


# Disks


FULL = """
import resource, sys
from pathlib import Path
from ears import Ear
from wav2small.annotation.run import AnnotateConfig, annotate
from wav2small.errors import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
config = AnnotateConfig(shard_files=int(sys.argv[4]))
try:
    annotate([Path(sys.argv[1])], Path(sys.argv[2]), Ear(), config=config, resume=True)
except InputError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more(tmp_path):
    """A limit on the size of files makes the same error as a full disk."""
    corpus(tmp_path / "audio", 40)
    config = AnnotateConfig(shard_files=20)
    annotate([tmp_path / "audio"], tmp_path / "whole", Ear(), config=config)
    largest = max(map(len, content(tmp_path / "whole").values()))
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    out = tmp_path / "labels"
    for limit in (100, largest - 100):
        done = subprocess.run(
            [sys.executable, "-c", FULL, tmp_path / "audio", out, str(limit), "20"],
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith("labels cannot be written: "), done.stderr
        assert "go on with --resume" in done.stdout
        assert len(done.stdout.splitlines()) == 1
        assert not list(out.rglob("*.tmp"))
    annotate([tmp_path / "audio"], out, Ear(), config=config, resume=True)
    assert content(out) == content(tmp_path / "whole")


def test_a_folder_that_cannot_be(tmp_path):
    write(tmp_path / "audio/a.wav", 0.5)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="output must be a folder that can be written"):
        annotate([tmp_path / "audio"], tmp_path / "file/labels", Ear())


@pytest.mark.parametrize("others", [0, 1])
def test_a_teacher_that_dies_on_each_file_ends_the_run(tmp_path, monkeypatch, others):
    monkeypatch.setattr(workers, "FAILURES", 3)
    (tmp_path / "audio").mkdir()
    audio = corpus(tmp_path / "audio", others)
    for item in range(2 if others else 4):
        soundfile.write(audio / f"9{item}.wav", np.full(8000, ears.EVIL), 16000)
    words = {"config": CONFIG, "engine": Processes(1, WorkerLimits(seconds=60))}
    if others:
        report = annotate([audio], tmp_path / "l", ears.mortal, **words)
        assert (report.labelled, len(report.errors)) == (1, 2)
        return
    with pytest.raises(InputError, match=r"must score .* crashed .* on 3 files in a"):
        annotate([audio], tmp_path / "l", ears.mortal, **words)
