"""The page as a file: what it holds, what it allows, how large it is."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import Run

from wav2small.firmware_bench.plan.firmware import plan_firmware
from wav2small.live.page import make_page
from wav2small.models import bundled, find_onnx


class Parts(HTMLParser):
    """Scripts, styles and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.attributes: list[tuple[str, str, str | None]] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._inside = tag
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        if self._inside in self.texts:
            self.texts[self._inside].append(data)

    def handle_endtag(self, tag):
        self._inside = ""


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: make_page({name: find_onnx(name)}) for name in bundled()}


@pytest.mark.parametrize("name", bundled())
def test_a_page_has_at_most_150_kilobytes(name: str, pages: dict[str, str]) -> None:
    assert len(pages[name].encode()) <= 150_000


def test_the_policy_allows_what_is_in_the_page_and_nothing_else(
    pages: dict[str, str],
) -> None:
    parts = Parts(pages["wav2small-rt"])
    (policy,) = (
        value
        for _, name, value in parts.attributes
        if name == "content" and value and "-src" in value
    )
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split("; ")}
    assert rules["default-src"] == ["'none'"]
    for kind, text in (
        ("script-src", parts.texts["script"][-1]),
        ("style-src", parts.texts["style"][0]),
    ):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[kind][0] == f"'sha256-{digest}'"
        assert not {"'unsafe-inline'", "'unsafe-eval'", "*"} & set(rules[kind])
    assert "connect-src" not in rules and "img-src" not in rules


def test_a_page_names_no_address(pages: dict[str, str]) -> None:
    text = pages["wav2small-rt"]
    assert not re.search(r"(https?|wss?):", text)
    attributes = Parts(text).attributes
    assert not {"src", "href", "srcset", "action"} & {name for _, name, _ in attributes}
    assert not [name for _, name, _ in attributes if name.startswith("on")]


def test_a_name_of_a_model_stays_text(tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=alert(1)>\u202e"
    text = make_page({hostile: find_onnx("wav2small-rt-mini")})
    parts = Parts(text)
    assert len(parts.texts["script"]) == 2
    data = json.loads(parts.texts["script"][0])
    assert data["models"][0]["name"] == hostile.replace("\u202e", "\\u202e")
    assert "img" not in [tag for tag, _, _ in parts.attributes]


def test_the_costs_are_those_of_the_bench(pages: dict[str, str]) -> None:
    data = json.loads(Parts(pages["wav2small-rt"]).texts["script"][0])
    costs = {cost["target"]: dict(cost["facts"]) for cost in data["models"][0]["costs"]}
    planned = plan_firmware(find_onnx("wav2small-rt"))
    core = planned.on("cortex-m4")
    ram = planned.memory.state + core.stack_bytes
    shown = costs["generic-m4-64k"]
    assert shown["RAM"] == f"{ram:,} of 65,536 bytes"
    assert shown["Flash"] == f"{core.flash_bytes:,} of 262,144 bytes"
    millions = core.instructions_per_second / 1e6
    assert shown["Instructions"] == f"{millions:.1f} M per second of audio"
    assert costs["gap9"]["Instructions"] == "not known on this core"
    assert costs["gap9"]["Flash"].startswith("at least ")


def test_the_command_writes_a_page_of_several_models(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    code, _, told = run("page", "wav2small-rt", "wav2small-rt-mini", out)
    assert code == 0 and told.startswith("page: ")
    data = json.loads(Parts(out.read_text()).texts["script"][0])
    assert [model["name"] for model in data["models"]] == [
        "wav2small-rt",
        "wav2small-rt-mini",
    ]


@pytest.mark.parametrize("words", [["wav2small-rt"], ["no-such-model", "page.html"]])
def test_wrong_words_are_one_line(run: Run, tmp_path: Path, words: list[str]) -> None:
    code, out, told = run("page", *words)
    assert code == 2 and not out
    assert "error" in told.lower() and "Traceback" not in told


def test_a_folder_in_the_place_of_the_page_is_refused(run: Run, tmp_path: Path) -> None:
    code, _, told = run("page", "wav2small-rt", tmp_path)
    assert code == 2 and told.startswith("error: ") and told.count("\n") == 1
