"""Whatever a file calls its things, it stays text: a reader of each syntax says so."""

import csv
import html.parser
import io
import json
from pathlib import PurePosixPath
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from wav2small.export.base import escape

HOSTILE = (
    "*/ int x; /*", "\\\n*/", "??/", "a\x1b[2J\x9b31m\x07", "a\nb\r\nc\u2028d\x85e",
    "\u202egnp.exe", "=1+1", "@SUM(A1)", "-2+3", "\t=1", "</td><script>alert(1)",
    "| a | b |", "[x](javascript:alert(1))", "<img src=x onerror=y>", "`code`",
    "&lt;b&gt;", "~~a~~", "'", '"', "a: b\n- c", "!!python/object", "*alias", "\udcff",
    "\ud83d", "\U0001f600", "http://x.example", "# title", "1. one", "\x00", "\ufffe",
)  # fmt: skip
texts = st.text() | st.sampled_from(HOSTILE) | st.text(alphabet="*/\\?<>|[]()`_~&#\n ")


def hostile(function):
    for text in HOSTILE:
        function = example(text=text)(function)
    return given(text=texts)(function)


@hostile
def test_a_line_is_one_line(text):
    shown = escape.line(text)
    assert len(shown.splitlines()) <= 1 and not set(map(ord, shown)) & {
        0x1B,
        0x9B,
        0x7F,
    }
    assert all(ord(letter) >= 32 for letter in shown)
    shown.encode("utf-8")  # no half of a character
    if text.isascii() and text.isprintable():
        assert shown == text


@hostile
def test_lines_keep_their_ends_alone(text):
    assert escape.lines(f"a\n{text}\nb").count("\n") == 2 + text.count("\n")


@hostile
def test_a_comment_of_c_does_not_end(text):
    shown = escape.c_comment(text)
    assert not set(shown) & set("*/\\?\n\r\"'${}#;") and shown.isascii()


@hostile
def test_markdown_shows_the_text(text):
    plain = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    table = f"| h |\n|---|\n| x{escape.markdown(text)}x |\n"
    tokens = plain.parse(table)
    cells = [token for token in tokens if token.type == "inline"]
    assert [token.type for token in tokens].count("td_open") == len(cells) - 1 == 1
    kinds = {child.type for child in cells[1].children}
    assert kinds <= {"text", "text_special"}
    said = "".join(child.content for child in cells[1].children)
    assert said == f"x{escape.line(text)}x"


class Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.title = [], "", None

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.title = dict(attrs)["title"]

    def handle_data(self, data):
        self.text += data


@hostile
def test_html_shows_the_text(text):
    reader = Reader()
    reader.feed(f'<p title="{escape.html(text)}">{escape.html(text)}</p>')
    reader.close()
    assert reader.tags == ["p"]
    assert reader.text == reader.title == escape.line(text)


@hostile
def test_xml_can_hold_a_line(text):
    element = ElementTree.Element("a", name=escape.line(text))
    element.text = escape.line(text)
    read = ElementTree.fromstring(ElementTree.tostring(element))
    assert read.get("name") == (read.text or "") == escape.line(text)


@hostile
def test_yaml_is_the_text(text):
    whole = text.encode("utf-8", "replace").decode()
    if text == whole:
        assert yaml.safe_load(f"a: {escape.yaml(text)}\nb: 1") == {"a": text, "b": 1}
    assert escape.yaml(text).isascii() and "\n" not in escape.yaml(text)


@hostile
def test_a_cell_is_no_formula(text):
    out = io.StringIO()
    csv.writer(out).writerow([escape.csv_cell(text), escape.csv_path(text), "end"])
    ((cell, path, end),) = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert end == "end" and cell.removeprefix("'") in (text, text.removeprefix("'"))
    assert not cell.startswith(tuple("=+-@\t\r\n")) and not path.startswith(("=", "-"))
    assert PurePosixPath(path) == PurePosixPath(text)


@pytest.mark.parametrize("value", [None, 1, -2.5, True])
def test_other_cells_stay(value):
    assert escape.csv_cell(value) is value


def test_the_examples_of_the_docstrings():
    assert json.dumps(escape.line("a\x1b[31m\nb")) == r'"a\\x1b[31m\\nb"'
    assert escape.csv_path("=1+1.wav") == "./=1+1.wav"
