"""What a table says of clips beside their labels."""

from __future__ import annotations

import pytest

from wav2small.errors import InputError
from wav2small.suite.about import read_about


def test_a_table_says_what_it_knows_of_each_clip(tmp_path):
    table = tmp_path / "about.csv"
    other = tmp_path / "elsewhere" / "b.wav"
    table.write_text(
        f"File, Accent ,sentiment,more\na.wav,Scottish,,1\n{other},,positive,2\n"
    )
    found = read_about(table, [other, tmp_path / "a.wav", tmp_path / "c.wav"])
    assert found == {
        "accent": [None, "Scottish", None],
        "sentiment": ["positive", None, None],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,age\nx.wav,30\n", "table must name files of the labels, got none"),
        ("file,colour\na.wav,red\n", "table must have a column file and some of"),
        ("age\n30\n", "table must have a column file and some of"),
    ],
)
def test_a_table_that_says_nothing_is_refused(tmp_path, text, message):
    table = tmp_path / "about.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=message):
        read_about(table, [tmp_path / "a.wav"])
