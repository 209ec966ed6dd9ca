"""marshmallow fields that, like AWS, convert no JSON type into another.

marshmallow's own fields coerce ("5" -> 5, "true" -> True); AWS refuses such values with a SerializationException.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from marshmallow import ValidationError, fields

from shared.aws.constraints import MAX_SHOWN_CHARACTERS, NOT_NULL, Breach, Constraint, TypeMismatch, find_breaches

# Epoch seconds of the years 1 to 9999, the range of a datetime.
EARLIEST, LATEST = -62_135_596_800, 253_402_300_799

_TOKENS: dict[type, str] = {
    str: "STRING_VALUE",
    int: "NUMBER_VALUE",
    float: "DECIMAL_VALUE",
    bool: "BOOLEAN_VALUE",
    list: "ARRAY_VALUE",
    dict: "OBJECT_VALUE",
    type(None): "NULL_VALUE",
}
_SPECIAL_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def create_type_error(value: Any, wanted: str) -> ValidationError:
    return ValidationError([TypeMismatch(f"{_TOKENS[type(value)]} can not be converted to {wanted}")])


class StrictField(fields.Field[Any]):
    """A field for values of exactly the JSON types in `accepts`. None is dropped before."""

    accepts: ClassVar[tuple[type, ...]] = ()
    noun: ClassVar[str] = ""
    default_error_messages: ClassVar[dict[str, Any]] = {"required": [NOT_NULL]}  # type: ignore[misc]

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        # type(), not isinstance(): a bool is an int to Python and not to AWS.
        if type(value) not in self.accepts:
            raise create_type_error(value, self.noun)
        return value


class String(StrictField):
    accepts = (str,)
    noun = "a String"


class Boolean(StrictField):
    accepts = (bool,)
    noun = "a Boolean"


class Integer(StrictField):
    """A Java int: 32 bits."""

    accepts = (int,)
    noun = "an Integer"

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        number = super()._deserialize(value, attr, data, **kwargs)
        if not -(2**31) <= number < 2**31:
            raise create_type_error(value, f"{self.noun} of 32 bits")
        return number


class Double(StrictField):
    accepts = (int, float)
    noun = "a Double"

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, str) and value in _SPECIAL_NUMBERS:
            return _SPECIAL_NUMBERS[value]
        return float(super()._deserialize(value, attr, data, **kwargs))


class Timestamp(StrictField):
    """Epoch seconds, as sent: boto3 sends integers, the JavaScript SDK fractions.

    Milliseconds are accepted as well: the two operations that take times tell them from seconds.
    """

    accepts = (int, float)
    noun = "a Timestamp in epoch seconds"

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        seconds = super()._deserialize(value, attr, data, **kwargs)
        if not EARLIEST <= seconds <= 1000 * LATEST:
            raise create_type_error(value, f"{self.noun} (are these microseconds?)")
        return seconds


class Structure(fields.Nested):
    default_error_messages: ClassVar[dict[str, Any]] = {"required": [NOT_NULL]}  # type: ignore[misc]


class List(StrictField):
    """A list. A refused member is reported at `<n>.member`, counted from 1, as by AWS."""

    accepts = (list,)
    noun = "a List"

    def __init__(self, member: fields.Field[Any], *, constraints: Sequence[Constraint], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.member = member
        self.constraints = constraints

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> list[Any]:
        items = super()._deserialize(value, attr, data, **kwargs)
        # Checked before the members, so that an over-long list is not read.
        if breaches := find_breaches(self.constraints, items):
            raise ValidationError(breaches)
        loaded, errors = [], {}
        for number, item in enumerate(items, start=1):
            try:
                loaded.append(_load_member(self.member, item))
            except ValidationError as error:
                errors[f"{number}.member"] = error.messages
        if errors:
            raise ValidationError(errors)
        return loaded


class Map(StrictField):
    """A map with string keys. A refused value is reported at `<key>.member`."""

    accepts = (dict,)
    noun = "a Map"

    def __init__(
        self,
        value: fields.Field[Any],
        *,
        keys: Sequence[Constraint],
        constraints: Sequence[Constraint],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.value = value
        self.keys = keys
        self.constraints = constraints

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> dict[str, Any]:
        entries = super()._deserialize(value, attr, data, **kwargs)
        breaches = find_breaches(self.constraints, entries)
        for key in () if breaches else entries:
            for breach in find_breaches(self.keys, key):
                breaches.append(Breach(breach.value, f"Map keys must satisfy constraint: [{breach.rule}]"))
        if breaches:
            raise ValidationError(breaches)
        loaded, errors = {}, {}
        for key, item in entries.items():
            try:
                loaded[key] = _load_member(self.value, item)
            except ValidationError as error:
                errors[f"{key[:MAX_SHOWN_CHARACTERS]}.member"] = error.messages
        if errors:
            raise ValidationError(errors)
        return loaded


def _load_member(field: fields.Field[Any], value: Any) -> Any:
    if value is None:  # absence has no meaning inside a list or map
        raise create_type_error(value, "a member of a List or Map")
    return field.deserialize(value)
