"""A torch module becomes one checked, small ONNX file."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import onnx
from onnx import ModelProto

from ..base.errors import ExportError, one_line
from ..base.log_mel import ENTRY, LogMelSettings
from .compact import compact
from .simplify import simplify

if TYPE_CHECKING:
    from torch import nn

INPUT = "signal"
"""Name of the input of every exported model."""

OUTPUT = "logits"
"""Name of the output of every exported model."""

OUTPUTS = 3
"""Scores that every exported model gives."""


def to_onnx(
    module: nn.Module,
    *,
    window: int | None,
    example_samples: int,
    opset: int = 17,
) -> ModelProto:
    """Export a module with its front end, signal in and scores out.

    Shape:
        input ``signal``: ``(1, window)`` or ``(1, time)``, float32
        output ``logits``: ``(1, 3)``, float32

    A module whose attribute ``log_mel_settings`` says how its log-mel is made
    gets them into the metadata:
    what is more than an ONNX, its C99 for one, needs them.

    The module is exported as it evaluates
    and left in the mode in which it was.
    The same weights give the same bytes.

    Args:
        module: module that maps ``(1, time)`` to ``(1, 3)``
        window: length of every signal in samples,
            None if the model shall take any length
        example_samples: length in samples of the signal
            that the module is traced with; ignored if there is a window
        opset: version of the ONNX operators

    Raises:
        ExportError: if the module cannot be traced,
            depends on the length of the traced signal,
            or has another output

    """
    samples = example_samples if window is None else window
    if samples < 1:
        name = "example_samples" if window is None else "window"
        raise ExportError(
            f"{name} must be at least 1 sample, got {samples}: give a longer one"
        )
    shape, data = _traced(module, samples, window is None, opset)
    if shape != (1, OUTPUTS):
        raise ExportError(
            f"module must give an output of shape {(1, OUTPUTS)}, got {shape}: "
            "end it with one score per dimension"
        )
    model = onnx.load_from_string(data)
    model = _fixed_output(simplify(_fixed_output(model)))
    settings = getattr(module, "log_mel_settings", None)
    if isinstance(settings, LogMelSettings):
        model.metadata_props.add(key=ENTRY, value=settings.to_text())
    return compact(model)


def _traced(
    module: nn.Module, samples: int, free: bool, opset: int
) -> tuple[tuple[int, ...], bytes]:
    """Shape of the output for so many samples, and the traced model if it is right.

    Args:
        module: module to trace, which stays in its mode
        samples: length of the signal that it is traced with
        free: whether the model shall take any other length
        opset: version of the ONNX operators

    """
    import torch

    modes = {part: part.training for part in module.modules()}
    # Not zeros: a module that divides by the signal's power would warn.
    example = torch.linspace(-1, 1, samples)[None]
    buffer = io.BytesIO()
    try:
        module.eval()
        with torch.no_grad(), warnings.catch_warnings():
            # The tracing exporter is deprecated, but writes this opset itself,
            # names no source files and needs no conversion.
            warnings.simplefilter("ignore")
            if free:
                # A shape that the trace takes for a number
                # would be wrong for every other length.
                warnings.simplefilter("error", torch.jit.TracerWarning)
            shape = tuple(module(example).shape)
            if shape == (1, OUTPUTS):
                torch.onnx.export(
                    module,
                    (example,),
                    buffer,  # type: ignore[arg-type]  # a file-like is fine here
                    dynamo=False,
                    opset_version=opset,
                    input_names=[INPUT],
                    output_names=[OUTPUT],
                    dynamic_axes={INPUT: {1: "time"}} if free else None,
                )
    except Exception as error:  # a module may raise anything
        raise ExportError(
            f"module must be exportable for {samples} samples, got "
            f"{type(error).__name__}: {one_line(error)}: "
            "check the length and operations that depend on it"
        ) from error
    finally:
        for part, training in modes.items():
            part.training = training
    return shape, buffer.getvalue()


def _fixed_output(model: ModelProto) -> ModelProto:
    """State the output's shape, which a trace with free time leaves open."""
    (output,) = model.graph.output
    output.CopyFrom(
        onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, [1, OUTPUTS])
    )
    return model
