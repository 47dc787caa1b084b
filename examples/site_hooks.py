"""What mkdocs has to be told of this repository; see mkdocs.yml and `make docs`.

Pages that live beside the code (README, cards, changelog) become pages of the site, the
command line and the public names are written down from the program itself, and links
are followed by the paths that they have in the repository.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import wav2small
import wav2small.data
import wav2small.labels
from wav2small.bundled import DEFAULT
from wav2small.cli import app
from wav2small.live.page import make_page
from wav2small.models import find_onnx

ROOT = Path(__file__).parent.parent
ASSETS = "wav2small/assets"
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "examples/ci/README.md": "ci.md",
    **{
        path.relative_to(ROOT).as_posix(): f"cards/{path.parent.name}.md"
        for path in sorted((ROOT / ASSETS).glob("**/README.md"))
    },
}
"""Pages of the site by their file in the repository, those of docs left out."""

NOTEBOOKS = ROOT / "examples" / "notebooks"
REPORT = "<!-- the report of this version -->"
"""What the page on reports has in place of one."""

LIVE = "<!-- the page of this version -->"
"""What the page on seeing a model live has in place of the model's page."""

LIVE_PAGE = "live-page.html"
"""The model's page on the site, which is built with the site and kept nowhere else."""

COPIES = ("gate.sh", "action.yml", "firmware.yml", "gitlab-ci.yml", "Jenkinsfile")
"""Files of ``examples/ci`` that the page about gates shows, to be copied."""

LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s]+)\)")
PICTURE = re.compile(r'(<img src=")([^"]+)')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in the folder of docs."""
    for source, target in PAGES.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    files.append(File.generated(config, "cli.md", content=command_line()))
    files.append(File.generated(config, "api.md", content=public_names()))
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        name = f"notebooks/{path.stem}.md"
        files.append(File.generated(config, name, content=notebook(path)))
    page = make_page({DEFAULT: find_onnx(DEFAULT)})
    files.append(File.generated(config, LIVE_PAGE, content=page))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Follow links from where the file is in the repository to where it is here."""
    target = page.file.src_uri
    source = {t: s for s, t in PAGES.items()}.get(target, f"docs/{target}")
    if target == "report.md":
        report = wav2small.bench("wav2small-rt", targets=["generic-m4-64k"])
        markdown = markdown.replace(REPORT, f"```text\n{report}\n```")
    if target == "live.md":
        markdown = markdown.replace(LIVE, embedded(LIVE_PAGE))
    if target == "ci.md":
        markdown += copies()
    return relink(markdown, source, target)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leave out the roles of Sphinx that docstrings carry for editors."""
    return re.sub(r":(?:func|class|data|mod|meth|attr):(?=<code>)", "", html)


def relink(markdown: str, source: str, target: str) -> str:
    """Return a page whose links lead to pages of the site.

    Args:
        markdown: the page
        source: its file in the repository, whose folder links are relative to
        target: its path on the site

    Returns:
        the page; what is in the repository and not on the site is named, not linked

    """

    def place_of(path: str) -> str:
        return posixpath.normpath(posixpath.join(posixpath.dirname(source), path))

    def here(place: str) -> str:
        return posixpath.relpath(place, posixpath.dirname(target) or ".")

    def show(found: re.Match[str]) -> str:
        return found[1] + here(place_of(found[2]).removeprefix("docs/"))

    def follow(found: re.Match[str]) -> str:
        text, link = found.groups()
        path, mark, anchor = link.partition("#")
        if not path or re.match(r"[a-z]+:", link):
            return found[0]
        place = place_of(path)
        if place in PAGES:
            place = PAGES[place]
        elif f"{place}/README.md" in PAGES:
            place = PAGES[f"{place}/README.md"]
        elif place.startswith("docs/"):
            place = place.removeprefix("docs/")
        elif (ROOT / place).exists():
            return f"{text[1:-1]} (`{place}`)" if text[1:-1] != place else f"`{place}`"
        else:
            raise FileNotFoundError(f"{source} links to {link}, which is not there")
        return f"{text}({here(place)}{mark}{anchor})"

    return PICTURE.sub(show, LINK.sub(follow, markdown))


def embedded(page: str) -> str:
    """Show a page that hears inside another, which must let it use the microphone."""
    return (
        f'<iframe src="{page}" title="The page of {DEFAULT}" allow="microphone" '
        'loading="lazy" style="width: 100%; height: 48rem; border: thin solid">'
        f'</iframe>\n\n<a href="{page}">The same page alone</a>, to be saved or kept.'
    )


def copies() -> str:
    """Write down the files that a project copies into its CI."""
    lines = ["", "## To be copied", ""]
    for name in COPIES:
        text = (ROOT / "examples" / "ci" / name).read_text()
        kind = {"gate.sh": "bash", "Jenkinsfile": "groovy"}.get(name, "yaml")
        lines += [f"### {name}", "", f"```{kind}", text.rstrip(), "```", ""]
    return "\n".join(lines)


def notebook(path: Path) -> str:
    """Write a notebook as a page, its code without results."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        text = "".join(cell["source"])
        code = cell["cell_type"] == "code"
        parts.append(f"```python\n{text}\n```" if code else text)
    where = path.relative_to(ROOT).as_posix()
    parts.insert(1, f"The notebook itself is `{where}`; the tests run it.")
    return "\n\n".join(parts) + "\n"


def command_line() -> str:
    """Write a section for each command, from the program's own help."""
    group: Any = typer.main.get_command(app)
    lines = ["# Command line", "", *(group.help or "").splitlines(), ""]
    for name, command in group.commands.items():
        lines += [f"## {name}", "", *(command.help or "").splitlines(), ""]
        lines += ["| argument or option | what | default |", "|---|---|---|"]
        for parameter in command.params:
            names = ", ".join(f"`{flag}`" for flag in parameter.opts)
            if parameter.param_type_name == "argument":
                names = f"`{parameter.name.upper()}`"
            what = parameter.help or ""
            default = parameter.default
            shown = (
                "" if default in (None, (), [], False) or callable(default) else default
            )
            if parameter.required:
                shown = "required"
            lines.append(f"| {names} | {cell(what)} | {cell(str(shown))} |")
        lines.append("")
    return "\n".join(lines)


def cell(text: str) -> str:
    """Keep a text in one cell of a table."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def public_names() -> str:
    """Write a section for each public name, filled in from its docstring."""
    lines = [
        "# Python",
        "",
        "`import wav2small` offers these names; each is imported when it is used.",
        "",
    ]
    for name, place in sorted(wav2small._PLACES.items()):
        module, _, attribute = place.partition(":")
        lines += [f"::: {module}.{attribute or name}", ""]
    for short in (wav2small.labels, wav2small.data):
        lines += [f"`import {short.__name__}` offers, for scripts:", ""]
        for name in sorted(short.__all__):
            lines += [f"::: {getattr(short, name).__module__}.{name}", ""]
    return "\n".join(lines)
