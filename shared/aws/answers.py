"""Shapes what a handler returns into what the output model promises.

Members that are None or not in the model are left out, never null. Values are not checked: AWS's own answers
break their model's patterns (a dataset import job's roleArn is typed as a Personalize ARN).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson


def body(output: Any, members: Mapping[str, Any]) -> bytes:
    """The JSON body of an answer; empty for an operation without output. `output` is a botocore shape.

    Timestamps may be aware datetimes or epoch seconds; they leave as epoch seconds with milliseconds.
    """
    if output is None:
        return b""
    return orjson.dumps(_shaped(output, members), option=orjson.OPT_SERIALIZE_NUMPY)


def _shaped(shape: Any, value: Any) -> Any:
    match shape.type_name:
        case "structure":
            return {
                name: _shaped(member, value[name])
                for name, member in shape.members.items()
                if value.get(name) is not None
            }
        case "list":
            return [_shaped(shape.member, item) for item in value]
        case "map":
            return {key: _shaped(shape.value, item) for key, item in value.items() if item is not None}
        case "timestamp":
            seconds = value.timestamp() if isinstance(value, datetime) else float(value)
            return round(seconds, 3)
        case "float" | "double":
            return _number(float(value))
    return value


def _number(value: float) -> float | str:
    """JSON has no NaN; AWS writes it as a string."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
