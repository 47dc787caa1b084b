"""The command that checks a model against budgets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wav2small.export.base.escape import to_json
from wav2small.firmware_bench.limits import Limits

from ..errors import InputError
from .terminal import (
    check_outputs,
    say,
    say_use,
    show,
    write_text,
)

if TYPE_CHECKING:
    import numpy as np


def bench(
    model: Annotated[
        str | None, typer.Argument(help="ONNX, its folder or a bundled name.")
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(
            help="Instead of MODEL: a student that is not trained yet, by name or by a "
            "JSON file with 'student' and 'config'; its weights are random."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or JSON file, see 'wav2small list targets'; "
            "the generic ones if neither target nor budget is given."
        ),
    ] = None,
    window: Annotated[
        float | None, typer.Option(help="Length of the signal, s.", min=0.01)
    ] = None,
    ram: Annotated[str | None, typer.Option(help="Budget, e.g. 24KiB.")] = None,
    flash: Annotated[str | None, typer.Option(help="Budget, e.g. 128KiB.")] = None,
    realtime_factor: Annotated[
        float | None,
        typer.Option(
            help="Budget: compute time over audio time; 1 of a target if not given.",
            min=0,
        ),
    ] = None,
    emulate: Annotated[
        bool,
        typer.Option(
            "--emulate",
            help="Build the model's C99 for each target's core, run it in an emulator "
            "and check what is measured.",
        ),
    ] = False,
    compiler: Annotated[
        str, typer.Option(help="zig, or arm-none-eabi-gcc where it is installed.")
    ] = "zig",
    max_push_instructions: Annotated[
        int | None,
        typer.Option(help="Budget of the most expensive push of one hop.", min=1),
    ] = None,
    max_result_instructions: Annotated[
        int | None, typer.Option(help="Budget of one result.", min=1)
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="Earlier report as JSON, whose figures may not grow."),
    ] = None,
    growth: Annotated[
        float,
        typer.Option(
            help="Share by which a figure may be above the baseline's.", min=0
        ),
    ] = Limits.growth,
    sources: Annotated[
        list[Path] | None,
        typer.Option(
            "--audio",
            help="Clips on which the core's results are compared with the "
            "reference's as well, at most 200, the first 5 s of each.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the report as JSON.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the report as Markdown.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(help="Write the checks as JUnit XML.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw what RAM is for (PNG).")
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Folder for memory.png, fit.png and, of emulated cores, layers.png."
        ),
    ] = None,
) -> None:
    """Check a model's memory and work against budgets.

    Exit code 0 if it fits, 1 if it does not,
    4 if nothing is too much and something that was asked could not be checked.
    """
    check_outputs(json_file, markdown, junit, picture, folders=[pictures])
    if (model is None) == (student is None):
        raise typer.BadParameter("either MODEL or --student is needed")
    instructions = (max_push_instructions, max_result_instructions)
    if not emulate and (any(instructions) or baseline or sources):
        raise typer.BadParameter(
            "--max-push-instructions, --max-result-instructions, --baseline and "
            "--audio need --emulate"
        )
    import tempfile

    from wav2small.firmware_bench.bench import bench as run
    from wav2small.firmware_bench.report.junit import to_junit
    from wav2small.firmware_bench.report.markdown import to_markdown
    from wav2small.firmware_bench.report.text import to_text
    from wav2small.firmware_bench.size import parse_size
    from wav2small.firmware_bench.target import DEFAULT_TARGETS

    from ..models import find_onnx

    has_limits = ram or flash or realtime_factor
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
            targets=target or (() if has_limits or emulate else DEFAULT_TARGETS),
            limits=Limits(
                ram=parse_size(ram) if ram else None,
                flash=parse_size(flash) if flash else None,
                realtime_factor=realtime_factor,
                max_push_instructions=max_push_instructions,
                max_result_instructions=max_result_instructions,
                baseline=baseline,
                growth=growth,
            ),
            emulate=emulate,
            compiler=compiler,
            audio=_clips(sources) if sources else None,
        )
    show(to_text(report))
    say_use(report["model"]["metadata"], "model")
    if json_file:
        write_text(json_file, to_json(report))
    if markdown:
        write_text(markdown, to_markdown(report))
    if junit:
        write_text(junit, to_junit(report))
    if picture or pictures:
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
    if not report["fits"]:
        raise typer.Exit(4 if report["fits"] is None else 1)


def _clips(sources: list[Path]) -> dict[str, np.ndarray]:
    """First seconds of clips as int16, by name."""
    import numpy as np

    from .. import audio

    _, found = audio.find(sources)
    clips = {}
    for number, source in enumerate(found[:: max(1, -(-len(found) // 200))]):
        try:
            signal = audio.beginning(source, 5.0)
        except audio.AudioError as error:
            say(f"warning: {error}")
            continue
        samples = np.clip(np.round(signal * 32768), -32768, 32767).astype(np.int16)
        clips[f"clip {number}"] = samples
    if not clips:
        raise InputError(
            f"audio must be clips that can be read, got none of {len(found)}: "
            "name others"
        )
    return clips
