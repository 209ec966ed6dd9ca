"""Which rows a filter lets through, for one request: masks over columns, and no loop over rows.

What does not depend on the request is computed once, when the filter is compiled for its columns. R rows.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.filters.columns import Columns, Rows, marked, parts
from shared.filters.expressions import ANY, Condition, CurrentItem, Expression, Filter, Kind, Operator
from shared.filters.values import bound

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
        tested = {each for expression in filter_.expressions for group in expression.groups for each in group}
        self._fixed = {each: self._mask(each, Moment()) for each in tested if _is_fixed(each)}

    def __call__(self, moment: Moment) -> Mask:
        expressions = [
            expression
            for expression in bound(self._filter, moment.values).expressions
            if all(_user_holds(condition, moment.user) for condition in expression.user)
        ]
        included = [self._rows_of(each, moment) for each in expressions if each.include]
        excluded = [self._rows_of(each, moment) for each in expressions if not each.include]
        allowed = _any(included) if included else np.ones(len(self._present), np.bool_)
        # A copy, lest the caller should change what was computed once.
        return allowed & ~_any(excluded) if excluded else allowed.copy()

    def _rows_of(self, expression: Expression, moment: Moment) -> Mask:
        return _any([_all([self._tested(each, moment) for each in group]) for group in expression.groups])

    def _tested(self, condition: Condition, moment: Moment) -> Mask:
        fixed = self._fixed.get(condition)
        return self._mask(condition, moment) if fixed is None else fixed

    def _mask(self, condition: Condition, moment: Moment) -> Mask:
        match condition.kind:
            case Kind.EVENT_TYPE:
                found = marked(len(self._present), _events(condition, moment.events))
                return ~found if _negates(condition) else found
            case Kind.TEXT:
                wanted = _strings(condition, moment.current_item)
                rows = (self._columns.rows_with(condition.column, value) for value in wanted)
                found = marked(len(self._present), rows)
                return ~found & self._present if _negates(condition) else found
            case Kind.NUMBER:
                numbers = self._columns.numbers(condition.column)
                return _compared(condition, numbers, _number(condition, moment.current_item)) & self._present


def _is_fixed(condition: Condition) -> bool:
    return condition.kind is not Kind.EVENT_TYPE and not condition.placeholders and not condition.current_item_columns


def _negates(condition: Condition) -> bool:
    return condition.operator in (Operator.NOT_IN, Operator.UNEQUAL)


def _user_holds(condition: Condition, user: Attributes) -> bool:
    value = user.get(condition.column)
    if condition.kind is Kind.NUMBER:
        number = np.asarray(math.nan if value is None else float(value), np.float64)
        return bool(_compared(condition, number, _number(condition, {})))
    held = parts(None if value is None else str(value), categorical=condition.categorical)
    return _negates(condition) == set(held).isdisjoint(_strings(condition, {}))


def _events(condition: Condition, events: Mapping[str, Rows]) -> list[Rows]:
    wanted = {folded_event_type(str(each)) for each in condition.operands}
    return [events[event_type] for event_type in events if ANY in wanted or folded_event_type(event_type) in wanted]


def folded_event_type(event_type: str) -> str:
    """Of event types alone AWS ignores the case, and its own filters spell the action event Not Taken as NOT_TAKEN."""
    return event_type.casefold().replace(" ", "_")


def _strings(condition: Condition, current_item: Attributes) -> set[str]:
    found: set[str] = set()
    for operand in condition.operands:
        if isinstance(operand, CurrentItem):
            value = current_item.get(operand.column)
            found.update(parts(None if value is None else str(value), categorical=operand.categorical))
        else:
            found.add(str(operand))
    return found


def _number(condition: Condition, current_item: Attributes) -> float:
    (operand,) = condition.operands
    value: Any = current_item.get(operand.column) if isinstance(operand, CurrentItem) else operand
    return math.nan if value is None else float(value)


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
    return reduce(operator.or_, masks)


def _all(masks: Iterable[Mask]) -> Mask:
    return reduce(operator.and_, masks)
