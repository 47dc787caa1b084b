"""Where two models part, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from onnx import ModelProto, ValueInfoProto

from ..base import escape
from ..base.errors import ExportError, one_line
from ..base.metrics import concordance_cc
from ..base.progress import Progress
from ..integer import reader
from ..integer.front_end.log_mel import samples
from ..integer.graph import IntegerGraph
from ..integer.operators.convolution import Convolution
from ..integer.operators.linear import Linear
from ..integer.operators.log_mel import LogMel
from ..integer.reference import ReferenceModel
from ..model import topology
from ..model.constants import expand_constants
from ..model.topology import Topology
from ..quantise.calibrate import checked_signals
from ..quantise.plan import plan

PARTING = 20.0
"""Power of a layer over that of the difference, in dB,
below which two models are said to part."""


class Layered(Protocol):
    """A model whose layers can be looked at."""

    def run(self, signal: np.ndarray) -> dict[str, np.ndarray]:
        """Compute log-mel, layers with weights and scores for ``(samples,)``.

        Returns:
            float values by label: ``LogMel 1``, ``Convolution 1``, ...,
            ``scores``, the same labels for every form of a model

        """


class OnnxLayers:
    """Layers of an ONNX model, float or int8, in onnxruntime."""

    def __init__(
        self,
        model: ModelProto,
        execution: Literal["default", "exact"] = "default",
    ) -> None:
        self.model = expand_constants(topology.load(model))
        self.scales: dict[str, tuple[float, int]] = {}
        if any(node.op_type == "QuantizeLinear" for node in self.model.graph.node):
            self.names = self._integer_layers()
        else:
            self.names = _float_layers(self.model)
        (self.input,) = (value.name for value in self.model.graph.input)
        self.names["scores"] = self.model.graph.output[0].name
        probe = ModelProto()
        probe.CopyFrom(self.model)
        del probe.graph.output[1:]
        present = {value.name for value in probe.graph.output}
        probe.graph.output.extend(
            ValueInfoProto(name=name)
            for name in dict.fromkeys(self.names.values())
            if name not in present
        )
        self.session = topology.session(probe, execution)

    def _integer_layers(self) -> dict[str, str]:
        graph = reader.read(self.model)
        names = {}
        for label, operator in _with_weights(graph).items():
            tensor = graph.tensors[operator]
            names[label] = operator
            if tensor.dtype == "int8":
                self.scales[operator] = (tensor.scale, tensor.zero_point)
        return names

    def run(self, signal: np.ndarray) -> dict[str, np.ndarray]:
        """See :meth:`Layered.run`."""
        try:
            values = self.session.run(
                list(self.names.values()), {self.input: signal[None]}
            )
        except Exception as error:  # onnxruntime's have no common base class
            raise ExportError(
                f"signal must fit the model, got {signal.shape} and "
                f"{one_line(error)}: cut or lengthen it"
            ) from error
        found = {}
        for (label, name), value in zip(self.names.items(), values, strict=True):
            if name in self.scales:
                scale, zero_point = self.scales[name]
                value = (value.astype(np.float32) - zero_point) * np.float32(scale)
            found[label] = value
        return found


class ReferenceLayers:
    """Layers of an exported int8 model in integers."""

    def __init__(self, model: ModelProto) -> None:
        self.reference = ReferenceModel(model)
        self.names = _with_weights(self.reference.graph)
        self.names["scores"] = self.reference.graph.output

    def run(self, signal: np.ndarray) -> dict[str, np.ndarray]:
        """See :meth:`Layered.run`."""
        values = self.reference.run(signal)
        found = {}
        for label, name in self.names.items():
            tensor = self.reference.graph.tensors[name]
            found[label] = (values[name] - np.float64(tensor.zero_point)) * tensor.scale
        return found


def _with_weights(graph: IntegerGraph) -> dict[str, str]:
    """Log-mel and layers with weights: label to the tensor that they make."""
    return {
        graph.label(operator): operator.output
        for operator in graph.operators
        if isinstance(operator, LogMel | Convolution | Linear)
    }


def _float_layers(model: ModelProto) -> dict[str, str]:
    """The same of a float model."""
    graph = Topology(model)
    names: dict[str, str] = {}
    counts = {"Convolution": 0, "Linear": 0}
    for layer in plan(model).layers:
        node = graph.nodes[layer.node]
        kind = "Convolution" if node.op_type == "Conv" else "Linear"
        if not names:
            names["LogMel 1"] = node.input[0]
        output = layer.output
        readers = graph.consumers.get(output, [])
        if node.op_type == "MatMul" and len(readers) == 1:
            # a bias that is added by a node of its own
            reading = graph.nodes[readers[0]]
            if reading.op_type == "Add" and any(
                name in graph.initializers for name in reading.input
            ):
                output = reading.output[0]
        counts[kind] += 1
        names[f"{kind} {counts[kind]}"] = output
    return names


@dataclass(frozen=True)
class LayerDifference:
    """How far two models are apart after one layer."""

    layer: str
    """Label of the layer."""

    largest: float
    """Largest absolute difference, in the layer's unit."""

    mean: float
    """Mean absolute difference."""

    signal_to_difference: float
    """Power of the first model's values about their mean
    over that of the difference, in dB; infinite where they are equal."""


@dataclass(frozen=True)
class Comparison:
    """Two models on the same signals."""

    signals: int
    """Number of signals."""

    layers: tuple[LayerDifference, ...]
    """Layers that both have, in the order of execution; the scores are last."""

    max_error: tuple[float, ...]
    """Largest absolute difference of each score."""

    concordance_cc: tuple[float, ...]
    """Concordance of each score over the signals."""

    @property
    def parting(self) -> str | None:
        """First layer that falls below :data:`PARTING`, None if none does."""
        for entry in self.layers:
            if entry.signal_to_difference < PARTING:
                return entry.layer
        return None

    def to_dict(self) -> dict[str, Any]:
        """All figures in JSON types; NaN and infinity become None."""

        def plain(value: float) -> float | None:
            return float(value) if np.isfinite(value) else None

        return {
            "signals": self.signals,
            "layers": [
                {
                    "layer": entry.layer,
                    "largest": plain(entry.largest),
                    "mean": plain(entry.mean),
                    "signal_to_difference": plain(entry.signal_to_difference),
                }
                for entry in self.layers
            ],
            "max_error": [plain(value) for value in self.max_error],
            "concordance_cc": [plain(value) for value in self.concordance_cc],
            "parting": self.parting,
        }


def compare_layers(
    first: Layered,
    second: Layered,
    signals: Sequence[np.ndarray],
    progress: Progress | None = None,
) -> Comparison:
    """Compare two models layer by layer on signals.

    Signals are rounded to 16 bits first, which is all that integers hear.
    Channels that only one of the models has are left out:
    an int8 export may have silent ones.

    Args:
        first: the model that differences are measured against
        second: the other
        signals: signals, each of shape ``(samples,)``
        progress: called after each signal

    Raises:
        ExportError: if a signal cannot be used
            or the models have no layer in common

    """
    sums: dict[str, np.ndarray] = {}  # count, sum, squares, errors, squared errors
    largest: dict[str, float] = {}
    scores: list[tuple[np.ndarray, np.ndarray]] = []
    for index, signal in enumerate(checked_signals(signals)):
        rounded = (samples(signal) / 2**15).astype(np.float32)
        left, right = first.run(rounded), second.run(rounded)
        scores.append((left["scores"].reshape(-1), right["scores"].reshape(-1)))
        for label in left:
            if label not in right:
                continue
            a, b = _common(left[label], right[label], label)
            error = np.abs(a - b)
            terms = [a.size, a.sum(), (a**2).sum(), error.sum(), (error**2).sum()]
            sums[label] = sums.get(label, np.zeros(5)) + np.array(terms)
            largest[label] = max(largest.get(label, 0.0), float(error.max(initial=0)))
        if progress:
            progress("compare", index + 1, len(signals), {})
    if set(sums) == {"scores"}:
        raise ExportError(
            "models must have layers in common, got none: "
            "compare two forms of the same model"
        )
    layers = [_difference(label, sums[label], largest[label]) for label in sums]
    truth, prediction = (
        np.array(side, np.float64) for side in zip(*scores, strict=True)
    )
    return Comparison(
        signals=len(scores),
        layers=tuple(layers),
        max_error=tuple(float(v) for v in np.abs(truth - prediction).max(axis=0)),
        concordance_cc=tuple(
            concordance_cc(*series)
            for series in zip(truth.T, prediction.T, strict=True)
        ),
    )


def _difference(label: str, sums: np.ndarray, largest: float) -> LayerDifference:
    """Figures of a layer from count, sum, squares, errors and squared errors."""
    count, total, squares, errors, squared = sums
    power = squares - total**2 / count
    ratio = 10 * np.log10(power / squared) if squared and power > 0 else np.inf
    return LayerDifference(label, largest, errors / count, float(ratio))


def _common(a: np.ndarray, b: np.ndarray, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Both arrays in double precision, cut to the channels that both have."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if a.ndim == b.ndim == 4:
        channels = min(a.shape[1], b.shape[1])
        a, b = a[:, :channels], b[:, :channels]
    if a.shape != b.shape:
        raise ExportError(
            f"models must have layers of the same shape, got {a.shape} and {b.shape} "
            f"at {label}: compare two forms of the same model"
        )
    return a, b


def to_markdown(comparison: Comparison, names: Sequence[str]) -> str:
    """Write a comparison as a table.

    Args:
        comparison: the comparison
        names: names of the scores

    """
    lines = [
        "| layer | largest difference | mean | signal to difference |",
        "|---|--:|--:|--:|",
    ]
    for entry in comparison.layers:
        ratio = entry.signal_to_difference
        shown = f"{ratio:.1f} dB" if np.isfinite(ratio) else "equal"
        lines.append(
            f"| {escape.markdown(entry.layer)} | {entry.largest:.4g} "
            f"| {entry.mean:.2g} | {shown} |"
        )
    parting = comparison.parting
    lines += [
        "",
        f"They part at {escape.markdown(parting)} (below {PARTING:g} dB)."
        if parting
        else f"No layer falls below {PARTING:g} dB.",
        "",
        "| score | largest difference | CCC |",
        "|---|--:|--:|",
    ]
    for name, error, ccc in zip(
        names, comparison.max_error, comparison.concordance_cc, strict=True
    ):
        lines.append(f"| {name} | {error:.4f} | {ccc:.5f} |")
    return "\n".join(lines) + "\n"
