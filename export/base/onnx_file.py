"""Read an ONNX file: the one way in which a model of anybody comes in."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from . import checksums, isolated
from .errors import InputError, one_line
from .escape import line
from .reading import read_bytes

if TYPE_CHECKING:
    import onnxruntime
    from onnx import ModelProto

MOST_BYTES = 2**31 - 1
"""Size of the largest file that ONNX can have."""

_TRIED: set[bytes] = set()
"""Hashes of models that ran within the limits, in this process."""

Execution = Literal["default", "exact"]
"""``default`` as users run it, ``exact`` with every optimisation off,
so that each operator runs as it is written."""


def read(path: str | Path, error: type[InputError] = InputError) -> bytes:
    """Read a file that can be a model; its folder's checksums must be right.

    Args:
        path: the file
        error: type of the error

    Raises:
        InputError: of the type given, if it cannot be read,
            is no regular file or too large, or a checksum is another

    """
    path = Path(path)
    try:
        data = read_bytes(path, most=MOST_BYTES)
    except OSError as cause:
        raise error(
            f"'{line(path)}' must be a readable ONNX file, got {cause.strerror}: "
            "check the path and the file"
        ) from cause
    checksums.verify(path.parent, {path.name: data}, error)
    return data


def parse(
    data: bytes,
    where: str = "model",
    error: type[InputError] = InputError,
    *,
    only_look: bool = False,
) -> ModelProto:
    """Parse the bytes of a model and check what it holds.

    Args:
        data: content of a file
        where: what errors call it
        error: type of the error
        only_look: let in operators that are not on the list and fields that
            nobody knows; for what does not run the model in this process

    Raises:
        InputError: of the type given, if it is no ONNX
            or holds what :mod:`wav2small.export.base.allowed` does not list

    """
    import onnx

    from . import allowed

    try:
        model = onnx.load_model_from_string(data)
    except Exception as cause:  # protobuf's implementations differ in theirs
        raise error(
            f"{where} must be an ONNX file, got {one_line(cause)}: "
            "check the path and the file"
        ) from cause
    allowed.check(model, where, error, only_look=only_look)
    return model


def check_valid(
    model: ModelProto,
    where: str,
    error: type[InputError] = InputError,
    *,
    infers: bool = False,
) -> None:
    """Check that a model is one that ONNX defines.

    Args:
        model: what :func:`parse` gave
        where: what errors call it
        error: type of the error
        infers: whether types and shapes are inferred and compared, too

    Raises:
        InputError: of the type given, if it is not

    """
    import onnx

    try:
        onnx.checker.check_model(model, full_check=infers)
    except Exception as cause:  # the checker has no common base class
        raise error(
            f"{where} must be a valid ONNX model, got {one_line(cause)}: "
            "export it again"
        ) from cause


def session(
    model: ModelProto | bytes,
    execution: Execution = "default",
    error: type[InputError] = InputError,
    where: str = "model",
) -> onnxruntime.InferenceSession:
    """Open a model in onnxruntime on one thread of the CPU.

    Args:
        model: what :func:`parse` gave, or its bytes
        execution: how it is run
        error: type of the error
        where: what errors call it

    Raises:
        InputError: of the type given, if it holds what is not allowed
            or onnxruntime refuses it

    """
    import onnxruntime

    if not isinstance(model, bytes):
        from . import allowed

        allowed.check(model, where, error)
        model = model.SerializeToString()
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # its messages would show names of the file on the terminal as they are
    options.log_severity_level = 4
    options.add_session_config_entry("session.load_model_format", "ONNX")
    if execution == "exact":
        options.graph_optimization_level = (
            onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        )
    try:
        return onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
    except Exception as cause:  # its exceptions have no common base class
        raise error(
            f"{where} must run in onnxruntime, got {one_line(cause)}: "
            "check its operators and opset"
        ) from cause


def try_out(
    data: bytes, where: str = "model", error: type[InputError] = InputError
) -> None:
    """Let a model that anybody may have made hear a second of a tone.

    What it would allocate and compute cannot be read off its nodes,
    so it does that in a process of its own, whose memory and time are limited.

    Args:
        data: content of a file
        where: what errors call it
        error: type of the error

    Raises:
        InputError: of the type given, if it does not run,
            or takes too much memory or time

    """
    digest = hashlib.sha256(data).digest()
    if digest not in _TRIED:
        isolated.run(data, where=where, error=error)
        _TRIED.add(digest)


def open_foreign(
    data: bytes, where: str = "model", error: type[InputError] = InputError
) -> onnxruntime.InferenceSession:
    """Open a model that anybody may have made, see :func:`try_out`.

    Raises:
        InputError: of the type given, if it is not allowed, does not run,
            or takes too much memory or time

    """
    parse(data, where, error)
    try_out(data, where, error)
    return session(data, error=error, where=where)
