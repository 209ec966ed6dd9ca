"""The recipes foretaste offers: every folder here that declares some, and the packages that the operator names.

Cheap to import, never torch.

Heavy modules are loaded by name where they are needed:
``importlib.import_module(f"{recipe.module}.training")``.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from shared import settings
from shared.recipes.declaration import Recipe
from shared.recipes.hyperparameters import HyperParameter

__all__ = [
    "RECIPES",
    "HyperParameter",
    "Recipe",
    "find_recipe",
    "find_recipe_by_algorithm",
    "find_recipe_by_feature_transformation",
]

_ARN = re.compile(r"arn:aws[a-z-]*:personalize:::(recipe|algorithm|feature-transformation)/([^/:]+)")


def _discover_recipes() -> Mapping[str, Recipe]:
    folders = [f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__) if module.ispkg]
    # Of the operator's own models.
    others = [package.strip() for package in settings.load().recipes.split(",") if package.strip()]
    declared = [recipe for package in (*folders, *others) for recipe in importlib.import_module(package).RECIPES]
    return MappingProxyType({recipe.name: recipe for recipe in sorted(declared, key=lambda r: r.name)})


RECIPES: Mapping[str, Recipe] = _discover_recipes()
"""By name, in the order of ListRecipes."""


def find_recipe(arn: str) -> Recipe | None:
    """The recipe of a recipe ARN of any partition; None for one that is not offered."""
    return RECIPES.get(_parse_name(arn, "recipe") or "")


def find_recipe_by_algorithm(arn: str) -> Recipe | None:
    """The recipe that lets this algorithm's hyperparameters be set; None where there is none."""
    name = _parse_name(arn, "algorithm")
    return _select_richest(recipe for recipe in RECIPES.values() if recipe.algorithm == name)


def find_recipe_by_feature_transformation(arn: str) -> Recipe | None:
    """A recipe that prepares its data so; of those that share a transformation, one that lets it be set."""
    name = _parse_name(arn, "feature-transformation")
    return _select_richest(recipe for recipe in RECIPES.values() if name and recipe.feature_transformation == name)


def _select_richest(found: Iterable[Recipe]) -> Recipe | None:
    """Use cases run the algorithms of other recipes, and Popularity-Count prepares as SIMS does but sets nothing."""
    return max(found, key=lambda recipe: (recipe.domain is None, len(recipe.hyperparameters)), default=None)


def _parse_name(arn: str, kind: str) -> str | None:
    match = _ARN.fullmatch(arn)
    return match[2] if match and match[1] == kind else None
