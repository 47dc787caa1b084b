"""Students that forget: torch, ONNX, reference, stream and C."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, helper, numpy_helper
from speech import clips
from test_export_c99 import Library, compiled
from test_export_streaming import pieces, signal, whole

from wav2small.export.base.errors import ExportError
from wav2small.export.integer.forgetting import forgetting
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.operators.softmax_pool import SoftmaxPool
from wav2small.export.integer.pooling import decay_of
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.streaming.run import Stream
from wav2small.export.model import topology
from wav2small.export.model.to_onnx import to_onnx
from wav2small.export.quantise.steps import quantize
from wav2small.features import forgetting_ramp
from wav2small.students.streaming import Streaming, StreamingConfig

SECONDS = 0.3


def student(seconds: float | None = SECONDS) -> Streaming:
    torch.manual_seed(0)
    config = StreamingConfig(filters=(4, 8), channels=16, forget_seconds=seconds)
    module = Streaming(config).eval()
    # values that differ from frame to frame, as trained ones do
    with torch.no_grad():
        module.value.weight *= 30
    return module


@pytest.fixture(scope="module")
def exported() -> ModelProto:
    return quantize(to_onnx(student(), window=None, example_samples=32000), clips(4, 7))


def pool(model: IntegerGraph) -> SoftmaxPool:
    (found,) = (o for o in model.operators if isinstance(o, SoftmaxPool))
    return found


# -- what it means -----------------------------------------------------------


def test_weights_fall_to_an_e_th_in_the_time_constant():
    slope = student().row_seconds / SECONDS
    ramp = forgetting_ramp(torch.zeros(2, 16, 100, 1), slope)
    rows = round(SECONDS / 0.02)
    assert ramp.shape == (1, 1, 100, 1)
    risen = ramp[0, 0, rows, 0] - ramp[0, 0, 0, 0]
    assert risen.item() == pytest.approx(1, rel=1e-6)


def test_padding_changes_nothing():
    module = student()
    short, long = torch.randn(1, 5000), torch.randn(1, 9000)
    batch = torch.zeros(2, 9000)
    batch[0, :5000], batch[1] = short[0], long[0]
    with torch.inference_mode():
        together = module(batch, torch.tensor([5000, 9000]))
        alone = torch.cat([module(short), module(long)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_what_was_long_ago_is_forgotten():
    end = signal(5, 48000)
    heard = [np.concatenate([signal(seed, 16000), end]) for seed in (3, 4)]

    def difference(seconds: float | None) -> float:
        module = student(seconds)
        with torch.inference_mode():
            first, second = (
                module(torch.from_numpy(part / np.float32(2**15))[None])
                for part in heard
            )
        return (first - second).abs().max().item()

    assert difference(0.1) < 1e-4 < 1e-2 < difference(None)


@pytest.mark.parametrize("seconds", [0, -1.0])
def test_no_time_constant(seconds):
    with pytest.raises(ValueError, match="forget_seconds must be above 0 or None, go"):
        StreamingConfig(forget_seconds=seconds)


# -- one meaning everywhere --------------------------------------------------


def test_the_reader_knows_the_time_constant(exported):
    assert pool(read(exported)).decay == decay_of(SECONDS, 320, 16000)
    unforgetting = quantize(
        to_onnx(student(None), window=None, example_samples=32000), clips(4, 7)
    )
    assert pool(read(unforgetting)).decay == 0


def test_a_window_has_the_same(exported):
    windowed = to_onnx(student(), window=16000, example_samples=16000)
    model = read(quantize(windowed, [np.resize(clip, 16000) for clip in clips(4, 7)]))
    assert pool(model).decay == pool(read(exported)).decay


def test_reference_and_onnxruntime(exported):
    session = topology.session(exported)
    for clip in clips(3, 11):
        (found,) = session.run(None, {"signal": clip[None]})
        wanted = ReferenceModel(exported).predict([clip])
        np.testing.assert_allclose(found, wanted, atol=1e-3)
        remembering = ReferenceModel(forgetting(read(exported), None)).predict([clip])
        assert np.abs(wanted - remembering).max() > 5e-3


@compiled
def test_stream_and_c(exported, tmp_path):
    model = read(exported)
    library = Library(model, tmp_path)
    library.init()
    stream = Stream(model)
    for seed in range(2):
        samples = signal(seed, 20000)
        for piece in pieces(seed, samples, 900):
            library.push(piece)
            stream.push(piece)
        wanted = whole(model, samples)
        assert library.so_far() == wanted
        assert stream.integers().ravel().tolist() == wanted
        assert library.latest() == stream.latest_integers().ravel().tolist()
        library.c.wav2small_reset(library.state)
        stream.reset()
    # what is set at run time is what another training would have set
    library.c.wav2small_forget(library.state, ctypes.c_uint32(0))
    library.push(samples)
    assert library.so_far() == whole(forgetting(model, None), samples)


# -- ramps that are none -----------------------------------------------------


def changed(model: ModelProto, change: Callable[[dict[str, NodeProto]], None]) -> bytes:
    copy = ModelProto()
    copy.CopyFrom(model)
    nodes = {node.op_type: node for node in copy.graph.node}  # the last of each
    at = [node.op_type for node in copy.graph.node].index("CumSum")
    kinds = ("Slice", "Shape", "ConstantOfShape", "CumSum", "Mul", "Add")
    for node in copy.graph.node[at - 3 : at + 3]:
        if node.op_type in kinds:
            nodes[node.op_type] = node
    (softmax,) = (n.output[0] for n in copy.graph.node if n.op_type == "Softmax")
    (nodes["weighted"],) = (n for n in copy.graph.node if softmax in n.input)
    if nodes["weighted"].input[0] == softmax:
        nodes["weighted"].input.reverse()
    change(nodes)
    constants = {
        "minus": np.float32(-1),
        "steep": np.float32(200),
        "two": np.array([2], np.float32),
        "axis": np.int64(1),
    }
    for name, value in constants.items():
        copy.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    return copy.SerializeToString()


def _replace(kind: str, place: int, name: str) -> Callable[[dict], None]:
    return lambda nodes: nodes[kind].input.__setitem__(place, name)


def _attribute(kind: str, **value: object) -> Callable[[dict], None]:
    def change(nodes: dict[str, NodeProto]) -> None:
        for name, entry in value.items():
            for old in [a for a in nodes[kind].attribute if a.name == name]:
                nodes[kind].attribute.remove(old)
            nodes[kind].attribute.append(helper.make_attribute(name, entry))

    return change


def _own_slope(name: str) -> Callable[[dict], None]:
    def change(nodes: dict[str, NodeProto]) -> None:
        slope = 1 - list(nodes["Mul"].input).index(nodes["CumSum"].output[0])
        nodes["Mul"].input[slope] = name

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_own_slope("minus"), "node must be a ramp that rises by 0 to 177 and not -1"),
        (_own_slope("steep"), "node must be a ramp that rises by 0 to 177 and not 200"),
        (_attribute("CumSum", reverse=1), "node must be the count of rows of a ramp"),
        (_attribute("CumSum", exclusive=1), "node must be the count of rows of a ramp"),
        (_replace("CumSum", 1, "axis"), "the sum of scores and a ramp over all their"),
        (
            _attribute(
                "ConstantOfShape",
                value=numpy_helper.from_array(np.array([2], np.float32)),
            ),
            "node must be ones, as many as a tensor has numbers, got ConstantOfShape",
        ),
    ],
)
def test_ramps_that_are_none(exported, change, problem):
    with pytest.raises(ExportError, match=problem):
        read(onnx.load_from_string(changed(exported, change)))


def test_scores_with_a_ramp_have_no_other_reader(exported):
    def change(nodes: dict[str, NodeProto]) -> None:
        # the product with the softmax then weighs the scores themselves
        nodes["weighted"].input[0] = nodes["Add"].output[0]

    with pytest.raises(ExportError, match="sum with a ramp that a softmax alone reads"):
        read(onnx.load_from_string(changed(exported, change)))
