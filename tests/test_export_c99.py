"""Generated C against the reference, integer by integer."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_export_streaming import Builder, pieces, signal, student, with_front_end

from wav2small.export.base.errors import ExportError
from wav2small.export.base.log_mel import ENTRY
from wav2small.export.c99 import arrangement, generate, outline
from wav2small.export.c99.arrangement import arrange
from wav2small.export.c99.dead import without_dead_channels
from wav2small.export.c99.golden import level_of, min_samples
from wav2small.export.c99.memory import Span, place
from wav2small.export.c99.program import lower
from wav2small.export.integer.forgetting import forgetting
from wav2small.export.integer.graph import IntegerGraph
from wav2small.export.integer.operators._layer import packed_weight
from wav2small.export.integer.operators.base import Operator
from wav2small.export.integer.operators.convolution import Convolution
from wav2small.export.integer.operators.hard_swish import HardSwish
from wav2small.export.integer.operators.linear import Linear
from wav2small.export.integer.operators.max_pool import MaxPool
from wav2small.export.integer.operators.mean import Mean
from wav2small.export.integer.operators.product import Product
from wav2small.export.integer.operators.relu import Relu
from wav2small.export.integer.operators.sum import Sum
from wav2small.export.integer.reference import ReferenceModel
from wav2small.export.integer.rescale import Rescale
from wav2small.export.integer.streaming.run import Stream
from wav2small.export.integer.streaming.schedule import schedule
from wav2small.models import bundled

COMPILER = shutil.which("cc") or shutil.which("gcc")
WARNINGS = [
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wshadow",
    "-pedantic",
    "-Werror",
]
OK, NO_POINTER, NOT_READY, TOO_SHORT, TOO_LONG, NO_LEVEL = range(6)

compiled = pytest.mark.skipif(
    COMPILER is None, reason="no C compiler: generated C is not compared"
)

TRACE = """
#include <stdint.h>
extern void (*traced)(int stage, uint32_t row, const void *values);
#define WAV2SMALL_TRACE(stage, row, values) \\
    do { if (traced) { traced(stage, row, values); } } while (0)
"""
HELPER = """
#include "wav2small.h"
void (*traced)(int stage, uint32_t row, const void *values);
void trace(void (*to)(int, uint32_t, const void *));
size_t state_size(void);
void trace(void (*to)(int, uint32_t, const void *)) { traced = to; }
size_t state_size(void) { return sizeof(wav2small_state); }
"""


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Library:
    """Generated C of a model, loaded into this process."""

    def __init__(self, model: IntegerGraph, folder: Path, *flags: str) -> None:
        self.memory = generate(model, folder)
        (folder / "helper.c").write_text(HELPER)
        (folder / "trace.h").write_text(TRACE)
        library = folder / "library.so"
        trace = ["-include", folder / "trace.h"]
        sources = [folder / "wav2small.c", folder / "helper.c"]
        shared = ["-shared", "-fPIC", "-O1", "-o", library]
        run(str(COMPILER), *WARNINGS, *flags, *trace, *shared, *sources)
        self.c = ctypes.CDLL(str(library))
        self.c.state_size.restype = ctypes.c_size_t
        self.size = self.c.state_size()
        self.state = (ctypes.c_uint64 * (self.size // 8))()
        self.scores = (ctypes.c_int32 * 3)()

    def init(self, *level: int) -> None:
        arguments = [(ctypes.c_int32 * 2)(*level)] if level else []
        assert self.c.wav2small_init(self.state, *arguments) == OK

    def push(self, samples: np.ndarray) -> int:
        samples = np.ascontiguousarray(samples)
        pointer = samples.ctypes.data_as(ctypes.c_void_p)
        count = ctypes.c_size_t(len(samples))
        return int(self.c.wav2small_push(self.state, pointer, count))

    def so_far(self) -> list[int] | type[ExportError]:
        status = self.c.wav2small_integers(self.state, self.scores)
        assert status in (OK, TOO_SHORT)
        return list(self.scores) if status == OK else ExportError

    def latest(self) -> list[int] | type[ExportError]:
        status = self.c.wav2small_latest_integers(self.state, self.scores)
        assert status in (OK, TOO_SHORT)
        return list(self.scores) if status == OK else ExportError

    def traced(self, function: Callable[[int, int, int], None] | None) -> None:
        kind = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p)
        self.callback = kind(function) if function else None
        self.c.trace(self.callback)


def latest(stream: Stream) -> list[int] | type[ExportError]:
    try:
        return stream.latest_integers().ravel().tolist()
    except ExportError:
        return ExportError


def whole(model: IntegerGraph, samples: np.ndarray) -> list[int] | type[ExportError]:
    try:
        return ReferenceModel(model).run(samples)[model.output].ravel().tolist()
    except ExportError:
        return ExportError


@compiled
def test_the_papers_model_streams_with_the_level_of_the_past(tmp_path):
    model = student("wav2small-stream")
    library, stream = Library(model, tmp_path), Stream(model)
    library.init()
    assert stream.schedule.endless
    samples = signal(2, 20000)
    for piece in pieces(1, samples, 900):
        assert library.push(piece) == OK
        stream.push(piece)
    found = library.so_far()
    assert found == whole(model, samples)
    assert found == stream.integers().ravel().tolist()
    assert library.c.wav2small_forget(library.state, 500) == OK
    stream.forget(0.5)
    for piece in pieces(2, samples[:9000], 900):
        assert library.push(piece) == OK
        stream.push(piece)
    forgot = library.latest()
    assert forgot == latest(stream) != found


@pytest.fixture(scope="module", params=["wav2small-rt", "wav2small-rt-mini"])
def built(request, tmp_path_factory) -> tuple[IntegerGraph, Library]:
    model = student(request.param)
    return model, Library(model, tmp_path_factory.mktemp("c"))


# -- students ----------------------------------------------------------------


@compiled
@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.one_of(st.integers(1, 1500), st.integers(1, 30000)),
    longest=st.sampled_from([60, 257, 4000, 40000]),
)
def test_equals_the_reference(built, seed, length, longest):
    model, library = built
    samples = signal(seed, length)
    library.init()
    heard = 0
    for piece in pieces(seed, samples, longest):
        assert library.push(piece) == OK
        heard += len(piece)
        if longest > 2000:
            # a result in the middle changes nothing
            assert library.so_far() == whole(model, samples[:heard])
    assert library.so_far() == whole(model, samples)


@compiled
def test_every_row_equals_the_reference(built):
    model, library = built
    samples = signal(5, 9000)
    values = ReferenceModel(model).run(samples)
    made = schedule(model)
    program = lower(made)
    stages = list(arrange(program.steps))
    seen: set[tuple[str, int]] = set()
    wrong: set[str] = set()

    def compare(number: int, row: int, address: int | None) -> None:
        if not address:  # a pool makes no row
            return
        rows = stages[number].step.output
        kind = ctypes.c_int32 if rows.wide else ctypes.c_int8
        found = np.ctypeslib.as_array((kind * rows.count).from_address(address))
        wanted = values[rows.name].take(row, made.lines[rows.name].axis).reshape(-1)
        wanted = wanted[program.views[rows.name].order]
        seen.add((rows.name, row))
        if not np.array_equal(found, wanted):
            wrong.add(stages[number].step.label)

    library.traced(compare)
    library.init()
    library.push(samples)
    library.so_far()
    library.traced(None)
    assert not wrong
    # every row of every tensor before the pooling
    lengths = {name: values[name].shape[line.axis] for name, line in made.lines.items()}
    assert seen == {(name, row) for name in lengths for row in range(lengths[name])}


@compiled
def test_scores_and_reset(built):
    model, library = built
    samples = signal(3, 9000)
    scores = (ctypes.c_float * 3)()
    library.init()
    for _ in range(2):
        assert library.c.wav2small_result(library.state, scores) == TOO_SHORT
        assert library.push(samples) == OK
        assert library.c.wav2small_result(library.state, scores) == OK
        assert list(scores) == ReferenceModel(model).predict([samples])[0].tolist()
        assert library.c.wav2small_reset(library.state) == OK


@compiled
def test_memory(built):
    model, library = built
    assert library.size == library.memory.state == outline(model).memory.state
    assert library.size <= 10240


@compiled
@pytest.mark.parametrize("name", ["wav2small", "wav2small-17k"])
@pytest.mark.parametrize("streams", [True, False])
def test_the_papers_networks(name, streams, tmp_path):
    model = student(name)
    if streams:
        model = with_front_end(model, power_floor=None)
    library = Library(model, tmp_path)
    samples = signal(2, 3000)
    level = [] if streams else level_of(model.operators[0].front_end, samples)
    library.init(*level)
    for start in range(0, 3000, 171):
        library.push(samples[start : start + 171])
        if streams:
            assert library.so_far() == whole(model, samples[: start + 171])
    assert library.so_far() == whole(model, samples)


@compiled
def test_level_is_measured(tmp_path):
    model = student("wav2small")
    library = Library(model, tmp_path)
    front = model.operators[0].front_end
    level = (ctypes.c_int32 * 2)()
    loud = np.full(300000, -32768, np.int16)
    for samples in (signal(1, 64), signal(2, 70000), loud, loud[:64] * 0, -loud - 1):
        pointer = samples.ctypes.data_as(ctypes.c_void_p)
        count = ctypes.c_size_t(len(samples))
        assert library.c.wav2small_measure(pointer, count, level) == OK
        assert tuple(level) == level_of(front, samples)
        assert library.c.wav2small_init(library.state, level) == OK
    measure = library.c.wav2small_measure
    assert measure(None, ctypes.c_size_t(64), level) == NO_POINTER
    assert measure(pointer, ctypes.c_size_t(3), level) == TOO_SHORT
    assert measure(pointer, ctypes.c_size_t(2**28 + 1), level) == TOO_LONG
    push, most = library.c.wav2small_push, 2**28 - len(samples)
    assert push(library.state, pointer, ctypes.c_size_t(len(samples))) == OK
    assert push(library.state, pointer, ctypes.c_size_t(most + 1)) == TOO_LONG
    assert push(library.state, pointer, ctypes.c_size_t(2**63)) == TOO_LONG
    assert library.c.wav2small_init(library.state, None) == NO_POINTER
    for mean, gain in (2**26 + 1, 0), (-(2**31), 0), (0, 2**31 - 1), (0, -(2**31)):
        impossible = (ctypes.c_int32 * 2)(mean, gain)
        assert library.c.wav2small_init(library.state, impossible) == NO_LEVEL


@compiled
def test_bad_calls(built):
    _, library = built
    c, state, scores = library.c, (ctypes.c_uint64 * (library.size // 8))(), None
    samples = signal(0, 100)
    pointer = samples.ctypes.data_as(ctypes.c_void_p)
    some = ctypes.c_size_t(100)
    assert c.wav2small_push(state, pointer, some) == NOT_READY
    assert c.wav2small_reset(state) == NOT_READY
    assert c.wav2small_result(state, (ctypes.c_float * 3)()) == NOT_READY
    assert c.wav2small_integers(state, library.scores) == NOT_READY
    assert c.wav2small_latest(state, (ctypes.c_float * 3)()) == NOT_READY
    assert c.wav2small_latest_integers(state, library.scores) == NOT_READY
    assert c.wav2small_forget(state, 4000) == NOT_READY
    for function in (c.wav2small_init, c.wav2small_reset):
        assert function(None) == NO_POINTER
    assert c.wav2small_push(None, pointer, some) == NO_POINTER
    assert c.wav2small_forget(None, 4000) == NO_POINTER
    assert c.wav2small_init(state) == OK
    assert c.wav2small_push(state, None, some) == NO_POINTER
    assert c.wav2small_push(state, None, ctypes.c_size_t(0)) == OK
    for get in (c.wav2small_result, c.wav2small_latest):
        assert get(state, scores) == NO_POINTER
        assert get(None, scores) == NO_POINTER
    for get in (c.wav2small_integers, c.wav2small_latest_integers):
        assert get(state, scores) == NO_POINTER


def test_shortest_signals():
    assert min_samples(schedule(student("wav2small-rt-mini"))) == 1
    assert min_samples(schedule(student("wav2small-17k"))) == 64


def test_signals_without_end():
    assert outline(student("wav2small-rt")).plan.endless
    # its level is that of the whole signal
    assert not outline(student("wav2small")).plan.endless
    # a mean needs the number of rows
    builder = Builder(1)
    mean = Rescale.of(2.0**-22, 2.0**30)
    source, pooled = builder.last, builder.tensor()
    builder.add(Mean, [source], pooled, (2, 3), True, 22, mean)
    builder.flat(1)
    assert not schedule(builder.build()).endless


# -- forgetting --------------------------------------------------------------


@compiled
@pytest.mark.parametrize("seconds", [None, 0.001, 0.037, 2, 4, 60, 4294967])
def test_forgets_as_the_reference(built, seconds):
    model, library = built
    forgetful = forgetting(model, seconds)
    library.init()
    for seed in range(2):
        samples = signal(seed, 20000)
        milliseconds = ctypes.c_uint32(round(1000 * (seconds or 0)))
        assert library.c.wav2small_forget(library.state, milliseconds) == OK
        for piece in pieces(seed, samples, 700):
            assert library.push(piece) == OK
        assert library.so_far() == whole(forgetful, samples)
        # it holds for the next signal
        assert library.c.wav2small_reset(library.state) == OK


@compiled
def test_model_that_forgets(built, tmp_path):
    model = forgetting(built[0], 3)
    library = Library(model, tmp_path)
    library.init()
    library.push(signal(1, 9000))
    assert library.so_far() == whole(model, signal(1, 9000))
    assert library.so_far() != whole(built[0], signal(1, 9000))


@compiled
@pytest.mark.parametrize("seed", range(3))
def test_time_constants_that_change(built, seed):
    model, library = built
    stream = Stream(model)
    library.init()
    generator = np.random.default_rng(seed)
    for piece in pieces(seed, signal(seed, 30000), 3000):
        seconds = generator.choice([None, 0.05, 0.5, 4])
        stream.forget(seconds)
        library.c.wav2small_forget(library.state, round(1000 * (seconds or 0)))
        stream.push(piece)
        library.push(piece)
        assert library.latest() == latest(stream)
    assert library.so_far() == stream.integers().ravel().tolist()


@compiled
def test_latest_is_what_the_pools_hold(built):
    model, library = built
    made = schedule(model)
    samples = signal(9, 20000)
    values = ReferenceModel(model).run(samples)
    library.init()
    heard = 0
    front = made.front.constants
    for piece in pieces(9, samples, 900):
        library.push(piece)
        heard += len(piece)
        frames = (front.padding[0] + heard - front.window_length) // front.hop_length
        rows = made.pools[0].pace.rows(frames)
        if rows < 1:
            assert library.latest() is ExportError
            continue
        known = dict(values)
        for pool in made.pools:
            for name in pool.operator.inputs:
                axis = made.lines[name].axis
                known[name] = values[name].take(range(rows), axis)
        for operator in (*(pool.operator for pool in made.pools), *made.head):
            known[operator.output] = made.reference.apply(operator, known)
        assert library.latest() == known[model.output].ravel().tolist()
    # it changes nothing
    assert library.so_far() == values[model.output].ravel().tolist()


@compiled
def test_frames_are_counted_in_laps(built, tmp_path, monkeypatch):
    monkeypatch.setattr(arrangement, "_SHORTEST_LAP", 1)
    model = built[0]
    library = Library(model, tmp_path)
    made = schedule(model)
    lap = arrangement.Arrangement(lower(made), made).lap
    hop = made.front.constants.hop_length
    samples = signal(4, int(3.3 * lap) * hop)
    library.init()
    for part in pieces(4, samples, 40000):
        assert library.push(part) == OK
    # frames stand in the third word of the state
    assert lap <= np.frombuffer(library.state, np.uint32)[2] < 2 * lap
    assert library.so_far() == whole(model, samples)
    library.push(samples[:77])
    assert library.so_far() == whole(model, np.concatenate([samples, samples[:77]]))


# -- any geometry, any operator ----------------------------------------------


def narrowed(model: IntegerGraph) -> IntegerGraph:
    """The same with weights of 4 bits."""

    def changed(operator: Operator) -> Operator:
        if not isinstance(operator, Convolution | Linear):
            return operator
        return dataclasses.replace(operator, weight=operator.weight >> 4)

    return dataclasses.replace(
        model, operators=tuple(changed(operator) for operator in model.operators)
    )


def head(builder: Builder) -> None:
    """Operators of a head that the students do not have, on three int32 numbers."""
    scores = builder.last
    rescale = Rescale.of(2.0**-12, 2.0**46)
    doubled = builder.tensor("int32")
    builder.add(Sum, [scores, scores], doubled, (2**29, 2**28), 29)
    clipped = builder.add(Relu, [doubled], builder.tensor("int32"))
    product = builder.tensor("int32")
    builder.add(Product, [clipped, scores], product, (7, 7), rescale)
    bent = builder.tensor("int32")
    builder.add(HardSwish, [product], bent, Rescale.of(2.0**-30, 2.0**61))
    builder.linear(3, 3, bent, "int32")


@pytest.mark.slow
@compiled
@settings(max_examples=24)
@given(
    seed=st.integers(0, 2**32 - 1),
    hop_length=st.sampled_from([16, 100, 512, 700]),
    padding=st.tuples(st.integers(0, 512), st.integers(0, 512)),
    past_frames=st.sampled_from([None, 1, 3, 64]),
    length=st.integers(1, 40),
)
def test_any_geometry(tmp_path_factory, seed, hop_length, padding, past_frames, length):
    builder = Builder(
        seed, hop_length=hop_length, padding=padding, past_frames=past_frames
    )
    for _ in range(builder.number(1, 4)):
        step = ("convolution", "maximum", "table", "residual")[builder.number(0, 3)]
        getattr(builder, step)()
    builder.pool()
    if seed % 3 == 0:
        head(builder)
    model = builder.build()
    if seed % 2:
        model = narrowed(model)
    folder = tmp_path_factory.mktemp("c")
    library = Library(model, folder)
    samples = signal(seed, length * hop_length + seed % 512)
    library.init()
    heard = 0
    for piece in pieces(seed, samples, 3 * hop_length):
        library.push(piece)
        heard += len(piece)
        if heard % 3 == 0:
            assert library.so_far() == whole(model, samples[:heard])
    assert library.so_far() == whole(model, samples)


CROSS = [
    pytest.param("zig", ("-mcpu=cortex_m55+mve",), id="zig, vectors"),
    pytest.param("zig", ("-mcpu=cortex_m55",), id="zig, lanes of 16 bits"),
    pytest.param("gcc", ("-mcpu=cortex-m55", "-mfloat-abi=hard"), id="gcc, vectors"),
    pytest.param("gcc", ("-mcpu=cortex-m4",), id="gcc, lanes of 16 bits"),
]


@pytest.mark.parametrize("name", ["wav2small-rt", "narrow"])
@pytest.mark.parametrize(("compiler", "flags"), CROSS)
def test_kernels_of_cores_without_a_warning(compiler, flags, name, tmp_path):
    if compiler == "zig":
        pytest.importorskip("ziglang", reason="no ziglang: nothing is cross-compiled")
        command = [sys.executable, "-P", "-m", "ziglang", "cc"]
        command += ["--target=thumb-freestanding-eabihf"]
    else:
        if not shutil.which("arm-none-eabi-gcc"):
            pytest.skip("no arm-none-eabi-gcc: nothing is compiled with it")
        command = ["arm-none-eabi-gcc", "-mthumb"]
    model = student("wav2small-rt" if name == "narrow" else name)
    generate(narrowed(model) if name == "narrow" else model, tmp_path)
    code = tmp_path / "wav2small.c"
    run(*command, *flags, *WARNINGS, "-O2", "-c", code, "-o", tmp_path / "code.o")
    # the vectors' kernels, or none of them
    vectors = run(*command, *flags, "-E", "-dM", code).count("define VECTORS 1")
    assert vectors == ("mve" in flags[0] or flags[0].endswith("-m55"))


FUZZ = """
#include "wav2small.h"
#include <stdlib.h>
static uint32_t noise = 1;
static uint32_t draw(void) { return (noise = noise * 1664525u + 1013904223u) >> 16; }
int main(int argc, char **argv)
{
    long pushes = (argc > 1) ? atol(argv[1]) : 1000;
    wav2small_state *state = calloc(1, sizeof *state);
    float scores[WAV2SMALL_SCORES];
    if (!state || wav2small_init(state) != WAV2SMALL_OK) { return 1; }
    for (; pushes > 0; --pushes) {
        size_t count = (draw() % 8u == 0u) ? draw() % 2000u : draw() % 200u, i;
        int16_t *samples = malloc(count * sizeof *samples + 1u);
        uint32_t level = draw() % 17u;
        if (!samples) { return 1; }
        for (i = 0; i < count; ++i) {
            samples[i] = (int16_t)(((int32_t)draw() - 32768) / (1 << level));
        }
        if (wav2small_push(state, samples, count) != WAV2SMALL_OK) { return 1; }
        if (draw() % 64u == 0u) { wav2small_reset(state); }
        if (draw() % 64u == 0u) {
            (void)wav2small_forget(state, draw() << (level % 16u));
        }
        if (draw() % 16u == 0u) { (void)wav2small_latest(state, scores); }
        free(samples);
        if (draw() % 16u == 0u) { (void)wav2small_result(state, scores); }
    }
    free(state);
    return 0;
}
"""


@compiled
@pytest.mark.parametrize("name", ["wav2small-rt-mini", "wav2small-17k"])
def test_sanitizers_find_nothing(name, tmp_path):
    generate(with_front_end(student(name), power_floor=None), tmp_path)
    (tmp_path / "fuzz.c").write_text(FUZZ)
    flags = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [tmp_path / "wav2small.c", tmp_path / "fuzz.c"]
    run(str(COMPILER), "-std=c99", *flags, *sources, "-o", tmp_path / "fuzz")
    run(tmp_path / "fuzz", "400")


# -- channels that change nothing --------------------------------------------


def padded(model: IntegerGraph, more: int) -> IntegerGraph:
    """The same with channels of zeros behind those of each convolution but the last."""
    operators, wider = [], {model.operators[0].output: 0}
    last = [o for o in model.operators if isinstance(o, Convolution)][-1]
    for operator in model.operators:
        if isinstance(operator, Convolution):
            behind = 0 if operator is last else more
            before = wider.get(operator.inputs[0], 0)
            weight = np.pad(operator.weight, ((0, behind), (0, before), (0, 0), (0, 0)))
            # the channels that are fed with zeros may have any weight
            weight[:, weight.shape[1] - before :] = 0 if more % 2 else 7
            weight[len(weight) - behind :] = 0
            factors = {
                key: np.pad(
                    np.broadcast_to(
                        getattr(operator.rescale, key), len(weight) - behind
                    ),
                    (0, behind),
                    mode="edge",
                )
                for key in ("factor", "multiplier", "shift")
            }
            operator = dataclasses.replace(
                operator,
                weight=weight,
                bias=np.pad(operator.bias, (0, behind)),
                rescale=dataclasses.replace(operator.rescale, **factors),
            )
            wider[operator.output] = behind
        elif isinstance(operator, MaxPool):
            wider[operator.output] = wider[operator.inputs[0]]
        operators.append(operator)
    return dataclasses.replace(model, operators=tuple(operators))


def plain_network() -> IntegerGraph:
    """Convolutions and a maximum, one behind the other."""
    return without_dead_channels(with_front_end(student("wav2small"), power_floor=None))


@pytest.mark.parametrize("more", [1, 2])
def test_dead_channels_go(more):
    model = plain_network()
    wide = padded(model, more)
    samples = signal(1, 1000)
    assert whole(wide, samples) == whole(model, samples)
    found = without_dead_channels(wide)
    for one, two in zip(found.operators, model.operators, strict=True):
        if isinstance(one, Convolution):
            assert np.array_equal(one.weight, two.weight)
            assert np.array_equal(one.bias, two.bias)
            assert np.array_equal(one.rescale.shift, two.rescale.shift)
    assert whole(found, samples) == whole(model, samples)


def test_live_channels_stay():
    model = plain_network()
    assert without_dead_channels(model) is model
    # a bias makes a channel other than 0, which its reader's border is not
    wide = padded(model, 2)
    operators = list(wide.operators)
    operators[1] = dataclasses.replace(operators[1], bias=operators[1].bias + 9)
    wide = dataclasses.replace(wide, operators=tuple(operators))
    found = without_dead_channels(wide)
    layers = [
        operator for operator in found.operators if isinstance(operator, Convolution)
    ]
    assert [len(layer.weight) for layer in layers] == [15] + 7 * [13]
    samples = signal(2, 1000)
    assert whole(found, samples) == whole(wide, samples)


def test_the_papers_network_loses_its_padding():
    model = student("wav2small")
    layers = [
        (operator, other)
        for operator, other in zip(
            model.operators, without_dead_channels(model).operators, strict=True
        )
        if isinstance(operator, Convolution)
    ]
    assert [len(operator.weight) for operator, _ in layers] == 7 * [16] + [13]
    assert [len(other.weight) for _, other in layers] == 8 * [13]


# -- what is written ---------------------------------------------------------


@compiled
@pytest.mark.parametrize("name", ["wav2small-rt-mini", "wav2small"])
@pytest.mark.skipif(shutil.which("make") is None, reason="no make: not built with it")
def test_golden_vectors(name, tmp_path):
    generate(student(name), tmp_path)
    said = run("make", "-s", "-C", tmp_path, "all", "check")
    assert said.startswith("5 golden vectors agree, state of ")
    # a wrong weight is noticed
    path = tmp_path / "wav2small_model.h"
    text = path.read_text()
    start = text.index("[", text.index("dense_1_start"))
    path.write_text(text[:start] + text[start:].replace(" = {\n    ", " = {\n    9", 1))
    done = subprocess.run(
        ["make", "-s", "-C", str(tmp_path), "check"], capture_output=True, check=False
    )
    assert done.returncode != 0
    assert b"differs" in done.stdout


@compiled
def test_two_models_in_one_program(tmp_path):
    for prefix, name in (("one", "wav2small-rt"), ("two", "wav2small-rt-mini")):
        generate(student(name), tmp_path, prefix)
    (tmp_path / "both.c").write_text(
        '#include "one.h"\n#include "two.h"\n#include <stdio.h>\n'
        "int one_selftest(void);\nint two_selftest(void);\n"
        'int main(void) { printf("%d", one_selftest() + two_selftest()); return 0; }\n'
    )
    sources = [tmp_path / "both.c"]
    for prefix in ("one", "two"):
        sources += [tmp_path / f"{prefix}.c", tmp_path / f"{prefix}_selftest.c"]
    defines = ["-DONE_NO_MAIN", "-DTWO_NO_MAIN"]
    run(str(COMPILER), *WARNINGS, *defines, *sources, "-o", tmp_path / "both")
    assert run(tmp_path / "both") == "0"


@compiled
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++: header not included")
@pytest.mark.parametrize("name", ["wav2small-rt-mini", "wav2small"])
def test_header_in_cpp(name, tmp_path):
    generate(student(name), tmp_path)
    warnings = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
    run("c++", *warnings, "-fsyntax-only", "-x", "c++", tmp_path / "wav2small.h")


HOSTILE = (
    '*/\n__attribute__((constructor)) static void f(void) { puts("here"); }\n/*',
    "*/ \\\n#include </etc/passwd>\n/*",
    "??/\n$scores ${x}",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_file_becomes_code(text, tmp_path):
    asset = bundled()["wav2small-rt-mini"] / "model.onnx"
    generate(asset, tmp_path / "plain")
    digest = hashlib.sha256(asset.read_bytes()).hexdigest()
    marked = onnx.load(asset)
    keys = ("licence", "use", "labels", "provenance", "range", "window", text)
    said = {entry.key: entry.value for entry in marked.metadata_props}
    hostile = {**dict.fromkeys(keys, text), ENTRY: said[ENTRY]}
    onnx.helper.set_model_props(marked, hostile)
    ends = {"signal", *(value.name for value in marked.graph.output), ""}
    for number, node in enumerate(marked.graph.node):
        node.name, node.doc_string = f"{text}{number}", text
        for names in (node.input, node.output):
            names[:] = [name if name in ends else name + text for name in names]
    for tensor in marked.graph.initializer:
        tensor.name += text
    onnx.save(marked, tmp_path / "hostile.onnx")
    generate(tmp_path / "hostile.onnx", tmp_path / "hostile")
    for path in sorted((tmp_path / "plain").glob("*.[ch]")):
        plain, found = (
            re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.DOTALL)
            for file in (path, tmp_path / "hostile" / path.name)
        )
        # another file is another model
        found = re.sub(r'(?<=_SHA256 ").*?(?=")', digest, found)
        assert found == plain, path.name


@pytest.mark.parametrize(
    "rate", ["16000\nint x;", "16000 */", "0", "-1", "1e4", "99999999"]
)
def test_a_rate_that_is_no_rate(rate, tmp_path):
    model = student("wav2small-rt-mini")
    marked = onnx.ModelProto()
    marked.CopyFrom(model.model)
    onnx.helper.set_model_props(marked, {"sampling_rate": rate})
    with pytest.raises(ExportError, match="'sampling_rate' must be a whole number"):
        generate(dataclasses.replace(model, model=marked), tmp_path)


def test_the_header_states_licence_and_use(tmp_path):
    model = student("wav2small-rt-mini")
    marked = onnx.ModelProto()
    marked.CopyFrom(model.model)
    onnx.helper.set_model_props(
        marked, {"licence": "CC-BY-NC-4.0 */ int x;", "use": "research-only"}
    )
    generate(dataclasses.replace(model, model=marked), tmp_path)
    header = (tmp_path / "wav2small.h").read_text()
    assert " * Weights: licence CC-BY-NC-4.0 __ int x_, use research-only.\n" in header
    # what a file does not state is not granted
    del marked.metadata_props[:]
    generate(dataclasses.replace(model, model=marked), tmp_path / "bare")
    header = (tmp_path / "bare" / "wav2small.h").read_text()
    assert " * Weights: licence unknown, use as it says.\n" in header


@compiled
@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("INT_MAX 32767", "an int must have 32 bits"),
        ("CHAR_BIT 16", "must have 8 bits"),
    ],
)
def test_other_sizes_of_numbers_are_refused(limit, said, tmp_path):
    generate(student("wav2small-rt-mini"), tmp_path)
    name = limit.partition(" ")[0]
    header = f"#include <limits.h>\n#undef {name}\n#define {limit}\n"
    (tmp_path / "other.h").write_text(header)
    include = ["-include", tmp_path / "other.h"]
    compile_only = [*include, "-fsyntax-only", tmp_path / "wav2small.c"]
    done = subprocess.run(
        [str(COMPILER), *compile_only], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.skipif(shutil.which("avr-gcc") is None, reason="no avr-gcc: not tried")
def test_a_core_of_16_bits_is_refused(tmp_path):
    generate(student("wav2small-rt-mini"), tmp_path)
    done = subprocess.run(
        ["avr-gcc", "-std=c99", "-fsyntax-only", str(tmp_path / "wav2small.c")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "an int must have 32 bits" in done.stderr


@compiled
@pytest.mark.parametrize("optimisation", ["-O0", "-O2", "-O3", "-Os"])
def test_every_optimisation(optimisation, tmp_path):
    generate(student("wav2small-rt-mini"), tmp_path)
    sources = [tmp_path / "wav2small.c", tmp_path / "wav2small_selftest.c"]
    flags = [*WARNINGS, optimisation]
    run(str(COMPILER), *flags, *sources, "-o", tmp_path / "selftest")
    assert "vectors agree" in run(tmp_path / "selftest")


def test_same_model_same_bytes(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        generate(student("wav2small-rt-mini"), folder)
    first, second = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in folders
    )
    assert first == second
    assert set(first) == {
        "CMakeLists.txt",
        "Makefile",
        "main.c",
        "wav2small.c",
        "wav2small.h",
        "wav2small_config.h",
        "wav2small_decide.c",
        "wav2small_decide.h",
        "wav2small_golden.h",
        "wav2small_model.bin",
        "wav2small_model.h",
        "wav2small_selftest.c",
    }
    code = first["wav2small.c"]
    for word in (b"malloc", b"math.h", b"double", b"goto", b"string.h"):
        assert word not in code


# -- parts -------------------------------------------------------------------


@given(
    outputs=st.integers(1, 9),
    groups=st.integers(1, 2),
    fours=st.integers(1, 3),
    narrow=st.booleans(),
    seed=st.integers(0, 99),
)
def test_packed_weights(outputs, groups, fours, narrow, seed):
    length = 8 * fours if narrow else 4 * fours
    shape = groups * outputs, length
    values = np.random.default_rng(seed).integers(-8, 8, shape) * (1 if narrow else 15)
    values[0, 0] = -8 if narrow else -100
    packed = packed_weight(values.astype(np.int8), outputs)
    assert packed.dtype == (np.uint8 if narrow else np.int8)
    stream = iter(packed.reshape(-1).tolist())

    def signed(half: int) -> int:
        return half - 16 if half > 7 else half

    for first in range(0, groups * outputs, outputs):
        some = values[first : first + outputs].tolist()
        while len(some) > 3:
            a, b, c, d = some[:4]
            some = some[4:]
            for k in range(0, length, 1 if narrow else 2):
                if narrow:
                    one, other = next(stream), next(stream)
                    assert [one % 16 - 8, one // 16 - 8] == [a[k], b[k]]
                    assert [other % 16 - 8, signed(other // 16)] == [c[k], d[k]]
                    continue
                for left, right in ((a, b), (c, d)):
                    wanted = [left[k], right[k], left[k + 1], right[k + 1]]
                    assert [next(stream) for _ in range(4)] == wanted
        for row in some:
            for k in range(0, length, 8 if narrow else 4):
                if narrow:
                    both = [next(stream) for _ in range(4)]
                    found = [byte % 16 - 8 for byte in both]
                    found += [byte // 16 - 8 for byte in both]
                    assert found == [row[k + i] for i in (0, 4, 1, 5, 2, 6, 3, 7)]
                else:
                    wanted = [row[k + i] for i in (0, 2, 1, 3)]
                    assert [next(stream) for _ in range(4)] == wanted
    assert next(stream, None) is None


@given(
    spans=st.lists(
        st.tuples(st.integers(1, 99), st.integers(0, 9), st.integers(0, 9)), max_size=12
    )
)
def test_places_do_not_overlap(spans):
    entries = [
        Span(str(i), size, min(a, b), max(a, b)) for i, (size, a, b) in enumerate(spans)
    ]
    places, total = place(entries)
    for i, one in enumerate(entries):
        assert places[one.name] % 8 == 0
        assert places[one.name] + one.bytes <= total
        for other in entries[:i]:
            if one.first <= other.last and other.first <= one.last:
                start, end = places[one.name], places[one.name] + one.bytes
                begin = places[other.name]
                assert end <= begin or begin + other.bytes <= start


# -- what cannot be written --------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "1st", "Two", "a-b", "a b"])
def test_prefix_that_is_no_name(prefix, tmp_path):
    with pytest.raises(ExportError, match="prefix must be lower-case letters, digits"):
        generate(student("wav2small-rt-mini"), tmp_path, prefix)


@pytest.mark.parametrize("changes", [{"padding": (8, 0)}, {"power_floor": 2**32}])
def test_normalisation_without_code(changes, tmp_path):
    model = with_front_end(student("wav2small"), **changes)
    with pytest.raises(ExportError, match="must have no border of zeros and a floor"):
        generate(model, tmp_path)


def test_operator_without_code(tmp_path):
    builder = Builder(0)
    source = builder.convolution(time=1)
    mean = builder.tensor()
    factor = Rescale.of(2.0**-22, 2.0**30)
    builder.add(Mean, [source], mean, (1, 3), True, 22, factor)
    builder.shape = (1, 1)
    builder.pool()
    with pytest.raises(ExportError, match="must have C code, got Mean 1, which stands"):
        generate(builder.build(), tmp_path)


def test_products_without_code(tmp_path):
    model = student("wav2small-rt-mini")
    *rest, last = model.operators
    pooled = rest[-1].output
    tensors = dict(model.tensors)
    name = "product"
    tensors[name] = dataclasses.replace(tensors[last.output], name=name)
    factor = Rescale.of(2.0**-12, 2.0**46)
    product = Product((pooled, last.output), name, (), (7, 7), factor)
    odd = dataclasses.replace(
        model, tensors=tensors, operators=(*rest, last, product), output=name
    )
    with pytest.raises(ExportError, match="got Product 1, whose inputs differ in shap"):
        generate(odd, tmp_path)


def test_too_large_a_model(tmp_path):
    model = student("wav2small-rt-mini")
    operators = list(model.operators)
    for i, operator in enumerate(operators):
        if isinstance(operator, Convolution) and operator.dilations == (8, 1):
            operators[i] = dataclasses.replace(
                operator, dilations=(999, 1), pads=(999, 0, 999, 0)
            )
    with pytest.raises(ExportError, match="lines must have less than 64 KiB in C code"):
        generate(dataclasses.replace(model, operators=tuple(operators)), tmp_path)
