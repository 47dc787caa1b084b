"""Tables of which nothing is known."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from wav2small import tables


def test_csv_by_lines(tmp_path):
    (tmp_path / "x").write_text('a,b\n\n1,"2\n3"\n', encoding="utf-8-sig")
    assert list(tables.read_csv(tmp_path / "x")) == [["a", "b"], ["1", "2\n3"]]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"x," * 1_000_000, "letters or more"),
        (b"x," * 2_000, "2001 columns are too many"),
        (b'"' + b"x\n" * 100_000, "line .*: field larger than"),
        (b'"x', "line 1: unexpected end of data"),
        (b"\xff\xfea", "can't decode byte 0xff"),
    ],
)
def test_wrong_csv(tmp_path, content, match):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=match):
        list(tables.read_csv(tmp_path / "x"))


def test_rows_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_ROWS", 10)
    (tmp_path / "x").write_text("a\n" + "1\n" * 11)
    with pytest.raises(ValueError, match="more than 10 rows"):
        list(tables.read_csv(tmp_path / "x"))
    pa.parquet.write_table(pa.table({"a": range(11)}), tmp_path / "y")
    for read in (tables.read_parquet, tables.read_footer):
        with pytest.raises(ValueError, match=r"its 11 rows or .* are too many"):
            read(tmp_path / "y")


@pytest.mark.parametrize("read", [tables.read_parquet, tables.read_footer])
def test_no_pipe_is_opened(tmp_path, read):
    os.mkfifo(tmp_path / "x")
    with pytest.raises(OSError, match="named pipe"):
        read(tmp_path / "x")


def test_parquet_is_what_arrow_reads(tmp_path):
    table = pa.table(
        {
            "text": ["a", None, "ü" * 1000, ""],
            "number": [1.5, -0.0, None, 3],
            "kind": pa.array(["x", "y", None, "x"]).dictionary_encode(),
            "bytes": [b"\xff", b"", None, b"1"],
        },
    ).replace_schema_metadata({"a": "b"})
    for dictionary in (True, False):
        pa.parquet.write_table(table, tmp_path / "x", use_dictionary=dictionary)
        read = tables.read_parquet(tmp_path / "x")
        assert read.schema.equals(table.schema, check_metadata=True)
        assert read.equals(table)
        some = tables.read_parquet(tmp_path / "x", ["kind", "text"])
        assert some.equals(table.select(["kind", "text"]))
    assert tables.read_footer(tmp_path / "x").num_rows == 4


def test_parquet_without_rows(tmp_path):
    table = pa.table({"text": pa.array([], pa.string())})
    pa.parquet.write_table(table, tmp_path / "x")
    assert tables.read_parquet(tmp_path / "x").equals(table)


def test_a_table_that_says_one_thing_a_thousand_times(tmp_path):
    # 2 GB of text in a few hundred bytes for each of a thousand rows
    text = np.random.default_rng(0).bytes(100_000).hex()
    column = pa.DictionaryArray.from_arrays(np.zeros(10_000, np.int32), [text])
    pa.parquet.write_table(pa.table({"text": column}), tmp_path / "x")
    assert (tmp_path / "x").stat().st_size < 500_000
    before = pa.total_allocated_bytes()
    with pytest.raises(ValueError, match="it takes more than 1024 MiB"):
        tables.read_parquet(tmp_path / "x")
    assert pa.total_allocated_bytes() - before < 50e6


def test_a_table_of_compressed_nothing(tmp_path):
    rows = np.zeros(2_000_000, "S600")  # 1.2 GB, compressed to a thousandth
    array = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(600), len(rows), [None, pa.py_buffer(rows)]
    )
    pa.parquet.write_table(
        pa.table({"x": array}), tmp_path / "x", compression="zstd", use_dictionary=False
    )
    assert (tmp_path / "x").stat().st_size < 2_000_000
    with pytest.raises(ValueError, match="bytes in memory are too many"):
        tables.read_parquet(tmp_path / "x")


@pytest.mark.parametrize("columns", [["b"], ["a"]])
def test_columns_are_there_once(tmp_path, columns):
    table = pa.table([[1], [2]], names=["a", "a"])
    pa.parquet.write_table(table, tmp_path / "x")
    with pytest.raises(ValueError, match="must be there once"):
        tables.read_parquet(tmp_path / "x", columns)


def test_damaged_parquet(tmp_path):
    pa.parquet.write_table(pa.table({"text": ["a"] * 100}), tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    for cut in (0, 4, len(whole) // 2, len(whole) - 1):
        (tmp_path / "x").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"."):
            tables.read_parquet(tmp_path / "x")
