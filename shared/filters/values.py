"""Read the ``filterValues`` of a request, and drop the parts of a filter that lack values.

Source: "Applying a filter" in AWS's developer guide: a value is a list of quoted strings, a number may be quoted too;
INCLUDE needs every value, and EXCLUDE drops conditions without a value. README.md lists further choices.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import replace

from shared.filters.expressions import Condition, Expression, Filter, Placeholder, ValueKind

_PIECE = re.compile(r"""\s*("[^"]*"|'[^']*'|[^,]*?)\s*(?:,|\Z)""")
_EMPTY = re.compile(r"[\s,]*")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


class FilterValueError(ValueError):
    """Invalid or missing filterValues. The message repeats no value."""


def drop_missing_values(filter_: Filter, values: Mapping[str, str]) -> Filter:
    """Return the checked filter without the parts of EXCLUDE that lack a value.

    Each remaining condition has a value for at least one operand. A filter without expressions lets all rows pass.
    Values that the filter does not name are ignored; an empty value is a missing one. Raises FilterValueError.
    """
    given = [name for name in filter_.placeholders if not _EMPTY.fullmatch(values.get(name, ""))]
    for name in given:
        if _is_json_list(values[name]):
            raise FilterValueError(
                f"The value of {name} in filterValues is a JSON list. Leave out the brackets: a value is one string, "
                'with the wanted strings in quotes and commas between them, as "first","second".'
            )
        if ValueKind.NUMBER in filter_.placeholders[name]:
            parse_number(name, values[name])
    if len(given) == len(filter_.placeholders):
        return filter_
    expressions = (_drop_missing(expression, given) for expression in filter_.expressions)
    return Filter(tuple(expression for expression in expressions if expression is not None))


def _drop_missing(expression: Expression, given: Collection[str]) -> Expression | None:
    missing = [name for condition in expression.conditions for name in condition.placeholders if name not in given]
    if expression.include and missing:
        raise FilterValueError(
            f"filterValues has no value for {missing[0]}. A filter with INCLUDE needs a value for each of its "
            "placeholders; the names are case-sensitive."
        )
    # An IF that lacks a value does not hold.
    if any(name in missing for condition in expression.user for name in condition.placeholders):
        return None
    groups = (tuple(each for each in group if _has_value(each, given)) for group in expression.groups)
    kept = tuple(group for group in groups if group)
    return replace(expression, groups=kept) if kept else None


def _has_value(condition: Condition, given: Collection[str]) -> bool:
    return any(not isinstance(operand, Placeholder) or operand.name in given for operand in condition.operands)


def parse_strings(value: str) -> list[str]:
    """Return the strings of a list, with or without quotes; quoted strings may hold commas.

    >>> strings('"comedy","drama, black"')
    ['comedy', 'drama, black']
    >>> strings("comedy")
    ['comedy']
    """
    return [piece[1:-1] if _is_quoted(piece) else piece for piece in _PIECE.findall(value) if piece]


def _is_json_list(value: str) -> bool:
    if not value.strip().startswith("["):
        return False
    try:
        return isinstance(json.loads(value), list)
    except (ValueError, RecursionError):
        return False


def _is_quoted(piece: str) -> bool:
    return len(piece) > 1 and piece[0] in "\"'" and piece[0] == piece[-1]


def parse_number(name: str, value: str) -> float:
    """Return the number for the placeholder ``name``. Raises FilterValueError.

    >>> number("PRICE", '"9.5"')
    9.5
    """
    text = value.strip().strip("\"'").strip()
    found = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(found):
        raise FilterValueError(f"The value of {name} in filterValues must be a number.")
    return found
