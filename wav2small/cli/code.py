"""The commands that write a model that streams: C, and ONNX of one hop."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import typer

from .terminal import check_outputs, say, say_use, show

Package = Literal["cmake", "zephyr", "esp-idf", "arduino", "platformio", "cmsis-pack"]


def c99(
    model: Annotated[
        str, typer.Argument(help="Bundled name, ONNX file or its folder.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write the C into.")],
    prefix: Annotated[
        str,
        typer.Option(
            help="What names of files, functions and types begin with, so that several "
            "models fit one firmware."
        ),
    ] = "wav2small",
    speech: Annotated[
        bool,
        typer.Option(
            help="Whether the C can listen to speech alone, where the model knows it; "
            "without, it has nothing of that."
        ),
    ] = True,
    input_rate: Annotated[
        int | None,
        typer.Option(help="Sampling rate of the device, for which C is added, Hz."),
    ] = None,
    package: Annotated[
        Package | None,
        typer.Option(
            help="Build system whose package the folder becomes, with manifest, "
            "licences and a self-test; C side by side if not given."
        ),
    ] = None,
) -> None:
    """Write the C of an int8 model as it is; nothing is quantised again."""
    check_outputs(folders=[out])
    from wav2small.export.base.files import claim
    from wav2small.export.c99 import generate
    from wav2small.export.integer.reader import read
    from wav2small.firmware_bench.plan.firmware import plan_firmware

    from ..models import find_onnx

    graph = read(find_onnx(model))
    if not speech:
        graph = dataclasses.replace(graph, detector=None)
    with claim(out):
        state = generate(graph, out, prefix, input_rate, package).state
    say_use({entry.key: entry.value for entry in graph.model.metadata_props}, "model")
    held = plan_firmware(graph, graph.sampling_rate).held_bytes_per_second
    also = f", and the caller holds {held:,} bytes for each second" * bool(held)
    say(f"C99 with {state:,} bytes of state{also}")
    show(out if package else out / f"{prefix}.h")


def hop(
    model: Annotated[
        str, typer.Argument(help="Bundled name, ONNX file or its folder.")
    ],
    out: Annotated[Path, typer.Argument(help="ONNX file to write.")],
    forget: Annotated[
        float | None,
        typer.Option(
            help="Time in which what was heard weighs 37 %, s; "
            "as the model was made if not given."
        ),
    ] = None,
) -> None:
    """Write ONNX that hears one hop: signal and state in, scores and state out."""
    check_outputs(out)
    from wav2small.export.base import onnx_file
    from wav2small.export.base.files import replace_file
    from wav2small.export.hop import write_hop

    from ..models import find_onnx

    data = write_hop(find_onnx(model), forget)
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(out, data)
    written = onnx_file.parse(data)
    say_use({entry.key: entry.value for entry in written.metadata_props}, "model")
    samples, numbers = (
        entry.type.tensor_type.shape.dim[-1].dim_value for entry in written.graph.input
    )
    say(f"{samples} samples and a state of {numbers:,} numbers in")
    show(out)
