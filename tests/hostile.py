"""Files that are meant ill, over every loader but that of models.

A small share runs in the suite. All of them:

    python tests/hostile.py --count 2000 --seed 0

Each file is loaded in a process of its own, by the code of the command line that
turns errors into lines; one in eight goes through a whole command that reads it.
Wrong is a traceback, an exit code that is not documented, a crash, more than
ten seconds of processor time, a character that a terminal obeys,
and a label store that says something else than before.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import hostile_models
import numpy as np
import pyarrow as pa
import pyarrow.parquet
from recordings import FORMATS, tone, write

import wav2small.cli.main  # noqa: F401  (the package has a function of this name)
from wav2small import annotate, audio, checkpoint, finetune
from wav2small.annotation.store import LabelStore
from wav2small.firmware_bench.report.baseline import load_baseline
from wav2small.firmware_bench.run.measurement import FIGURES
from wav2small.firmware_bench.target import load_target
from wav2small.suite import sounds
from wav2small.teachers.description import Description
from wav2small.teachers.source import CheckpointFiles, read_json

main = sys.modules["wav2small.cli.main"]
APP = main.app

SECONDS = 10.0
"""Time in seconds that a file may take."""

VALUES = (
    None, True, -1, 0, 1e308, 10**400, float("nan"), float("inf"), "", "\0", "\x1b[31m",
    "a\nb", "\u202e", "\ud800", "x" * 70_000, "../../x", "//x", [], {}, [[]], {"": {}},
    "1e999", "-0", "nan", "9" * 5000, "=1+1", "2020-13-45", ["file"], 2**63, b"\xff",
)  # fmt: skip
"""Values where another one is expected."""

YAML = (
    "[" * 3000, "a: &a [*a]", "!!python/object/apply:os.system [ls]", "{a: b: c}",
    "tables: [1]", "tables: {a: 1}", "splits: {x: [y]}", "- x", "\x1b", "? [a]\n: b",
    "tables: {x: {columns: {file: {scheme_id: [1]}}}}", "!!timestamp x", "0x: 1",
    "tables: {x: {split_id: [1]}}\nsplits: {a: {}}",
    "schemes: {speaker: {labels: {1: {gender: [m]}}}}",
    "tables: {1: {}}", "tables: {x: {columns: {arousal: {scheme_id: {a: b}}}}}",
    "schemes: {speaker: {labels: ../../x}}", "tables: {null: {}}", "a: 2020-13-45",
)  # fmt: skip
"""Headers of databases and of model cards."""


@dataclass(frozen=True)
class Kind:
    """A sort of files."""

    make: Callable[[Path, random.Random], Path]
    """Writes a good one into a folder and returns what is loaded."""

    load: Callable[[Path], object]
    """Loads it and returns what it says."""

    victim: str = ""
    """Pattern of the files in the folder that are damaged; what is loaded if empty."""

    exact: bool = False
    """Whether a file that loads must say what the good one says."""

    commands: tuple[str, ...] = ()
    """Lines that read it: ``{path}`` is the file, ``{folder}`` its folder,
    ``{out}`` is new, the others are what :func:`support` makes."""


def _audio(folder: Path, rng: random.Random) -> Path:
    path = folder / f"a.{rng.choice([*FORMATS])}"
    rate = rng.choice([8000, 16000, 44100])
    channels = np.stack([tone(0.5, sampling_rate=rate)] * rng.choice([1, 2]), 1)
    return write(path, channels, rate if path.suffix != ".opus" else 16000)


def _hear(path: Path) -> object:
    signal = audio.load(path)
    return len(signal), float(np.abs(signal).max())


TABLE = {
    "file": ["a.wav", "b.wav", "a.wav"],
    "start": [0.0, 0.5, 2.0],
    "end": [1.0, 1.5, None],
    "speaker": ["anna", None, "bert"],
    "gender": ["female", "m", ""],
    "split": ["train", "dev", "train"],
    "arousal": [0.25, None, 1.0],
}


def _csv(folder: Path, rng: random.Random) -> Path:
    rows = [TABLE, *zip(*TABLE.values(), strict=True)]
    lines = [
        ",".join("" if cell is None else str(cell) for cell in row) for row in rows
    ]
    (folder / "m.csv").write_text("\n".join(lines))
    return folder / "m.csv"


def _parquet(folder: Path, rng: random.Random) -> Path:
    columns: dict[str, object] = dict(TABLE)
    if rng.random() < 0.5:  # a column of another type
        name = rng.choice(list(TABLE))
        columns[name] = rng.choice(
            [
                pa.array([10**18, -1, None], pa.int64()),
                pa.array([10**15, -1, None], pa.timestamp("ms")),
                pa.array([10**18, -1, None], pa.duration("s")),
                pa.array([b"\xff", b"", None]),
                pa.array([["x"], [], None]),
                pa.array([{"x": 1}, {}, None]),
                pa.array([True, False, None]),
                pa.array([float("nan"), float("inf"), None]),
                pa.nulls(3),
            ]
        )
    pa.parquet.write_table(pa.table(columns), folder / "m.parquet")
    return folder / "m.parquet"


def _database(folder: Path, rng: random.Random) -> Path:
    _csv(folder, rng).rename(folder / "db.x.csv")
    (folder / "db.yaml").write_text(
        "name: x\ntables: {x: {split_id: train, columns: "
        "{speaker: {scheme_id: speaker}}}}\nsplits: {train: {type: train}}\n"
        "schemes: {speaker: {labels: {anna: {gender: female}}}}\n"
    )
    return folder


def _find(path: Path) -> object:
    return [(s.key, s.metadata, s.human) for s in audio.find([path])[1]]


def _labels(folder: Path, rng: random.Random) -> Path:
    teacher = {"name": "t", "revision": "1", "licence": "MIT", "training_data": "x"}
    store = LabelStore.create(folder / "l", {"root": "/x", "teacher": teacher})
    row = {"file": "a.wav", "start": 0.0, "end": 1.0, "arousal": 0.1, "dominance": 0.2}
    row |= {"valence": 0.3, "teacher": "t", "licence": "MIT", "sha256": "0" * 64}
    store.append([row], [("b.wav", "bad")], skipped=[("c.wav", 0.0, 1.0, "silence")],
                 sources=[("a.wav", None, None), ("b.wav", 0.0, 2.5)])  # fmt: skip
    store.finish()
    return folder / "l"


def _read_labels(path: Path) -> object:
    store = LabelStore.open(path)
    labels = store.read()
    lists = [labels.names, labels.starts.tolist(), labels.scores.tolist()]
    return lists, store.errors(), store.skipped(), sorted(map(str, store.done()))


def _json(name: str, content: object) -> Callable[[Path, random.Random], Path]:
    def make(folder: Path, rng: random.Random) -> Path:
        (folder / name).write_text(json.dumps(content))
        return folder / name

    return make


def _card(folder: Path, rng: random.Random) -> Path:
    (folder / "README.md").write_text(
        "---\nlicense: mit\ndatasets:\n- x\n- y\n---\n# A model\n"
    )
    return folder


def _checkpoint(folder: Path, rng: random.Random) -> Path:
    weights = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}
    checkpoint.save(folder / "c", weights, {"format": "x", "student": "y"})
    return folder / "c"


def _noises(folder: Path, rng: random.Random) -> Path:
    (folder / "metadata.csv").write_text("file,category\na.wav,rain\nb.wav,wind\n")
    return folder


def support(folder: Path) -> dict[str, Path]:
    """Make what commands need beside a hostile file: speech, a teacher, labels."""
    teacher, speech = folder / "teacher.onnx", folder / "speech" / "a.wav"
    model = hostile_models.MODEL
    for key, value in hostile_models.LABELS.items():
        model.metadata_props.add(key=key, value=value)
    teacher.write_bytes(model.SerializeToString())
    speech.parent.mkdir()
    write(speech, tone(1.0)[:, None], 16000)
    labels = annotate(speech, folder / "labels", teacher=str(teacher))
    return {"teacher": teacher, "speech": speech, "labels": labels.folder}


ANNOTATE = "annotate {path} {out} --teacher {teacher} --workers 0"
TABLES = (
    ANNOTATE,
    "export wav2small-rt-mini {out} --tune 0 --calibration {path}",
    "select {path} {out}.csv --count 2",
    "layers {path} --backbone mel",
    "finetune {path} {out} --backbone mel",
)
LABELS = (
    "evaluate wav2small-rt-mini {path}",
    "distill {path} {out} --student wav2small-rt-mini --epochs 1",
    "annotate {speech} {path} --teacher {teacher} --workers 0 --resume",
)
TEACHERS = (
    "annotate {speech} {out} --teacher {folder} --workers 0",
    "evaluate {folder} {labels}",
)

FIGURE = {"value": 64, "source": "data sheet", "verified": True}
TARGET = {"name": "x", "core": "cortex-m4", "description": "a chip", "clock_hz": FIGURE}
CORE = {"core": "cortex-m4", "figures": dict.fromkeys(FIGURES, 1)}
FIRMWARE = {"counted_signal": {"sha256": "x"}, "cores": [CORE]}
TEACHER = {"name": "t", "licence": "MIT", "labels": ["arousal"], "range": [1, 7]}

KINDS = {
    "audio": Kind(
        _audio,
        _hear,
        commands=(
            ANNOTATE,
            "predict {path} --model wav2small-rt-mini",
            "predict {path} --model wav2small-rt-mini --stream",
            "calibrate wav2small-rt-mini {path} {out}.json",
        ),
    ),
    "csv": Kind(_csv, _find, commands=TABLES),
    "parquet": Kind(_parquet, _find, commands=TABLES),
    "database": Kind(_database, _find, "db.*", commands=(ANNOTATE,)),
    "labels": Kind(_labels, _read_labels, "**/part-*.parquet", True, LABELS),
    "label manifest": Kind(_labels, _read_labels, "**/manifest.json", commands=LABELS),
    "target": Kind(
        _json("t.json", TARGET),
        load_target,
        commands=("bench wav2small-rt-mini --target {path}",),
    ),
    "baseline": Kind(
        _json("b.json", {"firmware": FIRMWARE}), lambda path: load_baseline(path, "x")
    ),
    "description": Kind(
        _json("teacher.json", TEACHER), Description.read, commands=TEACHERS
    ),
    "json": Kind(_json("config.json", {"a": 1}), read_json, commands=TEACHERS),
    "fine-tuning": Kind(
        _json("config.json", {"format": finetune.FORMAT}),
        lambda path: finetune.find(path.parent),
        commands=TEACHERS,
    ),
    "card": Kind(
        _card,
        lambda path: CheckpointFiles("x", path).card(),
        "README.md",
        commands=TEACHERS,
    ),
    "checkpoint": Kind(
        _checkpoint,
        checkpoint.load,
        "c/*",
        exact=True,
        commands=(
            "predict {speech} --model {path}",
            "export {path} {out}",
            "compare {path} wav2small-rt-mini",
            "evaluate {path} {labels}",
        ),
    ),
    "noises": Kind(
        _noises,
        sounds._categories,
        "metadata.csv",
        commands=("evaluate {teacher} {labels} --suite --noise {folder}",),
    ),
}


def damage(path: Path, rng: random.Random) -> None:
    """Make a file one that is meant ill."""
    data = path.read_bytes()
    ways = [_flip, _cut, _splice, _bomb]
    if path.suffix in (".json", ".csv", ".yaml"):
        ways += [_value] * 4
    if path.suffix == ".yaml" or path.name == "README.md":
        ways += [_yaml] * 4
    if rng.random() < 0.1:
        _no_file(path, rng)
        return
    path.write_bytes(rng.choice(ways)(data, path, rng))


def _flip(data: bytes, path: Path, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 3, 30])):
        # headers are at the beginning and, of Parquet, at the end
        reach = rng.choice([64, len(changed)])
        place = rng.randrange(min(reach, len(changed)))
        changed[place if rng.random() < 0.7 else -1 - place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data: bytes, path: Path, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))] + bytes(rng.choice([0, 0, 1000]))


def _splice(data: bytes, path: Path, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    number = rng.choice([0, 0x7FFFFFFF, 0xFFFFFFFF, len(data), 2**31])
    piece = rng.choice([struct.pack("<I", number), struct.pack(">I", number),
                        rng.randbytes(rng.choice([4, 300])), data[: rng.randrange(300)],
                        b"\0" * 100_000])  # fmt: skip
    return data[:place] + piece + data[place + rng.choice([0, 4, 300]) :]


def _bomb(data: bytes, path: Path, rng: random.Random) -> bytes:
    return rng.choice([b"[" * 200_000, b'{"a":' * 100_000, b"x," * 600_000, b"",
                       b"\n" * 100_000, b"file\n" + b"\0.wav\n" * 9, b"\xef\xbb\xbf",
                       b'"' + b"a" * 300_000, b"\x1b]0;x\x07" * 9])  # fmt: skip


def _value(data: bytes, path: Path, rng: random.Random) -> bytes:
    value = rng.choice(VALUES)
    if path.suffix == ".json":
        content = json.loads(data)
        places = [(content, key) for key in content]
        for holder, key in places:
            inner = holder[key]
            if isinstance(inner, dict):
                places += [(inner, one) for one in inner]
            elif isinstance(inner, list):
                places += [(inner, one) for one in range(len(inner))]
        holder, key = rng.choice(places)
        holder[key] = repr(value) if isinstance(value, bytes) else value
        return json.dumps(content).encode()
    text = data.decode("utf-8", "replace")
    words = text.split("," if path.suffix == ".csv" else " ")
    words[rng.randrange(len(words))] = str(value)
    joined = ("," if path.suffix == ".csv" else " ").join(words)
    return joined.encode("utf-8", "surrogatepass")


def _yaml(data: bytes, path: Path, rng: random.Random) -> bytes:
    text = rng.choice(YAML)
    return (f"---\n{text}\n---\n" if path.name == "README.md" else text).encode()


def _no_file(path: Path, rng: random.Random) -> None:
    path.unlink()
    rng.choice(
        [
            lambda: os.mkfifo(path),
            lambda: path.symlink_to("/dev/zero"),
            lambda: path.symlink_to(path.name),
            lambda: path.symlink_to("/proc/self/mem"),
            path.mkdir,
        ]
    )()


def loading(load: Callable[[Path], object], path: Path) -> Callable[[], object]:
    """Return what shows a file as a loader reads it."""
    return lambda: print(repr(load(path)).encode("ascii", "replace"))


def commanding(line: str, places: Mapping[str, Path]) -> Callable[[], object]:
    """Return what runs a command line whose words may be places."""
    words = [word.format_map(places) for word in line.split()]

    def act() -> object:
        sys.argv = ["wav2small", *words]
        return APP()

    return act


def run(act: Callable[[], object]) -> tuple[int, str, float]:
    """Act in a process of its own: exit code, what was said, and seconds of work."""
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if not child:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            sys.stdout = os.fdopen(1, "w")
            sys.stderr = os.fdopen(2, "w")
            # a busy machine takes longer for the same work
            signal.alarm(round(12 * SECONDS))
            main.app = act
            code = 0
            try:
                main.main()
            except SystemExit as end:
                code = end.code or 0
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status, used = os.wait4(child, 0)
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
        return os.waitstatus_to_exitcode(status), text, used.ru_utime + used.ru_stime


def wrong(
    result: tuple[int, str, float], good: str | None = None, *, command: bool = False
) -> str | None:
    """Say what is wrong with how a file was loaded, None if nothing is.

    Args:
        result: of :func:`run`
        good: what has to be said if anything is, None if that is not known
        command: whether it was a whole command, which may have a verdict

    """
    code, text, seconds = result
    if "Traceback" in text or code == main.BUG:
        return f"bug: {text.strip().splitlines()[-1][:300]}"
    if code not in ((0, 1, 2, 3, 4) if command else (0, 2, 3)):
        return f"exit code {code}"
    if seconds > SECONDS:
        return f"{seconds:.0f} s"
    if any(not c.isprintable() and c != "\n" for c in text):
        return f"control characters: {text!r}"
    if code in (2, 3) and text.count("error: ") < 1:
        return f"no line of error: {text!r}"
    if good is not None and not code and text != good:
        return "another result without an error"
    return None


def attack(
    number: int, seed: int, kinds: list[str], places: Mapping[str, Path]
) -> tuple[str, str | None]:
    """Make one file, load it, and say its kind and what is wrong.

    Args:
        number: number of the file
        seed: seed of all files
        kinds: kinds that take turns
        places: of :func:`support`

    """
    rng = random.Random(f"{seed} {number}")
    name = kinds[number % len(kinds)]
    kind = KINDS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = kind.make(Path(folder), rng)
        good = run(loading(kind.load, path))[1] if kind.exact else None
        victims = sorted(Path(folder).glob(kind.victim)) if kind.victim else [path]
        damage(rng.choice(victims), rng)
        if kind.commands and number // len(kinds) % 8 == number % 8:
            line = kind.commands[number // len(kinds) // 8 % len(kind.commands)]
            new = {"path": path, "folder": path.parent, "out": Path(folder, "out")}
            done = run(commanding(line, {**places, **new}))
            return f"{name} by {line.split()[0]}", wrong(done, command=True)
        return name, wrong(run(loading(kind.load, path)), good)


def all_of(count: int, seed: int) -> list[str]:
    """Make and load files; return a line for each that goes wrong."""
    kinds = list(KINDS)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        places = support(Path(folder))
        for number in range(count):
            name, fault = attack(number, seed, kinds, places)
            if fault:
                lines.append(f"{number} {name}: {fault}")
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    faults = all_of(given.count, given.seed)
    print("\n".join(faults))
    print(Counter(line.split(": ")[0].split(" ", 1)[1] for line in faults))
    print(f"{given.count} files, {len(faults)} go wrong")
    sys.exit(bool(faults))
