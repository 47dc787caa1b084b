"""What an ONNX model may hold; everything else is refused.

A list of what is allowed stays right when the format grows.
Allowed is what computes scores from a signal:
dense weights within the file, operators that give the same numbers each time,
branches and functions of a bounded size.
Left out are weights in other files, sparse and text tensors, training,
loops that need not end, random numbers, and operators of unknown libraries.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
)

from .errors import InputError
from .escape import short

MOST_NODES = 20_000
"""Nodes that a model may have, functions inlined; a large transformer has 5,000."""

MOST_PARTS = 400_000
"""Nodes, attributes, tensors and descriptions of tensors, all together."""

MOST_METADATA = 1_000_000
"""Characters of all metadata."""

DEEPEST = 8
"""How deep branches may lie within branches."""

FIELDS: dict[str, frozenset[str]] = {
    name: frozenset(fields.split())
    for name, fields in {
        "ModelProto": "ir_version opset_import producer_name producer_version domain "
        "model_version doc_string graph metadata_props functions",
        "GraphProto": "node name initializer doc_string input output value_info "
        "quantization_annotation metadata_props",
        "NodeProto": "input output name op_type domain overload attribute doc_string "
        "metadata_props",
        "FunctionProto": "name input output attribute attribute_proto node doc_string "
        "opset_import domain overload value_info metadata_props",
        "TensorProto": "dims data_type name doc_string raw_data float_data int32_data "
        "int64_data double_data uint64_data data_location metadata_props",
        "ValueInfoProto": "name type doc_string metadata_props",
        "StringStringEntryProto": "key value",
        "TypeProto": "tensor_type sequence_type denotation",
    }.items()
}
"""Fields that may be filled, by message."""

_VALUES: dict[int, str] = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
}
"""Types that an attribute may have, each with the field of its value."""

_BITS: dict[int, int] = {
    TensorProto.FLOAT: 32,
    TensorProto.UINT8: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT16: 16,
    TensorProto.INT16: 16,
    TensorProto.INT32: 32,
    TensorProto.INT64: 64,
    TensorProto.BOOL: 8,
    TensorProto.FLOAT16: 16,
    TensorProto.DOUBLE: 64,
    TensorProto.UINT32: 32,
    TensorProto.UINT64: 64,
    TensorProto.BFLOAT16: 16,
    TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.FLOAT8E5M2: 8,
    TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
}
"""Types that a tensor may have, each with the bits of a value."""

_DATA: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}
"""Fields of values that are stored one by one; ``int32_data`` for other types."""

_STANDARD = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention
AveragePool BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr
BitwiseXor BlackmanWindow Cast CastLike Ceil Celu Clip Compress Concat
ConcatFromSequence Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos
Cosh CumSum DFT DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear
Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements
GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
GreaterOrEqual GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish
Hardmax Identity If InstanceNormalization IsInf IsNaN LRN LSTM
LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization
LpPool MatMul MatMulInteger Max MaxPool Mean MeanVarianceNormalization
MelWeightMatrix Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow
QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RNN Range Reciprocal
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence
RotaryEmbedding Round STFT Scatter ScatterElements ScatterND Selu SequenceAt
SequenceConstruct SequenceLength Shape Shrink Sigmoid Sign Sin Sinh Size Slice
Softmax Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze Sub
Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample
Where Xor
"""
_MICROSOFT = """
Attention BiasGelu DequantizeLinear DynamicQuantizeLSTM DynamicQuantizeMatMul
EmbedLayerNormalization FastGelu FusedConv FusedGemm FusedMatMul Gelu
MatMulInteger16 MatMulIntegerToFloat MatMulNBits MultiHeadAttention QAttention
QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearGlobalAveragePool
QLinearLeakyRelu QLinearMul QLinearSigmoid QLinearSoftmax QuantizeLinear
QuickGelu RelativePositionBias SimplifiedLayerNormalization
SkipLayerNormalization SkipSimplifiedLayerNormalization
"""

OPERATORS: dict[str, frozenset[str]] = {
    "": frozenset(_STANDARD.split()),
    # what onnxruntime's own tools write for quantised and fused transformers
    "com.microsoft": frozenset(_MICROSOFT.split()),
}
"""Operators that a model may hold, by domain."""
OPERATORS["ai.onnx"] = OPERATORS[""]


def check(
    model: ModelProto,
    where: str,
    error: type[InputError] = InputError,
    *,
    only_look: bool = False,
) -> None:
    """Refuse a model that holds what is not on the lists of this module.

    Nothing is allocated or run: only what stands in the model is looked at.

    Args:
        model: model
        where: what errors call it
        error: type of the error
        only_look: let in operators that are not on the list and fields that
            nobody knows; for what does not run the model

    Raises:
        InputError: of the type given, if it does

    """
    try:
        _Check(model, only_look).run()
    except _Refused as refused:
        raise error(f"{where} {refused}") from refused


class _Refused(Exception):
    """What must be, what is there, what to do."""


class _Check:
    def __init__(self, model: ModelProto, only_look: bool) -> None:
        self.model = model
        self.only_look = only_look
        self.functions: dict[tuple[str, str], FunctionProto] = {}
        self.sizes: dict[tuple[str, str], int] = {}
        self.open: set[tuple[str, str]] = set()
        self.parts = 0

    def run(self) -> None:
        model = self.model
        self.fields(model)
        for entry in model.metadata_props:
            self.fields(entry)
        text = sum(len(entry.key) + len(entry.value) for entry in model.metadata_props)
        if text > MOST_METADATA:
            raise _Refused(
                f"must have at most {MOST_METADATA:,} characters of metadata, got "
                f"{text:,}: leave some out"
            )
        self.unique("metadata", [entry.key for entry in model.metadata_props])
        for function in model.functions:
            self.functions[function.domain, function.name] = function
        if len(self.functions) < len(model.functions):
            raise _Refused("must have functions of different names: export it again")
        graphs = [model.graph.node, *(function.node for function in model.functions)]
        self.limit_nodes(sum(map(len, graphs)))
        for function in model.functions:
            self.fields(function)
            self.values(function.value_info)
            self.attributes(function.attribute_proto, function.name, 0)
            self.inlined((function.domain, function.name))
        self.graph(model.graph, 0)

    def inlined(self, key: tuple[str, str]) -> int:
        """Nodes of a function, with those of the functions that it calls."""
        if key in self.open:
            raise _Refused(
                f"must have functions that do not call themselves, got "
                f"'{short(key[1])}': export it again"
            )
        if key not in self.sizes:
            if len(self.open) > 50:
                raise _Refused("must have functions nested at most 50 deep: inline it")
            self.open.add(key)
            self.sizes[key] = self.nodes(self.functions[key].node, 0)
            self.open.remove(key)
        return self.sizes[key]

    def graph(self, graph: GraphProto, depth: int) -> int:
        """Check a graph and return its nodes, functions inlined."""
        if depth > DEEPEST:
            raise _Refused(
                f"must have branches nested at most {DEEPEST} deep: simplify it"
            )
        self.fields(graph)
        self.count(len(graph.quantization_annotation))
        for values in (graph.input, graph.output, graph.value_info):
            self.values(values)
        self.count(len(graph.initializer))
        for tensor in graph.initializer:
            self.tensor(tensor)
        self.unique("constants", [tensor.name for tensor in graph.initializer])
        return self.nodes(graph.node, depth)

    def nodes(self, nodes: Sequence[NodeProto], depth: int) -> int:
        self.limit_nodes(len(nodes))
        total = 0
        for node in nodes:
            self.fields(node)
            self.count(1 + len(node.input) + len(node.output))
            key = node.domain, node.op_type
            if key in self.functions:
                total += self.inlined(key)
            elif not (self.only_look or node.op_type in OPERATORS.get(node.domain, ())):
                raise _Refused(
                    "must have operators that give the same numbers each time and "
                    f"end, got {short('.'.join(filter(None, key)))} '"
                    f"{short(node.name or next(iter(node.output), ''))}': "
                    "export it without"
                )
            total += 1 + self.attributes(node.attribute, node.op_type, depth)
            self.limit_nodes(total)
        return total

    def attributes(
        self, attributes: Sequence[AttributeProto], owner: str, depth: int
    ) -> int:
        """Check attributes and return the nodes of their graphs."""
        self.count(len(attributes))
        total = 0
        for attribute in attributes:
            self.unknown(attribute)
            filled = {field.name for field, _ in attribute.ListFields()}
            filled -= {"name", "type", "doc_string", "ref_attr_name"}
            if filled - {_VALUES.get(attribute.type)}:
                raise _Refused(
                    f"must have attributes of numbers, text, tensors or branches, got "
                    f"'{short(attribute.name)}' of {short(owner)}: export it without"
                )
            if attribute.type == AttributeProto.TENSOR and filled:
                self.tensor(attribute.t)
            if attribute.type == AttributeProto.GRAPH and filled:
                if owner != "If":
                    raise _Refused(
                        f"must have branches of If alone, got one of {short(owner)}: "
                        "export it without"
                    )
                total += self.graph(attribute.g, depth + 1)
        return total

    def values(self, values: Iterable[Any]) -> None:
        for value in values:
            self.count(1)
            self.fields(value)
            self.fields(value.type)
            kind = value.type
            if kind.HasField("sequence_type"):
                kind = kind.sequence_type.elem_type
                self.fields(kind)
            self.count(len(kind.tensor_type.shape.dim))

    def tensor(self, tensor: TensorProto) -> None:
        """Check that a tensor has the bytes of its shape, and no other."""
        name = short(tensor.name)
        if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
            raise _Refused(
                f"must hold all of its weights, got external data for '{name}': "
                "save it as one file"
            )
        self.fields(tensor)
        if tensor.data_type not in _BITS:
            raise _Refused(
                f"must have tensors of numbers, got type {tensor.data_type} of "
                f"'{name}': export it without"
            )
        bits = _BITS[tensor.data_type]
        stored = {
            field: len(getattr(tensor, field))
            for field in (
                "raw_data", "float_data", "int32_data", "int64_data", "double_data",
                "uint64_data",
            )
            if len(getattr(tensor, field))
        }  # fmt: skip
        count = math.prod(tensor.dims)
        if bits < 8:
            expected = {"raw_data": -(-count * bits // 8)}
            expected["int32_data"] = expected["raw_data"]
        else:
            expected = {"raw_data": count * bits // 8}
            expected[_DATA.get(tensor.data_type, "int32_data")] = count
        good = any(stored == {field: size} for field, size in expected.items())
        if not (good or (count == 0 and not stored)) or not all(
            0 <= dim < 2**31 for dim in tensor.dims
        ):
            raise _Refused(
                f"must have constants with the bytes of their shape, got "
                f"{short(list(tensor.dims))} and {stored or 'nothing'} of '{name}': "
                "export it again"
            )

    def fields(self, message: Message) -> None:
        """Refuse a field that is not listed, or that this version does not know."""
        self.unknown(message)
        kind = message.DESCRIPTOR.name
        for field, value in message.ListFields():
            if field.type == field.TYPE_STRING:
                texts = [value] if isinstance(value, str | bytes) else value
                if bytes in map(type, texts):
                    raise _Refused("must have names that are UTF-8: export it again")
            if field.name not in FIELDS[kind]:
                raise _Refused(
                    f"must hold dense weights and operators alone, got {field.name} in "
                    f"'{short(getattr(message, 'name', 'model'))}': export it without"
                )

    def unknown(self, message: Message) -> None:
        if not self.only_look and len(UnknownFieldSet(message)):
            raise _Refused(
                "must have fields that this version of onnx knows: export it again"
            )

    def unique(self, what: str, names: list[str]) -> None:
        if len(set(names)) < len(names):
            raise _Refused(f"must have {what} of different names: export it again")

    def count(self, parts: int) -> None:
        self.parts += parts
        if self.parts > MOST_PARTS:
            raise _Refused(f"must have at most {MOST_PARTS:,} parts: simplify it")

    def limit_nodes(self, nodes: int) -> None:
        if nodes > MOST_NODES:
            raise _Refused(
                f"must have at most {MOST_NODES:,} nodes, functions inlined, got "
                f"{nodes:,} or more: simplify it"
            )
