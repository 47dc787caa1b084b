"""Scores of one wearer: how they are fitted, written, read and used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wav2small
from wav2small.bundled import DEMO
from wav2small.cli import main
from wav2small.errors import InputError
from wav2small.export.integer.personal import Personal
from wav2small.personal import from_calm, from_labels

CLIPS = sorted(DEMO.parent.glob("en_m1*.opus"))[:3]


def test_a_calm_voice_becomes_neutral_the_more_clips_the_nearer():
    scores = np.array([0.3, 0.4, 0.2]) + np.zeros((20, 3))
    left = []
    for clips in (1, 5, 20):
        gains, offsets = from_calm(scores[:clips])
        np.testing.assert_array_equal(gains, 1)
        moved = scores[0] * gains + offsets
        assert moved[2] == 0.2
        left.append(0.5 - moved[0])
    assert left == pytest.approx([0.1, 0.2 / 6, 0.2 / 21])


def test_one_loud_clip_of_many_changes_little():
    scores = np.full((9, 3), 0.4)
    wild = np.concatenate([scores, np.full((1, 3), 5.0)])
    assert from_calm(wild)[1][0] == pytest.approx(0.1 * 10 / 11)


@given(
    gain=st.floats(0.5, 2),
    offset=st.floats(-0.5, 0.5),
    seed=st.integers(0, 9),
)
def test_labels_give_what_made_them(gain, offset, seed):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 1, (4000, 3))
    gains, offsets = from_labels(scores, scores * gain + offset)
    np.testing.assert_allclose(gains, gain, atol=0.01)
    np.testing.assert_allclose(offsets, offset, atol=0.01)


def test_one_labelled_clip_moves_a_part_of_the_way_and_turns_nothing():
    scores, truth = np.full((1, 3), 0.4), np.full((1, 3), 0.6)
    gains, offsets = from_labels(scores, truth)
    np.testing.assert_array_equal(gains, 1)
    np.testing.assert_allclose(offsets, [0.2 / 2, 0.2 / 3, 0.2 / 8])


def test_labels_against_the_scores_turn_nothing_round():
    scores = np.linspace(0, 1, 500)[:, None] + np.zeros(3)
    gains, _ = from_labels(scores, 1 - 3 * scores)
    np.testing.assert_array_equal(gains, 0)


# -- files -------------------------------------------------------------------


@pytest.fixture
def calm(tmp_path: Path) -> Path:
    out = tmp_path / "wearer.json"
    content = wav2small.calibrate(CLIPS, out)
    assert content["clips"] == 3
    assert content["labelled"] is False
    return out


def test_what_is_read_is_what_was_fitted(calm):
    scores = np.stack(
        [
            wav2small.load("wav2small-rt").predict([wav2small.audio.load(clip)])[0]
            for clip in CLIPS
        ]
    ).astype(np.float64)
    gains, offsets = from_calm(scores)
    wanted = Personal.of(gains.tolist(), offsets.tolist())
    assert wav2small.load_calibration(calm) == wanted
    assert calm.with_suffix(".bin").read_bytes() == wanted.to_bytes()


def test_prediction_with_it(calm):
    plain = list(wav2small.predict(CLIPS[0]))
    own = list(wav2small.predict(CLIPS[0], calibration=calm))
    table = wav2small.load_calibration(calm)
    assert table.offsets[0] != 0
    (before,), (after,) = plain, own
    assert after.scores == tuple(table.scores(before.scores))
    assert (after.file, after.start, after.end) == (before.file, 0, before.end)


def test_labels_of_a_manifest(tmp_path):
    pairs = zip(CLIPS, "001", strict=True)
    lines = [f"{clip},0.9,0.8,{valence}" for clip, valence in pairs]
    manifest = tmp_path / "clips.csv"
    manifest.write_text("\n".join(["file,arousal,dominance,valence", *lines, ""]))
    content = wav2small.calibrate(manifest, tmp_path / "wearer.json")
    assert content["labelled"] is True
    assert content["gains"]["valence"] != 1


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"clips": 3', '"clips": 4'),
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: json.dumps({"format": "wav2small calibration 1"}),
        lambda text: "\0",
    ],
)
def test_damaged_files(calm, change):
    calm.write_text(change(calm.read_text()))
    with pytest.raises(
        InputError, match="calibration must be a file of 'wav2small cal"
    ):
        wav2small.load_calibration(calm)


def test_another_model(calm):
    with pytest.raises(InputError, match="got one of 'wav2small-rt' or another vers"):
        wav2small.load_calibration(calm, model="wav2small-rt-mini")
    assert wav2small.load_calibration(calm, model=None).gains == (4096,) * 3


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="calibration must be a file of"):
        wav2small.load_calibration(tmp_path / "none.json")
    with pytest.raises(InputError, match=r"output must not end in \.bin"):
        wav2small.calibrate(CLIPS, tmp_path / "wearer.bin")
    with pytest.raises(InputError, match="model must be an ONNX file"):
        wav2small.calibrate(CLIPS, tmp_path / "a.json", model=tmp_path)


# -- the command line --------------------------------------------------------


def run(capsys, monkeypatch, *words: object) -> tuple[object, str, str]:
    monkeypatch.setattr("sys.argv", ["wav2small", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    return end.value.code or 0, said.out, said.err


def test_commands(capsys, monkeypatch, tmp_path):
    out = tmp_path / "wearer.json"
    words = ("calibrate", "wav2small-rt", *CLIPS, out)
    code, said, _ = run(capsys, monkeypatch, *words)
    assert code == 0
    assert said.startswith(
        "3 clips of calm speech, of wav2small-rt\narousal    1.000 * "
    )
    code, _, said = run(capsys, monkeypatch, *words)
    assert (code, "is there: name another or --overwrite" in said) == (2, True)
    assert run(capsys, monkeypatch, *words, "--overwrite")[0] == 0
    options = ("--calibration", out, "--json")
    code, said, _ = run(capsys, monkeypatch, "predict", CLIPS[0], *options)
    (row,) = json.loads(said)
    (wanted,) = wav2small.predict(CLIPS[0], calibration=out)
    assert row["arousal"] == round(wanted.scores[0], 4)
    mini = ("--model", "wav2small-rt-mini")
    code, _, said = run(capsys, monkeypatch, "predict", CLIPS[0], *options, *mini)
    assert (code, "calibration must be of the model" in said) == (2, True)
