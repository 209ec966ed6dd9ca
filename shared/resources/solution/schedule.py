"""The schedule of a solution's automatic trainings: solutionConfig.autoTrainingConfig."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shared.aws.errors import InvalidInput

#: AWS's rate where none is given.
DEFAULT_DAYS = 7
LEAST_DAYS, MOST_DAYS = 1, 30

_RATE = re.compile(r"rate\((\d+) days?\)")


def parse_days(config: Mapping[str, Any]) -> int:
    """Return the days between two trainings by ``autoTrainingConfig``. Raises InvalidInput."""
    expression = (config.get("autoTrainingConfig") or {}).get("schedulingExpression")
    if expression is None:
        return DEFAULT_DAYS
    rate = _RATE.fullmatch(expression)
    if rate is None or not LEAST_DAYS <= int(rate[1]) <= MOST_DAYS:
        raise InvalidInput(
            f"schedulingExpression must be rate(N days) with N from {LEAST_DAYS} to {MOST_DAYS}; it is {expression}."
        )
    return int(rate[1])
