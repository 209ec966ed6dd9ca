"""Filter expressions: what CreateFilter accepts, and which items, users or actions a filter lets through.

    parse(text)             -> Filter, as written          the grammar (lark)
    check(filter, schemas)  -> Filter, in the schemas' names and types
    evaluation.compiled(filter, columns) -> function of one request -> bool[R]

``evaluation`` and ``columns`` need numpy and are imported by whoever serves; the rest is cheap, for the API process.
README.md says what AWS leaves open and what was chosen.
"""

from __future__ import annotations

from shared.filters.checking import MAX_FIELDS, TooManyFields, check_filter
from shared.filters.expressions import Condition, Expression, Filter, FilterError, ValueKind
from shared.filters.parsing import parse_filter
from shared.filters.values import FilterValueError

__all__ = [
    "MAX_FIELDS",
    "Condition",
    "Expression",
    "Filter",
    "FilterError",
    "FilterValueError",
    "TooManyFields",
    "ValueKind",
    "check_filter",
    "parse_filter",
]
