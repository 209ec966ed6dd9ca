"""Serialize the members that a handler returns, in the shape of the operation's output model.

Members that are None or not in the model are left out, never null. Values are not checked: AWS's own answers break the
patterns of their model (a dataset import job's roleArn is typed as a Personalize ARN).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any

import orjson

from shared.aws import service_model

_Shaper = Callable[[Any], Any]


def serialize_answer(operation: service_model.Operation, members: Mapping[str, Any]) -> bytes:
    """Return the JSON body of an answer; empty for an operation without output.

    Timestamps may be aware datetimes or epoch seconds; they are sent as epoch seconds with milliseconds.
    """
    if operation.output is None:
        return b""
    return orjson.dumps(_load_shaper(operation.service, operation.name)(members))


@cache
def _load_shaper(service: str, operation: str) -> _Shaper:
    return _build_shaper(service_model.load_operations(service)[operation].output)


def _build_shaper(shape: Any) -> _Shaper:
    """Build a function that shapes one value. Built once per operation, because an answer may hold 500 items."""
    match shape.type_name:
        case "structure":
            members = [(name, _build_shaper(member)) for name, member in shape.members.items()]
            return lambda value: {
                name: shaped(found) for name, shaped in members if (found := value.get(name)) is not None
            }
        case "list":
            item = _build_shaper(shape.member)
            return lambda value: [item(one) for one in value]
        case "map":
            entry = _build_shaper(shape.value)
            return lambda value: {key: entry(one) for key, one in value.items() if one is not None}
        case "timestamp":
            return _convert_timestamp
        case "float" | "double":
            return _convert_number
    return _keep_value


def _convert_timestamp(value: datetime | float) -> float:
    return round(value.timestamp() if isinstance(value, datetime) else float(value), 3)


def _convert_number(value: float) -> float | str:
    """Convert a number, also a NumPy scalar; AWS writes NaN and infinities, which JSON lacks, as strings."""
    number = float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _keep_value(value: Any) -> Any:
    return value
