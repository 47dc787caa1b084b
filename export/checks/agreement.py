"""Does onnxruntime compute what the integer graph says, layer by layer?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto, ValueInfoProto

from ..base import escape
from ..base.errors import ExportError, one_line
from ..base.progress import Progress
from ..integer import reader
from ..integer.front_end.log_mel import samples
from ..integer.graph import IntegerGraph
from ..integer.operators.base import Operator
from ..integer.operators.convolution import Convolution
from ..integer.operators.linear import Linear
from ..integer.operators.log_mel import LogMel
from ..integer.reference import ReferenceModel
from ..model import topology
from ..quantise.calibrate import checked_signals
from .parity import EXECUTIONS

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MOST_DIFFERING = 1e-5
"""Rate at which int8 elements of a layer with weights may differ on equal inputs."""

MOST_DIFFERING_PAIRS = 1e-3
"""The same for a layer without weights:
its inputs take few values, so that one near tie is met again and again."""

MOST_DIFFERING_FRONT_END = 1e-2
"""The same for the log-mel, which onnxruntime computes in float32."""

LARGEST_FLOAT_ERROR = 5e-4
"""Largest difference of an int32 tensor to the float one, over its largest value."""

LARGEST_SCORE_ERROR = 0.005
"""Largest difference of a score from signal to end."""


@dataclass(frozen=True)
class LayerAgreement:
    """How far a layer's outputs are apart when its inputs are equal."""

    layer: str
    """Kind of the layer and its number."""

    dtype: str
    """Type of its output: ``int8``, or ``int32`` where onnxruntime has float."""

    elements: int
    """Elements that were compared."""

    differing: int
    """int8 elements that differ; 0 for int32."""

    largest: float
    """Largest difference: in steps for int8,
    over the largest absolute value of the tensor for int32."""

    passed: bool
    """Whether this is within the limits."""


@dataclass(frozen=True)
class AgreementReport:
    """Agreement of onnxruntime with the integer graph."""

    signals: int
    """Number of signals."""

    layers: dict[str, tuple[LayerAgreement, ...]]
    """Each layer, by way of execution."""

    score_error: dict[str, float]
    """Largest difference of a score from signal to end, by way of execution."""

    score_limit: float
    """Largest difference of a score that passes."""

    @property
    def passed(self) -> bool:
        """Whether every layer and score keeps its limit."""
        layers = [entry for found in self.layers.values() for entry in found]
        return all(entry.passed for entry in layers) and all(
            error <= self.score_limit for error in self.score_error.values()
        )

    def to_dict(self) -> dict[str, Any]:
        """All figures in JSON types."""
        return {
            "signals": self.signals,
            "score_error": self.score_error,
            "layers": {
                name: [asdict(entry) for entry in found]
                for name, found in self.layers.items()
            },
            "limits": {
                "differing": MOST_DIFFERING,
                "differing_without_weights": MOST_DIFFERING_PAIRS,
                "differing_log_mel": MOST_DIFFERING_FRONT_END,
                "int32": LARGEST_FLOAT_ERROR,
                "score_error": self.score_limit,
            },
            "passed": self.passed,
        }


def to_markdown(report: AgreementReport) -> str:
    """Write the report as a table, a row for each layer."""
    lines = [
        "| layer | type | execution | elements | differing | largest |",
        "|---|---|---|--:|--:|--:|",
    ]
    for execution, layers in report.layers.items():
        for entry in layers:
            unit = (
                f"{entry.largest:g}"
                if entry.dtype == "int8"
                else (f"{entry.largest:.1e} of its range")
            )
            lines.append(
                f"| {escape.markdown(entry.layer)} | {entry.dtype} | {execution} "
                f"| {entry.elements:,} | {entry.differing:,} | {unit} |"
            )
    for execution, error in report.score_error.items():
        lines.append(
            f"| signal to scores | | {execution} | {3 * report.signals:,} | | "
            f"{error:.5f} |"
        )
    return "\n".join(lines) + "\n"


@dataclass
class _Count:
    elements: int = 0
    differing: int = 0
    largest: float = 0.0
    range: float = 0.0


def agree(
    source: IntegerGraph | ModelProto | bytes | str | Path,
    signals: Sequence[np.ndarray],
    progress: Progress | None = None,
    *,
    score_limit: float = LARGEST_SCORE_ERROR,
) -> AgreementReport:
    """Compare onnxruntime with the integer graph.

    Each layer gets the inputs that onnxruntime had for it,
    so that differences do not add up;
    the scores are compared from signal to end.
    Signals are rounded to 16 bits first, as a converter would.

    Args:
        source: exported int8 model
        signals: signals, each of shape ``(samples,)``
        progress: called after each signal
        score_limit: largest difference of a score that passes

    Returns:
        report; a disagreement is a result, not an error

    Raises:
        ExportError: if the model has no integer graph
            or a signal cannot be used

    """
    graph = source if isinstance(source, IntegerGraph) else reader.read(source)
    reference = ReferenceModel(graph)
    (signal_name,) = (value.name for value in graph.model.graph.input)
    wanted = [operator.output for operator in graph.operators]
    probe = _probe(graph.model, wanted)
    sessions = {name: topology.session(probe, name) for name in EXECUTIONS}
    counts = {
        name: {operator.output: _Count() for operator in graph.operators}
        for name in EXECUTIONS
    }
    score_error: dict[str, float] = dict.fromkeys(EXECUTIONS, 0.0)
    scale = graph.tensors[graph.output].scale
    number = 0
    for signal in checked_signals(signals):
        rounded = (samples(signal) / 2**15).astype(np.float32)
        expected = reference.run(rounded)
        computed = _Computed(reference, expected)
        for execution, session in sessions.items():
            values = _values(session, wanted, {signal_name: rounded[None]}, number)
            for operator in graph.operators:
                count = counts[execution][operator.output]
                _count(count, graph, operator, computed.get(operator, values), values)
            apart = np.abs(expected[graph.output] * scale - values[graph.output]).max()
            score_error[execution] = max(score_error[execution], float(apart))
        number += 1
        if progress:
            progress("compare", number, len(signals), {})
    layers: dict[str, tuple[LayerAgreement, ...]] = {}
    for name, found in counts.items():
        judged = (_judge(graph, one, found[one.output]) for one in graph.operators)
        layers[name] = tuple(judged)
    return AgreementReport(number, layers, score_error, score_limit)


def _probe(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """Model that gives these tensors as well."""
    probe = ModelProto()
    probe.CopyFrom(model)
    present = {value.name for value in probe.graph.output}
    probe.graph.output.extend(
        ValueInfoProto(name=name) for name in names if name not in present
    )
    return probe


def _values(
    session: InferenceSession,
    names: list[str],
    feed: dict[str, np.ndarray],
    number: int,
) -> dict[str, np.ndarray]:
    """Tensors by name that onnxruntime makes of the signal of a number."""
    try:
        values = session.run(names, feed)
    except Exception as error:  # onnxruntime's have no common base class
        (signal,) = feed.values()
        raise ExportError(
            f"signals must fit the model, got {signal[0].shape} at index "
            f"{number} and {one_line(error)}: cut or lengthen them"
        ) from error
    return dict(zip(names, values, strict=True))


class _Computed:
    """What the reference makes of given inputs; equal inputs are computed once."""

    def __init__(
        self, reference: ReferenceModel, expected: dict[str, np.ndarray]
    ) -> None:
        self.reference = reference
        self.expected = expected
        self.known: dict[str, list[tuple[list[np.ndarray], np.ndarray]]] = {}
        for operator in reference.graph.operators:
            if not isinstance(operator, LogMel):
                inputs = [expected[name] for name in operator.inputs]
                self.known[operator.output] = [(inputs, expected[operator.output])]

    def get(self, operator: Operator, found: dict[str, np.ndarray]) -> np.ndarray:
        """Output of an operator for the inputs that onnxruntime had."""
        if isinstance(operator, LogMel):
            return self.expected[operator.output]
        tensors = self.reference.graph.tensors
        inputs = [
            found[name]
            if tensors[name].dtype == "int8"
            else np.rint(found[name] / tensors[name].scale).astype(np.int64)
            for name in operator.inputs
        ]
        for old, value in self.known[operator.output]:
            if all(map(np.array_equal, old, inputs)):
                return value
        values = dict(zip(operator.inputs, inputs, strict=True))
        value = self.reference.apply(operator, values)
        self.known[operator.output].append((inputs, value))
        return value


def _count(
    count: _Count,
    graph: IntegerGraph,
    operator: Operator,
    value: np.ndarray,
    found: dict[str, np.ndarray],
) -> None:
    """Add what one signal shows of a layer."""
    tensors = graph.tensors
    actual = found[operator.output]
    count.elements += actual.size
    if tensors[operator.output].dtype == "int8":
        difference = np.abs(value.astype(np.int64) - actual)
        count.differing += int(np.count_nonzero(difference))
    else:
        difference = np.abs(value * tensors[operator.output].scale - actual)
        count.range = max(count.range, float(np.abs(actual).max(initial=0)))
    count.largest = max(count.largest, float(difference.max(initial=0)))


def _judge(graph: IntegerGraph, operator: Operator, count: _Count) -> LayerAgreement:
    dtype = graph.tensors[operator.output].dtype
    if dtype == "int8":
        if isinstance(operator, LogMel):
            rate = MOST_DIFFERING_FRONT_END
        elif isinstance(operator, Convolution | Linear):
            rate = MOST_DIFFERING
        else:
            rate = MOST_DIFFERING_PAIRS
        # of few elements more may differ by chance: three standard deviations
        expected = rate * count.elements
        allowed = expected + 3 * math.sqrt(expected) + 1
        passed = count.differing <= allowed and count.largest <= 1
        largest = count.largest
    else:
        largest = count.largest / max(count.range, 1e-30)
        passed = largest <= LARGEST_FLOAT_ERROR
    return LayerAgreement(
        graph.label(operator), dtype, count.elements, count.differing, largest, passed
    )
