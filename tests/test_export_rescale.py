from fractions import Fraction

import integers
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav2small.export.base.errors import ExportError
from wav2small.export.integer.rescale import Rescale, fixed_scale, shift_right

factors = st.one_of(
    st.floats(2.0**-60, 2.0**22, width=32),
    st.sampled_from([0.5, 1.0, 2.0**22, 2.0**-30, 2.0**-62]),
)


@given(factors, st.integers(-(2**38), 2**38))
def test_equals_exact_rational_rounding(factor, integer):
    rescale = Rescale.of(factor, 2.0**38 - 1)
    assert rescale.before == 0
    if rescale.shift < 62:  # no bit of the factor is lost
        exact = Fraction(float(np.float32(factor))) * integer
        expected = (exact + Fraction(1, 2)).__floor__()
        assert int(rescale(np.int64(integer))) == expected


@given(
    st.floats(2.0**-60, 0.25, width=32),
    st.integers(38, 62),
    st.integers(-(2**62), 2**62),
)
def test_large_sums_lose_less_than_their_last_bits(factor, bits, integer):
    integer >>= 62 - bits
    largest = 2.0**bits - 1 if bits < 50 else 2.0**bits * (1 - 2.0**-50)
    rescale = Rescale.of(factor, largest)
    assert rescale.before == bits - 38
    exact = Fraction(float(np.float32(factor))) * integer
    lost = 2 ** (rescale.before - 1) * Fraction(float(np.float32(factor)))
    # bits that a shift of 62 cuts off the multiplier
    lost += Fraction(abs(integer), 2**rescale.before) / 2**62
    assert abs(int(rescale(np.int64(integer))) - exact) <= lost + Fraction(1, 2)


@given(
    st.floats(2.0**-100, 2.0**24, width=32, exclude_min=True),
    st.floats(0, 2.0**62),
    st.integers(-(2**62), 2**62),
)
def test_equals_the_page(factor, largest, integer):
    expected = integers.rescale_constants(factor, largest)
    if expected[1] < 1:
        with pytest.raises(ExportError, match=r"ratios above 0 and below 2 \*\* -?\d"):
            Rescale.of(factor, largest)
        return
    rescale = Rescale.of(factor, largest)
    assert (int(rescale.multiplier), int(rescale.shift), rescale.before) == expected
    integer = int(integer * min(1.0, largest / 2.0**62))
    assert int(rescale(np.int64(integer))) == integers.rescale(integer, rescale)


@given(st.integers(-(2**62), 2**62), st.integers(0, 62))
def test_shift_rounds_halves_up(integer, bits):
    expected = (Fraction(integer, 2**bits) + Fraction(1, 2)).__floor__()
    assert int(shift_right(np.int64(integer), bits)) == expected


def test_halves():
    assert shift_right(np.array([-3, -1, 1, 3]), 1).tolist() == [-1, 0, 1, 2]
    assert Rescale.of(0.5, 3)(np.array([-3, -1, 1, 3])).tolist() == [-1, 0, 1, 2]


def test_one_factor_for_each_output():
    rescale = Rescale.of(np.array([0.5, 2, 3], np.float32), 100)
    assert rescale(np.array([[10, 10, 10], [-3, -3, -3]])).tolist() == [
        [5, 20, 30],
        [-1, -6, -9],
    ]


@pytest.mark.parametrize(
    "factor", [0.0, -1.0, np.nan, np.inf, 2.0**23, [0.5, 2.0**24], 1e-60, []]
)
def test_factors_out_of_range(factor):
    with pytest.raises(ExportError, match=r"ratios above 0 and below 2 \*\* 23, got"):
        Rescale.of(np.array(factor), 1000)


@pytest.mark.parametrize("largest", [2.0**63, np.inf, np.nan])
def test_sums_out_of_range(largest):
    with pytest.raises(ExportError, match=r"sums must be below 2 \*\* 63, got up to"):
        Rescale.of(0.5, largest)


@given(st.floats(1e-30, 1e18))
def test_fixed_scale_has_thirty_bits(bound):
    steps = bound / fixed_scale(bound)
    assert 2**29 <= steps < 2**30
    assert np.frexp(fixed_scale(bound))[0] == 0.5


def test_fixed_scale_of_nothing():
    assert fixed_scale(0.0) == 2.0**-30
