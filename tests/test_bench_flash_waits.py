"""Waits for flash memory: by hand, and against a core that is followed step by step."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from test_bench_measurement import small
from test_export_streaming import signal

from wav2small.export.base.errors import BenchError
from wav2small.export.c99 import generate
from wav2small.firmware_bench.flash import Cache, FlashReads, parse_flash_reads
from wav2small.firmware_bench.run.flash_waits import (
    FlashModel,
    Lines,
    measure_flash_waits,
)
from wav2small.firmware_bench.target import TARGETS

for package in ("ziglang", "unicorn", "capstone", "elftools"):
    pytest.importorskip(package, reason=f"no {package}: no firmware is emulated")

from test_bench_toolchain import cache, compiler_cache  # noqa: E402

from wav2small.firmware_bench.run.emulation import (  # noqa: E402
    begin_signal,
    push_all,
    start_machine,
)
from wav2small.firmware_bench.run.toolchain import build  # noqa: E402

__all__ = ["cache", "compiler_cache"]


@pytest.mark.parametrize("ways", [1, 2, 8])
def test_lines_are_there_while_fewer_others_were_used_since(ways):
    known = Cache(bytes=128 * ways, line_bytes=16, ways=ways)
    lines = Lines(known, 8)
    assert lines.reads == 2
    used: list[int] = []
    generator = np.random.default_rng(ways)
    for address in generator.integers(0, 1024, 2000).tolist():
        line = address // 16
        last = max((i for i, other in enumerate(used) if other == line), default=None)
        since = [] if last is None else used[last + 1 :]
        others = {other for other in since if other % 8 == line % 8}
        at_hand = last is not None and len(others) < ways
        assert lines.holds(address) == at_hand
        assert lines.misses(address) != at_hand
        used.append(line)


def flash(**caches):
    return FlashReads(5, 16, "a sheet", True, **caches)


def test_a_row_of_instructions_waits_for_each_of_its_lines():
    # 40 short instructions in 5 lines of 16 bytes: 5 reads of 1 + 5 cycles
    model = FlashModel(flash(), False)
    model.run((0, 80, True), 40, [], 0x1000)
    # at best all reads but the first go on beside the 40 cycles, at worst none does,
    # and the jump waits for the read ahead of where it came from
    assert (model.low, model.high) == (5, 5 * 5 + 5)
    # one cycle for each line alone: 30 cycles of reads, 5 of them at work
    model = FlashModel(flash(), False)
    model.run((0, 80, True), 5, [], 0x1000)
    assert (model.low, model.high) == (25, 30)


def test_a_loop_in_a_cache_waits_once():
    known = flash(instruction_cache=Cache(64, 16, 4))
    cached, bare = FlashModel(known, True), FlashModel(known, False)
    for model in (cached, bare):
        for _ in range(100):
            model.run((0, 64, True), 32, [], 64)
    # what lies behind the loop is fetched ahead and never there
    assert cached.low == 5 and cached.high == 4 * 5 + 100 * 5
    assert bare.low == 100 * 5 and bare.high == 100 * (4 * 5 + 5)


def test_constants_without_a_cache_wait_each_time_at_worst():
    known = flash(instruction_cache=Cache(64, 16, 4))
    model = FlashModel(known, True)
    model.run((0, 16, False), 8, [0x100, 0x104, 0x108, 0x200], 0)
    # two lines at best; at worst four reads, for each of which code's line is lost
    assert model.low == 10 and model.high == 5 + 4 * 5 + 4 * 5
    known = flash(shared_cache=Cache(64, 16, 2))
    model = FlashModel(known, True)
    model.run((0, 16, False), 8, [0x100, 0x104, 0x108, 0x200], 0)
    # 5 waits and 4 words for each of three lines, and the bus is taken four times
    assert model.low == 10 and model.high == 3 * (5 + 4 - 1) + 4


def stepped(firmware, samples, known, hidden):
    """Waits of a core that is followed instruction by instruction.

    Args:
        firmware: program
        samples: signal
        known: flash memory, with caches of one set
        hidden: whether a read goes on while the instructions of the line before run

    """
    machine = start_machine(firmware, counts=False)
    unicorn = machine._unicorn
    step, _ = begin_signal(machine, samples, None)
    caches = {"code": OrderedDict(), "data": OrderedDict()}
    kept = {"code": known.instruction_cache, "data": known.data_cache}
    total, since, before = 0, 0, None

    def use(name, address):
        line, entries = address // kept[name].line_bytes, caches[name]
        if line in entries:
            entries.move_to_end(line)
            return False
        entries[line] = True
        if len(entries) > kept[name].bytes // kept[name].line_bytes:
            entries.popitem(last=False)
        return True

    def code(_core, address, size, _data):
        nonlocal total, since, before
        for half in range(address, address + size, 2):
            if use("code", half):
                jumped = before != address
                free = since if hidden and not jumped else 0
                total += max(0, known.wait_states - free)
                since = 0
        since += 1
        before = address + size

    def data(_core, _kind, address, _size, _value, _data):
        nonlocal total
        total += known.wait_states if use("data", address) else 0

    spans = [(start, start + len(part)) for start, part in machine.image.segments]
    first, last = min(spans)[0], max(end for _, end in spans)
    for number, _ in enumerate(push_all(machine, len(samples), step)):
        if number + 1 == -(-len(samples) // step) // 2:
            machine.core.hook_add(unicorn.UC_HOOK_CODE, code, None, first, last)
            machine.core.hook_add(unicorn.UC_HOOK_MEM_READ, data, None, first, last)
            machine.core.ctl_flush_tb()
    return total


@pytest.mark.emulator
@pytest.mark.parametrize("wait_states", [1, 5])
def test_interval_holds_cores_that_are_followed_step_by_step(
    wait_states, tmp_path, cache
):
    generate(small(), tmp_path)
    firmware = build(tmp_path, "cortex-m4", cache=cache)
    samples = signal(3, 3200)
    known = FlashReads(
        wait_states,
        16,
        "a sheet",
        True,
        instruction_cache=Cache(512, 16, 32),
        data_cache=Cache(64, 16, 4),
    )
    found = measure_flash_waits(firmware, samples, None, known)
    hop = start_machine(firmware, counts=False).facts().hop_length
    half = -(-len(samples) // hop) // 2 * hop
    seconds = (len(samples) - half) / 16000
    low, high = (waits * seconds for waits in found.with_caches)
    late = stepped(firmware, samples, known, hidden=False)
    early = stepped(firmware, samples, known, hidden=True)
    assert 0 < low <= early < late <= high < 3 * low
    # the line alone that was read last is a cache of one line, with reads anew at worst
    bare_low, bare_high = (waits * seconds for waits in found.without_caches)
    one = FlashReads(
        wait_states,
        16,
        "a sheet",
        True,
        instruction_cache=Cache(16, 16, 1),
        data_cache=Cache(16, 16, 1),
    )
    assert low < bare_low <= stepped(firmware, samples, one, True)
    assert stepped(firmware, samples, one, False) <= bare_high
    assert measure_flash_waits(firmware, samples, None, known) == found


def test_chips_whose_flash_memory_is_known():
    for name in ("stm32f407", "stm32l476", "stm32u575"):
        reads = TARGETS[name].flash_reads
        assert reads is not None and reads.has_cache and "ST" in reads.source
    # ST's RM0090: 64 lines of 128 bits for instructions, 8 for constants
    assert TARGETS["stm32f407"].flash_reads.instruction_cache.bytes == 64 * 16
    assert TARGETS["stm32f407"].flash_reads.data_cache.bytes == 8 * 16
    assert TARGETS["generic-m4-64k"].flash_reads is None


RIGHT = {"wait_states": 2, "read_bytes": 16, "source": "mine", "verified": True}


def test_own_flash_memory():
    made = parse_flash_reads(
        {**RIGHT, "shared_cache": {"bytes": 64, "line_bytes": 32, "ways": 2}}, "a.json"
    )
    assert made.shared_cache == Cache(64, 32, 2) and made.wait_states == 2
    assert not parse_flash_reads(RIGHT, "a.json").has_cache


@pytest.mark.parametrize(
    "change",
    [
        {"wait_states": 0},
        {"wait_states": True},
        {"read_bytes": 12},
        {"verified": 1},
        {"more": 1},
        {"data_cache": 3},
        {"data_cache": {"bytes": 64, "line_bytes": 8, "ways": 2}},
        {"data_cache": {"bytes": 100, "line_bytes": 16, "ways": 2}},
        {"data_cache": {"bytes": 64, "line_bytes": 16}},
        {
            name: {"bytes": 64, "line_bytes": 16, "ways": 2}
            for name in ("shared_cache", "data_cache")
        },
    ],
)
def test_wrong_flash_memory(change):
    with pytest.raises(BenchError, match=r"'flash_reads' in 'a\.json' must be") as told:
        parse_flash_reads({**RIGHT, **change}, "a.json")
    assert "\n" not in str(told.value)
    with pytest.raises(BenchError, match="must be an object"):
        parse_flash_reads([], "a.json")


@pytest.mark.emulator
def test_cores_of_qemu_are_refused(tmp_path, cache):
    generate(small(), tmp_path)
    firmware = build(tmp_path, "cortex-m55", cache=cache)
    with pytest.raises(BenchError, match="must be asked of a core that unicorn"):
        measure_flash_waits(firmware, signal(3, 1600), None, flash())
