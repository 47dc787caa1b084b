"""Which package may know which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("export", "firmware_bench")
"""Packages in a folder of their own, installed inside ``wav2small``."""

ALLOWED = {
    "wav2small": {"wav2small", "export.base"},
    "export": {"export", "export.base"},
    "firmware_bench": {"firmware_bench", "export", "export.base"},
}
"""What each package may import of them; the command line may all."""

FRONT = ("wav2small/cli/", "wav2small/api/", "wav2small/__init__.py")


def imports(path: Path) -> Iterator[str]:
    """Full names that a file imports, inside functions as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def owner(name: str) -> str | None:
    """The package of this project that an import belongs to."""
    first, second, third, *_ = [*name.split("."), "", ""]
    if first in PARTS:
        return f"{first} without wav2small"
    if first != "wav2small":
        return None
    if second == "export" and third == "base":
        return "export.base"
    return second if second in PARTS else first


def files() -> list[str]:
    return sorted(
        path.relative_to(ROOT).as_posix()
        for package in ALLOWED
        for path in (ROOT / package).rglob("*.py")  # links are not followed
    )


@pytest.mark.parametrize("file", files())
def test_borders_are_kept(file: str) -> None:
    package = file.partition("/")[0]
    allowed = ALLOWED[package]
    if file.startswith(FRONT):
        allowed = {name for names in ALLOWED.values() for name in names}
    crossed = {owner(name) for name in imports(ROOT / file)} - allowed - {None}
    assert not crossed, f"{file} must not import {crossed}"


@pytest.mark.parametrize("part", PARTS)
def test_each_part_is_seen_inside_the_package(part: str) -> None:
    assert (ROOT / "wav2small" / part).resolve() == ROOT / part
    assert any(file.startswith(f"{part}/") for file in files())
    assert not any(file.startswith(f"wav2small/{part}/") for file in files())


@pytest.mark.parametrize(
    "file",
    [f for f in files() if f.startswith(("firmware_bench/", "export/base/"))],
)
def test_the_bench_needs_no_torch(file: str) -> None:
    tops = {name.partition(".")[0] for name in imports(ROOT / file)}
    assert not tops & {"torch", "librosa", "onnxsim"}


def test_one_package_alone_can_be_run() -> None:
    runnable = [file for file in files() if file.endswith("__main__.py")]
    assert runnable == ["wav2small/__main__.py"]


def test_imports_are_seen(tmp_path: Path) -> None:
    source = tmp_path / "x.py"
    source.write_text("def f():\n    from torch.nn import Linear\n    import a.b\n")
    assert list(imports(source)) == ["torch.nn.Linear", "a.b"]


def test_owners_are_told_apart() -> None:
    assert owner("wav2small.export.integer.graph") == "export"
    assert owner("wav2small.export.base.files") == "export.base"
    assert owner("wav2small.audio") == "wav2small"
    assert owner("torch.nn") is None
    assert owner("export.graph") == "export without wav2small"
