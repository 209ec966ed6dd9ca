"""Convert the properties of an event, item, user or action from JSON text to values by column name.

Values follow the rules for cells of an imported file (``shared.data.csv.csv_rules``), because trainings, filters and
exports read streamed and imported records together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from shared.aws.errors import InvalidInput
from shared.data.csv.csv_rules import MAX_STRING_CHARACTERS
from shared.data.schemas import LATEST_TIMESTAMP, Field, normalize_name

_LARGEST_FLOAT = (2 - 2**-23) * 2.0**127


def parse_properties(text: str | None, where: str) -> dict[str, Any]:
    """Parse the JSON object in a text; {} for an empty text. Raises InvalidInput."""
    if text is None or not text.strip():
        return {}
    try:
        properties = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"Error parsing properties json: {where}.properties: {error}") from error
    if not isinstance(properties, dict):
        raise InvalidInput(f"Error parsing properties json: {where}.properties must be a JSON object.")
    return properties


def convert_properties(properties: Mapping[str, Any], fields: Iterable[Field], where: str) -> dict[str, Any]:
    """Return the values that are not null, by column; numRatings is the key of NUM_RATINGS. Unknown keys are ignored.

    Raises InvalidInput.
    """
    by_key = {normalize_name(field.name): field for field in fields}
    given = [
        (key, by_key[normalize_name(key)], sent) for key, sent in properties.items() if normalize_name(key) in by_key
    ]
    read = {field.name: convert_value(sent, field, f"{where}.properties.{key}") for key, field, sent in given}
    return {column: found for column, found in read.items() if found is not None}


def convert_value(sent: Any, field: Field, where: str) -> str | int | float | bool | None:
    """Convert a JSON value to that of a column. AWS's examples send numbers as text, too. Raises InvalidInput."""
    # As in a file, an empty value is null.
    if sent is None or sent == "":
        if not field.nullable:
            raise InvalidInput(f"{where} is empty, but the schema does not allow null.")
        return None
    match field.type:
        case "string":
            return _check_string(sent, field, where)
        case "boolean":
            known = {"true": True, "false": False}.get(sent) if isinstance(sent, str) else sent
            if isinstance(known, bool):
                return known
        case "int" | "long":
            return _convert_integer(sent, field, where)
        case _:
            number = _parse_number(sent)
            if number is not None and math.isfinite(number):
                if field.type == "double" or abs(number) <= _LARGEST_FLOAT:
                    return number
                raise InvalidInput(f"{where} is not within the range of {field.type}.")
    raise InvalidInput(f"{where} must be of type {field.type}, as the schema says.")


def _check_string(sent: Any, field: Field, where: str) -> str:
    if not isinstance(sent, str):
        raise InvalidInput(f"{where} must be of type string, as the schema says.")
    if "\0" in sent:
        raise InvalidInput(f"{where} holds a NUL character.")
    # Textual fields are cut when they are read.
    if len(sent) > MAX_STRING_CHARACTERS and not field.textual:
        raise InvalidInput(f"Length cannot be more than {MAX_STRING_CHARACTERS} characters for {field.name} ({where}).")
    return sent


def _convert_integer(sent: Any, field: Field, where: str) -> int:
    if isinstance(sent, str) and len(sent) <= 40 and re.fullmatch(r"\s*[+-]?[0-9]+\s*", sent, re.ASCII):
        sent = int(sent)
    if not isinstance(sent, int) or isinstance(sent, bool):
        raise InvalidInput(f"{where} must be of type {field.type}, as the schema says.")
    bound = 2 ** (31 if field.type == "int" else 63)
    if not -bound <= sent < bound:
        raise InvalidInput(f"{where} must be of type {field.type}, and is out of its range.")
    if field.limits and not field.limits[0] <= sent <= field.limits[1]:
        raise InvalidInput(f"{where} must be {field.limits[0]} to {field.limits[1]}.")
    if field.name.endswith("TIMESTAMP") and sent > LATEST_TIMESTAMP:
        raise InvalidInput(f"{where} is not a time in seconds since 1970. It looks like milliseconds; divide by 1000.")
    return sent


def _parse_number(sent: Any) -> float | None:
    try:
        # float() reads 1_000 as a thousand.
        return None if isinstance(sent, bool) or "_" in str(sent) else float(sent)
    except (TypeError, ValueError, OverflowError):
        return None
