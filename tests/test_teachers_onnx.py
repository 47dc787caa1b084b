"""An ONNX of any order and origin as a teacher."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from wav2small.errors import InputError
from wav2small.teachers.loading import load_teacher
from wav2small.teachers.onnx import OnnxTeacher

SIGNAL = (0.1 * np.random.default_rng(0).normal(size=500)).astype(np.float32)
POWER = float(np.mean(SIGNAL**2))
ADV = ("arousal", "dominance", "valence")
YAML = """$audonnx.core.model.Model==1.0.1:
  path: model.onnx
  labels:
    hidden: null
    logits: [arousal, valence, dominance]
  transform: null
"""


def write(path: Path, **metadata: str) -> Path:
    """As published models of this field are: hidden states beside the scores."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[batch, time] signal) => (float[batch, 1] hidden, float[batch, 3] logits)
    <int64[1] axes = {1}, float[1, 3] w = {1.0, 2.0, 3.0}> {
        square = Mul(signal, signal)
        hidden = ReduceMean<axes = [1]>(square)
        logits = MatMul(hidden, w)
    }"""
    model = onnx.parser.parse_model(text)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def test_who_says_what_the_outputs_are(tmp_path: Path) -> None:
    path = write(tmp_path / "x" / "model.onnx", licence="MIT")
    folder = path.parent
    with pytest.raises(
        InputError, match=r"outputs of teacher 'x' must be named .*None"
    ):
        load_teacher(str(folder))
    # audonnx's file, then the model's metadata, then the description, then the user
    (folder / "model.yaml").write_text(YAML)
    assert load_teacher(str(folder)).info.order == "arousal,valence,dominance"
    write(path, licence="MIT", labels="valence,arousal,dominance")
    assert load_teacher(str(folder)).info.order == "valence,arousal,dominance"
    (folder / "teacher.json").write_text(
        '{"labels": ["valence","dominance","arousal"]}'
    )
    assert load_teacher(str(folder)).info.order == "valence,dominance,arousal"
    teacher = load_teacher(str(path), labels=("dominance", "valence", "arousal"))
    assert teacher.info.order == "dominance,valence,arousal"
    np.testing.assert_allclose(
        teacher.predict([SIGNAL])[0], POWER * np.array([3, 1, 2]), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("arousal,dominance", "labels of an ONNX model must be 3"),
        ("arousal,dominance,dominance", "must be named arousal, dominance, valence"),
        ("angry,happy,sad", r"got \['angry', 'happy', 'sad'\]: pass --teacher-labels"),
    ],
)
def test_other_labels_are_refused(labels: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", licence="MIT", labels=labels)
    with pytest.raises(InputError, match=message):
        load_teacher(str(path))


def test_a_foreign_onnx_is_of_unknown_licence(tmp_path: Path) -> None:
    path = write(tmp_path / "foreign.onnx", labels="arousal,dominance,valence")
    with pytest.raises(
        InputError,
        match=r"'foreign' must have a licence that allows any use, got unknown: "
        r'state it as "licence" in .*foreign\.json or pass --licence-policy research',
    ):
        load_teacher(str(path))
    teacher = load_teacher(str(path), policy="research")
    assert (teacher.info.name, teacher.info.licence) == ("foreign", "unknown")
    assert teacher.info.use == "research-only"
    np.testing.assert_allclose(
        teacher.predict([SIGNAL])[0], POWER * np.array([1, 2, 3]), rtol=1e-5
    )
    path.with_suffix(".json").write_text('{"licence": "cc-by-4.0", "name": "mine"}')
    stated = load_teacher(str(path)).info
    assert (stated.name, stated.licence, stated.use) == ("mine", "CC-BY-4.0", "any")


def test_a_marked_student_is_a_marked_teacher(tmp_path: Path) -> None:
    path = write(
        tmp_path / "student.onnx", labels=",".join(ADV), licence="MIT",
        use="research-only", provenance=json.dumps({"student": "tiny"}),
    )  # fmt: skip
    with pytest.raises(InputError, match="teacher 'tiny' must be free for any use"):
        load_teacher(str(path))
    assert load_teacher(str(path), policy="research").info.use == "research-only"


def test_damaged_provenance_is_unknown(tmp_path: Path) -> None:
    for number, text in enumerate(("{", "[]")):
        path = write(
            tmp_path / f"{number}.onnx", labels=",".join(ADV), licence="MIT",
            provenance=text,
        )  # fmt: skip
        assert OnnxTeacher(path).info.training_data == "unknown"


def test_yaml_that_is_not_audonnx(tmp_path: Path) -> None:
    path = write(tmp_path / "model.onnx", licence="MIT")
    yaml = tmp_path / "model.yaml"
    yaml.write_text("a: [")
    with pytest.raises(InputError, match=r"model.yaml must be audonnx's"):
        load_teacher(str(path))
    yaml.write_text(YAML.replace("transform: null", "transform: {signal: mfcc}"))
    with pytest.raises(InputError, match=r"transform must be null, got .*mfcc"):
        load_teacher(str(path))
    yaml.write_text("m: !!python/object/apply:os.system [true]")
    with pytest.raises(InputError, match=r"model.yaml must be audonnx's"):
        load_teacher(str(path))
