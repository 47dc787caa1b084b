"""Integer graph to a TFLite file, for runtimes that take nothing else.

The convolutions keep the integers of
:class:`wav2small.export.integer.graph.IntegerGraph`:
weights, biases, scales and zero points are the same.
What it holds in int32 has no counterpart in TFLite's kernels and becomes

* int16 as long as there is an axis of time:
  weights of 8 bits, activations of 16, softmax and weighted sum of 16
* float32 after the pooling, where a few hundred numbers are left

Every operator is one that TensorFlow Lite Micro has a kernel for.
The scores are not bit for bit those of :mod:`wav2small.export.integer.reference`:
the head has 16 bits where that has 30, and each runtime rounds in its own way,
some of them twice, which is off by one step in a few of a thousand integers.

The log-mel front end is not part of the file:
its int8 map is the input, see :func:`wav2small.export.integer.front_end.log_mel`.

Shape:
    input ``log_mel``: ``(1, frames, mels, 1)``, int8
    output ``logits``: ``(1, 3)``, float32
"""

from __future__ import annotations

from collections.abc import Mapping

from ..base.errors import ExportError, from_extra
from ..integer.graph import IntegerGraph
from ..integer.operators.log_mel import LogMel
from .convert import Converter
from .serialise import serialise


def write_tflite(
    integer_graph: IntegerGraph,
    frames: int,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """Write an integer graph as a TFLite file for maps of one length.

    The runtime holds whole maps, so its memory grows with the frames;
    code that keeps a few rows of each map needs a constant amount.
    A softmax in steps of ``2 ** -15`` is fine for signals of some seconds
    and gets coarse where each frame's weight is but a few of them.

    The same arguments give the same bytes.

    Args:
        integer_graph: graph of an exported model
        frames: length of the log-mel map in frames, see :func:`count_frames`
        metadata: what the file shall say of itself,
            for instance labels, sampling rate, licence;
            each entry is a text in UTF-8 under its name

    Returns:
        the file

    Raises:
        ExportError: if the package ai-edge-litert is not installed,
            the frames are too few for the network,
            an operator has no counterpart,
            or the metadata is not text

    """
    with from_extra():
        from ai_edge_litert import schema_py_generated  # noqa: F401
    if frames < 1:
        raise ExportError(
            f"frames must be at least 1, got {frames}: take those of a signal"
        )
    entries = dict(sorted((metadata or {}).items()))
    for key, value in entries.items():
        if not (isinstance(key, str) and key and isinstance(value, str)):
            raise ExportError(
                f"metadata must map text to text, got {value!r} for {key!r}: "
                "write it as text"
            )
    model = Converter(integer_graph, frames).convert()
    return serialise(model, entries)


def count_frames(integer_graph: IntegerGraph, samples: int) -> int:
    """Count the frames of the log-mel map of a signal.

    Args:
        integer_graph: graph of an exported model
        samples: length of the signal

    Returns:
        frames, 0 if the signal is shorter than a window

    """
    (front_end,) = (
        operator.front_end
        for operator in integer_graph.operators
        if isinstance(operator, LogMel)
    )
    rest = samples + sum(front_end.padding) - front_end.window_length
    return max(0, rest // front_end.hop_length + 1)
