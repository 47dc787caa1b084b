"""Graph simplification by onnxsim, with errors of our own."""

from __future__ import annotations

from onnx import ModelProto

from ..base.errors import ExportError, from_extra, one_line
from . import topology


def simplify(model: ModelProto) -> ModelProto:
    """Fold constants and batch normalisation and remove what does nothing.

    The result computes the same values;
    :func:`wav2small.export.checks.parity.compare` shows it.
    Free dimensions stay free.

    Args:
        model: ONNX model without external data; it stays as it is

    Returns:
        model of fewer nodes

    Raises:
        ExportError: if the model is invalid,
            onnxsim is not installed, or it fails

    """
    topology.load(model)
    with from_extra():
        import onnxsim
    copy = ModelProto()
    copy.CopyFrom(model)
    try:
        simplified, _ = onnxsim.simplify(copy)
    except Exception as error:  # whatever its passes raise
        raise ExportError(
            f"model must pass through onnxsim, got {one_line(error)}: "
            "leave out the operator it names"
        ) from error
    return topology.load(simplified)
