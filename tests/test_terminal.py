"""What the command line writes."""

from __future__ import annotations

import json
import math

from wav2small.cli import terminal


def test_json_of_what_is_no_number() -> None:
    value = {"a": [1.5, math.nan, (math.inf, "nan")], "b": {"c": -math.inf, "d": None}}
    told = json.loads(terminal.to_json(value), parse_constant=lambda name: 1 / 0)
    assert told == {"a": [1.5, None, [None, "nan"]], "b": {"c": None, "d": None}}
