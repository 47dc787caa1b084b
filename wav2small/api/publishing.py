"""A folder that holds all of a model, as hubs and people want it."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wav2small.export.base import checksums
from wav2small.export.base.errors import ExportError, ToolError, one_line
from wav2small.export.base.files import atomic_folder, check_output, replace_file
from wav2small.export.base.reading import read_bytes, read_json, read_text

from ..bundled import DEMO
from ..card import OWN, Known, write_card
from ..errors import InputError, LeftOutWarning
from ..models import bundled, find_onnx, is_student, load_model
from .exporting import chip_costs, export_model

if TYPE_CHECKING:
    from wav2small.export.base.progress import Progress

CLIPS = (
    "en_f2_p14_r107_007.opus",
    "en_m1_p85_r278_006.opus",
    "de_f4_p76_r231_047.opus",
)
"""Bundled clips that go with a model: synthetic speech, CC0-1.0."""

_BESIDE = ("model.yaml", "export.json", "export.md", "model.tflite")
_WHAT = {
    "model.onnx": "the model, front end inside",
    "model.yaml": "its outputs, for audonnx",
    "export.json": "how it was checked",
    "export.md": "the same as a page",
    "model.tflite": "for TensorFlow Lite Micro, from the log-mel map on",
    "checkpoint": "the student in floats, safetensors",
    "c99": "C that runs it piece by piece, with a self-test",
    "page.html": "hears the microphone in a browser, nothing is sent",
    "audio": "clips to try it with",
    checksums.MANIFEST: "SHA-256 of each file",
}


def publish(
    source: str | Path,
    out: str | Path,
    *,
    figures: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Write a folder with a model and all that belongs to it, needing no network.

    Card with the hub's YAML, ONNX, C, page, examples, checkpoint and checksums; what a
    model cannot have, or a package that is missing makes, is left out, with a warning.

    Args:
        source: model folder, ONNX file or bundled name; a run is exported first
        out: folder to write
        figures: JSON of ``wav2small evaluate --json``, told under the file's name
        overwrite: replace a folder that is there
        progress: called as it goes on

    Returns:
        the folder, and what is in it

    Raises:
        InputError: if model, figures or folder cannot be used

    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise InputError(
            f"'{out}' must not exist, got a folder: choose another or --overwrite"
        )
    check_output(out, folder=True)
    told = _read_figures(Path(figures)) if figures else {}
    with tempfile.TemporaryDirectory() as work:
        model = _find(source, Path(work) / Path(source).resolve().name, progress)
        with atomic_folder(out) as folder:
            _fill(folder, model, _name(source, model), told)
        return (out, *sorted(out.iterdir()))


def _find(source: str | Path, folder: Path, progress: Progress | None) -> Path:
    """Return the ONNX file of a model; of a run, after its export into a folder."""
    path = Path(source)
    whole = str(source) in bundled() or path.is_file() or (path / "model.onnx").exists()
    if not whole and is_student(path):
        made = export_model(source, folder, progress=progress)
        if made.result.failures:
            raise InputError(
                f"model must pass every check, failed {'; '.join(made.result.failures)}"
            )
        return made.paths[0]
    return find_onnx(source)


def _name(source: str | Path, model: Path) -> str:
    folder = model.resolve().parent.name
    return folder if model.name == "model.onnx" else Path(source).stem


def _read_figures(path: Path) -> dict[str, Mapping[str, Any]]:
    try:
        found = read_json(path)
        references = {
            key: value for key, value in found.items() if isinstance(value, Mapping)
        }
        return {path.stem: references}
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            f"figures must be what 'wav2small evaluate --json' writes: {path}: "
            f"{one_line(error)}"
        ) from error


def _fill(
    folder: Path, model: Path, name: str, figures: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write everything into a folder, the manifest last."""
    data = read_bytes(model)
    (folder / "model.onnx").write_bytes(data)
    for beside in _BESIDE:
        if model.name == "model.onnx" and model.with_name(beside).is_file():
            shutil.copyfile(model.with_name(beside), folder / beside)
    if model.name == "model.onnx" and (model.parent / "checkpoint").is_dir():
        shutil.copytree(model.parent / "checkpoint", folder / "checkpoint")
    metadata = _write_c(folder, data)
    _write_page(folder, name, model)
    clips = _write_clips(folder, model)
    replace_file(folder / "LICENSE", _licence())
    known = Known(
        name=name,
        bytes=len(data),
        metadata=metadata,
        selection=_selection(folder),
        checks=_checks(folder),
        figures=figures,
        costs=chip_costs(data),
        clips=clips,
        files=[(key, what) for key, what in _WHAT.items() if (folder / key).exists()],
        text=_own_text(model),
    )
    replace_file(folder / "README.md", write_card(known).encode())
    checksums.write(folder)


def _left_out(what: str, error: Exception) -> None:
    warnings.warn(f"{what} left out: {one_line(error)}", LeftOutWarning, stacklevel=2)


def _write_c(folder: Path, data: bytes) -> dict[str, str]:
    """Write the C, if there can be one; return what the model says of itself."""
    from wav2small.export.base import onnx_file
    from wav2small.export.c99 import generate

    metadata = {e.key: e.value for e in onnx_file.parse(data).metadata_props}
    try:
        generate(data, folder / "c99")
    except ExportError as error:
        shutil.rmtree(folder / "c99", ignore_errors=True)
        _left_out("C99", error)
    return metadata


def _write_page(folder: Path, name: str, model: Path) -> None:
    if not (folder / "c99").exists():
        return
    from ..live.page import make_page

    try:
        text = make_page({name: model})
    except (ExportError, ToolError) as error:
        _left_out("page", error)
    else:
        (folder / "page.html").write_text(text, "utf-8")


def _write_clips(folder: Path, model: Path) -> list[tuple[str, tuple[float, ...]]]:
    """Copy clips, and score them."""
    from .. import audio

    loaded = load_model(model)
    (folder / "audio").mkdir()
    found = []
    for name in CLIPS:
        shutil.copyfile(DEMO.with_name(name), folder / "audio" / name)
        (scores,) = loaded.predict([audio.load(DEMO.with_name(name))])
        found.append((f"audio/{name}", tuple(scores.tolist())))
    return found


def _licence() -> bytes:
    """Licence of the code; that of the weights is told by the card."""
    from wav2small.export.c99 import packages

    return (Path(packages.__file__).parent / "LICENSE").read_bytes()


def _selection(folder: Path) -> Mapping[str, Any] | None:
    try:
        found = read_json(folder / "checkpoint" / "config.json")
        return found.get("metrics") if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def _checks(folder: Path) -> Mapping[str, Any] | None:
    try:
        found = json.loads(read_text(folder / "export.json"))
        return found if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def _own_text(model: Path) -> str:
    """What the maker wrote, unless it is a card that is written anew."""
    path = model.with_name("README.md")
    if model.name != "model.onnx" or not path.is_file():
        return ""
    text = read_text(path)
    if text.startswith("---"):
        return text.partition(f"## {OWN}\n")[2]
    # links into the repository lead nowhere from here
    return re.sub(r"\[([^\]]*)\]\(\.\.[^)]*\)", r"\1", text).partition("\n")[2]
