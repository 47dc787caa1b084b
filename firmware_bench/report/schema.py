"""JSON and its schema from the report's dataclasses."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": 0},
    float: {"type": "number", "minimum": 0},
    types.NoneType: {"type": "null"},
}


def to_json(report: Any) -> dict[str, Any]:
    """Turn a dataclass, and all that it holds, into the types of JSON."""
    found: dict[str, Any] = _json_types(report)
    return found


def _json_types(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: _json_types(getattr(value, name)) for name in names}
    if hasattr(value, "_asdict"):  # a named tuple
        return {name: _json_types(entry) for name, entry in value._asdict().items()}
    if isinstance(value, Mapping):
        return {name: _json_types(entry) for name, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_json_types(entry) for entry in value]
    return value


def make_schema(kind: type) -> dict[str, Any]:
    """JSON schema of what :func:`to_json` makes of a dataclass.

    Numbers are 0 or more.
    ``Annotated[int, ("minimum", 1)]`` adds a keyword of JSON schema to a type.

    Args:
        kind: dataclass, whose fields are dataclasses, named tuples,
            sequences, mappings from strings, pairs, literals, unions or plain types

    """
    definitions: dict[str, Any] = {}
    root = _object(kind, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": root.pop("description"),
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _object(kind: type, definitions: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    else:
        names = list(hints)
    return {
        "description": (kind.__doc__ or "").partition("\n")[0],
        "type": "object",
        "properties": {name: _schema(hints[name], definitions) for name in names},
        "required": names,
        "additionalProperties": False,
    }


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _schema(arguments[0], definitions) | dict(arguments[1:])
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(entry, definitions) for entry in arguments]}
    if origin is tuple:
        count = len(arguments)
        items = {"type": "array", "items": _schema(arguments[0], definitions)}
        return {**items, "minItems": count, "maxItems": count}
    if origin is Sequence:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is Mapping:
        values = _schema(arguments[1], definitions)
        return {"type": "object", "additionalProperties": values}
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = _object(kind, definitions)
    return {"$ref": f"#/$defs/{kind.__name__}"}
