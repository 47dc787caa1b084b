"""Optional outputs of a model beside its scores, from the same pooled numbers.

``categories`` has the log-odds of one category for each number, up to a sum,
so that its softmax is how likely each category is: shape ``(1, categories)``;
their names are the metadata entry of that name.
``doubt`` has the natural logarithm of how far each score may be off,
as a mean absolute error: shape ``(1, scores)``.
The scores do not depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ..base.errors import ExportError
from ..base.outputs import CATEGORIES, DOUBT, FURTHER, parse_names
from .speech import OUTPUT as SPEECH
from .topology import Topology


def scores_name(model: ModelProto) -> str:
    """Name of the one output that none of the optional ones is.

    Raises:
        ExportError: if there is none, or another besides

    """
    names = [value.name for value in model.graph.output]
    others = [name for name in names if name not in (*FURTHER, SPEECH)]
    if len(others) != 1:
        raise ExportError(
            f"model must have one output beside {' and '.join(FURTHER)}, got "
            f"{', '.join(others) or 'none'}: export it with the signal alone"
        )
    return others[0]


def category_names(model: ModelProto) -> tuple[str, ...]:
    """Names of the categories, empty if the model has none.

    Raises:
        ExportError: if they do not fit the output, or one is no plain word

    """
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.output
    }
    if CATEGORIES not in shapes:
        return ()
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return parse_names(metadata, shapes[CATEGORIES])


def with_further(
    model: ModelProto,
    *,
    categories: Sequence[str],
    weight: np.ndarray,
    bias: np.ndarray,
) -> ModelProto:
    """Give an int8 model the outputs ``categories`` and ``doubt``.

    Args:
        model: int8 model whose scores are made by a Gemm of the pooled numbers
        categories: names
        weight: of both outputs, ``(categories + 3, pooled numbers)``
        bias: ``(categories + 3,)``

    Returns:
        new model; weights have 8 bits and a scale for each output

    Raises:
        ExportError: if another operator makes the scores, or sizes do not fit

    """
    whole = ModelProto()
    whole.CopyFrom(model)
    topology = Topology(whole)
    last = topology.producer.get(scores_name(whole))
    node = None if last is None else topology.nodes[last]
    if node is None or node.op_type != "Gemm":
        raise ExportError(
            "scores must be made by a Gemm to get further outputs, got "
            f"{node.op_type if node else 'none'}: choose a model that streams"
        )
    parts = {CATEGORIES: len(categories), DOUBT: len(weight) - len(categories)}
    start = 0
    for name, count in parts.items():
        rows = slice(start, start + count)
        _add(whole, name, node.input[0], weight[rows], bias[rows])
        start += count
    whole.metadata_props.add(key=CATEGORIES, value=",".join(categories))
    category_names(whole)
    return whole


def _add(
    model: ModelProto, name: str, source: str, weight: np.ndarray, bias: np.ndarray
) -> None:
    scale = np.maximum(np.abs(weight).max(axis=1), 1e-6).astype(np.float32) / 127
    constants = {
        "weight": np.rint(weight / scale[:, None]).astype(np.int8),
        "scale": scale.astype(np.float32),
        "zero": np.zeros(len(weight), np.int8),
        "bias": bias.astype(np.float32),
    }
    model.graph.initializer.extend(
        numpy_helper.from_array(values, f"{name}_{key}")
        for key, values in constants.items()
    )
    inputs = [f"{name}_{key}" for key in ("weight", "scale", "zero")]
    wide = f"{name}_wide"
    model.graph.node.extend(
        [
            helper.make_node("DequantizeLinear", inputs, [wide], axis=0),
            helper.make_node("Gemm", [source, wide, f"{name}_bias"], [name], transB=1),
        ]
    )
    model.graph.output.append(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, len(weight)])
    )
