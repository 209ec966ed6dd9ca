"""What HPO and AutoML are told: solutionConfig.hpoConfig and autoMLConfig, checked and put in AWS's form.

``hpoObjective`` is accepted and not read: AWS does not let anybody choose it either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from shared import recipes
from shared.aws.errors import InvalidInput
from shared.resources.recipe import named

MOST_JOBS, MOST_JOBS_AT_ONCE = 40, 10
RANGES = "algorithmHyperParameterRanges"

#: DescribeSolution prints the names of ranges with where AWS's trainer looks for them, by the list they stand in.
PREFIXES: Mapping[str, str] = {
    "integerHyperParameterRanges": "training.",
    "continuousHyperParameterRanges": "training.",
    "categoricalHyperParameterRanges": "data.",
}

#: What AutoML may choose by: the metrics of every recipe that it tries.
METRICS = (
    "coverage",
    "mean_reciprocal_rank_at_25",
    "normalized_discounted_cumulative_gain_at_5",
    "normalized_discounted_cumulative_gain_at_10",
    "normalized_discounted_cumulative_gain_at_25",
    "precision_at_5",
    "precision_at_10",
    "precision_at_25",
)
#: The one type of recipe that AutoML tries.
CANDIDATES = "USER_PERSONALIZATION"


def check_hpo(recipe: recipes.Recipe, config: Mapping[str, Any]) -> None:
    """The ranges themselves are checked with the recipe's other settings. Raises InvalidInput."""
    if not any(parameter.tunable for parameter in recipe.hyperparameters):
        raise InvalidInput(f"{recipe.name} has no hyperparameter that HPO could tune: leave performHPO out.")
    training_jobs(config)
    counted = Counter(_bare(wanted) for _, ranges in _lists(config) for wanted in ranges)
    for name, count in counted.items():
        if count > 1:
            raise InvalidInput(f"hpoConfig has {count} ranges for {name}: give one.")


def training_jobs(config: Mapping[str, Any]) -> tuple[int, int]:
    """How many trainings HPO may try, and how many of them at once. Raises InvalidInput."""
    wanted = (config.get("hpoConfig") or {}).get("hpoResourceConfig") or {}
    jobs = _number(wanted, "maxNumberOfTrainingJobs", MOST_JOBS)
    return jobs, min(jobs, _number(wanted, "maxParallelTrainingJobs", MOST_JOBS_AT_ONCE))


def _number(wanted: Mapping[str, str], member: str, most: int) -> int:
    text = wanted.get(member, str(most))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise InvalidInput(f"{member} must be a whole number from 1 to {most}, written as a string; it is {text!r}.")
    return int(text)


def printed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The SolutionConfig as DescribeSolution answers it: with prefixed names of ranges, however they were sent."""
    hpo = config.get("hpoConfig") or {}
    if not hpo.get(RANGES):
        return config
    ranges = {
        list_name: [{**wanted, "name": f"{PREFIXES[list_name]}{_bare(wanted)}"} for wanted in ranges]
        for list_name, ranges in _lists(config)
    }
    return {**config, "hpoConfig": {**hpo, RANGES: ranges}}


def _lists(config: Mapping[str, Any]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    yield from ((config.get("hpoConfig") or {}).get(RANGES) or {}).items()


def _bare(wanted: Mapping[str, Any]) -> str:
    return str(wanted.get("name", "")).rpartition(".")[2]


def check_automl(config: Mapping[str, Any]) -> None:
    """AutoML reads ``autoMLConfig`` and nothing else. Raises InvalidInput, ResourceNotFound."""
    wanted = config.get("autoMLConfig") or {}
    metric = wanted.get("metricName")
    if metric is not None and metric not in METRICS:
        raise InvalidInput(f"metricName must be one of {', '.join(METRICS)}; it is {metric}.")
    for arn in wanted.get("recipeList") or ():
        recipe = named(arn)
        if recipe.recipe_type != CANDIDATES or recipe.domain:
            raise InvalidInput(f"AutoML chooses among recipes of type {CANDIDATES}; {recipe.name} is not one.")
