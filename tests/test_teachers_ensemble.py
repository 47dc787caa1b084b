"""Several teachers as one, each with its weight, its clipping and its licence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import teacher_checkpoints as made
from teacher_checkpoints import ADV, SIGNALS

from wav2small.errors import InputError
from wav2small.teachers.base import TeacherInfo
from wav2small.teachers.ensemble import EnsembleTeacher, Member
from wav2small.teachers.loading import ENSEMBLES, load_teacher


class Constant:
    """A teacher that always gives the same scores."""

    def __init__(self, *scores: float, licence: str = "MIT", order: str = "") -> None:
        self.scores = scores
        name = f"c{scores[0]}"
        self.info = TeacherInfo(
            name, name, licence, "data", order=order or ",".join(ADV)
        )

    def predict(self, signals: Sequence[np.ndarray]) -> np.ndarray:
        return np.tile(np.float32(self.scores), (len(signals), 1))


def describe(path: Path, *members: Any, **rest: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"members": list(members), **rest}))
    return str(path)


def test_the_wav2small_teacher_is_the_clipped_one_and_the_other(tmp_path: Path) -> None:
    described = json.loads(ENSEMBLES["wav2small-teacher"].read_text())["members"]
    assert [(m["teacher"], m.get("clip", False)) for m in described] == [
        ("audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim", True),
        ("3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes", False),
    ]
    # the same recipe over small models of the two forms
    first = made.write_dawn(tmp_path / "dawn", card="license: cc-by-nc-sa-4.0")
    made.write_odyssey(tmp_path / "odyssey")
    for entry, name in zip(described, ("dawn", "odyssey"), strict=True):
        entry["teacher"] = name
    path = describe(tmp_path / "mine.json", *described)
    with pytest.raises(InputError, match="'dawn' must be free for any use"):
        load_teacher(path)
    teacher = load_teacher(path, policy="research")

    _, weights, model = made.dawn()
    dawn = np.array([made.dawn_scores(weights, model, s) for s in SIGNALS])
    _, weights, model = made.odyssey()
    other = np.array([made.odyssey_scores(weights, model, s) for s in SIGNALS])
    assert dawn.min() < 0 and dawn.max() > 1
    expected = (dawn.clip(0, 1) + other) / 2
    np.testing.assert_allclose(teacher.predict(SIGNALS), expected, rtol=0, atol=1e-5)
    single = [teacher.predict([signal])[0] for signal in SIGNALS]
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-5)

    info = teacher.info
    assert (info.name, info.licence, info.use) == (
        "mine", "CC-BY-NC-SA-4.0", "research-only",
    )  # fmt: skip
    assert [member.licence for member in info.members] == ["CC-BY-NC-SA-4.0", "MIT"]
    stated = info.to_dict()["members"]
    assert (
        stated[0]["revision"]
        == load_teacher(str(first), policy="research").info.revision
    )
    assert [member["name"] for member in stated] == ["dawn", "odyssey"]
    assert json.loads(json.dumps(info.to_dict())) == info.to_dict()


def test_weights() -> None:
    members = [Member(Constant(0.0, 0.2, 0.4), 3), Member(Constant(1.0, 1.0, 2.0))]
    scores = EnsembleTeacher("x", members).predict(SIGNALS[:2])
    np.testing.assert_allclose(scores, [[0.25, 0.4, 0.8]] * 2, atol=1e-6)
    scores = EnsembleTeacher("x", [*members, members[1]], clip=True).predict(
        SIGNALS[:1]
    )
    np.testing.assert_allclose(scores, [[0.4, 0.52, 1.0]], atol=1e-6)


def test_single_attributes_make_a_teacher(tmp_path: Path) -> None:
    members = []
    for name in ADV:
        made.write_odyssey(tmp_path / name, labels=(name,))
        members.append({"teacher": name})
    teacher = load_teacher(describe(tmp_path / "all" / "teacher.json", *[
        {"teacher": f"../{member['teacher']}"} for member in members
    ]))  # fmt: skip
    assert teacher.info.name == "all"
    scores = teacher.predict(SIGNALS)
    for column, name in enumerate(ADV):
        _, weights, model = made.odyssey((name,))
        expected = [made.odyssey_scores(weights, model, s)[0] for s in SIGNALS]
        np.testing.assert_allclose(scores[:, column], expected, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="must give arousal, dominance, valence, got "
                       "arousal; valence: add a member"):  # fmt: skip
        load_teacher(describe(tmp_path / "two.json", members[0], members[2]))


def test_a_score_that_is_not_finite_stays_so() -> None:
    """A broken member must not look like one that does not give a dimension."""
    members = [Member(Constant(0.5, 0.5, np.nan)), Member(Constant(0.5, 0.5, 0.5))]
    scores = EnsembleTeacher("x", members).predict(SIGNALS[:1])
    assert np.isnan(scores[0]).tolist() == [False, False, True]


def test_identity_is_that_of_everything_that_counts() -> None:
    one, two = Constant(0.1, 0.1, 0.1), Constant(0.2, 0.2, 0.2)

    def revision(*members: Member, **options: bool) -> str:
        return EnsembleTeacher("x", members, **options).info.revision

    plain = (Member(one), Member(two))
    found = [
        revision(*plain),
        revision(*plain, clip=True),
        revision(Member(one, 2.0), Member(two)),
        revision(Member(one, clip=True), Member(two)),
        revision(Member(one)),
        revision(*reversed(plain)),
    ]
    assert len(set(found)) == len(found)
    assert revision(*plain) == found[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"members": []}, "must give arousal, dominance, valence, got none"),
        ({"members": ["bundled"]}, "description must be an object of JSON"),
        ({"members": [{"teacher": "bundled", "w": 1}]}, "keys of clip, .*, got w"),
        ({"members": [{"weight": 1}]}, "member must have a teacher and a weight"),
        ({"members": [{"teacher": "bundled", "weight": "1"}]}, "and a weight, got"),
        ({"members": [{"teacher": "bundled", "weight": 0}]}, "weight must be above 0"),
        ({"members": [{"teacher": "bundled", "weight": 1e999}]}, "above 0, got inf"),
        ({"members": [{"teacher": "bundled", "clip": 1}]}, '"clip" must be true or'),
        (
            {"members": [{"teacher": "self.json"}]},
            "must be a single teacher, got ensemble",
        ),
        ({"members": 1}, '"members" must be a list, got 1'),
        ({"name": 1}, '"name" must be text, got 1'),
        ({"range": [1, 1]}, '"range" must be two rising numbers'),
        ({"clip": "yes"}, '"clip" must be true or false'),
        ({"labels": "arousal"}, '"labels" must be a list'),
        ({"tolerance": True}, '"tolerance" must be a number in 0..1, got True'),
        ({"tolerance": -0.1}, '"tolerance" must be a number in 0..1, got -0.1'),
        ({"license": "MIT"}, "keys of .*licence.*, got license"),
    ],
)
def test_descriptions_that_are_not_understood(
    content: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "self.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_teacher(str(path))


def test_a_description_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match="description must be JSON"):
        load_teacher(str(tmp_path / "x.json"))


def test_labels_of_what_is_known_cannot_be_changed() -> None:
    assert load_teacher("bundled", labels=ADV)
    with pytest.raises(
        InputError, match=r"got valence,arousal,.*: those of 'bundled' a"
    ):
        load_teacher("bundled", labels=("valence", "arousal", "dominance"))


def test_moving_moves_the_members(tmp_path: Path) -> None:
    made.write_dawn(tmp_path / "dawn")
    path = describe(
        tmp_path / "x.json", {"teacher": "dawn"}, {"teacher": "bundled", "weight": 2}
    )
    teacher = load_teacher(path)
    assert isinstance(teacher, EnsembleTeacher)
    scores = teacher.predict(SIGNALS)
    np.testing.assert_array_equal(teacher.to("cpu").predict(SIGNALS), scores)


def test_the_examples_of_the_page_are_understood(tmp_path: Path) -> None:
    page = Path(__file__).parent.parent / "docs" / "teachers.md"
    examples = [
        part.split("```")[0] for part in page.read_text().split("```json\n")[1:]
    ]
    assert len(examples) == 2
    made.write_dawn(tmp_path / "our-hubert", family="hubert", labels=ADV[::-1])
    (tmp_path / "our-hubert" / "teacher.json").write_text(examples[0])
    single = load_teacher(str(tmp_path / "our-hubert"))
    assert single.info.order == "arousal,valence,dominance"
    assert single.info.licence == "CC-BY-4.0"
    assert single.info.range == "0..1, from 1..7"
    stated = {**json.loads(examples[0]), "tolerance": 0.1}
    (tmp_path / "our-hubert" / "teacher.json").write_text(json.dumps(stated))
    with pytest.raises(InputError, match=r'"tolerance" must be stated of a fine-tuned'):
        load_teacher(str(tmp_path / "our-hubert"))
    (tmp_path / "our-hubert" / "teacher.json").write_text(examples[0])
    valence = "3loi/SER-Odyssey-Baseline-WavLM-Valence"
    assert valence in examples[1]
    made.write_odyssey(tmp_path / valence, labels=("valence",))
    (tmp_path / "ours.json").write_text(examples[1])
    teacher = load_teacher(str(tmp_path / "ours.json"))
    assert [member.name for member in teacher.info.members] == [
        "our-hubert", "SER-Odyssey-Baseline-WavLM-Valence", "bundled",
    ]  # fmt: skip
    assert teacher.predict(SIGNALS).shape == (len(SIGNALS), 3)
