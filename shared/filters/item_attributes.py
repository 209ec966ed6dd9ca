"""The attribute expressions of batch segment jobs: ``ITEMS.genres = "Comedy" AND ITEMS.genres = "Action"``.

Source: "Batch segment jobs" in AWS's developer guide: an expression has ``=`` and AND alone. The conditions are those
of a filter that includes items, so that its grammar, checks and evaluation serve here too.
"""

from __future__ import annotations

from shared.filters.checking import Schemas, check_filter
from shared.filters.expressions import Condition, CurrentItem, Expression, Filter, FilterError, Operator, Placeholder
from shared.filters.parsing import parse_conditions

ADVICE = 'Write ITEMS.<column> = "<value>", joined by AND.'


def parse_item_attributes(text: str, schemas: Schemas) -> Filter:
    """Return the filter that includes the items with all of these attributes, checked against the schemas.

    Raises FilterError.
    """
    conditions, *more = parse_conditions(text)
    if more:
        raise FilterError(f"Invalid Expression: itemAttributes are joined by AND alone, not by OR. {ADVICE}")
    for condition in conditions:
        _check_condition(condition)
    filter_ = Filter((Expression(include=True, target="ItemID", groups=(conditions,), place=conditions[0].place),))
    return check_filter(filter_, schemas)


def _check_condition(condition: Condition) -> None:
    place = condition.place
    if condition.dataset.upper() != "ITEMS":
        raise FilterError(f"Invalid Expression: the dataset at {place} must be ITEMS. {ADVICE}")
    if condition.operator is not Operator.EQUAL:
        raise FilterError(f"Invalid Expression: the condition at {place} must compare by =. {ADVICE}")
    if any(isinstance(operand, Placeholder | CurrentItem) for operand in condition.operands):
        raise FilterError(f"Invalid Expression: the condition at {place} must name the value itself. {ADVICE}")
