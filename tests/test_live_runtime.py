"""The second file of a page: what is packed into it, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from conftest import Run

from wav2small.errors import InputError
from wav2small.live.runtime import pack_runtime
from wav2small.models import find_onnx

SCRIPT = "package/dist/ort.wasm.bundle.min.mjs"
WASM = "package/dist/ort-wasm-simd-threaded.wasm"
ABOUT = '{"name": "onnxruntime-web", "version": "1.2.3"}'


def package(path: Path, files: dict[str, str], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.type = kind
            member.size = len(text) if kind == tarfile.REGTYPE else 0
            member.linkname = "/etc/hostname"
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


FILES = {"package/package.json": ABOUT, SCRIPT: "export {}", WASM: "\0asm"}


def test_script_module_and_models_are_packed(tmp_path: Path) -> None:
    model = find_onnx("wav2small-rt-mini")
    path = package(tmp_path / "p.tgz", {"package/other": "x", **FILES})
    runtime = pack_runtime(path, {"wav2small-rt-mini": model})
    assert runtime.version == "1.2.3"
    assert runtime.digest == hashlib.sha256(runtime.packed).hexdigest()
    head, _, content = gzip.decompress(runtime.packed).partition(b"\n")
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    lengths = json.loads(head)
    assert list(lengths) == ["script", "wasm", digest]
    assert content == b"export {}\0asm" + model.read_bytes()
    assert sum(lengths.values()) == len(content)
    assert runtime == pack_runtime(path, {"wav2small-rt-mini": model})


@pytest.mark.parametrize(
    ("files", "kind", "expected"),
    [
        ({**FILES, "package/package.json": "[]"}, tarfile.REGTYPE, "list indices"),
        ({**FILES, "package/package.json": "{"}, tarfile.REGTYPE, "Expecting"),
        (
            {**FILES, "package/package.json": '{"name": "a\x1bb", "version": 1}'},
            tarfile.REGTYPE,
            "control character",
        ),
        (
            {**FILES, "package/package.json": '{"name": "other", "version": 1}'},
            tarfile.REGTYPE,
            "the package other",
        ),
        ({"package/package.json": ABOUT}, tarfile.REGTYPE, SCRIPT),
        (FILES, tarfile.SYMTYPE, "cannot extract (sym)link"),
        (FILES, tarfile.FIFOTYPE, "package.json"),
    ],
)
def test_another_package_is_refused(
    tmp_path: Path, files: dict[str, str], kind: bytes, expected: str
) -> None:
    path = package(tmp_path / "p.tgz", files, kind)
    with pytest.raises(InputError, match=r"onnxruntime must be the file of") as found:
        pack_runtime(path, {})
    assert expected in str(found.value) and str(found.value).isprintable()


def test_too_large_a_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    member = tarfile.TarInfo(WASM)
    member.size = 1 << 40
    path = tmp_path / "p.tgz"
    path.write_bytes(gzip.compress(member.tobuf() + bytes(1024)))
    with pytest.raises(InputError, match="more or larger files"):
        pack_runtime(path, {})


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"x" * 2000, mtime=0)],
    ids=["empty", "text", "gzip"],
)
def test_what_is_no_package_is_one_line(
    run: Run, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "p.tgz"
    path.write_bytes(content)
    out = tmp_path / "page.html"
    code, _, told = run("page", "wav2small-rt-mini", out, "--onnxruntime", path)
    assert code == 2 and told.count("\n") == 1 and "npm pack" in told
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_writes_the_second_file_beside_the_page(
    run: Run, tmp_path: Path
) -> None:
    path = package(tmp_path / "p.tgz", FILES)
    out = tmp_path / "page.html"
    code, _, told = run("page", "wav2small-rt-mini", out, "--onnxruntime", path)
    second = tmp_path / "page.onnxruntime"
    assert code == 0 and f"{second.stat().st_size:,} bytes" in told
    digest = hashlib.sha256(second.read_bytes()).hexdigest()
    page = out.read_text()
    assert f'"digest":"{digest}"' in page and '"file":"page.onnxruntime"' in page
    assert 'id="compare"' in page and len(page.encode()) <= 150_000
