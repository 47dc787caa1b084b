"""ONNX operators as differentiable functions of torch tensors.

Those that :data:`wav2small.export.quantise.plan.SUPPORTED` lists.
Each takes the node's attributes and inputs, None for one that is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnx import NodeProto, TensorProto, helper
from torch import Tensor
from torch.nn import functional

from ..integer.operators import TRAITS
from ..integer.operators.base import padded, reduction_axes

Attributes = dict[str, Any]


def run(node: NodeProto, inputs: list[Tensor | None]) -> Tensor:
    """Compute the output of a node.

    Raises:
        KeyError: if there is no such operator here

    """
    attributes = {
        entry.name: helper.get_attribute_value(entry) for entry in node.attribute
    }
    return OPERATORS[node.op_type](attributes, *inputs)


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    function = {1: functional.avg_pool1d, 2: functional.avg_pool2d}[x.ndim - 2]
    size, strides = a["kernel_shape"], a.get("strides", 1)
    y = function(padded(a, x, 0.0), size, strides)
    if any(a.get("pads", [])) and not a.get("count_include_pad", 0):
        y = y / function(padded(a, torch.ones_like(x), 0.0), size, strides)
    return y


def _batch_norm(a: Attributes, x: Tensor, *parameters: Tensor) -> Tensor:
    weight, bias, mean, variance = parameters
    return functional.batch_norm(
        x, mean, variance, weight, bias, eps=a.get("epsilon", 1e-5)
    )


def _reduce_max(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    dim = reduction_axes(a, axes)
    dim = list(range(x.ndim)) if dim is None else dim
    return torch.amax(x, dim=dim, keepdim=bool(a.get("keepdims", 1)))


def _pad(a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None) -> Tensor:
    border = 0.0 if value is None else float(value)
    return padded({"pads": pads.tolist()}, x, border)


def _cast(a: Attributes, x: Tensor) -> Tensor:
    kind = {
        TensorProto.FLOAT: torch.float32,
        TensorProto.INT64: torch.int64,
        TensorProto.INT32: torch.int32,
    }[a["to"]]
    return x.to(kind)


OPERATORS: dict[str, Callable[..., Tensor]] = {
    **{name: traits.torch for name, traits in TRAITS.items()},
    "Abs": lambda a, x: x.abs(),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Div": lambda a, x, y: x / y,
    "Exp": lambda a, x: x.exp(),
    "Identity": lambda a, x: x,
    "Log": lambda a, x: x.log(),
    "Max": lambda a, x, y: torch.maximum(x, y),
    "Min": lambda a, x, y: torch.minimum(x, y),
    "Neg": lambda a, x: -x,
    "Pad": _pad,
    "Pow": lambda a, x, y: x**y,
    "ReduceMax": _reduce_max,
    "Sqrt": lambda a, x: x.sqrt(),
    "Sub": lambda a, x, y: x - y,
}
"""Function of each operator."""
