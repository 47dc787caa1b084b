"""Documents: other people's text stays text, and nothing is loaded or run."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from wav2small.export.base import document as made
from wav2small.export.base import drawings

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "</style><svg/onload=alert(1)>",
    "a\x1b[31m\u202eb\x00",
    "&lt;b&gt;",
)


class Page(HTMLParser):
    """Elements of a page, its texts, its style; fails where one is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.style = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["style"]:
            self.style += data
        else:
            self.text += data


def everything(text: str) -> str:
    """A document whose every text is the same."""
    return made.document(
        text,
        [
            made.heading(text),
            made.paragraph(text, "note"),
            made.table(
                text,
                (text, text),
                [[text, made.Cell(text, "n", made.bar([]), text)]],
            ),
            made.details(text, made.paragraph(text)),
            made.key({"0": text}),
            made.panels(
                [
                    made.figure(drawings.scatter(text, [0.5], [0.5]), text),
                    made.figure(drawings.stairs(text, [("0", [0.5, 0.5])]), text),
                    made.figure(
                        drawings.plane(
                            text,
                            [drawings.DrawnBlock(text, "1", 0, 1, 0, 1)],
                            (2, 2),
                            1,
                        ),
                        text,
                    ),
                ]
            ),
        ],
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    plain, page = Page(everything("plain")), Page(everything(text))
    assert [tag for tag, _ in page.seen] == [tag for tag, _ in plain.seen]
    assert [set(names) for _, names in page.seen] == [
        set(names) for _, names in plain.seen
    ]
    shown = text
    for sign, code in (("\x1b", "\\x1b"), ("\u202e", "\\u202e"), ("\x00", "\\x00")):
        shown = shown.replace(sign, code)
    assert page.text == plain.text.replace("plain", shown)
    assert page.style == plain.style


def test_the_policy_allows_the_style_and_nothing_else() -> None:
    page = Page(everything("plain"))
    (policy,) = (
        names["content"]
        for _, names in page.seen
        if names.get("http-equiv") == "Content-Security-Policy"
    )
    code = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{code}'; "
        "base-uri 'none'; form-action 'none'"
    )
    attributes = {name for _, names in page.seen for name in names}
    assert not attributes & {"src", "href", "style"}
    assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in page.style and "@import" not in page.style


def test_a_bar_has_its_segments_one_after_the_other_and_a_mark() -> None:
    drawn = made.bar([made.BarPart("0", 0.25), made.BarPart("f", 0.5)], 0.6)
    found = re.findall(r'class="(\w+)" x="([\d.]+)" width="([\d.]+)"', drawn)
    assert found == [("c0", "0", "25"), ("cf", "25", "50"), ("mark", "59.25", "1.5")]


def test_numbers_stand_to_the_right_with_the_names_of_their_columns() -> None:
    text = made.table("t", ("a", "b"), [["x", made.Cell("1", "n")]])
    assert '<th scope="col">a</th><th scope="col" class="n">b</th>' in text
    assert '<th scope="row">x</th><td class="n">1</td>' in text
    assert "<thead>" in made.table("t", ("a", "b"), [])
    assert "<thead>" not in made.table("t", (), [["x", "y"]])


def test_what_takes_room_lies_over_time() -> None:
    block = drawings.DrawnBlock("b", "0", start=1, length=2, bottom=10, height=30)
    drawn = drawings.plane("p", [block], (5, 100), 90)
    assert 'viewBox="0 0 5 100"' in drawn
    assert 'x="1" y="60" width="2" height="30"' in drawn
    assert "M0 10H5" in drawn
