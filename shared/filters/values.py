"""``filterValues`` of a request, put in the place of a filter's placeholders.

Source: "Applying a filter" in AWS's developer guide: a value is a list of quoted strings, a number may be quoted too;
INCLUDE needs every value, and what EXCLUDE lacks a value for is not used. README.md says what else was chosen.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from shared.filters.expressions import Condition, Expression, Filter, Kind, Operand, Placeholder

_PIECE = re.compile(r"""\s*("[^"]*"|'[^']*'|[^,]*?)\s*(?:,|\Z)""")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


class FilterValueError(ValueError):
    """filterValues that the filter can't be used with. The message repeats no value."""


def bound(filter_: Filter, values: Mapping[str, str]) -> Filter:
    """The checked filter without placeholders, and without what EXCLUDE lacks a value for.

    It may have no expression left: such a filter lets everything through. Values that the filter does not name are
    passed over; an empty one is none. Raises FilterValueError.
    """
    given = {name: value for name, value in values.items() if strings(value)}
    expressions = (_bound(expression, given) for expression in filter_.expressions)
    return Filter(tuple(expression for expression in expressions if expression is not None))


def _bound(expression: Expression, values: Mapping[str, str]) -> Expression | None:
    if not any(condition.placeholders for condition in expression.conditions):
        return expression
    if expression.include:
        for condition in expression.conditions:
            for name in condition.placeholders:
                if name not in values:
                    raise FilterValueError(
                        f"filterValues has no value for {name}. A filter with INCLUDE needs a value for each of its "
                        "placeholders; the names are case-sensitive."
                    )
    # Without its value an IF is not known to hold.
    if any(name not in values for condition in expression.user for name in condition.placeholders):
        return None
    groups = tuple(_bound_all(group, values) for group in expression.groups)
    kept = tuple(group for group in groups if group)
    return replace(expression, groups=kept, user=_bound_all(expression.user, values)) if kept else None


def _bound_all(conditions: tuple[Condition, ...], values: Mapping[str, str]) -> tuple[Condition, ...]:
    filled = (
        replace(each, operands=tuple(_operands(each, values))) if each.placeholders else each for each in conditions
    )
    return tuple(condition for condition in filled if condition.operands)


def _operands(condition: Condition, values: Mapping[str, str]) -> Iterator[Operand]:
    for operand in condition.operands:
        if not isinstance(operand, Placeholder):
            yield operand
        elif operand.name in values:
            value = values[operand.name]
            if condition.kind is Kind.NUMBER:
                yield _number(operand.name, value)
            else:
                yield from strings(value)


def strings(value: str) -> list[str]:
    """The strings of a list, in quotes or without; what is in quotes may hold commas.

    >>> strings('"comedy","drama, black"')
    ['comedy', 'drama, black']
    >>> strings("comedy")
    ['comedy']
    """
    pieces = (match[1] for match in _PIECE.finditer(value))
    return [piece[1:-1] if _is_quoted(piece) else piece for piece in pieces if piece]


def _is_quoted(piece: str) -> bool:
    return len(piece) > 1 and piece[0] in "\"'" and piece[0] == piece[-1]


def _number(name: str, value: str) -> float:
    text = value.strip().strip("\"'").strip()
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise FilterValueError(f"The value of {name} in filterValues must be a number.")
    return number
