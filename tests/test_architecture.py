"""Which package may know which."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"wav2small", "export", "firmware_bench"}
ALLOWED = {
    "wav2small": set(),
    "export": set(),
    "firmware_bench": {"export"},
}
"""What each package may import of the others; the command line may all."""

FRONT = {"wav2small/cli.py", "wav2small/demo.py"}


def imports(path: Path) -> Iterator[str]:
    """Top-level names that a file imports, inside functions as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def files() -> list[str]:
    return sorted(
        path.relative_to(ROOT).as_posix()
        for package in OURS
        for path in (ROOT / package).rglob("*.py")
    )


@pytest.mark.parametrize("file", files())
def test_borders_are_kept(file: str) -> None:
    package = file.partition("/")[0]
    allowed = OURS if file in FRONT else ALLOWED[package]
    crossed = (set(imports(ROOT / file)) & OURS) - allowed
    assert not crossed, f"{file} must not import {crossed}"


@pytest.mark.parametrize(
    "file", [file for file in files() if file.startswith("firmware_bench")]
)
def test_the_bench_needs_no_torch(file: str) -> None:
    assert not set(imports(ROOT / file)) & {"torch", "librosa", "onnxsim"}


def test_no_module_shadows_the_users_own() -> None:
    assert not [file for file in files() if file.endswith("__main__.py")]


def test_imports_are_seen(tmp_path: Path) -> None:
    source = tmp_path / "x.py"
    source.write_text("def f():\n    from torch.nn import Linear\n    import a.b\n")
    assert list(imports(source)) == ["torch", "a"]
