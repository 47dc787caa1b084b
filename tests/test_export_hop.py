"""ONNX of one hop: the bits of the stream, which are those of the C."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from wav2small import audio
from wav2small.bundled import DEMO
from wav2small.export.base import onnx_file
from wav2small.export.base.errors import ExportError
from wav2small.export.hop import write_hop
from wav2small.export.hop.numbers import Integers, Nodes
from wav2small.export.integer.front_end.log_mel import samples as to_samples
from wav2small.export.integer.streaming.run import Stream
from wav2small.models import find_onnx

MODELS = ["wav2small-rt", "wav2small-rt-mini"]


class Listener:
    """A file of one hop in onnxruntime, with its state."""

    def __init__(self, data: bytes, execution: str = "default") -> None:
        self.session = onnx_file.session(onnx.load_from_string(data), execution)
        signal, state = self.session.get_inputs()
        assert [i.name for i in (signal, state)] == ["signal", "state"]
        self.hop_length = signal.shape[1]
        self.state = np.zeros(state.shape, np.int64)

    def hear(self, hop: np.ndarray) -> np.ndarray:
        given = {"signal": hop[None].astype(np.float32), "state": self.state}
        scores, self.state = self.session.run(["logits", "next_state"], given)
        return scores[0]


def compare(model: str, signal: np.ndarray, *, forget: float | None = None) -> int:
    """Compare all hops of a signal with the stream; return how many had scores."""
    listener = Listener(write_hop(find_onnx(model), forget))
    stream = Stream(find_onnx(model))
    stream.forget(forget)
    scored = 0
    for start in range(0, len(signal) - listener.hop_length, listener.hop_length):
        hop = signal[start : start + listener.hop_length]
        scores = listener.hear(hop)
        stream.push(hop)
        try:
            expected = stream.latest()
            scored += 1
        except ExportError:
            expected = np.full(3, np.nan, np.float32)
        np.testing.assert_array_equal(scores, expected)
    return scored


def hard_signal() -> np.ndarray:
    """Silence, noise, full scale, clipped beyond it, one click, small numbers."""
    generator = np.random.default_rng(0)
    noise = generator.standard_normal(4800)
    parts = [np.zeros(2400), noise * 0.1, np.sign(noise), noise * 3, np.zeros(1600)]
    click = np.zeros(1600)
    click[700] = 1
    parts += [click, noise * 2**-15, np.linspace(-1, 1, 1600) ** 3]
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("forget", [None, 0.5])
def test_each_hop_has_the_bits_of_the_stream(model, forget):
    clip = audio.load(DEMO.with_name("en_m1_p85_r278_006.opus"))[:16000]
    assert compare(model, np.concatenate([hard_signal(), clip]), forget=forget) > 100


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_real_clips_have_the_bits_of_the_stream(model, data):
    paths = sorted((data / "emodb" / "audio").iterdir())[::180]
    assert len(paths) >= 3
    for path in paths:
        assert compare(model, audio.load(path)[:32000]) > 50


def test_a_state_of_zeros_begins_a_signal_and_states_are_apart():
    data = write_hop(find_onnx(MODELS[1]))
    signal = hard_signal()
    first, second = Listener(data), Listener(data, "exact")
    step = first.hop_length
    hops = [signal[i : i + step] for i in range(0, 20000 - step, step)]
    once = [first.hear(hop) for hop in hops]
    first.state = np.zeros_like(first.state)
    again = [first.hear(hop) for hop in hops]
    apart = [second.hear(hop) for hop in hops]
    np.testing.assert_array_equal(once, again)
    np.testing.assert_array_equal(once, apart)
    assert np.isnan(once[0]).all() and np.isfinite(once[-1]).all()


def test_the_file_says_what_it_is_of_and_is_the_same_each_time(run, tmp_path):
    code, out, said = run("hop", MODELS[1], tmp_path / "hop.onnx")
    assert (code, out) == (0, f"{tmp_path / 'hop.onnx'}\n")
    assert "256 samples and a state of" in said
    data = (tmp_path / "hop.onnx").read_bytes()
    assert data == write_hop(find_onnx(MODELS[1]))
    onnx_file.parse(data)
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    stated = {entry.key: entry.value for entry in model.metadata_props}
    source = onnx.load(find_onnx(MODELS[1]))
    before = {entry.key: entry.value for entry in source.metadata_props}
    assert {key: stated[key] for key in before} == before
    assert stated["source_sha256"] == Stream(find_onnx(MODELS[1])).graph.digest


def test_a_model_that_does_not_stream_is_refused(run, tmp_path):
    code, out, said = run("hop", "wav2small", tmp_path / "hop.onnx")
    assert (code, out) == (2, "")
    assert said.startswith("error: model must need the past alone to stream")
    assert not list(tmp_path.iterdir())


# -- numbers -------------------------------------------------------------------


def computed(make, *arrays: np.ndarray) -> np.ndarray:
    """What onnxruntime makes of a graph of integers."""
    builder = Nodes()
    names = [f"x{i}" for i in range(len(arrays))]
    result = make(*(Integers(builder, name) for name in names))
    graph = helper.make_graph(
        builder.nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.INT64, [None]) for n in names],
        [helper.make_tensor_value_info(result.name, TensorProto.INT64, None)],
        list(builder.constants.values()),
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, dict(zip(names, arrays, strict=True)))
    return found


NUMBERS = st.lists(st.integers(-(2**61), 2**61), min_size=1, max_size=20)


@settings(max_examples=15)
@given(NUMBERS, st.integers(1, 61))
def test_shifts_round_as_numpy_does(values, bits):
    array = np.array(values, np.int64)
    half = np.int64(1) << (bits - 1)
    np.testing.assert_array_equal(computed(lambda x: x >> bits, array), array >> bits)
    np.testing.assert_array_equal(
        computed(lambda x: x.rounded_shift(bits), array), (array + half) >> bits
    )
    exponents = np.full_like(array, bits)
    np.testing.assert_array_equal(
        computed(lambda x, y: x.rounded_shift_by(y), array, exponents),
        (array + half) >> bits,
    )


def test_bit_lengths_are_pythons():
    values = [0, 1, 2, 3, 255, 256, 2**31 - 1, 2**31, 2**61]
    found = computed(lambda x: x.builder.bit_length(x), np.array(values, np.int64))
    assert found.tolist() == [value.bit_length() for value in values]


def test_samples_are_those_of_the_norm():
    from wav2small.export.hop import front_end

    signal = np.float32([0, 1, -1, 1.5, -3, 0.5 / 2**15, 1.5 / 2**15, 0.3])
    builder = Nodes()
    result = front_end.to_samples(builder, Integers(builder, "x"))
    graph = helper.make_graph(
        builder.nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info(result.name, TensorProto.INT64, [None])],
        list(builder.constants.values()),
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    np.testing.assert_array_equal(
        session.run(None, {"x": signal})[0], to_samples(signal)
    )
