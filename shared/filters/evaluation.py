"""Evaluate a filter for one request: masks over columns, without a loop over rows.

Compiling a filter for its columns computes the masks that do not depend on the request. Shapes: R rows.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.filters.columns import FilterColumns, RowNumbers, mask_rows, split_values
from shared.filters.expressions import ANY, Condition, CurrentItem, Expression, Filter, Operator, Placeholder, ValueKind
from shared.filters.values import drop_missing_values, parse_number, parse_strings

Mask = npt.NDArray[np.bool_]
Attributes = Mapping[str, str | float | None]
"""The values of one row by the schema's names; a missing column is null."""


@dataclass(frozen=True, kw_only=True)
class FilterContext:
    """The values, events and attributes of one request, which a filter is evaluated with."""

    values: Mapping[str, str] = field(default_factory=dict)
    """The request's ``filterValues``."""
    user: Attributes = field(default_factory=dict)
    """{} for a user without a row, or a request without a user."""
    events: Mapping[str, RowNumbers] = field(default_factory=dict)
    """Event type -> the rows that the user has such an event with; for segments, the users with such an event. Only the
    rows of the types that a filter names are read."""
    current_item: Attributes = field(default_factory=dict)
    """{} for an item without a row, or a request without an item."""


def compile_filter(filter_: Filter, columns: FilterColumns) -> Callable[[FilterContext], Mask]:
    """Return a function that evaluates a checked filter: bool[R], true for the rows that pass, owned by the caller.

    The function raises FilterValueError, and several threads may call it.
    """
    return _CompiledFilter(filter_, columns)


class _CompiledFilter:
    def __init__(self, filter_: Filter, columns: FilterColumns) -> None:
        self._filter = filter_
        self._columns = columns
        self._present = columns.present
        self._fixed = {each: self._compute_mask(each, FilterContext()) for each in set(filter_.tested) if each.fixed}
        for mask in self._fixed.values():
            mask.flags.writeable = False

    def __call__(self, context: FilterContext) -> Mask:
        expressions = [
            expression
            for expression in drop_missing_values(self._filter, context.values).expressions
            if all(_match_user(condition, context) for condition in expression.user)
        ]
        included = [self._match_expression(each, context) for each in expressions if each.include]
        allowed = _join_with_or(included) if included else np.ones(len(self._present), np.bool_)
        if not allowed.flags.writeable:
            allowed = allowed.copy()
        for expression in expressions:
            if expression.include:
                continue
            if expression.lists_events:
                # These are few rows, which are quicker to clear one by one than with a mask.
                for (condition,) in expression.groups:
                    for rows in _find_events(condition, context):
                        allowed[rows] = False
            else:
                allowed &= ~self._match_expression(expression, context)
        return allowed

    def _match_expression(self, expression: Expression, context: FilterContext) -> Mask:
        return _join_with_or(
            [_join_with_and([self._match_condition(each, context) for each in group]) for group in expression.groups]
        )

    def _match_condition(self, condition: Condition, context: FilterContext) -> Mask:
        return self._fixed[condition] if condition.fixed else self._compute_mask(condition, context)

    def _compute_mask(self, condition: Condition, context: FilterContext) -> Mask:
        match condition.kind:
            case ValueKind.EVENT_TYPE:
                found = mask_rows(len(self._present), _find_events(condition, context))
                return ~found if _is_negated(condition) else found
            case ValueKind.TEXT:
                found = self._columns.find_matches(condition.column, _collect_strings(condition, context))
                return ~found & self._present if _is_negated(condition) else found
            case ValueKind.NUMBER:
                numbers = self._columns.get_numbers(condition.column)
                found = _compare_numbers(condition, numbers, _get_number(condition, context))
                # Absent rows have NaN, which only != accepts.
                return found & self._present if _is_negated(condition) else found


def _is_negated(condition: Condition) -> bool:
    return condition.operator in (Operator.NOT_IN, Operator.UNEQUAL)


def _match_user(condition: Condition, context: FilterContext) -> bool:
    value = context.user.get(condition.column)
    if condition.kind is ValueKind.NUMBER:
        held_number = np.asarray(math.nan if value is None else float(value), np.float64)
        return bool(_compare_numbers(condition, held_number, _get_number(condition, context)))
    held = split_values(None if value is None else str(value), categorical=condition.categorical)
    return _is_negated(condition) == _collect_strings(condition, context).isdisjoint(held)


def _find_events(condition: Condition, context: FilterContext) -> list[RowNumbers]:
    wanted = {normalize_event_type(each) for each in _collect_strings(condition, context)}
    events = context.events
    return [events[event_type] for event_type in events if ANY in wanted or normalize_event_type(event_type) in wanted]


def normalize_event_type(event_type: str) -> str:
    """Return an event type in lower case with underscores.

    AWS ignores the case of event types only, and its own filters spell the action event Not Taken as NOT_TAKEN.
    """
    return event_type.casefold().replace(" ", "_")


def _collect_strings(condition: Condition, context: FilterContext) -> set[str]:
    found: set[str] = set()
    for operand in condition.operands:
        match operand:
            case Placeholder(name):
                found.update(parse_strings(context.values.get(name, "")))
            case CurrentItem(column, categorical):
                value = context.current_item.get(column)
                found.update(split_values(None if value is None else str(value), categorical=categorical))
            case _:
                found.add(str(operand))
    return found


def _get_number(condition: Condition, context: FilterContext) -> float:
    (operand,) = condition.operands
    match operand:
        case Placeholder(name):
            return parse_number(name, context.values[name])
        case CurrentItem(column):
            value = context.current_item.get(column)
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


def _compare_numbers(condition: Condition, numbers: npt.NDArray[np.floating[Any]], value: float) -> Mask:
    """Compare numbers with a value; NaN stands for null, and only != accepts it."""
    dtype = np.float32 if condition.single else np.float64
    with np.errstate(over="ignore"):  # a value too large for float32 becomes infinite, and larger than all numbers
        compared = _COMPARISONS[condition.operator](numbers.astype(dtype, copy=False), dtype(value))
    return np.asarray(compared, np.bool_)


def _join_with_or(masks: Sequence[Mask]) -> Mask:
    return _join_masks(np.logical_or, masks)


def _join_with_and(masks: Sequence[Mask]) -> Mask:
    return _join_masks(np.logical_and, masks)


def _join_masks(join: np.ufunc, masks: Sequence[Mask]) -> Mask:
    """Join masks, in the memory of the first unless it is read-only: memory in the CPU's cache is quicker to write."""
    found, *rest = masks
    for mask in rest:
        found = join(found, mask, out=found if found.flags.writeable else None)
    return found
