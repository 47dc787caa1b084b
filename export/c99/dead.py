"""Leave out channels that change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..integer.graph import IntegerGraph
from ..integer.operators.base import Operator
from ..integer.operators.convolution import Convolution
from ..integer.operators.max_pool import MaxPool


def without_dead_channels(graph: IntegerGraph) -> IntegerGraph:
    """Leave out channels of maps that no operator's result depends on.

    Such channels come from padding to a multiple that some kernels want.
    A channel goes if a convolution or a maximum makes it
    and all that read it are maxima whose channel goes, too,
    or convolutions whose weights for it are 0,
    or which only add 0 as the channel is 0 everywhere, as its border is.
    Every other number stays as it is.

    Args:
        graph: model

    Returns:
        model with fewer channels, the same one if none is dead

    """
    readers: dict[str, list[Operator]] = {name: [] for name in graph.tensors}
    for operator in graph.operators:
        for name in operator.inputs:
            if name in readers:
                readers[name].append(operator)
    zero: dict[str, np.ndarray] = {}
    for operator in graph.operators:
        if isinstance(operator, Convolution) and operator.groups == 1:
            zero[operator.output] = _zero(graph, operator)
        elif isinstance(operator, MaxPool) and operator.inputs[0] in zero:
            zero[operator.output] = zero[operator.inputs[0]]
    kept: dict[str, np.ndarray] = {}
    for operator in reversed(graph.operators):
        name = operator.output
        if name not in zero or name == graph.output or not readers[name]:
            continue
        needed = np.zeros(len(zero[name]), bool)
        for reader in readers[name]:
            needed |= _needed(reader, zero[name], kept)
        # a map needs at least one channel
        needed[0] |= not needed.any()
        kept[name] = needed
    if all(needed.all() for needed in kept.values()):
        return graph
    tensors = dict(graph.tensors)
    for name, needed in kept.items():
        shape = tensors[name].shape
        shape = (shape[0], int(needed.sum()), *shape[2:])
        tensors[name] = replace(tensors[name], shape=shape)
    operators = tuple(_narrowed(operator, kept) for operator in graph.operators)
    return replace(graph, tensors=tensors, operators=operators)


def _zero(graph: IntegerGraph, operator: Convolution) -> np.ndarray:
    """Which outputs are 0 whatever comes in, ``(outputs,)``."""
    bias = operator.bias == 0
    silent = ~operator.weight.reshape(len(operator.weight), -1).any(axis=1)
    # an int8 0 is its zero point, which saturation leaves alone
    return silent & bias & (graph.tensors[operator.output].dtype == "int8")


def _needed(
    reader: Operator, zero: np.ndarray, kept: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Channels whose numbers an operator needs, ``(channels,)``."""
    if isinstance(reader, Convolution) and reader.groups == 1:
        return reader.weight.any(axis=(0, 2, 3)) & ~zero
    if isinstance(reader, MaxPool) and reader.output in kept:
        return kept[reader.output]
    return np.ones(len(zero), bool)


def _narrowed(operator: Operator, kept: Mapping[str, np.ndarray]) -> Operator:
    """Operator without the weights of channels that are left out."""
    if not isinstance(operator, Convolution) or operator.groups != 1:
        return operator
    if operator.inputs[0] in kept:
        weight = operator.weight[:, kept[operator.inputs[0]]]
        operator = replace(operator, weight=weight)
    if operator.output not in kept:
        return operator
    outputs = kept[operator.output]
    factors = {
        name: np.broadcast_to(getattr(operator.rescale, name), outputs.shape)[outputs]
        for name in ("factor", "multiplier", "shift")
    }
    return replace(
        operator,
        weight=operator.weight[outputs],
        bias=operator.bias[outputs],
        rescale=replace(operator.rescale, **factors),
    )
