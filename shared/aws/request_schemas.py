"""Check requests with marshmallow schemas that are compiled from the input shapes of the service model.

`load_request` turns parsed JSON into a dict of known members, or raises AWS's error with AWS's message. As at AWS,
unknown members are ignored and null means absent. A schema is compiled at the first call of its operation. Limits that
only AWS's documentation has (numResults <= 500) are not checked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, pre_load
from marshmallow.exceptions import SCHEMA

from shared.aws import constraints, service_model
from shared.aws.constraints import Breach, TypeMismatch
from shared.aws.errors import Serialization, Validation
from shared.aws.fields import Boolean, Double, Integer, List, Map, String, Structure, Timestamp, create_type_error

MAX_NAMED_BREACHES = 10  # that one message names; the rest is only counted

_SCALARS: dict[str, type[fields.Field[Any]]] = {
    "boolean": Boolean,
    "integer": Integer,
    "float": Double,
    "double": Double,
    "timestamp": Timestamp,
}


class RequestSchema(Schema):
    """The base of all compiled schemas."""

    class Meta:
        unknown = EXCLUDE

    @pre_load
    def _drop_nulls(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, dict):
            raise create_type_error(data, "a Structure")
        return {name: value for name, value in data.items() if value is not None}


def load_request(operation: service_model.Operation, body: Any) -> dict[str, Any]:
    """Return the checked members of a request. Timestamps are epoch seconds (int or float), as sent.

    Raises Serialization for a wrong JSON type, Validation for broken constraints.
    """
    if operation.input is None:
        return {}
    try:
        return dict(_load_schema(operation.service, operation.name).load(body))
    except ValidationError as error:
        raise _build_error(list(_iter_breaches(error.messages))) from None


@cache
def _load_schema(service: str, operation: str) -> Schema:
    return _build_schema(service_model.load_operations(service)[operation].input, shown=True)()


def _build_schema(shape: Any, *, shown: bool) -> type[Schema]:
    shown = shown and not shape.metadata.get("sensitive")
    required = set(shape.metadata.get("required", ()))
    members = {
        name: _build_field(member, shown=shown, required=name in required) for name, member in shape.members.items()
    }
    return RequestSchema.from_dict(members, name=shape.name)


def _build_field(shape: Any, *, shown: bool, required: bool = False) -> fields.Field[Any]:
    """Build the field of a shape. Below a sensitive shape `shown` is False, so that messages repeat no value of it."""
    metadata = shape.metadata
    shown = shown and not metadata.get("sensitive")
    match shape.type_name:
        case "structure":
            return Structure(_build_schema(shape, shown=shown), required=required)
        case "list":
            length = tuple(constraints.iter_length_constraints(metadata, shown=False))
            return List(_build_field(shape.member, shown=shown), constraints=length, required=required)
        case "map":
            return Map(
                _build_field(shape.value, shown=shown),
                keys=tuple(constraints.iter_string_constraints(shape.key.metadata, shown=shown)),
                constraints=tuple(constraints.iter_length_constraints(metadata, shown=False)),
                required=required,
            )
        case "string":
            return String(validate=constraints.iter_string_constraints(metadata, shown=shown), required=required)
        case scalar:
            return _SCALARS[scalar](
                validate=constraints.iter_number_constraints(metadata, shown=shown), required=required
            )


def _iter_breaches(messages: Any, path: str = "") -> Iterator[tuple[str, Breach | TypeMismatch]]:
    if isinstance(messages, dict):
        for key, below in messages.items():
            step = "" if key == SCHEMA else key
            yield from _iter_breaches(below, f"{path}.{step}".strip("."))
    else:
        yield from ((path, leaf) for leaf in messages)


def _build_error(found: list[tuple[str, Breach | TypeMismatch]]) -> Serialization | Validation:
    for path, leaf in found:
        if isinstance(leaf, TypeMismatch):  # AWS reads before it checks
            return Serialization(leaf.format_at(path))
    count = f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected"
    return Validation(f"{count}: {'; '.join(leaf.format_at(path) for path, leaf in found[:MAX_NAMED_BREACHES])}")
