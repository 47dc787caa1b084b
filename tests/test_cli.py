"""The command line, in the order in which a user meets it."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import audformat
import audonnx
import numpy as np
import onnx
import pytest
import soundfile

from wav2small import cli, models
from wav2small.adv import DIMENSIONS
from wav2small.bundled import DEMO as MANIFEST
from wav2small.export.base.files import claim
from wav2small.students import STUDENTS

DEMO = MANIFEST.parent
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty clips of the bundled speech, with their manifest."""
    folder = tmp_path_factory.mktemp("corpus")
    with (DEMO / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::6]
    for row in rows:
        shutil.copy(DEMO / row["file"], folder)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="session")
def chain(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels, run and model of a student that has seen a few steps."""
    folder = tmp_path_factory.mktemp("chain")
    cli.annotate(
        [corpus / "manifest.csv", folder / "labels"],
        csv=folder / "labels.csv",
        audformat=folder / "database",
    )
    cli.distill(
        folder / "labels",
        folder / "run",
        student="wav2small-17k",
        epochs=20,
        batch_size=4,
        crop=0.5,
    )
    cli.export(str(folder / "run"), folder / "int8", calibration=[corpus])
    return folder


def test_annotate_wrote_every_format(chain: Path) -> None:
    database = audformat.Database.load(str(chain / "database"))
    assert database.raters["teacher"].type == "machine"
    with (chain / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    frame = database["adv"].df
    for name in DIMENSIONS:
        np.testing.assert_allclose(
            frame[name].to_numpy(), [float(row[name]) for row in rows], atol=1e-6
        )
    assert {row["licence"] for row in rows} == {"Apache-2.0"}


def test_exported_folder_serves_audonnx(chain: Path, corpus: Path) -> None:
    model = audonnx.load(str(chain / "int8"))
    signal, rate = soundfile.read(next(corpus.glob("*.opus")), dtype="float32")
    output = model(signal, rate)
    assert model.outputs["logits"].labels == list(DIMENSIONS)
    assert output.shape[-1] == 3
    assert np.isfinite(output).all()


def test_export_says_what_it_made(chain: Path) -> None:
    report = json.loads((chain / "int8" / "export.json").read_text())
    assert report["bytes"] == (chain / "int8" / "model.onnx").stat().st_size
    assert set(report["parity"]["executions"]) == {"default", "exact"}
    assert report["parity"]["passed"]


def test_export_does_not_overwrite(chain: Path, run: Run) -> None:
    code, _, error = run("export", chain / "run", chain / "int8")
    assert code == 2
    assert error.count("error:") == 1
    assert "overwrite" in error


@pytest.mark.slow
def test_export_within_a_limit(chain: Path, corpus: Path, run: Run) -> None:
    out = chain / "small"
    code, output, error = run(
        "export", chain / "run", out, "--max-bytes", "17.5KiB", "--opset", 21,
        "--calibration", corpus, "--picture", chain / "bytes.png", "--tflite", "--c99",
        "--tune", 90,
    )  # fmt: skip
    assert code == 0, error
    assert output.splitlines() == [
        str(chain / "bytes.png"), str(out / "model.onnx"), str(out / "model.tflite"),
        str(out / "c99"),
    ]  # fmt: skip
    report = json.loads((out / "export.json").read_text())
    assert (out / "c99" / "wav2small.c").is_file()
    assert report["bytes"] == (out / "model.onnx").stat().st_size <= 17.5 * 1024
    assert report["four_bit_layers"] > 0 and report["tuned_steps"] == 90
    assert report["agreement"]["passed"] and report["failures"] == []
    assert sum(part["bytes"] for part in report["parts"]) == report["bytes"]
    assert "onnxruntime against the integer graph" in (out / "export.md").read_text()
    metadata = {
        entry.key: entry.value for entry in onnx.load(out / "model.onnx").metadata_props
    }
    provenance = json.loads(metadata["provenance"])
    weights = chain / "run" / "best" / "model.safetensors"
    assert provenance["checkpoint"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert metadata["labels"] == "arousal,dominance,valence"
    assert {"torch", "onnx", "wav2small"} <= set(provenance)


def test_the_limit_of_small_students_and_how_it_is_lifted(
    corpus: Path, run: Run, tmp_path: Path
) -> None:
    reports = []
    for words in ([], ["--max-bytes", "any"]):
        # untuned it may fail its checks: what it came to is written all the same
        run(
            "export", "wav2small-rt", tmp_path, "--calibration", corpus,
            "--tune", 0, "--overwrite", *words,
        )  # fmt: skip
        reports.append(json.loads((tmp_path / "export.json").read_text()))
    limited, free = reports
    assert limited["max_bytes"] == 61_440 >= limited["bytes"]
    assert limited["four_bit_layers"] > 0
    assert free["max_bytes"] is None and free["bytes"] > 61_440


@pytest.mark.slow
def test_a_limit_that_cannot_be_kept(chain: Path, corpus: Path, run: Run) -> None:
    out = chain / "tiny"
    code, _, error = run(
        "export", chain / "run", out, "--max-bytes", "5KiB", "--tune", 0,
        "--calibration", corpus,
    )  # fmt: skip
    assert code == 1
    assert error.count("error:") == 1 and "of 5,120 bytes" in error
    assert not (out / "model.onnx").exists()
    assert "size: " in json.loads((out / "export.json").read_text())["failures"][-1]


def test_compare(chain: Path, corpus: Path, run: Run) -> None:
    figures, picture = chain / "compare.json", chain / "compare.png"
    code, output, _ = run(
        "compare", chain / "run", chain / "int8", "--audio", corpus, "--clips", 4,
        "--json", figures, "--picture", picture,
    )  # fmt: skip
    assert code == 0
    assert "| Convolution 9 |" in output and "| valence |" in output
    assert picture.read_bytes().startswith(b"\x89PNG")
    found = json.loads(figures.read_text())
    assert found["signals"] == 4 and found["layers"][0]["largest"] > 0
    code, output, _ = run(
        "compare", f"reference:{chain / 'int8'}", f"exact:{chain / 'int8'}",
        "--audio", corpus, "--clips", 2,
    )  # fmt: skip
    assert code == 0
    assert "No layer falls below 20 dB" in output
    code, _, error = run("compare", "wav2small", "nowhere")
    assert code == 2 and "nowhere" in error
    code, output, _ = run(
        "compare", "checkpoint:wav2small", "wav2small", "--clips", 2, "--audio", corpus
    )
    assert code == 0


def test_export_of_a_fixed_window(chain: Path, corpus: Path, run: Run) -> None:
    out = chain / "fixed"
    code, _, _ = run(
        "export", chain / "run", out, "--window", 1, "--precision", "fp32",
        "--calibration", corpus, "--overwrite",
    )  # fmt: skip
    assert code == 0
    code, output, _ = run("predict", next(corpus.glob("*.opus")), "--model", out)
    assert code == 0
    assert "speech" in output


def test_evaluate_against_the_teacher(chain: Path, run: Run) -> None:
    figures, picture = chain / "evaluation.json", chain / "agreement.png"
    code, output, _ = run(
        "evaluate", chain / "int8", chain / "labels", "--split", "test",
        "--json", figures, "--picture", picture,
    )  # fmt: skip
    assert code == 0
    assert "against teacher" in output
    result = json.loads(figures.read_text())["teacher"]
    low, high = result["arousal"]["ccc_interval"]
    assert low <= result["arousal"]["ccc"] <= high
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_evaluate_needs_human_scores_for_human(chain: Path, run: Run) -> None:
    code, _, error = run(
        "evaluate", chain / "run", chain / "labels", "--against", "human"
    )
    assert code == 2
    assert "no scores by humans" in error


def test_evaluate_names_the_splits(chain: Path, run: Run) -> None:
    words = ("evaluate", chain / "run", chain / "labels", "--split")
    code, _, error = run(*words, "Validation")
    assert code == 2
    assert "split must be one of ['test', 'train'], got 'dev'" in error
    code, _, error = run(*words, "x")
    assert code == 2
    assert "split must be one of train (training" in error
    assert run(*words, "Test1")[0] == 0


def valence_first(path: Path) -> Path:
    """A model whose outputs are valence, arousal, dominance: level and its powers."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[1, time] signal) => (float[1, 3] logits)
    <int64[1] axes = {1}, float[1, 3] w = {3.0, -2.0, 5.0}> {
        level = Abs(signal)
        mean = ReduceMean<axes = [1]>(level)
        logits = MatMul(mean, w)
    }"""
    model = onnx.parser.parse_model(text)
    for key, value in (("labels", "valence,arousal,dominance"), ("licence", "MIT")):
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return path


def test_all_commands_read_the_order_of_outputs(
    corpus: Path, tmp_path: Path, run: Run
) -> None:
    model, labels = valence_first(tmp_path / "x.onnx"), tmp_path / "labels"
    words = ("--teacher", model, "--workers", 0, "--csv", tmp_path / "l.csv")
    assert run("annotate", corpus, labels, *words)[0] == 0
    code, output, _ = run(
        "evaluate", model, labels, "--against", "teacher", "--json", tmp_path / "e.json"
    )
    assert code == 0, output
    found = json.loads((tmp_path / "e.json").read_text())["teacher"]
    assert [found[name]["ccc"] for name in DIMENSIONS] == pytest.approx([1, 1, 1])
    clip = sorted(corpus.glob("*.opus"))[0]
    code, output, _ = run("predict", clip, "--model", model, "--csv")
    (row,) = csv.DictReader(output.splitlines())
    with (tmp_path / "l.csv").open(newline="") as file:
        told = {row["file"]: row for row in csv.DictReader(file)}[clip.name]
    for name, sign in zip(DIMENSIONS, (-1, 1, 1), strict=True):
        assert float(row[name]) == pytest.approx(float(told[name]), abs=1e-3)
        assert float(told[name]) * sign > 0


def test_compare_compares_scores_of_one_name(
    corpus: Path, tmp_path: Path, run: Run
) -> None:
    model = onnx.load(models.find_onnx("wav2small-rt-mini"))
    for entry in model.metadata_props:
        if entry.key == "labels":
            entry.value = "dominance,arousal,valence"
    onnx.save(model, tmp_path / "x.onnx")
    words = ("--clips", 2, "--audio", corpus, "--json", tmp_path / "c.json")
    assert run("compare", "wav2small-rt-mini", tmp_path / "x.onnx", *words)[0] == 0
    arousal, dominance, valence = json.loads((tmp_path / "c.json").read_text())[
        "max_error"
    ]
    assert arousal > 0 and dominance > 0 and valence == 0


def test_evaluate_takes_any_teacher(chain: Path, tmp_path: Path, run: Run) -> None:
    made = {"members": [{"teacher": "bundled"}], "name": "ours"}
    (tmp_path / "ours.json").write_text(json.dumps(made))
    code, output, error = run("evaluate", tmp_path / "ours.json", chain / "labels")
    assert code == 0, error
    assert "mean        1.000" in output


def test_bench_gates_and_reports(chain: Path, run: Run) -> None:
    model = chain / "int8"
    files = [chain / f"bench.{end}" for end in ("json", "md", "xml", "png", "html")]
    code, output, _ = run(
        "bench", model, "--ram", "2MiB", "--flash", "1MiB", "--window", 1,
        "--json", files[0], "--markdown", files[1], "--junit", files[2],
        "--picture", files[3], "--html", files[4],
    )  # fmt: skip
    assert code == 0, output
    report = json.loads(files[0].read_text())
    assert report["fits"] is True
    assert files[1].read_text().startswith("#")
    assert files[4].read_text().startswith("<!DOCTYPE html>")
    suite = ElementTree.parse(files[2]).getroot()
    assert not list(suite.iter("failure"))
    assert files[3].read_bytes().startswith(b"\x89PNG")
    code, output, _ = run(
        "bench", model, "--ram", "1KiB", "--window", 1, "--junit", files[2]
    )
    assert code == 1
    assert list(ElementTree.parse(files[2]).getroot().iter("failure"))


def test_predict_marks_what_is_not_speech(
    corpus: Path, run: Run, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "silence.wav", np.zeros(32000), 16000)
    soundfile.write(tmp_path / "noise.wav", 0.1 * rng.normal(size=32000), 16000)
    shutil.copy(next(corpus.glob("en_*.opus")), tmp_path / "voice.opus")
    code, output, _ = run("predict", tmp_path, "--json")
    assert code == 0
    rows = {Path(row["file"]).stem: row for row in json.loads(output)}
    assert rows["silence"]["kind"] == "silence"
    assert rows["noise"]["kind"] == "non-speech"
    assert rows["voice"]["kind"] == "speech"
    assert rows["noise"]["arousal"] is None
    assert -0.5 < rows["voice"]["arousal"] < 1.5


def test_predict_over_time_as_csv(corpus: Path, run: Run) -> None:
    clip = next(corpus.glob("en_*.opus"))
    code, output, _ = run("predict", clip, "--csv", "--window", 1, "--hop", 0.5)
    assert code == 0
    rows = list(csv.DictReader(output.splitlines()))
    starts = [float(row["start"]) for row in rows]
    assert starts == [0.5 * number for number in range(len(starts))]
    assert float(rows[-1]["end"]) == pytest.approx(
        soundfile.info(clip).duration, abs=0.01
    )


def test_predict_goes_on_after_a_bad_file(
    corpus: Path, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "bad.wav").write_text("not audio")
    code, _, error = run("predict", tmp_path / "bad.wav")
    assert code == 2
    assert "bad.wav" in error
    shutil.copy(next(corpus.glob("*.opus")), tmp_path / "good.opus")
    code, output, error = run("predict", tmp_path)
    assert code == 0
    assert "good.opus" in output
    assert "bad.wav" in error


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["annotate", "only-one"], 2, "LABELS"),
        (["annotate", "nowhere", "out"], 2, "nowhere"),
        (["annotate", str(DEMO), "out", "--teacher", "x"], 2, "teacher must be one of"),
        (["distill", "nowhere", "run"], 2, "nowhere"),
        (["export", "nowhere", "out"], 2, "nowhere"),
        (["export", "x", "out", "--tflite", "--precision", "fp32"], 2, "--tflite"),
        (["export", "x", "out", "--c99", "--precision", "fp32"], 2, "--c99"),
        (["export", "wav2small", "out", "--opset", "18"], 2, "17 or 21"),
        (["bench", "nowhere"], 2, "nowhere"),
        (["predict", "nowhere"], 2, "nowhere"),
        (["predict", str(DEMO), "--model", "x"], 2, "model must be"),
        (["predict", str(DEMO), "--json", "--csv"], 2, "exclude"),
        (["predict", str(DEMO), "--hop", "20"], 2, "--hop"),
        (["list", "cats"], 2, "cats"),
    ],
)
def test_wrong_use_is_one_clear_line(
    words: list[str], code: int, message: str, run: Run, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    got, _, error = run(*words)
    assert got == code
    assert message in error
    assert "Traceback" not in error
    if "error:" in error:
        assert error.count("error:") == 1


def test_lists(run: Run) -> None:
    code, output, _ = run("list", "students")
    assert code == 0
    assert "72,659" in output
    assert len(output.splitlines()) == len(STUDENTS)
    assert "EMO-DB" in run("list", "teachers")[1]
    assert "wav2small" in run("list", "models")[1]
    assert "generic-m4-64k" in run("list", "targets")[1]


def test_strict_makes_a_bad_file_an_error(
    corpus: Path, run: Run, tmp_path: Path
) -> None:
    shutil.copy(next(corpus.glob("*.opus")), tmp_path)
    (tmp_path / "bad.wav").write_text("not audio")
    code, _, error = run("annotate", tmp_path, tmp_path / "labels")
    assert code == 0
    assert "warning: 1 of 2 files" in error
    code, _, _ = run("annotate", tmp_path, tmp_path / "strict", "--strict")
    assert code == 1


def test_help_needs_no_heavy_import() -> None:
    code = (
        "import sys; sys.argv = ['wav2small', 'distill', '--help']\n"
        "from wav2small.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'torch', 'onnx', 'onnxruntime', 'soundfile', 'pyarrow', 'numpy'}"
        " & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "set()"


# Outputs are looked at before the work ----------------------------------------

MINI = "wav2small-rt-mini"


@pytest.mark.parametrize(
    "words",
    [
        ("bench", MINI, "--ram", "64KiB", "--json", "{folder}"),
        ("bench", MINI, "--ram", "64KiB", "--junit", "{folder}"),
        ("bench", MINI, "--ram", "64KiB", "--markdown", "{folder}"),
        ("bench", MINI, "--ram", "64KiB", "--html", "{folder}"),
        ("bench", MINI, "--ram", "64KiB", "--picture", "{file}/x.png"),
        ("bench", MINI, "--ram", "64KiB", "--pictures", "{file}"),
        ("compare", MINI, MINI, "--json", "{folder}"),
        ("evaluate", MINI, "{folder}", "--html", "{folder}", "--suite"),
        ("layers", "{folder}", "--backbone", "mel", "--json", "{folder}"),
        ("export", MINI, "{file}"),
        ("export", MINI, "{file}/deeper"),
        ("export", MINI, "{folder}/new", "--picture", "{folder}"),
        ("annotate", "{folder}", "{folder}/new", "--csv", "{folder}"),
        ("annotate", "{folder}", "{folder}/new", "--audformat", "{file}"),
        ("distill", "{folder}", "{file}"),
        ("finetune", "{file}", "{file}"),
        ("select", "{folder}", "{folder}", "--count", "1"),
    ],
)
def test_outputs_are_refused_before_the_work(run, tmp_path, words) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    places = {name: tmp_path / name for name in ("file", "folder")}
    code, out, err = run(*(word.format(**places) for word in words))
    assert code not in (0, 1)
    assert out == ""
    assert re.fullmatch(r"error: output must be [^\n]*: name another\n", err)
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == []


def test_a_cache_that_cannot_be_written(run, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    code, _, err = run("bench", MINI, "--emulate", "--target", "generic-m4-64k")
    assert code not in (0, 1)
    line = r"error: cache must be [^\n]*: set XDG_CACHE_HOME [^\n]*\n"
    assert re.fullmatch(line, err)


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (("annotate", "{audio}", "{out}"), False),
        (("ask", "{audio}", "{out}", "--program", "cat", "--name", "x"), False),
        (("distill", "{audio}", "{out}", "--resume"), False),
        (("finetune", "{table}", "{out}", "--overwrite"), False),
        (("export", MINI, "{out}", "--overwrite"), False),
        (("select", "{audio}", "{out}", "--count", "1"), True),
    ],
)
def test_two_runs_cannot_write_to_one_output(run, tmp_path, words, file) -> None:
    places = {name: tmp_path / name for name in ("audio", "out", "table.csv")}
    places["table"] = places.pop("table.csv")
    places["audio"].mkdir()
    soundfile.write(places["audio"] / "a.wav", np.zeros(8000), 16000)
    places["table"].write_text(
        "file,arousal,dominance,valence\naudio/a.wav,0.5,0.5,0.5\n"
    )
    with claim(places["out"], file=file):
        code, out, err = run(*(word.format(**places) for word in words))
    assert code not in (0, 1)
    assert out == ""
    # what asking would cost is said before
    line = f"error: output is being written by another run: {places['out']}: [^\n]*\n"
    assert re.search(f"(^|\n){line}$", err)
