"""Earlier reports that are to be compared with."""

from __future__ import annotations

import json

import pytest

from wav2small.export.base.errors import BenchError
from wav2small.firmware_bench.report.baseline import load_baseline
from wav2small.firmware_bench.run.measurement import FIGURES

FOUND = dict.fromkeys(FIGURES, 5.5)


def report(figures=FOUND, **changes):
    cores = [{"core": "cortex-m4", "figures": figures}]
    firmware = {"counted_signal": {"sha256": "abc"}, "cores": cores}
    return {"firmware": {**firmware, **changes}}


def write(folder, entry):
    path = folder / "before.json"
    path.write_text(entry if isinstance(entry, str) else json.dumps(entry))
    return path


def test_figures_by_core(tmp_path):
    assert load_baseline(write(tmp_path, report()), "abc") == {"cortex-m4": FOUND}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{", "must be a report as JSON, got"),
        ("[" * 100000, "must be a report as JSON, got"),
        ([], "must hold figures of emulated cores, got none"),
        ({"firmware": None}, "must hold figures of emulated cores, got none"),
        ({"firmware": {}}, "must hold figures of emulated cores, got none"),
        (report(cores=[3]), "must hold figures of emulated cores, got none"),
        (report(figures={}), "must hold figures of emulated cores, got none"),
        (report(figures={**FOUND, "ram": 0}), "must hold finite figures above 0"),
        (
            report(figures={**FOUND, "push": float("inf")}),
            "must hold finite figures above 0, got push of inf",
        ),
        (
            report(figures={**FOUND, "flash": float("nan")}),
            "must hold finite figures above 0, got flash of nan",
        ),
        (report(figures={**FOUND, "ram": "much"}), "must hold figures of emulated"),
        (
            report(counted_signal={"sha256": "d"}),
            "must be counted on the same signal, got another",
        ),
    ],
)
def test_what_is_no_baseline(tmp_path, entry, message):
    with pytest.raises(BenchError, match=f"baseline 'before.json' {message}") as caught:
        load_baseline(write(tmp_path, entry), "abc")
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(BenchError, match=r"baseline 'none\.json' must be a report"):
        load_baseline(tmp_path / "none.json", "abc")
