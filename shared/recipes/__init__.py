"""The recipes that foretaste offers: those of the folders here, and of the packages in FORETASTE_RECIPES.

Importing this package loads neither torch nor NumPy. Callers load the heavy modules of a recipe by name:
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
    plugins = [package.strip() for package in settings.load().recipes.split(",") if package.strip()]
    declared = [recipe for package in (*folders, *plugins) for recipe in importlib.import_module(package).RECIPES]
    return MappingProxyType({recipe.name: recipe for recipe in sorted(declared, key=lambda r: r.name)})


RECIPES: Mapping[str, Recipe] = _discover_recipes()
"""By name, in the order of ListRecipes."""


def find_recipe(arn: str) -> Recipe | None:
    """Return the recipe of a recipe ARN of any partition; None for one that is not offered."""
    return RECIPES.get(_parse_name(arn, "recipe") or "")


def find_recipe_by_algorithm(arn: str) -> Recipe | None:
    """Return the recipe that lets this algorithm's hyperparameters be set; None where there is none."""
    name = _parse_name(arn, "algorithm")
    return _select_richest(recipe for recipe in RECIPES.values() if recipe.algorithm == name)


def find_recipe_by_feature_transformation(arn: str) -> Recipe | None:
    """Return a recipe with this feature transformation; of several, one that lets its parameters be set."""
    name = _parse_name(arn, "feature-transformation")
    return _select_richest(recipe for recipe in RECIPES.values() if name and recipe.feature_transformation == name)


def _select_richest(found: Iterable[Recipe]) -> Recipe | None:
    """Return the recipe with the most hyperparameters, use cases last.

    Use cases run the algorithms of other recipes, and Popularity-Count shares the transformation of SIMS without
    parameters.
    """
    return max(found, key=lambda recipe: (recipe.domain is None, len(recipe.hyperparameters)), default=None)


def _parse_name(arn: str, kind: str) -> str | None:
    match = _ARN.fullmatch(arn)
    return match[2] if match and match[1] == kind else None
