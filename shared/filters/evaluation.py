"""Which rows a filter lets through, for one request: masks over columns, and no loop over rows.

What does not depend on the request is computed once, when the filter is compiled for its columns. R rows.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.filters.columns import Columns, Rows, marked, parts
from shared.filters.expressions import ANY, Condition, CurrentItem, Expression, Filter, Kind, Operator, Placeholder
from shared.filters.values import number, strings, usable

Mask = npt.NDArray[np.bool_]
Attributes = Mapping[str, str | float | None]
"""The values of one row by the schema's names; what is left out is null."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a filter is applied to, besides the rows."""

    values: Mapping[str, str] = field(default_factory=dict)
    """The request's ``filterValues``."""
    user: Attributes = field(default_factory=dict)
    """{} for a user without a row, or none."""
    events: Mapping[str, Rows] = field(default_factory=dict)
    """Event type -> the rows that the user has such an event with. For segments: the users who have one. Only the rows
    of types that are asked for are looked at."""
    current_item: Attributes = field(default_factory=dict)
    """{} for an item without a row, or none."""


def compiled(filter_: Filter, columns: Columns) -> Callable[[Moment], Mask]:
    """For a checked filter: the function that says which rows are let through, bool[R] for the caller to keep.

    It raises FilterValueError; it is safe to call from several threads.
    """
    return _Compiled(filter_, columns)


class _Compiled:
    def __init__(self, filter_: Filter, columns: Columns) -> None:
        self._filter = filter_
        self._columns = columns
        self._present = columns.present
        self._fixed = {each: self._mask(each, Moment()) for each in set(filter_.tested) if each.fixed}
        for mask in self._fixed.values():
            mask.flags.writeable = False

    def __call__(self, moment: Moment) -> Mask:
        expressions = [
            expression
            for expression in usable(self._filter, moment.values).expressions
            if all(_user_holds(condition, moment) for condition in expression.user)
        ]
        included = [self._rows_of(each, moment) for each in expressions if each.include]
        allowed = _any(included) if included else np.ones(len(self._present), np.bool_)
        if not allowed.flags.writeable:
            allowed = allowed.copy()
        for expression in expressions:
            if expression.include:
                continue
            if expression.lists_events:
                # Few rows: quicker to take out one by one than with a mask.
                for (condition,) in expression.groups:
                    for rows in _events(condition, moment):
                        allowed[rows] = False
            else:
                allowed &= ~self._rows_of(expression, moment)
        return allowed

    def _rows_of(self, expression: Expression, moment: Moment) -> Mask:
        return _any([_all([self._tested(each, moment) for each in group]) for group in expression.groups])

    def _tested(self, condition: Condition, moment: Moment) -> Mask:
        return self._fixed[condition] if condition.fixed else self._mask(condition, moment)

    def _mask(self, condition: Condition, moment: Moment) -> Mask:
        match condition.kind:
            case Kind.EVENT_TYPE:
                found = marked(len(self._present), _events(condition, moment))
                return ~found if _negates(condition) else found
            case Kind.TEXT:
                found = self._columns.having(condition.column, _strings(condition, moment))
                return ~found & self._present if _negates(condition) else found
            case Kind.NUMBER:
                numbers = self._columns.numbers(condition.column)
                found = _compared(condition, numbers, _number(condition, moment))
                # Of rows that are not there all numbers are NaN, for which nothing else holds.
                return found & self._present if _negates(condition) else found


def _negates(condition: Condition) -> bool:
    return condition.operator in (Operator.NOT_IN, Operator.UNEQUAL)


def _user_holds(condition: Condition, moment: Moment) -> bool:
    value = moment.user.get(condition.column)
    if condition.kind is Kind.NUMBER:
        held_number = np.asarray(math.nan if value is None else float(value), np.float64)
        return bool(_compared(condition, held_number, _number(condition, moment)))
    held = parts(None if value is None else str(value), categorical=condition.categorical)
    return _negates(condition) == _strings(condition, moment).isdisjoint(held)


def _events(condition: Condition, moment: Moment) -> list[Rows]:
    wanted = {folded_event_type(each) for each in _strings(condition, moment)}
    events = moment.events
    return [events[event_type] for event_type in events if ANY in wanted or folded_event_type(event_type) in wanted]


def folded_event_type(event_type: str) -> str:
    """Of event types alone AWS ignores the case, and its own filters spell the action event Not Taken as NOT_TAKEN."""
    return event_type.casefold().replace(" ", "_")


def _strings(condition: Condition, moment: Moment) -> set[str]:
    found: set[str] = set()
    for operand in condition.operands:
        match operand:
            case Placeholder(name):
                found.update(strings(moment.values.get(name, "")))
            case CurrentItem(column, categorical):
                value = moment.current_item.get(column)
                found.update(parts(None if value is None else str(value), categorical=categorical))
            case _:
                found.add(str(operand))
    return found


def _number(condition: Condition, moment: Moment) -> float:
    (operand,) = condition.operands
    match operand:
        case Placeholder(name):
            return number(name, moment.values[name])
        case CurrentItem(column):
            value = moment.current_item.get(column)
            return math.nan if value is None else float(value)
        case _:
            return float(operand)


_COMPARISONS: Mapping[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQUAL: operator.eq,
    Operator.UNEQUAL: operator.ne,
    Operator.LESS: operator.lt,
    Operator.AT_MOST: operator.le,
    Operator.MORE: operator.gt,
    Operator.AT_LEAST: operator.ge,
}


def _compared(condition: Condition, numbers: npt.NDArray[np.floating[Any]], value: float) -> Mask:
    """NaN stands for null: with it nothing holds but !=."""
    dtype = np.float32 if condition.single else np.float64
    with np.errstate(over="ignore"):  # what is too large for a float32 is larger than all of them
        compared = _COMPARISONS[condition.operator](numbers.astype(dtype, copy=False), dtype(value))
    return np.asarray(compared, np.bool_)


def _any(masks: Sequence[Mask]) -> Mask:
    return _joined(np.logical_or, masks)


def _all(masks: Sequence[Mask]) -> Mask:
    return _joined(np.logical_and, masks)


def _joined(join: np.ufunc, masks: Sequence[Mask]) -> Mask:
    """In the place of the first, unless that is kept: memory that was just used is quicker to write than other."""
    found, *others = masks
    for mask in others:
        found = join(found, mask, out=found if found.flags.writeable else None)
    return found
