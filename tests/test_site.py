"""The site of docs: links, what is generated, and the tutorial, which has to work."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
import site_hooks
import typer

from wav2small import cli
from wav2small.bundled import DEMO

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("link", "source", "target", "expected"),
    [
        ("[a](docs/export.md)", "README.md", "index.md", "[a](export.md)"),
        ("[a](../README.md#b)", "docs/export.md", "export.md", "[a](index.md#b)"),
        (
            "[card](../../wav2small/assets/hearing/README.md)",
            "docs/lab/hearing.md",
            "lab/hearing.md",
            "[card](../cards/hearing.md)",
        ),
        ("[a](../examples/ci)", "docs/x.md", "x.md", "[a](ci.md)"),
        ("[a](https://b.org/c)", "docs/x.md", "x.md", "[a](https://b.org/c)"),
        ("[a](#b)", "docs/x.md", "x.md", "[a](#b)"),
        ("[here](../Makefile)", "docs/x.md", "x.md", "here (`Makefile`)"),
        ("![a](bytes.png)", "docs/export.md", "export.md", "![a](bytes.png)"),
        ('<img src="docs/a.png" b>', "README.md", "index.md", '<img src="a.png" b>'),
    ],
)
def test_links_are_followed(link: str, source: str, target: str, expected: str) -> None:
    assert site_hooks.relink(link, source, target) == expected


def test_a_link_that_leads_nowhere_ends_the_build() -> None:
    with pytest.raises(FileNotFoundError, match="not there"):
        site_hooks.relink("[a](nothing.txt)", "README.md", "index.md")


def test_every_command_and_option_is_on_the_page() -> None:
    page = site_hooks.command_line()
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    assert re.findall("^## (.+)$", page, re.M) == list(commands)
    options = {
        option
        for command in commands.values()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("-")
    }
    assert options == set(re.findall("`(-[^`]+)`", page))


def test_files_for_ci_and_notebooks_stand_on_pages() -> None:
    page = site_hooks.copies()
    for name in site_hooks.COPIES:
        text = (ROOT / "examples" / "ci" / name).read_text()
        assert f"### {name}" in page and text.rstrip() in page
    (path,) = (ROOT / "examples" / "notebooks").glob("first*.ipynb")
    page = site_hooks.notebook(path)
    assert page.startswith("# A first model") and "```python\nlabels = wav2" in page


@pytest.mark.parametrize(
    ("page", "mark"), [("report.md", site_hooks.REPORT), ("live.md", site_hooks.LIVE)]
)
def test_what_is_made_has_a_place_on_its_page(page: str, mark: str) -> None:
    assert (ROOT / "docs" / page).read_text().count(mark) == 1


def dead_ends(page: Path) -> list[str]:
    """What a built page links to or shows and that is not there."""
    found = re.findall(r"<[a-z]+[^>]* (?:src|href)=\"([^\"#?]+)", page.read_text())
    paths = {unquote(path) for path in found if not re.match("[a-z]+:", path)}
    return [
        f"{page.name}: {path}"
        for path in sorted(paths)
        if not (page.parent / path).exists()
    ]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", tmp_path],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    api = (tmp_path / "api.html").read_text()
    assert 'id="wav2small.api.steps.annotate"' in api
    assert ":func:" not in api
    assert 'id="wav2small.annotation.store.LabelStore"' in api
    report = (tmp_path / "report.html").read_text()
    assert "window of 1 s: fits" in report and site_hooks.REPORT not in report
    live = (tmp_path / "live.html").read_text()
    assert (
        f'<iframe src="{site_hooks.LIVE_PAGE}"' in live and site_hooks.LIVE not in live
    )
    page = (tmp_path / site_hooks.LIVE_PAGE).read_text()
    assert "<title>wav2small, live</title>" in page and "default-src 'none'" in page
    assert (tmp_path / "notebooks" / "first_model.html").exists()
    pages = [p for p in tmp_path.rglob("*.html") if p.name != "404.html"]
    assert not [lost for page in pages for lost in dead_ends(page)]
    # nothing is fetched from another host
    for page in pages:
        assert not re.findall(
            r"<(?:script|link|img)[^>]+(?:src|href)=.?https?:", page.read_text()
        )


def commands_of(page: str) -> list[str]:
    return re.findall(r"^    (wav2small .+)$", (ROOT / "docs" / page).read_text(), re.M)


@pytest.mark.slow
def test_the_tutorial_leads_to_the_chip(tmp_path: Path) -> None:
    rows = list(csv.DictReader(DEMO.open()))
    chosen = [row | {"file": str(DEMO.parent / row["file"])} for row in rows]
    with (tmp_path / "speech.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(chosen[0]))
        writer.writeheader()
        writer.writerows(chosen)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    commands = commands_of("tutorial.md")
    assert [line.split()[1] for line in commands] == [
        "annotate", "distill", "export", "evaluate", "bench",
    ]  # fmt: skip
    for line in commands:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert "fits" in done.stdout
    made = {"wav2small.c", "wav2small.h", "CMakeLists.txt", "main.c", "Makefile"}
    assert made <= {file.name for file in (tmp_path / "model" / "c99").iterdir()}
