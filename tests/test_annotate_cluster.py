"""Annotation on a cluster: a real scheduler, and workers that come and go."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import ears
import numpy as np
import psutil
import pytest
import soundfile
import test_annotate_varied
from ears import Ear

import wav2small
from wav2small.annotation import cluster
from wav2small.annotation.cluster import Cluster
from wav2small.annotation.run import annotate
from wav2small.annotation.store import LabelStore
from wav2small.annotation.worker import WorkerLimits
from wav2small.config import AnnotateConfig
from wav2small.errors import InputError

distributed = pytest.importorskip(
    "distributed", reason="package distributed is missing"
)
dask = pytest.importorskip("dask")

CONFIG = AnnotateConfig(shard_files=1)


class Machines:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path, *security: object) -> None:
        self.folder = folder
        self.security = security
        self.workers: list[subprocess.Popen[bytes]] = []
        self._log = (folder / "dask.log").open("wb")
        file = folder / "scheduler.json"
        options = ("--port", "0", "--no-dashboard", "--scheduler-file", file)
        host = "tls://127.0.0.1" if security else "127.0.0.1"
        self.scheduler = self._start("dask_scheduler", "--host", host, *options)
        while True:
            assert self.scheduler.poll() is None
            # it is there before it is whole
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                self.address = json.loads(file.read_text())["address"]
                break
            time.sleep(0.05)

    def _start(
        self, what: str, *options: object, first: Path | None = None
    ) -> subprocess.Popen[bytes]:
        places = [*([str(first)] if first else []), str(Path(__file__).parent)]
        paths = os.pathsep.join([*places, *sys.path])
        options = *options, *self.security
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{what}", *map(str, options)],
            env={**os.environ, "PYTHONPATH": paths},
            cwd=self.folder,
            stdout=self._log,
            stderr=self._log,
        )

    def add(self, code: Path | None = None) -> None:
        """Add a worker, of the code in another folder if one is given."""
        options = ("--no-nanny", "--no-dashboard", "--nthreads", 1)
        self.workers.append(
            self._start("dask_worker", self.address, *options, first=code)
        )

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
        self._log.close()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    cluster = Machines(tmp_path)
    yield cluster
    cluster.close()


def corpus(folder: Path, count: int) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for item in range(count):
        noise = 0.1 * rng.normal(size=8000 + 100 * item)
        soundfile.write(folder / f"{item:02}.wav", noise, 16000)
    return folder


def content(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.slow
def test_a_worker_is_killed_and_one_added(tmp_path, machines):
    audio, log = corpus(tmp_path / "audio", 30), tmp_path / "log"
    soundfile.write(audio / "07_abort.wav", np.zeros(8000), 16000)
    machines.add()
    machines.add()
    load = ears.mortal_and_slow(log, 0.1)
    steps = []

    def progress(stage, done, *_):
        steps.append(done)
        if done == 8 and len(machines.workers) == 2:
            machines.add()
            children = psutil.Process(machines.workers[0].pid).children()
            machines.workers[0].kill()
            # what it had started ends with it
            psutil.wait_procs(children, timeout=30)
            assert not any(child.is_running() for child in children)

    out = tmp_path / "labels"
    engine = Cluster(machines.address, WorkerLimits(seconds=60))
    report = annotate([audio], out, load, config=CONFIG, engine=engine,
                      progress=progress)  # fmt: skip
    assert report.labelled == 30
    assert [name for name, _ in report.errors] == ["07_abort.wav"]
    assert steps[-1] == 31
    # the killed machine had one or two shards, the bad file costs two processes
    assert 30 <= len(log.read_text().split()) <= 33
    whole = tmp_path / "whole"
    annotate([audio], whole, Ear(), config=CONFIG)
    mine, its = content(out), content(whole)
    bad = "shards/part-00008.parquet"
    same = its.keys() - {"errors.csv", bad}
    assert {name: mine[name] for name in same} == {name: its[name] for name in same}
    # a second run finds the same machines, and nothing to do
    again = annotate([audio], out, load, config=CONFIG, engine=engine, resume=True)
    assert again.seconds == 0
    assert content(out) == mine


@pytest.mark.slow
def test_variations_are_those_of_this_process(tmp_path, machines):
    table = test_annotate_varied.corpus(tmp_path / "audio", 12)
    test_annotate_varied.label(table, tmp_path / "here")
    machines.add()
    engine = Cluster(machines.address, WorkerLimits(seconds=60))
    test_annotate_varied.label(table, tmp_path / "there", Ear, engine=engine)
    assert content(tmp_path / "here") == content(tmp_path / "there")


def test_no_teacher_on_the_machines(tmp_path, machines):
    machines.add()
    audio = corpus(tmp_path / "audio", 1)
    with pytest.raises(InputError, match="teacher must be polite"):
        annotate([audio], tmp_path / "labels", ears.refuse,
                 engine=Cluster(machines.address))  # fmt: skip


def test_no_worker(tmp_path, machines):
    audio = corpus(tmp_path / "audio", 1)
    with pytest.raises(InputError, match=r"must have a worker, .*: start 'dask worker"):
        annotate([audio], tmp_path / "labels", Ear,
                 engine=Cluster(machines.address, patience_seconds=0.5))  # fmt: skip


def test_no_scheduler(tmp_path):
    audio = corpus(tmp_path / "audio", 1)
    with pytest.raises(InputError, match="scheduler must be reachable, got tcp://127"):
        annotate([audio], tmp_path / "labels", Ear,
                 engine=Cluster("tcp://127.0.0.1:1", patience_seconds=0.5))  # fmt: skip
    with pytest.raises(InputError, match="scheduler must be reachable, got nonsense"):
        annotate([audio], tmp_path / "labels", Ear,
                 engine=Cluster("nonsense://x", patience_seconds=0.5))  # fmt: skip


def test_without_the_extra(tmp_path, monkeypatch):
    audio = corpus(tmp_path / "audio", 1)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'wav2small\[scale\]'"):
        annotate([audio], tmp_path / "labels", Ear, engine=Cluster("tcp://x:1"))


def test_what_a_table_says_goes_along(tmp_path, machines):
    audio = corpus(tmp_path / "audio", 2)
    said = [("female", "hello"), ("male", "a longer text")]
    rows = [f"{n:02}.wav,{gender},{text}" for n, (gender, text) in enumerate(said)]
    (audio / "m.csv").write_text("\n".join(["file,gender,text", *rows]))
    machines.add()
    annotate(
        [audio / "m.csv"], tmp_path / "l", ears.Reader, config=CONFIG,
        engine=Cluster(machines.address, WorkerLimits(seconds=60)),
    )  # fmt: skip
    scores = LabelStore.open(tmp_path / "l").read().scores[:, 1:]
    np.testing.assert_allclose(scores, [ears.read(*row) for row in said], rtol=1e-6)


# Machines of other code


def test_all_code_that_labels_depend_on_is_compared(tmp_path, monkeypatch):
    for name in ("annotation/cluster.py", "features.py", "cli/main.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before")
    monkeypatch.setattr(cluster, "__file__", str(tmp_path / "annotation/cluster.py"))
    before = cluster.identity(CONFIG)["code"]
    (tmp_path / "cli/main.py").write_text("after")
    assert cluster.identity(CONFIG)["code"] == before
    (tmp_path / "features.py").write_text("after")
    assert cluster.identity(CONFIG)["code"] != before


def other_code(folder: Path, old: str, new: str, file: str) -> Path:
    """Copy this package, with a change in it."""
    place = Path(wav2small.__file__).parent
    shutil.copytree(place, folder / "wav2small", symlinks=False)
    path = folder / "wav2small" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return folder


@pytest.mark.parametrize(
    ("file", "old", "new", "match"),
    [
        ("__init__.py", '__version__ = "', '__version__ = "9', "wav2small 9.* instead"),
        ("config.py", "min_seconds: float = 0.25", "min_seconds: float = 0.5",
         "code [0-9a-f]{12} instead of"),
        ("annotation/cluster.py", "def _differences(", "def _other_name(",
         "AttributeError"),
    ],
)  # fmt: skip
def test_a_machine_of_other_code(tmp_path, machines, file, old, new, match):
    machines.add(other_code(tmp_path / "other", old, new, file))
    audio = corpus(tmp_path / "audio", 1)
    with pytest.raises(InputError, match=rf"workers must .*{match}") as caught:
        annotate([audio], tmp_path / "labels", Ear, engine=Cluster(machines.address))
    assert "\n" not in str(caught.value)
    assert "install" in str(caught.value)


def test_a_machine_of_other_code_that_joins_late(tmp_path, machines):
    file = "annotation/cluster.py"
    code = other_code(tmp_path / "other", "Label on", "label on", file)
    audio = corpus(tmp_path / "audio", 12)
    machines.add()

    def progress(stage, done, *_):
        if done == 2 and len(machines.workers) == 1:
            machines.add(code)
            client = distributed.Client(machines.address, set_as_default=False)
            with client:
                client.wait_for_workers(2, timeout=60)
            machines.workers[0].kill()  # the other one gets what it had

    with pytest.raises(InputError, match=r"workers must have .* code .* instead of"):
        annotate([audio], tmp_path / "labels", Ear, config=CONFIG,
                 engine=Cluster(machines.address), progress=progress)  # fmt: skip


def test_the_scheduler_is_lost(tmp_path, machines):
    machines.add()
    audio = corpus(tmp_path / "audio", 12)

    def progress(stage, done, *_):
        if done == 2:
            machines.scheduler.kill()

    out = tmp_path / "labels"
    with pytest.raises(InputError, match=r"scheduler must stay, .* --resume") as caught:
        annotate([audio], out, Ear, config=CONFIG,
                 engine=Cluster(machines.address), progress=progress)  # fmt: skip
    assert "\n" not in str(caught.value)
    assert annotate([audio], out, Ear(), config=CONFIG, resume=True).labelled == 12


# Encrypted and with certificates


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is missing")
def test_only_who_has_a_certificate_is_let_in(tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
         "-subj", "/CN=dask", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    files = ("--tls-ca-file", certificate, "--tls-cert", certificate, "--tls-key", key)
    machines = Machines(tmp_path, *files)
    try:
        assert machines.address.startswith("tls://")
        machines.add()
        audio = corpus(tmp_path / "audio", 2)
        engine = Cluster(machines.address, patience_seconds=60)
        with pytest.raises(InputError, match="scheduler must be reachable"):
            annotate([audio], tmp_path / "labels", Ear, engine=engine)
        settings = {
            f"distributed.comm.tls.{name}": str(file)
            for name, file in (
                ("ca-file", certificate),
                ("client.cert", certificate),
                ("client.key", key),
            )
        }
        with dask.config.set(settings):
            report = annotate([audio], tmp_path / "labels", Ear, engine=engine)
        assert report.labelled == 2
    finally:
        machines.close()
