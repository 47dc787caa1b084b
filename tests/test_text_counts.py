"""Words reach a teacher from tables and transcribers, and change what it says."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from finetune_corpus import clip, fast, write_mel
from typer.testing import CliRunner

from wav2small import cli
from wav2small.adv import DIMENSIONS
from wav2small.annotation.run import annotate
from wav2small.annotation.store import LabelStore
from wav2small.config import AnnotateConfig
from wav2small.errors import InputError
from wav2small.finetune.config import Fusion, NetworkConfig
from wav2small.finetune.parts.text import WordHashes, load_encoder
from wav2small.finetune.table import read_table
from wav2small.finetune.teacher import FinetunedTeacher
from wav2small.finetune.train import finetune
from wav2small.metrics import concordance_cc
from wav2small.programs import ExternalProgram, Transcriber

GOOD = ("a lovely day", "what lovely news", "lovely")
BAD = ("a dreadful day", "what dreadful news", "dreadful")

# a program that tells sentences by the number of samples, as no model would
TELLS = (
    "import sys, wave; frames = wave.open(sys.stdin.buffer).getnframes(); "
    "print('what lovely' if frames == 8000 else 'what  dreadful\\n news')"
)
PROGRAM = f'"{sys.executable}" -c "{TELLS}"'


def write(folder: Path, *, texts: bool = True) -> Path:
    """Write clips whose scores are those of their words, and of nothing heard.

    Clips of good words have 8,000 samples, those of bad ones fewer.
    """
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    table = folder / "metadata.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "speaker", "text", *DIMENSIONS])
        for row in range(16):
            good = row // 4 % 2
            signal = clip(rng, rng.uniform(0, 2), rng.uniform(1, 8))
            samples = 8000 if good else 7900
            soundfile.write(folder / f"{row:02d}.wav", signal[:samples], 16000)
            text = (BAD, GOOD)[good][row % 3] if texts else ""
            score = 0.75 if good else 0.25
            writer.writerow([f"{row:02d}.wav", f"s{row % 4}", text, *[score] * 3])
    return table


@pytest.fixture(scope="module", params=["joined", "gated"])
def run(request, tmp_path_factory) -> Path:
    """A teacher that has learnt what the words say."""
    folder = tmp_path_factory.mktemp(request.param)
    table = read_table(write(folder / "speech"))
    fusion: Fusion = request.param
    config = fast(
        write_mel(folder / "mel"),
        network=NetworkConfig(hidden=16, dropout=0.0, fusion=fusion),
        steps=50,
        evaluations=1,
        batch_size=8,
        learning_rate=1e-2,
        conditions_dropped=0.2,
        average=0.9,
        warm_up="none",
    )
    run = folder / "run"
    finetune(table, run, config, text=WordHashes(), licence="CC0-1.0")
    return run


def scores_of(table: Path, out: Path, run: Path, **config) -> tuple:
    """Annotate a table; return the labels and their agreement with people."""
    teacher = FinetunedTeacher.load(run)
    annotate([table], out, teacher, config=AnnotateConfig(**config))
    labels = LabelStore.open(out).read()
    pairs = zip(labels.human.T, labels.scores.T, strict=True)
    return labels, float(np.mean([concordance_cc(*pair) for pair in pairs]))


def test_words_of_a_table_count(run, tmp_path) -> None:
    table = write(tmp_path / "right")
    assert scores_of(table, tmp_path / "labels", run)[1] > 0.9
    # the same voices with each other's words
    wrong = table.read_text().replace("lovely", "#").replace("dreadful", "lovely")
    table.write_text(wrong.replace("#", "dreadful"))
    assert scores_of(table, tmp_path / "wrong labels", run)[1] < -0.9
    without = write(tmp_path / "without", texts=False)
    assert abs(scores_of(without, tmp_path / "no labels", run)[1]) < 0.5


def test_a_transcriber_says_what_no_table_does(run, tmp_path) -> None:
    table = write(tmp_path / "speech", texts=False)
    out = tmp_path / "labels"
    labels, agreement = scores_of(table, out, run, transcriber=PROGRAM)
    assert agreement > 0.9
    # what was said is kept, so that whoever comes after knows it
    said = {"what lovely", "what dreadful news"}
    assert set(labels.metadata["text"]) == said
    # words of a table go before
    table = write(tmp_path / "told")
    labels, _ = scores_of(table, tmp_path / "told labels", run, transcriber=PROGRAM)
    assert set(labels.metadata["text"]) == {*GOOD, *BAD}


def test_a_function_of_a_teacher_of_ones_own_transcribes(run, tmp_path) -> None:
    teacher = FinetunedTeacher.load(run)
    teacher.transcribe = lambda signal: GOOD[0]  # type: ignore[attr-defined]
    annotate([write(tmp_path / "speech", texts=False)], tmp_path / "labels", teacher)
    labels = LabelStore.open(tmp_path / "labels").read()
    assert set(labels.metadata["text"]) == {GOOD[0]}
    assert labels.scores.min() > 0.6


def test_evaluate_asks_the_transcriber_too(run, tmp_path) -> None:
    table = write(tmp_path / "speech", texts=False)
    scores_of(table, tmp_path / "labels", run)
    found = {}
    for name, options in (("without", []), ("with", ["--transcriber", PROGRAM])):
        result = CliRunner().invoke(
            cli.app,
            [
                *("evaluate", str(run), str(tmp_path / "labels")),
                *("--against", "human", *options),
            ],
        )
        assert result.exit_code == 0, result.output
        found[name] = float(result.stdout.split()[-1])
    assert found["with"] > 0.9 > abs(found["without"]) + 0.4


def test_a_transcriber_that_fails_is_an_error_of_the_file(run, tmp_path) -> None:
    speech = tmp_path / "speech"
    write(speech, texts=False)
    broken = AnnotateConfig(transcriber=f'"{sys.executable}" -c "1 / 0"')
    report = annotate(
        [speech / "00.wav"], tmp_path / "labels", FinetunedTeacher.load(run),
        config=broken,
    )  # fmt: skip
    ((_, reason),) = report.errors
    assert "program must end with 0" in reason
    for line, message in (("", "program must be named"), ('"', "words quoted")):
        with pytest.raises(InputError, match=message):
            ExternalProgram.of(line)


def test_what_a_program_hears_is_the_clip() -> None:
    echo = (
        "import sys, wave; file = wave.open(sys.stdin.buffer); "
        "print(file.getframerate(), file.getsampwidth(), file.getnchannels(), "
        "file.readframes(4).hex())"
    )
    heard = Transcriber(f'"{sys.executable}" -c "{echo}"')
    assert (
        heard(np.array([0, 0.5, -0.5, -1], np.float32)) == "16000 2 1 0000004000c00080"
    )


def test_words_are_a_bag_of_unit_length() -> None:
    encoder = load_encoder("words")
    first, second, other, none = encoder(
        ["What a LOVELY day!", "a day, what lovely", "a dreadful day", "..."]
    )
    np.testing.assert_array_equal(first, second)
    assert np.linalg.norm(first) == pytest.approx(1)
    assert 0.4 < first @ other < 0.8
    assert not none.any()
