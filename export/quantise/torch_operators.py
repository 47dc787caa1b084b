"""ONNX operators as differentiable functions of torch tensors.

Those that :data:`wav2small.export.quantise.quantize.SUPPORTED` lists.
Each takes the node's attributes and inputs, None for one that is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnx import NodeProto, TensorProto, helper
from torch import Tensor
from torch.nn import functional

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


def _padded(a: Attributes, x: Tensor, value: float) -> Tensor:
    """Map with the border that the attribute ``pads`` asks for."""
    pads = a.get("pads", [])
    half = len(pads) // 2
    pairs = [(pads[axis], pads[axis + half]) for axis in reversed(range(half))]
    flat = [side for pair in pairs for side in pair]
    return functional.pad(x, flat, value=value) if any(flat) else x


def _convolution(
    a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None
) -> Tensor:
    function = {1: functional.conv1d, 2: functional.conv2d}[w.ndim - 2]
    return function(
        _padded(a, x, 0.0),
        w,
        b,
        stride=a.get("strides", 1),
        dilation=a.get("dilations", 1),
        groups=a.get("group", 1),
    )


def _gemm(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    x = x.t() if a.get("transA") else x
    w = w.t() if a.get("transB") else w
    y = a.get("alpha", 1.0) * (x @ w)
    return y if b is None else y + a.get("beta", 1.0) * b


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    return functional.max_pool2d(
        _padded(a, x, -torch.inf), a["kernel_shape"], a.get("strides", 1)
    )


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    function = {1: functional.avg_pool1d, 2: functional.avg_pool2d}[x.ndim - 2]
    size, strides = a["kernel_shape"], a.get("strides", 1)
    y = function(_padded(a, x, 0.0), size, strides)
    if any(a.get("pads", [])) and not a.get("count_include_pad", 0):
        y = y / function(_padded(a, torch.ones_like(x), 0.0), size, strides)
    return y


def _batch_norm(a: Attributes, x: Tensor, *parameters: Tensor) -> Tensor:
    weight, bias, mean, variance = parameters
    return functional.batch_norm(
        x, mean, variance, weight, bias, eps=a.get("epsilon", 1e-5)
    )


def _axes(a: Attributes, axes: Tensor | None) -> list[int] | None:
    """Axes of a reduction: an attribute or, in later opsets, an input."""
    return (
        list(a["axes"]) if "axes" in a else axes.tolist() if axes is not None else None
    )


def _reduce(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduce(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        chosen = _axes(a, axes)
        dim = list(range(x.ndim)) if chosen is None else chosen
        return function(x, dim=dim, keepdim=bool(a.get("keepdims", 1)))

    return reduce


def _slice(
    a: Attributes,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    index = [slice(None)] * x.ndim
    chosen = range(len(starts)) if axes is None else axes.tolist()
    by = [1] * len(starts) if steps is None else steps.tolist()
    for axis, start, end, step in zip(
        chosen, starts.tolist(), ends.tolist(), by, strict=True
    ):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def _squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = _axes(a, axes)
    return x.squeeze() if chosen is None else x.squeeze(tuple(chosen))


def _unsqueeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = _axes(a, axes) or []
    rank = x.ndim + len(chosen)
    for axis in sorted(axis % rank for axis in chosen):
        x = x.unsqueeze(axis)
    return x


def _reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = [
        x.shape[axis] if size == 0 else size for axis, size in enumerate(shape.tolist())
    ]
    if sizes and sizes[0] == 1 and x.shape[0] != 1:  # written for one signal
        sizes[0] = x.shape[0]
    return x.reshape(sizes)


def _flatten(a: Attributes, x: Tensor) -> Tensor:
    axis = a.get("axis", 1)
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


def _pad(a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None) -> Tensor:
    border = 0.0 if value is None else float(value)
    return _padded({"pads": pads.tolist()}, x, border)


def _clip(
    a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, low, high)


def _cast(a: Attributes, x: Tensor) -> Tensor:
    kind = {
        TensorProto.FLOAT: torch.float32,
        TensorProto.INT64: torch.int64,
        TensorProto.INT32: torch.int32,
    }[a["to"]]
    return x.to(kind)


def _hard_sigmoid(a: Attributes, x: Tensor) -> Tensor:
    return torch.clamp(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1)


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Abs": lambda a, x: x.abs(),
    "Add": lambda a, x, y: x + y,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda a, *parts: torch.cat(parts, dim=a["axis"]),
    "Conv": _convolution,
    "Div": lambda a, x, y: x / y,
    "Exp": lambda a, x: x.exp(),
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda a, x: functional.hardswish(x),
    "Identity": lambda a, x: x,
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a.get("alpha", 0.01)),
    "Log": lambda a, x: x.log(),
    "MatMul": lambda a, x, y: x @ y,
    "Max": lambda a, x, y: torch.maximum(x, y),
    "MaxPool": _max_pool,
    "Min": lambda a, x, y: torch.minimum(x, y),
    "Mul": lambda a, x, y: x * y,
    "Neg": lambda a, x: -x,
    "Pad": _pad,
    "Pow": lambda a, x, y: x**y,
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Relu": lambda a, x: x.relu(),
    "Reshape": _reshape,
    "Shape": lambda a, x: torch.tensor(x.shape[a.get("start", 0) : a.get("end")]),
    "Sigmoid": lambda a, x: x.sigmoid(),
    "Slice": _slice,
    "Softmax": lambda a, x: x.softmax(dim=a.get("axis", -1)),
    "Sqrt": lambda a, x: x.sqrt(),
    "Squeeze": _squeeze,
    "Sub": lambda a, x, y: x - y,
    "Tanh": lambda a, x: x.tanh(),
    "Transpose": lambda a, x: x.permute(a.get("perm", tuple(range(x.ndim))[::-1])),
    "Unsqueeze": _unsqueeze,
}
"""Function of each operator."""
