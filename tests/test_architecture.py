"""Which package may know which."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
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

FRONT = ("wav2small/cli/", "wav2small/api/", "wav2small/live/", "wav2small/__init__.py")


def imports(path: Path) -> Iterator[str]:
    """Full names that a file imports, inside functions as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_name(file: str) -> str:
    """Name by which a file of this project is imported."""
    parts = file.removesuffix(".py").removesuffix("/__init__").split("/")
    return ".".join(parts if parts[0] == "wav2small" else ["wav2small", *parts])


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Everything in a tree but what is only there for a type checker."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from nodes(node)


def dependencies(file: str, text: str, modules: Iterable[str]) -> set[str]:
    """Modules of this project that a file imports, at the top or in functions."""
    name = module_name(file)
    package = name.split(".")
    if not file.endswith("__init__.py"):
        package.pop()
    found = set()
    for node in nodes(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*parts, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{source}.{alias.name}"
                found.add(full if full in modules else source)
    return (found & set(modules)) - {name}


def find_cycle(texts: dict[str, str]) -> list[str] | None:
    """Modules that import each other in a ring, None if there are none.

    Args:
        texts: Python code by name of the file

    """
    modules = {module_name(file) for file in texts}
    graph = {
        module_name(file): dependencies(file, text, modules)
        for file, text in texts.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle: list[str] = error.args[1]
        return cycle
    return None


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


def test_telemetry_is_off_wherever_a_session_is_opened() -> None:
    opening = [
        (file, text)
        for file in files()
        if "onnxruntime.InferenceSession(" in (text := (ROOT / file).read_text())
    ]
    assert len(opening) >= 2
    for file, text in opening:
        before = text.partition("onnxruntime.InferenceSession(\n")[0]
        assert "onnxruntime.disable_telemetry_events()" in before, file


def test_no_modules_import_each_other() -> None:
    assert find_cycle({file: (ROOT / file).read_text() for file in files()}) is None


@pytest.mark.parametrize(
    "back",
    [
        "from . import a",
        "from .a import x",
        "from wav2small.export import a",
        "import wav2small.export.a",
        "def f():\n    from wav2small.export.a import x",
    ],
)
def test_a_cycle_is_found(back: str) -> None:
    texts = {
        "export/__init__.py": "",
        "export/a.py": "from .c import b\nimport os",
        "export/c/__init__.py": "from . import b",
        "export/c/b.py": back.replace("from .", "from .."),
    }
    cycle = find_cycle(texts)
    assert cycle is not None
    assert {"wav2small.export.a", "wav2small.export.c.b"} <= set(cycle)
    texts["export/c/b.py"] = "import wav2small.export"
    assert find_cycle(texts) is None


def test_imports_for_a_type_checker_make_no_cycle() -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import b"
    assert find_cycle({"export/a.py": text, "export/b.py": "from . import a"}) is None


def test_one_package_alone_can_be_run() -> None:
    runnable = [file for file in files() if file.endswith("__main__.py")]
    assert runnable == ["wav2small/__main__.py"]


def product() -> dict[str, ast.Module]:
    return {file: ast.parse((ROOT / file).read_text()) for file in files()}


def test_files_are_short() -> None:
    lengths = {file: (ROOT / file).read_text().count("\n") for file in files()}
    assert {file: length for file, length in lengths.items() if length > 400} == {}


def test_functions_are_short() -> None:
    """But for five at most, each with its reason in its docstring."""
    long = [
        f"{file}:{node.name}"
        for file, tree in product().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert len(long) <= 5, long


def test_public_classes_have_names_of_their_own() -> None:
    names = Counter(
        node.name
        for tree in product().values()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    # the front end as a module of torch, and as the integer operator it becomes
    assert {name for name, count in names.items() if count > 1} == {"LogMel"}


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
