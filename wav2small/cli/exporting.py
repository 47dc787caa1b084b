"""The command that makes a checked ONNX file of a student."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from wav2small.export.base.checksums import MANIFEST

from ..adv import DIMENSIONS, SAMPLING_RATE
from ..bundled import DEMO
from ..errors import InputError
from .options import Overwrite
from .terminal import (
    bar,
    bars,
    check_outputs,
    extra,
    fail,
    say,
    say_use,
    show,
    to_json,
    write,
)

if TYPE_CHECKING:
    import numpy as np


def export(
    run: Annotated[str, typer.Argument(help="Run, checkpoint or bundled name.")],
    out: Annotated[Path, typer.Argument(help="Folder to write model.onnx into.")],
    precision: Annotated[
        Literal["int8", "fp32"], typer.Option(help="Arithmetic.")
    ] = "int8",
    window: Annotated[
        float | None,
        typer.Option(help="Fixed length of the signal, s; any length if not given."),
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            help="Speech that the int8 ranges are measured on; "
            "bundled synthetic speech if not given."
        ),
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            help="Limit of the int8 file, or 'any'; large layers get 4 bits to keep "
            "it. 60KiB if not given, of the students for hearing aids."
        ),
    ] = None,
    tune: Annotated[
        int | None,
        typer.Option(
            help="Steps of quantisation-aware tuning; if not given, "
            "300 where rounding alone loses too much.",
            min=0,
        ),
    ] = None,
    opset: Annotated[
        int, typer.Option(help="ONNX operators: 17, or 21 with a 4-bit type.")
    ] = 17,
    tflite: Annotated[
        bool,
        typer.Option(
            "--tflite",
            help="Write model.tflite as well: int8 log-mel in, for the window or 1 s.",
        ),
    ] = False,
    c99: Annotated[
        bool,
        typer.Option(
            "--c99", help="Write c99/ as well: C that runs the model piece by piece."
        ),
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Draw what the bytes are for (PNG).")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a checked ONNX file of a student, and audonnx's model.yaml."""
    check_outputs(picture, folders=[out])
    if (tflite or c99) and precision != "int8":
        raise typer.BadParameter("--tflite and --c99 need --precision int8")
    with extra("train"):
        import torch

        from wav2small.export.pipeline import ExportConfig
        from wav2small.export.pipeline import export as make

        from ..students import student as find_student
    import onnx
    import onnxruntime

    from wav2small.export import package
    from wav2small.export.base.files import claim, replace_file
    from wav2small.export.quantise.calibrate import cut
    from wav2small.export.quantise.config import QuantConfig
    from wav2small.firmware_bench.budget import parse_size

    from .. import __version__, audio, checkpoint
    from ..models import find_checkpoint, load_student
    from ..teachers.licence import mark

    folder = find_checkpoint(run)
    module, config = load_student(folder)
    limit = find_student(config["student"]).max_bytes
    if max_bytes or precision != "int8":
        limit = parse_size(max_bytes) if max_bytes and max_bytes != "any" else None
    samples = round(window * SAMPLING_RATE) if window else None
    shortest = getattr(module, "min_samples")  # noqa: B009
    if samples is not None and samples < shortest:
        raise InputError(
            f"window must be at least {shortest / SAMPLING_RATE} s, got {window}"
        )
    with claim(out, "c99"):
        if (out / package.MODEL_FILE).exists() and not overwrite:
            raise InputError(
                f"'{out}' must not hold a model, got {package.MODEL_FILE}: "
                "choose another folder or --overwrite"
            )
        _, sources = audio.find(calibration or [DEMO])
        # evenly over the corpus: neighbours tend to be one speaker
        sources = sources[:: -(-len(sources) // 128)]
        signals: list[np.ndarray] = []
        with bar("read") as advance:
            for number, source in enumerate(sources):
                try:
                    signals.append(audio.beginning(source, 3.0))
                except audio.AudioError as error:
                    say(f"warning: {error}")
                advance(number + 1, len(sources))
        if samples:
            signals = list(cut(signals, samples))
        if len(signals) < 4:
            raise InputError(
                f"calibration must be at least 4 clips, got {len(signals)}: "
                "name more audio"
            )
        provenance = {
            "student": config["student"],
            "teacher": config["teacher"]["name"],
            "revision": config["teacher"]["revision"],
            "training_data": config["teacher"]["training_data"],
            "checkpoint": checkpoint.digest(folder),
            "wav2small": __version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
        }
        if members := config["teacher"].get("members"):
            provenance["members"] = [
                {key: member[key] for key in ("name", "revision", "licence")}
                for member in members
            ]
        metadata = {
            "sampling_rate": str(SAMPLING_RATE),
            "range": "0..1",
            "window": str(window) if window else "any",
            "normalisation": getattr(module, "normalisation", "per signal, inside"),
            "licence": config["licence"],
            "use": mark(config),
            "provenance": json.dumps(provenance, separators=(",", ":")),
        }
        say("exporting")
        with bars() as advance_named:
            made = make(
                module,
                signals,
                ExportConfig(
                    int8=precision == "int8",
                    window=samples,
                    max_bytes=limit,
                    tune_steps=tune,
                    quantisation=QuantConfig(opset=opset),  # type: ignore[arg-type]
                ),
                metadata=metadata,
                labels=DIMENSIONS,
                progress=advance_named,
            )
        versions = {"onnxruntime": onnxruntime.__version__, "torch": torch.__version__}
        result = {
            "precision": precision,
            "clips": len(signals),
            "licence": metadata["licence"],
            "use": metadata["use"],
            **made.to_dict(),
            "versions": versions,
        }
        # a report that takes another's place is not what its manifest lists
        (out / MANIFEST).unlink(missing_ok=True)
        write(out / "export.json", to_json(result))
        write(out / "export.md", made.to_markdown())
        if picture:
            with extra("report"):
                from wav2small.export.pictures import draw_budget

                draw_budget(made.parts, picture, made.size.limit if made.size else None)
            show(picture)
        say(f"{len(made.data):,} bytes")
        for name, entry in made.parity.executions.items():
            ccc = " ".join(f"{value:.4f}" for value in entry.concordance_cc)
            say(
                f"{name} execution against torch, {made.parity.signals} clips: "
                f"max error {entry.max_error:.4f}, CCC {ccc}"
            )
        if made.agreement:
            say(
                "onnxruntime against the integer graph: largest difference of a score "
                f"{max(made.agreement.score_error.values()):.5f}"
            )
        if made.failures:
            fail(
                f"model must pass every check, failed {'; '.join(made.failures)}: "
                f"nothing was written but {out / 'export.md'}"
            )
        say_use(metadata, "model")
        # the model comes last: where it is, all that belongs to it is there
        beside: list[Path] = []
        if tflite:
            with extra("tflite"):
                from wav2small.export.tflite import count_frames, write_tflite
            from wav2small.export.integer.reader import read

            graph = read(made.data)
            content = write_tflite(
                graph, count_frames(graph, samples or SAMPLING_RATE), metadata
            )
            replace_file(out / "model.tflite", content)
            beside.append(out / "model.tflite")
        if c99:
            from wav2small.export.c99 import generate
            from wav2small.firmware_bench.plan.firmware import plan

            memory = generate(made.data, out / "c99")
            held = plan(made.data).held_bytes_per_second
            also = f", and the caller holds {held:,} bytes for each second" * bool(held)
            say(f"C99 with {memory.state:,} bytes of state{also}")
            beside.append(out / "c99")
        reports = ["export.json", "export.md"] + ["model.tflite"] * tflite
        model = package.write(
            made.data, out, labels=DIMENSIONS, overwrite=overwrite, beside=reports
        )
        for path in (model, *beside):
            show(path)
