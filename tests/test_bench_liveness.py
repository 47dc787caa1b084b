import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav2small.firmware_bench.plan.arena import plan_arena
from wav2small.firmware_bench.plan.liveness import (
    LiveRange,
    live_bytes,
    live_ranges,
    lower_bound,
)
from wav2small.firmware_bench.plan.onnx_graph import load_graph
from wav2small.firmware_bench.plan.operations import lower_window

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'


@pytest.fixture
def program(tmp_path):
    def make(body, inputs="float[1, 4] x", outputs=None):
        outputs = outputs or f"float[{'a, b, c' if ',1,' in inputs else 'a, b'}] y"
        model = onnx.parser.parse_model(
            f"{HEAD}\ng ({inputs}) => ({outputs}) {{ {body} }}"
        )
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        return lower_window(load_graph(tmp_path / "model.onnx", 4 / 16000))

    return make


def spans(ranges):
    return {live.buffers: (live.first, live.last, live.bytes) for live in ranges}


def test_in_place_by_hand(program):
    # x is read again in step 2, a is not: b may take its place, and y that of b
    found = live_ranges(program("a = Exp(x) b = Neg(a) y = Add(b, x)"))
    assert spans(found) == {("x",): (0, 2, 16), ("a", "b", "y"): (0, 2, 16)}
    assert live_bytes(found) == [32, 32, 32]


def test_what_comes_out_is_kept(program):
    found = live_ranges(
        program("a = Exp(x) y = Neg(a)", outputs="float[1,4] a, float[1,4] y")
    )
    assert spans(found) == {("x", "a"): (0, 1, 16), ("y",): (1, 1, 16)}


def test_no_in_place_where_elements_are_read_again(program):
    # the transposition reads what it would have overwritten
    found = live_ranges(program("a = Exp(x) b = Concat<axis=0>(a, a) y = Transpose(b)"))
    assert spans(found) == {
        ("x", "a"): (0, 1, 16),
        ("b",): (1, 2, 32),
        ("y",): (2, 2, 32),
    }


def test_a_row_that_is_broadcast_is_not_overwritten(program):
    # four floats are as many bytes as sixteen integers, but are read four times
    found = live_ranges(
        program(
            """a = Exp(x)
            c = Concat<axis=0>(a, a, a, a)
            s = Constant<value_float=0.5>() z = Constant<value=int8 {0}>()
            q = QuantizeLinear(c, s, z) d = DequantizeLinear(q, s, z)
            m = Mul(a, d) y0 = QuantizeLinear(m, s, z)
            y = DequantizeLinear(y0, s, z)"""
        )
    )
    assert ("x", "a") in spans(found)  # ends there
    assert spans(found)[("q", "y0")][2] == 16


def test_an_unread_output_lives_for_its_step(program):
    found = live_ranges(
        program("v, i = MaxPool<kernel_shape=[2]>(x) y = Exp(v)", "float[1,1,4] x")
    )
    assert spans(found)[("i",)] == (0, 0, 24)


def naive(program):
    """What must be kept at each step, by asking of every tensor and every step."""
    steps = program.operations
    needed = []
    for now in range(len(steps)):
        total = 0
        for name, kind in program.buffers.items():
            made = name in program.inputs or any(
                name in step.outputs for step in steps[: now + 1]
            )
            wanted = name in program.outputs or any(
                name in step.inputs for step in steps[now:]
            )
            if (made and wanted) or name in steps[now].outputs:
                total += kind.bytes
        needed.append(total)
    return needed


def weights(shape, name):
    values = ", ".join(["1"] * int(np.prod(shape)))
    return f"float{list(shape)} {name} = {{{values}}}"


BODY = """
  a = Conv<pads=[1,1,1,1]>(x, w1)
  b = Conv<pads=[1,1,1,1]>(a, w2)
  c = MaxPool<kernel_shape=[2,2],strides=[2,2]>(b)
  d = Conv<pads=[1,1,1,1]>(c, w2)
  e = Concat<axis=1>(c, d)
  y = GlobalAveragePool(e)
"""


def test_against_a_naive_count_and_another_planner(tmp_path):
    onnxsim = pytest.importorskip("onnxsim")
    model = onnx.parser.parse_model(
        f"{HEAD}\ng (float[1,1,8,8] x) => (float[1,8,1,1] y) "
        f"<{weights((4, 1, 3, 3), 'w1')}, {weights((4, 4, 3, 3), 'w2')}> {{{BODY}}}"
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    program = lower_window(load_graph(tmp_path / "m.onnx", 1.0))
    ranges = live_ranges(program)
    assert live_bytes(ranges) == naive(program)
    assert live_bytes(ranges) == [256 + 1024, 2048, 1280, 512, 1024, 544]
    plan = plan_arena(ranges)
    assert plan.size == onnxsim.plan_activation_memory(model).arena_bytes == 2048


@st.composite
def chains(draw):
    """A random graph of sums and concatenations, none of which works in place."""
    lines = ["t0 = Concat<axis=1>(x, x)"]
    for index in range(1, draw(st.integers(1, 6))):
        names = draw(st.lists(st.integers(0, index - 1), min_size=1, max_size=3))
        arguments = ", ".join(f"t{name}" for name in names)
        lines.append(f"t{index} = Concat<axis=1>({arguments}, x)")
    every = ", ".join(f"t{index}" for index in range(len(lines)))
    lines.append(f"y = Concat<axis=1>({every}, x)")
    return "\n".join(lines)


@given(body=chains())
def test_random_graphs_against_a_naive_count(tmp_path_factory, body):
    model = onnx.parser.parse_model(
        f"{HEAD}\ng (float[1,4] x) => (float[a,b] y) {{ {body} }}"
    )
    path = tmp_path_factory.mktemp("graph") / "m.onnx"
    path.write_bytes(model.SerializeToString())
    program = lower_window(load_graph(path))
    assert live_bytes(live_ranges(program)) == naive(program)


def test_bound_of_nothing():
    assert live_bytes([]) == [] and lower_bound([]) == 0
    assert lower_bound([LiveRange("a", 3, 0, 1), LiveRange("b", 4, 1, 2)]) == 7
