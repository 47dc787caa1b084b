"""The reference against an oracle of big integers, onnxruntime and floats."""

from __future__ import annotations

import itertools
from pathlib import Path

import integers
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from speech import clips, exported

import wav2small
from wav2small.audio import load
from wav2small.export.base.errors import ExportError
from wav2small.export.integer.front_end.log_mel import samples
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.operators.base import Operator
from wav2small.export.integer.operators.concat import Concat
from wav2small.export.integer.operators.convolution import Convolution
from wav2small.export.integer.operators.hard_swish import HardSwish
from wav2small.export.integer.operators.linear import Linear
from wav2small.export.integer.operators.log_mel import LogMel
from wav2small.export.integer.operators.matrix_product import MatrixProduct
from wav2small.export.integer.operators.max_pool import MaxPool
from wav2small.export.integer.operators.mean import Mean
from wav2small.export.integer.operators.product import Product
from wav2small.export.integer.operators.relu import Relu
from wav2small.export.integer.operators.reshape import Reshape
from wav2small.export.integer.operators.softmax_pool import SoftmaxPool
from wav2small.export.integer.operators.sum import Sum
from wav2small.export.integer.operators.table import Table
from wav2small.export.integer.operators.transpose import Transpose
from wav2small.export.integer.pooling import PoolState, decay_of
from wav2small.export.integer.reader import read
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.rescale import Rescale, fixed_scale
from wav2small.export.integer.tensor import Tensor
from wav2small.export.model import topology
from wav2small.export.quantise.steps import quantize

ASSETS = Path(wav2small.__file__).parent / "assets"


# -- random graphs -----------------------------------------------------------


class Builder:
    """A chain of operators with random shapes, constants and inputs."""

    def __init__(self, seed: int, extreme: bool) -> None:
        self.generator = np.random.default_rng(seed)
        self.extreme = extreme
        self.tensors: dict[str, Tensor] = {}
        self.operators: list[Operator] = []
        self.inputs: dict[str, np.ndarray] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def number(self, low: int, high: int) -> int:
        return int(self.generator.integers(low, high + 1))

    def integers(self, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
        if self.extreme:
            return self.generator.choice(np.array([low, high]), shape)
        return self.generator.integers(low, high, shape, endpoint=True)

    def tensor(self, dtype: str, shape: tuple[int, ...], step: float) -> Tensor:
        """Tensor with about the step (int8) or the bound (int32) that is given."""
        name = f"t{len(self.tensors)}"
        if dtype == "int8":
            scale, zero_point = float(np.float32(step)), self.number(-128, 127)
            bound = scale * max(127 - zero_point, 128 + zero_point)
            made = Tensor(name, "int8", scale, zero_point, shape, bound)
        else:
            made = Tensor(name, "int32", fixed_scale(step), 0, shape, step)
        self.tensors[name] = made
        self.shapes[name] = shape
        return made

    def source(self, dtype: str, shape: tuple[int, ...]) -> Tensor:
        made = self.tensor(dtype, shape, 2.0 ** self.generator.uniform(-6, 4))
        high = 127 if dtype == "int8" else int(made.bound / made.scale)
        low = -128 if dtype == "int8" else -high
        values = self.integers(shape, low, high)
        self.inputs[made.name] = values.astype(np.int8 if dtype == "int8" else np.int64)
        return made

    def target(self, shape: tuple[int, ...], bound: float, dtype: str = "") -> Tensor:
        """Output that an operator with this bound may have."""
        dtype = dtype or ("int8", "int32")[self.number(0, 1)]
        if dtype == "int8":
            return self.tensor(
                "int8", shape, bound * 2 ** self.generator.uniform(-9, -6)
            )
        return self.tensor("int32", shape, bound)

    def same(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        name = f"t{len(self.tensors)}"
        made = Tensor(name, x.dtype, x.scale, x.zero_point, shape, x.bound)
        self.tensors[name], self.shapes[name] = made, shape
        return made

    def add(
        self,
        kind: type[Operator],
        inputs: list[Tensor],
        output: Tensor,
        *values: object,
    ) -> Tensor:
        names = tuple(entry.name for entry in inputs)
        self.operators.append(kind(names, output.name, (), *values))
        return output

    def layer(
        self, x: Tensor, weight: np.ndarray, shape: tuple[int, ...]
    ) -> tuple[Tensor, np.ndarray, Rescale]:
        reach = max(127 - x.zero_point, 128 + x.zero_point)
        if x.dtype == "int32":
            reach = 2**30
        scale = 2.0 ** self.generator.uniform(-9, -3, len(weight))
        step = np.float32(x.scale) * scale.astype(np.float32)
        totals = np.abs(weight.reshape(len(weight), -1)).sum(axis=1) * float(reach)
        real = self.generator.normal(size=len(weight)) * (totals * step) / 4
        y = self.target(shape, float((totals * step + abs(real)).max()) or 1.0)
        unit = y.scale if y.dtype == "int32" else step.astype(np.float64)
        bias = np.rint(real / unit).astype(np.int64)
        sums = totals.max() + (abs(bias).max() if y.dtype == "int8" else 0)
        return y, bias, Rescale.of(step / np.float32(y.scale), float(sums))

    # operators: each takes a tensor and makes the next

    def convolution(self, x: Tensor) -> Tensor | None:
        shape = self.shapes[x.name]
        if x.dtype != "int8" or len(shape) != 4:
            return None
        groups = int(self.generator.choice([g for g in (1, 2, 3) if not shape[1] % g]))
        outputs = groups * self.number(1, 2)
        kernel = tuple(min(self.number(1, 3), size) for size in shape[2:])
        strides = self.number(1, 3), self.number(1, 2)
        pads = tuple(self.number(0, size - 1) for size in kernel * 2)
        weight = self.integers((outputs, shape[1] // groups, *kernel), -128, 127)
        dilations = tuple(
            self.number(1, 2) if 2 * (taps - 1) < size else 1
            for taps, size in zip(kernel, shape[2:], strict=True)
        )
        reach = [
            step * (taps - 1) + 1 for step, taps in zip(dilations, kernel, strict=True)
        ]
        places = (
            (size + pads[i] + pads[i + 2] - reach[i]) // strides[i] + 1
            for i, size in enumerate(shape[2:])
        )
        y, bias, rescale = self.layer(x, weight, (shape[0], outputs, *places))
        weight = weight.astype(np.int8)
        values = (weight, bias, rescale, strides, pads, groups, dilations)
        return self.add(Convolution, [x], y, *values)

    def linear(self, x: Tensor) -> Tensor:
        shape = self.shapes[x.name]
        weight = self.integers((self.number(1, 4), shape[-1]), -128, 127)
        y, bias, rescale = self.layer(x, weight, (*shape[:-1], len(weight)))
        return self.add(Linear, [x], y, weight.astype(np.int8), bias, rescale)

    def max_pool(self, x: Tensor) -> Tensor | None:
        shape = self.shapes[x.name]
        if x.dtype != "int8" or len(shape) != 4:
            return None
        kernel = tuple(min(self.number(1, 3), size) for size in shape[2:])
        strides = self.number(1, 2), self.number(1, 2)
        pads = tuple(self.number(0, size - 1) for size in kernel * 2)
        places = (
            (size + pads[i] + pads[i + 2] - kernel[i]) // strides[i] + 1
            for i, size in enumerate(shape[2:])
        )
        y = self.same(x, (*shape[:2], *places))
        return self.add(MaxPool, [x], y, kernel, strides, pads)

    def transpose(self, x: Tensor) -> Tensor:
        shape = self.shapes[x.name]
        axes = tuple(int(axis) for axis in self.generator.permutation(len(shape)))
        y = self.same(x, tuple(shape[axis] for axis in axes))
        return self.add(Transpose, [x], y, axes)

    def reshape(self, x: Tensor) -> Tensor:
        first, *rest = self.shapes[x.name]
        y = self.same(x, (first, int(np.prod(rest))))
        return self.add(Reshape, [x], y, (0, -1))

    def table(self, x: Tensor) -> Tensor | None:
        if x.dtype != "int8":
            return None
        y = self.target(self.shapes[x.name], 1.0)
        high = 127 if y.dtype == "int8" else 2**30
        table = self.integers((256,), -high - (y.dtype == "int8"), high)
        return self.add(Table, [x], y, table.astype(np.int32))

    def hard_swish(self, x: Tensor) -> Tensor | None:
        if x.dtype != "int32" or x.bound < 0.5:
            return None
        y = self.target(self.shapes[x.name], x.bound)
        largest = x.bound * min(6, x.bound + 3) / x.scale**2
        rescale = Rescale.of(x.scale**2 / 6 / y.scale, largest)
        return self.add(HardSwish, [x], y, rescale)

    def relu(self, x: Tensor) -> Tensor | None:
        if x.dtype != "int32":
            return None
        return self.add(Relu, [x], self.same(x, self.shapes[x.name]))

    def other(self, shape: tuple[int, ...]) -> Tensor:
        return self.source(("int8", "int32")[self.number(0, 1)], shape)

    def broadcast(self, x: Tensor) -> Tensor:
        keep = self.generator.random(len(self.shapes[x.name])) < 0.7
        shape = self.shapes[x.name]
        return self.other(
            tuple(size if k else 1 for k, size in zip(keep, shape, strict=True))
        )

    def sum(self, x: Tensor) -> Tensor:
        other = self.broadcast(x)
        y = self.target(self.shapes[x.name], x.bound + other.bound)
        factors = [entry.scale / y.scale for entry in (x, other)]
        shift = 30 - int(np.frexp(max(factors))[1])
        multipliers = tuple(round(factor * 2.0**shift) for factor in factors)
        return self.add(Sum, [x, other], y, multipliers, shift)

    def multiplied(
        self, kind: type[Operator], x: Tensor, other: Tensor, shape: tuple[int, ...]
    ) -> Tensor:
        terms = self.shapes[x.name][-1] if kind is MatrixProduct else 1
        bound = x.bound * other.bound * terms
        y = self.target(shape, bound)
        shifts = tuple(7 * (entry.dtype == "int32") for entry in (x, other))
        step = x.scale * 2 ** shifts[0] * other.scale * 2 ** shifts[1]
        rescale = Rescale.of(step / y.scale, bound / step)
        return self.add(kind, [x, other], y, shifts, rescale)

    def product(self, x: Tensor) -> Tensor:
        shape = self.shapes[x.name]
        return self.multiplied(Product, x, self.broadcast(x), shape)

    def matrix_product(self, x: Tensor) -> Tensor:
        *outer, rows, terms = self.shapes[x.name]
        columns = self.number(1, 3)
        other = self.other((*outer, terms, columns))
        shape = (*outer, rows, columns)
        return self.multiplied(MatrixProduct, x, other, shape)

    def mean(self, x: Tensor) -> Tensor | None:
        shape = self.shapes[x.name]
        if len(shape) < 3:
            return None
        count = self.number(1, len(shape) - 2)
        axes = sorted(int(a) for a in self.generator.permutation(len(shape))[:count])
        keep = bool(self.number(0, 1))
        kept = (
            (1 if axis in axes else size)
            for axis, size in enumerate(shape)
            if keep or axis not in axes
        )
        y = self.target(tuple(kept), x.bound)
        fraction = max(0, 30 - int(np.ceil(x.bound / x.scale)).bit_length())
        rescale = Rescale.of(x.scale / y.scale * 2.0**-fraction, 2.0**30)
        return self.add(Mean, [x], y, tuple(axes), keep, fraction, rescale)

    def softmax_pool(self, x: Tensor) -> Tensor | None:
        shape = self.shapes[x.name]
        if x.dtype != "int32" or len(shape) < 3:
            return None
        score = self.source("int32", shape)
        axis = self.number(0, len(shape) - 1)
        y = self.same(x, shape[:axis] + shape[axis + 1 :])
        factor = score.scale * np.log2(np.e) * 2**16
        logarithm = Rescale.of(factor, score.bound / score.scale)
        return self.add(SoftmaxPool, [x, score], y, axis, logarithm)

    def concat(self, x: Tensor) -> Tensor | None:
        if x.dtype != "int32":
            return None
        shape = self.shapes[x.name]
        other = self.source("int32", shape)
        axis = self.number(0, len(shape) - 1)
        joined = tuple(2 * size if i == axis else size for i, size in enumerate(shape))
        y = self.target(joined, max(x.bound, other.bound), "int32")
        shifts = tuple(int(np.log2(y.scale / entry.scale)) for entry in (x, other))
        return self.add(Concat, [x, other], y, axis, shifts)


KINDS = [
    "concat",
    "convolution",
    "hard_swish",
    "linear",
    "matrix_product",
    "max_pool",
    "mean",
    "product",
    "relu",
    "reshape",
    "softmax_pool",
    "sum",
    "table",
    "transpose",
]


@pytest.mark.parametrize("first", KINDS)
@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    rest=st.lists(st.sampled_from(KINDS), max_size=3),
    extreme=st.booleans(),
)
def test_equals_the_oracle(first, seed, rest, extreme):
    builder = Builder(seed, extreme)
    wide = first in ("concat", "hard_swish", "relu", "softmax_pool")
    either = first not in ("convolution", "max_pool", "table") and builder.number(0, 1)
    shape = (1, *(builder.number(1, 6) for _ in range(3)))
    x = builder.source("int32" if wide or either else "int8", shape)
    for kind in (first, *rest):
        x = getattr(builder, kind)(x) or x
    assert builder.operators or first == "hard_swish"
    model = IntegerGraph(
        builder.tensors, tuple(builder.operators), x.name, onnx.ModelProto()
    )
    reference = ReferenceModel(model)
    values = dict(builder.inputs)
    expected = {name: integers.array(value) for name, value in values.items()}
    for operator in model.operators:
        value = reference.apply(operator, values)
        oracle = integers.apply(operator, model.tensors, expected)
        assert value.shape == oracle.shape == builder.shapes[operator.output]
        assert np.array_equal(value, oracle), operator
        target = model.tensors[operator.output]
        assert value.dtype == (np.int8 if target.dtype == "int8" else np.int64)
        if target.dtype == "int32" and len(model.operators) == 1:
            assert np.abs(value).max() <= 2**30 + 1
        values[operator.output], expected[operator.output] = value, oracle


@pytest.mark.parametrize("name", ["wav2small-17k", "mobilenetv3-small"])
def test_operators_of_students_equal_the_oracle(name):
    model = read(quantize(exported(name), list(clips(2, 0))))
    reference = ReferenceModel(model)
    signal = next(clips(1, 5))[: 2000 if name.startswith("m") else 300]
    values = reference.run(signal)
    kinds = set()
    for operator in model.operators:
        if isinstance(operator, LogMel):
            continue
        weights = getattr(operator, "weight", np.zeros(()))
        if weights.size * values[operator.output].size > 10**7:
            continue  # too slow for a loop
        kinds.add(type(operator))
        inputs = {name: integers.array(values[name]) for name in operator.inputs}
        oracle = integers.apply(operator, model.tensors, inputs)
        assert np.array_equal(values[operator.output], oracle), model.label(operator)
    assert len(kinds) >= 8


# -- softmax pooling ---------------------------------------------------------

pools = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 60), st.floats(0, 30))


def draw(pool: tuple[int, int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Values and logarithms ``(frames, 3)``."""
    seed, frames, spread = pool
    generator = np.random.default_rng(seed)
    values = generator.integers(-(2**30), 2**30, (frames, 3), endpoint=True)
    logarithms = np.rint(generator.normal(size=(frames, 3)) * spread * 2**16)
    return values, logarithms.astype(np.int64)


decays = st.sampled_from([0, 1, 121_000, 2**24, 2**32 - 1]) | st.integers(0, 2**26)


@given(pools, decays)
def test_pool_is_a_softmax(pool, decay):
    values, logarithms = draw(pool)
    state = PoolState((3,), decay)
    state.push(values, logarithms)
    ramp = np.arange(len(values))[:, None] * (decay / 2**8)
    logarithms = logarithms + ramp
    weights = 2.0 ** ((logarithms - logarithms.max(axis=0)) / 2**16)
    expected = (weights * values).sum(axis=0) / weights.sum(axis=0)
    # each weight is off by one step of the smallest reference, 2 ** -15,
    # and by what the fraction of a ramp leaves out
    limit = 2.0**31 * len(values) * 2.0**-15 * 1.5
    assert np.abs(state.result() - expected).max() <= limit
    if len(values) == 1:
        assert np.array_equal(state.result(), values[0])


@given(pools, st.lists(st.integers(1, 60), max_size=10), decays)
def test_pool_in_pieces_equals_all_at_once(pool, cuts, decay):
    values, logarithms = draw(pool)
    whole, pieces, single = (PoolState((3,), decay) for _ in range(3))
    whole.push(values, logarithms)
    places = sorted({0, *(cut for cut in cuts if cut < len(values)), len(values)})
    for start, stop in itertools.pairwise(places):
        pieces.push(values[start:stop], logarithms[start:stop])
    for value, logarithm in zip(values, logarithms, strict=True):
        single.push(value[None], logarithm[None])
    for other in (pieces, single):
        for field in ("reference", "numerator", "denominator"):
            assert np.array_equal(getattr(whole, field), getattr(other, field))
    for place in range(3):
        oracle = integers.Pool(decay)
        for value, logarithm in zip(
            values[:, place], logarithms[:, place], strict=True
        ):
            oracle.push(int(value), int(logarithm))
        assert oracle.result() == whole.result()[place]
        assert oracle.largest < 2**63


@pytest.mark.parametrize("value", [-(2**30), 2**30])
def test_most_rows_before_sums_are_halved(value):
    values = np.full((131072, 1), value)
    state = PoolState((1,))
    state.push(values[:131071], np.zeros_like(values[:131071]))
    assert state.denominator == [131071 << 16]
    assert state.numerator == [value * (131071 << 16)]
    state.push(values[:1], np.zeros_like(values[:1]))
    assert state.denominator == [(131071 << 15) + (1 << 15)]
    assert state.result() == [value]


@pytest.mark.parametrize("decay", [0, 3, 2**24])
@pytest.mark.parametrize("value", [-(2**30), 2**30, None])
def test_pool_for_ever_does_not_overflow(value, decay):
    generator = np.random.default_rng(0)
    values = generator.integers(-(2**30), 2**30, (400, 1), endpoint=True)
    if value is not None:
        values[:] = value
    logarithms = generator.integers(-9, 1, (400, 1)) << 14
    oracle, state = integers.Pool(decay), PoolState((1,), decay)
    # as full as it can be, with as much as rounding can have added
    sign = -1 if value and value < 0 else 1
    oracle.reference, oracle.denominator = 0, 131070 << 16
    oracle.numerator = sign * (2**30 * oracle.denominator + 2**30 + 1)
    state.reference[:] = oracle.reference
    state.denominator[:], state.numerator[:] = oracle.denominator, oracle.numerator
    for start in range(0, 400, 40):
        state.push(values[start : start + 40], logarithms[start : start + 40])
        for row in range(start, start + 40):
            oracle.push(int(values[row, 0]), int(logarithms[row, 0]))
            oracle.result()
        assert state.numerator == [oracle.numerator]
        assert state.denominator == [oracle.denominator]
    assert oracle.largest < 2**63 - 2**45


@pytest.mark.slow
@pytest.mark.parametrize("decay", [2**14, 2**17, 1_000_000])
def test_what_was_long_ago_does_not_matter(decay):
    generator = np.random.default_rng(decay)
    rows = 100 * 2**24 // decay
    rows += -rows % (2**24 // (decay & -decay))  # whole octaves
    heard = [
        (
            generator.integers(-(2**30), 2**30, (count, 20)),
            generator.integers(-10 << 16, 10 << 16, (count, 20)),
        )
        for count in (rows, rows)
    ]
    old, new = PoolState((20,), decay), PoolState((20,), decay)
    for values, logarithms in heard:
        old.push(values, logarithms)
    new.push(*heard[1])
    for name in ("age", "reference", "numerator", "denominator"):
        assert np.array_equal(getattr(old, name), getattr(new, name)), name


@pytest.mark.parametrize(
    ("seconds", "row", "decay"),
    [(None, 320, 0), (4, 320, 121_018), (0.001, 320, 484_073_000), (3600, 320, 134)],
)
def test_decay_of_a_time_constant(seconds, row, decay):
    found = decay_of(seconds, row, 16000)
    assert found == pytest.approx(decay, rel=1e-3)
    if seconds:  # a weight falls to 1 / e
        rows = seconds * 16000 / row
        assert found * rows / 2**24 == pytest.approx(np.log2(np.e), rel=4e-3)


@pytest.mark.parametrize("seconds", [0, -1, 0.0004, 4294968, float("nan")])
def test_no_time_constant(seconds):
    with pytest.raises(ExportError, match=r"must be .001 to 4,294,967 seconds, or No"):
        decay_of(seconds, 320, 16000)


# -- against onnxruntime -----------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_float_rounding_is_that_of_onnxruntime(seed):
    generator = np.random.default_rng(seed)
    x = generator.integers(-128, 128, (1, 13, 60, 26)).astype(np.int8)
    weight = generator.integers(-63, 64, (13, 13, 3, 3)).astype(np.int8)
    bias = generator.integers(-20000, 20000, 13).astype(np.int32)
    scale_x, scale_y = np.float32(0.031), np.float32(0.4)
    scale_w = generator.uniform(0.001, 0.02, 13).astype(np.float32)
    zero_x, zero_y = np.int8(-17), np.int8(-40)
    constants = {
        "sx": scale_x,
        "zx": zero_x,
        "sy": scale_y,
        "zy": zero_y,
        "w": weight,
        "sw": scale_w,
        "b": bias,
        "sb": scale_x * scale_w,
    }
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("DequantizeLinear", ["x", "sx", "zx"], ["xf"]),
                helper.make_node("DequantizeLinear", ["w", "sw"], ["wf"], axis=0),
                helper.make_node("DequantizeLinear", ["b", "sb"], ["bf"], axis=0),
                helper.make_node("Conv", ["xf", "wf", "bf"], ["yf"], pads=[1] * 4),
                helper.make_node("QuantizeLinear", ["yf", "sy", "zy"], ["y"]),
            ],
            "convolution",
            [helper.make_tensor_value_info("x", onnx.TensorProto.INT8, x.shape)],
            [helper.make_tensor_value_info("y", onnx.TensorProto.INT8, x.shape)],
            [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    (expected,) = topology.session(model).run(None, {"x": x})
    factor = scale_x * scale_w / scale_y
    operator = Convolution(
        ("x",),
        "y",
        (),
        weight,
        bias.astype(np.int64),
        Rescale.of(factor, 2.0**22),
        (1, 1),
        (1, 1, 1, 1),
        1,
    )
    tensors = {
        "x": Tensor("x", "int8", float(scale_x), int(zero_x), x.shape, 4.5),
        "y": Tensor("y", "int8", float(scale_y), int(zero_y), x.shape, 67.0),
    }
    model = IntegerGraph(tensors, (operator,), "y", onnx.ModelProto())
    computed = ReferenceModel(model, "float").apply(operator, {"x": x})
    assert np.count_nonzero(computed != expected) == 0
    assert len(np.unique(expected)) > 200
    # the norm differs in near ties alone
    norm = ReferenceModel(model).apply(operator, {"x": x}).astype(int)
    assert np.abs(norm - expected).max() <= 1
    assert np.count_nonzero(norm != expected) <= 2


@pytest.fixture(scope="module")
def bundled() -> IntegerGraph:
    return read(ASSETS / "models/wav2small/model.onnx")


def test_bundled_model_agrees_with_onnxruntime(bundled):
    signals = [load(path) for path in sorted((ASSETS / "demo").glob("*.opus"))[::30]]
    signals = [(samples(x) / 2**15).astype(np.float32) for x in signals]
    session = topology.session(bundled.model, "exact")
    expected = [session.run(None, {"signal": x[None]})[0][0] for x in signals]
    for rounding in ("integer", "float"):
        scores = ReferenceModel(bundled, rounding).predict(signals)
        assert scores.shape == (len(signals), 3) and scores.dtype == np.float32
        assert np.abs(scores - expected).max() < 0.005
    assert np.ptp(expected, axis=0).min() > 0.02


def test_bundled_model_equals_the_oracle(bundled):
    signal = next(clips(1, 3))[:160]
    expected = integers.run(bundled, signal)
    computed = ReferenceModel(bundled).run(signal)
    assert list(computed) == list(expected)
    for name, value in expected.items():
        assert np.array_equal(computed[name], value), name


# -- edges -------------------------------------------------------------------


def alone(operator: Operator, *tensors: Tensor) -> ReferenceModel:
    named = {tensor.name: tensor for tensor in tensors}
    return ReferenceModel(
        IntegerGraph(named, (operator,), operator.output, onnx.ModelProto())
    )


BYTE = Tensor("x", "int8", 0.5, 3, (1, 1, "time", 4), 65.5)
WIDE = Tensor("x", "int32", 2.0**-20, 0, (1, "time", 4), 1024.0)


def test_too_short_for_a_convolution():
    weight = np.ones((1, 1, 3, 3), np.int8)
    rescale, bias = Rescale.of(0.5, 1.0), np.zeros(1, np.int64)
    operator = Convolution(
        ("x",), "y", (), weight, bias, rescale, (1, 1), (0, 0, 0, 0), 1
    )
    target = Tensor("y", "int8", 1.0, 0, (), 128.0)
    values = {"x": np.zeros((1, 1, 2, 4), np.int8)}
    with pytest.raises(ExportError, match=r"map must have at least 3 rows .* got 2"):
        alone(operator, BYTE, target).apply(operator, values)


def test_too_short_for_a_maximum():
    operator = MaxPool(("x",), "y", (), (3, 1), (1, 1), (0, 0, 0, 0))
    target = Tensor("y", "int8", 0.5, 3, (), 65.5)
    values = {"x": np.zeros((1, 1, 2, 4), np.int8)}
    with pytest.raises(
        ExportError, match=r"map must be at least \(3, 1\), got \(2, 4\)"
    ):
        alone(operator, BYTE, target).apply(operator, values)


def test_shapes_that_do_not_fit():
    operator = Reshape(("x",), "y", (), (1, 7))
    target = Tensor("y", "int32", 2.0**-20, 0, (1, 7), 1024.0)
    values = {"x": np.zeros((1, 2, 4), np.int64)}
    with pytest.raises(
        ExportError, match=r"shapes must fit, got .* for Reshape 1: give"
    ):
        alone(operator, WIDE, target).apply(operator, values)


def test_an_operator_must_compute():
    with pytest.raises(TypeError, match="abstract"):
        Operator(("x",), "x", ())
