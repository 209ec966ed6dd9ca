"""itemExplorationConfig of a campaign, a recommender or a batch job: how often new items are shown.

Numbers are strings on the wire; the defaults are those of AWS's page on User-Personalization.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from shared.aws.errors import InvalidInput
from shared.recipes import Recipe
from shared.recipes.contract import Exploration

WEIGHT, DEFAULT_WEIGHT = "explorationWeight", 0.3
CUT_OFF, DEFAULT_CUT_OFF = "explorationItemAgeCutOff", 30.0  # in days

_BOUNDS = {WEIGHT: (0.0, 1.0), CUT_OFF: (1.0, math.inf)}


def check_exploration(recipe: Recipe, config: Mapping[str, str] | None) -> None:
    """Raises InvalidInput."""
    if config and not recipe.explores:
        raise InvalidInput(f"{recipe.name} does not take itemExplorationConfig: leave it out.")
    exploration_of(config)


def exploration_of(config: Mapping[str, str] | None) -> Exploration:
    """An itemExplorationConfig as numbers. Raises InvalidInput."""
    wanted = config or {}
    if unknown := sorted(wanted.keys() - _BOUNDS.keys()):
        raise InvalidInput(f"itemExplorationConfig has {', '.join(unknown)}; it may have {' and '.join(_BOUNDS)}.")
    return Exploration(
        weight=_number(WEIGHT, wanted.get(WEIGHT, str(DEFAULT_WEIGHT))),
        age_cut_off_days=_number(CUT_OFF, wanted.get(CUT_OFF, str(DEFAULT_CUT_OFF))),
    )


def _number(name: str, text: str) -> float:
    least, most = _BOUNDS[name]
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (least <= number <= most and math.isfinite(number)):
        allowed = f"at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
        raise InvalidInput(f"{name} must be a number {allowed}, written as a string; it is {text!r}.")
    return number
