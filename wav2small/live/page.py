"""One HTML file in which the C of models hears what a browser hears.

The file holds everything: modules, scripts, styles, voices.
It loads nothing, and its content security policy allows nothing else.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from wav2small.export.base.document import common_style, digest
from wav2small.export.base.escape import line
from wav2small.export.integer.reader import read
from wav2small.export.model.further import category_names
from wav2small.firmware_bench.bench import bench
from wav2small.firmware_bench.plan.firmware import plan_firmware
from wav2small.firmware_bench.target import TARGETS

from .. import __version__
from ..adv import DIMENSIONS, NEUTRAL
from ..bundled import DEMO
from .costs import chip_costs
from .runtime import Runtime
from .wasm import compile_model

VOICES = {
    "A soft, slow, low voice": "en_m1_p12_r106_001.opus",
    "A lively, fast, high voice": "en_m1_p85_r278_006.opus",
}
"""Bundled synthetic speech that a page plays, by what it is called there."""

_SCRIPTS: tuple[str, ...] = ("sound.js", "view.js", "page.js")


def make_page(
    models: Mapping[str, Path],
    *,
    emulate: bool = False,
    runtime: tuple[str, Runtime] | None = None,
) -> str:
    """Make a page that hears with one or several models.

    Args:
        models: exported int8 models, files by name
        emulate: whether what a model costs on a chip is measured on emulated cores;
            if not, it is planned
        runtime: name of a second file that :func:`pack_runtime` made, and what is in
            it; with it the page can compare

    Returns:
        HTML that needs no other file

    Raises:
        ExportError: if there can be no C of a model
        BenchError: if there is no compiler, or the code cannot be compiled

    """
    worklet = _shortened(_read("worklet.js"))
    data: dict[str, Any] = {
        "version": __version__,
        "worklet": _base64(gzip.compress(worklet.encode(), 9, mtime=0)),
        "neutral": NEUTRAL,
        "models": [
            _describe(name, path, emulate=emulate) for name, path in models.items()
        ],
        "voices": [
            {"name": name, "data": _base64(DEMO.with_name(file).read_bytes())}
            for name, file in VOICES.items()
        ],
    }
    scripts, compare = _SCRIPTS, ""
    if runtime:
        name, second = runtime
        data["runtime"] = {
            "file": line(name),
            "version": second.version,
            "digest": second.digest,
        }
        scripts, compare = (*_SCRIPTS, "compare.js"), _read("compare.html")
    style = _shortened(common_style() + _read("page.css"))
    script = "\n".join(
        ['"use strict";', "{", *(_shortened(_read(name)) for name in scripts), "}"]
    )
    page = Template(_read("page.html").replace("$compare", compare).replace("\n<", "<"))
    return page.substitute(
        policy=_policy(script, style),
        style=style,
        # within a script, only this sign could end it
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        script=script,
    )


def _policy(script: str, style: str) -> str:
    """What the page may load and run: itself alone."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{digest(script)}' 'wasm-unsafe-eval' data:",
            f"style-src '{digest(style)}'",
            "base-uri 'none'",
            "form-action 'none'",
            # no text ever becomes markup or code
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _describe(name: str, path: Path, *, emulate: bool) -> dict[str, Any]:
    """Everything that a page knows of a model."""
    content = path.read_bytes()
    graph = read(content)
    module = compile_model(content)
    output = graph.tensors[graph.output]
    metadata = {entry.key: entry.value for entry in graph.model.metadata_props}
    report = bench(path, targets=tuple(TARGETS), host=False, emulate=emulate)
    return {
        "name": line(name),
        "wasm": _base64(gzip.compress(module.data, 9, mtime=0)),
        "bytes": len(module.data),
        "memory": module.memory_bytes,
        "forgets": module.forgets and not module.normalises,
        "speech": module.knows_speech and not module.normalises,
        "rate": graph.sampling_rate,
        "labels": DIMENSIONS,
        "categories": category_names(graph.model),
        "step": float(output.scale),
        "zeroPoint": int(output.zero_point),
        "lookAhead": plan_firmware(graph).look_ahead_seconds,
        "licence": line(metadata.get("licence", "unknown")),
        "use": line(metadata.get("use", "")),
        "digest": hashlib.sha256(content).hexdigest(),
        "costs": chip_costs(report),
    }


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _shortened(code: str) -> str:
    """Code without indentation and without lines that are comments alone."""
    lines = (part.strip() for part in code.splitlines())
    return "\n".join(part for part in lines if part and not part.startswith("//"))
