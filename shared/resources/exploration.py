"""itemExplorationConfig, as campaigns, recommenders and batch jobs take it: strings, like hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping

from shared.aws.errors import InvalidInput
from shared.recipes import HyperParameter, Recipe
from shared.recipes.scoring_api import Exploration

PARAMETERS = {
    parameter.name: parameter
    for parameter in (
        HyperParameter(
            name="explorationWeight", kind="algorithm", type="float", default="0.3", minimum=0.0, maximum=1.0
        ),
        HyperParameter(
            name="explorationItemAgeCutOff",
            kind="algorithm",
            type="float",
            default="30.0",
            minimum=1.0,  # day
        ),
    )
}


def check_exploration(config: Mapping[str, str], recipe: Recipe) -> None:
    """Raise InvalidInput where the recipe does not explore, or AWS has no such name or value."""
    if not recipe.serving.explores:
        raise InvalidInput(f"{recipe.name} does not explore: leave itemExplorationConfig out.")
    for name, value in config.items():
        if name not in PARAMETERS:
            raise InvalidInput(f"itemExplorationConfig has {name}; it takes {' and '.join(PARAMETERS)}.")
        try:
            PARAMETERS[name].check_value(value)
        except ValueError as error:
            raise InvalidInput(str(error)) from error


def parse_exploration(config: Mapping[str, str] | None) -> Exploration:
    """Return a checked itemExplorationConfig as numbers, with AWS's defaults for missing members."""
    wanted = config or {}
    weight, cut_off = (float(wanted.get(name, parameter.default)) for name, parameter in PARAMETERS.items())
    return Exploration(weight=weight, age_cut_off_days=cut_off)
