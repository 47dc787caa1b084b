"""Energy from cycles and what makers publish, against arithmetic by hand."""

import pytest

from wav2small.firmware_bench.cores import CORES
from wav2small.firmware_bench.energy import currents, energy
from wav2small.firmware_bench.target import TARGETS


def test_a_second_of_audio_on_a_chip():
    # 51.563 uA for each MHz at 3 V: 10 M cycles a second are 515.63 uA
    found = energy(TARGETS["nrf52840"], (10e6, 20e6))
    assert found.microamperes == pytest.approx((515.63, 1031.26))
    assert found.milliwatts == pytest.approx((1.54689, 3.09378))
    # 1 mA at 1.25 V is 1.25 mW
    assert found.aid_share == pytest.approx((1.237512, 2.475024))
    assert "3.3 mA" in found.source and found.verified


def test_hearsay_stays_marked():
    assert not energy(TARGETS["apollo3b"], (1e6, 1e6)).verified


def test_chips_by_core():
    for core in CORES:
        for chip in currents(core):
            assert chip.core == core and chip.supply_millivolts.value >= 1000
    assert {chip.name for chip in currents("cortex-m33")} >= {"nrf54l15", "stm32u575"}
    assert currents("cortex-m3") == []
