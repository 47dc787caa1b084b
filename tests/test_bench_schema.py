"""The report's schema is made from its dataclasses, and says what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Any, Literal, NamedTuple

import jsonschema
import pytest

from wav2small.firmware_bench.report.model import FirmwareReport
from wav2small.firmware_bench.report.schema import make_schema, to_json

REFRESH = """
import json, pathlib
from wav2small.firmware_bench.report import model, schema
path = pathlib.Path(model.__file__).with_name("report.schema.json")
path.write_text(json.dumps(schema.make_schema(model.FirmwareReport), indent=1) + "\\n")
"""


class Pair(NamedTuple):
    """Two numbers."""

    left: int
    right: float


@dataclass(frozen=True)
class Inner:
    """Inside."""

    texts: Sequence[str]
    pair: Pair | None


@dataclass(frozen=True)
class Outer:
    """Outside.

    More about it.
    """

    inner: Inner
    interval: tuple[float, float]
    counts: Mapping[str, int]
    kind: Literal["a", "b"]
    count: Annotated[int, ("minimum", 1)]
    passed: bool | None


OUTER = Outer(Inner(("x",), Pair(1, 2.5)), (0.5, 1), {"k": 3}, "a", 2, None)
AS_JSON: dict[str, Any] = {
    "inner": {"texts": ["x"], "pair": {"left": 1, "right": 2.5}},
    "interval": [0.5, 1],
    "counts": {"k": 3},
    "kind": "a",
    "count": 2,
    "passed": None,
}


def test_the_committed_schema_is_the_generated_one():
    committed = resources.files("wav2small.firmware_bench.report").joinpath(
        "report.schema.json"
    )
    made = json.dumps(make_schema(FirmwareReport), indent=1) + "\n"
    assert committed.read_text() == made, f"run python -c '{REFRESH}'"


def test_dataclasses_become_the_types_of_json():
    assert to_json(OUTER) == AS_JSON
    assert list(to_json(OUTER)) == list(AS_JSON)


def test_a_schema_takes_what_its_class_gives():
    schema = make_schema(Outer)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == "Outside." and set(schema["$defs"]) == {"Inner", "Pair"}
    jsonschema.validate(AS_JSON, schema)
    jsonschema.validate({**AS_JSON, "inner": {"texts": [], "pair": None}}, schema)


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1},
        {"inner": {"texts": ["x"]}},
        {"inner": {"texts": [1], "pair": None}},
        {"inner": {"texts": ["x"], "pair": {"left": 1.5, "right": 1}}},
        {"interval": [1]},
        {"interval": [1, 2, 3]},
        {"counts": {"k": -1}},
        {"kind": "c"},
        {"count": 0},
        {"passed": 1},
    ],
)
def test_a_schema_refuses_everything_else(change):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**AS_JSON, **change}, make_schema(Outer))
    missing = {name: AS_JSON[name] for name in AS_JSON if name not in change}
    if len(missing) < len(AS_JSON):
        with pytest.raises(jsonschema.ValidationError, match="required"):
            jsonschema.validate(missing, make_schema(Outer))
