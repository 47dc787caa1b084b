"""The command that checks a model against budgets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from wav2small.export.base.escape import to_json
from wav2small.firmware_bench.limits import Limits

from .options import read_beginnings
from .terminal import check_outputs, say, say_use, show, write_text

if TYPE_CHECKING:
    import numpy as np

ModelName = Annotated[
    str | None,
    typer.Argument(
        help="ONNX, its folder, a bundled name, or an ELF file for a Cortex-M."
    ),
]
StudentName = Annotated[
    str | None,
    typer.Option(
        help="Instead of MODEL: a student that is not trained yet, by name or by a "
        "JSON file with 'student' and 'config'; its weights are random."
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        help="Name or JSON file, see 'wav2small list targets'; "
        "the generic ones if neither target nor budget is given."
    ),
]
Window = Annotated[
    float | None, typer.Option(help="Length of the signal, s.", min=0.01)
]
Ram = Annotated[str | None, typer.Option(help="Budget, e.g. 24KiB.")]
Flash = Annotated[str | None, typer.Option(help="Budget, e.g. 128KiB.")]
RealtimeFactor = Annotated[
    float | None,
    typer.Option(
        help="Budget: compute time over audio time; 1 of a target if not given.",
        min=0,
    ),
]
Emulate = Annotated[
    bool,
    typer.Option(
        "--emulate",
        help="Build the model's C99 for each target's core, run it in an emulator "
        "and check what is measured.",
    ),
]
Compiler = Annotated[
    str, typer.Option(help="zig, or arm-none-eabi-gcc where it is installed.")
]
PushInstructions = Annotated[
    int | None,
    typer.Option(help="Budget of the most expensive push of one hop.", min=1),
]
SliceInstructions = Annotated[
    int | None,
    typer.Option(help="Budget of the most expensive push of 32 samples.", min=1),
]
LatestInstructions = Annotated[
    int | None, typer.Option(help="Budget of the latest scores.", min=1)
]
ResultInstructions = Annotated[
    int | None, typer.Option(help="Budget of one result.", min=1)
]
Calls = Annotated[
    list[str] | None,
    typer.Option(
        "--call",
        help="Of an ELF file: a function that takes no arguments, called on the "
        "emulated core; several are called in this order.",
    ),
]
CallInstructions = Annotated[
    int | None, typer.Option(help="Budget of each function of --call.", min=1)
]
Baseline = Annotated[
    Path | None,
    typer.Option(help="Earlier report as JSON, whose figures may not grow."),
]
Growth = Annotated[
    float,
    typer.Option(help="Share by which a figure may be above the baseline's.", min=0),
]
Audio = Annotated[
    list[Path] | None,
    typer.Option(
        "--audio",
        help="Clips on which the core's results are compared with the "
        "reference's as well, at most 200, the first 5 s of each.",
    ),
]
ReportJson = Annotated[
    Path | None, typer.Option("--json", help="Write the report as JSON.")
]
Markdown = Annotated[Path | None, typer.Option(help="Write the report as Markdown.")]
Html = Annotated[
    Path | None, typer.Option(help="Write the report as one page for a browser.")
]
Junit = Annotated[Path | None, typer.Option(help="Write the checks as JUnit XML.")]
MemoryPicture = Annotated[Path | None, typer.Option(help="Draw what RAM is for (PNG).")]
Pictures = Annotated[
    Path | None,
    typer.Option(
        help="Folder for memory.png, fit.png and, of emulated cores, layers.png."
    ),
]


def bench(
    model: ModelName = None,
    student: StudentName = None,
    target: Targets = None,
    window: Window = None,
    ram: Ram = None,
    flash: Flash = None,
    realtime_factor: RealtimeFactor = None,
    emulate: Emulate = False,
    compiler: Compiler = "zig",
    max_push_instructions: PushInstructions = None,
    max_slice_instructions: SliceInstructions = None,
    max_result_instructions: ResultInstructions = None,
    max_latest_instructions: LatestInstructions = None,
    call: Calls = None,
    max_call_instructions: CallInstructions = None,
    baseline: Baseline = None,
    growth: Growth = Limits.growth,
    sources: Audio = None,
    json_file: ReportJson = None,
    markdown: Markdown = None,
    html: Html = None,
    junit: Junit = None,
    picture: MemoryPicture = None,
    pictures: Pictures = None,
) -> None:
    """Check a model's memory and work against budgets.

    Exit code 0 if it fits, 1 if it does not,
    4 if nothing is too much and something that was asked could not be checked.
    """
    check_outputs(json_file, markdown, html, junit, picture, folders=[pictures])
    if (model is None) == (student is None):
        raise typer.BadParameter("either MODEL or --student is needed")
    from wav2small.firmware_bench.size import parse_size

    limits = Limits(
        ram=parse_size(ram) if ram else None,
        flash=parse_size(flash) if flash else None,
        realtime_factor=realtime_factor,
        max_push_instructions=max_push_instructions,
        max_slice_instructions=max_slice_instructions,
        max_result_instructions=max_result_instructions,
        max_latest_instructions=max_latest_instructions,
        max_call_instructions=max_call_instructions,
        baseline=baseline,
        growth=growth,
    )
    from wav2small.firmware_bench.programs import is_program

    if model and is_program(model):
        others = [window, realtime_factor, emulate, sources, picture, pictures]
        others += limits.instructions.values()
        if any(others) or compiler != "zig":
            raise typer.BadParameter(
                "an ELF file is held against --ram, --flash, --call, "
                "--max-call-instructions, --baseline and --growth alone"
            )
        report = _program_report(model, call or (), target or (), limits)
        _write(report, json_file, markdown, html, junit)
        _end(report)
    if call or max_call_instructions:
        raise typer.BadParameter("--call needs an ELF file, not a model")
    if not emulate and (limits.need_emulation or sources):
        raise typer.BadParameter(
            "--max-*-instructions, --baseline and --audio need --emulate"
        )
    report = _report(
        model, student, target or (), window, limits,
        emulate=emulate, compiler=compiler, audio=_clips(sources) if sources else None,
    )  # fmt: skip
    _write(report, json_file, markdown, html, junit)
    _draw(report, picture, pictures)
    _end(report)


def _end(report: dict[str, Any]) -> NoReturn:
    """End with the code that says whether it fits."""
    raise typer.Exit({True: 0, False: 1, None: 4}[report["fits"]])


def _program_report(
    path: str, calls: Sequence[str], targets: Sequence[str], limits: Limits
) -> dict[str, Any]:
    """Bench a program that something else built, and show the report."""
    from wav2small.firmware_bench.programs import bench_program
    from wav2small.firmware_bench.report.text import to_text

    report = bench_program(path, calls=calls, targets=targets, limits=limits)
    show(to_text(report))
    return report


def _report(
    model: str | None,
    student: str | None,
    targets: Sequence[str],
    window: float | None,
    limits: Limits,
    *,
    emulate: bool,
    compiler: str,
    audio: dict[str, np.ndarray] | None,
) -> dict[str, Any]:
    """Bench a model, or a student that is not trained yet, and show the report."""
    import tempfile

    from wav2small.firmware_bench.bench import bench as run
    from wav2small.firmware_bench.report.text import to_text
    from wav2small.firmware_bench.target import DEFAULT_TARGETS

    from ..models import find_onnx

    if not (targets or emulate or limits.of_memory_or_time):
        targets = DEFAULT_TARGETS
    with tempfile.TemporaryDirectory() as folder:
        if student:
            from .untrained import write_untrained

            path = write_untrained(student, Path(folder))
            say(f"{path.stem}: random weights: what it costs, not what it can")
        else:
            path = find_onnx(model or "")
        report = run(
            path,
            window_seconds=window,
            targets=targets,
            limits=limits,
            emulate=emulate,
            compiler=compiler,
            audio=audio,
        )
    show(to_text(report))
    say_use(report["model"]["metadata"], "model")
    return report


def _write(
    report: dict[str, Any],
    json_file: Path | None,
    markdown: Path | None,
    html: Path | None,
    junit: Path | None,
) -> None:
    """Write the report in the forms that were asked for."""
    from wav2small.firmware_bench.report.document import to_html
    from wav2small.firmware_bench.report.junit import to_junit
    from wav2small.firmware_bench.report.markdown import to_markdown

    forms = (
        (json_file, to_json),
        (markdown, to_markdown),
        (html, to_html),
        (junit, to_junit),
    )
    for path, to_form in forms:
        if path:
            write_text(path, to_form(report))


def _draw(report: dict[str, Any], picture: Path | None, pictures: Path | None) -> None:
    """Draw the pictures that were asked for."""
    if not (picture or pictures):
        return
    from wav2small.firmware_bench.report import pictures as drawing

    if picture:
        drawing.draw_memory(report, picture)
        show(picture)
    if pictures:
        pictures.mkdir(parents=True, exist_ok=True)
        drawing.draw_memory(report, pictures / "memory.png")
        drawing.draw_fit(report, pictures / "fit.png")
        if report["firmware"] and report["firmware"]["cores"]:
            drawing.draw_layers(report, pictures / "layers.png")
        show(pictures)


def _clips(sources: list[Path]) -> dict[str, np.ndarray]:
    """First seconds of clips as int16, by name."""
    import numpy as np

    from .. import audio

    _, found = audio.find(sources)
    signals = read_beginnings(found[:: max(1, -(-len(found) // 200))], 5.0)
    return {
        f"clip {number}": np.clip(np.round(signal * 32768), -32768, 32767).astype(
            np.int16
        )
        for number, signal in enumerate(signals)
    }
