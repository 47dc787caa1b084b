"""The main job on the bundled speech, command by command."""

from __future__ import annotations

import json
import shlex
import time
from contextlib import suppress
from pathlib import Path

import typer

from wav2small.firmware_bench.report.rows import VERDICTS

from ..adv import DIMENSIONS
from ..bundled import DEMO
from .annotation import annotate
from .benchmark import bench
from .distillation import distill
from .evaluation import evaluate
from .exporting import export
from .terminal import say, show

TARGET = "generic-m55-256k"
"""The target whose verdict the demo shows."""

WINDOW = 0.5
"""Length of the signal that memory is planned for, in seconds."""


def demo(out: Path) -> None:
    """Annotate, distil, export, bench and evaluate; end with a table.

    Args:
        out: folder for everything that is made; replaced if it is there

    """
    begun = time.monotonic()
    labels, run, model = out / "labels", out / "run", out / "model"
    _show("annotate", DEMO, labels, "--workers", 0, "--overwrite")
    annotate([DEMO, labels], workers=0, overwrite=True)
    _show("distill", labels, run, "--epochs", 45, "--crop", 1.5, "--overwrite")
    distill(labels, run, epochs=45, crop=1.5, overwrite=True)
    sizes = out / "bytes.png"
    most = "60KiB"
    _show(
        "export", run, model, "--calibration", DEMO, "--max-bytes", most,
        "--picture", sizes, "--overwrite",
    )  # fmt: skip
    export(
        str(run), model, calibration=[DEMO], max_bytes=most, picture=sizes,
        overwrite=True,
    )  # fmt: skip
    figures, agreement = out / "evaluation.json", out / "agreement.png"
    _show(
        "evaluate", model, labels, "--split", "test",
        "--json", figures, "--picture", agreement,
    )  # fmt: skip
    evaluate(str(model), labels, split="test", json_file=figures, picture=agreement)
    report, page, plan = out / "report.json", out / "report.md", out / "memory.png"
    _show(
        "bench", model, "--target", TARGET, "--window", WINDOW,
        "--json", report, "--markdown", page, "--picture", plan,
    )  # fmt: skip
    with suppress(typer.Exit):
        bench(
            str(model), target=[TARGET], window=WINDOW,
            json_file=report, markdown=page, picture=plan,
        )  # fmt: skip
    show()
    rows = [
        *_figures(run, model, figures, report),
        ("report", str(report)),
        ("pictures", f"{agreement}  {sizes}  {plan}"),
        ("run time", f"{time.monotonic() - begun:.0f} s"),
    ]
    for name, value in rows:
        show(f"{name:<22} {value}")


def _figures(
    run: Path, model: Path, figures: Path, report: Path
) -> list[tuple[str, str]]:
    """Return what was found out, row by row, from the files that were made."""
    measured = json.loads(report.read_text())
    (core,) = measured["c99"]["plan"]["cores"]
    agreement = json.loads(figures.read_text())["teacher"]
    config = json.loads((run / "best" / "config.json").read_text())
    concordance = [
        (f"CCC {name}", f"{agreement[name]['ccc']:.3f} to the teacher, unseen voices")
        for name in DIMENSIONS
    ]
    ram = f"{core['ram_bytes']:,} B, with what the caller holds of {WINDOW} s"
    return [
        ("teacher", f"{config['teacher']['name']} ({config['licence']})"),
        ("student", f"{config['student']}, int8"),
        *concordance,
        ("parameters", f"{_parameters(run):,}"),
        ("bytes on disk", f"{(model / 'model.onnx').stat().st_size:,}"),
        ("planned RAM", ram),
        (f"on {TARGET}", VERDICTS[measured["fits"]].lower()),
    ]


def _parameters(run: Path) -> int:
    from ..models import load_student

    module, _ = load_student(run)
    return sum(parameter.numel() for parameter in module.parameters())


def _show(*words: object) -> None:
    """Say the command that does the next step."""
    line = shlex.join(["wav2small", *map(str, words)])
    say("")
    say(f"$ {line}")
