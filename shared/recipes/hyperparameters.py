"""Hyperparameters as a recipe declares them: names, ranges, defaults, and the checks of values that clients send."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class HyperParameter:
    """A value that CreateSolution may set. All values are strings on the wire, ``"true"`` in lower case."""

    name: str
    kind: Literal["algorithm", "featurization"]
    type: Literal["integer", "float", "categorical", "string"]
    """A categorical is compared without regard to case and kept in lower case; a string is kept as AWS spells it."""
    default: str
    minimum: float | None = None
    maximum: float | None = None
    positive: bool = False
    """Takes any number above 0: AWS gives no other bound."""
    accepted_maximum: float | None = None
    """The maximum accepted where AWS's own samples pass values above its documented maximum."""
    choices: tuple[str, ...] = ()
    tunable: bool = False
    only_tuned: bool = False
    """Set by HPO alone, within a range with both bounds; without HPO it has its default."""
    aliases: tuple[str, ...] = ()
    """Further names under which AWS accepts and prints it."""

    def check_value(self, value: str) -> str:
        """Return the value as it is kept. Raises ValueError with a sentence that names the allowed values."""
        if self.type in ("categorical", "string"):
            spelt = value.lower() if self.type == "categorical" else value
            if spelt not in self.choices:
                raise ValueError(f"{self.name} must be one of {', '.join(self.choices)}; it is {value!r}.")
            return spelt
        self._parse_number(value)
        return value

    def _parse_number(self, value: Any) -> float:
        try:
            number = float(int(str(value)) if self.type == "integer" else float(value))
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{self.name} must be of type {self.type}; it is {value!r}.") from None
        least = -math.inf if self.minimum is None else self.minimum
        most = self.accepted_maximum or (math.inf if self.maximum is None else self.maximum)
        if not (least <= number <= most and math.isfinite(number) and (number > 0 or not self.positive)):
            raise ValueError(f"{self.name} must {self._describe_range(least, most)}; it is {value}.")
        return number

    def _describe_range(self, least: float, most: float) -> str:
        if most < math.inf:
            return f"lie in [{least:g}, {most:g}]"
        return "be above 0" if self.minimum is None else f"be a number of at least {least:g}"

    def check_range(self, wanted: Mapping[str, Any]) -> None:
        """Check one entry of hpoConfig.algorithmHyperParameterRanges. Raises ValueError."""
        if not self.tunable:
            raise ValueError(f"{self.name} is not tunable.")
        if self.type == "categorical":
            for value in wanted.get("values") or ():
                self.check_value(value)
            return
        if self.only_tuned and not {"minValue", "maxValue"} <= wanted.keys():
            raise ValueError(f"{self.name} needs both minValue and maxValue.")
        low = self._parse_number(wanted.get("minValue", self.minimum))
        high = self._parse_number(wanted.get("maxValue", self.maximum))
        if low > high:
            raise ValueError(f"{self.name} has minValue {low:g} above maxValue {high:g}.")


RANGE_LISTS: Mapping[str, str] = {
    "integer": "integerHyperParameterRanges",
    "float": "continuousHyperParameterRanges",
    "categorical": "categoricalHyperParameterRanges",
}
"""Type of a hyperparameter -> the list that holds its range, in HPOConfig and in DescribeAlgorithm."""
