"""Categories and doubts beside the scores: ONNX, reference, stream and C."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_export_c99 import NO_POINTER, OK, TOO_SHORT, Library, compiled
from test_export_streaming import pieces, signal

from wav2small.export.base.errors import ExportError
from wav2small.export.c99 import generate
from wav2small.export.integer.further import doubts, shares
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.streaming.run import Stream
from wav2small.export.integer.tensor import Tensor
from wav2small.export.model import topology
from wav2small.export.model.further import with_further
from wav2small.models import find_onnx

NAMES = ("anger", "fear", "happiness", "neutral", "sadness")


def plain(name: str) -> onnx.ModelProto:
    return onnx.load(find_onnx(name))


def made(name: str, spread: float = 3, **changes: object) -> onnx.ModelProto:
    """A model with random further outputs."""
    model = plain(name)
    rng = np.random.default_rng(0)
    pooled = {"wav2small-rt": 64, "wav2small-rt-mini": 56}[name]
    weight = rng.normal(0, spread, (len(NAMES) + 3, pooled)) / np.sqrt(pooled)
    weight[-3:] /= 10
    bias = np.concatenate([rng.normal(0, 1, len(NAMES)), np.log([0.1, 0.2, 0.05])])
    arguments = {"categories": NAMES, "weight": weight, "bias": bias} | changes
    return with_further(model, **arguments)


@pytest.fixture(scope="module", params=["wav2small-rt", "wav2small-rt-mini"])
def model(request) -> onnx.ModelProto:
    return made(request.param)


# -- what they mean ----------------------------------------------------------


@given(
    st.lists(st.floats(-60, 60), min_size=1, max_size=9),
    st.sampled_from([2.0**-23, 2.0**-20]),
)
def test_shares_are_a_softmax(odds, scale):
    tensor = Tensor("categories", "int32", scale, 0, (1, len(odds)), 64.0)
    found = shares(np.rint(np.array(odds) / scale).astype(np.int64), tensor) / 2**15
    wanted = np.exp(np.array(odds) - max(odds))
    np.testing.assert_allclose(found, wanted / wanted.sum(), atol=1e-4)


@given(st.lists(st.floats(-9, 1), min_size=3, max_size=3))
def test_doubts_are_errors_of_at_most_1(logarithms):
    tensor = Tensor("doubt", "int32", 2.0**-23, 0, (1, 3), 16.0)
    integers = np.rint(np.array(logarithms) * 2**23).astype(np.int64)
    found = doubts(integers, tensor) / 2**14
    wanted = np.minimum(1, np.exp(logarithms))
    np.testing.assert_allclose(found, wanted, atol=1e-4)


# -- the same everywhere -----------------------------------------------------


def test_scores_stay_what_they_are(model):
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.output[1:]
    samples = signal(1, 20000)
    one, other = ReferenceModel(model), ReferenceModel(bare)
    assert one.graph.further == {"categories": "categories", "doubt": "doubt"}
    assert other.graph.further == {}
    np.testing.assert_array_equal(
        one.run(samples)[one.graph.output], other.run(samples)[other.graph.output]
    )


def test_onnxruntime_gives_them(model):
    samples = signal(2, 24000)
    session = topology.session(model)
    outputs = session.run(
        ["categories", "doubt"], {"signal": samples[None] / np.float32(2**15)}
    )
    reference = ReferenceModel(model)
    values, tensors = reference.run(samples), reference.graph.tensors
    for name, found in zip(("categories", "doubt"), outputs, strict=True):
        wanted = values[name] * tensors[name].scale
        np.testing.assert_allclose(found, wanted, atol=0.02)


@compiled
def test_stream_and_c(model, tmp_path):
    graph = read(model)
    library = Library(graph, tmp_path)
    stream = Stream(graph)
    found = (ctypes.c_uint16 * len(NAMES))()
    call = library.c.wav2small_latest_categories
    doubt = library.c.wav2small_latest_doubts
    library.init()
    assert call(library.state, found) == TOO_SHORT
    with pytest.raises(ExportError):
        stream.latest_categories()
    for piece in pieces(3, signal(3, 30000), 3000):
        library.push(piece)
        stream.push(piece)
        scores = library.latest()
        if scores is ExportError:
            continue
        assert scores == stream.latest_integers().ravel().tolist()
        assert call(library.state, found) == OK
        wanted = stream.latest_categories()
        assert list(wanted) == list(NAMES)
        assert [share / 2**15 for share in found] == list(wanted.values())
        assert doubt(library.state, found) == OK
        parts = np.array(found[:3], np.float32) / np.float32(2**14)
        np.testing.assert_array_equal(parts, stream.latest_doubts())
    assert len(set(wanted.values())) > 1
    assert call(library.state, None) == NO_POINTER
    assert doubt(None, found) == NO_POINTER


def test_whole_signals_have_what_streams_have_at_their_end(model):
    samples = signal(4, 24000)
    reference, stream = ReferenceModel(model), Stream(read(model))
    # so much more that all rows of the signal have their look-ahead
    stream.push(samples)
    values = reference.run(samples)
    odds = values["categories"], reference.graph.tensors["categories"]
    likely = dict(zip(NAMES, shares(*odds) / 2**15, strict=True))
    latest = stream.latest_categories()
    assert max(abs(latest[name] - likely[name]) for name in NAMES) < 0.2


def test_models_without_them_are_what_they_were(tmp_path):
    for name, model in (
        ("with", made("wav2small-rt")),
        ("bare", plain("wav2small-rt")),
    ):
        generate(read(model), tmp_path / name)
    for file in ("wav2small.c", "wav2small.h", "wav2small_config.h"):
        texts = [(tmp_path / name / file).read_text() for name in ("with", "bare")]
        assert ["categories" in text.lower() for text in texts] == [True, False]


def test_they_take_little(model):
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.output[1:], bare.graph.node[-4:]
    unused = [i for i in bare.graph.initializer if i.name.startswith(("cat", "doubt"))]
    for entry in unused:
        bare.graph.initializer.remove(entry)
    assert model.ByteSize() - bare.ByteSize() < 1500


def test_a_blob_of_other_categories_is_of_another_network(tmp_path):
    words = ["joy" if name == "happiness" else name for name in NAMES]
    larger = np.ones((len(NAMES) + 3, 64))
    models = {
        "first": made("wav2small-rt"),
        "same": made("wav2small-rt", bias=np.full(len(NAMES) + 3, -1.0)),
        "renamed": made("wav2small-rt", categories=words),
        "scaled": made("wav2small-rt", weight=larger),
    }
    structures = {}
    for name, model in models.items():
        generate(read(model), tmp_path / name)
        data = (tmp_path / name / "wav2small_model.bin").read_bytes()
        structures[name] = data[16:48]
    assert structures["first"] == structures["same"]
    assert len(set(structures.values())) == 3


# -- what cannot be ----------------------------------------------------------


def test_names_that_do_not_fit():
    for names in (("anger",), ("anger", "anger", "a", "b", "c"), ("A", *NAMES[1:])):
        with pytest.raises(ExportError, match="metadata entry 'categories' must name"):
            read(renamed(made("wav2small-rt"), ",".join(names)))


def renamed(model: onnx.ModelProto, names: str) -> onnx.ModelProto:
    for entry in model.metadata_props:
        if entry.key == "categories":
            entry.value = names
    return model


def test_shapes_that_do_not_fit():
    model = made("wav2small-rt")
    model.graph.output[-1].name = model.graph.node[-1].output[0] = "other"
    with pytest.raises(ExportError, match="must have one input and one output"):
        read(model)
    model = made("wav2small-rt")
    bias = np.zeros(len(NAMES) + 2)
    with pytest.raises(ExportError, match="output 'doubt' must be of shape"):
        read(made("wav2small-rt", weight=np.ones((len(NAMES) + 2, 64)), bias=bias))


def test_a_model_that_cannot_have_them(tmp_path: Path):
    with pytest.raises(ExportError, match="model must have the output 'categories'"):
        Stream(read(plain("wav2small-rt"))).latest_categories()
