import pytest

from wav2small.export.base.errors import BenchError
from wav2small.firmware_bench.limits import Limits


@pytest.mark.parametrize(
    "name",
    [
        "ram",
        "flash",
        "realtime_factor",
        "max_push_instructions",
        "max_slice_instructions",
        "max_result_instructions",
        "max_latest_instructions",
    ],
)
@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf")])
def test_limits_are_above_0(name, limit):
    assert getattr(Limits(**{name: 1}), name) == 1
    with pytest.raises(BenchError, match=f"{name} must be above 0, got {limit}"):
        Limits(**{name: limit})


@pytest.mark.parametrize("growth", [-0.1, float("nan"), float("inf")])
def test_growth_is_a_share(growth):
    assert Limits(growth=0).growth == 0
    with pytest.raises(BenchError, match=f"growth must be 0 or more, got {growth}"):
        Limits(growth=growth)


@pytest.mark.parametrize(
    ("limits", "needed"),
    [
        ({}, False),
        ({"ram": 1, "flash": 1, "realtime_factor": 1, "growth": 1}, False),
        ({"max_push_instructions": 1}, True),
        ({"max_slice_instructions": 1}, True),
        ({"max_result_instructions": 1}, True),
        ({"max_latest_instructions": 1}, True),
        ({"baseline": "x"}, True),
    ],
)
def test_some_limits_need_an_emulator(limits, needed):
    assert Limits(**limits).need_emulation is needed
