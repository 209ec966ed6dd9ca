"""The configuration of HPO and AutoML: solutionConfig.hpoConfig and autoMLConfig, checked and put in AWS's form.

``hpoObjective`` is accepted and not read, as at AWS, unless the setting ``hpo_objective`` enables it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from shared import recipes
from shared.aws.errors import InvalidInput
from shared.resources.recipe import find_recipe

MOST_JOBS, MOST_JOBS_AT_ONCE = 40, 10
RANGES = "algorithmHyperParameterRanges"

#: DescribeSolution prefixes the names of ranges as AWS's trainer does, by the list that holds them.
PREFIXES: Mapping[str, str] = {
    "integerHyperParameterRanges": "training.",
    "continuousHyperParameterRanges": "training.",
    "categoricalHyperParameterRanges": "data.",
}

#: The metrics by which AutoML may choose: those of every recipe that it tries.
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
DEFAULT_METRIC = "normalized_discounted_cumulative_gain_at_25"
MAXIMIZE, MINIMIZE = "Maximize", "Minimize"

#: The recipe type that AutoML tries.
CANDIDATES = "USER_PERSONALIZATION"
POPULARITY = "aws-popularity-count"


def check_hpo(recipe: recipes.Recipe, config: Mapping[str, Any]) -> None:
    """Raise InvalidInput where HPO can't run. The ranges are checked with the recipe's other settings."""
    if not any(parameter.tunable for parameter in recipe.hyperparameters):
        raise InvalidInput(f"{recipe.name} has no hyperparameter that HPO could tune: leave performHPO out.")
    parse_job_limits(config)
    counted = Counter(_strip_prefix(wanted) for _, ranges in _iter_range_lists(config) for wanted in ranges)
    for name, count in counted.items():
        if count > 1:
            raise InvalidInput(f"hpoConfig has {count} ranges for {name}: give one.")


def parse_job_limits(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many trainings HPO may run, and how many of them at once. Raises InvalidInput."""
    wanted = (config.get("hpoConfig") or {}).get("hpoResourceConfig") or {}
    jobs = _parse_count(wanted, "maxNumberOfTrainingJobs", MOST_JOBS)
    return jobs, min(jobs, _parse_count(wanted, "maxParallelTrainingJobs", MOST_JOBS_AT_ONCE))


def _parse_count(wanted: Mapping[str, str], member: str, most: int) -> int:
    text = wanted.get(member, str(most))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise InvalidInput(f"{member} must be a whole number from 1 to {most}, written as a string; it is {text!r}.")
    return int(text)


def format_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the SolutionConfig as DescribeSolution answers it: with prefixed names of ranges."""
    hpo = config.get("hpoConfig") or {}
    if not hpo.get(RANGES):
        return config
    ranges = {
        list_name: [{**wanted, "name": f"{PREFIXES[list_name]}{_strip_prefix(wanted)}"} for wanted in ranges]
        for list_name, ranges in _iter_range_lists(config)
    }
    return {**config, "hpoConfig": {**hpo, RANGES: ranges}}


def _iter_range_lists(config: Mapping[str, Any]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    yield from ((config.get("hpoConfig") or {}).get(RANGES) or {}).items()


def _strip_prefix(wanted: Mapping[str, Any]) -> str:
    return str(wanted.get("name", "")).rpartition(".")[2]


def check_automl(config: Mapping[str, Any]) -> None:
    """Check ``autoMLConfig``, the only part that AutoML reads. Raises InvalidInput, ResourceNotFound."""
    wanted = config.get("autoMLConfig") or {}
    metric = wanted.get("metricName")
    if metric is not None and metric not in METRICS:
        raise InvalidInput(f"metricName must be one of {', '.join(METRICS)}; it is {metric}.")
    for arn in wanted.get("recipeList") or ():
        if not _is_candidate(recipe := find_recipe(arn)):
            offered = ", ".join(sorted(each.name for each in recipes.RECIPES.values() if _is_candidate(each)))
            raise InvalidInput(f"AutoML chooses among {offered}; {recipe.name} is not one.")


def list_candidates(config: Mapping[str, Any], *, described: bool) -> list[recipes.Recipe]:
    """Return the recipes that AutoML tries, the simplest first: those of its recipeList, else all that suit the data.

    ``described``: the group has a dataset of Items or Users. Without one, recipes that learn from metadata do not suit.
    """
    told = (config.get("autoMLConfig") or {}).get("recipeList")
    chosen = [find_recipe(arn) for arn in dict.fromkeys(told)] if told else list(recipes.RECIPES.values())
    fit = [
        recipe
        for recipe in chosen
        if _is_candidate(recipe) and (told or described or not recipe.training.uses_metadata)
    ]
    return sorted(
        fit,
        key=lambda recipe: (
            recipe.serving.reads_live_events,
            recipe.training.uses_metadata,
            recipe.training.cold_items,
            recipe.serving.explores,
        ),
    )


def _is_candidate(recipe: recipes.Recipe) -> bool:
    """Return whether AutoML may try a recipe: by AWS's rule, and popularity, the baseline that the rest must beat."""
    return recipe.domain is None and (recipe.recipe_type == CANDIDATES or recipe.name == POPULARITY)


def resolve_objective(config: Mapping[str, Any], *, automl: bool, follow_hpo_objective: bool) -> tuple[str, bool]:
    """Return the metric by which trials are compared, and whether it is maximized.

    NDCG at 25, unless AutoML has another metricName. HPO's is fixed, as at AWS, unless ``follow_hpo_objective`` is set.
    """
    if automl:
        return (config.get("autoMLConfig") or {}).get("metricName") or DEFAULT_METRIC, True
    wanted = (config.get("hpoConfig") or {}).get("hpoObjective") or {}
    if not follow_hpo_objective:
        return DEFAULT_METRIC, True
    return wanted.get("metricName") or DEFAULT_METRIC, (wanted.get("type") or MAXIMIZE) == MAXIMIZE


def check_hpo_objective(config: Mapping[str, Any]) -> None:
    """Check hpoObjective, where the setting ``hpo_objective`` enables it. Raises InvalidInput."""
    wanted = (config.get("hpoConfig") or {}).get("hpoObjective") or {}
    metric, type_ = wanted.get("metricName"), wanted.get("type")
    if metric is not None and metric not in METRICS:
        raise InvalidInput(f"hpoObjective's metricName must be one of {', '.join(METRICS)}; it is {metric}.")
    if type_ is not None and type_ not in (MAXIMIZE, MINIMIZE):
        raise InvalidInput(f"hpoObjective's type must be {MAXIMIZE} or {MINIMIZE}; it is {type_}.")


def get_ranges(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the ranges of hpoConfig by the names of their hyperparameters."""
    return {_strip_prefix(wanted): wanted for _, listed in _iter_range_lists(config) for wanted in listed}
