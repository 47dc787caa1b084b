"""Streams against the whole clip, which the reference computes at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speech import clips, exported

from wav2small.export.base.errors import ExportError
from wav2small.export.integer.forgetting import forgetting
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.operators.base import Operator
from wav2small.export.integer.operators.concat import Concat
from wav2small.export.integer.operators.convolution import Convolution
from wav2small.export.integer.operators.linear import Linear
from wav2small.export.integer.operators.matrix_product import MatrixProduct
from wav2small.export.integer.operators.max_pool import MaxPool
from wav2small.export.integer.operators.mean import Mean
from wav2small.export.integer.operators.product import Product
from wav2small.export.integer.operators.reshape import Reshape
from wav2small.export.integer.operators.softmax_pool import SoftmaxPool
from wav2small.export.integer.operators.sum import Sum
from wav2small.export.integer.operators.table import Table
from wav2small.export.integer.operators.transpose import Transpose
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.rescale import Rescale, fixed_scale
from wav2small.export.integer.streaming.run import Stream
from wav2small.export.integer.streaming.schedule import schedule
from wav2small.export.integer.tensor import Tensor
from wav2small.export.quantise.steps import quantize
from wav2small.students import STUDENTS

_GRAPHS: dict[str, IntegerGraph] = {}


def student(name: str) -> IntegerGraph:
    """Int8 student with random weights; one that normalises does so no more."""
    if name not in _GRAPHS:
        _GRAPHS[name] = read(quantize(exported(name), list(clips(4, 7))))
    return _GRAPHS[name]


def with_front_end(model: IntegerGraph, **changes: object) -> IntegerGraph:
    first = model.operators[0]
    constants = dataclasses.replace(first.front_end, **changes)
    first = dataclasses.replace(first, front_end=constants)
    return dataclasses.replace(model, operators=(first, *model.operators[1:]))


def signal(seed: int, length: int) -> np.ndarray:
    """Noise that grows and fades."""
    generator = np.random.default_rng(seed)
    level = 3 ** generator.uniform(0, 9, 1 + length // 300).repeat(300)[:length]
    return np.clip(generator.normal(size=length) * level, -32768, 32767).astype(
        np.int16
    )


def pieces(seed: int, samples: np.ndarray, longest: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    start = 0
    while start < len(samples):
        stop = start + int(generator.integers(0, longest + 1))
        yield samples[start:stop]
        start = stop


def whole(model: IntegerGraph, samples: np.ndarray) -> list[int] | type[ExportError]:
    try:
        return ReferenceModel(model).run(samples)[model.output].ravel().tolist()
    except ExportError:
        return ExportError


def so_far(stream: Stream) -> list[int] | type[ExportError]:
    try:
        return stream.integers().ravel().tolist()
    except ExportError:
        return ExportError


# -- students ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["wav2small-rt", "wav2small-rt-mini"])
@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.one_of(st.integers(1, 1500), st.integers(1, 30000)),
    longest=st.sampled_from([60, 257, 4000, 40000]),
)
def test_equals_the_whole_clip(name, seed, length, longest):
    model = student(name)
    stream = Stream(model)
    samples = signal(seed, length)
    heard = 0
    for piece in pieces(seed, samples, longest):
        stream.push(piece)
        heard += len(piece)
        if heard < length and longest > 2000:
            # a result in the middle changes nothing
            assert so_far(stream) == whole(model, samples[:heard])
    assert so_far(stream) == whole(model, samples)


def test_one_sample_at_a_time():
    model = student("wav2small-rt-mini")
    stream = Stream(model)
    samples = signal(1, 1100)
    for heard in range(1, len(samples) + 1):
        stream.push(samples[heard - 1 : heard])
        if heard % 64 in (0, 1, 63):
            assert so_far(stream) == whole(model, samples[:heard])


@pytest.mark.parametrize("name", ["wav2small", "wav2small-17k"])
def test_the_papers_networks_behind_a_front_end_that_streams(name):
    model = with_front_end(student(name), power_floor=None)
    stream = Stream(model)
    samples = signal(2, 3000)
    for start in range(0, 3000, 171):
        stream.push(samples[start : start + 171])
        assert so_far(stream) == whole(model, samples[: start + 171])


def test_scores():
    model = student("wav2small-rt-mini")
    stream = Stream(model.model)
    samples = signal(3, 9000)
    stream.push(samples)
    scores = stream.result()
    assert scores.dtype == np.float32
    assert np.array_equal(scores, ReferenceModel(model).predict([samples])[0])
    # again, from a fresh start and as floats
    stream.reset()
    assert so_far(stream) is ExportError
    stream.push((samples / 2**15).astype(np.float32))
    assert np.array_equal(stream.result(), scores)


def test_memory_does_not_grow():
    stream = Stream(student("wav2small-rt"))
    held = []
    for seed in range(3):
        stream.push(signal(seed, 40000))
        lines = stream.schedule.lines.values()
        held.append([line.kept.shape[line.axis] for line in lines])
        assert held[-1] == [line.keep for line in lines]
        assert len(stream.schedule.front.waiting) < 512
        past = stream.schedule.front.constants.past_frames
        assert len(stream.schedule.front.sums) == past - 1
    assert held[0] == held[1] == held[2]


def test_figures_of_wav2small_rt():
    config = STUDENTS["wav2small-rt"].config
    (first, second), channels = config.filters, config.channels
    made = schedule(student("wav2small-rt"))
    lines = {line.keep * line.row_bytes for line in made.lines.values() if line.keep}
    # taps times dilation of a filter, whose line the sum behind it shares
    reach = [(config.kernel - 1) * dilation for dilation in config.dilations]
    assert lines == {2 * 40, 2 * first * 20, *(channels * rows for rows in reach)}
    sums = [stage for stage in made.stages if stage.name.startswith("Sum")]
    assert [stage.back for stage in sums] == [(rows // 2, 0) for rows in reach]
    assert made.front.state_bytes == 2 * 512 + 4 * config.past_frames + 8 + 8
    (pool,) = made.pools
    assert pool.state_bytes == channels * 20
    macs = [stage.macs for stage in made.stages if stage.macs]
    block = [channels * config.kernel, channels**2]
    assert macs == [
        *(first * 9 * 20, second * first * 9 * 10, channels * second * 10),
        *block * len(reach),
        *[channels**2] * 2,
    ]
    assert made.obstacle is None


# -- any geometry ------------------------------------------------------------


class Builder:
    """Random operators behind the log-mel of a student."""

    def __init__(self, seed: int, **front_end: object) -> None:
        self.generator = np.random.default_rng(seed)
        origin = with_front_end(student("wav2small-rt-mini"), **front_end)
        self.operators: list[Operator] = [origin.operators[0]]
        self.model = origin.model
        name = origin.operators[0].output
        self.tensors: dict[str, Tensor] = {name: origin.tensors[name]}
        self.last = name
        self.shape = (1, 40)
        """Channels and bands."""

    def number(self, low: int, high: int) -> int:
        return int(self.generator.integers(low, high + 1))

    def tensor(self, dtype: str = "int8", zero_point: int | None = None) -> str:
        name = f"t{len(self.tensors)}"
        if dtype == "int8":
            zero_point = self.number(-128, 127) if zero_point is None else zero_point
            made = Tensor(name, "int8", 1.0, zero_point, (), 255.0)
        else:
            made = Tensor(name, "int32", fixed_scale(40.0), 0, (), 40.0)
        self.tensors[name] = made
        return name

    def add(self, kind: type[Operator], inputs: list[str], output: str, *values) -> str:
        self.operators.append(kind(tuple(inputs), output, (), *values))
        self.last = output
        return output

    def weight(self, *shape: int) -> np.ndarray:
        return self.generator.integers(-128, 128, shape).astype(np.int8)

    def convolution(
        self,
        *,
        same: bool = False,
        dtype: str = "int8",
        time: int | None = None,
        source: str | None = None,
    ) -> str:
        channels, bands = self.shape
        groups = channels if same or self.number(0, 1) else 1
        outputs = channels if same else groups * self.number(1, 2)
        height, width = time or self.number(1, 4), 1 if same else min(3, bands)
        down = self.number(1, 3)
        reach = down * (height - 1) + 1
        if same:
            top = self.number(0, reach - 1)
            strides, pads = (1, 1), (top, 0, reach - 1 - top, 0)
        else:
            strides = (1 if time else self.number(1, 3), self.number(1, 2))
            tall = (0, 0) if time else self.generator.integers(0, reach, 2).tolist()
            pads = (tall[0], self.number(0, width - 1), tall[1], 0)
        weight = self.weight(outputs, channels // groups, height, width)
        factor = np.full(outputs, 2.0**-9 if dtype == "int8" else 2.0**12)
        self.add(
            Convolution,
            [source or self.last],
            self.tensor(dtype),
            weight,
            self.generator.integers(-999, 999, outputs),
            Rescale.of(factor, 255.0 * 128 * weight[0].size + 999),
            strides,
            pads,
            groups,
            (down, 1),
        )
        self.shape = outputs, (bands + pads[1] - width) // strides[1] + 1
        return self.last

    def maximum(self) -> None:
        source = self.tensors[self.last]
        height, width = self.number(1, 3), min(2, self.shape[1])
        pads = (self.number(0, height - 1), 0, self.number(0, height - 1), 0)
        self.add(
            MaxPool,
            [self.last],
            self.tensor(zero_point=source.zero_point),
            (height, width),
            (self.number(1, 3), 1),
            pads,
        )
        self.shape = self.shape[0], self.shape[1] - width + 1

    def table(self) -> None:
        values = self.generator.integers(-128, 128, 256).astype(np.int32)
        self.add(Table, [self.last], self.tensor(), values)

    def residual(self) -> None:
        source = self.last
        filtered = self.convolution(same=True)
        pair = [source, filtered] if self.number(0, 1) else [filtered, source]
        self.add(Sum, pair, self.tensor(), (2**29, 2**29), 30)

    def linear(self, inputs: int, outputs: int, source: str, dtype: str) -> str:
        weight = self.weight(outputs, inputs)
        factor = np.full(outputs, 2.0**12 if dtype == "int8" else 2.0**-12)
        bias = self.generator.integers(-999, 999, outputs)
        largest = 2.0**30 if dtype == "int32" else 255.0
        rescale = Rescale.of(factor, largest * 128 * inputs)
        return self.add(Linear, [source], self.tensor("int32"), weight, bias, rescale)

    def pool(self) -> str:
        """Pool in one of several ways; returns what is made."""
        way = self.number(0, 3)
        source = self.last
        channels, bands = self.shape
        if way == 0:  # a place of its own for each cell
            shape = self.shape
            value = self.convolution(dtype="int32", time=1)
            made = self.shape
            self.shape = shape
            score = self.operators[-1]
            score = dataclasses.replace(
                score,
                weight=self.weight(*score.weight.shape),
                output=self.tensor("int32"),
            )
            self.operators.append(score)
            pair, axis, size = [value, score.output], 2, made[0] * made[1]
        elif way == 1:  # tokens
            tensor = self.tensors[source]
            moved = self.tensor(zero_point=tensor.zero_point)
            tokens = self.tensor(zero_point=tensor.zero_point)
            self.add(Transpose, [source], moved, (0, 2, 1, 3))
            self.add(Reshape, [moved], tokens, (0, 0, -1))
            size = channels * bands
            pair = [self.linear(size, 4, tokens, "int8") for _ in range(2)]
            axis, size = 1, 4
        else:
            size = channels if way == 2 else channels * bands
            axes = (2, 3) if way == 2 else (2,)
            dtype = ("int8", "int32")[self.number(0, 1)]
            fraction = (0, 1, 22)[self.number(0, 2)]
            factor = 2.0**-fraction * (1 if dtype == "int8" else 2.0**19)
            self.add(
                Mean,
                [source],
                self.tensor(dtype),
                axes,
                bool(self.number(0, 1)),
                fraction,
                Rescale.of(factor, 2.0**30),
            )
            return self.flat(size)
        self.add(
            SoftmaxPool,
            pair,
            self.tensor("int32"),
            axis,
            Rescale.of(2.0**-8, 2.0**30),
        )
        return self.flat(size)

    def flat(self, size: int) -> str:
        dtype = self.tensors[self.last].dtype
        zero_point = self.tensors[self.last].zero_point
        flat = self.tensor(dtype, zero_point)
        self.add(Reshape, [self.last], flat, (0, -1))
        return self.linear(size, 3, flat, dtype)

    def build(self) -> IntegerGraph:
        return IntegerGraph(self.tensors, tuple(self.operators), self.last, self.model)


@pytest.mark.slow
@settings(max_examples=120)
@given(
    seed=st.integers(0, 2**32 - 1),
    hop_length=st.sampled_from([16, 100, 512, 700]),
    padding=st.tuples(st.integers(0, 512), st.integers(0, 512)),
    past_frames=st.sampled_from([None, 1, 3, 64]),
    length=st.integers(1, 40),
)
def test_any_geometry(seed, hop_length, padding, past_frames, length):
    builder = Builder(
        seed, hop_length=hop_length, padding=padding, past_frames=past_frames
    )
    for _ in range(builder.number(1, 4)):
        step = ("convolution", "maximum", "table", "residual")[builder.number(0, 3)]
        getattr(builder, step)()
    builder.pool()
    model = builder.build()
    stream = Stream(model)
    samples = signal(seed, length * hop_length + seed % 512)
    heard = 0
    for piece in pieces(seed, samples, 3 * hop_length):
        stream.push(piece)
        heard += len(piece)
        if heard % 3 == 0:
            assert so_far(stream) == whole(model, samples[:heard])
    assert so_far(stream) == whole(model, samples)


# -- what cannot stream ------------------------------------------------------


def test_a_normalised_signal():
    model = student("wav2small")
    assert "normalises" in (schedule(model).obstacle or "")
    with pytest.raises(ExportError, match="got one that normalises each signal by"):
        Stream(model)


def test_a_mean_in_the_middle():
    builder = Builder(0)
    source = builder.convolution(time=1)
    mean = builder.tensor()
    factor = Rescale.of(2.0**-22, 2.0**30)
    builder.add(Mean, [source], mean, (2, 3), True, 22, factor)
    gate = builder.tensor("int32")
    values = np.arange(256, dtype=np.int32)
    builder.add(Table, [mean], gate, values)
    factor = Rescale.of(2.0**-9, 2.0**30)
    builder.add(Product, [source, gate], builder.tensor(), (0, 7), factor)
    with pytest.raises(
        ExportError, match=r"got Product 1, which needs Mean 1 of the whole signal: "
    ):
        Stream(builder.build())


def moved(builder: Builder, *axes: int) -> str:
    zero_point = builder.tensors[builder.last].zero_point
    made = builder.tensor(zero_point=zero_point)
    return builder.add(Transpose, [builder.last], made, axes)


@pytest.mark.parametrize("kind", ["linear", "concat", "product", "reshape", "merged"])
def test_operators_that_join_frames(kind):
    builder = Builder(0)
    if kind == "linear":
        moved(builder, 0, 1, 3, 2)
        builder.linear(5, 3, builder.last, "int8")
        name = "Linear 1"
    elif kind == "concat":
        builder.add(Concat, [builder.last] * 2, builder.tensor(), 2, (0, 0))
        name = "Concat 1"
    elif kind == "product":
        factor = Rescale.of(1.0, 2.0**30)
        inputs = [builder.last] * 2
        made = builder.tensor()
        builder.add(MatrixProduct, inputs, made, (0, 0), factor)
        name = "MatrixProduct 1"
    else:
        shape = (1, 99, 40) if kind == "reshape" else (0, -1)
        builder.add(Reshape, [builder.last], builder.tensor(), shape)
        name = "Reshape 1"
    with pytest.raises(ExportError, match=f"got {name}, which joins frames: choose"):
        schedule(builder.build())


def test_time_on_another_axis():
    builder = Builder(0)
    source = builder.last
    turned = moved(builder, 0, 1, 3, 2)
    builder.convolution(time=1)
    with pytest.raises(ExportError, match="Convolution 1, with time on axis 3 of its"):
        schedule(builder.build())
    builder = Builder(0)
    source = builder.last
    turned = moved(builder, 0, 1, 3, 2)
    builder.add(Sum, [source, turned], builder.tensor(), (1, 1), 1)
    with pytest.raises(ExportError, match="Sum 1, whose inputs have time on different"):
        schedule(builder.build())


@pytest.mark.parametrize("change", [{"strides": (2, 1)}, {"pads": (0, 0, 0, 0)}])
def test_branches_of_another_pace(change):
    builder = Builder(0)
    builder.residual()
    *rest, filtered, total = builder.operators
    weight = builder.weight(*filtered.weight.shape[:2], 2, 1)
    changed = dataclasses.replace(filtered, weight=weight, **change)
    builder.operators = [*rest, changed, total]
    with pytest.raises(ExportError, match="rows must come at the same pace, got Sum 1"):
        schedule(builder.build())


def test_scores_for_each_frame():
    builder = Builder(0)
    builder.convolution()
    with pytest.raises(ExportError, match="model must pool over time before its out"):
        schedule(builder.build())


def test_signals_too_short():
    builder = Builder(0, padding=(0, 100))
    builder.convolution(time=3)
    builder.pool()
    stream = Stream(builder.build())
    with pytest.raises(ExportError, match="at least 412 samples, got 0: push more"):
        stream.result()
    stream.push(signal(0, 412))
    with pytest.raises(ExportError, match="got 1 rows for Convolution 1, which needs"):
        stream.result()
    with pytest.raises(ExportError, match="got no row for Mean 1 yet: push more sam"):
        stream.latest()


def test_mean_cannot_forget():
    builder = Builder(0)
    builder.pool()
    stream = Stream(builder.build())
    assert not any(isinstance(o, SoftmaxPool) for o in stream.graph.operators)
    stream.forget(None)
    with pytest.raises(ExportError, match="model must pool by a softmax alone to forg"):
        stream.forget(4)


@pytest.mark.parametrize("seconds", [0.02, 1, 4, None])
def test_forgets_as_the_whole_clip(seconds):
    model = student("wav2small-rt-mini")
    stream = Stream(model)
    stream.forget(seconds)
    for seed in range(2):
        samples = signal(seed, 20000)
        for piece in pieces(seed, samples, 2000):
            stream.push(piece)
        assert so_far(stream) == whole(forgetting(model, seconds), samples)
        stream.reset()
