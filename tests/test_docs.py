"""What the pages say that a program can check: links, commands, options, sizes."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

from wav2small.cli import app
from wav2small.models import bundled

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "wav2small/**/*.md")
    for path in ROOT.glob(pattern)
    if "export" not in path.relative_to(ROOT).parts[:2]
)
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ +(.*)$", text, flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in headings
    }


def broken_links(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            found.append(target)
    return found


def command_lines(text: str) -> list[list[str]]:
    """Command lines of a page's code blocks, comments and prompts left out."""
    lines: list[str] = []
    joined, fenced = "", False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        if not (joined or fenced or line.startswith("    ")):
            continue
        joined += " " + line.strip().removeprefix("$ ").removesuffix("\\")
        if not line.endswith("\\"):
            lines.append(joined.split(" #")[0].strip())
            joined = ""
    found = []
    for line in lines:
        try:
            found.append(shlex.split(line))
        except ValueError:  # prose with an apostrophe
            continue
    return [words for words in found if words]


def wrong_words(words: list[str]) -> list[str]:
    """What a command line names that is not there."""
    if words[0] == "make" and len(words) > 1:
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
        return [word for word in words[1:2] if word not in targets and "=" not in word]
    if words[0] == "python" and len(words) > 1 and words[1].endswith(".py"):
        return [] if (ROOT / words[1]).is_file() else [words[1]]
    if words[0] != "wav2small" or len(words) < 2 or not words[1].isalpha():
        return []
    if words[1] not in COMMANDS:
        return [words[1]]
    known = {name for p in COMMANDS[words[1]].params for name in p.opts} | {"--help"}
    return [w for w in words if w.startswith("--") and w.partition("=")[0] not in known]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    assert not broken_links(ROOT / page)


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page: str) -> None:
    lines = command_lines((ROOT / page).read_text())
    assert not [wrong for words in lines for wrong in wrong_words(words)]


def unknown_imports(text: str) -> list[str]:
    """Names that a page's Python imports and that are not there."""
    found = []
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            try:
                module = importlib.import_module(node.module)
            except ImportError:
                found.append(node.module)
                continue
            missing = [a.name for a in node.names if not hasattr(module, a.name)]
            found += [f"{node.module}.{name}" for name in missing]
    return found


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in (ROOT / page).read_text()]
)
def test_imports_of_examples_exist(page: str) -> None:
    assert not unknown_imports((ROOT / page).read_text())


def references() -> dict[str, list[str]]:
    """Names of this package that docstrings refer to, with the files that do."""
    found: dict[str, list[str]] = {}
    for top in ("wav2small", "export", "firmware_bench", "examples"):
        for path in sorted((ROOT / top).rglob("*.py")):  # links are not followed
            for name in re.findall(
                r":[a-z]+:`~?(wav2small\.[\w.]*)`", path.read_text()
            ):
                found.setdefault(name, []).append(path.name)
    return found


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            fields = getattr(thing, "__dataclass_fields__", {})
            if not hasattr(thing, part):
                return part in fields
            thing = getattr(thing, part)
        return True
    return False


def test_docstrings_refer_to_what_is_there() -> None:
    found = references()
    assert len(found) > 50
    assert {name: files for name, files in found.items() if not resolves(name)} == {}
    assert not resolves("wav2small.gone")
    assert not resolves("wav2small.audio.gone")


@pytest.mark.parametrize("name", bundled())
def test_the_readme_says_the_size_of_each_bundled_model(name: str) -> None:
    size = (bundled()[name] / "model.onnx").stat().st_size
    for page in ("README.md", f"wav2small/assets/models/{name}/README.md"):
        assert f"{size:,}" in (ROOT / page).read_text(), page


def test_a_wrong_page_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Some title\n[a](page.md#some-title) [b](#nowhere) [c](gone.md)\n\n"
        "    wav2small bench x --emulate\n    $ wav2small bench x --no-such-option\n"
        "    wav2small nonsense\n    python examples/gone.py\n    make nothing\n"
        "    wav2small bench x \\\n      --neither  # --comment\n"
    )
    assert broken_links(page) == ["#nowhere", "gone.md"]
    lines = command_lines(page.read_text())
    assert [wrong for words in lines for wrong in wrong_words(words)] == [
        "--no-such-option",
        "nonsense",
        "examples/gone.py",
        "nothing",
        "--neither",
    ]
    page.write_text(
        "```python\nfrom wav2small.gone import x\n"
        "from wav2small import Stream, y\n```\n"
    )
    assert unknown_imports(page.read_text()) == ["wav2small.gone", "wav2small.y"]


def test_the_readme_is_short() -> None:
    """It is read by people who do not know yet whether they want to."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
