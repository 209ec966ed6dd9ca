"""Check a filter against the schemas of a dataset group: set the schemas' names and the kinds of compared values.

Source: "Guidelines and requirements" of filter expressions in AWS's developer guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from shared.data.schemas import Field
from shared.filters.expressions import (
    ANY,
    Condition,
    CurrentItem,
    Expression,
    Filter,
    FilterError,
    Operand,
    Operator,
    Placeholder,
    ValueKind,
)

Schemas = Mapping[str, Mapping[str, Field]]
"""Dataset type, as in an ARN -> its columns by name; types without a dataset in the group are absent."""

MAX_FIELDS = 10  # distinct ones of a filter

_TARGETS = {"ITEMID": "ITEMS", "USERID": "USERS", "ACTIONID": "ACTIONS"}
_DATASETS = {
    "ITEMS": "ITEMS",
    "USERS": "USERS",
    "INTERACTIONS": "INTERACTIONS",
    "ACTIONS": "ACTIONS",
    "ACTION": "ACTIONS",  # so in an example of the guide
    "ACTION_INTERACTIONS": "ACTION_INTERACTIONS",
}
_ALLOWED = {
    "ITEMS": ("ITEMS", "INTERACTIONS"),
    "USERS": ("USERS", "INTERACTIONS"),
    "ACTIONS": ("ACTIONS", "ACTION_INTERACTIONS"),
}
_OF_EVENTS = ("INTERACTIONS", "ACTION_INTERACTIONS")
_SHOWN = {
    "ITEMS": "Items",
    "USERS": "Users",
    "INTERACTIONS": "Interactions",
    "ACTIONS": "Actions",
    "ACTION_INTERACTIONS": "Action_Interactions",
}
# AWS itself leaves out actions by these columns.
_RESERVED = ("EXPIRATION_TIMESTAMP", "ACTION_EXPIRATION_TIMESTAMP", "REPEAT_FREQUENCY")


class TooManyFields(FilterError):
    """More distinct fields than AWS's quota."""


def check_filter(filter_: Filter, schemas: Schemas) -> Filter:
    """Return the filter with the schemas' names and types. Raises FilterError, also as TooManyFields."""
    checked = Filter(tuple(_check_expression(expression, schemas) for expression in filter_.expressions))
    for expression in checked.expressions:
        if expression.target != checked.target:
            raise _make_error(
                f"the target at {expression.place} is another than the first expression's. All expressions of a "
                "filter have one target; create a filter for each."
            )
    if len(checked.columns) > MAX_FIELDS:
        raise TooManyFields(
            f"The expression has {len(checked.columns)} distinct fields; at most {MAX_FIELDS} are allowed."
        )
    return checked


def _check_expression(expression: Expression, schemas: Schemas) -> Expression:
    target = _TARGETS.get(expression.target.upper())
    if target is None:
        raise _make_error(f"the target at {expression.place} must be ItemID, UserID or ActionID.")
    if expression.user and target == "USERS":
        raise _make_error(
            f"IF tests the user of a recommendation (before {expression.user[0].place}), and a segment has none. "
            "Test Users in the condition itself."
        )
    _check_datasets(expression, target)
    return replace(
        expression,
        target=target,
        groups=tuple(tuple(_check_condition(each, schemas) for each in group) for group in expression.groups),
        user=tuple(_check_user_condition(each, schemas) for each in expression.user),
    )


def _check_datasets(expression: Expression, target: str) -> None:
    first = None
    for condition in (condition for group in expression.groups for condition in group):
        if condition.dataset.upper() == "CURRENTUSER":
            raise _make_error(
                f"CurrentUser at {condition.place} can only be tested behind IF, at the expression's end."
            )
        dataset = _DATASETS.get(condition.dataset.upper())
        if dataset not in _ALLOWED[target]:
            allowed = " or ".join(_SHOWN[each] for each in _ALLOWED[target])
            raise _make_error(f"the dataset at {condition.place} must be {allowed}, by which this target is filtered.")
        if dataset != (first := first or dataset):
            raise _make_error(
                f"{_SHOWN[dataset]} at {condition.place} is another dataset than the expression's first. Write an "
                "expression for each dataset, joined by |."
            )


def _check_user_condition(condition: Condition, schemas: Schemas) -> Condition:
    if condition.dataset.upper() != "CURRENTUSER":
        raise _make_error(f"at {condition.place}, behind IF, only CurrentUser can be tested.")
    if condition.current_item_columns:
        raise _make_error(f"CurrentItem can't be compared with CurrentUser, as at {condition.place}.")
    return _resolve_types(condition, "USERS", schemas)


def _check_condition(condition: Condition, schemas: Schemas) -> Condition:
    return _resolve_types(condition, _DATASETS[condition.dataset.upper()], schemas)


def _resolve_types(condition: Condition, dataset: str, schemas: Schemas) -> Condition:
    field = _find_field(condition.column, dataset, schemas, condition)
    kind = _get_kind(field, dataset)
    _check_operator(condition, kind)
    return replace(
        condition,
        dataset=dataset,
        column=field.name,
        kind=kind,
        categorical=field.categorical,
        single=field.type == "float",
        operands=tuple(_check_operand(operand, condition, dataset, kind, schemas) for operand in condition.operands),
    )


def _find_field(name: str, dataset: str, schemas: Schemas, condition: Condition) -> Field:
    """Return the field of that name. Raises FilterError where none exists or filters may not use it."""
    shown, place = f"{_SHOWN[dataset]}.{name}", condition.place
    if dataset in _OF_EVENTS and name.upper() != "EVENT_TYPE":
        raise _make_error(f"{shown} at {place} can't be filtered on; of {_SHOWN[dataset]} only EVENT_TYPE can.")
    if dataset not in schemas:
        raise _make_error(
            f"{shown} at {place} names a dataset that the dataset group does not have. Create the dataset first."
        )
    field = next((each for each in schemas[dataset].values() if each.name.upper() == name.upper()), None)
    if field is None:
        raise _make_error(f"{shown} at {place} is no field of the schema; it has {', '.join(schemas[dataset])}.")
    if field.type == "boolean":
        raise _make_error(
            f"{shown} at {place} is of type boolean, which can't be filtered on. Use a string with the values "
            '"True" and "False", or an int with 0 and 1.'
        )
    if field.textual:
        raise _make_error(f"{shown} at {place} is textual, and can't be filtered on.")
    if dataset == "ACTIONS" and field.name in _RESERVED:
        raise _make_error(f"{shown} at {place} can't be filtered on: actions are left out by it anyway.")
    return field


def _get_kind(field: Field, dataset: str) -> ValueKind:
    if dataset in _OF_EVENTS:
        return ValueKind.EVENT_TYPE
    return ValueKind.TEXT if field.type == "string" else ValueKind.NUMBER


def _check_operator(condition: Condition, kind: ValueKind) -> None:
    operator, place = condition.operator, condition.place
    if kind is ValueKind.NUMBER and operator in (Operator.IN, Operator.NOT_IN):
        raise _make_error(
            f"the field at {place} holds numbers: use = or another comparison, {operator} is for strings."
        )
    if kind is not ValueKind.NUMBER and operator.ordering:
        raise _make_error(f"the field at {place} holds strings: use IN, NOT IN, = or !=, {operator} is for numbers.")
    if operator is Operator.NOT_IN:
        if condition.placeholders:
            # AWS's words.
            raise FilterError(
                f"Invalid input symbol: ${condition.placeholders[0]}. Placeholders are not allowed with NOT_IN "
                f"operator. Use IN at {place}, and EXCLUDE for INCLUDE or the reverse."
            )
        if condition.current_item_columns:
            raise _make_error(f"CurrentItem at {place} needs IN: use it, and EXCLUDE for INCLUDE or the reverse.")


def _check_operand(operand: Operand, condition: Condition, dataset: str, kind: ValueKind, schemas: Schemas) -> Operand:
    place = condition.place
    match operand:
        case Placeholder():
            return operand
        case CurrentItem(column=column):
            if dataset != "ITEMS":
                raise _make_error(f"CurrentItem is compared with fields of Items only, not as at {place}.")
            field = _find_field(column, "ITEMS", schemas, condition)
            if _get_kind(field, "ITEMS") is not kind:
                raise _make_error(f"the two fields at {place} must both hold numbers or both strings.")
            return CurrentItem(field.name, field.categorical)
        case float():
            if kind is not ValueKind.NUMBER:
                raise _make_error(f"the field at {place} holds strings: put its values in quotes.")
        case _:
            if kind is ValueKind.NUMBER:
                raise _make_error(f"the field at {place} holds numbers: write its value without quotes.")
            if operand == ANY and kind is not ValueKind.EVENT_TYPE:
                raise _make_error(f'"*" at {place} can only stand for any EVENT_TYPE.')
    return operand


def _make_error(problem: str) -> FilterError:
    return FilterError(f"Invalid Expression: {problem}")
