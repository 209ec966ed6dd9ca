"""The item attribute that a solution optimizes in addition to relevance: solutionConfig.optimizationObjective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.aws.errors import InvalidInput
from shared.data.schemas import Field
from shared.recipes import Recipe

OFF = "OFF"


def check_objective(
    recipe: Recipe, config: Mapping[str, Any], items: Mapping[str, Field] | None, excluded: frozenset[str]
) -> None:
    """Raise InvalidInput for an invalid objective. ``items``: the columns of the Items dataset, None without one."""
    objective = config.get("optimizationObjective")
    if not objective:
        return
    if not recipe.training.takes_objective:
        raise InvalidInput(f"{recipe.name} does not take solutionConfig.optimizationObjective: leave it out.")
    name = objective.get("itemAttribute")
    if name is None:
        if objective.get("objectiveSensitivity", OFF) != OFF:
            raise InvalidInput("optimizationObjective needs itemAttribute, the column of Items to optimize for.")
        return
    column = (items or {}).get(name)
    if column is None:
        raise InvalidInput(f"itemAttribute names {name}, no column of the group's Items dataset.")
    if not column.numeric or column.nullable:
        raise InvalidInput(f"itemAttribute names {name}, which is not a column of numbers that can't be null.")
    if name in excluded:
        raise InvalidInput(f"itemAttribute names {name}: do not exclude it from training.")
