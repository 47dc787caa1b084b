"""Language models that label, and encoders of what is said."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from finetune_corpus import clip, write_corpus, write_encoder
from hypothesis import given
from hypothesis import strategies as st

from wav2small.errors import InputError
from wav2small.export.base.files import sha256
from wav2small.finetune.labelling.words import (
    Asking,
    AskingCost,
    Example,
    annotate_by_words,
    cost,
    describe,
    parse,
    parse_several,
    prompt,
    read_examples,
)
from wav2small.finetune.parts.text import SentenceEncoder
from wav2small.programs import ExternalProgram
from wav2small.teachers.base import TeacherInfo

INFO = TeacherInfo("reader", "reader-1", "Apache-2.0", "unknown")
REPLY = '{"arousal": 0.25, "dominance": 0.5, "valence": 1}'


def test_a_prompt_says_what_is_known() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16000)
    told = describe(noise, 'He said "no"', "female")
    assert 'Words: "He said \\"no\\""' in told
    assert "Speaker: female" in told
    assert "Voice: of usual level (-20 dB" in told or "Voice: loud (-20 dB" in told
    assert "unknown" in describe(noise, None, None)
    asked = prompt(told, examples=[Example("Words: x\n", (0.1, 0.2, 0.3))])
    assert asked.endswith(told)
    assert 'Words: x\n{"arousal": 0.1, "dominance": 0.2, "valence": 0.3}' in asked
    assert asked.startswith("Rate the emotion")


@pytest.mark.parametrize(
    "reply",
    [
        REPLY,
        f"Sure! {{so}} here:\n```json\n{REPLY}\n```",
        '{"note": {"a": 1}, "arousal": 0.25, "dominance": 0.5, "valence": 1, "x": []}',
    ],
)
def test_scores_are_found_in_a_reply(reply) -> None:
    assert parse(reply) == (0.25, 0.5, 1.0)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "arousal 0.3",
        '{"arousal": 0.3, "dominance": 0.2}',
        '{"arousal": 1.3, "dominance": 0.2, "valence": 0.1}',
        '{"arousal": NaN, "dominance": 0.2, "valence": 0.1}',
        '{"arousal": true, "dominance": 0.2, "valence": 0.1}',
        '{"arousal": "0.3", "dominance": 0.2, "valence": 0.1}',
        '{"arousal": 0.3,',
    ],
)
def test_other_replies_are_refused(reply) -> None:
    with pytest.raises(InputError, match="reply must hold a JSON object of arousal"):
        parse(reply)


@given(st.text(max_size=40), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_no_reply_breaks_the_reader(noise, values) -> None:
    told = dict(zip(("arousal", "dominance", "valence"), values, strict=True))
    assert parse(noise.replace("{", "(") + json.dumps(told)) == tuple(values)
    try:
        parse(noise)
    except InputError as error:
        assert "\n" not in str(error)


def program(code: str, timeout: float = 60) -> ExternalProgram:
    return ExternalProgram([sys.executable, "-c", code], timeout=timeout)


def test_a_program_replies() -> None:
    echo = program("import sys; print(sys.stdin.read().upper())")
    assert echo("wörter\n").strip() == "WÖRTER"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; print('no\\nkey', file=sys.stderr); sys.exit(3)",
         "ended with 3: no key"),
        ("import time; time.sleep(60)", "must reply within 1 s"),
        ("import sys; sys.stdout.buffer.write(bytes([255]))", "must write UTF-8"),
        ("while True: print('x' * 9999)", "at most 65536 bytes"),
    ],
)  # fmt: skip
def test_programs_that_fail(code, message) -> None:
    with pytest.raises(InputError, match=message):
        program(code, 1 if "sleep" in code else 60)("x")


def test_a_program_may_complain_at_length() -> None:
    code = "import sys; sys.stderr.write('x' * 10**6); print('done')"
    assert program(code)("x" * 10**6) == "done\n"


def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(600)'], stdout=subprocess.DEVNULL, "
        "stderr=subprocess.DEVNULL).pid)"
    )
    child = int(program(code)("x"))
    with suppress(psutil.NoSuchProcess):
        psutil.Process(child).wait(30)


@pytest.mark.parametrize(
    "reply",
    [
        '{"a":' * 13_000,
        "{" * 60_000,
        '{"arousal": %s, "dominance": 1, "valence": 1}' % ("9" * 4000),
    ],
)
def test_replies_that_are_meant_ill(reply) -> None:
    with pytest.raises(InputError, match="reply must hold a JSON object"):
        parse(reply)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(InputError, match="program must be one that can be started"):
        ExternalProgram(["/no/such/program"])("x")


def test_labels_by_words(tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "speech", rows=6)
    asked: list[str] = []

    def answer(text: str) -> str:
        asked.append(text)
        if "sentence 3" in text:
            return "I would rather not."
        if len(asked) == 1:
            return "Let me think."  # and be asked again
        return REPLY

    store = annotate_by_words([path], tmp_path / "labels", answer, INFO)
    labels = store.read()
    assert labels.names == ["00.wav", "01.wav", "02.wav", "04.wav", "05.wav"]
    np.testing.assert_array_equal(labels.scores, [[0.25, 0.5, 1]] * 5)
    assert labels.metadata["text"][1] == "sentence 1"
    assert not np.isnan(labels.human).any()
    assert [file for file, _ in store.errors()] == ["03.wav"]
    assert store.teacher["name"] == "reader"
    assert len(asked) == 1 + 5 + 2
    # what is done is not asked for again
    again = annotate_by_words([path], tmp_path / "labels", answer, INFO, resume=True)
    assert len(asked) == 8
    assert len(again) == 5
    # but what has changed is
    changed = path.parent / "01.wav"
    soundfile.write(changed, clip(np.random.default_rng(9), 1, 3), 16000)
    again = annotate_by_words([path], tmp_path / "labels", answer, INFO, resume=True)
    assert len(asked) == 9
    assert len(again) == 5
    assert again.table()["sha256"].to_pylist()[1] == sha256(changed)
    other = TeacherInfo("other", "1", "MIT", "unknown")
    with pytest.raises(InputError, match="labels must be of teacher other 1 to go on"):
        annotate_by_words([path], tmp_path / "labels", answer, other, resume=True)
    fresh = annotate_by_words(
        [path], tmp_path / "labels", lambda text: REPLY, other, overwrite=True
    )
    assert len(fresh) == 6


def test_nobody_is_asked_no_times(tmp_path: Path) -> None:
    path = write_corpus(tmp_path / "speech", rows=2)
    nobody = Asking(str, attempts=0)
    store = annotate_by_words([path], tmp_path / "l", nobody, INFO)
    assert "attempts must be at least 1, got 0" in store.errors()[0][1]


def test_several_are_asked_about_at_once_and_alone_where_that_fails(tmp_path) -> None:
    path = write_corpus(tmp_path / "speech", rows=7)
    asked: list[str] = []

    def answer(text: str) -> str:
        asked.append(text)
        count = max(1, text.count("\nUtterance "))
        scores = [
            {"arousal": 0.1 * n, "dominance": 0.5, "valence": 0.5} for n in range(count)
        ]
        if count == 1:
            return json.dumps(scores[0])
        # of the second batch one is forgotten, twice
        return "Here: " + json.dumps(scores[:-1] if len(asked) > 1 else scores)

    model = Asking(answer, batch=3)
    store = annotate_by_words([path], tmp_path / "labels", model, INFO)
    assert "There are 3 utterances" in asked[0]
    numbers = [f"Utterance {n}\n" in asked[0] for n in (1, 2, 3, 4)]
    assert numbers == [True, True, True, False]
    # three at once, three twice in vain, then those alone, and the seventh
    assert len(asked) == 1 + 2 + 3 + 1
    np.testing.assert_allclose(
        store.read().scores[:, 0], [0, 0.1, 0.2, 0, 0, 0, 0], atol=1e-6
    )
    assert store.manifest["config"]["batch"] == 3


@pytest.mark.parametrize(
    "reply", ["[]", "[1, 2]", f"[{REPLY}]", f"[{REPLY}, {{}}]", "[" * 60_000, REPLY]
)
def test_replies_about_others_than_were_asked_are_refused(reply) -> None:
    with pytest.raises(InputError, match="reply must hold a JSON array of 2 objects"):
        parse_several(reply, 2)
    assert parse_several(f"[1] [{REPLY}, {REPLY}]", 2) == [(0.25, 0.5, 1.0)] * 2


def test_the_cost_is_about_what_is_asked(tmp_path) -> None:
    path = write_corpus(tmp_path / "speech", rows=9)
    shown = read_examples(path, most=2)
    assert len(shown) == 2
    assert 'Words: "sentence 0"' in shown[0].description
    letters = [0, 0]

    def answer(text: str) -> str:
        count = max(1, text.count("\nUtterance "))
        reply = f"[{', '.join([REPLY] * count)}]" if count > 1 else REPLY
        letters[0] += len(text)
        letters[1] += len(reply)
        return reply

    said = cost([path], shown, 4)
    model = Asking(answer, shown, batch=4)
    annotate_by_words([path], tmp_path / "labels", model, INFO)
    assert said.prompts == 3
    for tokens, found in zip((said.read, said.written), letters, strict=True):
        assert tokens == pytest.approx(found / 4, rel=0.25)
    assert cost([path]) == AskingCost(9, cost([path]).read, 9 * 60 // 4)
    table = path.parent / "none.csv"
    table.write_text("file,emotion\n00.wav,anger\n")
    with pytest.raises(InputError, match="examples must have arousal, dominance"):
        read_examples(table)


# Encoders of sentences -------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("bert"))


def test_sentences_become_vectors(encoder: Path) -> None:
    encode = SentenceEncoder(str(encoder))
    texts = ["a good day", "bad", "a good day"] * 12
    found = encode(texts)
    assert found.shape == (36, 16)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[0], found[2], atol=1e-6)
    # padding is not heard
    np.testing.assert_allclose(found[1], encode(["bad"])[0], atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-2


def test_encoders_that_are_none(encoder: Path, tmp_path: Path) -> None:
    import shutil

    import safetensors.torch

    with pytest.raises(InputError, match="text encoder must be a folder"):
        SentenceEncoder(str(tmp_path))
    broken = tmp_path / "broken"
    shutil.copytree(encoder, broken)
    weights = safetensors.torch.load_file(broken / "model.safetensors")
    del weights["embeddings.LayerNorm.weight"]
    safetensors.torch.save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"all its weights.*LayerNorm"):
        SentenceEncoder(str(broken))
