import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav2small.export.base.errors import BenchError
from wav2small.firmware_bench.size import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24KiB", 24576),
        ("128KB", 128000),
        ("61440", 61440),
        ("1.5MiB", 1572864),
        (" 2 mb ", 2000000),
        ("7 B", 7),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@given(st.integers(1, 2**40))
def test_plain_numbers_are_bytes(size):
    assert parse_size(str(size)) == size
    assert parse_size(f"{size}KiB") == 1024 * size


@pytest.mark.parametrize(
    "text",
    ["", "0", "-1", "1.5", "24K", "24 kibibytes", "KiB", "1e3", "nan", "1" * 400, "٣"],
)
def test_no_sizes(text):
    with pytest.raises(BenchError, match="size must be a whole number") as caught:
        parse_size(text)
    assert len(str(caught.value)) < 300
