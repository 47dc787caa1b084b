"""Bytes of a TFLite file: a flatbuffer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .file import Operation, TfliteModel

_ALIGNMENT = 16
"""Bytes that constants are aligned to, for loads of whole vectors."""


def serialise(model: TfliteModel, metadata: Mapping[str, str]) -> bytes:
    """Write the flatbuffer of a model."""
    return _Writer(model, metadata).bytes()


class _Writer:
    def __init__(self, model: TfliteModel, metadata: Mapping[str, str]) -> None:
        import flatbuffers
        from ai_edge_litert import schema_py_generated

        self.schema = schema_py_generated
        self.model, self.metadata = model, metadata
        self.builder = flatbuffers.Builder(1024)
        self.codes: list[tuple[str, int]] = []

    def table(self, kind: str, **fields: Any) -> int:
        """Table of the schema; a field that is None is left out."""
        getattr(self.schema, f"{kind}Start")(self.builder)
        for field, value in fields.items():
            if value is not None:
                getattr(self.schema, f"{kind}Add{field}")(self.builder, value)
        return int(getattr(self.schema, f"{kind}End")(self.builder))

    def vector(self, data: np.ndarray, alignment: int = 0) -> int:
        """Numbers one after the other."""
        builder = self.builder
        size = data.dtype.itemsize
        raw = _little_endian(data)
        builder.StartVector(size, data.size, alignment or size)
        builder.head -= len(raw)
        builder.Bytes[builder.head : builder.head + len(raw)] = raw
        return int(builder.EndVector())

    def offsets(self, entries: Sequence[int]) -> int:
        """Tables one after the other."""
        self.builder.StartVector(4, len(entries), 4)
        for entry in reversed(entries):
            self.builder.PrependUOffsetTRelative(entry)
        return int(self.builder.EndVector())

    def bytes(self) -> bytes:
        """All of the file."""
        contents = [b""]  # the first one is that of all tensors without constants
        places: list[int] = []
        for tensor in self.model.tensors:
            content = b"" if tensor.data is None else _little_endian(tensor.data)
            if content not in contents:
                contents.append(content)
            places.append(contents.index(content))
        names = []
        for key, text in self.metadata.items():
            names.append((key, len(contents)))
            contents.append(text.encode())
        buffers = []
        for content in contents:
            data = np.frombuffer(content, np.uint8)
            field = self.vector(data, _ALIGNMENT) if content else None
            buffers.append(self.table("Buffer", Data=field))
        tensors = self._tensors(places)
        operators = [self._operator(entry) for entry in self.model.operations]
        name = self.builder.CreateString("main")
        subgraph = self.table(
            "SubGraph",
            Name=name,
            Tensors=self.offsets(tensors),
            Inputs=self.vector(np.array([self.model.input], np.int32)),
            Outputs=self.vector(np.array([self.model.output], np.int32)),
            Operators=self.offsets(operators),
        )
        entries = [
            self.table("Metadata", Name=self.builder.CreateString(key), Buffer=place)
            for key, place in names
        ]
        root = self.table(
            "Model",
            Version=3,
            OperatorCodes=self.offsets([self._code(*code) for code in self.codes]),
            Subgraphs=self.offsets([subgraph]),
            Buffers=self.offsets(buffers),
            Metadata=self.offsets(entries) if entries else None,
        )
        self.builder.Finish(root, b"TFL3")
        return bytes(self.builder.Output())

    def _tensors(self, places: Sequence[int]) -> list[int]:
        tensors = []
        for tensor, place in zip(self.model.tensors, places, strict=True):
            quantization = None
            if tensor.scale is not None:
                scale = np.asarray(tensor.scale, np.float32)
                zeros = np.full(scale.size, tensor.zero_point, np.int64)
                quantization = self.table(
                    "QuantizationParameters",
                    Scale=self.vector(scale),
                    ZeroPoint=self.vector(zeros),
                    QuantizedDimension=tensor.channel_axis,
                )
            tensors.append(
                self.table(
                    "Tensor",
                    Name=self.builder.CreateString(tensor.name),
                    Type=getattr(self.schema.TensorType, tensor.dtype.upper()),
                    Shape=self.vector(np.array(tensor.shape, np.int32)),
                    Buffer=place,
                    Quantization=quantization,
                )
            )
        return tensors

    def _operator(self, operation: Operation) -> int:
        code = operation.code, operation.version
        if code not in self.codes:
            self.codes.append(code)
        fields = dict(operation.fields)
        if "Padding" in fields:
            fields["Padding"] = getattr(self.schema.Padding, fields["Padding"])
        if "NewShape" in fields:
            fields["NewShape"] = self.vector(np.array(fields["NewShape"], np.int32))
        return self.table(
            "Operator",
            Inputs=self.vector(np.array(operation.inputs, np.int32)),
            Outputs=self.vector(np.array([operation.output], np.int32)),
            BuiltinOptions=self.table(operation.options, **fields),
            OpcodeIndex=self.codes.index(code),
            BuiltinOptionsType=getattr(self.schema.BuiltinOptions, operation.options),
        )

    def _code(self, name: str, version: int) -> int:
        number = getattr(self.schema.BuiltinOperator, name)
        return self.table(
            "OperatorCode",
            DeprecatedBuiltinCode=min(number, 127),
            Version=version,
            BuiltinCode=number,
        )


def _little_endian(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
