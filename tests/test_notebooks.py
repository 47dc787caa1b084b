"""The notebooks: they are executed as a reader would, and hold no results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_hold_no_results(name: str) -> None:
    cells = json.loads((FOLDER / name).read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 4
    assert not [cell for cell in code if cell["outputs"] or cell["execution_count"]]


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_run(name: str, tmp_path: Path) -> None:
    for package in ("nbclient", "ipykernel"):
        pytest.importorskip(package, reason=f"no {package}: no notebook is run")
    if name == "on_the_chip.ipynb":
        for package in ("ziglang", "unicorn", "capstone"):
            pytest.importorskip(package, reason=f"no {package}: no emulation")
    code = (
        "import nbformat, sys; from nbclient import NotebookClient\n"
        "book = nbformat.read(sys.argv[1], 4); nbformat.validate(book)\n"
        "NotebookClient(book, timeout=600, kernel_name='this').execute()\n"
        "nbformat.write(book, 'made.ipynb')\n"
    )
    # a kernel of this environment, whatever others the machine has
    kernel = tmp_path / "jupyter" / "kernels" / "this"
    kernel.mkdir(parents=True)
    words = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    described = {"argv": words, "display_name": "this", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(described))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"JUPYTER_PATH": str(tmp_path / "jupyter"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(FOLDER / name)],
        cwd=tmp_path,
        env={
            **os.environ,
            **own,
            "PATH": path,
            "IPYTHONDIR": str(tmp_path / "ipython"),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    cells = json.loads((tmp_path / "made.ipynb").read_text())["cells"]
    assert [cell for cell in cells if cell.get("outputs")]
