"""Static int8 quantisation, written as QuantizeLinear and DequantizeLinear.

Three regions are told apart by the structure of the graph:

* the **front end**, everything before the first layer with learned weights,
  stays float: a power spectrum spans more than 80 dB, 8 bits less than 50
* the **body** has int8 activations and int8 weights
* the **tail**, everything after the last convolution,
  has float activations and int8 weights:
  softmax pooling sums products of about one over the number of frames.
  A matrix product or mean that reads the body's int8 tensor as it is reads int8.

Learned layers are convolutions and products with a constant matrix
that no logarithm on the way to a convolution depends on.

Between measuring and writing stands a plain mapping
from a tensor's name to its :class:`wav2small.export.quantise.scales.Scale`:
:func:`wav2small.export.quantise.plan.plan` says which tensors need one,
:func:`wav2small.export.quantise.scales.measure_scales` makes them from signals,
:func:`wav2small.export.quantise.write.write_quantised` takes them from anywhere,
trained ones as well.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from onnx import ModelProto

from ..model.compact import expand_constants
from .config import QuantConfig
from .padding import pad_channels
from .plan import Plan, plan
from .scales import Scale, measure_scales
from .write import write_quantised


def quantize(
    model: ModelProto,
    calibration_signals: Iterable[np.ndarray],
    config: QuantConfig | None = None,
) -> ModelProto:
    """Quantise a float model by the range that its tensors have on signals.

    Args:
        model: float ONNX model, input ``(1, time)``
        calibration_signals: signals as the model will meet them,
            each of shape ``(samples,)``
        config: configuration, the default one if None

    Returns:
        compact QDQ model with the same input and output

    Raises:
        ExportError: if an operator is not supported,
            nothing can be quantised,
            or a signal cannot be used

    """
    config = config or QuantConfig()
    model, parts = prepare_to_quantise(model, config)
    return write_quantised(
        model, parts, measure_scales(model, parts, calibration_signals), config
    )


def prepare_to_quantise(
    model: ModelProto, config: QuantConfig | None = None
) -> tuple[ModelProto, Plan]:
    """Bring a float model into the form that is measured, tuned and written.

    Args:
        model: float ONNX model, input ``(1, time)``
        config: configuration, the default one if None

    Returns:
        model with stored constants and padded channels, and its plan

    Raises:
        ExportError: if an operator is not supported or nothing can be quantised

    """
    config = config or QuantConfig()
    model = expand_constants(model)
    learned = [layer.node for layer in plan(model).layers]
    model = pad_channels(model, learned, config.channel_multiple)
    return model, plan(model)


def fitting_config(
    model: ModelProto,
    plan: Plan,
    scales: Mapping[str, Scale],
    max_bytes: int,
    config: QuantConfig | None = None,
) -> QuantConfig:
    """Give as few layers 4 bits as bring a model under a size.

    Args:
        model: float model that the plan was made for
        plan: plan of that model
        scales: scale of each of ``plan.measured``
        max_bytes: largest size of the written model, without metadata
        config: configuration to start from, the default one if None

    Returns:
        configuration with the fewest ``four_bit_layers`` that fit,
        or with as many as there are layers if none does

    """
    config = config or QuantConfig()

    def fits(count: int) -> bool:
        written = write_quantised(
            model, plan, scales, replace(config, four_bit_layers=count)
        )
        return written.ByteSize() <= max_bytes

    counts = range(config.four_bit_layers, len(plan.layers))
    found = bisect.bisect_left(counts, True, key=fits)
    return replace(config, four_bit_layers=config.four_bit_layers + found)
