import json

import pytest

from wav2small.export.base.errors import BenchError
from wav2small.firmware_bench.cores import CORES
from wav2small.firmware_bench.target import (
    DEFAULT_TARGETS,
    TARGETS,
    Figure,
    Target,
    load_target,
)


@pytest.mark.parametrize("name", TARGETS)
def test_every_figure_has_a_source(name):
    target = load_target(name)
    assert target is TARGETS[name] and target.name == name
    for figure in (target.clock_hz, target.ram_bytes, target.flash_bytes):
        if figure is not None:
            assert figure.value > 0 and len(figure.source) > 5
    assert "\n" not in target.summary and target.core in target.summary


@pytest.mark.parametrize("name", DEFAULT_TARGETS)
def test_defaults_decide(name):
    target = TARGETS[name]
    assert target.core in CORES
    for figure in (target.clock_hz, target.ram_bytes, target.flash_bytes):
        assert figure is not None and figure.verified
    assert f"{target.ram_bytes.value // 1024}k" in name


def test_hearsay_is_marked():
    assert not TARGETS["rsl15"].ram_bytes.verified
    assert "80 KiB? RAM" in TARGETS["rsl15"].summary
    assert "RAM unknown" in TARGETS["ezairo8300"].summary


def write(folder, entry):
    path = folder / "mine.json"
    path.write_text(entry if isinstance(entry, str) else json.dumps(entry))
    return path


def test_own_target(tmp_path):
    path = write(
        tmp_path,
        {
            "name": "aid",
            "core": "cortex-m33",
            "clock_hz": 48000000,
            "ram_bytes": "80KiB",
            "flash_bytes": {"value": "1MB", "source": "data sheet", "verified": False},
        },
    )
    assert load_target(path) == Target(
        "aid",
        "cortex-m33",
        "",
        Figure(48000000, "mine.json", True),
        Figure(81920, "mine.json", True),
        Figure(1000000, "data sheet", False),
    )
    small = load_target(write(tmp_path, {"name": "a", "core": "b"}))
    assert small.ram_bytes is None and "clock unknown" in small.summary


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ([], "must be an object with 'name' and 'core'"),
        ({"name": "a"}, "must be an object with 'name' and 'core'"),
        ({"name": "a", "core": "b", "ram": 3}, "must have the fields .*, got 'ram'"),
        ({"name": "", "core": "b"}, "'name' in 'mine.json' must be one line of text"),
        ({"name": "a", "core": 3}, "'core' in 'mine.json' must be one line of text"),
        ({"name": "a\nb", "core": "b"}, "'name' in 'mine.json' must be one line"),
        ({"name": "a", "core": "b", "ram_bytes": 0}, "'ram_bytes' .* must be a whole"),
        ({"name": "a", "core": "b", "ram_bytes": True}, "must be a whole number"),
        ({"name": "a", "core": "b", "clock_hz": "64KB"}, "must be a whole number"),
        ({"name": "a", "core": "b", "ram_bytes": {"value": 4}}, "must be a whole"),
        ({"name": "a", "core": "b", "ram_bytes": [1] * 99}, "must be a whole number"),
        ({"name": "a", "core": "b", "ram_bytes": "much"}, "size must be a whole"),
        ("{", "target 'mine.json' must be a JSON file"),
        ("[" * 100000, "target 'mine.json' must be a JSON file"),
    ],
)
def test_wrong_files(tmp_path, entry, message):
    with pytest.raises(BenchError, match=message) as caught:
        load_target(write(tmp_path, entry))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_unknown_targets(tmp_path):
    with pytest.raises(BenchError, match=r"must be one of generic-m4-64k, .*'nothing'"):
        load_target("nothing")
    with pytest.raises(BenchError, match=r"target 'none\.json' must be a JSON file"):
        load_target(tmp_path / "none.json")
