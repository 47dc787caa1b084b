"""Any flipped bit of a folder that is loaded is found on load."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import wav2small
from wav2small import checkpoint, gate, models
from wav2small.annotation.store import LabelStore
from wav2small.export import package
from wav2small.export.base import checksums
from wav2small.export.base.errors import InputError
from wav2small.teachers.bundled import BundledTeacher
from wav2small.teachers.loading import load_teacher

ASSETS = Path(wav2small.__file__).parent / "assets"
FLIPS = 300
INFO = {"name": "t", "revision": "1", "licence": "MIT", "training_data": "x"}


def bundled(folder):
    shutil.copytree(ASSETS / "models" / "wav2small-rt-mini", folder)


def exported(folder):
    data = (ASSETS / "models" / "wav2small-rt-mini" / "model.onnx").read_bytes()
    package.write(data, folder, labels=("arousal", "dominance", "valence"))


def saved(folder):
    checkpoint.save(
        folder, {"a": np.arange(9, dtype=np.float32)}, {"x": 1}, extra={"o": {}}
    )


def labelled(folder):
    store = LabelStore.create(folder, {"root": "/", "teacher": INFO})
    row = {"arousal": 0.1, "dominance": 0.2, "valence": 0.3, "sha256": "0" * 64}
    rows = [
        row | {"file": f"{n}.wav", "start": 0.0, "end": float(n), "teacher": "t"}
        | {"licence": "MIT"}
        for n in range(30)
    ]  # fmt: skip
    store.append(rows, [("z.wav", "damaged")])
    store.finish()
    for name in ("errors.csv", "skipped.csv"):  # for people; nothing loads them
        (folder / name).unlink(missing_ok=True)


KINDS = {
    "bundled model": (bundled, lambda folder: models.OnnxModel(folder / "model.onnx")),
    "its checkpoint": (bundled, models.load_student),
    "as a teacher": (bundled, lambda folder: load_teacher(str(folder))),
    "model folder": (exported, models.load_model),
    "checkpoint": (saved, checkpoint.load),
    "teacher": (
        lambda folder: shutil.copytree(ASSETS / "teacher", folder),
        BundledTeacher.load,
    ),
    "gate": (
        lambda folder: shutil.copytree(ASSETS / "gate", folder),
        lambda folder: gate.SpeechGate(folder / "gate.onnx"),
    ),
    "labels": (labelled, lambda folder: LabelStore.open(folder).read()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_bit_is_found(kind, tmp_path):
    make, load = KINDS[kind]
    folder = tmp_path / "x"
    make(folder)
    load(folder)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    rng = np.random.default_rng(1)
    for number in range(FLIPS):
        path = paths[number % len(paths)]
        good = path.read_bytes()
        if not good:  # as of a lock
            continue
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        with pytest.raises(InputError) as caught:
            load(folder)
        assert "\n" not in str(caught.value)
        path.write_bytes(good)
    load(folder)


@pytest.mark.parametrize("folder", sorted((ASSETS / "models").iterdir()))
def test_what_is_in_the_package_is_listed(folder):
    checksums.verify(folder)
    assert (folder / checksums.MANIFEST).exists()


def test_the_ensembles_of_the_package_are_listed():
    checksums.verify(ASSETS / "teachers")
    assert checksums.read(ASSETS / "teachers") == checksums.read(ASSETS / "teachers")


def test_a_folder_without_a_manifest_is_accepted(tmp_path):
    shutil.copy(ASSETS / "models" / "wav2small-rt-mini" / "model.onnx", tmp_path)
    models.OnnxModel(tmp_path / "model.onnx")


def test_a_file_that_is_not_listed(tmp_path):
    folder = tmp_path / "x"
    exported(folder)
    shutil.copy(folder / "model.onnx", folder / "other.onnx")
    with pytest.raises(InputError, match=r"must be listed in manifest\.sha256"):
        models.OnnxModel(folder / "other.onnx")


def test_a_file_that_is_gone(tmp_path):
    folder = tmp_path / "x"
    exported(folder)
    (folder / "model.yaml").unlink()
    with pytest.raises(InputError, match=r"cannot be read.*model\.yaml"):
        models.OnnxModel(folder / "model.onnx")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "0" * 64 + "  ../x\n",
        "0" * 64 + "  /etc/passwd\n",
        "0" * 64 + "  a",
        "A" * 64 + "  a\n",
        "0" * 64 + " *a\n",
        ("0" * 64 + "  a\n") * 2,
        "\ufeff" + "0" * 64 + "  a\nx",
    ],
)
def test_a_damaged_manifest(text, tmp_path):
    (tmp_path / checksums.MANIFEST).write_text(text, encoding="utf-8")
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(InputError, match="manifest is damaged"):
        checksums.verify(tmp_path)


def test_it_is_that_of_sha256sum(tmp_path):
    (tmp_path / "a b").write_bytes(b"abc")
    checksums.write(tmp_path)
    # NIST's example of SHA-256
    assert (tmp_path / checksums.MANIFEST).read_text() == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a b\n"
    )


def test_a_seal_covers_the_whole_file():
    data = b"before" + checksums.SEAL.encode() + b"behind"
    sealed = checksums.seal(data)
    assert len(sealed) == len(data) and checksums.is_sealed(sealed)
    for bit in range(8 * len(sealed)):
        bad = bytearray(sealed)
        bad[bit // 8] ^= 1 << bit % 8
        assert not checksums.is_sealed(bytes(bad))
    assert not checksums.is_sealed(data) and not checksums.is_sealed(b"")
    with pytest.raises(ValueError, match="not found"):
        checksums.seal(b"none")
