import re
from xml.etree import ElementTree

import onnx
import pytest

from wav2small.firmware_bench.bench import bench
from wav2small.firmware_bench.limits import Limits
from wav2small.firmware_bench.report.document import to_html
from wav2small.firmware_bench.report.junit import to_junit
from wav2small.firmware_bench.report.markdown import to_markdown
from wav2small.firmware_bench.report.text import to_text
from wav2small.firmware_bench.target import Figure, Target
from wav2small.models import find_onnx

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1, time] x) => (float[1, m] y) { z = Exp(x) y = CumSum(z, k) }"""
TARGETS = [
    Target(
        "small",
        "cortex-m4",
        clock_hz=Figure(10**6, "sheet", True),
        ram_bytes=Figure(100, "sheet", True),
        flash_bytes=Figure(10**6, "hearsay", False),
    ),
    Target("large", "cortex-m55", ram_bytes=Figure(10**6, "sheet", True)),
]


def make(folder, name="small.onnx", node="", **options):
    model = onnx.parser.parse_model(TEXT.replace("CumSum(z, k)", "Neg(z)"))
    model.graph.node[0].name = node
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return bench(path, **options)


@pytest.fixture
def report(tmp_path):
    return make(tmp_path, targets=TARGETS, host=False)


def test_text(report):
    text = to_text(report)
    lines = text.splitlines()
    assert lines[0] == "small.onnx, window of 1 s: does not fit"
    (ram,) = (line for line in lines if line.startswith("small") and " RAM " in line)
    assert ram.split()[:6] == ["small", "RAM", "64,000", "B", "100", "B"]
    assert "DOES NOT FIT" in ram and "sheet" in ram
    (flash,) = (line for line in lines if line.startswith("small   flash"))
    assert "fits, unverified" in flash and "unverified: hearsay" in flash
    assert lines[-1].startswith("not counted: stack")
    assert "fits" in next(line for line in lines if line.startswith("large   RAM"))


def test_the_folder_names_a_model(tmp_path):
    folder = tmp_path / "wav2small-rt"
    folder.mkdir()
    text = to_text(make(folder, "model.onnx", host=False))
    assert text.startswith("wav2small-rt/model.onnx, window of 1 s")


def test_host_and_unknown_work_are_said(tmp_path):
    report = make(tmp_path)
    assert "ms (median of 30, one thread)" in to_text(report)
    report["host"]["memory_bytes"] = None
    report["compute"]["uncounted"] = ["FFT_3"]
    text = to_text(report)
    assert "memory not known" in text and "not known for FFT_3" in text
    assert "given limits" in text
    report["steps"][0]["macs"] = None
    assert "| ? |" in to_markdown(report)


def tables(markdown):
    """Cells of every table, by a parser of our own."""
    found = [[]]
    for line in markdown.splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def test_markdown(report):
    markdown = to_markdown(report)
    summary, checks, steps = tables(markdown)
    assert len(checks) == 2 + 6 and len(steps) == 2 + 2
    for table in (summary, checks, steps):
        assert len({len(row) for row in table if not row[0].startswith("---")}) == 1
    assert checks[2][:5] == ["small", "RAM", "64,000 B", "100 B", "DOES NOT FIT"]
    assert markdown.count("<details>") == markdown.count("</details>") == 1


def test_long_models_are_cut(report):
    report["steps"] *= 150
    markdown = to_markdown(report)
    assert "100 more steps are in the JSON." in markdown
    assert len(markdown.encode()) < 64 * 1024


def test_html(report):
    text = to_html(report)
    assert "<h1>small.onnx, window of 1 s: does not fit</h1>" in text
    (row,) = (
        part
        for part in text.split("<tr>")
        if ">64,000 B<" in part and ">small<" in part
    )
    assert '<th scope="row">small</th>' in row and "✗ DOES NOT FIT" in row
    # a bar shows twice the limit at most: the mark stands in its middle
    assert 'class="mark" x="48.27"' in row
    (drawing,) = re.findall(r'<svg class="plane".*?</svg>', text, re.DOTALL)
    rooms = re.findall(
        r'x="(\d+)" y="([\d.]+)" width="(\d+)" height="([\d.]+)"', drawing
    )
    blocks = report["arena"]["blocks"]
    assert len(rooms) == len(blocks)
    assert [float(height) for *_, height in rooms] == [b["bytes"] for b in blocks]
    assert [int(start) for start, *_ in rooms] == [b["first_step"] for b in blocks]


def test_html_of_measured_code():
    """RAM by its parts, and a row for each layer; the parts sum to the whole."""
    path = find_onnx("wav2small-rt-mini")
    report = bench(path, targets=["generic-m4-64k"], host=False)
    state = report["c99"]["plan"]["state"]
    layers = [("<b>one</b>", 1e6), ("two", 3e6)]
    core = {
        "core": "cortex-m4",
        "compiler": "c",
        "flags": [],
        "differing_bits": 0,
        "golden_vectors": "agree",
        "signals": [],
        "state_bytes": sum(state.values()),
        "stack_bytes": 1,
        "held_bytes": 0,
        "constant_bytes": 1,
        "figures": {
            "instructions": 4e6, "push": 1, "result": 1, "latest": 1,
            "ram": 2, "flash": 3,
        },
        "mean_push": 1,
        "slices": [],
        "duty": None,
        "classes": {"load": 1, "store": 3},
        "layers": [
            {"name": name, "instructions_per_second": count} for name, count in layers
        ],
        "cycles_per_second": [1e6, 2e6],
        "cycles_source": "manual",
    }  # fmt: skip
    report["firmware"] = {"cores": [core], "planned": [], "signals_left_out": []}
    text = to_html(report)
    assert "&lt;b&gt;one" in text and "<b>" not in text
    bars = re.findall(r'<svg class="bar".*?</svg>', text, re.DOTALL)
    widths = [
        [
            float(width)
            for width in re.findall(r'class="c\w" x="[\d.]+" width="([\d.]+)"', b)
        ]
        for b in bars
    ]
    (parts,) = (found for found in widths if len(found) == 6)
    assert sum(parts) == pytest.approx(100, abs=0.1)
    assert parts[0] == pytest.approx(parts[3] * state["lines"] / state["scratch"], 1e-2)
    assert widths[-2:] == [[pytest.approx(33.33)], [100.0]]
    assert "75.0%" in text and ">4.000<" in text


def test_junit(report):
    root = ElementTree.fromstring(to_junit(report))
    small, large = root.findall("testsuite")
    assert small.attrib == {
        "name": "small",
        "tests": "3",
        "failures": "1",
        "skipped": "0",
        "errors": "0",
    }
    by_name = {case.attrib["name"]: case for case in small}
    failure = by_name["ram"].find("failure")
    assert failure.attrib["message"] == (
        "needs 64,000 B (arena of the whole window, no C99), limit 100 B (sheet)"
    )
    assert by_name["flash"].find("skipped") is None  # decides, and is marked
    # flash memory and clock that nobody knows are no success
    assert large.attrib["errors"] == "2"
    assert large.attrib["failures"] == "0"
    assert [child.tag for child in large[0]] == ["system-out"]


def test_what_nobody_asked_for_is_skipped(tmp_path):
    report = make(tmp_path, limits=Limits(ram=10**6), host=False)
    (suite,) = ElementTree.fromstring(to_junit(report))
    assert (suite.attrib["skipped"], suite.attrib["errors"]) == ("2", "0")
    assert to_text(report).startswith("small.onnx, window of 1 s: fits\n")


def test_not_checked_is_a_verdict_of_its_own(tmp_path):
    report = make(tmp_path, targets=[Target("unknown", "cortex-m0")], host=False)
    for text in (to_text(report), to_markdown(report)):
        assert "window of 1 s: not checked\n" in text
        assert "fits" not in text.replace("does not fit", "")


def test_hostile_names_stay_text(tmp_path):
    report = make(
        tmp_path,
        name="a|b<img>]]>&.onnx",
        node="x | y\n\x1b[31m<script>",
        targets=[Target('"<t>"\x00', "cortex-m4")],
        host=False,
    )
    markdown = to_markdown(report)
    assert "<script>" not in markdown.replace(r"\<", "") and "\x1b" not in markdown
    assert r"x \| y" in markdown
    assert "<script>" not in to_html(report) and "<img" not in to_html(report)
    text = to_text(report)
    assert all(line.isprintable() for line in text.splitlines())
    root = ElementTree.fromstring(to_junit(report))
    assert root.find("testsuite").attrib["name"] == r'"<t>"\x00'
