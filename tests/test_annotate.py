import csv
import json
import os
import shutil
import signal as signals_of_the_system
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ears import Ear, hear

from wav2small.annotation import run as annotate_module
from wav2small.annotation.labelling import FAILURES
from wav2small.annotation.run import annotate
from wav2small.annotation.store import LabelStore
from wav2small.bundled import DEMO
from wav2small.config import AnnotateConfig
from wav2small.errors import InputError
from wav2small.export.base.files import sha256

CONFIG = AnnotateConfig(window_seconds=1.0, batch_seconds=4.0, shard_files=3)


def tone(seconds, frequency):
    time_ = np.arange(round(seconds * 16000)) / 16000
    return 0.3 * np.sin(2 * np.pi * frequency * time_)


EXTENSIONS = ("wav", "flac", "ogg", "mp3", "opus")


def write(path, seconds=0.5, frequency=300, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".opus":
        options = {"format": "OGG", "subtype": "OPUS"}
    soundfile.write(path, tone(seconds, frequency), 16000, **options)
    return path


def corpus(folder, count):
    for i in range(count):
        extension = EXTENSIONS[i % len(EXTENSIONS)]
        write(folder / f"{i:02}.{extension}", 0.3 + i / 50, 200 + 20 * i)
    return folder


def shards(out):
    return {path.name: path.read_bytes() for path in (out / "shards").iterdir()}


def table_of_errors(out):
    with (out / "errors.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_labels(tmp_path):
    path = write(tmp_path / "audio/a/b.wav", 0.75, subtype="FLOAT")
    steps = []
    teacher = Ear()
    report = annotate(
        [tmp_path / "audio"], tmp_path / "labels", teacher,
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert (report.files, report.labelled, report.errors) == (1, 1, [])
    assert report.seconds == 0.75
    assert steps[-1] == ("annotate", 1, 1, {"audio_seconds": 0.75, "errors": 0})
    store = LabelStore.open(tmp_path / "labels")
    assert store.root == tmp_path / "audio"
    assert store.teacher == teacher.info.to_dict()
    assert set(store.manifest["versions"]) == {
        "wav2small", "numpy", "python", "libsndfile"
    }  # fmt: skip
    (row,) = store.table().to_pylist()
    assert (row["file"], row["start"], row["end"]) == ("a/b.wav", 0, 0.75)
    assert (row["teacher"], row["licence"]) == ("ear", "MIT")
    assert row["sha256"] == sha256(path)
    assert row["speaker"] is row["human_arousal"] is None
    truth = hear(tone(0.75, 300).astype(np.float32))
    np.testing.assert_array_equal(store.read().scores, [truth])
    assert (tmp_path / "labels/errors.csv").read_text() == "file,error\n"


def test_manifest(tmp_path):
    write(tmp_path / "a.wav", 3)
    (tmp_path / "m.csv").write_text(
        "file,start,end,speaker,split,arousal,valence\n"
        "a.wav,0.5,1.25,anna,train,0.25,\na.wav,2,,bert,test,,\n"
    )
    annotate([tmp_path / "m.csv"], tmp_path / "labels", Ear())
    labels = LabelStore.open(tmp_path / "labels").read()
    np.testing.assert_array_equal(labels.starts, [0.5, 2])
    np.testing.assert_array_equal(labels.ends, [1.25, 3])
    assert labels.metadata["speaker"] == ["anna", "bert"]
    assert labels.metadata["split"] == ["train", "test"]
    np.testing.assert_array_equal(labels.human, [[0.25, np.nan, np.nan], [np.nan] * 3])


@pytest.mark.parametrize(
    ("seconds", "lengths"),
    [
        (0.25, [0.25]),
        (1, [1]),
        (1.5, [0.75, 0.75]),
        (2, [1, 1]),
        (2.25, [1, 0.625, 0.625]),
        (35.5, [1] * 34 + [0.75, 0.75]),
    ],
)
def test_windows(tmp_path, seconds, lengths):
    write(tmp_path / "a.wav", seconds)
    annotate([tmp_path / "a.wav"], tmp_path / "labels", Ear(), config=CONFIG)
    labels = LabelStore.open(tmp_path / "labels").read()
    np.testing.assert_allclose(labels.ends - labels.starts, lengths, atol=1e-9)
    assert labels.starts[0] == 0
    np.testing.assert_allclose(labels.starts[1:], labels.ends[:-1], atol=1e-9)


def test_batches_are_bounded_and_of_similar_length(tmp_path):
    for i in range(12):
        write(tmp_path / f"audio/{i}.wav", (i * 5 % 12 + 4) / 16)
    teacher = Ear()
    config = AnnotateConfig(batch_seconds=2.0)
    annotate([tmp_path / "audio"], tmp_path / "labels", teacher, config=config)
    assert sum(map(len, teacher.batches)) == 12
    assert max(map(len, teacher.batches)) > 1
    for batch in teacher.batches:
        assert len(batch) == 1 or len(batch) * max(batch) <= 2 * 16000


def broken(folder):
    """Write 20 files that must not be labelled."""
    folder.mkdir(parents=True)
    for extension in EXTENSIONS:
        (folder / f"empty.{extension}").touch()
        path = write(folder / f"cut.{extension}", 2)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    for extension in ("wav", "flac", "mp3"):
        (folder / f"text.{extension}").write_text("This is no audio.\n" * 50)
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        signal = tone(1, 300)
        signal[9000] = value
        soundfile.write(folder / f"{name}.wav", signal, 16000, subtype="FLOAT")
    for name, where, length in (
        ("riff", 4, 2**31),
        ("data_long", 40, 2**31),
        ("data_short", 40, 1000),
    ):
        path = write(folder / f"{name}.wav", 1)
        data = bytearray(path.read_bytes())
        data[where : where + 4] = length.to_bytes(4, "little")
        path.write_bytes(data)
    write(folder / "short.wav", 0.2)
    soundfile.write(folder / "nothing.wav", np.zeros(0), 16000)


def test_good_and_broken_files(tmp_path):
    corpus(tmp_path / "audio/good", 50)
    broken(tmp_path / "audio/broken")
    steps = []
    report = annotate(
        [tmp_path / "audio"], tmp_path / "labels", Ear(),
        progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert (report.files, report.labelled, len(report.errors)) == (70, 50, 20)
    assert steps[-1][:3] == ("annotate", 70, 70)
    assert steps[-1][3]["errors"] == 20
    labels = LabelStore.open(tmp_path / "labels").read()
    assert len(set(labels.names)) == 50
    assert all(name.startswith("good/") for name in labels.names)
    rows = table_of_errors(tmp_path / "labels")
    assert [(row["file"], row["error"]) for row in rows] == report.errors
    files = sorted(path.name for path in (tmp_path / "audio/broken").iterdir())
    assert sorted(Path(row["file"]).name for row in rows) == files
    for row in rows:
        assert row["file"] in row["error"]
        assert "\n" not in row["error"]
    assert "too short" in dict(report.errors)["broken/short.wav"]


def test_file_that_breaks_after_some_windows_has_no_label(tmp_path):
    signal = np.tile(tone(1, 300), 40)
    signal[-1] = np.nan
    path = tmp_path / "audio/b.wav"
    write(tmp_path / "audio/a.wav")
    soundfile.write(path, signal, 16000, subtype="FLOAT")
    teacher = Ear()
    config = AnnotateConfig(window_seconds=1.0, batch_seconds=1.0)
    report = annotate([tmp_path / "audio"], tmp_path / "labels", teacher, config=config)
    assert len(teacher.batches) > 5
    assert (report.labelled, [file for file, _ in report.errors]) == (1, ["b.wav"])


def test_what_is_no_file_costs_a_line(tmp_path):
    write(tmp_path / "audio" / "ok.wav")
    os.mkfifo(tmp_path / "audio" / "pipe.wav")
    (tmp_path / "audio" / "zeros.wav").symlink_to("/dev/zero")
    (tmp_path / "audio" / os.fsdecode(b"M\xfcller.wav")).touch()
    with (tmp_path / "audio" / "sparse.wav").open("wb") as file:
        file.truncate(1 << 35)  # to hash it would take minutes
    report = annotate([tmp_path / "audio"], tmp_path / "labels", Ear(), config=CONFIG)
    assert report.labelled == 1
    assert [(name, error.split(": ")[0]) for name, error in report.errors] == [
        ("M\\xfcller.wav", f"name of audio must be UTF-8, got "
         f"'{tmp_path}/audio/M\\udcfcller.wav'"),
        ("pipe.wav", "audio must be a file that can be read, got it is a named pipe, "
         "not a file"),
        ("sparse.wav", "audio cannot be decoded"),
        ("zeros.wav", "audio must be a file that can be read, got it is a device, "
         "not a file"),
    ]  # fmt: skip


def test_unreadable_file_is_an_error_of_its_own(tmp_path):
    write(tmp_path / "audio/a.wav")
    (tmp_path / "audio/b.wav").symlink_to(tmp_path / "nowhere.wav")
    report = annotate([tmp_path / "audio"], tmp_path / "labels", Ear())
    assert report.labelled == 1
    assert [file for file, _ in report.errors] == ["b.wav"]


# Resume

SCRIPT = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from ears import Ear
from test_annotate import CONFIG
from wav2small.annotation.run import annotate
from wav2small.annotation.engines import Processes, ThisProcess
from pathlib import Path

class Slow(Ear):
    def predict(self, signals):
        print("predict", flush=True)
        time.sleep(0.02)
        return super().predict(signals)

# the moments of a write between which a kill leaves most behind
point, count, workers = sys.argv[4], int(sys.argv[5]), int(sys.argv[6])
if point != "predict":
    original, calls = getattr(os, point), []
    def fatal(*arguments, **options):
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)
    setattr(os, point, fatal)
annotate(
    [Path(sys.argv[2])],
    Path(sys.argv[3]),
    Ear if workers else Slow(),
    config=CONFIG,
    engine=Processes(workers) if workers else ThisProcess(),
)
"""


def start(audio, out, point, count, workers=0):
    tests = Path(__file__).parent
    words = [tests, audio, out, point, count, str(workers)]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *words],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    corpus(folder / "audio", 20)
    write(folder / "audio/07_long.wav", 7.3)
    (folder / "audio/05_broken.flac").write_text("broken")
    annotate([folder / "audio"], folder / "labels", Ear(), config=CONFIG)
    return folder


MOMENTS = [("predict", str(n), 0) for n in (1, 2, 4, 6, 9)]
MOMENTS += [("fsync", str(n), 0) for n in (2, 3, 6, 9, 15)]
# two for the manifest and for each of 8 shards, 4 at the end
MOMENTS += [
    ("fsync", str(n), 2)
    for n in sorted(np.random.default_rng(0).choice(np.arange(2, 23), 10, False))
]


@pytest.mark.parametrize(("point", "count", "workers"), MOMENTS)
def test_killed_and_resumed(unbroken, tmp_path, point, count, workers):
    out = tmp_path / "labels"
    with start(unbroken / "audio", out, point, count, workers) as process:
        if point == "predict":
            for _ in range(int(count)):
                assert process.stdout.readline() == "predict\n"
            process.kill()
        process.wait()
    assert process.returncode == -signals_of_the_system.SIGKILL
    truth = shards(unbroken / "labels")
    manifest = (unbroken / "labels/manifest.json").read_bytes()
    assert (out / "manifest.json").read_bytes() != manifest
    report = annotate([unbroken / "audio"], out, Ear(), config=CONFIG, resume=True)
    assert shards(out) == truth
    assert len(report.errors) == 1
    errors = (out / "errors.csv").read_bytes()
    assert errors == (unbroken / "labels/errors.csv").read_bytes()
    assert (out / "manifest.json").read_bytes() == manifest


def test_interrupted_and_resumed(unbroken, tmp_path):
    class Interrupted(Ear):
        def predict(self, signals):
            if len(self.batches) == 3:
                raise KeyboardInterrupt
            return super().predict(signals)

    out = tmp_path / "labels"
    with pytest.raises(KeyboardInterrupt):
        annotate([unbroken / "audio"], out, Interrupted(), config=CONFIG)
    assert 0 < len(LabelStore.open(out).done()) < 22
    annotate([unbroken / "audio"], out, Ear(), config=CONFIG, resume=True)
    assert shards(out) == shards(unbroken / "labels")


def test_resume_of_a_finished_run_does_nothing(unbroken, tmp_path):
    out = tmp_path / "labels"
    first = annotate([unbroken / "audio"], out, Ear(), config=CONFIG)
    teacher = Ear()
    again = annotate([unbroken / "audio"], out, teacher, config=CONFIG, resume=True)
    assert teacher.batches == []
    assert shards(out) == shards(unbroken / "labels")
    assert (again.labelled, again.errors) == (first.labelled, first.errors)


def test_corpus_that_has_grown(tmp_path):
    corpus(tmp_path / "audio", 5)
    out = tmp_path / "labels"
    annotate([tmp_path / "audio"], out, Ear(), config=CONFIG)
    before = shards(out)
    write(tmp_path / "audio/00_new.wav")
    report = annotate([tmp_path / "audio"], out, Ear(), config=CONFIG, resume=True)
    assert report.labelled == 6
    assert before.items() < shards(out).items()
    names = LabelStore.open(out).read().names
    assert len(set(names)) == len(names) == 6


def test_files_that_have_changed_are_labelled_again(tmp_path):
    audio, out = tmp_path / "audio", tmp_path / "labels"
    corpus(audio, 20)
    (audio / "05_broken.flac").write_text("broken")
    (audio / "06_broken.flac").write_text("broken")
    first = annotate([audio], out, Ear(), config=CONFIG)
    before = LabelStore.open(out).read()
    for name in ("00.wav", "10.wav", "15.wav"):
        write(audio / name, 0.7, 555)
    write(audio / "05_broken.flac", 0.7, 555)
    teacher = Ear()
    report = annotate([audio], out, teacher, config=CONFIG, resume=True)
    assert report.changed == 4
    assert sum(map(len, teacher.batches)) == 4
    assert [file for file, _ in first.errors] == ["05_broken.flac", "06_broken.flac"]
    assert [file for file, _ in report.errors] == ["06_broken.flac"]
    annotate([audio], tmp_path / "fresh", Ear(), config=CONFIG)
    ours, fresh = (LabelStore.open(f).table() for f in (out, tmp_path / "fresh"))
    assert ours.equals(fresh)
    assert len(before.names) + 1 == len(ours)
    # and nothing is left to do
    again = Ear()
    assert annotate([audio], out, again, config=CONFIG, resume=True).changed == 0
    assert again.batches == []


def test_a_shard_whose_files_have_all_changed(tmp_path):
    audio, out = tmp_path / "audio", tmp_path / "labels"
    corpus(audio, 6)
    config = replace(CONFIG, shard_files=2)
    annotate([audio], out, Ear(), config=config)
    for turn in range(2):  # what is left of a shard stays in its place
        for name in ("00.wav", "01.flac"):
            write(audio / name, 0.5 + turn / 10, 555)
        assert annotate([audio], out, Ear(), config=config, resume=True).changed == 2
    assert len(set(LabelStore.open(out).read().names)) == 6
    assert len(LabelStore.open(out)) == 6


def test_resume_without_labels_begins(tmp_path):
    write(tmp_path / "audio/a.wav")
    report = annotate([tmp_path / "audio"], tmp_path / "new/x", Ear(), resume=True)
    assert report.labelled == 1


def test_overwrite(tmp_path):
    corpus(tmp_path / "audio", 4)
    out = tmp_path / "labels"
    annotate([tmp_path / "audio"], out, Ear(), config=CONFIG)
    report = annotate([tmp_path / "audio/00.wav"], out, Ear(revision="2"),
                      config=CONFIG, overwrite=True)  # fmt: skip
    assert report.labelled == 1
    assert list(shards(out)) == ["part-00000.parquet"]
    assert LabelStore.open(out).teacher["revision"] == "2"


def test_labels_that_exist(tmp_path):
    write(tmp_path / "audio/a.wav")
    annotate([tmp_path / "audio"], tmp_path / "labels", Ear())
    before = shards(tmp_path / "labels")
    with pytest.raises(InputError, match="--resume or --overwrite"):
        annotate([tmp_path / "audio"], tmp_path / "labels", Ear())
    assert shards(tmp_path / "labels") == before


def test_folder_of_something_else(tmp_path):
    write(tmp_path / "audio/a.wav")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").write_text("words")
    with pytest.raises(InputError, match="folder must be new or empty"):
        annotate([tmp_path / "audio"], tmp_path / "home", Ear(), resume=True)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"teacher": Ear(revision="2")}, "must be that of the labels .*'?2"),
        ({"config": AnnotateConfig(window_seconds=2.0)}, "config.* must be that of"),
        ({"paths": ["audio/sub"]}, "root.* must be that of the labels"),
    ],
)
def test_resume_of_another_run(tmp_path, change, match):
    write(tmp_path / "audio/sub/a.wav")
    out = tmp_path / "labels"
    options = {"teacher": Ear(), "config": CONFIG, "paths": ["audio"]}
    for changed in ({}, change):
        used = options | changed
        arguments = ([tmp_path / path for path in used["paths"]], out, used["teacher"])
        if not changed:
            annotate(*arguments, config=used["config"])
    with pytest.raises(InputError, match=match):
        annotate(*arguments, config=used["config"], resume=True)


def test_two_runs_on_one_folder(tmp_path):
    write(tmp_path / "audio/a.wav")
    out = tmp_path / "labels"

    class Meddler(Ear):
        def predict(self, signals):
            with pytest.raises(InputError, match="being written by another run"):
                annotate([tmp_path / "audio"], out, Ear(), resume=True)
            return super().predict(signals)

    assert annotate([tmp_path / "audio"], out, Meddler()).labelled == 1


# Teachers that fail


@pytest.mark.parametrize("shape", [(1, 2), (3,), (2, 3)])
def test_teacher_with_a_wrong_shape(tmp_path, shape):
    class Wrong(Ear):
        def predict(self, signals):
            return np.zeros(shape)

    write(tmp_path / "audio/a.wav")
    with pytest.raises(InputError, match=r"teacher must give 3 scores .*\(.*ear"):
        annotate([tmp_path / "audio"], tmp_path / "labels", Wrong())


class Moody(Ear):
    """A teacher that does not know what to do with some frequencies."""

    def predict(self, signals):
        scores = super().predict(signals)
        for row in scores:
            if 0.11 < row[1] < 0.14:
                raise RuntimeError("too\nshrill")
            if row[1] > 0.24:
                row[:] = np.nan, 1, 2
        return scores


def test_a_failing_score_costs_a_file(tmp_path):
    corpus(tmp_path / "audio", 5)
    write(tmp_path / "audio/nan.wav", 2.5, 2000)
    write(tmp_path / "audio/raises.wav", 2.5, 1000)
    config = AnnotateConfig(window_seconds=1.0)
    report = annotate([tmp_path / "audio"], tmp_path / "l", Moody(), config=config)
    assert report.labelled == 5
    assert [name for name, _ in report.errors] == ["nan.wav", "raises.wav"]
    nan, raises = (error for _, error in report.errors)
    assert "nan.wav: from 0.000 s: teacher ear gave scores that are not fin" in nan
    assert (
        "raises.wav: from 0.000 s: teacher ear failed: RuntimeError: too shr" in raises
    )


def test_a_teacher_that_always_fails_ends_the_run(tmp_path):
    write(tmp_path / "audio/a.wav", 0.5, 1000)
    write(tmp_path / "audio/b.wav", 0.5, 1001)
    with pytest.raises(InputError, match="must score signals, ear failed on each of 2"):
        annotate([tmp_path / "audio"], tmp_path / "labels", Moody(), config=CONFIG)


# What is left out


def test_other_sounds_are_left_out(tmp_path):
    folder = tmp_path / "audio"
    write(folder / "tone.wav", 2.5)
    shutil.copy(DEMO.parent / "de_f2_p08_r103_031.opus", folder / "speech.opus")
    silence = np.zeros(16000 * 3)
    voice, _ = soundfile.read(folder / "speech.opus", dtype="float32")
    mixed = np.concatenate([silence, voice[:16000], silence])
    soundfile.write(folder / "mixed.wav", mixed, 16000)
    config = AnnotateConfig(window_seconds=1.0, shard_files=2, gate="bundled")
    out = tmp_path / "labels"
    report = annotate([folder], out, Ear(), config=config)
    assert report.errors == []
    labels = LabelStore.open(out).read()
    assert set(labels.names) == {"mixed.wav", "speech.opus"}
    mine = [name == "mixed.wav" for name in labels.names]
    np.testing.assert_array_equal(labels.starts[mine], [3])
    assert set(report.skipped) == {"silence", "non-speech"}
    assert report.skipped["silence"] >= 6
    assert report.skipped["non-speech"] >= 2.5
    left_out = sum(report.skipped.values())
    assert report.skipped_share == pytest.approx(left_out / (left_out + report.seconds))
    with (out / "skipped.csv").open(newline="") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert ("mixed.wav", "0.0", "3.0", "silence") in rows
    assert ("tone.wav", "0.0", "2.5", "non-speech") in rows
    teacher = Ear()
    again = annotate([folder], out, teacher, config=config, resume=True)
    assert teacher.batches == []
    assert again.skipped == report.skipped
    plain = AnnotateConfig(window_seconds=1.0)
    annotate([folder], out, Ear(), config=plain, overwrite=True)
    assert not (out / "skipped.csv").exists()


def test_bfloat16(tmp_path):
    torch = pytest.importorskip("torch")

    class Product(Ear):
        def predict(self, signals):
            third = torch.full((len(signals), 1), 1 / 3)
            return (third @ torch.ones(1, 3)).float().numpy()

    write(tmp_path / "audio/a.wav")
    scores = []
    for half in (False, True):
        config = AnnotateConfig(bfloat16=half)
        out = tmp_path / str(half)
        annotate([tmp_path / "audio"], out, Product(), config=config)
        scores.append(LabelStore.open(out).read().scores)
    np.testing.assert_array_equal(scores[0], np.float32(1 / 3))
    # 1/3 in 8 bits of mantissa
    np.testing.assert_array_equal(scores[1], 0.333984375)


# Growth


def test_new_segments_of_a_file_are_done(tmp_path):
    write(tmp_path / "a.wav", 3)
    manifest, out = tmp_path / "m.csv", tmp_path / "labels"
    manifest.write_text("file,start,end\na.wav,0,1\n")
    annotate([manifest], out, Ear(), config=CONFIG)
    manifest.write_text("file,start,end\na.wav,0,1\na.wav,1,2\na.wav,2,3\n")
    teacher = Ear()
    report = annotate([manifest], out, teacher, config=CONFIG, resume=True)
    assert teacher.batches == [[16000, 16000]]
    assert report.labelled == 3
    np.testing.assert_array_equal(LabelStore.open(out).read().starts, [0, 1, 2])


def test_labels_of_an_earlier_version(tmp_path):
    corpus(tmp_path / "audio", 4)
    out = tmp_path / "labels"
    annotate([tmp_path / "audio"], out, Ear(), config=CONFIG)
    rows = LabelStore.open(out).table().to_pylist()
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["shards"]
    for name in ("gate", "bfloat16"):
        del manifest["config"][name]
    store = LabelStore.create(out, manifest, overwrite=True)
    store.append(rows, [])
    teacher = Ear()
    report = annotate([tmp_path / "audio"], out, teacher, config=CONFIG, resume=True)
    assert (teacher.batches, report.labelled) == ([], 4)


@pytest.mark.parametrize(("files", "size"), [(1, 32), (50_000, 50), (10**7, 1000)])
def test_shards_grow_with_the_corpus(files, size):
    settled = annotate_module._settled(AnnotateConfig(), {}, files)
    assert settled.shard_files == size
    known = {"shard_files": size, "batch_seconds": 7.0}
    again = annotate_module._settled(AnnotateConfig(), known, 3 * files)
    assert (again.shard_files, again.batch_seconds) == (size, 7.0)


# Order


def test_order_of_paths_is_nothing(tmp_path):
    corpus(tmp_path / "audio", 6)
    paths = sorted((tmp_path / "audio").iterdir())
    annotate(paths, tmp_path / "a", Ear(), config=CONFIG)
    annotate(paths[::-1] + paths, tmp_path / "b", Ear(), config=CONFIG)
    assert shards(tmp_path / "a") == shards(tmp_path / "b")


def test_manifest_names_the_configuration(tmp_path):
    write(tmp_path / "audio/a.wav")
    annotate([tmp_path / "audio"], tmp_path / "labels", Ear(), config=CONFIG)
    text = (tmp_path / "labels/manifest.json").read_text()
    assert '"window_seconds": 1.0' in text
    assert json.loads(text)["root"] == str(tmp_path / "audio")


def test_killed_before_there_is_a_manifest(unbroken, tmp_path):
    out = tmp_path / "labels"
    with start(unbroken / "audio", out, "fsync", "1") as process:
        process.wait()
    annotate([unbroken / "audio"], out, Ear(), config=CONFIG, resume=True)
    assert shards(out) == shards(unbroken / "labels")
    assert not list(out.glob(".*.tmp"))


def test_overwrite_that_was_killed(tmp_path, monkeypatch):
    corpus(tmp_path / "audio", 4)
    out = tmp_path / "labels"
    annotate([tmp_path / "audio"], out, Ear(), config=CONFIG)
    truth = shards(out)

    def interrupted(path, missing_ok=False):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            annotate([tmp_path / "audio"], out, Ear(), config=CONFIG, overwrite=True)
    (out / "shards/part-00000.parquet").unlink()
    annotate([tmp_path / "audio"], out, Ear(), config=CONFIG, resume=True)
    assert shards(out) == truth


@pytest.mark.parametrize("manifest", [None, "{}", '{"teacher": {"revision": "1"}}'])
def test_overwrite_of_something_else(tmp_path, manifest):
    write(tmp_path / "audio/a.wav")
    home = tmp_path / "home"
    (home / "shards").mkdir(parents=True)
    (home / "shards/precious").touch()
    if manifest:
        (home / "manifest.json").write_text(manifest)
    with pytest.raises(InputError, match=r"must be|damaged"):
        annotate([tmp_path / "audio"], home, Ear(), overwrite=True)
    assert (home / "shards/precious").exists()
    assert (home / "manifest.json").exists() == bool(manifest)


def test_overwrite_leaves_other_files(tmp_path):
    write(tmp_path / "audio/a.wav")
    out = tmp_path / "labels"
    annotate([tmp_path / "audio"], out, Ear())
    (out / "notes.txt").write_text("mine")
    assert annotate([tmp_path / "audio"], out, Ear(), overwrite=True).labelled == 1
    assert (out / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("first", [1000, 2000], ids=["raises", "not finite"])
def test_a_teacher_that_fails_on_each_file_ends_the_run(tmp_path, first):
    for item in range(FAILURES):
        write(tmp_path / f"audio/{item:02}.wav", 0.5 + item / 100, first)
    with pytest.raises(InputError, match=f"it failed on {FAILURES} files in a row"):
        annotate([tmp_path / "audio"], tmp_path / "l", Moody())


def test_failures_that_are_not_in_a_row_are_those_of_files(tmp_path):
    for item in range(FAILURES - 1):
        write(tmp_path / f"audio/a{item:02}.wav", 0.5, 1000)
        write(tmp_path / f"audio/c{item:02}.wav", 0.5, 1000)
    write(tmp_path / "audio/b.wav", 0.5, 300)
    report = annotate([tmp_path / "audio"], tmp_path / "l", Moody())
    assert (report.labelled, len(report.errors)) == (1, 2 * (FAILURES - 1))
