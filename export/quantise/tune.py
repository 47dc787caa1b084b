"""Quantisation-aware tuning: the weights and steps that lose least when rounded.

The float ONNX itself is trained, in torch, on unlabelled signals:
with every tensor rounded where the exported file rounds it,
its scores and layers are drawn to what they are in float.
So it works for any model that
:func:`wav2small.export.quantise.steps.quantize` takes,
and what is trained is what is written:
:func:`tune` gives the weights and the scales,
and :func:`wav2small.export.quantise.write.write_quantised` puts down the same integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn

from ..base.errors import ExportError
from ..base.progress import Progress
from ..model.topology import Topology
from . import torch_operators
from .calibrate import checked_signals
from .config import QuantConfig
from .plan import Plan
from .scales import Scale, weight_limits, weight_scale


@dataclass(frozen=True)
class TuneConfig:
    """Configuration of :func:`tune`."""

    steps: int = 300
    """Updates of the weights and scales."""

    batch_size: int = 8
    """Crops per step."""

    crop_seconds: float = 1.0
    """Length of a crop in seconds, at 16 kHz."""

    learning_rate: float = 1e-4
    """Peak of the cosine schedule."""

    layer_weight: float = 0.1
    """Weight of the mean error of the layers beside that of the scores."""

    seed: int = 0
    """Seed of the crops."""


def tune(
    model: ModelProto,
    plan: Plan,
    scales: Mapping[str, Scale],
    signals: Sequence[np.ndarray],
    config: TuneConfig | None = None,
    quantisation: QuantConfig | None = None,
    progress: Progress | None = None,
) -> tuple[ModelProto, dict[str, Scale]]:
    """Train a float model to lose little when it is quantised.

    Args:
        model: float model that the plan was made for
        plan: plan of that model
        scales: scale of each of ``plan.measured``, to start from
        signals: unlabelled signals, each of shape ``(samples,)``, at 16 kHz
        config: configuration, the default one if None
        quantisation: how it will be quantised, as default if None
        progress: called after each step with its ``loss``

    Returns:
        model with the trained weights,
        and the trained scales of activations and weights,
        both for :func:`wav2small.export.quantise.write.write_quantised`

    Raises:
        ExportError: if a signal cannot be used
            or the model treats the signals of a batch differently from one alone

    """
    config = config or TuneConfig()
    signals = list(checked_signals(signals))
    limits = weight_limits(model, plan, quantisation or QuantConfig())
    trained = _Trained(model, plan, scales, limits)
    crop = _crop_length(model, config)
    rng = np.random.default_rng(config.seed)
    trained.begin(_batch(signals, 16, crop, rng))
    optimizer, schedule = _optimizer(trained, config)
    for step in range(config.steps):
        batch = _batch(signals, config.batch_size, crop, rng)
        loss = trained.loss(batch, config.layer_weight)
        if not torch.isfinite(loss):
            raise ExportError(
                f"tuning must stay finite, got {loss} at step {step}: "
                "use a smaller learning_rate"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress:
            progress("tune", step + 1, config.steps, {"loss": loss.item()})
    return trained.result()


def _optimizer(
    trained: _Trained, config: TuneConfig
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Adam for weights and scales, and its rate, which falls as a cosine does."""
    optimizer = torch.optim.Adam(
        [
            {"params": trained.weights.values(), "lr": config.learning_rate},
            {"params": trained.logarithms.values(), "lr": config.learning_rate},
        ]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: 0.5 * (1 + math.cos(math.pi * step / config.steps)),
    )
    return optimizer, schedule


def _crop_length(model: ModelProto, config: TuneConfig) -> int:
    """Samples of a crop: the window of the model, if it has one."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    if len(dims) == 2 and dims[1].HasField("dim_value"):
        return dims[1].dim_value
    return round(config.crop_seconds * 16000)


def _batch(
    signals: Sequence[np.ndarray], size: int, length: int, rng: np.random.Generator
) -> Tensor:
    crops = []
    for item in rng.integers(len(signals), size=size):
        signal = signals[item]
        if len(signal) < length:
            signal = np.resize(signal, length)
        start = rng.integers(len(signal) - length + 1)
        crops.append(signal[start : start + length])
    return torch.from_numpy(np.stack(crops))


class _Trained:
    """The float graph in torch, with what is trained about it."""

    def __init__(
        self,
        model: ModelProto,
        plan: Plan,
        scales: Mapping[str, Scale],
        limits: Mapping[str, int],
    ) -> None:
        self.model, self.plan, self.limits = model, plan, limits
        self.graph = Topology(model)
        (self.input,) = (value.name for value in model.graph.input)
        (self.output,) = (value.name for value in model.graph.output)
        self.layers = {layer.node: layer for layer in plan.layers}
        self.zero_points = {name: scales[name].zero_point for name in plan.measured}
        self.constants = {
            name: torch.from_numpy(numpy_helper.to_array(tensor).copy())
            for name, tensor in self.graph.initializers.items()
        }
        self.weights: dict[str, nn.Parameter] = {}
        self.logarithms: dict[str, nn.Parameter] = {}  # of scales
        self.variance: dict[str, Tensor] = {}
        for name in plan.measured:
            self._add_scale(name, scales[name].scale)
        for layer in plan.layers:
            for name in self.graph.nodes[layer.node].input[1:3]:
                if name in self.constants:
                    self.weights[name] = nn.Parameter(self.constants[name].clone())
            self._add_scale(
                layer.weight,
                weight_scale(
                    self.constants[layer.weight].numpy(),
                    layer.axis,
                    self.limits[layer.weight],
                ).scale,
            )
        # what no learned layer comes before is the same for both and needs no gradient
        learned = self.graph.downstream(self.layers)
        every = range(len(self.graph.nodes))
        self.front = [index for index in every if index not in learned]
        self.body = [index for index in every if index in learned]
        self.compared = [
            name
            for name in dict.fromkeys(layer.output for layer in plan.layers)
            if name != self.output
        ]

    def _add_scale(self, name: str, scale: np.ndarray) -> None:
        logarithm = torch.log(torch.tensor(scale, dtype=torch.float32))
        self.logarithms[name] = nn.Parameter(logarithm)

    def begin(self, batch: Tensor) -> None:
        """Measure what errors are compared to.

        Refuses a model in which the signals of a batch touch each other.
        """
        with torch.no_grad():
            values = self.run_float(batch)
            together = values[self.output]
            for name in (self.output, *self.compared):
                self.variance[name] = values[name].var() + 1e-9
            alone = torch.cat(
                [self.run_float(signal[None])[self.output] for signal in batch]
            )
        if together.shape != alone.shape or not torch.allclose(
            together, alone, atol=1e-3, rtol=1e-3
        ):
            raise ExportError(
                "model must score each signal of a batch as it does alone, got "
                "other scores: export it without a fixed batch"
            )

    def run_float(self, batch: Tensor) -> dict[str, Tensor]:
        values = {**self.constants, self.input: batch}
        for index in (*self.front, *self.body):
            self._run_node(index, values)
        return values

    def _run_node(self, index: int, values: dict[str, Tensor]) -> None:
        node = self.graph.nodes[index]
        inputs = [values[name] if name else None for name in node.input]
        values[node.output[0]] = torch_operators.run(node, inputs)

    def loss(self, batch: Tensor, layer_weight: float) -> Tensor:
        """Squared error of scores and layers over their variance in float."""
        with torch.no_grad():
            target = self.run_float(batch)
        values = self.run_rounded(target)
        error = {
            name: (values[name] - target[name]).square().mean() / self.variance[name]
            for name in (self.output, *self.compared)
        }
        layers = torch.stack([error[name] for name in self.compared])
        return error[self.output] + layer_weight * layers.mean()

    def run_rounded(self, target: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compute every tensor as the exported file will.

        Args:
            target: every tensor in float;
                what no learned layer comes before is taken from it

        """
        names = {self.input, *self.constants}
        names.update(
            name for index in self.front for name in self.graph.nodes[index].output
        )
        values = {name: target[name] for name in names}
        for name in self.plan.activations:
            if name in values:
                values[name] = self._round_activation(name, values[name])
        for index in self.body:
            if index in self.layers:
                layer = self.layers[index]
                values[layer.weight] = self._round_weight(layer.weight, layer.axis)
                for name in self.graph.nodes[index].input[2:3]:
                    values[name] = self._round_bias(index, name)
            self._run_node(index, values)
            for name in self.graph.nodes[index].output:
                if name in self.plan.activations:
                    values[name] = self._round_activation(name, values[name])
        return values

    def _round_activation(self, name: str, x: Tensor) -> Tensor:
        source = self.plan.activations[name]
        scale = self.logarithms[source].exp()
        zero_point = self.zero_points[source]
        integers = _round(x / scale) + zero_point
        return (integers.clamp(-128, 127) - zero_point) * scale

    def _round_weight(self, name: str, axis: int) -> Tensor:
        weight, limit = self.weights[name], self.limits[name]
        shape = [1] * weight.ndim
        shape[axis] = -1
        scale = self.logarithms[name].exp().reshape(shape)
        return _round((weight / scale).clamp(-limit, limit)) * scale

    def _round_bias(self, index: int, name: str) -> Tensor:
        layer = self.layers[index]
        bias = self.weights[name]
        if not layer.integer_input or bias.shape != self.logarithms[layer.weight].shape:
            return bias
        source = self.plan.activations[self.graph.nodes[index].input[0]]
        step = (self.logarithms[source] + self.logarithms[layer.weight]).exp()
        return _round(bias / step) * step

    def result(self) -> tuple[ModelProto, dict[str, Scale]]:
        """Model and scales as they are now."""
        model = ModelProto()
        model.CopyFrom(self.model)
        for tensor in model.graph.initializer:
            if tensor.name in self.weights:
                value = self.weights[tensor.name].detach().numpy()
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        scales = {
            name: Scale(logarithm.detach().exp().numpy(), self.zero_points.get(name, 0))
            for name, logarithm in self.logarithms.items()
        }
        return model, scales


def _round(x: Tensor) -> Tensor:
    """Round half to even, with the gradient of the identity."""
    return x + (torch.round(x) - x).detach()
