"""The command that makes a checked ONNX file of a student."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..adv import SAMPLING_RATE
from ..progress import ProgressBar
from .options import Overwrite
from .terminal import check_outputs, fail, say, say_use, show

if TYPE_CHECKING:
    from wav2small.export.pipeline import Export

    from ..api.exporting import Exported

RunName = Annotated[str, typer.Argument(help="Run, checkpoint or bundled name.")]
ModelFolder = Annotated[Path, typer.Argument(help="Folder to write model.onnx into.")]
Precision = Annotated[Literal["int8", "fp32"], typer.Option(help="Arithmetic.")]
Window = Annotated[
    float | None,
    typer.Option(help="Fixed length of the signal, s; any length if not given."),
]
Calibration = Annotated[
    list[Path] | None,
    typer.Option(
        help="Speech that the int8 ranges are measured on; "
        "bundled synthetic speech if not given."
    ),
]
Noise = Annotated[
    Path | None,
    typer.Option(
        help="Recordings without speech: with them and --calibration the model learns "
        "to tell speech from other sounds."
    ),
]
MaxBytes = Annotated[
    str | None,
    typer.Option(
        help="Limit of the int8 file, or 'any'; large layers get 4 bits to keep "
        "it. 60KiB if not given, of the students for hearing aids."
    ),
]
TuneSteps = Annotated[
    int | None,
    typer.Option(
        help="Steps of quantisation-aware tuning; if not given, "
        "300 where rounding alone loses too much.",
        min=0,
    ),
]
Opset = Annotated[
    int, typer.Option(help="ONNX operators: 17, or 21 with a 4-bit type.")
]
Tflite = Annotated[
    bool,
    typer.Option(
        "--tflite",
        help="Write model.tflite as well: int8 log-mel in, for the window or 1 s.",
    ),
]
C99 = Annotated[
    bool,
    typer.Option(
        "--c99", help="Write c99/ as well: C that runs the model piece by piece."
    ),
]
Picture = Annotated[
    Path | None, typer.Option(help="Draw what the bytes are for (PNG).")
]


def export(
    run: RunName,
    out: ModelFolder,
    precision: Precision = "int8",
    window: Window = None,
    calibration: Calibration = None,
    noise: Noise = None,
    max_bytes: MaxBytes = None,
    tune: TuneSteps = None,
    opset: Opset = 17,
    tflite: Tflite = False,
    c99: C99 = False,
    picture: Picture = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a checked ONNX file of a student, and audonnx's model.yaml."""
    check_outputs(picture, folders=[out])
    if (tflite or c99) and precision != "int8":
        raise typer.BadParameter("--tflite and --c99 need --precision int8")
    with ProgressBar() as progress:
        from wav2small.export.pipeline import ExportConfig
        from wav2small.export.quantise.config import QuantConfig

        from ..api.exporting import export_model

        limit = _limit(run, max_bytes) if precision == "int8" else None
        made = export_model(
            run,
            out,
            config=ExportConfig(
                int8=precision == "int8",
                window=round(window * SAMPLING_RATE) if window else None,
                max_bytes=limit,
                tune_steps=tune,
                quantisation=QuantConfig(opset=opset),  # type: ignore[arg-type]
            ),
            calibration=calibration,
            noise=noise,
            tflite=tflite,
            c99=c99,
            overwrite=overwrite,
            progress=progress,
        )
    if picture:
        from wav2small.export.pictures import draw_budget

        draw_budget(made.result.parts, picture, limit)
        show(picture)
    _report(made, out)


def _limit(run: str, max_bytes: str | None) -> int | None:
    """Return the limit that was asked for, else that of the student."""
    from wav2small.firmware_bench.size import parse_size

    from ..api.exporting import default_config
    from ..models import find_checkpoint, load_student

    if max_bytes:
        return parse_size(max_bytes) if max_bytes != "any" else None
    _, described = load_student(find_checkpoint(run))
    return default_config(described["student"]).max_bytes


def _report(made: Exported, out: Path) -> None:
    """Say what was made, or end with what failed."""
    _say_figures(made.result)
    if made.result.failures:
        fail(
            f"model must pass every check, failed {'; '.join(made.result.failures)}: "
            f"nothing was written but {out / 'export.md'}"
        )
    say_use(made.metadata, "model")
    if made.c99_bytes is not None:
        from wav2small.firmware_bench.plan.firmware import plan_firmware

        held = plan_firmware(made.result.data).held_bytes_per_second
        also = f", and the caller holds {held:,} bytes for each second" * bool(held)
        say(f"C99 with {made.c99_bytes:,} bytes of state{also}")
    for path in made.paths:
        show(path)


def _say_figures(result: Export) -> None:
    """Say how large the file is and how near to the student."""
    say(f"{len(result.data):,} bytes")
    for name, entry in result.parity.executions.items():
        ccc = " ".join(f"{value:.4f}" for value in entry.concordance_cc)
        say(
            f"{name} execution against torch, {result.parity.signals} clips: "
            f"max error {entry.max_error:.4f}, CCC {ccc}"
        )
    if result.speech:
        auc, wrong = result.speech["auc_10_db"], result.speech["false_speech"]
        say(
            f"speech at 10 dB above noise: area under the curve {auc:.3f}; "
            f"{wrong:.1%} of noise is taken for speech"
        )
    if result.agreement:
        say(
            "onnxruntime against the integer graph: largest difference of a score "
            f"{max(result.agreement.score_error.values()):.5f}"
        )
