"""Programs that something else built: sizes, calls on a core, and hostile files."""

from __future__ import annotations

import io
import json
import struct
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from wav2small.export.base.errors import BenchError
from wav2small.firmware_bench.limits import Limits
from wav2small.firmware_bench.programs import bench_program, is_program
from wav2small.firmware_bench.report.document import to_html
from wav2small.firmware_bench.report.junit import to_junit
from wav2small.firmware_bench.report.markdown import to_markdown
from wav2small.firmware_bench.report.program import ProgramReport
from wav2small.firmware_bench.report.schema import make_schema
from wav2small.firmware_bench.run import machine
from wav2small.firmware_bench.run.elf import read_elf
from wav2small.firmware_bench.run.program import ProgramMachine, measure_sizes
from wav2small.firmware_bench.run.toolchain import GCC, ZIG

for package in ("ziglang", "unicorn", "capstone", "elftools"):
    pytest.importorskip(package, reason=f"no {package}: no program is emulated")

from elftools.elf.elffile import ELFFile  # noqa: E402
from programs import CODE, STACK, build_program  # noqa: E402
from test_bench_toolchain import needs_gcc  # noqa: E402

pytestmark = pytest.mark.emulator

REFRESH = """
import json, pathlib
from wav2small.firmware_bench.report import program, schema
path = pathlib.Path(program.__file__).with_name("program.schema.json")
path.write_text(json.dumps(schema.make_schema(program.ProgramReport), indent=1) + "\\n")
"""


@pytest.fixture(scope="module", params=[ZIG, GCC])
def elf(request, tmp_path_factory) -> Path:
    if request.param == GCC:
        needs_gcc()
    return build_program(tmp_path_factory.mktemp("program"), request.param)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    return build_program(tmp_path_factory.mktemp("program"))


def verdicts(report: dict) -> dict[str, bool | None]:
    (budget,) = report["budgets"]
    return {check["name"]: check["passed"] for check in budget["checks"]}


def test_the_committed_schema_is_the_generated_one():
    committed = resources.files("wav2small.firmware_bench.report").joinpath(
        "program.schema.json"
    )
    made = json.dumps(make_schema(ProgramReport), indent=1) + "\n"
    assert committed.read_text() == made, f"run python -c '{REFRESH}'"


def test_the_reader_agrees_with_another(elf):
    found = read_elf(elf.read_bytes())
    other = ELFFile(io.BytesIO(elf.read_bytes()))
    there = {
        (part.name, part["sh_addr"], part["sh_size"])
        for part in other.iter_sections()
        if part["sh_flags"] & 2 and part["sh_size"]
    }
    assert {(s.name, s.address, s.bytes) for s in found.sections} == there
    loaded = [p for p in other.iter_segments() if p["p_type"] == "PT_LOAD"]
    assert [(p["p_paddr"], p.data(), p["p_vaddr"], p["p_memsz"]) for p in loaded] == [
        part[:4] for part in found.segments
    ]
    table = other.get_section_by_name(".symtab")
    for name in ("count", "deep", "times", "cleared"):
        (symbol,) = table.get_symbol_by_name(name)
        assert found.symbols[name].address == symbol["st_value"]
        assert found.symbols[name].size == symbol["st_size"]
    assert found.symbols["count"].function and found.symbols["times"].data
    assert found.architecture == 13


def test_sizes_are_those_of_the_sections(elf):
    sizes = measure_sizes(read_elf(elf.read_bytes()))
    # times, more, cleared and sum; data lie in flash memory too
    assert sizes.static_bytes == 4 + 12 + 200 + 4
    assert sizes.reserved_bytes == 0
    assert 200 + 16 < sizes.flash_bytes < 800


def test_instructions_and_stack_are_those_counted_by_hand(elf):
    core = ProgramMachine(read_elf(elf.read_bytes()), "cortex-m4")
    counted = core.run("count")
    assert (counted.instructions, counted.stack_bytes) == (3 + 20 + 1, 0)
    assert counted.functions == {"count": 24}
    assert core.run("deep").stack_bytes == 20
    # what the calls before left stays, and memory was as C expects it
    core.run("more_times")
    assert core.run("count").instructions == 3 + 2 * 11 + 1
    core.run("more_times")
    assert core.run("count").instructions == 3 + 2 * 112 + 1
    assert core.heap_bytes() == 0
    core.run("heap")
    assert core.heap_bytes() == 41


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("chip", "use of 0x40021000, no memory of the program"),
        ("astray", "a jump to 0x70000000, no memory of the program"),
        ("spin", "no end"),
        ("gone", "must have the function 'gone', got none"),
        ("bad\nname", "must have the function"),
        ("times", "must return, got"),
    ],
)
def test_a_function_that_does_not_return(function, message, built, monkeypatch):
    monkeypatch.setattr(machine, "MAX_SECONDS", 0.2)
    with pytest.raises(BenchError, match=message) as caught:
        bench_program(built, calls=[function])
    assert "\n" not in str(caught.value)


def test_a_report_of_calls(built, tmp_path):
    calls, limits = ["count", "deep"], Limits(max_call_instructions=20)
    report = bench_program(
        built, calls=calls, targets=["generic-m4-64k"], limits=limits
    )
    jsonschema.validate(report, make_schema(ProgramReport))
    assert report["cores"][0]["figures"]["ram"] == 220 + 20
    assert verdicts(report) == {
        "ram": True,
        "flash": True,
        "instructions of count": False,
        "instructions of deep": True,
    }
    assert report["fits"] is False
    assert "| .bss | 0x200000" in to_markdown(report)
    assert '<th scope="row">.bss</th><td>0x200000' in to_html(report)
    assert 'failures="1"' in to_junit(report)


@pytest.mark.parametrize(
    ("reserved", "calls", "ram"),
    [("", [], None), (STACK, [], True), (STACK, ["deep"], True)],
)
def test_ram_is_not_checked_without_a_stack(reserved, calls, ram, tmp_path):
    program = build_program(tmp_path, reserved=reserved)
    report = bench_program(program, calls=calls, limits=Limits(ram=800))
    assert verdicts(report)["ram"] is ram and report["fits"] is ram
    stack = 20 if calls else 512 if reserved else 0
    assert report["cores"][0]["figures"]["ram"] == 220 + stack


def test_a_core_that_is_too_old_or_not_emulated(built):
    target = {"name": "old", "core": "cortex-m3"}
    path = built.with_name("old.json")
    path.write_text(json.dumps(target))
    with pytest.raises(BenchError, match="must be built for cortex-m3 or an older"):
        bench_program(built, targets=[path])
    report = bench_program(
        built, calls=["count"], targets=["generic-m55-256k"],
        limits=Limits(max_call_instructions=99),
    )  # fmt: skip
    assert verdicts(report) == {
        "ram": None,
        "flash": True,
        "instructions of count": None,
    }
    assert report["fits"] is None


def test_growth(built, tmp_path):
    before = tmp_path / "before.json"
    first = bench_program(built, calls=["count"])
    before.write_text(json.dumps(first))
    limits = Limits(baseline=before)
    assert bench_program(built, calls=["count"], limits=limits)["fits"]
    grown = build_program(
        tmp_path / "grown", code=CODE.replace("times = 10", "times = 11")
    )
    found = bench_program(grown, calls=["count"], limits=limits)
    assert found["fits"] is False
    failed = [name for name, passed in verdicts(found).items() if passed is False]
    assert failed == ["growth of instructions of count"]
    # a function that is no longer called is no success
    assert bench_program(built, limits=limits)["fits"] is None
    before.write_text('{"cores": [{"core": "cortex-m4", "figures": {"ram": "x"}}]}')
    with pytest.raises(BenchError, match="must hold finite figures of a program's"):
        bench_program(built, limits=limits)


@pytest.fixture
def run() -> Callable[..., int]:
    from wav2small.cli import main

    def call(*words: object) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["wav2small", *map(str, words)])
            try:
                main()
            except SystemExit as done:
                return int(done.code or 0)
        return 0

    return call


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--call", "count"], 0),
        (["--call", "count", "--ram", "100"], 1),
        (["--call", "gone"], 2),
        (["--ram", "20KiB"], 4),
        (["--flash", "20KiB"], 0),
        (["--emulate"], 2),
        (["--compiler", "arm-none-eabi-gcc"], 2),
        (["--realtime-factor", "1"], 2),
    ],
)
def test_the_command_line(words, code, built, run, capsys):
    assert run("bench", built, *words) == code
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert ("firmware.elf" in printed.out) == (code != 2)


def test_a_call_needs_a_program(run, capsys):
    assert run("bench", "wav2small-rt-mini", "--call", "count") == 2
    assert "needs an ELF file" in capsys.readouterr().err


def test_what_is_no_program(tmp_path, built):
    path = tmp_path / "x.elf"
    assert not is_program(path) and not is_program(tmp_path)
    path.write_bytes(b"\x7fELF")
    assert is_program(path) and is_program(built)
    with pytest.raises(BenchError, match="must be an ELF file for a Cortex-M, got"):
        bench_program(path)
    with pytest.raises(BenchError, match="one for another processor"):
        bench_program(sys.executable)


HEADER = 52
SEGMENTS_AT, SECTIONS_AT, SEGMENT_COUNT, SECTION_COUNT = 28, 32, 44, 48


def patched(data: bytes, place: int, form: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, place, value)
    return bytes(changed)


def hostile(data: bytes) -> dict[str, bytes]:
    """Files that claim what cannot be, by what they claim."""
    segments = struct.unpack_from("<I", data, SEGMENTS_AT)[0]
    elf = ELFFile(io.BytesIO(data))
    table = elf.get_section_by_name(".ARM.attributes")
    first = table["sh_offset"] + 1
    return {
        "a library": patched(data, 16, "<H", 3),
        "64 bits": patched(data, 4, "<B", 2),
        "other order": patched(data, 5, "<B", 2),
        "too many sections": patched(data, SECTION_COUNT, "<H", 0xFFFF),
        "sections beyond the end": patched(data, SECTIONS_AT, "<I", 0xFFFFFFFF),
        "segments beyond the end": patched(data, SEGMENTS_AT, "<I", 0xFFFFFF00),
        "names that are not there": patched(data, 50, "<H", 0xFFFF),
        "4 GiB of memory": patched(data, segments + 20, "<I", 0xFFFFFFFF),
        "1 GiB of memory": patched(data, segments + 20, "<I", 0x40000000),
        "content beyond the end": patched(data, segments + 16, "<I", 0x40000000),
        "the core's registers": patched(data, segments + 8, "<I", 0xE000E000),
        "the bench's stack": patched(data, segments + 8, "<I", 0x9FE80000),
        "attributes of no length": patched(data, first, "<I", 0),
        "attributes without an end": data[: first + 11]
        + b"\xff" * (table["sh_size"] - 12)
        + data[first + table["sh_size"] - 1 :],
    }


def test_hostile_files_end_with_a_line(built, monkeypatch):
    monkeypatch.setattr(machine, "MAX_SECONDS", 0.2)
    refused = 0
    for claim, data in hostile(built.read_bytes()).items():
        path = built.with_name("hostile.elf")
        path.write_bytes(data)
        try:
            bench_program(path, calls=["count"])
        except BenchError as error:
            refused += 1
            assert "\n" not in str(error), claim
    assert refused >= 12


def test_damaged_files_end_with_a_line_or_a_report(built, monkeypatch):
    monkeypatch.setattr(machine, "MAX_SECONDS", 0.05)
    data = built.read_bytes()
    random = np.random.default_rng(0)
    path = built.with_name("damaged.elf")
    outcomes = set()
    for trial in range(300):
        changed = bytearray(data)
        # the parts that say what there is, more often than the rest
        last = HEADER + 96 if trial % 2 else len(data)
        for place in random.integers(0, last, random.integers(1, 9)):
            changed[place] = random.integers(256)
        if trial % 5 == 0:
            del changed[random.integers(1, len(data)) :]
        path.write_bytes(changed)
        try:
            outcomes.add(bench_program(path, calls=["count"])["fits"])
        except BenchError as error:
            assert str(error).isprintable()
            outcomes.add("refused")
    assert outcomes >= {True, "refused"}
