import audonnx
import numpy as np
import onnx
import pytest

from wav2small.export import package
from wav2small.export.base import files
from wav2small.export.base.errors import ExportError


def write(model, folder, *, metadata, labels, overwrite=False):
    data = package.pack(model, metadata=metadata, labels=labels)
    return package.write(data, folder, labels=labels, overwrite=overwrite)


LABELS = ("arousal", "dominance", "valence")
METADATA = {"sampling_rate": "16000", "range": "0..1", "licence": "Apache-2.0"}


@pytest.fixture
def model():
    return onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1, time] signal) => (float[1, 3] logits) {
            mean = ReduceMean<axes=[1]>(signal)
            twice = Add(mean, mean)
            zero = Sub(mean, mean)
            logits = Concat<axis=1>(mean, twice, zero)
        }"""
    )


def test_audonnx_loads_it(model, tmp_path):
    path = write(model, tmp_path / "m", metadata=METADATA, labels=LABELS)
    assert path == tmp_path / "m" / "model.onnx"
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "manifest.sha256",
        "model.onnx",
        "model.yaml",
    ]
    loaded = audonnx.load(str(path.parent))
    assert loaded.labels("logits") == list(LABELS)
    assert loaded.inputs["signal"].transform is None
    for samples in (100, 333):
        signal = np.full((1, samples), 0.5, np.float32)
        scores = loaded(signal, 16000)
        np.testing.assert_allclose(scores, [[0.5, 1.0, 0.0]], rtol=1e-6)


def test_metadata(model, tmp_path):
    path = write(model, tmp_path, metadata=METADATA, labels=LABELS)
    stored = onnx.load(path)
    onnx.checker.check_model(stored, full_check=True)
    assert {entry.key: entry.value for entry in stored.metadata_props} == {
        **METADATA,
        "labels": "arousal,dominance,valence",
    }


def test_same_bytes_whatever_the_order(model, tmp_path):
    turned = dict(reversed(METADATA.items()))
    first = write(model, tmp_path / "1", metadata=METADATA, labels=LABELS)
    second = write(model, tmp_path / "2", metadata=turned, labels=LABELS)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", ["model.onnx", "model.yaml"])
def test_no_overwriting_unless_asked(model, tmp_path, name):
    (tmp_path / name).write_text("old")
    with pytest.raises(ExportError, match=f"{name}' must not exist, got a file"):
        write(model, tmp_path, metadata={}, labels=LABELS)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    write(model, tmp_path, metadata={}, labels=LABELS, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 3
    assert audonnx.load(str(tmp_path)).labels("logits") == list(LABELS)


def test_interrupted_write_leaves_the_old_file(model, tmp_path, monkeypatch):
    write(model, tmp_path, metadata={}, labels=LABELS)
    old = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(ExportError, match="writable folder, got disk full"):
        write(model, tmp_path, metadata=METADATA, labels=LABELS, overwrite=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == old


def test_folder_that_is_a_file(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="must be a writable folder"):
        write(model, tmp_path / "file", metadata={}, labels=LABELS)


@pytest.mark.parametrize("label", ["", "a b", "!!python/object", "a]\nb: [", "1st"])
def test_labels_are_words(model, tmp_path, label):
    with pytest.raises(ExportError, match="labels must be words"):
        write(model, tmp_path, metadata={}, labels=("a", "b", label))


def test_number_of_labels(model, tmp_path):
    with pytest.raises(ExportError, match=r"shape \[1, 3\], got 2"):
        write(model, tmp_path, metadata={}, labels=("a", "b"))


@pytest.mark.parametrize("entry", [{"window": 3}, {"": "x"}, {3: "x"}])
def test_metadata_is_text(model, tmp_path, entry):
    with pytest.raises(ExportError, match="metadata must map text to text"):
        write(model, tmp_path, metadata=entry, labels=LABELS)


def test_two_outputs(model, tmp_path):
    model.graph.output.add().CopyFrom(model.graph.output[0])
    model.graph.output[1].name = "mean"
    with pytest.raises(ExportError, match="one output, got 2"):
        write(model, tmp_path, metadata={}, labels=LABELS)


def test_external_data(model, tmp_path):
    tensor = model.graph.initializer.add(name="w", data_type=1, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    with pytest.raises(ExportError, match="external data for 'w'"):
        write(model, tmp_path, metadata={}, labels=LABELS)
    assert not list(tmp_path.iterdir())
