"""The second file of a page: onnxruntime-web, and the models that it runs.

What a page computes is the firmware's C; with this file it can let onnxruntime hear
the same samples and write the difference.
The page knows the digest of its file and takes no other.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wav2small.export.base.escape import line
from wav2small.export.base.reading import open_file

from ..errors import InputError

_PACKAGE = "onnxruntime-web"
_PARTS = {
    "script": "package/dist/ort.wasm.bundle.min.mjs",
    "wasm": "package/dist/ort-wasm-simd-threaded.wasm",
}
_ABOUT = "package/package.json"
_MOST_BYTES = 1 << 27
"""Most bytes of the package, and of a file in it."""
_MOST_FILES = 10_000


@dataclass(frozen=True)
class Runtime:
    """onnxruntime-web, packed for a page."""

    version: str
    """Its version."""

    packed: bytes
    """The second file: gzip of a line of JSON and of the parts that it lists."""

    @property
    def digest(self) -> str:
        """SHA-256 of the second file, in hexadecimal digits."""
        return hashlib.sha256(self.packed).hexdigest()


def pack_runtime(package: Path, models: Mapping[str, Path]) -> Runtime:
    """Make the second file of a page.

    Args:
        package: what ``npm pack onnxruntime-web`` downloads
        models: models of the page, files by name

    Raises:
        InputError: if it is another package, or one that cannot be read

    """
    try:
        with open_file(package, most=_MOST_BYTES) as file:
            found = _members(file)
            about = json.loads(found[_ABOUT])
            name, version = str(about["name"]), str(about["version"])
            parts = {key: found[member] for key, member in _PARTS.items()}
    except (
        OSError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        tarfile.TarError,
    ) as error:
        raise _no_package(package, line(error)) from error
    if name != _PACKAGE:
        raise _no_package(package, f"the package {line(name)}")
    for path in models.values():
        content = path.read_bytes()
        parts[hashlib.sha256(content).hexdigest()] = content
    head = json.dumps({key: len(part) for key, part in parts.items()})
    content = b"".join([head.encode(), b"\n", *parts.values()])
    return Runtime(line(version), gzip.compress(content, 9, mtime=0))


def _members(file: IO[bytes]) -> dict[str, bytes]:
    """Files of the package that are needed; each must be a file of a size that can be.

    Raises:
        ValueError: if there are too many or too large ones

    """
    wanted = {_ABOUT, *_PARTS.values()}
    found = {}
    with tarfile.open(fileobj=file, mode="r|gz") as archive:
        for count, member in enumerate(archive):
            if count > _MOST_FILES or member.size > _MOST_BYTES:
                raise ValueError("more or larger files than it has")
            content = archive.extractfile(member) if member.name in wanted else None
            if content:
                found[member.name] = content.read()
    return found


def _no_package(path: Path, got: str) -> InputError:
    return InputError(
        f"onnxruntime must be the file of 'npm pack {_PACKAGE}', "
        f"got {line(path)}: {got}: name another"
    )
