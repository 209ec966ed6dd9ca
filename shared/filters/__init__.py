"""Filter expressions: parse and check those of CreateFilter, and evaluate them on items, users or actions.

    parse_filter(text)             -> Filter, as written          the grammar (lark)
    check_filter(filter, schemas)  -> Filter, in the schemas' names and types
    evaluation.compile_filter(filter, columns) -> function of one request -> bool[R]

``evaluation`` and ``columns`` need numpy, and only serving processes import them; the other modules are cheap, for the
API process. README.md lists the questions that AWS leaves open, and the answers chosen here.
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
