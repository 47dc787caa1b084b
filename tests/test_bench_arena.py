import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wav2small.export.base.errors import BenchError
from wav2small.firmware_bench.plan.arena import ArenaPlan, Block, plan_arena, verify
from wav2small.firmware_bench.plan.liveness import LiveRange


@st.composite
def live_ranges(draw, count=12, steps=10, size=200):
    ranges = []
    for index in range(draw(st.integers(1, count))):
        first = draw(st.integers(0, steps - 1))
        last = draw(st.integers(first, steps - 1))
        size_now = draw(st.integers(1, size))
        ranges.append(LiveRange(f"t{index}", size_now, first, last))
    return ranges


def disjoint(a, b):
    apart = a.live.last < b.live.first or b.live.last < a.live.first
    below = a.offset + a.live.bytes <= b.offset or b.offset + b.live.bytes <= a.offset
    return apart or below


@given(ranges=live_ranges(), alignment=st.sampled_from([1, 4, 16, 24]))
def test_every_plan_holds(ranges, alignment):
    plan = plan_arena(ranges, alignment)
    assert [block.live for block in plan.blocks] == ranges
    assert all(disjoint(a, b) for a, b in itertools.combinations(plan.blocks, 2))
    assert all(block.offset % alignment == 0 for block in plan.blocks)
    assert plan.size == max(block.offset + block.live.bytes for block in plan.blocks)
    at_once = [
        sum(live.bytes for live in ranges if live.first <= step <= live.last)
        for step in range(10)
    ]
    assert plan.lower_bound == max(at_once) <= plan.size
    assert plan.gap == plan.size - plan.lower_bound
    assert plan.size <= sum(-(-live.bytes // alignment) * alignment for live in ranges)


def optimum(ranges):
    """Smallest arena of all: blocks pushed down in every order."""
    best = sum(live.bytes for live in ranges)
    for order in itertools.permutations(ranges):
        placed = []
        for live in order:
            offset = 0
            for there, start in sorted(placed, key=lambda pair: pair[1]):
                together = live.first <= there.last and there.first <= live.last
                if together and start < offset + live.bytes:
                    offset = max(offset, start + there.bytes)
            placed.append((live, offset))
        best = min(best, max(start + live.bytes for live, start in placed))
    return best


@settings(max_examples=60)
@given(ranges=live_ranges(count=5, steps=5, size=9))
def test_tiny_plans_against_the_optimum(ranges):
    plan = plan_arena(ranges, 1)
    best = optimum(ranges)
    assert plan.lower_bound <= best <= plan.size <= 1.5 * best


def test_a_chain_needs_its_two_largest_neighbours():
    sizes = [10, 50, 30, 20, 40]
    ranges = [LiveRange(f"t{i}", n, i, i + 1) for i, n in enumerate(sizes)]
    plan = plan_arena(ranges, 1)
    assert (plan.size, plan.gap) == (80, 0)


def test_nothing_needs_nothing():
    assert plan_arena([]).size == 0


@pytest.mark.parametrize("alignment", [0, -16])
def test_wrong_alignment(alignment):
    with pytest.raises(BenchError, match="alignment must be at least 1 byte"):
        plan_arena([], alignment)


A, B = LiveRange("a", 32, 0, 2), LiveRange("b", 16, 2, 3)
GOOD = ArenaPlan((Block(A, 0), Block(B, 32)), 48, 48, 16)


def test_verify_takes_a_good_plan():
    verify(GOOD)


@pytest.mark.parametrize("offset", [0, 16, 31])
def test_verify_finds_an_overlap(offset):
    blocks = (Block(A, 0), Block(B, offset))
    with pytest.raises(BenchError, match=r"plan must keep blocks apart, got '[ab]'"):
        verify(dataclasses.replace(GOOD, blocks=blocks))


@given(ranges=live_ranges(), data=st.data())
def test_verify_finds_any_moved_block(ranges, data):
    plan = plan_arena(ranges, 1)
    moved = data.draw(st.integers(0, len(ranges) - 1))
    blocks = list(plan.blocks)
    blocks[moved] = blocks[moved]._replace(offset=data.draw(st.integers(0, 400)))
    good = all(disjoint(a, b) for a, b in itertools.combinations(blocks, 2))
    size = max(block.offset + block.live.bytes for block in blocks)
    changed = dataclasses.replace(plan, blocks=tuple(blocks), size=size)
    if good:
        verify(changed)
    else:
        with pytest.raises(BenchError, match="plan must keep blocks apart"):
            verify(changed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": (Block(A, 0), Block(B, 40)), "size": 56}, "must be aligned to 16"),
        ({"blocks": (Block(A, 0), Block(B, 32), Block(LiveRange("c", 1, 3, 2), 0))},
         "must be aligned to 16 bytes and in order"),
        ({"blocks": (Block(A, -16), Block(B, 32))}, "must keep blocks apart"),
        ({"size": 47}, "must state its size and bound, got 47 and 48, found 48 and 48"),
        ({"lower_bound": 32}, "must state its size and bound"),
    ],
)  # fmt: skip
def test_verify_finds_other_faults(change, message):
    with pytest.raises(BenchError, match=message):
        verify(dataclasses.replace(GOOD, **change))
